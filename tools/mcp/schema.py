"""Reduces the schema of a tool's arguments to what a model needs and a grammar can hold.

Servers send whatever their libraries write: references, also to themselves, keywords without end,
thousands of properties. The result has no references, a bounded size, and says less where something
was left out, never something else; the server checks what it gets.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from laguna_agent.clip import clip
from laguna_agent.tools.terminal.ansi import clean_text

_MOST_NODES, _MOST_DEPTH = 600, 8
_MOST_BRANCHES, _MOST_VALUES, _MOST_PROPERTIES = 12, 100, 60
_MOST_TEXT, _MOST_NAME = 300, 64
_TYPES = {"object", "array", "string", "number", "integer", "boolean", "null"}
_NUMBERS = ("minimum", "maximum")
_COUNTS = ("minLength", "maxLength", "minItems", "maxItems")
_MOST_COUNT = 1_000_000


def plain_schema(raw: Any) -> dict[str, Any]:
    """The schema of an object of arguments, without references and of a bounded size."""
    root = raw if isinstance(raw, Mapping) else {}
    schema = _Reducer(root).reduce(root, 0)
    if schema.get("type") != "object":
        properties = schema.get("properties")
        schema = {"type": "object"} | ({"properties": properties} if properties else {})
    schema.setdefault("properties", {})
    return schema


class _Reducer:
    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._left = _MOST_NODES

    def reduce(self, raw: Any, depth: int) -> dict[str, Any]:
        """A schema that allows at least what `raw` allows."""
        node = self._resolve(raw)
        self._left -= 1
        if not node or depth > _MOST_DEPTH or self._left < 0:
            return {}
        out: dict[str, Any] = {}
        if isinstance(text := node.get("description"), str) and text.strip():
            out["description"] = clip(clean_text(text), _MOST_TEXT)
        if "const" in node and _is_scalar(node["const"]):
            return {**out, "enum": [node["const"]]}
        values = node.get("enum")
        if isinstance(values, list) and values:
            # Not all of many values would be a lie about the others.
            if len(values) <= _MOST_VALUES and all(map(_is_scalar, values)):
                return {**out, "enum": values}
            return out
        branches = node.get("anyOf") or node.get("oneOf")
        if isinstance(branches, list) and branches:
            if len(branches) > _MOST_BRANCHES or "properties" in node:
                branches = []
            found = [self.reduce(branch, depth + 1) for branch in branches]
            if found and all(found):
                return {**out, **(found[0] if len(found) == 1 else {"anyOf": found})}
            if "properties" not in node:
                return out
        kinds = node.get("type")
        kinds = [kinds] if isinstance(kinds, str) else kinds if isinstance(kinds, list) else []
        kinds = [kind for kind in kinds if kind in _TYPES]
        if not kinds:
            kinds = ["object"] if isinstance(node.get("properties"), Mapping) else []
            kinds = kinds or (["array"] if "items" in node else [])
        if kinds:
            out["type"] = kinds[0] if len(kinds) == 1 else kinds
        for key in (*_NUMBERS, *_COUNTS):
            if _is_bound(key, node.get(key)):
                out[key] = node[key]
        if "array" in kinds and isinstance(node.get("items"), Mapping):
            out["items"] = self.reduce(node["items"], depth + 1)
        if "object" in kinds:
            self._add_object(node, out, depth)
        return out

    def _add_object(self, node: Mapping[str, Any], out: dict[str, Any], depth: int) -> None:
        given, required = node.get("properties"), node.get("required")
        required = [n for n in required if isinstance(n, str)] if isinstance(required, list) else []
        names = [str(name) for name in given] if isinstance(given, Mapping) else []
        names = [name for name in names if 0 < len(name) <= _MOST_NAME and name.isprintable()]
        # Those that are needed first; the order is otherwise the server's.
        kept = sorted(names, key=lambda name: name not in required)[:_MOST_PROPERTIES]
        if names:
            assert isinstance(given, Mapping)
            out["properties"] = {
                name: self.reduce(given[name], depth + 1) for name in names if name in kept
            }
        if wanted := [name for name in dict.fromkeys(required) if name in kept]:
            out["required"] = wanted
        extra = node.get("additionalProperties")
        if extra is False and len(kept) == len(given or ()):
            out["additionalProperties"] = False
        elif isinstance(extra, Mapping) and extra and not names:
            out["additionalProperties"] = self.reduce(extra, depth + 1)

    def _resolve(self, raw: Any) -> Mapping[str, Any]:
        """Follow local references, and merge the parts of `allOf`."""
        node = raw
        for _ in range(16):
            if not isinstance(node, Mapping):
                return {}
            if isinstance(reference := node.get("$ref"), str):
                beside = {key: value for key, value in node.items() if key != "$ref"}
                target = self._target(reference)
                node = {**target, **beside} if target is not None else beside
            elif isinstance(parts := node.get("allOf"), list):
                node = self._merged(node, parts)
            else:
                return node
        return {}

    def _target(self, reference: str) -> Mapping[str, Any] | None:
        node: Any = self._root
        if not reference.startswith("#"):
            return None  # laguna fetches no schemas
        for part in reference.lstrip("#").strip("/").split("/"):
            if part:
                name = part.replace("~1", "/").replace("~0", "~")
                node = node.get(name) if isinstance(node, Mapping) else None
        return node if isinstance(node, Mapping) else None

    def _merged(self, node: Mapping[str, Any], parts: list[Any]) -> dict[str, Any]:
        out = {key: value for key, value in node.items() if key != "allOf"}
        for part in parts[:_MOST_BRANCHES]:
            if isinstance(part, Mapping) and isinstance(part.get("$ref"), str):
                part = self._target(part["$ref"]) or {}
            if not isinstance(part, Mapping):
                continue
            for key, value in part.items():
                if key == "properties" and isinstance(value, Mapping):
                    own = out.get(key)
                    out[key] = {**value, **(own if isinstance(own, Mapping) else {})}
                elif key == "required" and isinstance(value, list) and _is_list(out.get(key, [])):
                    out[key] = [*out.get(key, []), *value]
                else:
                    out.setdefault(key, value)
        return out


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _is_scalar(value: Any) -> bool:
    """Whether a value can be shown as it is, and is equal to itself once it is stored."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, str):
        return len(value) <= _MOST_TEXT and clean_text(value) == value
    return value is None or (isinstance(value, int) and abs(value) < 2**63)


def _is_bound(key: str, value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if key in _NUMBERS:
        return abs(value) < 2**53
    return isinstance(value, int) and 0 <= value <= _MOST_COUNT


def schema_text(schema: Mapping[str, Any]) -> str:
    """A schema on one line, as a model reads it and a person approves it."""
    return json.dumps(schema, ensure_ascii=False, separators=(",", ":"))
