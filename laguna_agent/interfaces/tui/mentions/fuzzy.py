"""Fuzzy search over many names, fast enough to run at each key press among 200,000 files.

Names are joined to texts of limited length, which are searched whole: no call holds the interpreter
lock for more than a few milliseconds, so that a search in a thread does not delay a key.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

_MAX_SCORED = 10_000
"""Matches of each kind that are scored; a longer query has fewer."""
_PIECE_NAMES = 2_000
"""Names of a piece, which is searched in one call."""


class FuzzyMatch(NamedTuple):
    """A name, and the description shown with it."""

    name: str
    about: str = ""


@dataclass(frozen=True)
class _Piece:
    """Names joined to a text, `\\n/` before each; the same in lower case; their descriptions."""

    text: str
    folded: str
    about: str
    count: int

    @classmethod
    def of(cls, hits: Sequence[FuzzyMatch]) -> _Piece:
        text = "".join("\n/" + hit.name for hit in hits) + "\n"
        folded = _fold(text)
        about = "\n".join(hit.about for hit in hits)
        return cls(text, text if folded == text else folded, about, len(hits))

    def hits(self) -> list[FuzzyMatch]:
        """All names."""
        names, about = self.text[2:-1].split("\n/"), self.about.split("\n")
        return [FuzzyMatch(*pair) for pair in zip(names, about, strict=True)]

    def hit(self, start: int, end: int) -> FuzzyMatch:
        """The hit whose name is at `start` to `end` of the text."""
        before = self.text.count("\n", 0, start) - 1
        return FuzzyMatch(self.text[start:end], self.about.split("\n", before + 1)[before])


class Names:
    """Names to search, also while a thread adds more."""

    def __init__(self, names: Sequence[str] = ()) -> None:
        self._pieces: list[_Piece] = []
        self.add([FuzzyMatch(name) for name in names])

    def __len__(self) -> int:
        return sum(piece.count for piece in self._pieces)

    def add(self, hits: Sequence[FuzzyMatch]) -> None:
        """Append names, except those that contain a newline."""
        whole = [hit for hit in hits if "\n" not in hit.name and "\n" not in hit.about]
        for at in range(0, len(whole), _PIECE_NAMES):
            self._pieces.append(_Piece.of(whole[at : at + _PIECE_NAMES]))

    def changed(self, added: Sequence[FuzzyMatch], dropped: Callable[[FuzzyMatch], bool]) -> Names:
        """A copy with `added` names first and without those that are `dropped`."""
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
        """All names, one line each, a piece at a time."""
        for piece in list(self._pieces):
            yield piece.text[2:].replace("\n/", "\n")

    def find(
        self, query: str, most: int = 50, *, stopped: Callable[[], bool] = lambda: False
    ) -> list[FuzzyMatch]:
        """The `most` best names that contain the characters of `query` in order, each one once.

        Ends early, with an incomplete result, once `stopped` returns True.
        """
        query, pieces = _fold(query.replace(" ", "")), list(self._pieces)
        if not query:
            first = (hit for piece in pieces for hit in piece.hits())
            return list(itertools.islice(first, most))
        found: dict[str, tuple[float, _Piece, int, int]] = {}
        # From the best and cheapest kind of match to the worst.
        for matcher in (_with_prefix(query), _containing(query), _with_letters(query)):
            count = 0
            for piece in pieces:
                if stopped() or count >= _MAX_SCORED:
                    break
                for start, end in matcher(piece.folded):
                    count += 1
                    name = piece.text[start:end]
                    if name not in found:
                        found[name] = score(piece.folded[start:end], query), piece, start, end
            if len(found) >= most:
                break
        best = sorted(found, key=lambda name: (found[name][0], len(name), name))[:most]
        return [piece.hit(start, end) for _, piece, start, end in map(found.__getitem__, best)]


def _fold(text: str) -> str:
    """Lower-case a text without changing its length, as `İ`.lower() would."""
    lowered = text.lower()
    if len(lowered) == len(text):
        return lowered
    return "".join(c.lower() if len(c.lower()) == 1 else c for c in text)


_Matcher = Callable[[str], Iterator[tuple[int, int]]]
"""Yields where matching names start and end in the text of a piece."""


def _with_prefix(query: str) -> _Matcher:
    """Match names whose last part starts with the query."""
    token = "/" + query

    def match(text: str) -> Iterator[tuple[int, int]]:
        at = text.find(token)
        while at >= 0:
            after, end = at + len(token), text.find("\n", at)
            if text.find("/", after, end - 1) < 0:
                yield text.rfind("\n", 0, at) + 2, end
                after = end
            at = text.find(token, after)

    return match


def _containing(query: str) -> _Matcher:
    """Match names that contain the query."""

    def match(text: str) -> Iterator[tuple[int, int]]:
        at = text.find(query)
        while at >= 0:
            end = text.find("\n", at)
            yield text.rfind("\n", 0, at) + 2, end
            at = text.find(query, end)

    return match


def _with_letters(query: str) -> _Matcher:
    """Match names that contain the letters of the query in order."""
    steps = "".join(f"[^\\n{c}]*+{c}" for c in map(re.escape, query))
    # Possessive: each line is tried once, from its start.
    pattern = re.compile(f"\n/{steps}[^\\n]*+")

    def match(text: str) -> Iterator[tuple[int, int]]:
        return ((found.start() + 2, found.end()) for found in pattern.finditer(text))

    return match


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
