"""Samples tokens: llama.cpp's sampler chain, and a grammar that is consulted as little as possible.

A token is sampled first and then checked against the grammar; only when it is refused are other
candidates tried, the likeliest first. That gives the same distribution as masking the whole
vocabulary and costs next to nothing, because a model mostly writes what the grammar allows.
"""

# llama_cpp does not annotate the conversions that ctypes makes, nor that its handles are optional.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false

from __future__ import annotations

import ctypes
import math
import re
from collections.abc import Iterator
from typing import Any

import llama_cpp.llama_cpp as lib
import numpy as np

from laguna_agent.errors import ModelError
from laguna_agent.models.chat.chat_format import Grammar
from laguna_agent.models.conversation import Sampling
from laguna_agent.models.engine.llama import Context, Model

_CANDIDATE = np.dtype([("id", "<i4"), ("logit", "<f4"), ("p", "<f4")])
_PENALTY_WINDOW = 256
_FIRST = 64
"""Candidates tried first when a grammar refuses the sampled token."""


class GrammarMatcher:
    """A grammar's state: which tokens may come next. Lazy grammars are activated by a trigger."""

    def __init__(self, model: Model, grammar: Grammar) -> None:
        self._model = model
        self._grammar = grammar
        self._tokens = {model.token_of(text) for text in grammar.trigger_tokens} - {None}
        self._patterns = [re.compile(p, re.DOTALL) for p in grammar.trigger_patterns]
        self._text = b""
        self._sampler = self._make()
        self.active = not grammar.lazy
        self._one = np.zeros(1, _CANDIDATE)
        self._one_array = _array(self._one)
        self._answer: tuple[int, bool] | None = None

    def _make(self) -> Any:
        sampler = lib.llama_sampler_init_grammar(
            self._model.vocab, self._grammar.gbnf.encode(), self._grammar.root.encode()
        )
        if not sampler:
            raise ModelError(
                "the grammar of this reply is not valid GBNF", hint="The engine's log says why."
            )
        return sampler

    def allows(self, token: int) -> bool:
        """True when the reply may continue with this token."""
        if self._answer is None or self._answer[0] != token:
            self._answer = token, self._would_accept(token)
        return self._answer[1]

    def _would_accept(self, token: int) -> bool:
        if self.active:
            return self._fits(token)
        if token in self._tokens:
            return self._fits(token)
        triggered = self._triggered_by(token)
        if triggered is None:
            return True
        probe = lib.llama_sampler_clone(self._sampler)
        try:
            return self._feed(probe, triggered)
        finally:
            lib.llama_sampler_free(probe)

    def accept(self, token: int) -> None:
        """Advance by a token that `allows` returned True for."""
        self._answer = None
        if self.active:
            lib.llama_sampler_accept(self._sampler, token)
        elif token in self._tokens:
            self.active = True
            lib.llama_sampler_accept(self._sampler, token)
        else:
            triggered = self._triggered_by(token)
            self._text += self._model.piece(token)
            if triggered is not None:
                self.active = True
                self._feed(self._sampler, triggered)

    def mask(self, candidates: np.ndarray[Any, Any]) -> None:
        """Set the logits of tokens that may not come next to minus infinity."""
        if self.active:
            lib.llama_sampler_apply(self._sampler, ctypes.byref(_array(candidates)))
            return
        for index, token in enumerate(candidates["id"]):
            if not self.allows(int(token)):
                candidates["logit"][index] = -math.inf

    def _fits(self, token: int, sampler: Any = None) -> bool:
        self._one["id"][0], self._one["logit"][0] = token, 0.0
        lib.llama_sampler_apply(sampler or self._sampler, ctypes.byref(self._one_array))
        return bool(self._one["logit"][0] == 0.0)

    def _triggered_by(self, token: int) -> str | None:
        """The text to feed to the grammar when this token completes a trigger pattern."""
        if not self._patterns or self._model.is_end(token):
            return None
        text = (self._text + self._model.piece(token)).decode("utf-8", "replace")
        for pattern in self._patterns:
            match = pattern.search(text)
            if match:
                return text[match.start(1 if pattern.groups else 0) :]
        return None

    def _feed(self, sampler: Any, text: str) -> bool:
        for token in self._model.tokenize(text, special=True):
            if not self._fits(token, sampler):
                return False
            lib.llama_sampler_accept(sampler, token)
        return True

    def close(self) -> None:
        """Free the memory held by llama.cpp."""
        if self._sampler:
            lib.llama_sampler_free(self._sampler)
            self._sampler = None


class Sampler:
    """Samples the tokens of one reply."""

    def __init__(self, model: Model, sampling: Sampling, grammar: Grammar | None) -> None:
        self._model = model
        self.greedy = sampling.temperature <= 0
        self._penalised = sampling.repeat_penalty != 1.0
        self._keep = 1 if self.greedy else sampling.top_k
        self.matcher = GrammarMatcher(model, grammar) if grammar else None
        self._chain = self._make(sampling)
        self._all = np.zeros(model.vocabulary, _CANDIDATE)
        self._ids = np.arange(model.vocabulary, dtype=np.int32)

    def _make(self, s: Sampling) -> Any:
        chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
        add = lib.llama_sampler_chain_add
        if self._penalised:
            add(
                chain,
                lib.llama_sampler_init_penalties(
                    self._model.vocabulary, _PENALTY_WINDOW, s.repeat_penalty, 0.0, 0.0
                ),
            )
        if self.greedy:
            add(chain, lib.llama_sampler_init_greedy())
            return chain
        if s.top_k > 0:
            add(chain, lib.llama_sampler_init_top_k(s.top_k))
        if s.top_p < 1:
            add(chain, lib.llama_sampler_init_top_p(s.top_p, 1))
        if s.min_p > 0:
            add(chain, lib.llama_sampler_init_min_p(s.min_p, 1))
        add(chain, lib.llama_sampler_init_temp(s.temperature))
        add(chain, lib.llama_sampler_init_dist(s.seed & 0xFFFFFFFF))
        return chain

    def sample(self, context: Context, row: int = -1) -> int:
        """Sample the next token from a row of logits. It is not accepted yet."""
        if not self._penalised:
            token = int(lib.llama_sampler_sample(self._chain, context.handle, row))
        else:
            # `llama_sampler_sample` would count a refused token as accepted.
            token = self._select(self._candidates(context, row))
        if self.matcher is None or self.matcher.allows(token):
            return token
        return self._resample(context, row)

    def accept(self, token: int) -> None:
        """Add a token to the reply, sampled or forced."""
        if self._penalised:
            lib.llama_sampler_accept(self._chain, token)
        if self.matcher is not None and self.matcher.allows(token):
            self.matcher.accept(token)

    def allows(self, token: int) -> bool:
        """True when there is no grammar or it allows this token."""
        return self.matcher is None or self.matcher.allows(token)

    def margin(self, context: Context, row: int) -> float:
        """How far the likeliest allowed token's logit is above the second likeliest's."""
        logits = np.ctypeslib.as_array(context.logits(row), (self._model.vocabulary,))
        first = int(logits.argmax())
        if self.matcher is not None and not self.matcher.allows(first):
            best = np.sort(self._allowed(context, row, 2)["logit"])[::-1]
            return float(best[0] - best[1]) if len(best) > 1 else math.inf
        top = float(logits[first])
        logits[first] = -math.inf
        second = float(logits.max())
        logits[first] = top
        return top - second

    def _candidates(self, context: Context, row: int) -> np.ndarray[Any, Any]:
        self._all["id"] = self._ids
        self._all["logit"] = np.ctypeslib.as_array(context.logits(row), (self._model.vocabulary,))
        self._all["p"] = 0
        return self._all

    def _select(self, candidates: np.ndarray[Any, Any]) -> int:
        data = _array(candidates)
        lib.llama_sampler_apply(self._chain, ctypes.byref(data))
        return int(data.data[data.selected].id)

    def _resample(self, context: Context, row: int) -> int:
        """Sample among the tokens that the grammar allows."""
        kept = self._allowed(context, row, self._keep)
        if not len(kept):
            raise ModelError("the grammar of this reply allows no further token")
        return self._select(kept)

    def _allowed(self, context: Context, row: int, enough: int) -> np.ndarray[Any, Any]:
        """Candidates that the grammar allows, the likeliest first.

        At least `enough` of them if there are as many, all of them when `enough` is 0.
        """
        matcher = self.matcher
        assert matcher is not None
        candidates = self._candidates(context, row)
        kept: list[np.ndarray[Any, Any]] = []
        valid = 0
        for order in _likeliest(candidates["logit"], pieces=bool(enough) and not self._penalised):
            chunk = candidates[order]
            matcher.mask(chunk)
            allowed = chunk[np.isfinite(chunk["logit"])]
            kept.append(allowed)
            valid += len(allowed)
            if enough and valid >= enough:
                break
        return np.ascontiguousarray(np.concatenate(kept))

    def close(self) -> None:
        """Free the memory held by llama.cpp."""
        if self._chain:
            lib.llama_sampler_free(self._chain)
            self._chain = None
        if self.matcher is not None:
            self.matcher.close()


def _likeliest(logits: np.ndarray[Any, Any], *, pieces: bool) -> Iterator[np.ndarray[Any, Any]]:
    """Indices, the likeliest first: in ever larger pieces, or all at once.

    The first piece is picked without sorting the rest, in a hundredth of the time.
    """
    count = len(logits)
    if not pieces or count <= _FIRST:
        yield np.argsort(logits)[::-1]
        return
    few = np.argpartition(logits, count - _FIRST)[count - _FIRST :]
    yield few[np.argsort(logits[few])[::-1]]
    others = np.ones(count, bool)
    others[few] = False
    rest = np.flatnonzero(others)
    rest = rest[np.argsort(logits[rest])[::-1]]
    done, size = 0, 8 * _FIRST
    while done < len(rest):
        yield rest[done : done + size]
        done += size
        size *= 8


def log_probability(context: Context, vocabulary: int, row: int, token: int) -> float:
    """Natural logarithm of the model's own probability of `token`, before any sampler."""
    logits = np.ctypeslib.as_array(context.logits(row), (vocabulary,)).astype(np.float64)
    top = logits.max()
    return float(logits[token] - top - np.log(np.exp(logits - top).sum()))


def _array(candidates: np.ndarray[Any, Any]) -> Any:
    return lib.llama_token_data_array(
        data=ctypes.cast(candidates.ctypes.data, lib.llama_token_data_p),
        size=len(candidates),
        selected=-1,
        sorted=False,
    )
