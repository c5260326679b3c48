"""Declares tools to the model: JSON schemas with the argument docs of the pack."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from laguna_agent.errors import UsageError
from laguna_agent.prompts.loader.problems import PackError, Problem
from laguna_agent.prompts.loader.templates import RESULT
from laguna_agent.prompts.loader.tool_file import ArgumentSpec, ToolText
from laguna_agent.toml_errors import key_line
from laguna_agent.tools.registry import parameters
from laguna_agent.tools.tool import Tool, ToolArguments, ToolKind


@dataclass(frozen=True)
class PackTool:
    """A tool, and how a pack declares it."""

    name: str
    description: str
    parameters: dict[str, Any]
    """JSON schema of an object: `properties` and `required`."""
    kind: ToolKind
    tool: Tool
    max_output: int
    """Characters of a result."""


class RenderText(Protocol):
    """Renders a template that is at `line` of the file `path`."""

    def __call__(self, text: str, values: Mapping[str, Any], *, path: Path, line: int) -> str:
        """Render the template. Raises PackError."""


def declare(
    name: str,
    text: ToolText | None,
    body: str,
    builtin: Mapping[str, Tool],
    *,
    max_output: int,
    render: RenderText,
) -> PackTool:
    """Declare one tool. `text` is the tool's file in the pack, `body` its rendered description.

    Raises PackError when the file's command cannot be filled safely.
    """
    if text is None:
        tool = builtin[name]
        description, arguments = tool.description, {}
    else:
        has_command = text.head.command is not None
        tool = _command_tool(name, text, body, builtin, render) if has_command else builtin[name]
        description = "\n".join(
            [
                body or tool.description,
                *(f"Example: {json.dumps(e, ensure_ascii=False)}" for e in text.head.examples),
            ]
        )
        arguments, max_output = text.head.arguments, text.head.max_output or max_output
    return PackTool(
        name=name,
        description=description,
        parameters=pack_parameters(tool.arguments, arguments),
        kind=tool.kind,
        tool=tool,
        max_output=max_output,
    )


def _command_tool(
    name: str, text: ToolText, body: str, builtin: Mapping[str, Tool], render: RenderText
) -> Tool:
    from laguna_agent.prompts.loader.command import command_problems
    from laguna_agent.prompts.loader.text_tool import text_tool

    if name in builtin:
        message = f"`{name}` is a built-in tool and cannot be given a command"
        line = key_line(text.front, ["command"], first=2)
        raise PackError([Problem(text.path, line, message, "Rename the file.")])
    problems = command_problems(text)
    if problems:
        raise PackError(problems)
    if "shell" not in builtin:
        raise UsageError(f"the tool `{name}` needs the shell tool, which is not available")
    template, path = text.head.result, text.path
    if template is None:
        return text_tool(name, text, body, builtin["shell"], None)
    line = key_line(text.front, ["result"], first=2) or 1

    def shape(values: Mapping[str, Any]) -> str:
        return render(template, {**RESULT, **values}, path=path, line=line)

    return text_tool(name, text, body, builtin["shell"], shape)


def pack_parameters(
    model: type[ToolArguments], arguments: Mapping[str, ArgumentSpec]
) -> dict[str, Any]:
    """The small JSON schema of an argument model, with docs replaced and arguments hidden.

    Required arguments are never hidden. `"type": "object"` is left out to save five tokens a tool.
    """
    schema = parameters(model)
    schema.pop("type", None)
    properties = schema.get("properties", {})
    for name, spec in arguments.items():
        if name not in properties:
            continue
        if spec.hidden and name not in schema.get("required", []):
            del properties[name]
        elif spec.doc:
            properties[name]["description"] = spec.doc
        elif spec.doc is not None:
            properties[name].pop("description", None)
        if spec.type == "number" and name in properties:
            # Declared, because a grammar can enforce it.
            properties[name]["minimum"] = _whole(spec.minimum or 0)
            if spec.maximum is not None:
                properties[name]["maximum"] = _whole(spec.maximum)
    schema["properties"] = _without_lengths(properties)
    return schema


def _whole(number: float) -> float:
    return int(number) if number == int(number) else number


def _without_lengths(node: Any) -> Any:
    # Texts are rarely too long or empty, and then the error says so.
    if isinstance(node, dict):
        kept = {k: v for k, v in node.items() if not _is_length(k, v)}
        return {key: _without_lengths(value) for key, value in kept.items()}
    return [_without_lengths(item) for item in node] if isinstance(node, list) else node


def _is_length(key: str, value: Any) -> bool:
    # An argument may itself be called `minLength`; its value is then a schema. Lengths that the
    # author of a tool chose stay, because a grammar can enforce them.
    return (key == "minLength" and isinstance(value, int)) or (
        key == "maxLength" and value == ArgumentSpec().max_length
    )
