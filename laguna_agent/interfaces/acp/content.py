"""Content blocks: a prompt as the model's text, and texts and diffs as blocks."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from acp import schema

from laguna_agent.clip import clip_middle
from laguna_agent.paths import repository_root
from laguna_agent.policy.sensitive_paths import secret_reason

Block = (
    schema.TextContentBlock
    | schema.ImageContentBlock
    | schema.AudioContentBlock
    | schema.ResourceContentBlock
    | schema.EmbeddedResourceContentBlock
)
MOST_SHOWN = 20_000
"""Characters of a tool's output that an editor shows; `rawOutput` holds all."""
_ATTACHED = 40_000
"""Characters of one embedded resource; more can be read from the file."""
_HUNK = re.compile(r"@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@")


def prompt_text(blocks: Sequence[Block], start: Path) -> str:
    """A prompt as the text of a user's message. Links stand where they were made, as paths that the
    tools take; what is embedded follows at the end, but for files that may hold secrets: editors
    attach what is open by themselves. `start` is where relative paths start."""
    text, attached = "", list[str]()
    for block in blocks:
        match block:
            case schema.TextContentBlock():
                text += block.text
            case schema.ResourceContentBlock():
                text += _mention(block.uri, start) or block.name
            case schema.EmbeddedResourceContentBlock():
                where = _mention(block.resource.uri, start) or block.resource.uri
                text += where
                if secret := _secret(block.resource.uri, start):
                    attached.append(f"[{where} is left out: {secret}]")
                elif isinstance(block.resource, schema.TextResourceContents):
                    attached.append(_attachment(where, block.resource.text))
                else:
                    attached.append(f"[{where} is not text and is left out]")
            case _:
                attached.append(f"[{block.type} that laguna cannot show to the model is left out]")
    return "\n\n".join(part for part in [text.strip(), *attached] if part)


def _attachment(where: str, text: str) -> str:
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    more = "" if len(text) <= _ATTACHED else f"\n[… {len(text) - _ATTACHED} more characters]"
    return f"{where}:\n{fence}\n{text[:_ATTACHED].rstrip()}{more}\n{fence}"


def _mention(uri: str, start: Path) -> str:
    """The path that a link names, with its lines; other addresses as they are."""
    parts = _file_link(uri)
    if parts is None:
        return uri
    path = _path(parts)
    if not path:
        return ""
    if os.path.isabs(path) and Path(path).is_relative_to(start):
        path = os.path.relpath(path, start)
    lines = re.fullmatch(r"L(\d+)(?:[:-]L?(\d+))?", parts.fragment)
    if lines is None:
        return path
    return f"{path}:{lines[1]}" + (f"-{lines[2]}" if lines[2] and lines[2] != lines[1] else "")


def _secret(uri: str, start: Path) -> str | None:
    """Why a resource may hold secrets, if it is such a file."""
    parts = _file_link(uri)
    path = _path(parts).replace("\0", "") if parts is not None else ""
    return secret_reason(start / path, os.fspath(repository_root(start))) if path else None


def _file_link(uri: str) -> SplitResult | None:
    """The parts of a link to a file; None for other addresses."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        return None
    return parts if parts.scheme in ("file", "") else None


def _path(link: SplitResult) -> str:
    """The path of a link: with two slashes at the start it would be another one."""
    path = unquote(link.path)
    return "/" + path.lstrip("/") if path.startswith("/") else path


# --- for tool calls -------------------------------------------------------------------------------


def text_content(text: str) -> schema.ContentToolCallContent:
    """A text as content of a tool call."""
    block = schema.TextContentBlock(type="text", text=clip_middle(text, MOST_SHOWN))
    return schema.ContentToolCallContent(type="content", content=block)


def code_content(text: str, language: str = "") -> schema.ContentToolCallContent:
    """A text that is shown as it is, in a fence."""
    text = clip_middle(text, MOST_SHOWN)
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return text_content(f"{fence}{language}\n{text}\n{fence}")


class Hunk(NamedTuple):
    """One hunk of a unified diff. `old` is None in a new file; `line` is the first that changed."""

    old: str | None
    new: str
    line: int


def hunks(diff: str) -> list[Hunk]:
    """The hunks of a unified diff."""
    found: list[tuple[list[str], list[str], int, int]] = []
    last: list[list[str]] = []
    for line in re.findall(r"[^\n]*\n|[^\n]+", diff):
        header = _HUNK.match(line)
        if header is not None:
            found.append(([], [], int(header[1]), int(header[2])))
        elif found and line.startswith("\\"):  # the line before has no end
            for side in last:
                side[-1] = side[-1].removesuffix("\n")
        elif found:
            old, new, *_ = found[-1]
            last = {"-": [old], "+": [new]}.get(line[0], [old, new])
            for side in last:
                side.append(line[1:])
    return [
        Hunk(
            "".join(old) if old or start else None,
            "".join(new),
            max(1, line + _same_at_the_start(old, new)),
        )
        for old, new, start, line in found
    ]


def _same_at_the_start(old: list[str], new: list[str]) -> int:
    pairs = zip(old, new, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(old), len(new)))


def diff_contents(diff: str, path: str) -> list[schema.FileEditToolCallContent]:
    """The hunks of a unified diff as pairs of old and new text. `path` is absolute."""
    return [
        schema.FileEditToolCallContent(type="diff", path=path, old_text=hunk.old, new_text=hunk.new)
        for hunk in hunks(diff)
    ]
