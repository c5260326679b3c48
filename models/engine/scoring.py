"""Compares the tokens of a recorded greedy reply with what the model chooses now.

The recorded tokens are decoded in batches, and each is compared with the likeliest token that the
grammar allows. Results differ a little between batch sizes, so where that could decide, the token
before is decoded again alone, as it was when the reply was generated.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import replace

from laguna_agent.events import FinishReason
from laguna_agent.models.engine.cache import Cache
from laguna_agent.models.engine.generation import Generation, Sinks
from laguna_agent.models.engine.interface import TIE, EngineRequest
from laguna_agent.models.engine.llama import Model

_BATCH = 64


class Scoring(Generation):
    """Reports for each recorded token what the model chooses now, and the gap of their logits.

    The gap is 0 when they are the same token and infinite when the grammar refuses the recorded
    one; scoring ends there, since the grammar cannot advance. See `Score`.
    """

    def __init__(self, model: Model, cache: Cache, request: EngineRequest, sinks: Sinks) -> None:
        cut = len(request.tokens) - request.resume
        prompt = replace(request, tokens=request.tokens[:cut], resume=0)
        super().__init__(model, cache, prompt, sinks)
        self._wanted = request.tokens[cut:]

    def _decode(self) -> Generator[None, None, FinishReason]:
        cache, wanted, start = self._cache, self._wanted, len(self.prompt)
        size = min(_BATCH, cache.context.micro_batch)
        first = held = 0
        """Tokens of the reply in the cache before the last batch, and after it."""
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
        """The model's choice in a row of logits, and how far its logit is above the token's."""
        if self._forced:  # closes a thought, whatever the model would have chosen
            fed = self._forced.popleft()
            return fed, 0.0 if fed == token else math.inf
        assert self._sampler is not None
        if not self._sampler.allows(token):
            return self._sampler.sample(self._cache.context, row), math.inf
        choice = self._sampler.sample(self._cache.context, row)
        logits = self._cache.context.logits(row)
        return choice, 0.0 if choice == token else float(logits[choice] - logits[token])
