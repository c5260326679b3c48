"""Calls whose arguments are not JSON: Python's keyword arguments, and those of Gemma 4."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from laguna_agent.models.chat.loose_json import clean, load_json
from laguna_agent.models.chat.schema import properties_of
from laguna_agent.models.conversation import ToolSpec

_MOST_CHARS = 200_000
"""Longer texts are not given to Python's parser."""
_CONSTANTS: Mapping[str, Any] = {"true": True, "false": False, "null": None}
_QUOTE = '<|"|>'
_KEY = re.compile(r"([{,]\s*)([A-Za-z_][\w-]*)\s*:")


def python_calls(text: str, tools: Sequence[ToolSpec]) -> list[tuple[str, dict[str, Any]]]:
    """The calls of `[read(path="a.py"), shell("ls")]`, in one list or on lines of their own.

    Arguments without a name are the tool's, in their order. Nothing is run: values are literals.
    Raises ValueError, whose text continues "could not be read:".
    """
    if len(text) > _MOST_CHARS:
        raise ValueError("it is too long")
    try:
        body = ast.parse(text.strip()).body
    except (SyntaxError, RecursionError, MemoryError, ValueError) as error:
        raise ValueError("calls are written [tool(argument=value)]") from error
    found: list[ast.expr] = []
    for statement in body:
        if not isinstance(statement, ast.Expr):
            raise ValueError("there is something else beside the calls")
        value = statement.value
        found += value.elts if isinstance(value, ast.List | ast.Tuple) else [value]
    return [_call(node, tools) for node in found]


def _call(node: ast.expr, tools: Sequence[ToolSpec]) -> tuple[str, dict[str, Any]]:
    if not isinstance(node, ast.Call):
        raise ValueError("there is something else beside the calls")
    name = ast.unparse(node.func)
    tool = next((tool for tool in tools if tool.name == name), None)
    order = [key for key, _, _ in properties_of(tool.parameters)] if tool is not None else []
    if len(node.args) > len(order):
        raise ValueError("each argument needs its name")
    arguments = dict(zip(order, map(_value, node.args), strict=False))
    for keyword in node.keywords:
        value = _value(keyword.value)
        if keyword.arg is not None:
            arguments[keyword.arg] = value
        elif isinstance(value, dict):  # **{"path": "a.py"}
            arguments |= {str(key): item for key, item in value.items()}
    return name, clean(arguments)


def _value(node: ast.expr) -> Any:
    """A literal, in which JSON's words may stand."""
    if isinstance(node, ast.Name) and node.id in _CONSTANTS:
        return _CONSTANTS[node.id]
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(item) for item in node.elts]
    if isinstance(node, ast.Dict):
        keys = [ast.literal_eval(key) if key is not None else None for key in node.keys]
        return dict(zip(map(str, keys), map(_value, node.values), strict=True))
    value = ast.literal_eval(node)
    if not isinstance(value, str | int | float | None):
        raise ValueError("an argument is no plain value")
    return value


def gemma_arguments(text: str) -> dict[str, Any]:
    """The arguments of `{path:<|"|>a.py<|"|>,lines:3}`. Raises ValueError."""
    parts = text.split(_QUOTE)
    if len(parts) % 2 == 0:
        raise ValueError("it was cut off before its end")
    # Texts stand between the quotes, at the odd places: the rest is JSON but for its keys.
    parts[1::2] = map(json.dumps, parts[1::2])
    parts[::2] = (_KEY.sub(r'\1"\2":', part) for part in parts[::2])
    value = load_json("".join(parts))
    if not isinstance(value, dict):
        raise ValueError("arguments must be one object")
    return dict(clean(value))
