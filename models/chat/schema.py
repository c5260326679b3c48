"""JSON schemas of tool arguments as GBNF values, and as types to decode by.

What is understood: string (minLength, maxLength), integer (minimum, maximum), number, boolean,
null, enum, const, array (items, minItems, maxItems), object (properties, required,
additionalProperties), anyOf, oneOf, a single allOf, and local $ref. Anything else is any JSON
value.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
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


class InexpressibleError(Exception):
    """A value that a grammar cannot tell from its other spellings."""


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
    """JSON type names that a schema allows; all of them when it does not say."""
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


def same_value(one: Any, other: Any) -> bool:
    """Equality of JSON values: unlike in Python, `true` is not 1."""
    if isinstance(one, bool) != isinstance(other, bool):
        return False
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same_value(one[k], other[k]) for k in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same_value, one, other))
    return bool(one == other)


class JsonValues:
    """Expressions of JSON values in a grammar. `limit` bounds the characters of each string.
    With `one_line`, no value holds a line break."""

    def __init__(
        self,
        grammar: Gbnf,
        root: Mapping[str, Any],
        limit: int | None,
        *,
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

    def words(self, schema: Mapping[str, Any]) -> list[Any] | None:
        """The only values a schema allows, when it names them."""
        schema = self.resolve(schema)
        if isinstance(schema.get("enum"), list):
            return list(schema["enum"])
        if "const" in schema:
            return [schema["const"]]
        branches = schema.get("anyOf") or schema.get("oneOf")
        if branches:
            found: list[Any] = []
            for branch in branches:
                words = self.words(branch)
                if words is None and types_of(branch, self._root) == {"null"}:
                    words = [None]
                if words is None:
                    return None
                found += words
            return found
        return None

    def string_bounds(self, schema: Mapping[str, Any]) -> tuple[int, int | None]:
        """Least and most characters of a string (of its string branch, if it has branches)."""
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
        words = self.words(schema)
        if words:
            return choice([literal(json.dumps(word, ensure_ascii=False)) for word in words])
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
                # not a surrogate: half of a pair is no text
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

    def other_than(self, schema: Mapping[str, Any], values: Sequence[Any]) -> str | None:
        """Expression of all values of a schema but these; None when there is no other."""
        schema = self.resolve(schema)
        words = self.words(schema)
        if words is not None:
            left = [w for w in words if not any(same_value(w, value) for value in values)]
            if not left:
                return None
            return choice([literal(json.dumps(word, ensure_ascii=False)) for word in left])
        alternatives: list[str] = []
        for kind in sorted(types_of(schema, self._root)):
            alternatives += self._other_of_type(kind, schema, values)
        return choice(alternatives) if alternatives else None

    def _other_of_type(
        self, kind: str, schema: Mapping[str, Any], values: Sequence[Any]
    ) -> list[str]:
        mine = [value for value in values if _type_of(value) == kind]
        if kind == "boolean":
            left = [word for word in ("true", "false") if (word == "true") not in mine]
            return [literal(word) for word in left]
        if kind == "null":
            return [] if mine else ['"null"']
        if kind == "string":
            return [f'"\\"" {self._other_string(frozenset(mine))} "\\""']
        if kind == "integer":
            return [self._other_integer(frozenset(str(value) for value in mine))]
        raise InexpressibleError(kind)

    def _other_string(self, words: frozenset[str]) -> str:
        """Strings but these, each character spelled in one way only."""
        rest = self.grammar.repeat(self._canonical(()), 0, self._limit)
        anything = self.grammar.rule(("canonical", self._limit), "any", lambda: rest)

        def node(prefix: str) -> str:
            return self.grammar.rule(("not", words, prefix), "other", lambda: body(prefix))

        def body(prefix: str) -> str:
            size = len(prefix)
            children = {w[size] for w in words if w.startswith(prefix) and len(w) > size}
            steps = [f"{literal(_spell(c))} {node(prefix + c)}" for c in sorted(children)]
            end = [] if prefix in words else ['""']
            return " | ".join([*end, *steps, f"{self._canonical(children)} {anything}"])

        return node("")

    def _canonical(self, without: set[str] | tuple[str, ...]) -> str:
        def body() -> str:
            plain = {c for c in without if c not in _ESCAPED and c >= " "}
            shown = char_class(plain, negated=True)[2:-1] if plain else ""
            short = [_spell(c)[1] for c in _ESCAPED if c not in without]
            escape = f" | {literal(chr(92))} {char_class(short)}" if short else ""
            return f'[^{shown}"\\\\\\x00-\\x1F]{escape}'

        return self.grammar.rule(("canonical", frozenset(without)), "c", body)

    def _other_integer(self, words: frozenset[str]) -> str:
        def node(prefix: str) -> str:
            return self.grammar.rule(("int", words, prefix), "other", lambda: body(prefix))

        def body(prefix: str) -> str:
            size = len(prefix)
            children = {w[size] for w in words if w.startswith(prefix) and len(w) > size}
            end = [] if prefix in words or prefix in ("", "-") else ['""']
            zero_only = prefix == "" and "0" in words  # nothing may follow a leading zero
            steps = [
                f"{literal(c)} {node(prefix + c)}"
                for c in sorted(children - ({"0"} if zero_only else set()))
            ]
            allowed = {"": "-0123456789", "-": "123456789", "0": ""}.get(prefix, "0123456789")
            for c in sorted(set(allowed) - children):
                follow = {"-": "[1-9] [0-9]{0,14}", "0": '""' if not prefix else "[0-9]{0,14}"}
                steps.append(f"{literal(c)} {follow.get(c, '[0-9]{0,14}')}")
            return " | ".join([*end, *steps]) or '""'

        return node("")


def _bounds(schema: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """Least and highest whole number of a schema."""
    low, high = schema.get("minimum"), schema.get("maximum")
    return None if low is None else math.ceil(low), None if high is None else math.floor(high)


def _spell(character: str) -> str:
    return json.dumps(character, ensure_ascii=False)[1:-1]
