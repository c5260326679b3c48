"""Shortening text to a number of characters."""

from __future__ import annotations


def clip(text: str, limit: int) -> str:
    """The text on one line, cut to `limit` characters with an ellipsis."""
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def clip_line(line: str, limit: int = 400) -> str:
    """One line of a file for the model: blanks kept, and what was cut off its end is counted."""
    return line if len(line) <= limit else f"{line[:limit]}… (+{len(line) - limit:,} chars)"


def clip_lines(text: str, limit: int = 600) -> str:
    """A message whose lines have at most `limit` characters: it may quote what a person gave."""
    return "\n".join(t if len(t) <= limit else f"{t[: limit - 1]}…" for t in text.split("\n"))


def clip_middle(text: str, limit: int) -> str:
    """About `limit` characters of a text: a third from its head, the rest from its tail."""
    if len(text) <= limit:
        return text
    return f"{text[: limit // 3]}\n[...]\n{text[-(limit - limit // 3) :]}"
