"""Markdown files with TOML front matter between two lines of `+++`: memories and tool files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

FENCE = "+++"


class FrontMatter(NamedTuple):
    """A file in its two parts."""

    toml: str
    """The text between the fences; its first line is line 2 of the file."""
    body: str
    offset: int
    """Lines above the body; 0 without front matter, -1 when its closing fence is missing."""


def split_front_matter(text: str) -> FrontMatter:
    """Split a file into front matter and body. Each fence is alone on its line."""
    lines = text.split("\n")
    if lines[0].strip() != FENCE:
        return FrontMatter("", text, 0)
    for number, line in enumerate(lines[1:], start=1):
        if line.strip() == FENCE:
            offset = number + 1
            while offset < len(lines) - 1 and not lines[offset].strip():
                offset += 1
            return FrontMatter("\n".join(lines[1:number]), "\n".join(lines[offset:]), offset)
    return FrontMatter("\n".join(lines[1:]), "", -1)


def join_front_matter(data: Mapping[str, Any], body: str) -> str:
    """The text of a file with `data` as its front matter."""
    import tomlkit  # takes longer to import than most runs need it for

    return f"{FENCE}\n{tomlkit.dumps(data)}{FENCE}\n\n{body.strip(chr(10))}\n"
