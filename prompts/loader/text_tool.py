"""Tools without Python: a command template with typed arguments, run by the shell tool."""

from __future__ import annotations

import asyncio
import difflib
import os
import re
import shlex
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, create_model

from laguna_agent.actions import Action
from laguna_agent.prompts.loader.command import fill, is_option_position
from laguna_agent.prompts.loader.tool_file import ArgumentSpec, OutputSpec, ToolText
from laguna_agent.tools.output import bound
from laguna_agent.tools.tool import Tool, ToolArguments, ToolContext, ToolKind, ToolResult

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
_LOCK = "prompts.texttool"
_MOST_OUTPUT_BYTES = 16 << 20
_FIELD: dict[str, Any] = {"string": str, "path": str, "flag": bool}

ResultTemplate = Callable[[Mapping[str, Any]], str]


class BadValueError(Exception):
    """An argument's value cannot be used; the message is for the model."""


class TextTool:
    """Base of the classes that `text_tool` creates, one for each tool file."""

    name: ClassVar[str]
    kind: ClassVar[ToolKind]
    description: ClassVar[str]
    arguments: ClassVar[type[ToolArguments]]
    example: ClassVar[dict[str, Any]] = {}

    def __init__(self, text: ToolText, shell: Tool, shape: ResultTemplate | None) -> None:
        self.text, self.shell, self.shape = text, shell, shape

    def title(self, arguments: Any, context: ToolContext) -> str:
        """The command line, on one line."""
        return " ".join(self.command_line(arguments, context).split())

    def actions(self, arguments: Any, context: ToolContext) -> list[Action]:
        """The actions of the shell tool, as if the model had written the command."""
        try:
            self.check(arguments, context)
        except BadValueError:
            return []  # nothing is run: `run` answers with the reason
        return self.shell.actions(self._shell_arguments(arguments, context), context)

    async def run(self, arguments: Any, context: ToolContext) -> ToolResult:
        """Check the values, run the command, filter its output as the tool file says."""
        try:
            self.check(arguments, context)
        except BadValueError as error:
            return ToolResult(ok=False, content=f"{self.name}: {error}", summary="bad argument")
        # Read-only tools may run in parallel, and there is one shell.
        async with context.state.setdefault(_LOCK, asyncio.Lock()):
            result = await self.shell.run(self._shell_arguments(arguments, context), context)
        return self._shaped(result, arguments, context)

    def command_line(self, arguments: Any, context: ToolContext) -> str:
        """The command with every value quoted.

        Paths are relative to the workspace, so they are absolute when the shell's current
        directory is another one.
        """
        from laguna_agent.tools.shell import shell_cwd

        base = None if shell_cwd(context) == str(context.workspace) else context.workspace
        specs, values = self.text.head.arguments, {}
        for name, spec in specs.items():
            values[name] = _word(spec, getattr(arguments, name), base)
        return fill(self.text.head.command or "", values)

    def check(self, arguments: Any, context: ToolContext) -> None:
        """Raise BadValueError for a value that the command must not get."""
        for name, spec in self.text.head.arguments.items():
            value = getattr(arguments, name)
            if isinstance(value, str):
                self._check_text(name, spec, value, context)

    def _check_text(self, name: str, spec: ArgumentSpec, value: str, context: ToolContext) -> None:
        if _CONTROL.search(value):
            raise BadValueError(f"`{name}` contains a control character. Remove it.")
        if spec.type == "path":
            _check_path(name, spec, value, context.workspace)
        elif (
            value.startswith("-")
            and not spec.dash
            and spec.type == "string"
            and _is_option(self.text.head.command or "", name)
        ):
            raise BadValueError(
                f"`{name}` begins with a dash and would be read as an option. "
                "Give a value without it."
            )

    def _shell_arguments(self, arguments: Any, context: ToolContext) -> ToolArguments:
        fields = self.shell.arguments.model_fields
        given: dict[str, Any] = {"command": self.command_line(arguments, context)}
        if "timeout" in fields:
            given["timeout"] = self.text.head.timeout
        return self.shell.arguments.model_validate(given)

    def _shaped(self, result: ToolResult, arguments: Any, context: ToolContext) -> ToolResult:
        head = self.text.head
        if result.exit_code is None:
            return result
        result = result.model_copy(update={"ok": result.exit_code in head.ok_exit_codes})
        if head.output == OutputSpec() and self.shape is None:
            return result
        output, notes = _printed(result)
        output, cut = filtered(output, head.output)
        if self.shape is None:
            content = "\n".join([output or "(nothing to show)", *notes])
        else:
            content = self.shape(
                {
                    "output": output,
                    "exit_code": result.exit_code,
                    "command": self.command_line(arguments, context),
                    "arguments": arguments.model_dump(),
                }
            )
        bounded = bound(context, content, save=False)
        truncated = result.truncated or cut or bounded.truncated
        return result.model_copy(update={"content": bounded.text, "truncated": truncated})


def _printed(result: ToolResult) -> tuple[str, list[str]]:
    """The whole output of the command, and the shell's notes about how it ended."""
    lines = result.content.split("\n")
    count = result.notes
    notes = lines[len(lines) - count :] if count else []
    if result.output_file is not None:
        try:
            with Path(result.output_file).open("rb") as stream:
                return stream.read(_MOST_OUTPUT_BYTES).decode("utf-8", errors="replace"), notes
        except OSError:
            pass  # use the part that the result has
    text = "\n".join(lines[: len(lines) - count])
    return ("" if text == "(no output)" else text), notes


def text_tool(
    name: str, text: ToolText, description: str, shell: Tool, shape: ResultTemplate | None
) -> Tool:
    """Create the tool of a tool file. `shape` renders its result template, if it has one."""
    fields: dict[str, Any] = {n: _field(spec) for n, spec in text.head.arguments.items()}
    model = create_model(f"{name}_arguments", __base__=ToolArguments, **fields)
    members = {
        "name": name,
        "kind": text.head.kind or "execute",
        "description": description,
        "arguments": model,
    }
    made: type[TextTool] = type(f"TextTool_{name}", (TextTool,), members)
    return made(text, shell, shape)


def filtered(output: str, spec: OutputSpec) -> tuple[str, bool]:
    """The filtered output, and whether lines between its head and tail were left out."""
    lines = output.rstrip("\n").split("\n") if output.strip() else []
    if spec.keep:
        lines = [line for line in lines if re.search(spec.keep, line)]
    if spec.drop:
        lines = [line for line in lines if not re.search(spec.drop, line)]
    if spec.head is None and spec.tail is None:
        return "\n".join(lines), False
    head, tail = spec.head or 0, spec.tail or 0
    left_out = len(lines) - head - tail
    if left_out <= 0:
        return "\n".join(lines), False
    mark = f"[… {left_out} lines left out …]"
    last = lines[-tail:] if tail else []
    return "\n".join([*lines[:head], mark, *last]), True


def _field(spec: ArgumentSpec) -> tuple[Any, Any]:
    kind: Any
    limits: dict[str, Any] = {"description": spec.doc} if spec.doc else {}
    if spec.type == "choice":
        kind = Literal[tuple(spec.choices)]
    elif spec.type == "number":
        kind = int if spec.integer else float
        # A negative number looks like an option, so the tool file has to allow it.
        limits["ge"] = 0 if spec.minimum is None else spec.minimum
        if spec.maximum is not None:
            limits["le"] = spec.maximum
    else:
        kind = _FIELD[spec.type or "string"]
        if kind is str:
            limits["max_length"] = spec.max_length
    if spec.type == "flag":
        return bool, Field(default=bool(spec.default), **limits)
    if spec.default is not None:
        return kind, Field(default=spec.default, **limits)
    if spec.optional:
        return kind | None, Field(default=None, **limits)
    return kind, Field(**limits)


def _word(spec: ArgumentSpec, value: Any, base: Path | None) -> str | None:
    if spec.type == "flag":
        return spec.flag if value else None
    if value is None:
        return None
    if spec.type == "number":
        return format(value, "d") if isinstance(value, int) else repr(float(value))
    text = str(value)
    if spec.type == "path" and base is not None:
        return str(base / text)
    if spec.type == "path" and text.startswith("-"):
        return f"./{text}"
    return text


@cache
def _is_option(command: str, name: str) -> bool:
    return is_option_position(command, name)


def _check_path(name: str, spec: ArgumentSpec, value: str, workspace: Path) -> None:
    # `tests/test_a.py::test_b` names a test in a file.
    plain = value if os.path.lexists(workspace / value) else value.partition("::")[0]
    try:
        target = (workspace / plain).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise BadValueError(f"`{name}` is not a usable path: {error}") from error
    if not target.is_relative_to(workspace.resolve()):
        raise BadValueError(f"`{name}` is outside the workspace. Give a path inside it.")
    if spec.exists and not target.exists():
        raise BadValueError(f"`{name}`: {plain} does not exist.{_near_path(plain, workspace)}")


def _near_path(plain: str, workspace: Path) -> str:
    parent = (workspace / plain).parent
    try:
        names = [entry.name for entry in parent.iterdir()]
    except OSError:
        return ""
    close = difflib.get_close_matches(Path(plain).name, names, n=1)
    return f" Did you mean {shlex.quote(str(Path(plain).parent / close[0]))}?" if close else ""
