"""Drafts without a draft model: what followed the last time these tokens were written.

Code that was read and is now being rewritten repeats for long stretches. An index from every run
of a few tokens to where it was last seen is kept up to date token by token, so that looking up
costs nothing that grows with the context. Drafts grow with the length of the repetition, and
drafting rests when it has not paid for itself.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

_RUN = 6
"""Tokens in a row that the index knows."""
_MATCH = 12
"""Tokens that must agree before a draft is worth its price."""
_LENGTHS = ((48, 64), (24, 32), (_MATCH, 16))
"""Draft length by length of the match."""
LONGEST = 64
"""Tokens of a draft at most."""
_FIRST_REST = 32
_LONGEST_REST = 1024


class Drafter:
    """Proposes up to `longest` tokens that may come next. `tokens` is the prompt; `append` tells
    what was said since."""

    def __init__(self, tokens: Sequence[int] = (), longest: int = LONGEST) -> None:
        self._longest = longest
        self._tokens: array[int] = array("i")
        self._index: dict[tuple[int, ...], int] = {}
        self._candidate = -1
        self._single = 0.0
        self._balance = 0.0
        self._rest = 0
        self._next_rest = _FIRST_REST
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
        if self._rest:
            self._rest -= 1

    def propose(self, most: int) -> array[int]:
        """Up to `most` tokens that may come next; empty when nothing is likely enough."""
        start = self._candidate
        least = min(_LENGTHS[-1][1], self._longest)
        if self._rest or start < 0 or most < least:
            return array("i")
        most = min(most, self._longest)
        matched = self._matched(start)
        for least, length in _LENGTHS:
            if matched >= least:
                draft = self._tokens[start : start + min(length, most)]
                # A match that reaches the present is a cycle: what follows is what began it.
                cycle = len(draft)
                while len(draft) < min(length, most):
                    draft.append(draft[-cycle])
                return draft
        return array("i")

    def _matched(self, start: int) -> int:
        """How far back the context agrees with what came before `start`, up to what matters."""
        tokens, count, end = self._tokens, 0, len(self._tokens)
        while count < _LENGTHS[0][0] and count < start:
            if tokens[start - 1 - count] != tokens[end - 1 - count]:
                break
            count += 1
        return count

    def single(self, seconds: float) -> None:
        """Tell how long one token took alone."""
        self._single = seconds if not self._single else 0.9 * self._single + 0.1 * seconds

    def drafted(self, accepted: int, seconds: float) -> None:
        """Tell how many tokens of a draft were right, and how long its batch took.

        When drafts have cost more than they saved, drafting rests, longer each time.
        """
        if not self._single:
            return
        gain = (accepted + 1) * self._single - seconds
        self._balance = min(self._balance + gain, 40 * self._single)
        if gain > 0:
            self._next_rest = _FIRST_REST
        if self._balance < -8 * self._single:
            self._balance = 0.0
            self._rest = self._next_rest
            self._next_rest = min(self._next_rest * 2, _LONGEST_REST)
