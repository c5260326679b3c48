"""JSON schemas of tool arguments: as GBNF values, and as types to decode by.

Supported: string (minLength, maxLength), integer (minimum, maximum), number, boolean,
null, enum, const, array (items, minItems, maxItems), object (properties, required,
additionalProperties), anyOf, oneOf, a single allOf, and local $ref. Anything else allows any
JSON value.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from laguna_agent.models.chat.gbnf import Gbnf, char_class, choice, literal
from laguna_agent.models.chat.integer_ranges import integers

SPACE = '( " " | "\\n" [ \\t]{0,20} )?'
"""White space between the parts of a JSON value."""
_MAX_ITEMS = 64
_MAX_DEPTH = 6
_ANY_TYPES = ("object", "array", "string", "number", "boolean", "null")
_ESCAPED = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b"} | {
    "\f": "\\f"
}


def resolve(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow local references and single `allOf`s."""
    for _ in range(32):
        if "$ref" in schema:
            node: Any = root
            for part in str(schema["$ref"]).lstrip("#").strip("/").split("/"):
                node = node.get(part, {}) if isinstance(node, Mapping) else {}
            schema = node
        elif isinstance(schema.get("allOf"), list) and len(schema["allOf"]) == 1:
            schema = schema["allOf"][0]
        else:
            return schema
    return {}


def properties_of(
    parameters: Mapping[str, Any],
) -> list[tuple[str, Mapping[str, Any], bool]]:
    """(name, schema, required) of each property of an object schema, in declared order."""
    parameters = resolve(parameters, parameters)
    required = set(parameters.get("required", ()))
    return [
        (key, schema if isinstance(schema, Mapping) else {}, key in required)
        for key, schema in parameters.get("properties", {}).items()
    ]


def types_of(schema: Mapping[str, Any], root: Mapping[str, Any]) -> set[str]:
    """JSON type names that a schema allows; all of them when it names none."""
    schema = resolve(schema, root)
    branches = schema.get("anyOf") or schema.get("oneOf")
    if branches:
        return set().union(*(types_of(branch, root) for branch in branches))
    for values in (schema.get("enum"), [schema["const"]] if "const" in schema else None):
        if values is not None:
            return {_type_of(value) for value in values}
    kind = schema.get("type")
    if isinstance(kind, list):
        return set(kind)
    if isinstance(kind, str):
        return {kind}
    if "properties" in schema:
        return {"object"}
    return {"array"} if "items" in schema else {*_ANY_TYPES, "integer"}


def _type_of(value: Any) -> str:
    if value is None:
        return "null"
    for kind, name in ((bool, "boolean"), (int, "integer"), (float, "number"), (str, "string")):
        if isinstance(value, kind):
            return name
    return "array" if isinstance(value, list) else "object"


class JsonValues:
    """Expressions of JSON values in a grammar. `root` is the schema that references start from.

    `limit` bounds the characters of each string. With `one_line`, no value holds a line break.
    """

    def __init__(
        self,
        grammar: Gbnf,
        root: Mapping[str, Any],
        *,
        limit: int | None = None,
        one_line: bool = False,
    ) -> None:
        self.grammar, self._root, self._limit = grammar, root, limit
        self._white = '" "?' if one_line else SPACE

    def resolve(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """The schema behind references."""
        return resolve(schema, self._root)

    def types(self, schema: Mapping[str, Any]) -> set[str]:
        """JSON type names that a schema allows."""
        return types_of(schema, self._root)

    def allowed_values(self, schema: Mapping[str, Any]) -> list[Any] | None:
        """The values that a schema lists (`enum`, `const`); None when it lists none."""
        schema = self.resolve(schema)
        if isinstance(schema.get("enum"), list):
            return list(schema["enum"])
        if "const" in schema:
            return [schema["const"]]
        branches = schema.get("anyOf") or schema.get("oneOf")
        if branches:
            found: list[Any] = []
            for branch in branches:
                values = self.allowed_values(branch)
                if values is None and types_of(branch, self._root) == {"null"}:
                    values = [None]
                if values is None:
                    return None
                found += values
            return found
        return None

    def string_bounds(self, schema: Mapping[str, Any]) -> tuple[int, int | None]:
        """Minimum and maximum length of a string (of its string branch, if it has branches)."""
        schema = self.resolve(schema)
        for branch in schema.get("anyOf") or schema.get("oneOf") or ():
            if "string" in types_of(branch, self._root):
                return 0, self.string_bounds(branch)[1]
        bounds = [n for n in (schema.get("maxLength"), self._limit) if isinstance(n, int)]
        high = min(bounds, default=None)
        low = int(schema.get("minLength", 0))
        return (low if high is None else min(low, high)), high

    def value(self, schema: Mapping[str, Any], depth: int = 0) -> str:
        """Expression of the values of a schema."""
        schema = self.resolve(schema)
        values = self.allowed_values(schema)
        if values:
            return choice([literal(json.dumps(value, ensure_ascii=False)) for value in values])
        branches = schema.get("anyOf") or schema.get("oneOf")
        if branches:
            return choice([self.value(branch, depth + 1) for branch in branches])
        kinds = types_of(schema, self._root)
        if depth >= _MAX_DEPTH:
            kinds = (kinds - {"object", "array"}) or {"null"}
        if "number" in kinds:
            kinds.discard("integer")
        return choice([self._of_type(kind, schema, depth) for kind in sorted(kinds)])

    def _of_type(self, kind: str, schema: Mapping[str, Any], depth: int) -> str:
        add = self.grammar.rule
        if kind == "string":
            low, high = self.string_bounds(schema)
            return f'"\\"" {self.grammar.repeat(self._character(), low, high)} "\\""'
        if kind == "integer":
            between = _bounds(schema)
            return add(("integer", between), "integer", lambda: integers(*between))
        if kind == "number":
            whole = '("0" | [1-9] [0-9]{0,15})'
            return add(
                "number",
                "number",
                lambda: f'"-"? {whole} ("." [0-9]{{1,16}})? ([eE] [-+]? [0-9]{{1,2}})?',
            )
        if kind == "boolean":
            return '("true" | "false")'
        if kind == "array":
            return self._array(schema, depth)
        if kind == "object":
            return self._object(schema, depth)
        return '"null"'

    def _character(self) -> str:
        def body() -> str:
            plain = '[^"\\\\\\x00-\\x1F]'
            escape = '"\\\\" (["\\\\/bfnrt] | "u" unit16)'
            self.grammar.rule(
                "unit16",
                "unit16",
                # not a surrogate: half of a pair is not text
                lambda: "[0-9a-cA-Ce-fE-F] [0-9a-fA-F]{3,3} | [dD] [0-7] [0-9a-fA-F]{2,2}",
            )
            return f"{plain} | {escape}"

        return self.grammar.rule("character", "character", body)

    def _space(self) -> str:
        return self.grammar.rule("space", "space", lambda: self._white)

    def _array(self, schema: Mapping[str, Any], depth: int) -> str:
        items = schema.get("items")
        item = self.value(items if isinstance(items, Mapping) else {}, depth + 1)
        name = self.grammar.rule(("item", item), "item", lambda: item)
        low, high = int(schema.get("minItems", 0)), int(schema.get("maxItems", _MAX_ITEMS))
        high = max(low, min(high, _MAX_ITEMS))
        space = self._space()
        more = f'("," {space} {name}){{{max(low - 1, 0)},{max(high - 1, 0)}}}'
        filled = f"{name} {more} {space}" if high else '""'
        inside = filled if low else f"({filled})?"
        return f'"[" {space} {inside} "]"'

    def _object(self, schema: Mapping[str, Any], depth: int) -> str:
        space = self._space()
        properties = properties_of(schema)
        if not properties:
            extra = schema.get("additionalProperties", True)
            if extra is False:
                return f'"{{" {space} "}}"'
            value = self.value(extra if isinstance(extra, Mapping) else {}, depth + 1)
            key = f'"\\"" {self._character()}{{1,64}} "\\""'
            pair = self.grammar.rule(
                ("pair", value), "pair", lambda: f'{key} {space} ":" {space} {value}'
            )
            return f'"{{" {space} ({pair} ("," {space} {pair}){{0,15}} {space})? "}}"'

        def rest(index: int, first: bool) -> str:
            if index == len(properties):
                return '""'
            key, inner, required = properties[index]

            def body() -> str:
                comma = "" if first else f'"," {space} '
                name = literal(json.dumps(key, ensure_ascii=False))
                value = self.value(inner, depth + 1)
                pair = f'{comma}{name} {space} ":" {space} {value} {rest(index + 1, False)}'
                return pair if required else f"{pair} | {rest(index + 1, first)}"

            identity = ("object", json.dumps(schema, sort_keys=True), depth, index, first)
            return self.grammar.rule(identity, f"o-{key}", body)

        return f'"{{" {space} {rest(0, True)} {space} "}}"'

    def text_other_than(self, schema: Mapping[str, Any], text: str) -> str:
        """Expression of the values of a schema that may be a string, except the string `text`."""
        schema = self.resolve(schema)
        return choice(
            [
                f'"\\"" {self._other_string(text)} "\\""'
                if kind == "string"
                else self._of_type(kind, schema, 0)
                for kind in sorted(types_of(schema, self._root))
            ]
        )

    def _other_string(self, text: str) -> str:
        """Strings other than `text`, each character spelled in one way only."""
        rest = self.grammar.repeat(self._canonical(None), 0, self._limit)
        anything = self.grammar.rule(("anything", self._limit), "any", lambda: rest)

        def after(prefix: str) -> str:
            return self.grammar.rule(("not", text, prefix), "other", lambda: body(prefix))

        def body(prefix: str) -> str:
            if prefix == text:
                return f"{self._canonical(None)} {anything}"
            following = text[len(prefix)]
            step = f"{literal(_spell(following))} {after(prefix + following)}"
            return f'"" | {step} | {self._canonical(following)} {anything}'

        return after("")

    def _canonical(self, without: str | None) -> str:
        """One character of a string other than `without`, escaped only where it must be."""

        def body() -> str:
            plain = without is not None and without not in _ESCAPED and without >= " "
            shown = char_class({without}, negated=True)[2:-1] if without and plain else ""
            short = [_spell(c)[1] for c in _ESCAPED if c != without]
            return f'[^{shown}"\\\\\\x00-\\x1F] | {literal(chr(92))} {char_class(short)}'

        return self.grammar.rule(("canonical", without), "c", body)


def _bounds(schema: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """Smallest and largest integer of a schema."""
    low, high = schema.get("minimum"), schema.get("maximum")
    return None if low is None else math.ceil(low), None if high is None else math.floor(high)


def _spell(character: str) -> str:
    return json.dumps(character, ensure_ascii=False)[1:-1]
