"""Numbers of things in messages: `1 file`, `2 files`."""

from __future__ import annotations


def counted(number: int, one: str, many: str = "") -> str:
    """A number and its noun; `many` is the plural where it is not `one` with an s."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
