"""One reply, from prompt to last token, as a generator that pauses where it may be interrupted.

The server advances it: each `next` decodes one batch of the prompt or one step of the reply. During
a pause another generation may take the cache; this one notices and restores its own state before
it continues.
"""

from __future__ import annotations

import time
from array import array
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field

from laguna_agent.events import FinishReason
from laguna_agent.models.engine.cache import Cache, Prepared
from laguna_agent.models.engine.interface import TIE, EngineRequest, Written
from laguna_agent.models.engine.llama import DecodeAbortedError, Model
from laguna_agent.models.engine.prompt_lookup import LONGEST, Drafter
from laguna_agent.models.engine.reply_tokens import ReplyTokens
from laguna_agent.models.engine.sampler import Sampler, log_probability

_MARKS = 4
"""Message boundaries of one prompt at which the window layers are copied, at most."""
_APART = 64
"""Tokens between such boundaries; closer ones cost more in small batches than they save."""


@dataclass
class GenerationResult:
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
    """Seconds, of a `baseline` request."""
    others: list[Written] = field(default_factory=list)
    """Replies beside the first."""


@dataclass
class Sinks:
    """Where a generation reports its progress."""

    progress: Callable[[int, int, int, float], None]
    """done, total, reused, rate."""
    tokens: Callable[[list[int], str, list[float]], None]
    at_static: Callable[[], None] = lambda: None
    """Called when the cache holds exactly the static prefix."""


class Generation:
    """Advance with `next(generation.steps)`; at the end `result` is set.

    Drafts have at most `longest` tokens.
    """

    def __init__(
        self,
        model: Model,
        cache: Cache,
        request: EngineRequest,
        sinks: Sinks,
        *,
        longest: int = LONGEST,
    ) -> None:
        self._model = model
        self._cache = cache
        self._request = request
        self._tokens = array("i", request.tokens)
        self._longest = longest
        self._sinks = sinks
        self.cancelled = False
        self.result: GenerationResult | None = None
        self.steps = self._run()
        self.prompt = self._tokens[: len(self._tokens) - request.resume]
        self._reply = ReplyTokens(model, request)
        self.others: list[Written] = []
        """Replies beside the first."""
        self._forced: deque[int] = deque()
        self._thought = ""
        self._close_text = (
            b"".join(model.piece(t) for t in request.think_close).decode("utf-8", "replace").strip()
        )
        self._thinking = bool(self._close_text) and request.thinking_budget is not None
        self._sampler: Sampler | None = None
        self._drafter: Drafter | None = None
        self._started = time.perf_counter()
        self._first = 0.0
        self._prefilled = 0

    def _run(self) -> Iterator[None]:
        request, cache = self._request, self._cache
        seed = request.sampling.seed + request.resume
        self._sampler = Sampler(
            self._model, request.sampling.model_copy(update={"seed": seed}), request.grammar
        )
        try:
            for token in self._tokens[len(self.prompt) :]:
                self._take(token, emit=False)
            prepared = cache.prepare(self._tokens, request.session, request.static)
            cache.owner = self
            reason: FinishReason
            try:
                yield from self._prefill(prepared)
                prefill_s = time.perf_counter() - self._started
                reason = yield from self._decode()
            except (CancelledError, DecodeAbortedError):
                prefill_s = (self._first or time.perf_counter()) - self._started
                reason = "cancelled"
            if cache.owner is self:
                cache.record(request.session, len(self.prompt))
            now = time.perf_counter()
            self.result = GenerationResult(
                reason,
                self._reply.kept_ids(),
                len(self._reply.ids) + sum(len(other.ids) for other in self.others),
                self._reply.ended,
                prepared,
                len(self.prompt),
                self._prefilled,
                prefill_s,
                now - self._started - prefill_s,
                (self._first - self._started) if self._first else 0.0,
                others=self.others,
            )
        finally:
            self._sampler.close()

    # --- the prompt -------------------------------------------------------------------------

    def _prefill(self, prepared: Prepared) -> Iterator[None]:
        request, cache, tokens = self._request, self._cache, self._tokens
        sizer = cache.batch_sizer
        reused = prepared.reused
        total = len(tokens) - reused
        self._sinks.progress(0, total, reused, sizer.rate)
        stops = self._boundaries(reused)
        began = time.perf_counter()
        while len(cache.tokens) < len(tokens):
            yield from self._pause()
            held = len(cache.tokens)
            end = min(held + sizer.size(), len(tokens))
            end = min([end, *(stop for stop in stops if stop > held)])
            clock = time.perf_counter()
            cache.decode(tokens[held:end])
            sizer.record(end - held, time.perf_counter() - clock)
            self._prefilled += end - held
            if end == request.static:
                self._sinks.at_static()
            if end in stops or end == len(tokens):
                cache.checkpoint()
            elapsed = time.perf_counter() - began
            done = end - reused
            self._sinks.progress(done, total, reused, done / elapsed if elapsed > 0 else 0.0)

    def _boundaries(self, reused: int) -> list[int]:
        """Positions at which the prompt is cut so that the state can be copied: the static prefix,
        and for models with a window the last message boundaries."""
        request = self._request
        end = len(self._tokens)
        found = [request.static] if reused < request.static < end else []
        if self._cache.window:
            last = max(reused, request.static)
            marks = []
            for mark in sorted(set(request.marks)):
                if last + _APART <= mark < end:
                    marks.append(mark)
                    last = mark
            found += marks[-_MARKS:]
        return found

    # --- the reply --------------------------------------------------------------------------

    def _decode(self) -> Generator[None, None, FinishReason]:
        cache = self._cache
        if self._request.speculate and self._longest:
            self._drafter = Drafter(self._tokens, self._longest)
        drafter = self._drafter
        rows = _Rows(alone=True)
        clock = time.perf_counter()
        while True:
            if not rows.alone and self._uncertain(rows.row):
                # A tie within a batch: decode the last token again, alone.
                self._end_draft(rows, clock)
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
                self._end_draft(rows, clock)
                if reason is None:
                    # Forced tokens are fed, whatever the logits of this row say.
                    token = self._forced.popleft()
                    reason = self._take(token, row=rows.row)
            else:
                self._end_draft(rows, clock)
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
                    drafter.record_single(time.perf_counter() - clock)

    def _sample(self, row: int) -> int:
        assert self._sampler is not None
        return self._sampler.sample(self._cache.context, row)

    def _uncertain(self, row: int) -> bool:
        """True when a greedy choice made in a batch could differ from the one made alone."""
        assert self._sampler is not None
        if self._request.speculate == "exact" or not self._sampler.greedy:
            return False
        return self._sampler.margin(self._cache.context, row) < TIE

    def _end_draft(self, rows: _Rows, since: float) -> None:
        """Drop the draft tokens that were not accepted."""
        if rows.alone or rows.settled:
            return
        rows.settled = True
        self._cache.rollback(rows.sure)
        self._cache.counters.accepted_tokens += rows.accepted
        if self._drafter is not None:
            self._drafter.record_draft(rows.accepted, time.perf_counter() - since)

    def _propose(self) -> array[int] | None:
        if self._drafter is None or self._forced:
            return None
        context = self._cache.context
        room = min(
            context.size - len(self._cache.tokens) - 2,
            self._request.max_tokens - len(self._reply.ids) - 1,
            context.micro_batch - 1,
        )
        return self._drafter.propose(room) or None

    def _take(
        self, token: int, *, row: int | None = None, emit: bool = True
    ) -> FinishReason | None:
        """Add a token to the reply; returns the finish reason when it is the last."""
        assert self._sampler is not None
        self._sampler.accept(token)
        if self._drafter is not None:
            self._drafter.append(token)
        text, reason = self._reply.add(token)
        if not emit:
            self._think(text)
            return reason
        if not self._first:
            self._first = time.perf_counter()
        logprobs = []
        if self._request.logprobs and row is not None:
            logprobs = [log_probability(self._cache.context, self._model.vocabulary, row, token)]
        self._sinks.tokens([token], text, logprobs)
        self._cache.counters.generated_tokens += 1
        if reason is None:
            self._think(text)
        return reason

    def _think(self, text: str) -> None:
        """Follow the thought, and close it when its budget is spent."""
        if not self._thinking:
            return
        self._thought += text
        if self._close_text in self._thought[-len(self._close_text) - len(text) :]:
            self._thinking = False
        elif len(self._reply.ids) >= (self._request.thinking_budget or 0) and self._reply.clean:
            assert self._sampler is not None
            # Where the grammar does not allow it yet, as within a character, the next token may.
            if self._sampler.allows(self._request.think_close[0]):
                self._thinking = False
                self._forced.extend(self._request.think_close)

    # --- pauses -----------------------------------------------------------------------------

    def _pause(self) -> Iterator[None]:
        """Let other generations take a turn, and restore the cache if one of them used it."""
        cache = self._cache
        owner, held = cache.owner, len(cache.tokens)
        yield
        if self.cancelled:
            raise CancelledError
        if cache.owner is owner:
            return
        sequence = self.prompt + array("i", self._reply.ids)
        # One more than is needed: `prepare` always leaves the last token to be decoded.
        cache.prepare(sequence[: held + 1], self._request.session)
        cache.owner = owner
        while len(cache.tokens) < held:
            start = len(cache.tokens)
            end = min(start + cache.batch_sizer.size(), held)
            cache.decode(sequence[start:end])
            self._prefilled += end - start


@dataclass
class _Rows:
    """Rows of logits of the last batch: the one to sample next, and the draft they belong to."""

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


class CancelledError(Exception):
    """The client cancelled the request."""
