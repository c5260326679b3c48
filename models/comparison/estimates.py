"""Figures with their intervals.

Tokens of a text depend on those before them, so blocks of neighbours are drawn with replacement
(a block bootstrap) rather than tokens. The interval is the middle 95 % of what 1,000 draws give.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

BLOCK = 32
"""Tokens of a block."""
_DRAWS = 1000
_STRAYS = 0.03
"""Drop of agreement between neighbouring layers below which nothing strays."""

Values = NDArray[np.floating[Any]]


class Estimate(NamedTuple):
    """A figure and its 95 % interval."""

    value: float
    low: float
    high: float

    def exp(self) -> Estimate:
        """The exponential of the figure: of the mean of logarithms, their geometric mean."""
        return Estimate(math.exp(self.value), math.exp(self.low), math.exp(self.high))

    def as_json(self) -> dict[str, float]:
        """With six significant digits."""
        return {name: float(f"{number:.6g}") for name, number in self._asdict().items()}


def estimate(values: Values, *, block: int = BLOCK) -> Estimate:
    """The mean of the values of a text's tokens, in order, with its interval."""
    return estimate_columns(values[:, None], block=block)[0]


def estimate_high(values: Values) -> Estimate:
    """The 99th percentile of the values of a text's tokens, in order, with its interval."""
    blocks = [values[at : at + BLOCK] for at in range(0, len(values), BLOCK)]
    draws = np.random.default_rng(1).integers(len(blocks), size=(_DRAWS, len(blocks)))
    drawn = [np.quantile(np.concatenate([blocks[n] for n in draw]), 0.99) for draw in draws]
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Estimate(float(np.quantile(values, 0.99)), float(low), float(high))


def estimate_columns(values: Values, *, block: int = BLOCK) -> list[Estimate]:
    """The mean of each column of an array of tokens x columns, with its interval."""
    starts = range(0, len(values), block)
    values = values.astype(np.float64)
    sums = np.array([values[at : at + block].sum(axis=0) for at in starts])
    counts = np.array([len(values[at : at + block]) for at in starts])
    generator = np.random.default_rng(1)
    draws = generator.integers(len(counts), size=(_DRAWS, len(counts)))
    drawn = sums[draws].sum(axis=1) / counts[draws].sum(axis=1)[:, None]
    low, high = np.quantile(drawn, (0.025, 0.975), axis=0)
    middle = values.mean(axis=0)
    return [Estimate(*map(float, row)) for row in zip(middle, low, high, strict=True)]


def spread(values: list[float]) -> Estimate:
    """The median of repeated measurements, with the smallest and the largest of them."""
    return Estimate(float(np.median(values)), min(values), max(values))


def straying(agreement: list[Estimate]) -> int | None:
    """The place of the layer from which on routing agrees clearly less than before it; None where
    it only becomes less little by little, as rounding errors add up."""
    if len(agreement) < 3:
        return None
    values = np.array([one.value for one in agreement])
    # The first layer has none before it, so it is held against the one behind it.
    drops = np.array([values[1] - values[0], *(values[:-1] - values[1:])])
    at = int(drops.argmax())
    usual = float(np.median(np.abs(np.delete(drops, at))))
    beside = agreement[at - 1 if at else 1]
    clear = drops[at] > max(_STRAYS, 4 * usual) and agreement[at].high < beside.low
    return at if clear else None
