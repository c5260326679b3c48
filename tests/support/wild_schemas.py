"""Schemas of arguments as servers in the field send them, and as a hostile one could."""

from __future__ import annotations

from typing import Any


def _deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    return schema


def _objects(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


WILD: dict[str, Any] = {
    "none": None,
    "a list": [1],
    "true": True,
    "empty": {},
    "without a type": {"properties": {"a": {"type": "string"}}},
    "no properties": {"type": "object"},
    "properties are a list": {"type": "object", "properties": ["a"]},
    "a property is true": _objects(a=True, b=None, c="string"),
    "a property without a type": _objects(a={"description": "anything"}),
    "required is a text": {**_objects(a={"type": "string"}), "required": "a"},
    "required names nothing": {**_objects(a={"type": "string"}), "required": ["z", 3, None]},
    "a reference": {
        **_objects(a={"$ref": "#/$defs/A"}),
        "$defs": {"A": {"type": "object", "properties": {"b": {"$ref": "#/definitions/B"}}}},
        "definitions": {"B": {"enum": ["x", "y"]}},
    },
    "a reference to nothing": _objects(a={"$ref": "#/$defs/Missing"}),
    "a reference elsewhere": _objects(a={"$ref": "https://evil.example/schema.json"}),
    "a reference to itself": {"$ref": "#"},
    "a tree": {
        **_objects(node={"$ref": "#/$defs/N"}),
        "$defs": {
            "N": {
                "type": "object",
                "properties": {
                    "left": {"$ref": "#/$defs/N"},
                    "right": {"$ref": "#/$defs/N"},
                    "all": {"type": "array", "items": {"$ref": "#/$defs/N"}},
                },
            }
        },
    },
    "two references in a circle": {
        **_objects(a={"$ref": "#/$defs/A"}),
        "$defs": {"A": {"$ref": "#/$defs/B"}, "B": {"$ref": "#/$defs/A"}},
    },
    "optional": _objects(a={"anyOf": [{"type": "string"}, {"type": "null"}], "default": None}),
    "one of objects": _objects(
        a={
            "oneOf": [
                {**_objects(kind={"const": "x"}, x={"type": "integer"}), "title": "X"},
                _objects(kind={"const": "y"}, y={"type": "boolean"}),
            ],
            "discriminator": {"propertyName": "kind"},
        }
    ),
    "at the top, one of": {"oneOf": [_objects(a={"type": "string"}), _objects(b={"type": "null"})]},
    "at the top, all of": {
        "allOf": [_objects(a={"type": "string"}), {"properties": {"b": {"type": "integer"}}}]
    },
    "many branches": _objects(a={"anyOf": [{"type": "string"}] * 400}),
    "nested branches": _objects(
        a={"anyOf": [{"anyOf": [{"anyOf": [{"type": "integer"}, {}]}, {"type": "string"}]}, {}]}
    ),
    "types in a list": _objects(a={"type": ["string", "integer", "null"]}),
    "types that are none": _objects(a={"type": "any"}, b={"type": ["file", 3]}),
    "mixed values": _objects(a={"enum": ["x", 1, 1.5, True, None]}),
    "values that are objects": _objects(a={"enum": [{"x": 1}, [2]]}),
    "no values": _objects(a={"enum": []}),
    "thousands of values": _objects(a={"enum": [f"value {n}" for n in range(5_000)]}),
    "thousands of properties": _objects(**{f"p{n}": {"type": "string"} for n in range(3_000)}),
    "optional ones": {
        "type": "object",
        "properties": {f"p{n}": {"type": "integer"} for n in range(50)},
    },
    "deep": _deep(500),
    "a map": _objects(a={"type": "object", "additionalProperties": {"type": "integer"}}),
    "closed": {**_objects(a={"type": "string"}), "additionalProperties": False},
    "arrays": _objects(
        a={"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 10**9},
        b={"type": "array", "items": [{"type": "string"}]},
        c={"type": "array"},
        d={"type": "array", "prefixItems": [{"type": "string"}], "items": False},
    ),
    "bounds": _objects(
        a={"type": "integer", "minimum": -5, "maximum": 10**400},
        b={"type": "integer", "minimum": 3.5, "maximum": 1.5},
        c={"type": "number", "minimum": "3", "exclusiveMinimum": True},
        d={"type": "string", "minLength": -3, "maxLength": 10**12},
        e={"type": "string", "minLength": 10, "maxLength": 2},
        f={"type": "array", "minItems": 50, "maxItems": 1, "items": {"type": "boolean"}},
    ),
    "patterns": _objects(
        a={"type": "string", "pattern": "^(a+)+$", "format": "uri"},
        b={"not": {"type": "string"}},
        c={"if": {"type": "string"}, "then": {"minLength": 3}},
        d={"type": "object", "patternProperties": {"^(x+)+$": {"type": "string"}}},
    ),
    "names": _objects(**{"a b": {"type": "string"}, "x-y": {}, "": {}, "n\n": {}, "é": {}}),
    "a name as long as a page": _objects(**{"n" * 5_000: {"type": "string"}}),
    "a description as long as a book": _objects(
        a={"type": "string", "description": "x " * 100_000}
    ),
}
