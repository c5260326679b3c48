"""The shortest loop that reads a prompt and writes a reply with llama.cpp: the baseline of `bench`.

It runs in the engine process, on the engine's own model and context, so that both are measured
with the same weights, threads and processor caches.
"""

# llama_cpp does not annotate the conversions that ctypes makes, nor that its handles are optional.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false

from __future__ import annotations

import ctypes
import os
import shutil
import time
from array import array
from collections.abc import Iterator

import llama_cpp.llama_cpp as lib

from laguna_agent.errors import ModelError
from laguna_agent.models.engine.cache import Cache, Prepared
from laguna_agent.models.engine.generation import GenerationResult
from laguna_agent.models.engine.interface import EngineRequest
from laguna_agent.models.engine.llama import SEQUENCE, Context
from laguna_agent.models.engine.snapshots import SnapshotStore


class Baseline:
    """Greedy decoding and nothing else. Advanced like a `Generation`."""

    def __init__(
        self, cache: Cache, request: EngineRequest, store: SnapshotStore | None = None
    ) -> None:
        self._cache = cache
        self._request = request
        self._store = store
        self.cancelled = False
        self.result: GenerationResult | None = None
        self.steps = self._run()

    def _run(self) -> Iterator[None]:
        context, tokens = self._cache.context, array("i", self._request.tokens)
        chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
        lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_greedy())
        step, kept = context.micro_batch, self._request.kept
        if not kept:
            context.clear()
            self._cache.tokens = array("i")
        else:
            self._cache.prepare(tokens[: kept + 1], self._cache.session)
            while (at := len(self._cache.tokens)) < kept:
                self._cache.decode(tokens[at : min(at + step, kept)])
        self._cache.owner = self
        yield
        start = time.perf_counter()
        for at in range(kept, len(tokens), step):
            context.decode(tokens[at : at + step], at)
        token = int(lib.llama_sampler_sample(chain, context.handle, -1))
        middle = time.perf_counter()
        ids = [token]
        for at in range(len(tokens), len(tokens) + self._request.max_tokens - 1):
            if self.cancelled:
                break
            context.decode([token], at)
            token = int(lib.llama_sampler_sample(chain, context.handle, -1))
            ids.append(token)
        end = time.perf_counter()
        lib.llama_sampler_free(chain)
        measured = {}
        held = tokens + array("i", ids[:-1])
        if self._request.time_states and self._store is not None:
            measured = _time_states(context, self._store, held)
        if kept and not measured:
            self._cache.tokens = held
        else:
            context.clear()
            self._cache.tokens = array("i")
        self.result = GenerationResult(
            reason="cancelled" if self.cancelled else "length",
            ids=ids,
            generated=len(ids),
            ended=False,
            prepared=Prepared(kept),
            prompt=len(tokens),
            prefilled=len(tokens) - kept,
            prefill_s=middle - start,
            decode_s=end - middle,
            first_token_s=middle - start,
            measured=measured,
        )


def _time_states(context: Context, store: SnapshotStore, tokens: array[int]) -> dict[str, float]:
    """Seconds to save the state after `tokens` and to restore it, llama.cpp's way and ours."""
    directory = store.directory / f"bench-{os.getpid()}"
    measuring = SnapshotStore(directory, {"bench": os.getpid()}, store.limit)
    path = directory / "baseline"
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    file, ids = os.fsencode(path), (lib.llama_token * len(tokens))(*tokens)
    count = ctypes.c_size_t()
    seconds = {}
    try:
        clock = time.perf_counter()
        lib.llama_state_seq_save_file(context.handle, file, SEQUENCE, ids, len(ids))
        seconds["baseline_save"] = time.perf_counter() - clock
        context.clear()
        clock = time.perf_counter()
        read = lib.llama_state_seq_load_file(
            context.handle, file, SEQUENCE, ids, len(ids), ctypes.byref(count)
        )
        if not read:
            raise ModelError("llama.cpp could not read back the state that it just saved")
        seconds["baseline_restore"] = time.perf_counter() - clock
        clock = time.perf_counter()
        data = context.save_state(window_only=False)
        seconds["save_wait"] = time.perf_counter() - clock
        measuring.save_static(tokens, data)
        measuring.flush()
        seconds["save"] = time.perf_counter() - clock
        context.clear()
        clock = time.perf_counter()
        found = measuring.find(tokens)
        state = found[0].read() if found else None
        if state is None or not context.load_state(state, window_only=False):
            raise ModelError("a snapshot that was just written could not be read back")
        seconds["restore"] = time.perf_counter() - clock
        seconds["bytes"] = len(data)
    finally:
        measuring.close()
        shutil.rmtree(directory, ignore_errors=True)
    return seconds
