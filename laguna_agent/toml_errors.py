"""Mistakes in a TOML file that a person wrote: on which line, and in words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any


def key_line(text: str, location: Sequence[int | str], *, first: int = 1) -> int | None:
    """The line of the key at `location` in a TOML text, found without parsing all of TOML.

    Numbers in `location` count the tables of an array. `first` is the number of the text's first
    line in its file.
    """
    lines = text.split("\n")
    for depth in range(len(location), 0, -1):
        wanted = list(location[:depth])
        table: list[int | str] = []
        arrays: dict[str, int] = {}
        for number, line in enumerate(lines):
            header = re.match(r"\s*(\[+)\s*([^\]]+?)\s*\]+", line)
            pair = re.match(r"\s*((?:[\w.-]+|\"[^\"]*\"|'[^']*')(?:\s*\.\s*[\w-]+)*)\s*=", line)
            if header:
                table = [*_parts(header[2])]
                if header[1] == "[[":
                    arrays[header[2]] = count = arrays.get(header[2], -1) + 1
                    table.append(count)
                if wanted == table or (header[1] == "[[" and wanted == table[:-1]):
                    return first + number
            elif pair and [*table, *_parts(pair[1])] == wanted:
                return first + number
    return None


def _parts(dotted: str) -> list[str]:
    return [part.strip().strip("\"'") for part in dotted.split(".")]


def toml_line(message: str) -> int | None:
    """The line that tomllib names in its message."""
    found = re.search(r"at line (\d+)", message)
    return int(found[1]) if found else None


def syntax_mistake(line: str) -> str:
    """What to do about a line that is not TOML, where that is plain; else empty."""
    value = re.match(r"\s*[\w.-]+\s*=\s*([A-Za-z~/][^\"'#\[\]{}]*?)\s*(?:#.*)?$", line)
    if value is None:
        return ""
    if value[1] in ("True", "False"):
        return f"Write `{value[1].lower()}`."
    return f'A text needs quotes: "{value[1]}".'


def readable(item: Any) -> str:
    """An error of pydantic in words."""
    if item["type"] == "missing":
        return "is missing"
    if item["type"] in ("model_type", "model_attributes_type", "dict_type"):
        return "should be a table"
    message = str(item["msg"]).removeprefix("Value error, ")
    return message[:1].lower() + message[1:]
