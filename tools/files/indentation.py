"""Translates indentation: text written with one style, inserted into a file with another."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

_LEADING = re.compile(r"[ \t]*")


def indent_of(line: str) -> str:
    """The leading blanks of a line."""
    match = _LEADING.match(line)
    return match.group() if match else ""


def unit_of(lines: Sequence[str], default: str = "    ") -> str:
    """One level of indentation in these lines: a tab, or a number of spaces.

    It is the most frequent step by which a line is deeper than the one before.
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
    """The width in columns, with a tab as wide as one level."""
    return sum(tab - column % tab if char == "\t" else 1 for column, char in _columns(indent, tab))


def _columns(indent: str, tab: int) -> list[tuple[int, str]]:
    columns, column = [], 0
    for char in indent:
        columns.append((column, char))
        column += tab - column % tab if char == "\t" else 1
    return columns


@dataclass(frozen=True)
class Anchor:
    """A line in both texts: its position in the written one and its indentation in each."""

    position: int
    written: str
    file: str


class Translation:
    """Translates the indentation of a text to that of the file, using lines that both have."""

    def __init__(
        self, anchors: Sequence[Anchor], written_lines: Sequence[str], file_lines: Sequence[str]
    ) -> None:
        self._anchors = list(anchors)
        self._file_unit = unit_of(file_lines)
        default = "    " if self._file_unit == "\t" else self._file_unit
        self._written_unit = unit_of(written_lines, default)
        self.identical = all(a.written == a.file for a in self._anchors)

    def line(self, line: str, position: int) -> str:
        """A written line with the file's indentation; `position` orders it among the anchors."""
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
        near_tabs = anchor.file.endswith("\t")  # in a mixed file, the nearest anchor decides
        unit = "\t" if near_tabs else self._file_unit
        if unit == "\t" and anchor.file and not near_tabs:
            unit = " " * tab
        if columns >= 0:
            return anchor.file + unit * levels + " " * rest
        if near_tabs:
            return anchor.file[: max(0, len(anchor.file) - levels)]
        return anchor.file[: max(0, len(anchor.file) - levels * len(unit) - rest)]
