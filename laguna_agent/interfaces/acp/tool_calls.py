"""What an editor shows of a tool call: kind, title, places in files, content."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from acp import schema

from laguna_agent.actions import (
    Action,
    ReadPath,
    RunCommand,
    WritePath,
    action_text,
)
from laguna_agent.events import ToolCall, ToolFinished
from laguna_agent.interfaces.acp.content import (
    code_content,
    diff_contents,
    hunks,
    text_content,
)
from laguna_agent.policy.sanitize import visible

KINDS: dict[str, schema.ToolKind] = {
    "read": "read",
    "edit": "edit",
    "write": "edit",
    "search": "search",
    "symbols": "search",
    "recall": "search",
    "shell": "execute",
    "git": "execute",
}
"""Kinds of the built-in tools; those of a pack run commands, and others are `other`."""
HIDDEN = ("plan", "done")
"""Tools whose calls are shown as a plan and as the answer."""
Content = (
    schema.ContentToolCallContent | schema.FileEditToolCallContent | schema.TerminalToolCallContent
)


def kind_of(tool: str) -> schema.ToolKind:
    """The kind of a tool's calls."""
    return KINDS.get(tool, "other")


def title_of(call: ToolCall) -> str:
    """What a call is for, before the tool has said it."""
    arguments = call.arguments
    if call.name == "shell":
        return f"$ {str(arguments.get('command', '')).strip().partition(chr(10))[0]}"
    about = next(
        (str(arguments[key]) for key in ("path", "pattern", "name", "query", "action")
         if arguments.get(key)), "",
    )  # fmt: skip
    return visible(f"{call.name.capitalize()} {about.partition(chr(10))[0]}".strip())


def locations_of(
    arguments: Mapping[str, Any], start: Path, line: int | None = None
) -> list[schema.ToolCallLocation] | None:
    """The file that a call is about, as an absolute path with a line."""
    path = arguments.get("path")
    if not isinstance(path, str) or not path or ":" in path or "\0" in path:
        return None  # `skill:NAME`, `output:3`
    first = arguments.get("start")
    if line is None and isinstance(first, int):
        line = first
    return [schema.ToolCallLocation(path=absolute(path, start), line=line)]


def absolute(path: str, start: Path) -> str:
    """A path of the model as an absolute one, without following links."""
    return os.path.normpath(start / os.path.expanduser(path))


def finished_content(
    finished: ToolFinished, arguments: Mapping[str, Any], start: Path
) -> tuple[list[Content], list[schema.ToolCallLocation] | None]:
    """The content of a call that has ended, and its places."""
    place = locations_of(arguments, start)
    if finished.diff and place is not None and len(finished.files_changed) == 1:
        first = next((hunk.line for hunk in hunks(finished.diff)), None)
        content: list[Content] = [*diff_contents(finished.diff, place[0].path)]
        if not finished.ok or "WARNING" in finished.content:
            content.append(text_content(visible(finished.content)))
        return content, locations_of(arguments, start, first)
    if not finished.content.strip():
        return [], place
    plain = finished.name in KINDS and finished.ok is not None
    text = visible(finished.content)
    language = "console" if finished.name == "shell" else ""
    return [code_content(text, language) if plain else text_content(text)], place


def asked_content(action: Action) -> list[Content]:
    """What an approval shows: the exact command, change or host."""
    match action:
        case WritePath(path=path, diff=diff) if diff:
            return [*diff_contents(diff, path)]
        case RunCommand(command=command):
            return [code_content(visible(command), "sh")]
        case _:
            return [text_content(visible(action_text(action)))]


def asked_locations(action: Action) -> list[schema.ToolCallLocation] | None:
    """The file that an approval is about."""
    if isinstance(action, ReadPath | WritePath):
        return [schema.ToolCallLocation(path=action.path)]
    return None
