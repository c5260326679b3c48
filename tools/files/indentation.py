"""Carrying indentation over: text written in one indentation, put into a file that has another."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

_LEADING = re.compile(r"[ \t]*")


def indent_of(line: str) -> str:
    """The blanks a line begins with."""
    match = _LEADING.match(line)
    return match.group() if match else ""


def unit_of(lines: Sequence[str], default: str = "    ") -> str:
    """One level of indentation as the lines use it: a tab, or so many spaces.

    What counts is how much deeper than the line before it a line stands, the most frequent step.
    """
    steps: Counter[str] = Counter()
    before = ""
    for line in lines:
        if not line.strip():
            continue
        indent = indent_of(line)
        if indent.startswith(before) and indent != before:
            step = indent[len(before) :]
            if step.strip("\t") == "":
                steps["\t"] += 1
            elif step in ("  ", "   ", "    ", " " * 8):
                steps[step] += 1
        before = indent
    if steps:
        return max(steps, key=lambda step: (steps[step], step == default))
    return "\t" if any(line.startswith("\t") for line in lines) else default


def _width(indent: str, tab: int) -> int:
    """Columns, with a tab as wide as one level."""
    return sum(tab - column % tab if char == "\t" else 1 for column, char in _columns(indent, tab))


def _columns(indent: str, tab: int) -> list[tuple[int, str]]:
    columns, column = [], 0
    for char in indent:
        columns.append((column, char))
        column += tab - column % tab if char == "\t" else 1
    return columns


@dataclass(frozen=True)
class Anchor:
    """A line known in both: its place in the written text and its indentation in each."""

    position: int
    written: str
    file: str


class Translation:
    """From the indentation a text was written in to that of the file, by lines known in both."""

    def __init__(
        self, anchors: Sequence[Anchor], written_lines: Sequence[str], file_lines: Sequence[str]
    ) -> None:
        self._anchors = list(anchors)
        self._file_unit = unit_of(file_lines)
        default = "    " if self._file_unit == "\t" else self._file_unit
        self._written_unit = unit_of(written_lines, default)
        self.identical = all(a.written == a.file for a in self._anchors)

    def line(self, line: str, position: int) -> str:
        """A written line with the file's indentation; `position` is its place among the anchors."""
        if self.identical or not self._anchors or not line.strip():
            return line
        indent = indent_of(line)
        return self._indent(indent, position) + line[len(indent) :]

    def _indent(self, indent: str, position: int) -> str:
        near = sorted(
            self._anchors, key=lambda a: (abs(a.position - position), a.position > position)
        )
        for anchor in near:
            if anchor.written == indent:
                return anchor.file
        tab = 4 if self._written_unit == "\t" else len(self._written_unit)
        wanted = _width(indent, tab)
        anchor = min(near, key=lambda a: abs(_width(a.written, tab) - wanted))
        columns = wanted - _width(anchor.written, tab)
        levels, rest = divmod(abs(columns), tab)
        near_tabs = anchor.file.endswith("\t")  # a file may be mixed: what is beside it counts
        unit = "\t" if near_tabs else self._file_unit
        if unit == "\t" and anchor.file and not near_tabs:
            unit = " " * tab
        if columns >= 0:
            return anchor.file + unit * levels + " " * rest
        if near_tabs:
            return anchor.file[: max(0, len(anchor.file) - levels)]
        return anchor.file[: max(0, len(anchor.file) - levels * len(unit) - rest)]
