"""Carrying indentation over: text written in one indentation, put into a file that has another."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import gcd

_LEADING = re.compile(r"[ \t]*")


def indent_of(line: str) -> str:
    """The blanks a line begins with."""
    match = _LEADING.match(line)
    return match.group() if match else ""


def _unit(indents: Sequence[str], default: int = 4) -> str:
    """One level of indentation as it is used: a tab, or so many spaces."""
    if sum("\t" in indent for indent in indents) * 2 > sum(bool(indent) for indent in indents):
        return "\t"
    widths = {len(indent) for indent in indents if indent and "\t" not in indent}
    ordered = sorted(widths | {0})
    steps = [b - a for a, b in pairwise(ordered)]
    step = gcd(*steps) if steps else default
    return " " * (step if step > 1 else default)


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
        file_unit = _unit([indent_of(line) for line in file_lines if line.strip()])
        written = [indent_of(line) for line in written_lines if line.strip()]
        differences = [a.written for a in anchors] + written
        default = 4 if file_unit == "\t" else len(file_unit)
        self._file_unit = file_unit
        self._written_unit = _relative_unit(differences, default)
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
        tab = 4 if self._written_unit == "\t" else max(len(self._written_unit), 1)
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


def _relative_unit(indents: Sequence[str], default: int) -> str:
    """The unit of text that may as a whole stand at any level: what indents differ by."""
    if any("\t" in indent for indent in indents):
        return "\t"
    widths = sorted({len(indent) for indent in indents})
    steps = [b - a for a, b in pairwise(widths)]
    step = gcd(*steps) if steps else default
    return " " * (step if step > 1 else default)
