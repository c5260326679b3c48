"""Fuzzy search over many names: fast enough for a key press among 200,000 files.

Names are searched as text, not one by one, and in pieces: no call holds the interpreter for more
than a few milliseconds, so that a search in a thread does not delay a key.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

_SCORED = 10_000
"""Matches of a kind that are scored; a longer query leaves fewer."""
_PIECE = 2_000
"""Names that are searched in one call."""


class Hit(NamedTuple):
    """A name that was found, and what is said beside it."""

    name: str
    about: str = ""


@dataclass(frozen=True)
class _Piece:
    """Some names as a text, `\\n/` before each; the same in lower case; what is said of each."""

    text: str
    folded: str
    about: str
    count: int

    @classmethod
    def of(cls, hits: Sequence[Hit]) -> _Piece:
        text = "".join("\n/" + hit.name for hit in hits) + "\n"
        folded = _fold(text)
        about = "\n".join(hit.about for hit in hits)
        return cls(text, text if folded == text else folded, about, len(hits))

    def hits(self) -> list[Hit]:
        """All of them."""
        names, about = self.text[2:-1].split("\n/"), self.about.split("\n")
        return [Hit(*pair) for pair in zip(names, about, strict=True)]

    def hit(self, start: int, end: int) -> Hit:
        """The one whose name is at a place of the text."""
        before = self.text.count("\n", 0, start) - 1
        return Hit(self.text[start:end], self.about.split("\n", before + 1)[before])


class Names:
    """Names that can be searched, also while a thread adds more."""

    def __init__(self, names: Sequence[str] = ()) -> None:
        self._pieces: list[_Piece] = []
        self.add([Hit(name) for name in names])

    def __len__(self) -> int:
        return sum(piece.count for piece in self._pieces)

    def add(self, hits: Sequence[Hit]) -> None:
        """Add names after the others. One that holds the end of a line is left out."""
        whole = [hit for hit in hits if "\n" not in hit.name and "\n" not in hit.about]
        for at in range(0, len(whole), _PIECE):
            self._pieces.append(_Piece.of(whole[at : at + _PIECE]))

    def changed(self, added: Sequence[Hit], dropped: Callable[[Hit], bool]) -> Names:
        """The same with some names before the others and without those that are dropped."""
        names = Names()
        names.add(added)
        for piece in self._pieces:
            kept = [hit for hit in piece.hits() if not dropped(hit)]
            if len(kept) == piece.count:
                names._pieces.append(piece)
            else:
                names.add(kept)
        return names

    def texts(self) -> Iterator[str]:
        """All names, some at a time, a line each."""
        for piece in list(self._pieces):
            yield piece.text[2:].replace("\n/", "\n")

    def find(
        self, query: str, most: int = 50, *, stopped: Callable[[], bool] = lambda: False
    ) -> list[Hit]:
        """The names that hold the characters of `query` in order, the best first. A name that is
        there twice is given once. Ends early, with anything, once it is `stopped`."""
        query, pieces = _fold(query.replace(" ", "")), list(self._pieces)
        if not query:
            first = (hit for piece in pieces for hit in piece.hits())
            return list(itertools.islice(first, most))
        found: dict[str, tuple[float, _Piece, int, int]] = {}
        # What is mostly meant comes first, and is the cheapest to find.
        for places in (_beginning(query), _holding(query), _scattered(query)):
            count = 0
            for piece in pieces:
                if stopped() or count >= _SCORED:
                    break
                for start, end in places(piece.folded):
                    count += 1
                    name = piece.text[start:end]
                    if name not in found:
                        found[name] = score(piece.folded[start:end], query), piece, start, end
            if len(found) >= most:
                break
        best = sorted(found, key=lambda name: (found[name][0], len(name), name))[:most]
        return [piece.hit(start, end) for _, piece, start, end in map(found.__getitem__, best)]


def _fold(text: str) -> str:
    """Lower case that keeps every position (`İ` becomes two characters elsewhere)."""
    lowered = text.lower()
    if len(lowered) == len(text):
        return lowered
    return "".join(c.lower() if len(c.lower()) == 1 else c for c in text)


_Places = Callable[[str], Iterator[tuple[int, int]]]
"""Where names that match begin and end in the text of a piece."""


def _beginning(query: str) -> _Places:
    """Names of which the last part begins with the query."""
    token = "/" + query

    def places(text: str) -> Iterator[tuple[int, int]]:
        at = text.find(token)
        while at >= 0:
            after, end = at + len(token), text.find("\n", at)
            if text.find("/", after, end - 1) < 0:
                yield text.rfind("\n", 0, at) + 2, end
                after = end
            at = text.find(token, after)

    return places


def _holding(query: str) -> _Places:
    """Names that hold the query as it is."""

    def places(text: str) -> Iterator[tuple[int, int]]:
        at = text.find(query)
        while at >= 0:
            end = text.find("\n", at)
            yield text.rfind("\n", 0, at) + 2, end
            at = text.find(query, end)

    return places


def _scattered(query: str) -> _Places:
    """Names that hold the characters of the query in order."""
    steps = "".join(f"[^\\n{c}]*+{c}" for c in map(re.escape, query))
    # Each line is tried once, from its beginning.
    pattern = re.compile(f"\n/{steps}[^\\n]*+")

    def places(text: str) -> Iterator[tuple[int, int]]:
        return ((match.start() + 2, match.end()) for match in pattern.finditer(text))

    return places


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
    gaps = position = words = pieces = 0
    for character in query:
        at = name.find(character, position)
        if at < 0:
            return 99
        gaps += at - position if position else 0
        pieces += at > position
        words += at == 0 or not name[at - 1].isalnum()
        position = at + 1
    return 5 + gaps / max(1, len(name)) + (pieces - words) / len(query) + len(name) / 1000
