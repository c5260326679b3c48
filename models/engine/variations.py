"""Variations of a text: where the model would rather have written something else, and what.

The text is read like a prompt, in a fraction of the time that writing it takes, and at each place
the model's likeliest other tokens show. A mistake of one token in code that the model is asked to
correct is mostly among the first of them. Each variation goes on from its place for a line or two;
many are written at a time.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from laguna_agent.events import FinishReason
from laguna_agent.models.engine.cache import Cache
from laguna_agent.models.engine.generation import CancelledError, Generation, Sinks
from laguna_agent.models.engine.interface import EngineRequest, Vary, Written
from laguna_agent.models.engine.llama import Context, ContextOptions, Model
from laguna_agent.models.engine.side_by_side import SharedContext, shared

_TOGETHER = 16
"""Variations that are written at a time."""
_LONGEST = 96
"""Tokens of a variation after its place."""
_OTHERS = 2
"""Other tokens that are taken at one place."""
_LOOKED_AT = 6
"""Likeliest tokens among which they are looked for."""
_BATCH = 64


class _Place(NamedTuple):
    """Another token at a place in the text, and how far its logit is below that of the token there
    (negative: above)."""

    gap: float
    at: int
    token: int


@dataclass
class _Variation:
    """A variation while it is written. `length` counts the tokens of its sequence."""

    place: _Place
    sequence: int
    length: int
    ids: list[int] = field(default_factory=list)
    lines: int = 0


class Variations(Generation):
    """Reads `request.vary` after the prompt and reports variations of it at the end, the likeliest
    place first, each with the whole text up to where it was cut."""

    def __init__(
        self,
        model: Model,
        cache: Cache,
        request: EngineRequest,
        sinks: Sinks,
        options: ContextOptions,
    ) -> None:
        super().__init__(model, cache, request, sinks)
        assert request.vary is not None
        self._vary: Vary = request.vary
        self._options = options
        self.context: SharedContext | None = None
        self._ends: list[int] = []
        """Bytes up to the end of each token of the text."""

    def _decode(self) -> Generator[None, None, FinishReason]:
        vary, count = self._vary, min(_TOGETHER, self._vary.count)
        each = _LONGEST + len(vary.tokens) // (count + 1) + 1
        context = self.context = shared(
            self._model, self._cache, self._options, count + 1, each, whole=True
        )
        try:
            places = yield from self._read(context)
            chosen = sorted(places)[vary.first : vary.first + vary.count]
            done = yield from self._write(context, chosen)
        finally:
            context.close()
            self.context = None
        for place in chosen:
            ids = done[place].ids
            self._cache.counters.generated_tokens += len(ids)
            data = b"".join(map(self._model.piece, (*vary.tokens[: place.at], *ids)))
            text = data.decode("utf-8", "replace")
            self.others.append(Written(tuple(ids), text, "stop", ended=False))
        return "stop"

    def _read(self, context: SharedContext) -> Generator[None, None, list[_Place]]:
        """Read the text in the first sequence; returns all places with other tokens."""
        tokens, start = self._vary.tokens, len(self._tokens)
        if not tokens:
            return []
        end, places = 0, self._others(self._cache.context, -1, 0, 0)
        began = time.perf_counter()
        for at in range(0, len(tokens), _BATCH):
            some = tokens[at : at + _BATCH]
            context.decode_rows([(t, start + at + n, 0) for n, t in enumerate(some)])
            for row, token in enumerate(some):
                end += len(self._model.piece(token))
                if at + row + 1 < len(tokens):
                    places += self._others(context, row, at + row + 1, end)
            done, seconds = at + len(some), time.perf_counter() - began
            self._sinks.progress(done, len(tokens), start, done / seconds if seconds else 0.0)
            yield from self._breathe()
        return places

    def _others(self, context: Context, row: int, at: int, offset: int) -> list[_Place]:
        """The likeliest other tokens at a place, without those that only differ in white space."""
        token = self._vary.tokens[at]
        if any(start <= offset < stop for start, stop in self._vary.skip):
            return []
        logits = np.ctypeslib.as_array(context.logits(row), (self._model.vocabulary,))
        best = np.argpartition(logits, -_LOOKED_AT)[-_LOOKED_AT:]
        own = self._model.piece(token).split()
        found: list[_Place] = []
        for other in sorted(map(int, best), key=lambda one: -float(logits[one])):
            text = self._model.piece(other).split()
            if text in ([], own) or self._model.is_end(other):
                continue
            found.append(_Place(float(logits[token] - logits[other]), at, other))
        return found[:_OTHERS]

    def _write(
        self, context: SharedContext, chosen: Sequence[_Place]
    ) -> Generator[None, None, dict[_Place, _Variation]]:
        """Write on from each place."""
        waiting, done = deque(chosen), {}
        writing: list[_Variation] = []
        free = list(range(1, min(_TOGETHER, self._vary.count) + 1))
        while waiting or writing:
            while waiting and free:
                place, sequence = waiting.popleft(), free.pop()
                length = len(self._tokens) + place.at
                context.share(sequence, length)
                some = done[place] = _Variation(place, sequence, length)
                self._add(some, place.token)
                writing.append(some)
            context.decode_rows([(v.ids[-1], v.length, v.sequence) for v in writing])
            for row, some in enumerate(writing):
                some.length += 1
                logits = np.ctypeslib.as_array(context.logits(row), (self._model.vocabulary,))
                self._add(some, int(logits.argmax()))
            for some in [v for v in writing if self._is_over(v)]:
                writing.remove(some)
                context.cut(some.sequence, 0)
                free.append(some.sequence)
            yield from self._breathe()
        return done

    def _add(self, some: _Variation, token: int) -> None:
        some.ids.append(token)
        some.lines += self._model.piece(token).count(b"\n")

    def _is_over(self, some: _Variation) -> bool:
        long = len(some.ids) >= _LONGEST
        return long or some.lines >= self._vary.lines or self._model.is_end(some.ids[-1])

    def _breathe(self) -> Generator[None, None, None]:
        """Let others have a turn. What they do to the engine's own context does not matter."""
        yield
        if self.cancelled:
            raise CancelledError
