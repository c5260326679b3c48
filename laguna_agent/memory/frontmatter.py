"""Markdown files with TOML front matter between lines of `+++`, written and read."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

FENCE = "+++"


def dump(data: Mapping[str, Any], body: str) -> str:
    """A file's text. Values are texts, numbers, booleans, and lists of these or of tables."""
    lines = [FENCE]
    tables: list[tuple[str, Sequence[Mapping[str, Any]]]] = []
    for key, value in data.items():
        if isinstance(value, list) and value and isinstance(value[0], Mapping):
            tables.append((key, value))
        else:
            lines.append(f"{key} = {_value(value)}")
    for key, rows in tables:
        for row in rows:
            lines += ["", f"[[{key}]]", *(f"{name} = {_value(item)}" for name, item in row.items())]
    return "\n".join([*lines, FENCE, "", body.strip("\n"), ""])


def load(text: str) -> tuple[dict[str, Any], str]:
    """Front matter and body. A file without front matter, or with a broken one, is all body."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    if text.startswith(FENCE + "\n"):
        matter, fence, body = text[len(FENCE) + 1 :].partition(f"\n{FENCE}\n")
        if not fence and matter.endswith(f"\n{FENCE}"):
            matter, fence = matter.removesuffix(f"\n{FENCE}"), FENCE
        if fence:
            try:
                return tomllib.loads(matter), body.strip("\n")
            except tomllib.TOMLDecodeError:
                return {}, body.strip("\n")
    return {}, text.strip("\n")


def _value(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case list() | tuple():
            return "[" + ", ".join(_value(item) for item in value) + "]"
        case _:
            # A basic string of TOML is a JSON string, but for DEL and lone surrogates.
            text = str(value).encode("utf-8", "replace").decode("utf-8")
            return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
