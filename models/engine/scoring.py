"""Compares tokens that a greedy reply had with what the model chooses now.

The tokens are decoded as they were recorded, many in a batch, and each is compared with the
likeliest one that the grammar allows. Batches of different sizes compute a little differently, so
where that could decide, the token before is decoded again alone, as it was in the first place.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import replace

from laguna_agent.events import FinishReason
from laguna_agent.models.engine.cache import Cache
from laguna_agent.models.engine.generation import Generation, Order, Sinks
from laguna_agent.models.engine.interface import TIE
from laguna_agent.models.engine.llama import Model

_BATCH = 64


class Scoring(Generation):
    """Advanced like any generation; for each token it reports what the model chooses now, and by
    how much that one's logit is above the recorded one's: 0 for the same, infinite where the
    grammar does not allow what was recorded. There it ends: the grammar cannot follow."""

    def __init__(self, model: Model, cache: Cache, order: Order, sinks: Sinks) -> None:
        cut = len(order.tokens) - order.resume
        super().__init__(model, cache, replace(order, tokens=order.tokens[:cut], resume=0), sinks)
        self._wanted = order.tokens[cut:]

    def _decode(self) -> Generator[None, None, FinishReason]:
        cache, wanted, start = self._cache, self._wanted, len(self.prompt)
        size = min(_BATCH, cache.context.micro_batch)
        first = held = 0
        """Tokens of the reply that were held before the last batch, and after it."""
        for place, token in enumerate(wanted):
            if place > held:
                yield from self._pause()
                batch = wanted[held : min(held + size, len(wanted) - 1)]
                cache.decode(batch, every_row=True)
                first, held = held, held + len(batch)
            choice, gap = self._compare(place - 1 - first if place else -1, token)
            if TIE < gap < math.inf:
                before = wanted[place - 1] if place else self.prompt[-1]
                cache.rollback(start + place - 1)
                cache.decode([before])
                first, held = place - 1, place
                alone = self._compare(-1, token)
                choice, gap = min((choice, gap), alone, key=lambda pair: pair[1])
            self._sinks.tokens([choice], "", [gap])
            if math.isinf(gap):
                return "error"
            self._take(token, emit=False)
        return "stop"

    def _compare(self, row: int, token: int) -> tuple[int, float]:
        """The model's choice in a row of logits, and how far above the token's its logit is."""
        if self._forced:  # fed to close a thought, whatever the model would have written
            fed = self._forced.popleft()
            return fed, 0.0 if fed == token else math.inf
        assert self._sampler is not None
        if not self._sampler.allows(token):
            return self._sampler.sample(self._cache.context, row), math.inf
        choice = self._sampler.sample(self._cache.context, row)
        logits = self._cache.context.logits(row)
        return choice, 0.0 if choice == token else float(logits[choice] - logits[token])
