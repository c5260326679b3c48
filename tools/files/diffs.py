"""Unified diffs of two texts, fast for long files that differ in few places."""

from __future__ import annotations

import difflib
from collections.abc import Sequence


def unified(old: str, new: str, path: str = "", *, context: int = 3) -> str:
    """A unified diff with `context` lines around each change, with headers if `path` is given."""
    if old == new:
        return ""
    a, b = _lines(old), _lines(new)
    head = _common(a, b)
    tail = _common(a[head:][::-1], b[head:][::-1])
    skipped = max(0, head - context)
    kept = max(0, tail - context)
    body = list(
        difflib.unified_diff(
            a[skipped : len(a) - kept],
            b[skipped : len(b) - kept],
            f"a/{path}",
            f"b/{path}",
            n=context,
        )
    )
    lines = [_shift(x, skipped) if x.startswith("@@") else x for x in body[2:]]
    header = [f"--- a/{path}\n", f"+++ b/{path}\n"] if path else []
    return "".join([*header, *lines])


def _common(a: Sequence[str], b: Sequence[str]) -> int:
    pairs = zip(a, b, strict=False)
    return next((i for i, (x, y) in enumerate(pairs) if x != y), min(len(a), len(b)))


def _lines(text: str) -> list[str]:
    *lines, last = text.split("\n")
    ended = [line + "\n" for line in lines]
    return [*ended, f"{last}\n\\ No newline at end of file\n"] if last else ended


def _shift(hunk: str, by: int) -> str:
    """A hunk header with its line numbers moved by `by`."""
    _, old, new, *_ = hunk.split()
    return f"@@ -{_moved(old, by)} +{_moved(new, by)} @@\n"


def _moved(part: str, by: int) -> str:
    start, comma, count = part[1:].partition(",")
    return f"{int(start) + by}{comma}{count}"


def changed_line_counts(diff: str) -> tuple[int, int]:
    """The number of lines added and removed."""
    lines = [x for x in diff.split("\n") if not x.startswith(("+++", "---"))]
    return sum(x.startswith("+") for x in lines), sum(x.startswith("-") for x in lines)


def shortened(diff: str, *, lines: int = 60, chars: int = 4_000) -> str:
    """The beginning of a diff, and how much more there is."""
    kept: list[str] = []
    room = chars
    every = diff.rstrip("\n").split("\n")
    for line in every[:lines]:
        room -= len(line) + 1
        if room < 0:
            break
        kept.append(line)
    if len(kept) < len(every):
        kept.append(f"[… {len(every) - len(kept)} more lines of diff]")
    return "\n".join(kept)
