"""The read tool: files with line numbers, directories as a tree, anything else in one line."""

from __future__ import annotations

import asyncio
import os
import re
import stat
from collections.abc import Collection, Iterator
from typing import Any, ClassVar

from pydantic import Field

from laguna_agent.actions import Action, ReadPath
from laguna_agent.clip import clip_line
from laguna_agent.tools.code.index import FILE_LIMIT, index_source
from laguna_agent.tools.code.languages import language_of
from laguna_agent.tools.editor_buffers import as_edited
from laguna_agent.tools.files import decided, read_state, storage
from laguna_agent.tools.files.directory_tree import render_tree
from laguna_agent.tools.files.encoding import (
    Document,
    binary_kind,
    decode,
    printable,
    printable_name,
)
from laguna_agent.tools.files.workspace import (
    PathError,
    WorkspacePath,
    file_status,
    open_file,
    resolve_path,
)
from laguna_agent.tools.tool import ToolArguments, ToolContext, ToolKind, ToolResult

_STREAMED_FROM = 16 << 20
"""Bytes above which a file is streamed and its hash is not kept."""
_CHUNK = 1 << 20
_SCAN_LIMIT = 1 << 30
"""Bytes of a streamed file that are searched for the requested lines."""
_LINE_LIMIT = 2_000
_POSITION = re.compile(r"(output:\d+|(?!output:\d+$).+?)(?::|#L)(\d+)(?:-L?(\d+)|:(\d+))?")
"""`PATH:LINE`, `PATH:LINE-LINE`, `PATH#L1-L2` and `PATH:LINE:COLUMN`, as tools and people write."""
_OUTLINE_CHARS = 1_500


class ReadArguments(ToolArguments):
    """The file or folder, and the range of lines."""

    path: str
    start: int | None = Field(None, ge=1)
    end: int | None = Field(None, ge=1)


class ReadTool:
    """Shows a file or a directory."""

    name: ClassVar[str] = "read"
    kind: ClassVar[ToolKind] = "read"
    description: ClassVar[str] = "Read a file (lines start to end) or list a folder."
    arguments: ClassVar[type[ToolArguments]] = ReadArguments
    example: ClassVar[dict[str, Any]] = {"path": "NAME.py", "start": 1, "end": 80}

    def title(self, arguments: ReadArguments, context: ToolContext) -> str:
        """`Read a.py:10-20`."""
        lines = ""
        if arguments.start or arguments.end:
            lines = f":{arguments.start or 1}-{arguments.end or ''}"
        return f"Read {printable_name(arguments.path)}{lines}"

    def actions(self, arguments: ReadArguments, context: ToolContext) -> list[Action]:
        """Reading the resolved path."""
        try:
            target, *_ = _located(arguments, context)
        except PathError:
            decided.record(context, arguments, None)
            return []  # nothing is opened; the result explains why
        decided.record(context, arguments, str(target.path))
        return [] if target.saved else [ReadPath(path=str(target.path))]

    async def run(self, arguments: ReadArguments, context: ToolContext) -> ToolResult:
        """Read; never raises, whatever is on disk."""
        return await asyncio.to_thread(self._run, arguments, context)

    def _run(self, arguments: ReadArguments, context: ToolContext) -> ToolResult:
        storage.recover(context)
        try:
            call = arguments
            target, arguments, column = _located(arguments, context)
            decided.check(context, call, str(target.path))
            info = file_status(target)
            if info is not None and stat.S_ISDIR(info.st_mode):
                return _directory(target, context)
            return _file(target, arguments, context, column)
        except PathError as error:
            return ToolResult(ok=False, content=str(error))


def _located(
    arguments: ReadArguments, context: ToolContext
) -> tuple[WorkspacePath, ReadArguments, int | None]:
    """The file, the range of lines, and the column to start at, of a position in the path too."""
    position = _POSITION.fullmatch(arguments.path.strip())
    if position is None or os.path.lexists(os.path.join(context.start, arguments.path)):
        return resolve_path(context, arguments.path, guess=True), arguments, None
    path, start, end, column = position.groups()
    lines = {"start": arguments.start or max(1, int(start)), "end": end and int(end)}
    if arguments.end is not None:
        lines["end"] = arguments.end
    target = resolve_path(context, path, guess=True)
    return target, arguments.model_copy(update=lines), int(column) if column else None


def _directory(target: WorkspacePath, context: ToolContext) -> ToolResult:
    text = render_tree(context, target)
    return ToolResult(ok=True, content=_with_note(target, text), summary=target.label)


def _with_note(target: WorkspacePath, text: str) -> str:
    return f"{target.note}\n{text}" if target.note else text


def _file(
    target: WorkspacePath, arguments: ReadArguments, context: ToolContext, column: int | None
) -> ToolResult:
    descriptor = open_file(target)
    with os.fdopen(descriptor, "rb") as stream:
        size = os.fstat(descriptor).st_size
        try:
            data = stream.read(_STREAMED_FROM + 1)
        except OSError as error:
            raise PathError(f"{target.label} cannot be read: {error.strerror}.") from None
    if len(data) <= _STREAMED_FROM:
        data = as_edited(context, target, data)
    document = decode(data)
    if document is None:
        kind = binary_kind(data)
        content = f"{target.label} is a {kind} of {max(size, len(data)):,} bytes; it is not shown."
        return ToolResult(ok=True, content=content, summary=kind)
    if column is not None:
        if len(data) > _STREAMED_FROM:
            text = _stream_window(target, arguments.start or 1, column, context.max_output_chars)
            return _window(target, arguments.start or 1, column, text, size)
        lines = printable(document.text).split("\n")
        number = min(arguments.start or 1, len(lines))
        read_state.record_shown(context, target, data, lines=())
        text = lines[number - 1][column - 1 :][: context.max_output_chars]
        return _window(target, number, column, text, len(lines[number - 1]))
    if len(data) > _STREAMED_FROM:
        return _streamed(target, arguments, context, size)
    return _lines(target, arguments, context, document, data)


def _window(target: WorkspacePath, number: int, column: int, text: str, length: int) -> ToolResult:
    """A part of a long line. `length` is that of the line, or at least that."""
    if not text:
        raise PathError(f"{target.label}: line {number} has {length:,} characters.")
    after = column + len(text)
    more = after <= length
    how = f"[columns {column}-{after - 1} of {length:,}"
    how += f"; continue with path={target.label}:{number}:{after}]" if more else "]"
    content = _with_note(target, f"{number}\t{text}\n{how}")
    return ToolResult(ok=True, content=content, summary=target.label, truncated=more)


def _lines(
    target: WorkspacePath,
    arguments: ReadArguments,
    context: ToolContext,
    document: Document,
    data: bytes,
) -> ToolResult:
    text = printable(document.text)
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    total = len(lines)
    if not total:
        read_state.record_shown(context, target, data)
        return ToolResult(ok=True, content=_with_note(target, f"{target.label} is empty."))
    start, end = arguments.start or 1, min(arguments.end or total, total)
    if start > total:
        plural = "s" if total != 1 else ""
        raise PathError(f"{target.label} has {total} line{plural}; line {start} does not exist.")
    if end < start:
        start, end = end, start  # the same lines in the wrong order
    shown, last = _fit(lines, start, end, context.max_output_chars)
    if last < end:  # leave room for the outline and how to continue
        room = context.max_output_chars - _OUTLINE_CHARS
        shown, last = _fit(lines, start, end, max(room, context.max_output_chars // 2))
    cut = [n for n in range(start, last + 1) if len(lines[n - 1]) > _LINE_LIMIT]
    if not target.saved:
        whole = set(range(start, last + 1)).difference(cut)
        read_state.record_shown(context, target, data, lines=whole, total=total)
    notes = [target.note] if target.note else []
    if described := document.describe():
        notes.append(f"({described})")
    more = last < end
    rest = _outline_after(target, text, last) if more and start == 1 else []
    if last < total and (more or arguments.end is None):
        rest.append(f"[lines {start}-{last} of {total}; continue with start={last + 1}]")
    elif not data.endswith((b"\n", b"\r", b"\0")) and last == total:
        rest.append("[no newline at the end]")
    if cut:
        where = f"path={target.label}:{cut[0]}:{_LINE_LIMIT + 1}"
        rest.append(f"[line {cut[0]} is cut; continue with {where}]")
    content = "\n".join([*notes, shown, *rest])
    summary = f"{target.label} ({last - start + 1} of {total} lines)"
    return ToolResult(ok=True, content=content, summary=summary, truncated=more)


def _outline_after(target: WorkspacePath, text: str, last: int) -> list[str]:
    """An outline of what a large source file defines after line `last`."""
    language = language_of(target.relative, text[:200].encode())
    data = text.encode("utf-8", "replace")
    if language is None or target.saved or len(data) > FILE_LIMIT:
        return []
    lines, room = [], _OUTLINE_CHARS
    for line in index_source(language, data).outline(last):
        room -= len(line) + 1
        if room < 0:
            lines.append("…")
            break
        lines.append(line)
    return ["[further down:]", *lines] if lines else []


def _fit(lines: list[str], start: int, end: int, room: int) -> tuple[str, int]:
    """As many numbered lines as fit, at least one, and the number of the last."""
    shown: list[str] = []
    for number in range(start, end + 1):
        line = f"{number}\t{clip_line(lines[number - 1], _LINE_LIMIT)}"
        room -= len(line) + 1
        if room < 0 and shown:
            return "\n".join(shown), number - 1
        shown.append(line)
    return "\n".join(shown), end


def _streamed(
    target: WorkspacePath, arguments: ReadArguments, context: ToolContext, size: int
) -> ToolResult:
    """Lines of a file that is too large to hold in memory, read in chunks as UTF-8."""
    start = arguments.start or 1
    room = context.max_output_chars
    shown: list[str] = []
    last = start - 1
    for number, line in _stream_lines(target):
        if number < start:
            continue
        if arguments.end is not None and number > arguments.end:
            break
        text = f"{number}\t{clip_line(line, _LINE_LIMIT)}"
        room -= len(text) + 1
        if room < 0 and shown:
            break
        shown.append(text)
        last = number
    if not shown:
        raise PathError(f"{target.label}: line {start} was not found in its first GiB.")
    how = f"[lines {start}-{last} of a file of {size:,} bytes; continue with start={last + 1}]"
    content = _with_note(target, "\n".join([*shown, how]))
    return ToolResult(ok=True, content=content, summary=target.label, truncated=True)


def _stream_lines(target: WorkspacePath) -> Iterator[tuple[int, str]]:
    """Numbered lines, cut to the length that can be shown."""
    number, kept = 1, b""
    with os.fdopen(open_file(target), "rb") as stream:
        done = 0
        while done < _SCAN_LIMIT and (chunk := stream.read(_CHUNK)):
            done += len(chunk)
            *whole, rest = chunk.split(b"\n")
            for piece in whole:
                line = kept + piece[: max(0, 4 * _LINE_LIMIT - len(kept))]
                yield number, line.rstrip(b"\r").decode("utf-8", "replace")
                number, kept = number + 1, b""
            kept += rest[: max(0, 4 * _LINE_LIMIT - len(kept))]
    if kept:
        yield number, kept.decode("utf-8", "replace")


def _stream_window(target: WorkspacePath, line: int, column: int, room: int) -> str:
    """Part of a line of a large file; its columns are bytes."""
    with os.fdopen(open_file(target), "rb") as stream:
        before = line - 1
        while before and stream.tell() < _SCAN_LIMIT and (chunk := stream.read(_CHUNK)):
            ends = chunk.count(b"\n")
            if ends >= before:
                head = chunk.split(b"\n", before)[:before]
                stream.seek(sum(map(len, head)) + before - len(chunk), os.SEEK_CUR)
                ends = before
            before -= ends
        if before:
            raise PathError(f"{target.label}: line {line} was not found in its first GiB.")
        stream.seek(column - 1, os.SEEK_CUR)
        return stream.read(room).partition(b"\n")[0].decode("utf-8", "replace")


def mark_read(context: ToolContext, path: str, lines: Collection[int] | None = None) -> None:
    """Record that the whole file, or `lines` of it, counted from 1, was shown to the model
    elsewhere, such as in the first message.

    Ignores a path that cannot be read.
    """
    try:
        target = resolve_path(context, path)
        with os.fdopen(open_file(target), "rb") as stream:
            data = stream.read(_STREAMED_FROM + 1)
    except (PathError, OSError):
        return
    if len(data) <= _STREAMED_FROM:
        read_state.record_shown(context, target, data, lines=lines)
