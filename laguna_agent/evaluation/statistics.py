"""The statistics of pass rates: intervals, and tests of paired results."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from math import comb, sqrt

_Z = 1.959964
"""The 97.5 % quantile of the normal distribution."""


def wilson(passed: int, total: int) -> tuple[float, float]:
    """The 95 % Wilson score interval of a rate, as two numbers from 0 to 1; (0, 1) of nothing."""
    if total == 0:
        return 0.0, 1.0
    rate, square = passed / total, _Z * _Z
    middle = (rate + square / (2 * total)) / (1 + square / total)
    half = (
        _Z * sqrt(rate * (1 - rate) / total + square / (4 * total * total)) / (1 + square / total)
    )
    return max(0.0, middle - half), min(1.0, middle + half)


def mcnemar(only_first: int, only_second: int) -> float:
    """The exact two-sided p-value that pairs which differ fall evenly on both sides.

    `only_first` and `only_second` count the tasks that only one of two runs passed.
    """
    total = only_first + only_second
    tail = sum(comb(total, k) for k in range(min(only_first, only_second) + 1))
    return min(1.0, 2.0 * tail / float(2**total))


def median(values: Sequence[float]) -> float | None:
    """The middle value; None of nothing."""
    return statistics.median(values) if values else None
