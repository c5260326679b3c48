"""The built-in tools by name, their declarations, and validation of a call's arguments."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import json
import re
from typing import Any, cast

from pydantic import ValidationError

from laguna_agent.tools.files.encoding import printable
from laguna_agent.tools.tool import Tool, ToolArguments

BUILT_IN = {
    "read": ("read", "ReadTool"),
    "edit": ("edit", "EditTool"),
    "write": ("write", "WriteTool"),
    "search": ("search", "SearchTool"),
    "symbols": ("symbols", "SymbolsTool"),
    "shell": ("shell", "ShellTool"),
    "git": ("git", "GitTool"),
    "plan": ("plan", "PlanTool"),
    "recall": ("recall", "RecallTool"),
    "done": ("done", "DoneTool"),
}
"""Module and class of each built-in tool, in the order in which tools are declared."""
_TRUE = {"true", "yes", "on", "1"}
_FALSE = {"false", "no", "off", "0"}
_NUMBER = re.compile(r"-?\d{1,15}(\.\d{1,15})?")
_DROPPED = {"title", "default", "additionalProperties", "$defs", "minimum", "minLength"}


def builtin_tools(*names: str) -> dict[str, Tool]:
    """The built-in tools by name, in the order of their declaration; only `names` if given.

    Their modules are imported only here.
    """
    tools: dict[str, Tool] = {}
    for name, (module, class_name) in BUILT_IN.items():
        if not names or name in names:
            found = importlib.import_module(f"laguna_agent.tools.{module}")
            tools[name] = cast(Tool, getattr(found, class_name)())
    return tools


# --- declaration ----------------------------------------------------------------------------


def parameters(arguments: type[ToolArguments]) -> dict[str, Any]:
    """The argument model as a JSON schema, without keywords that cost tokens and add nothing."""
    schema = arguments.model_json_schema()
    return cast(dict[str, Any], _compact(schema, schema.get("$defs", {})))


def declaration(tool: Tool, description: str | None = None) -> dict[str, Any]:
    """`{"name", "description", "parameters"}` as declared to the model."""
    return {
        "name": tool.name,
        "description": tool.description if description is None else description,
        "parameters": parameters(tool.arguments),
    }


def _compact(node: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(node, list):
        return [_compact(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return _compact(definitions[node["$ref"].rsplit("/", 1)[1]], definitions)
    if "anyOf" in node:
        options = [option for option in node["anyOf"] if option.get("type") != "null"]
        if len(options) == 1:
            rest = {key: value for key, value in node.items() if key != "anyOf"}
            return _compact(options[0] | rest, definitions)
    compact = {}
    for key, value in node.items():
        if key == "properties":
            compact[key] = {name: _compact(inner, definitions) for name, inner in value.items()}
        elif key == "description" and node.get("type") == "object" and "properties" in node:
            continue  # the docstring of the argument model
        elif key not in _DROPPED:
            compact[key] = _compact(value, definitions)
    if "enum" in compact:
        compact.pop("type", None)
    return compact


# --- validation -----------------------------------------------------------------------------


def validate_arguments(tool: Tool, raw: Any) -> ToolArguments | str:
    """The validated arguments, or one line for the model: what is wrong, and a correct example.

    Unambiguous values are converted ("12" to 12, "true" to true, an item to a list of one, JSON
    text to a list); unknown arguments are refused.
    """
    if isinstance(raw, str):
        with contextlib.suppress(ValueError):
            raw = json.loads(raw)
    if not isinstance(raw, dict):
        return f"{tool.name}: the arguments must be one object. {_example(tool)}".strip()
    schema = parameters(tool.arguments)
    known = schema.get("properties", {})
    for name in raw:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]}?" if near else f"it takes {', '.join(known)}."
            line = f"{tool.name} has no argument {name}; {hint} {_example(tool, raw)}"
            return line.strip()
    values = {
        name: convert(value, known[name])
        for name, value in raw.items()
        # null means that an optional argument was left out
        if value is not None or name in schema.get("required", [])
    }
    try:
        return tool.arguments.model_validate(values)
    except ValidationError as error:
        problems = [_problem(item) for item in error.errors()[:3]]
        return f"{tool.name}: {'; '.join(problems)}. {_example(tool, raw)}".strip()


def _problem(item: Any) -> str:
    where = ".".join(str(part) for part in item["loc"])
    if item["type"] == "missing":
        return f"{where} is missing"
    message = str(item["msg"]).removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    return f"{where}: {message}" if where else message


def convert(value: Any, schema: dict[str, Any]) -> Any:
    """A value in the type of its schema, where there is only one way to mean it."""
    kind = schema.get("type")
    if isinstance(value, str):
        value = printable(value)  # lone surrogates can be neither stored nor shown
        text = value.strip()
        if kind == "integer":
            digits = text.replace(",", "").replace("_", "")
            return int(digits) if digits.removeprefix("-").isdecimal() else value
        if kind == "number" and _NUMBER.fullmatch(text):
            return float(text) if "." in text else int(text)
        if kind == "boolean":
            lowered = text.lower()
            return True if lowered in _TRUE else False if lowered in _FALSE else value
        if kind in ("array", "object") and text[:1] in ("[", "{"):
            try:
                value = json.loads(text, strict=False)
            except ValueError:
                return value
        if "enum" in schema and value not in schema["enum"]:
            folded = text.strip("\"'").lower()
            return folded if folded in schema["enum"] else value
    if kind == "integer" and isinstance(value, float) and value.is_integer():
        return int(value)
    if kind == "boolean" and isinstance(value, int) and value in (0, 1):
        return bool(value)
    if kind == "array" and not isinstance(value, list):
        value = [value]
    if kind == "array" and isinstance(value, list):
        return [convert(item, schema.get("items", {})) for item in value]
    return value


def _example(tool: Tool, raw: Any = None) -> str:
    """A correct call that keeps the correct arguments of the model's own call."""
    if not tool.example:
        return ""
    given = raw if isinstance(raw, dict) else {}
    known = parameters(tool.arguments).get("properties", {})

    def right(name: str, value: Any) -> bool:
        own = given.get(name)
        both_text = isinstance(own, str) and isinstance(value, str)
        return both_text and 0 < len(str(own).strip()) <= 80 and "enum" not in known.get(name, {})

    shown = {
        name: given[name] if right(name, value) else value for name, value in tool.example.items()
    }
    return f"Example: {json.dumps(shown)}"
