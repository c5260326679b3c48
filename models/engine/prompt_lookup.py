"""Prompt lookup: drafts without a draft model, from what followed the same tokens before.

Code that was read and is being rewritten repeats in long stretches. An index from every run of a
few tokens to where it last occurred is updated token by token, so that the cost of a lookup does
not grow with the context. Drafts get longer with the repetition, and drafting pauses while it does
not pay off.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

_RUN = 6
"""Length in tokens of the runs in the index."""
_MATCH = 12
"""Tokens that must match before a draft is worth its cost."""
_LENGTHS = ((48, 64), (24, 32), (_MATCH, 16))
"""Draft length by length of the match."""
LONGEST = 64
"""Most tokens of a draft."""
_FIRST_PAUSE = 32
_LONGEST_PAUSE = 1024


class Drafter:
    """Proposes up to `longest` tokens that may come next.

    `tokens` is the prompt; `append` adds the tokens generated since.
    """

    def __init__(self, tokens: Sequence[int] = (), longest: int = LONGEST) -> None:
        self._longest = longest
        self._tokens: array[int] = array("i")
        self._index: dict[tuple[int, ...], int] = {}
        self._candidate = -1
        self._single = 0.0
        self._balance = 0.0
        self._pause = 0
        self._next_pause = _FIRST_PAUSE
        self.extend(tokens)

    def extend(self, tokens: Sequence[int]) -> None:
        """Add several tokens."""
        for token in tokens:
            self.append(token)

    def append(self, token: int) -> None:
        """Add one token; constant time."""
        known = self._tokens
        if self._candidate >= 0 and known[self._candidate] == token:
            self._candidate += 1
        else:
            self._candidate = -1
        known.append(token)
        if len(known) >= _RUN:
            key = tuple(known[-_RUN:])
            if self._candidate < 0:
                self._candidate = self._index.get(key, -1)
            self._index[key] = len(known)
        if self._pause:
            self._pause -= 1

    def propose(self, most: int) -> array[int]:
        """Up to `most` tokens that may come next; empty when none are likely enough."""
        start = self._candidate
        least = min(_LENGTHS[-1][1], self._longest)
        if self._pause or start < 0 or most < least:
            return array("i")
        most = min(most, self._longest)
        matched = self._matched(start)
        for least, length in _LENGTHS:
            if matched >= least:
                draft = self._tokens[start : start + min(length, most)]
                # A match that reaches the last token is a cycle: it continues from its beginning.
                cycle = len(draft)
                while len(draft) < min(length, most):
                    draft.append(draft[-cycle])
                return draft
        return array("i")

    def _matched(self, start: int) -> int:
        """Tokens before `start` that equal the last ones, as far as it matters."""
        tokens, count, end = self._tokens, 0, len(self._tokens)
        while count < _LENGTHS[0][0] and count < start:
            if tokens[start - 1 - count] != tokens[end - 1 - count]:
                break
            count += 1
        return count

    def record_single(self, seconds: float) -> None:
        """Note how long one token took alone."""
        self._single = seconds if not self._single else 0.9 * self._single + 0.1 * seconds

    def record_draft(self, accepted: int, seconds: float) -> None:
        """Note how many tokens of a draft were accepted, and how long its batch took.

        When drafts have cost more than they saved, drafting pauses, longer each time.
        """
        if not self._single:
            return
        gain = (accepted + 1) * self._single - seconds
        self._balance = min(self._balance + gain, 40 * self._single)
        if gain > 0:
            self._next_pause = _FIRST_PAUSE
        if self._balance < -8 * self._single:
            self._balance = 0.0
            self._pause = self._next_pause
            self._next_pause = min(self._next_pause * 2, _LONGEST_PAUSE)
