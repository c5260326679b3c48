"""Problems of a pack: file, line, what is wrong, and how to fix it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from laguna_agent.errors import UsageError, did_you_mean
from laguna_agent.toml_errors import key_line, readable


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
            problems.append(Problem(path, line, f"`{key}`: {readable(item)}"))
    return problems
