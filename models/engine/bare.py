"""The least that llama.cpp needs to read a prompt and write a reply: the yardstick of `bench`.

It runs in the engine process, on the engine's own model and context, so that both are measured
with the same weights, threads and caches of the processor.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterator

import llama_cpp.llama_cpp as lib

from laguna_agent.models.engine.cache import Cache, Prepared
from laguna_agent.models.engine.generation import Order, Outcome


class BareLoop:
    """Greedy decoding without anything around it. Advanced like a `Generation`."""

    def __init__(self, cache: Cache, order: Order) -> None:
        self._cache = cache
        self._order = order
        self.cancelled = False
        self.outcome: Outcome | None = None
        self.steps = self._run()

    def _run(self) -> Iterator[None]:
        context, tokens = self._cache.context, self._order.tokens
        chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
        lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_greedy())
        context.clear()
        self._cache.tokens = array("i")
        self._cache.owner = self
        yield
        start = time.perf_counter()
        step = context.micro_batch
        for at in range(0, len(tokens), step):
            context.decode(tokens[at : at + step], at)
        token = int(lib.llama_sampler_sample(chain, context.handle, -1))
        middle = time.perf_counter()
        ids = [token]
        for at in range(len(tokens), len(tokens) + self._order.max_tokens - 1):
            if self.cancelled:
                break
            context.decode([token], at)
            token = int(lib.llama_sampler_sample(chain, context.handle, -1))
            ids.append(token)
        end = time.perf_counter()
        lib.llama_sampler_free(chain)
        context.clear()
        self.outcome = Outcome(
            reason="cancelled" if self.cancelled else "length",
            ids=ids,
            generated=len(ids),
            ended=False,
            prepared=Prepared(0),
            prompt=len(tokens),
            prefilled=len(tokens),
            prefill_s=middle - start,
            decode_s=end - middle,
            first_token_s=middle - start,
        )
