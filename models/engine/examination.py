"""Reads tokens in a context of its own and reports what the model does with each of them.

That is the experts that every layer chose, and where asked the probability of the token that
follows, compared with another model's. The engine's own context has no callback and keeps what it
holds; nothing of this exists before somebody asks.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from laguna_agent.errors import ModelError
from laguna_agent.models.engine.cache import Cache, Prepared
from laguna_agent.models.engine.generation import GenerationResult
from laguna_agent.models.engine.interface import EngineRequest
from laguna_agent.models.engine.llama import Context, ContextOptions, DecodeAbortedError, Model
from laguna_agent.models.engine.tensor_reader import tensor_callback

_BATCH = 256
_ROWS = 32
"""Rows of logits that are compared at once."""

Arrays = dict[str, NDArray[Any]]
Report = Callable[[dict[str, Any], Arrays], None]


class RouterObserver:
    """Collects what the routers choose, layer by layer, for one batch at a time."""

    _wanted = re.compile(rb"ffn_moe_(topk|weights)-(\d+)")

    def __init__(self) -> None:
        self._chosen: dict[int, NDArray[Any]] = {}
        self._weights: dict[int, NDArray[Any]] = {}

    def wants(self, name: bytes) -> bool:
        """True for the chosen experts and their weights."""
        return name.startswith(b"ffn_moe_") and self._wanted.fullmatch(name) is not None

    def receive(self, name: bytes, values: NDArray[Any]) -> None:
        """Take the values of a layer."""
        match = self._wanted.fullmatch(name)
        assert match is not None
        kept = self._chosen if match[1] == b"topk" else self._weights
        kept[int(match[2])] = values

    def take(self, count: int) -> tuple[list[int], Arrays]:
        """The layers with experts, and `experts` (uint16) and `weights` (float16, each token's sum
        to 1 per layer), both tokens x layers x chosen experts, of the last batch of `count`."""
        layers = sorted(self._chosen)
        if not layers:
            return [], {}
        experts = np.stack([self._chosen[n].reshape(count, -1) for n in layers], axis=1)
        weights = np.stack([self._weights[n].reshape(count, -1) for n in layers], axis=1)
        total = weights.sum(axis=2, keepdims=True)
        weights = np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)
        self._chosen, self._weights = {}, {}
        return layers, {"experts": experts.astype("<u2"), "weights": weights.astype("<f2")}


class Examination:
    """Reads the last `resume` tokens of a request, after those before them.

    Advanced like a `Generation`. Reports each batch: header fields (`done`, `layers`) and arrays,
    those of `RouterObserver.take` and those of `_Scores`.
    """

    def __init__(
        self,
        model: Model,
        cache: Cache,
        options: ContextOptions,
        request: EngineRequest,
        report: Report,
    ) -> None:
        self._model = model
        self._cache = cache
        self._options = options
        self._request = request
        self._report = report
        self.cancelled = False
        self.context: Context | None = None
        self.result: GenerationResult | None = None
        self.steps = self._run()

    def _run(self) -> Iterator[None]:
        tokens = array("i", self._request.tokens)
        first = len(tokens) - self._request.resume
        size = min(_BATCH, self._options.micro_batch)
        room = len(tokens)
        original = int(self._model.number("rope.scaling.original_context_length") or 0)
        if first and self._options.context > original:
            room = max(room, original + 1)  # or some models would scale positions otherwise
        options = replace(self._options, context=room, batch=size, micro_batch=size)
        observer = RouterObserver()
        read = 0
        context = self.context = Context(self._model, options, tensor_callback(observer))
        try:
            if first:
                yield from self._prefix(tokens[:first], context)
            scores = _Scores(self._request, self._model.vocabulary)
            for at in range(first, len(tokens), size):
                yield
                if self.cancelled:
                    break
                batch = tokens[at : at + size]
                # Layers compute only the rows whose logits are asked for, from the last one on.
                context.decode(batch, at, every_row=True)
                layers, arrays = observer.take(len(batch))
                arrays |= scores.of(context, tokens[at + 1 : at + 1 + size], len(batch))
                read += len(batch)
                self._report({"done": read, "layers": layers}, arrays)
        except DecodeAbortedError:
            pass
        except (OSError, ValueError) as error:
            raise ModelError(f"the predictions cannot be kept on disk: {error}") from error
        finally:
            context.close()
        done = read == self._request.resume
        self.result = GenerationResult(
            reason="length" if done else "cancelled",
            ids=[],
            generated=0,
            ended=False,
            prepared=Prepared(first),
            prompt=len(tokens),
            prefilled=read,
        )

    def _prefix(self, prefix: array[int], context: Context) -> Iterator[None]:
        """Copy the state after `prefix` from the engine's cache, which reads what it lacks."""
        cache, more = self._cache, array("i", [0])  # `prepare` leaves a token to be decoded
        held, session = cache.tokens[:], cache.session
        cache.park()
        taken = 0
        while cache.owner is not self or len(cache.tokens) < len(prefix):
            if cache.owner is not self:
                cache.prepare(prefix + more, "examination")
                cache.owner = self
                taken += 1
                continue
            at = len(cache.tokens)
            cache.decode(prefix[at : at + cache.batch_sizer.size()])
            yield
            if self.cancelled:
                raise DecodeAbortedError
        if not context.load_state(cache.context.save_state(window_only=False), window_only=False):
            raise ModelError("llama.cpp refused the state of the conversation so far")
        if held and taken == 1:
            # As if nothing had been asked: the conversation continues without a miss. Where another
            # one has had its turn meanwhile, the cache is that one's.
            cache.prepare(held + more, session)


class _Scores:
    """Log-probabilities of the tokens that follow, and how they differ from another model's.

    `logits_to` and `logits_from` of the request name a file with the logits of every token, as
    float16 below each row's maximum: written for the other model, or read and compared with.
    """

    def __init__(self, request: EngineRequest, vocabulary: int) -> None:
        self._vocabulary = vocabulary
        self._row = 0
        self._to = Path(request.logits_to) if request.logits_to else None
        self._from: NDArray[np.float16] | None = None
        if request.logits_from:
            stored = np.memmap(request.logits_from, np.float16, "r")
            self._from = stored.reshape(-1, vocabulary)

    def of(self, context: Context, following: array[int], count: int) -> Arrays:
        """Of a batch of `count` rows: `logprobs` of the following tokens (one fewer at the end),
        `top`, the likeliest tokens, and `divergence`, KL in nats from the other model's."""
        if self._to is None and self._from is None:
            return {}
        parts = [
            self._some(context, row, following[row : row + _ROWS], min(_ROWS, count - row))
            for row in range(0, count, _ROWS)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _some(self, context: Context, row: int, following: array[int], count: int) -> Arrays:
        pointer = context.logits(row)
        logits = np.ctypeslib.as_array(pointer, (count * self._vocabulary,))
        logits = logits.reshape(count, self._vocabulary).astype(np.float32)
        logits -= logits.max(axis=1, keepdims=True)
        if self._to is not None:
            with self._to.open("ab") as file:
                file.write(logits.astype(np.float16).tobytes())
        own = _log_softmax(logits)
        found: Arrays = {
            "logprobs": own[np.arange(len(following)), list(following)].astype("<f4"),
            "top": own.argmax(axis=1).astype("<i4"),
        }
        if self._from is not None:
            other = _log_softmax(self._from[self._row : self._row + count].astype(np.float32))
            found["divergence"] = (np.exp(other) * (other - own)).sum(axis=1).astype("<f4")
        self._row += count
        return found


def _log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of rows whose maximum is 0."""
    result: NDArray[np.float32] = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return result
