"""Rows that show less where there is less room, instead of being cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.text import Text
from textual.containers import ScrollableContainer

from laguna_agent.policy.sanitize import visible

_LEAST_BESIDE = 30
"""Cells below which an explanation stands below its name."""


@dataclass(frozen=True)
class FittedRow:
    """One line: the first of `forms` that fits, else the last, cut."""

    forms: Sequence[Text]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        form = next((one for one in self.forms if one.cell_len <= width), self.forms[-1]).copy()
        form.no_wrap = True
        form.truncate(width, overflow="ellipsis")
        yield form

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(1, max(1, min(self.forms[0].cell_len, options.max_width)))


@dataclass(frozen=True)
class Explained:
    """A name and what it means beside it, in a column of its own; below it, indented, where that
    leaves too little room. `heading` begins a group of them."""

    name: str
    about: str
    cells: int
    heading: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self.heading:
            yield Text(self.heading, style="bold underline", no_wrap=True, overflow="ellipsis")
        beside = options.max_width - self.cells - 2 >= _LEAST_BESIDE
        column = self.cells + 2 if beside else 2
        lines = Text(self.about).wrap(console, max(1, options.max_width - column))
        if beside and cell_len(self.name) <= self.cells:
            yield Text(self.name.ljust(column), no_wrap=True) + (lines.pop(0) if lines else Text())
        else:
            yield from Text(self.name).wrap(console, options.max_width)
        for line in lines:
            yield Text(" " * column) + line

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(1, options.max_width)


def one_line(text: str) -> str:
    """A text of several lines as one line of a list: its words, with single spaces."""
    return visible(" ".join(text.split()), single_line=True)


def shorten_middle(text: str, cells: int) -> str:
    """Shorten a text in its middle: both ends of a name tell it apart."""
    if cell_len(text) <= cells:
        return text
    end = cells // 2
    return f"{set_cell_size(text, cells - end - 1)}…{text[-end:]}"


def columns(rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> list[Text]:
    """Align rows in columns, two cells apart; the columns in `right` are aligned to the right.

    All lines are equally long, so that all of them fit or none does.
    """
    lines = [Text(no_wrap=True) for _ in rows]
    for column, cells in enumerate(zip(*rows, strict=True)):
        width = max(map(cell_len, cells), default=0)
        if not width:
            continue
        for line, cell in zip(lines, cells, strict=True):
            gap = " " * (width - cell_len(cell))
            line.append(("  " if column else "") + (gap + cell if column in right else cell + gap))
    return lines


def position(scroll: ScrollableContainer) -> str:
    """Which lines are in view of how many: `lines 1–12 of 340`; empty if all are."""
    total, height = scroll.virtual_size.height, scroll.size.height
    if not height or total <= height:
        return ""
    first = round(scroll.scroll_y) + 1
    return f"lines {first:,}–{min(total, first + height - 1):,} of {total:,}"
