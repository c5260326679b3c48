"""Integer ranges as grammar expressions; each number has one spelling."""

from __future__ import annotations

DIGITS = 16
"""Digits of a number in an unbounded range."""


def integers(low: int | None = None, high: int | None = None) -> str:
    """The integers from `low` to `high`, both included; without a bound, up to 16 digits.

    Raises ValueError when the range is empty.
    """
    most = 10**DIGITS - 1
    low, high = -most if low is None else low, most if high is None else high
    if low > high:
        raise ValueError(f"there is no integer from {low} to {high}")
    parts = []
    if low < 0:
        parts += [f'"-" {part}' for part in _natural(max(1, -high), -low)]
    if high >= 0:
        parts += _natural(max(0, low), high)
    return parts[0] if len(parts) == 1 else f"({' | '.join(parts)})"


def _natural(low: int, high: int) -> list[str]:
    """From `low` to `high`, both non-negative, split where the number of digits changes."""
    parts = []
    while low <= high:
        last = min(high, 10 ** len(str(low)) - 1)
        if (low, last) == (10 ** (len(str(low)) - 1), 10 ** len(str(low)) - 1) and low > 1:
            # All numbers from here up to the highest full length, in one piece.
            full = len(str(high)) - (high != 10 ** len(str(high)) - 1)
            parts.append(f"[1-9] [0-9]{{{len(str(low)) - 1},{full - 1}}}")
            low = 10**full
            continue
        parts.append(_same_length(str(low), str(last)))
        low = last + 1
    return parts


def _same_length(low: str, high: str) -> str:
    size = len(low) - 1
    if low == high:
        return f'"{low}"'
    if size == 0:
        return f"[{low}-{high}]"
    if low[0] == high[0]:
        return f'"{low[0]}" {_same_length(low[1:], high[1:])}'
    first, last, parts = int(low[0]), int(high[0]), []
    if low[1:] != "0" * size:
        parts.append(f'"{first}" {_same_length(low[1:], "9" * size)}')
        first += 1
    end = [] if high[1:] == "9" * size else [f'"{last}" {_same_length("0" * size, high[1:])}']
    last -= len(end)
    if first <= last:
        parts.append(f"[{first}-{last}] [0-9]{{{size},{size}}}")
    parts += end
    return parts[0] if len(parts) == 1 else f"({' | '.join(parts)})"
