"""Several replies to one prompt, written side by side.

A processor writes at the pace at which it reads the weights, and one reading serves several
sequences. The prompt is processed once, in the engine's own context, and its state is copied to
another context whose sequences share it. Each reply has its own sampler, grammar and drafts.
"""

# llama_cpp does not annotate the conversions that ctypes makes.
# pyright: reportArgumentType=false

from __future__ import annotations

import time
from array import array
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace

import llama_cpp.llama_cpp as lib

from laguna_agent.errors import ModelError
from laguna_agent.events import FinishReason
from laguna_agent.models.engine.cache import Cache
from laguna_agent.models.engine.generation import CancelledError, Generation, Sinks
from laguna_agent.models.engine.interface import EngineRequest, Written
from laguna_agent.models.engine.llama import (
    SEQUENCE,
    Context,
    ContextOptions,
    DecodeAbortedError,
    Model,
)
from laguna_agent.models.engine.prompt_lookup import Drafter
from laguna_agent.models.engine.reply_tokens import ReplyTokens
from laguna_agent.models.engine.sampler import Sampler
from laguna_agent.models.gguf import GgufHeader
from laguna_agent.models.sizing.fit import kv_bytes
from laguna_agent.models.sizing.hardware import machine_memory

_ROWS = 64
"""Most tokens decoded at once, drafts included."""
_SHARE = 0.5
"""Of the free memory, that the cells of replies may take."""
_PADDING = 256
"""Cells by which llama.cpp rounds up a context."""


def affordable(header: GgufHeader, request: EngineRequest, kv_type: str) -> int:
    """How many of the replies that a request asks for there is memory for."""
    room = _SHARE * machine_memory().available
    for count in range(1 + len(request.others), 1, -1):
        cells = len(request.tokens) + count * (request.max_tokens + _ROWS)
        if kv_bytes(header, cells, kv_type) < room:
            return count
    return 1


class SharedContext(Context):
    """A context of several sequences that begin alike."""

    def share(self, other: int, length: int) -> None:
        """Let another sequence begin with `length` tokens of the first one."""
        lib.llama_memory_seq_cp(self._memory, SEQUENCE, other, 0, length)

    def decode_rows(self, rows: Sequence[tuple[int, int, int]]) -> None:
        """Decode (token, position, sequence) each, with logits of every row."""
        batch = self._batch
        for index, (token, position, sequence) in enumerate(rows):
            batch.token[index], batch.pos[index] = token, position
            batch.seq_id[index][0] = sequence
            batch.logits[index] = 1
        batch.n_tokens = len(rows)
        code = lib.llama_decode(self.handle, batch)
        if code == 2:
            raise DecodeAbortedError
        if code != 0:
            raise ModelError(f"llama.cpp cannot decode {len(rows)} tokens of several replies")

    def cut(self, sequence: int, length: int) -> None:
        """Drop a sequence's positions from `length` on."""
        lib.llama_memory_seq_rm(self._memory, sequence, length, -1)


@dataclass
class _Reply:
    """A reply while it is written. `length` counts the tokens of its sequence that are decoded."""

    sequence: int
    sampler: Sampler
    drafter: Drafter | None
    tokens: ReplyTokens
    length: int
    text: str = ""
    reason: FinishReason | None = None
    feed: list[int] = field(default_factory=list)
    """What is decoded next: the last token, and the draft after it."""

    def take(self, context: Context, row: int) -> int:
        """Sample the next token from a row of logits and add it."""
        token = self.sampler.sample(context, row)
        self.sampler.accept(token)
        if self.drafter is not None:
            self.drafter.append(token)
        text, self.reason = self.tokens.add(token)
        self.text += text
        return token

    def take_row(self, context: Context, row: int) -> int:
        """Take the token after what was fed from `row` on, and those of the draft that were right;
        returns how many those are."""
        draft, accepted = self.feed[1:], 0
        self.length += 1
        while True:
            token = self.take(context, row + accepted)
            if self.reason is not None or accepted == len(draft) or draft[accepted] != token:
                break
            accepted += 1
            self.length += 1
        self.feed = [token]
        return accepted


def shared(
    model: Model,
    cache: Cache,
    options: ContextOptions,
    count: int,
    each: int,
    *,
    whole: bool = False,
) -> SharedContext:
    """A context in which `count` sequences continue what the cache holds with up to `each` tokens;
    the first one holds it already. With `whole` they may also begin before its end."""
    room = len(cache.tokens) + count * each
    original = int(model.number("rope.scaling.original_context_length") or 0)
    if options.context > original:
        room = max(room, original + 1)  # or some models would scale positions otherwise
    options = replace(
        options,
        context=(room + _PADDING - 1) // _PADDING * _PADDING,
        batch=max(_ROWS, count),
        micro_batch=max(_ROWS, count),
        sequences=count + 1,  # llama.cpp never frees the window that they share
        whole=whole,
    )
    context = SharedContext(model, options)
    if not context.load_state(cache.context.save_state(window_only=False), window_only=False):
        context.close()
        raise ModelError("llama.cpp refused to copy the state of the prompt")
    return context


class SideBySide(Generation):
    """The first reply is sampled and reported as any other, those of `request.others` at the end.

    `options` are those of the engine's context, `count` the replies that there is memory for.
    """

    def __init__(
        self,
        model: Model,
        cache: Cache,
        request: EngineRequest,
        sinks: Sinks,
        options: ContextOptions,
        count: int,
    ) -> None:
        super().__init__(model, cache, request, sinks)
        self._options = options
        self._count = count
        self.context: SharedContext | None = None
        self._shown = request.resume
        """Tokens of the first reply that were reported, or given."""

    def _decode(self) -> Generator[None, None, FinishReason]:
        cache, replies = self._cache, self._replies()
        try:
            for reply in replies:
                reply.feed = [reply.take(cache.context, -1)]
            context = self.context = shared(
                self._model, cache, self._options, self._count, self._request.max_tokens + _ROWS
            )
            for reply in replies[1:]:
                context.share(reply.sequence, reply.length)
            self._show(replies[0], 0)
            while writing := [reply for reply in replies if reply.reason is None]:
                yield
                if self.cancelled:
                    raise CancelledError
                self._step(context, writing)
        finally:
            for reply in replies:
                if reply.sampler is not self._sampler:
                    reply.sampler.close()
            if self.context is not None:
                self.context.close()
                self.context = None
        cache.counters.generated_tokens += sum(len(reply.tokens.ids) for reply in replies)
        self.others = [
            Written(tuple(r.tokens.kept_ids()), r.text, r.reason or "stop", r.tokens.ended)
            for r in replies[1:]
        ]
        return replies[0].reason or "stop"

    def _replies(self) -> list[_Reply]:
        request, model, count = self._request, self._model, self._count
        found = []
        assert self._sampler is not None
        longest = _ROWS // count - 1
        for index, sampling in enumerate((request.sampling, *request.others)[:count]):
            sampler = Sampler(model, sampling, request.grammar) if index else self._sampler
            drafter = Drafter(self._tokens, longest) if request.speculate and longest > 0 else None
            tokens = ReplyTokens(model, request) if index else self._reply
            reply = _Reply(index, sampler, drafter, tokens, len(self._tokens))
            for token in self._tokens[len(self.prompt) :] if index else ():
                sampler.accept(token)
                reply.text += tokens.add(token)[0]
            found.append(reply)
        return found

    def _step(self, context: SharedContext, writing: Sequence[_Reply]) -> None:
        """Decode the next tokens of all replies that are not at their end."""
        began = time.perf_counter()
        rows: list[tuple[int, int, int]] = []
        starts = []
        for reply in writing:
            reply.feed += self._draft(reply)
            starts.append(len(rows))
            rows += [(t, reply.length + n, reply.sequence) for n, t in enumerate(reply.feed)]
        context.decode_rows(rows)
        a_row = (time.perf_counter() - began) / len(rows)
        counters = self._cache.counters
        for reply, start in zip(writing, starts, strict=True):
            before, drafted = len(reply.text), len(reply.feed) - 1
            accepted = reply.take_row(context, start)
            if drafted > accepted:
                context.cut(reply.sequence, reply.length)
            counters.drafted_tokens += drafted
            counters.accepted_tokens += accepted
            if reply.drafter is not None and drafted:
                reply.drafter.record_draft(accepted, a_row * (drafted + 1))
            elif reply.drafter is not None:
                reply.drafter.record_single(a_row)
            if reply.tokens is self._reply:
                self._show(reply, before)

    def _draft(self, reply: _Reply) -> array[int]:
        if reply.drafter is None:
            return array("i")
        return reply.drafter.propose(self._request.max_tokens - len(reply.tokens.ids) - 1)

    def _show(self, reply: _Reply, before: int) -> None:
        """Report what the first reply has more than it had."""
        if not self._first:
            self._first = time.perf_counter()
        new = reply.tokens.ids[self._shown :]
        self._shown = len(reply.tokens.ids)
        self._sinks.tokens(list(new), reply.text[before:], [])
