"""A heat map of expert loads in characters: a row for each layer, a column for some experts.

Works without colour, since the characters alone show the shade.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    """The rows, a heading for them, and how many experts a column stands for."""

    heading: str
    rows: list[HeatRow]
    experts_per_column: int

    def legend(self) -> str:
        """What the shades mean, in a line of at most 40 columns."""
        return "× even: · ½  ░ 1  ▒ 2  ▓ 3  █ more"


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

    A column that stands for several experts has the shade of the busiest. As many of the figures
    are shown, from the first on, as leave half of the width for the map.
    """
    experts, even = len(load[0]), 1 / len(load[0])
    label = max(2, *(len(str(layer)) for layer in layers)) + 1
    sizes = [
        max(len(heading), *(len(row[n]) for row in figures)) + 1
        for n, heading in enumerate(headings)
    ]
    while sizes and label + sum(sizes) > width // 2:
        sizes.pop()
    per_column = -(-experts // max(1, width - label - sum(sizes)))
    rows = []
    for layer, shares, texts in zip(layers, load, figures, strict=True):
        shades = tuple(
            max(shade(share, even) for share in shares[at : at + per_column])
            for at in range(0, experts, per_column)
        )
        rows.append(HeatRow(layer, shades, _aligned(texts, sizes)))
    columns = -(-experts // per_column)
    heading = " " * (label + columns) + _aligned(headings, sizes)
    return HeatMap(heading, rows, per_column)


def _aligned(texts: Sequence[str], sizes: Sequence[int]) -> str:
    return "".join(text.rjust(size) for text, size in zip(texts, sizes, strict=False))
