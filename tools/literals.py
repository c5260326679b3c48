"""Python literals in text: what they stand for, and whether two of them are nearly the same."""

from __future__ import annotations

import ast
import math
import re
from typing import Any

_ROUNDED = 2
"""Digits after the point from which a number may be a rounded one."""


_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")
_GROUPED = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?\b")
_ARRAY = re.compile(r"(?:^|\n)(\[[^\n]*(?:\n+ [^\n]*)*)\s*\Z")
_OF_NUMPY = re.compile(r"\b(?:np|numpy)\.\w+\(([^()]*)\)|\barray\((\[[^()]*\])\)")


def without_quoted(source: str) -> str:
    """A text of Python without what it quotes."""
    return _QUOTED.sub("", source)


def groups_digits(source: str) -> bool:
    """Whether a text has a number as in 1,000, which Python reads as a tuple."""
    plain = without_quoted(source)
    return _GROUPED.match(plain.strip()) is not None or re.search(r"\d,0\d", plain) is not None


def array(printed: str) -> tuple[Any] | None:
    """The value of the array of numpy, or of the list of its numbers, with which a printed text
    ends, in a tuple of its own."""
    match = _ARRAY.search(printed)
    text = _OF_NUMPY.sub(lambda inner: inner[1] or inner[2], match[1] if match else printed)
    return literal(re.sub(r"(?<=[\w.\]'\"])\s+(?=[-\w.\['\"])", ", ", text))


def literal(source: str) -> tuple[Any] | None:
    """The value of a literal, in a tuple of its own since it may be None. None too for one that
    was shortened."""
    if "..." in source:
        return None
    try:
        return (ast.literal_eval(source.strip()),)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def nearly_equal(value: Any, expected: Any, tolerance: float = 1e-9) -> bool:
    """Whether a value is the expected one: numbers nearly, or rounded as that is; a list may be a
    tuple."""
    match value, expected:
        case int() | float(), int() | float():
            if math.isclose(value, expected, rel_tol=tolerance, abs_tol=tolerance):
                return True
            digits = len(repr(expected).partition(".")[2])
            return _ROUNDED <= digits < 10 and round(value, digits) == expected
        case list() | tuple(), list() | tuple():
            return len(value) == len(expected) and all(
                nearly_equal(one, other, tolerance)
                for one, other in zip(value, expected, strict=True)
            )
        case dict(), dict():
            return value.keys() == expected.keys() and all(
                nearly_equal(value[key], expected[key], tolerance) for key in expected
            )
    return bool(value == expected)
