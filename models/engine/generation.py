"""One reply, from prompt to last token, as a generator that pauses wherever it may be interrupted.

The scheduler advances it: each `next` decodes one micro-batch of the prompt or one step of the
reply. At a pause another generation may take the cache; this one notices and puts its own state
back before it goes on.
"""

from __future__ import annotations

import time
from array import array
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field

from laguna_agent.events import FinishReason
from laguna_agent.models.chat.chat_format import Grammar
from laguna_agent.models.conversation import Sampling
from laguna_agent.models.engine.cache import Cache, Prepared
from laguna_agent.models.engine.interface import TIE
from laguna_agent.models.engine.llama import DecodeAbortedError, Model
from laguna_agent.models.engine.prompt_lookup import LONGEST, Drafter
from laguna_agent.models.engine.sampler import Sampler, log_probability
from laguna_agent.models.engine.token_text import TextStream

_MARKS = 4
"""Message boundaries of one prompt at which the window layers are copied."""
_APART = 64
"""Tokens between such boundaries; nearer ones cost more in small batches than they can save."""


@dataclass
class Order:
    """What a client asked for; see EngineRequest. `resume` is how many tokens at the end of
    `tokens` are of this very reply, generated before the engine died."""

    tokens: array[int]
    sampling: Sampling
    max_tokens: int
    grammar: Grammar | None = None
    stops: tuple[str, ...] = ()
    marks: tuple[int, ...] = ()
    static: int = 0
    think_close: tuple[int, ...] = ()
    thinking_budget: int | None = None
    logprobs: bool = False
    session: str = ""
    snapshot: bool = False
    speculate: bool = True
    exact: bool = False
    """Drafts must not change what a greedy reply says, not even where two tokens are as good as
    each other."""
    longest: int = LONGEST
    """Tokens of a draft at most."""
    resume: int = 0
    bare: bool = False
    """Measure llama.cpp alone instead."""
    kept: int = 0
    """With `bare`: tokens at the beginning that are read beforehand or are in the cache already,
    and not measured."""
    states: bool = False
    """With `bare`: measure saving and restoring a state too."""
    score: bool = False
    """Compare the last `resume` tokens with what the model chooses now, instead."""


@dataclass
class Outcome:
    """How a generation ended. Times in seconds."""

    reason: FinishReason
    ids: list[int]
    """The reply's tokens, without those of a stop string."""
    generated: int
    ended: bool
    prepared: Prepared
    prompt: int
    prefilled: int
    prefill_s: float = 0.0
    decode_s: float = 0.0
    first_token_s: float = 0.0
    measured: dict[str, float] = field(default_factory=dict)
    """Seconds that a measuring order took for its parts."""


@dataclass
class Sinks:
    """Where a generation reports to."""

    progress: Callable[[int, int, int, float], None]
    """done, total, reused, rate."""
    tokens: Callable[[list[int], str, list[float]], None]
    at_static: Callable[[], None] = lambda: None
    """Called when the cache holds exactly the static prefix."""


class Generation:
    """Advance with `next(generation.steps)`; at the end `outcome` is set."""

    def __init__(self, model: Model, cache: Cache, order: Order, sinks: Sinks) -> None:
        self._model = model
        self._cache = cache
        self._order = order
        self._sinks = sinks
        self.cancelled = False
        self.outcome: Outcome | None = None
        self.steps = self._run()
        cut = len(order.tokens) - order.resume
        self.prompt = order.tokens[:cut]
        self._ids: list[int] = []
        self._stream = TextStream(order.stops)
        self._forced: deque[int] = deque()
        self._thought = ""
        self._close_text = (
            b"".join(model.piece(t) for t in order.think_close).decode("utf-8", "replace").strip()
        )
        self._thinking = bool(self._close_text) and order.thinking_budget is not None
        self._sampler: Sampler | None = None
        self._drafter: Drafter | None = None
        self._started = time.perf_counter()
        self._first = 0.0
        self._prefilled = 0

    def _run(self) -> Iterator[None]:
        order, cache = self._order, self._cache
        seed = order.sampling.seed + order.resume
        self._sampler = Sampler(
            self._model, order.sampling.model_copy(update={"seed": seed}), order.grammar
        )
        try:
            for token in order.tokens[len(self.prompt) :]:
                self._take(token, emit=False)
            prepared = cache.prepare(order.tokens, order.session, order.static)
            cache.owner = self
            reason: FinishReason
            try:
                yield from self._prefill(prepared)
                prefill_s = time.perf_counter() - self._started
                reason = yield from self._decode()
            except (_CancelledError, DecodeAbortedError):
                prefill_s = (self._first or time.perf_counter()) - self._started
                reason = "cancelled"
            cache.record(order.session, len(self.prompt))
            now = time.perf_counter()
            self.outcome = Outcome(
                reason,
                self._said(),
                len(self._ids),
                bool(self._ids) and self._model.is_end(self._ids[-1]),
                prepared,
                len(self.prompt),
                self._prefilled,
                prefill_s,
                now - self._started - prefill_s,
                (self._first - self._started) if self._first else 0.0,
            )
        finally:
            self._sampler.close()

    # --- the prompt -------------------------------------------------------------------------

    def _prefill(self, prepared: Prepared) -> Iterator[None]:
        order, cache = self._order, self._cache
        tokens = order.tokens
        reused = prepared.reused
        total = len(tokens) - reused
        self._sinks.progress(0, total, reused, cache.steps.rate)
        stops = self._boundaries(reused)
        began = time.perf_counter()
        while len(cache.tokens) < len(tokens):
            yield from self._pause()
            held = len(cache.tokens)
            end = min(held + cache.steps.size(), len(tokens))
            end = min([end, *(stop for stop in stops if stop > held)])
            clock = time.perf_counter()
            cache.decode(tokens[held:end])
            cache.steps.took(end - held, time.perf_counter() - clock)
            self._prefilled += end - held
            if end == order.static:
                self._sinks.at_static()
            if end in stops or end == len(tokens):
                cache.checkpoint()
            elapsed = time.perf_counter() - began
            done = end - reused
            self._sinks.progress(done, total, reused, done / elapsed if elapsed > 0 else 0.0)

    def _boundaries(self, reused: int) -> list[int]:
        """Where the prompt is cut so that a copy can be made: the static prefix, and for models
        with a window the last message boundaries."""
        order = self._order
        end = len(order.tokens)
        found = [order.static] if reused < order.static < end else []
        if self._cache.window:
            last = max(reused, order.static)
            marks = []
            for mark in sorted(set(order.marks)):
                if last + _APART <= mark < end:
                    marks.append(mark)
                    last = mark
            found += marks[-_MARKS:]
        return found

    # --- the reply --------------------------------------------------------------------------

    def _decode(self) -> Generator[None, None, FinishReason]:
        order, cache = self._order, self._cache
        if order.speculate and order.longest:
            self._drafter = Drafter(order.tokens, order.longest)
        drafter = self._drafter
        rows = _Rows(alone=True)
        clock = time.perf_counter()
        while True:
            if not rows.alone and self._uncertain(rows.row):
                # Too close to call in a batch: decode the last token again, alone.
                self._settle(rows, clock)
                last = cache.tokens[-1]
                cache.rollback(len(cache.tokens) - 1)
                cache.decode([last])
                cache.counters.settled_tokens += 1
                rows = _Rows(alone=True)
            token = self._forced.popleft() if self._forced else self._sample(rows.row)
            reason = self._take(token, row=rows.row)
            if rows.draft and rows.draft[0] == token:
                rows.advance()
                if reason is None and not self._forced:
                    continue
                self._settle(rows, clock)
                if reason is None:
                    # Tokens are to be fed, whatever the logits of this row say.
                    token = self._forced.popleft()
                    reason = self._take(token, row=rows.row)
            else:
                self._settle(rows, clock)
            if reason is not None:
                return reason
            if len(cache.tokens) + 1 >= cache.context.size:
                return "context_full"
            yield from self._pause()
            draft = self._propose()
            clock = time.perf_counter()
            sure = len(cache.tokens) + 1
            cache.decode([token, *draft] if draft else [token], every_row=bool(draft))
            if draft:
                cache.counters.drafted_tokens += len(draft)
                rows = _Rows(alone=False, row=0, draft=deque(draft), sure=sure)
            else:
                rows = _Rows(alone=True)
                if drafter is not None:
                    drafter.single(time.perf_counter() - clock)

    def _sample(self, row: int) -> int:
        assert self._sampler is not None
        return self._sampler.sample(self._cache.context, row)

    def _uncertain(self, row: int) -> bool:
        """True when a greedy choice in a batch could be another one alone."""
        assert self._sampler is not None
        if self._order.exact or not self._sampler.greedy:
            return False
        return self._sampler.margin(self._cache.context, row) < TIE

    def _settle(self, rows: _Rows, since: float) -> None:
        """Drop what was drafted and not said."""
        if rows.alone or rows.settled:
            return
        rows.settled = True
        self._cache.rollback(rows.sure)
        self._cache.counters.accepted_tokens += rows.accepted
        # What was refused was decoded to no use; it is counted with the drafts.
        if self._drafter is not None:
            self._drafter.drafted(rows.accepted, time.perf_counter() - since)

    def _propose(self) -> array[int] | None:
        if self._drafter is None or self._forced:
            return None
        context = self._cache.context
        room = min(
            context.size - len(self._cache.tokens) - 2,
            self._order.max_tokens - len(self._ids) - 1,
            context.micro_batch - 1,
        )
        return self._drafter.propose(room) or None

    def _take(
        self, token: int, *, row: int | None = None, emit: bool = True
    ) -> FinishReason | None:
        """Make a token part of the reply; returns the reason when it is the last."""
        order = self._order
        assert self._sampler is not None
        self._ids.append(token)
        ended = self._model.is_end(token)
        self._sampler.accept(token)
        if self._drafter is not None:
            self._drafter.append(token)
        text = "" if ended else self._stream.feed(self._model.piece(token))
        reason: FinishReason | None = None
        if ended or self._stream.stopped is not None:
            reason = "stop"
        elif len(self._ids) >= order.max_tokens:
            reason = "length"
        if reason is not None:
            text += self._stream.finish()
        if not emit:
            self._think(text)
            return reason
        if not self._first:
            self._first = time.perf_counter()
        logprobs = []
        if order.logprobs and row is not None:
            logprobs = [log_probability(self._cache.context, self._model.vocabulary, row, token)]
        self._sinks.tokens([token], text, logprobs)
        self._cache.counters.generated_tokens += 1
        if reason is None:
            self._think(text)
        return reason

    def _think(self, text: str) -> None:
        """Watch the thought, and close it when its budget is spent."""
        if not self._thinking:
            return
        self._thought += text
        if self._close_text in self._thought[-len(self._close_text) - len(text) :]:
            self._thinking = False
        elif len(self._ids) >= (self._order.thinking_budget or 0) and self._stream.clean:
            self._thinking = False
            assert self._sampler is not None
            if self._sampler.allows(self._order.think_close[0]):
                self._forced.extend(self._order.think_close)

    def _said(self) -> list[int]:
        """The reply without the tokens that only spell a stop string."""
        if self._stream.stopped is None:
            return self._ids
        left = len(b"".join(map(self._model.piece, self._ids)))
        shown = self._stream.shown
        count = len(self._ids)
        while count and left - len(self._model.piece(self._ids[count - 1])) >= shown:
            count -= 1
            left -= len(self._model.piece(self._ids[count]))
        return self._ids[:count]

    # --- pauses -----------------------------------------------------------------------------

    def _pause(self) -> Iterator[None]:
        """Let others have their turn, and take the cache back if they used it."""
        cache = self._cache
        owner, held = cache.owner, len(cache.tokens)
        yield
        if self.cancelled:
            raise _CancelledError
        if cache.owner is owner:
            return
        sequence = self.prompt + array("i", self._ids)
        # One more than is wanted back: `prepare` always leaves the last token to be decoded.
        cache.prepare(sequence[: held + 1], self._order.session)
        cache.owner = owner
        while len(cache.tokens) < held:
            start = len(cache.tokens)
            end = min(start + cache.steps.size(), held)
            cache.decode(sequence[start:end])
            self._prefilled += end - start


@dataclass
class _Rows:
    """Rows of logits of the last batch: where to sample next, and what was drafted for them."""

    alone: bool
    row: int = -1
    draft: deque[int] = field(default_factory=deque)
    sure: int = 0
    accepted: int = 0
    settled: bool = False

    def advance(self) -> None:
        self.draft.popleft()
        self.row += 1
        self.sure += 1
        self.accepted += 1


class _CancelledError(Exception):
    """The client has lost interest."""
