"""The tokens of one reply as they come: its text, and when it ends."""

from __future__ import annotations

from collections.abc import Sequence

from laguna_agent.events import FinishReason
from laguna_agent.models.engine.interface import EngineRequest
from laguna_agent.models.engine.llama import Model
from laguna_agent.models.engine.token_text import TextStream

_LONGEST_PERIOD = 64
_PERIODS, _REPEATED = 8, 160
_EVERY = 16
"""Tokens after which repetitions are looked for again."""


def runs_on(ids: Sequence[int]) -> bool:
    """Whether tokens end with at most 64 again and again: eight times, and for 160 tokens."""
    for period in range(1, _LONGEST_PERIOD + 1):
        needed = max(_PERIODS * period, _REPEATED)
        if len(ids) < needed:
            break
        if ids[-needed:-period] == ids[period - needed :]:
            return True
    return False


class ReplyTokens:
    """Collects the tokens of a reply."""

    def __init__(self, model: Model, request: EngineRequest) -> None:
        self._model = model
        self._limit = request.max_tokens
        self._end_repeats = request.end_repeats
        self._stream = TextStream(request.stops)
        self.ids: list[int] = []

    def add(self, token: int) -> tuple[str, FinishReason | None]:
        """Add a token; returns the text that may be shown now, and the finish reason when it is
        the last."""
        self.ids.append(token)
        ended = self._model.is_end(token)
        text = "" if ended else self._stream.feed(self._model.piece(token))
        reason: FinishReason | None = None
        if ended or self._stream.stopped is not None:
            reason = "stop"
        elif len(self.ids) >= self._limit:
            reason = "length"
        elif self._end_repeats and len(self.ids) % _EVERY == 0 and runs_on(self.ids):
            reason = "repeats"
        if reason is not None:
            text += self._stream.finish()
        return text, reason

    @property
    def ended(self) -> bool:
        """Whether the last token is an end-of-generation token."""
        return bool(self.ids) and self._model.is_end(self.ids[-1])

    @property
    def clean(self) -> bool:
        """True when no incomplete character is pending."""
        return self._stream.clean

    def kept_ids(self) -> list[int]:
        """The tokens without those that only spell a stop string."""
        if self._stream.stopped is None:
            return self.ids
        left = len(b"".join(map(self._model.piece, self.ids)))
        shown = self._stream.shown
        count = len(self.ids)
        while count and left - len(self._model.piece(self.ids[count - 1])) >= shown:
            count -= 1
            left -= len(self._model.piece(self.ids[count]))
        return self.ids[:count]
