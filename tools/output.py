"""Bounds the text of results: head and tail are kept, the whole is saved for `read`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from laguna_agent.clip import clip_line
from laguna_agent.tools.files.encoding import printable
from laguna_agent.tools.tool import ToolContext

_DIRECTORY = "output"


@dataclass(frozen=True)
class BoundedText:
    """Bounded text. `file` holds the whole of it, None if nothing was left out."""

    text: str
    truncated: bool = False
    file: Path | None = None


def save_output(context: ToolContext, text: str | bytes) -> tuple[str, Path]:
    """Save a whole output with mode 0600; returns its name for `read` (`output:N`) and its path."""
    directory = context.state_dir / _DIRECTORY
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
    number = int(context.state.get("output.count", 0))
    while True:
        number += 1
        path = directory / str(number)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(path, flags, 0o600)
        except FileExistsError:
            continue
        break
    context.state["output.count"] = number
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
    return f"output:{number}", path


def bound(
    context: ToolContext,
    text: str,
    *,
    limit: int | None = None,
    head_share: float = 0.5,
    save: bool = True,
) -> BoundedText:
    """Bound text to `limit` characters (the context's limit if None), cut at line ends.

    The beginning gets `head_share` of the limit, the end the rest.
    """
    limit = context.max_output_chars if limit is None else limit
    text = printable(text)
    if len(text) <= limit:
        return BoundedText(text)
    head_room = int(limit * head_share)
    tail_room = limit - head_room
    head = text[:head_room]
    tail = text[len(text) - tail_room :]
    if "\n" in head:
        head = head[: head.rindex("\n") + 1]
    if "\n" in tail[:-1]:
        tail = tail[tail.index("\n") + 1 :]
    left_out = text[len(head) : len(text) - len(tail)]
    what = f"{left_out.count(chr(10)):,} lines" if "\n" in left_out else f"{len(left_out):,} chars"
    where = ""
    file = None
    if save:
        try:
            name, file = save_output(context, text)
            where = f"; all of it: read {name}"
        except OSError:  # a full or read-only state directory must not lose the result
            where = "; saving all of it failed"
    separator = "" if head.endswith("\n") or not head else "\n"
    return BoundedText(f"{head}{separator}[… {what} left out{where}]\n{tail}", True, file)


def numbered(lines: Sequence[str], first: int, *, limit: int = 400) -> str:
    """Lines with their numbers, starting at `first`."""
    return "\n".join(f"{first + i}\t{clip_line(line, limit)}" for i, line in enumerate(lines))
