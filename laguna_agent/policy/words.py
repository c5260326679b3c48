"""What a word of a command line may stand for: paths in it, and values of its variables."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence


def possible_paths(text: str | None) -> list[str]:
    """Parts of an argument that may be a path: all of it, and the text after `=`, a flag or `@`."""
    if not text:
        return []
    parts = [text]
    if "=" in text:
        parts.append(text.split("=", 1)[1])
    if len(text) > 2 and text[0] == "-" and text[1] != "-":
        parts.append(text[2:])
    if text[0] == "@":
        parts.append(text[1:])
    return [part for part in parts if part]


def possible_texts(text: str, values: Mapping[str, Sequence[str]]) -> list[str]:
    """What a word with a variable or braces stands for, as far as the command line says.

    `values` are those that the line gives to variables. Empty if the word is not known.
    """
    plain = text.replace('"', "").replace("'", "")
    plain = re.sub(r"\$\(pwd\)|`pwd`|\$PWD\b|\$\{PWD\}", ".", plain)
    plain = re.sub(r"\$HOME\b|\$\{HOME\}", os.path.expanduser("~"), plain)
    braces = re.search(r"\{([^{}$]*,[^{}]*)\}", plain)
    if braces:
        before, after = plain[: braces.start()], plain[braces.end() :]
        return [
            found
            for part in braces.group(1).split(",")
            for found in possible_texts(before + part + after, values)
        ]
    variable = re.search(r"\$\{?(\w+)\}?", plain)
    if variable is None:
        return [] if re.search(r"[$`(]", plain) else [plain]
    return [
        found
        for value in values.get(variable.group(1), [])
        for found in possible_texts(plain.replace(variable.group(), value), {})
    ]
