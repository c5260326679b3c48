"""Python literals in text: what they stand for, and whether two of them are nearly the same."""

from __future__ import annotations

import ast
import math
from typing import Any

_ROUNDED = 2
"""Digits after the point from which a number may be a rounded one."""


def literal(source: str) -> tuple[Any] | None:
    """The value of a literal, in a tuple of its own since it may be None. None too for one that
    was shortened."""
    if "..." in source:
        return None
    try:
        return (ast.literal_eval(source.strip()),)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def nearly_equal(value: Any, expected: Any) -> bool:
    """Whether a value is the expected one: numbers nearly, or rounded as that is; a list may be a
    tuple."""
    match value, expected:
        case int() | float(), int() | float():
            if math.isclose(value, expected, rel_tol=1e-9, abs_tol=1e-9):
                return True
            digits = len(repr(expected).partition(".")[2])
            return _ROUNDED <= digits < 10 and round(value, digits) == expected
        case list() | tuple(), list() | tuple():
            return len(value) == len(expected) and all(map(nearly_equal, value, expected))
        case dict(), dict():
            return value.keys() == expected.keys() and all(
                nearly_equal(value[key], expected[key]) for key in expected
            )
    return bool(value == expected)
