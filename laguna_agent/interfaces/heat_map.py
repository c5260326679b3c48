"""A heat map of expert loads in characters: a row for each layer, a column for some experts.

Works without colour, since the characters alone show the shade.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import ceil
from typing import NamedTuple

SHADES = " ·░▒▓█"
"""From no token to three times the even share and more."""
LIMITS = (0.0, 0.5, 1.0, 2.0, 3.0)
"""Multiples of the even share above which the next shade begins."""


class HeatRow(NamedTuple):
    """A layer: its number, the shade of each column from 0 to 5, and the figures beside it."""

    layer: int
    shades: tuple[int, ...]
    figures: str

    @property
    def cells(self) -> str:
        """The shades as characters."""
        return "".join(SHADES[shade] for shade in self.shades)


class HeatMap(NamedTuple):
    """The rows, a heading for them, and how many experts a column stands for at most."""

    heading: str
    rows: list[HeatRow]
    experts_per_column: int
    scale: int = 1
    """What the limits of the shades are multiplied by."""

    def legend(self) -> str:
        """What the shades mean, in a line of at most 40 columns."""
        limits = [_halves(limit * self.scale) for limit in LIMITS[1:]]
        parts = [f"{sign} {limit}" for sign, limit in zip(SHADES[1:], limits, strict=False)]
        return f"× even: {'  '.join(parts)}  {SHADES[-1]} more"

    def note(self) -> str:
        """What a column is, where it is not an expert."""
        most = self.experts_per_column
        return f"A column is up to {most} experts, shown as the busiest of them." * (most > 1)


def shade(share: float, even: float) -> int:
    """The shade of an expert's share, from 0 (no token) to 5."""
    return sum(share > limit * even for limit in LIMITS)


def heat_map(
    layers: Sequence[int],
    load: Sequence[Sequence[float]],
    figures: Sequence[Sequence[str]],
    headings: Sequence[str],
    width: int,
) -> HeatMap:
    """The map of a load (layers x experts), at most `width` columns wide, with figures per layer.

    A column that stands for several experts has the shade of the busiest. Since the busiest of many
    is nearly always far above the even share, the shades then begin at larger multiples of it, so
    that columns still differ. As many of the figures are shown, from the first on, as leave two
    thirds of the width for the map, or each expert a column.
    """
    experts, even = len(load[0]), 1 / len(load[0])
    label = max(2, *(len(str(layer)) for layer in layers)) + 1
    sizes = [
        max(len(heading), *(len(row[n]) for row in figures)) + 1
        for n, heading in enumerate(headings)
    ]
    while sizes and width - label - sum(sizes) < min(experts, 2 * width / 3):
        sizes.pop()
    columns = min(experts, max(1, width - label - sum(sizes)))
    starts = [column * experts // columns for column in range(columns + 1)]
    busiest = [[max(shares[start:end]) for start, end in pairwise(starts)] for shares in load]
    scale = 1 if columns == experts else _scale([share / even for row in busiest for share in row])
    rows = [
        HeatRow(
            layer, tuple(shade(share, even * scale) for share in shares), _aligned(texts, sizes)
        )
        for layer, shares, texts in zip(layers, busiest, figures, strict=True)
    ]
    heading = " " * (label + columns) + _aligned(headings, sizes)
    return HeatMap(heading, rows, -(-experts // columns), scale)


def _scale(multiples: Sequence[float]) -> int:
    """The least whole factor of the limits with which at most a tenth has the last shade."""
    nearly_all = sorted(multiples)[(9 * len(multiples) - 1) // 10]
    return max(1, ceil(nearly_all / LIMITS[-1]))


def _halves(number: float) -> str:
    whole, half = divmod(number, 1)
    return (f"{whole:.0f}" if whole or not half else "") + ("½" if half else "")


def _aligned(texts: Sequence[str], sizes: Sequence[int]) -> str:
    return "".join(text.rjust(size) for text, size in zip(texts, sizes, strict=False))
