"""Fuzzy search over many names: fast enough for a key press among 200,000 files."""

from __future__ import annotations

import re
from collections.abc import Sequence

_SCORED = 4_000
"""Matches that are scored; a longer query leaves fewer."""


class Names:
    """Names that can be searched. Searching a text of all of them at once is what makes it fast."""

    def __init__(self, names: Sequence[str]) -> None:
        self._blob = "\n".join(name for name in names if "\n" not in name)
        self._folded = _fold(self._blob)

    def __len__(self) -> int:
        return self._blob.count("\n") + 1 if self._blob else 0

    def find(self, query: str, most: int = 50) -> list[str]:
        """The names that hold the characters of `query` in order, the best first."""
        query = _fold(query.replace(" ", ""))
        if not query:
            return self._blob.split("\n", most)[:most] if self._blob else []
        found: dict[str, float] = {}
        # A plain substring first: it is what is mostly meant, and the cheapest to find.
        for pattern in (re.escape(query), _scattered(query)):
            for match in re.finditer(pattern, self._folded):
                start = self._folded.rfind("\n", 0, match.start()) + 1
                end = self._folded.find("\n", match.end())
                end = len(self._folded) if end < 0 else end
                name = self._blob[start:end]
                if name not in found:
                    found[name] = score(self._folded[start:end], query)
                if len(found) >= _SCORED:
                    break
            if len(found) >= most:
                break
        return sorted(found, key=lambda name: (found[name], len(name), name))[:most]


def _fold(text: str) -> str:
    """Lower case that keeps every position (`İ` becomes two characters elsewhere)."""
    lowered = text.lower()
    if len(lowered) == len(text):
        return lowered
    return "".join(c.lower() if len(c.lower()) == 1 else c for c in text)


def _scattered(query: str) -> str:
    first, *rest = (re.escape(c) for c in query)
    return first + "".join(f"[^\\n{c}]*+{c}" for c in rest)


def score(name: str, query: str) -> float:
    """How badly `query` fits a folded name; 0 is a perfect match."""
    base = name.rstrip("/").rpartition("/")[2]
    if base == query:
        return 0
    if base.startswith(query):
        return 1 + len(base) / 1000
    if (at := base.find(query)) >= 0:
        return 2 + (0 if not base[at - 1].isalnum() else 0.5) + len(base) / 1000
    if (at := name.find(query)) >= 0:
        return 3 + len(name) / 1000
    gaps, position, words = 0, 0, 0
    for character in query:
        at = name.find(character, position)
        if at < 0:
            return 99
        gaps += at - position if position else 0
        words += at == 0 or not name[at - 1].isalnum()
        position = at + 1
    return 5 + gaps / max(1, len(name)) - words / len(query) + len(name) / 1000
