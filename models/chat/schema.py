"""JSON schemas of tool arguments: as GBNF values, and as types to decode by.

Supported: string (minLength, maxLength), integer (minimum, maximum), number, boolean,
null, enum, const, array (items, minItems, maxItems), object (properties, required,
additionalProperties), anyOf, oneOf, a single allOf, and local $ref. Anything else allows any
JSON value, and so does what is no schema, since servers and packs write schemas by hand. Of very
many properties or values only some are held to; a schema that contains itself ends at a depth.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from laguna_agent.models.chat.gbnf import Gbnf, char_class, choice, literal
from laguna_agent.models.chat.integer_ranges import DIGITS, integers

SPACE = '( " " | "\\n" [ \\t]{0,20} )?'
"""White space between the parts of a JSON value."""
_MAX_ITEMS = 64
_MAX_DEPTH = 6
_MAX_PROPERTIES, _MAX_VALUES, _MAX_COUNT = 100, 500, 1_000_000
_ANY_TYPES = ("object", "array", "string", "number", "boolean", "null")
_ESCAPED = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b"} | {
    "\f": "\\f"
}


def resolve(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow local references and single `allOf`s."""
    found: Any = schema
    for _ in range(32):
        if not isinstance(found, Mapping):
            return {}
        if "$ref" in found:
            node: Any = root
            for part in str(found["$ref"]).lstrip("#").strip("/").split("/"):
                if part:
                    node = node.get(part, {}) if isinstance(node, Mapping) else {}
            found = node
        elif isinstance(found.get("allOf"), list) and len(found["allOf"]) == 1:
            found = found["allOf"][0]
        else:
            return found
    return {}


def branches_of(schema: Mapping[str, Any]) -> list[Any]:
    """The alternatives of a resolved schema (`anyOf`, `oneOf`); none if it has none."""
    found = schema.get("anyOf") or schema.get("oneOf")
    return list(found) if isinstance(found, list) else []


def properties_of(
    parameters: Mapping[str, Any],
) -> list[tuple[str, Mapping[str, Any], bool]]:
    """(name, schema, required) of each property of an object schema, in declared order."""
    parameters = resolve(parameters, parameters)
    given, named = parameters.get("properties"), parameters.get("required")
    required = {key for key in named if isinstance(key, str)} if isinstance(named, list) else set()
    properties = given if isinstance(given, Mapping) else {}
    kept = sorted(properties, key=lambda key: key not in required)[:_MAX_PROPERTIES]
    return [
        (key, schema if isinstance(schema, Mapping) else {}, key in required)
        for key, schema in properties.items()
        if len(properties) <= _MAX_PROPERTIES or key in kept
    ]


def types_of(schema: Mapping[str, Any], root: Mapping[str, Any], depth: int = 0) -> set[str]:
    """JSON type names that a schema allows; all of them when it names none."""
    schema = resolve(schema, root)
    branches = branches_of(schema) if depth < _MAX_DEPTH else []
    if branches:
        return set[str]().union(*(types_of(branch, root, depth + 1) for branch in branches))
    for values in (schema.get("enum"), [schema["const"]] if "const" in schema else None):
        if isinstance(values, list) and values:
            return {_type_of(value) for value in values}
    kind = schema.get("type")
    kinds = kind if isinstance(kind, list) else [kind]
    named = {one for one in kinds if isinstance(one, str)} & {*_ANY_TYPES, "integer"}
    if named:
        return named
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

    def allowed_values(self, schema: Mapping[str, Any], depth: int = 0) -> list[Any] | None:
        """The values that a schema lists (`enum`, `const`); None when it lists none, or too many
        to be told apart token by token."""
        schema = self.resolve(schema)
        if isinstance(schema.get("enum"), list):
            return list(schema["enum"]) if 0 < len(schema["enum"]) <= _MAX_VALUES else None
        if "const" in schema:
            return [schema["const"]]
        branches = branches_of(schema) if depth < _MAX_DEPTH else []
        if branches:
            found: list[Any] = []
            for branch in branches:
                values = self.allowed_values(branch, depth + 1)
                if values is None and types_of(branch, self._root) == {"null"}:
                    values = [None]
                if values is None:
                    return None
                found += values
            return found
        return None

    def string_bounds(self, schema: Mapping[str, Any], depth: int = 0) -> tuple[int, int | None]:
        """Minimum and maximum length of a string (of its string branch, if it has branches)."""
        schema = self.resolve(schema)
        for branch in branches_of(schema) if depth < _MAX_DEPTH else ():
            if "string" in types_of(branch, self._root):
                return 0, self.string_bounds(branch, depth + 1)[1]
        bounds = [n for n in (_count(schema, "maxLength"), self._limit) if n is not None]
        high = min(bounds, default=None)
        low = _count(schema, "minLength") or 0
        return (low if high is None else min(low, high)), high

    def value(self, schema: Mapping[str, Any], depth: int = 0) -> str:
        """Expression of the values of a schema."""
        schema = self.resolve(schema)
        values = self.allowed_values(schema)
        if values:
            return choice([literal(json.dumps(value, ensure_ascii=False)) for value in values])
        branches = branches_of(schema) if depth < _MAX_DEPTH else []
        if branches:
            written = [self.value(branch, depth + 1) for branch in branches]
            return choice(list(dict.fromkeys(written)))
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
        most = _count(schema, "maxItems")
        low = min(_count(schema, "minItems") or 0, _MAX_ITEMS)
        high = max(low, _MAX_ITEMS if most is None else min(most, _MAX_ITEMS))
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

            identity = ("object", _identity(schema), depth, index, first)
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
    """Smallest and largest integer of a schema; none where no integer would be left."""
    low, high = _number(schema, "minimum"), _number(schema, "maximum")
    least = None if low is None else math.ceil(low)
    most = None if high is None else math.floor(high)
    empty = least is not None and most is not None and least > most
    return (None, None) if empty else (least, most)


def _number(schema: Mapping[str, Any], key: str) -> int | float | None:
    """A bound that a grammar can hold."""
    value = schema.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if abs(value) < 10**DIGITS else None


def _count(schema: Mapping[str, Any], key: str) -> int | None:
    """A number of characters or items; none where it is as good as no bound."""
    value = _number(schema, key)
    return int(value) if value is not None and 0 <= value <= _MAX_COUNT else None


def _identity(schema: Mapping[str, Any]) -> object:
    """What equal schemas have in common."""
    try:
        return json.dumps(schema, sort_keys=True)
    except RecursionError:
        return id(schema)


def _spell(character: str) -> str:
    return json.dumps(character, ensure_ascii=False)[1:-1]
