"""Problems of a pack: file, line, what is wrong, and how to fix it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from laguna_agent.errors import UsageError, did_you_mean


@dataclass(frozen=True)
class Problem:
    """One problem. `line` counts from 1; None when it concerns the whole file."""

    path: Path
    line: int | None
    message: str
    fix: str = ""
    severity: Literal["error", "warning"] = "error"

    @property
    def location(self) -> str:
        """`file:line`, or only the file."""
        return f"{self.path}:{self.line}" if self.line else str(self.path)

    def __str__(self) -> str:
        return f"{self.location}: {self.message}" + (f"\n  {self.fix}" if self.fix else "")


class PackError(UsageError):
    """A pack cannot be used. The message is the first of `problems`."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        first = problems[0]
        more = len(problems) - 1
        tail = f" ({more} more: `laguna prompts lint`)" if more else ""
        super().__init__(f"{first.location}: {first.message}{tail}", hint=first.fix or None)


def key_line(text: str, location: Sequence[int | str], *, first: int = 1) -> int | None:
    """The line of the key at `location` in a TOML text, found without parsing all of TOML.

    `first` is the number of the text's first line in its file.
    """
    keys = [str(part) for part in location if isinstance(part, str)]
    lines = text.split("\n")
    for depth in range(len(keys), 0, -1):
        wanted, found = keys[:depth], None
        table: list[str] = []
        for number, line in enumerate(lines):
            header = re.match(r"\s*\[+\s*([^\]]+?)\s*\]+", line)
            pair = re.match(r"\s*((?:[\w.-]+|\"[^\"]*\"|'[^']*')(?:\s*\.\s*[\w-]+)*)\s*=", line)
            if header:
                table = _parts(header[1])
                if table == wanted:
                    found = number
            elif pair and [*table, *_parts(pair[1])] == wanted:
                found = number
            if found is not None:
                return first + found
    return None


def _parts(dotted: str) -> list[str]:
    return [part.strip().strip("\"'") for part in dotted.split(".")]


def from_validation(
    error: ValidationError, path: Path, text: str, *, first: int, known: Iterable[str]
) -> list[Problem]:
    """The problems in a pydantic error, with lines and, for unknown keys, suggestions."""
    problems = []
    for item in error.errors():
        location = [part for part in item["loc"] if part != "[key]"]
        key = ".".join(str(part) for part in location)
        line = key_line(text, location, first=first)
        if item["type"] == "extra_forbidden":
            fix = did_you_mean(str(location[-1]), known)
            problems.append(Problem(path, line, f"unknown key `{key}`", fix))
        else:
            problems.append(Problem(path, line, f"`{key}`: {_readable(item)}"))
    return problems


def _readable(item: Any) -> str:
    message = str(item["msg"]).removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


def toml_line(message: str) -> int | None:
    """The line that tomllib names in its message."""
    found = re.search(r"at line (\d+)", message)
    return int(found[1]) if found else None
