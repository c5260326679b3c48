"""A conversation with the local engine: a list of token ids that only grows.

Replies are kept as the ids they were sampled as and never rendered again; everything else is
rendered by the chat format, tokenised once, and appended.

Longer than most modules: whatever appends to the tokens, writes behind them and goes back in them
must agree on where a reply begins and ends.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

from laguna_agent.errors import ContextFullError
from laguna_agent.events import (
    EngineRestarted,
    FinishReason,
    GrammarUsed,
    ModelEvent,
    Reply,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    Usage,
)
from laguna_agent.models.chat.chat_format import ChatFormat, Grammar, Parsed, Segment
from laguna_agent.models.conversation import (
    Completed,
    Completion,
    GenerateOptions,
    Message,
    ModelInfo,
    Sampling,
    ToolSpec,
    Variation,
)
from laguna_agent.models.engine.interface import Engine, EngineRequest, Finished, Tokens, Vary

if TYPE_CHECKING:
    from laguna_agent.models.routing import Routing

_EXAMINED = 1024
"""Tokens of a reply whose routing is read."""
_PLAIN = "You are a helpful assistant."
"""What precedes the message of a completion."""
_HELD_BACK = 48
"""Pieces at the end of a cancelled reply that a parser may hold back."""


@dataclass(frozen=True)
class _Position:
    """What is needed to continue from a length of the prompt."""

    after_reply: bool
    reply_end: int
    """Where the last reply in the prompt ended; the end of the static prefix if there is none."""


@dataclass
class _Unfinished:
    """A reply while it is generated."""

    prompt: list[int]
    options: GenerateOptions
    pieces: list[Tokens] = field(default_factory=list)
    text: str = ""
    thinking: str = ""
    before_call: int | None = None
    """Pieces before the one in which a call began."""


@dataclass
class _Shared:
    """An engine that forks of a conversation share; the last one closes it."""

    engine: Engine
    users: int = 0
    forks: int = 0


class LocalConversation:
    """A `Conversation` on an engine. `session` is its name in snapshots."""

    def __init__(
        self,
        engine: Engine,
        format: ChatFormat,  # noqa: A002 - the name is used everywhere
        info: ModelInfo,
        session: str = "",
    ) -> None:
        self.info = info
        self._shared = _Shared(engine)
        self._shared.users += 1
        self._engine = engine
        self._format = format
        self._session = session
        self._tools: list[ToolSpec] = []
        self._tokens: list[int] = []
        self._static = 0
        self._position = _Position(after_reply=False, reply_end=0)
        self._positions: dict[int, _Position] = {}
        self._marks: list[int] = []
        self._unfinished: _Unfinished | None = None
        self._closed = False
        self._grammars: set[str] = set()
        """Digests of grammars that a `GrammarUsed` event was emitted for."""

    # --- growing ----------------------------------------------------------------------------

    async def start(self, system: str, tools: Sequence[ToolSpec]) -> int:
        """See Conversation."""
        self._tools = list(tools)
        self._tokens = await self._engine.tokenize(self._format.render_start(system, tools))
        self._static = len(self._tokens)
        self._at(_Position(after_reply=False, reply_end=self._static))
        return self._static

    async def append(self, messages: Sequence[Message]) -> int:
        """See Conversation."""
        segments = self._format.render_messages(messages, after_reply=self._position.after_reply)
        ids = await self._engine.tokenize(segments)
        self._tokens += ids
        self._at(_Position(after_reply=False, reply_end=self._position.reply_end))
        self._marks.append(len(self._tokens))
        return len(ids)

    async def append_reply(self, reply: Reply) -> int:
        """See Conversation."""
        before = len(self._tokens)
        text = "\n".join(part for part in (reply.text, *_raw(reply)) if part)
        if reply.token_ids is None and not reply.composed:
            return await self.append([Message(role="assistant", content=text)])
        options = GenerateOptions(thinking=bool(reply.thinking))
        opening = await self._engine.tokenize(self._format.render_generation(options))
        if reply.token_ids is None:
            reply.prompt_token_ids = [*self._tokens[self._position.reply_end :], *opening]
            reply.token_ids = await self._engine.tokenize([Segment(text)])
        self._tokens += opening
        self._tokens += reply.token_ids
        await self._close_reply(reply.finish_reason, ended=None)
        return len(self._tokens) - before

    async def restore(self, ids: Sequence[int]) -> int:
        """See Conversation."""
        self._tokens += ids
        if ids:
            await self._close_reply("stop", ended=None)
        return len(self._tokens) - self._static

    async def _close_reply(self, reason: FinishReason, *, ended: bool | None) -> None:
        """Close the reply that the prompt ends with, unless it ended with its own end token.

        With `ended` None its last token tells.
        """
        end = len(self._tokens)
        self._at(_Position(after_reply=True, reply_end=end))
        close = await self._engine.tokenize(self._format.render_close(reason))
        if ended is None:
            last = self._tokens[-1]
            ended = last == self._engine.model.eos or last in close
        if not ended:
            self._tokens += close
        self._at(_Position(after_reply=True, reply_end=end))

    def _at(self, position: _Position) -> None:
        self._position = position
        self._positions[len(self._tokens)] = position

    # --- generating -------------------------------------------------------------------------

    async def generate(self, options: GenerateOptions) -> AsyncGenerator[ModelEvent, None]:
        """See Conversation. Closing the iterator cancels and leaves the prompt unchanged."""
        self._unfinished = None
        prompt = await self._prompt(options)
        request = await self._request(prompt, options)
        if request.grammar is not None and (used := self._new_grammar(request.grammar)):
            yield used
        parser = self._format.parser(self._tools, options)
        ids: list[int] = []
        logprobs: list[float] = []
        partial = self._unfinished = _Unfinished(prompt, options)
        finished: Finished | None = None
        async with aclosing(self._engine.generate(request)) as events:
            async for event in events:
                if isinstance(event, Finished):
                    finished = event
                elif not isinstance(event, Tokens):
                    yield event
                elif not request.halt:
                    ids += event.ids
                    logprobs += event.logprobs
                    deltas = parser.feed(event.text)
                    _add(partial, event, deltas)
                    for delta in deltas:
                        yield delta
                    request.halt = parser.complete
        assert finished is not None
        self._unfinished = None
        deltas, parsed = parser.finish()
        for delta in deltas:
            yield delta
        ended, reason = finished.ended, finished.reason
        if request.halt:
            ended, reason = False, "stop"
        else:
            ids = list(finished.ids)
        self._tokens = [*prompt, *ids]
        reply = self._reply(request, parsed, ids, reason)
        reply.usage, reply.timings, reply.miss = finished.usage, finished.timings, finished.miss
        if options.logprobs:
            # One per id: the ids that only spell a stop string are dropped, so their logprobs are.
            reply.logprobs = [round(p, 6) for p in logprobs[: len(ids)]]
        await self._close_reply(reason, ended=ended)
        yield reply

    async def candidates(
        self, options: GenerateOptions, samplings: Sequence[Sampling]
    ) -> AsyncGenerator[ModelEvent, None]:
        """See WritesSideBySide. Closing the iterator cancels."""
        self._unfinished = None
        prompt = await self._prompt(options)
        first, *others = samplings
        request = await self._request(prompt, replace(options, sampling=first))
        request.others = others
        if request.grammar is not None and (used := self._new_grammar(request.grammar)):
            yield used
        parser = self._format.parser(self._tools, options)
        finished: Finished | None = None
        async with aclosing(self._engine.generate(request)) as events:
            async for event in events:
                if isinstance(event, Finished):
                    finished = event
                elif not isinstance(event, Tokens):
                    if isinstance(event, EngineRestarted):
                        parser = self._format.parser(self._tools, options)
                    yield event
                else:
                    for delta in parser.feed(event.text):
                        yield delta
        assert finished is not None
        deltas, parsed = parser.finish()
        for delta in deltas:
            yield delta
        reply = self._reply(request, parsed, list(finished.ids), finished.reason)
        usage, count = finished.usage, len(finished.ids)
        reply.usage = usage.model_copy(update={"completion_tokens": count})
        reply.timings, reply.miss = finished.timings, finished.miss
        yield reply
        for written, sampling in zip(finished.others, others, strict=False):
            parser = self._format.parser(self._tools, options)
            parser.feed(written.text)
            _, parsed = parser.finish()
            reply = self._reply(request, parsed, list(written.ids), written.reason)
            reply.seed, reply.temperature = sampling.seed, sampling.temperature
            reply.usage = Usage(completion_tokens=len(written.ids))
            yield reply

    def _reply(
        self, request: EngineRequest, parsed: Parsed, ids: list[int], reason: FinishReason
    ) -> Reply:
        grammar = request.grammar
        return Reply(
            text=parsed.text,
            thinking=parsed.thinking,
            tool_calls=parsed.tool_calls,
            finish_reason="tool_calls" if parsed.tool_calls and reason == "stop" else reason,
            error=parsed.error,
            seed=request.sampling.seed,
            temperature=request.sampling.temperature,
            prompt_token_ids=list(request.tokens[self._position.reply_end :]),
            token_ids=ids,
            grammar=grammar_used(grammar).digest if grammar is not None else None,
            thinking_budget=request.thinking_budget,
            think_close=list(request.think_close),
        )

    async def complete(
        self,
        completion: Completion,
        samplings: Sequence[Sampling],
        on_event: Callable[[ModelEvent], None],
        on_text: Callable[[str], None],
    ) -> list[Completed]:
        """See WritesSideBySide."""
        self._unfinished = None
        message = Message(role="user", content=completion.message)
        prompt = await self._engine.tokenize(
            [
                *self._format.render_start(_PLAIN, ()),
                *self._format.render_messages([message], after_reply=False),
                *self._format.render_generation(GenerateOptions()),
            ]
        )
        begun = await self._engine.tokenize([Segment(completion.begins)])
        whole = len(prompt) + len(begun) + completion.max_tokens
        if await self._engine.detokenize(begun) != completion.begins or whole >= self.limit:
            return []
        first, *others = samplings
        request = EngineRequest(
            tokens=[*prompt, *begun],
            sampling=first,
            max_tokens=len(begun) + completion.max_tokens,
            grammar=Grammar(completion.grammar),
            stops=self._format.stops(),
            end_repeats=True,
            resume=len(begun),
            others=others,
        )
        texts: list[str] = []

        def show(text: str) -> None:
            texts.append(text)
            on_text(text)

        def pass_on(event: ModelEvent) -> None:
            if isinstance(event, EngineRestarted) and others:
                texts.clear()  # all begin again
            on_event(event)

        finished = await self._finished(request, pass_on, show)
        text = completion.begins + "".join(texts)
        written = len(finished.ids) - len(begun)
        usage = finished.usage.model_copy(update={"completion_tokens": written})
        found = [Completed(text, finished.reason, first, usage)]
        for other, sampling in zip(finished.others, others, strict=False):
            usage = Usage(completion_tokens=len(other.ids) - len(begun))
            found.append(Completed(other.text, other.reason, sampling, usage))
        return found

    async def variations(
        self, variation: Variation, on_event: Callable[[ModelEvent], None]
    ) -> tuple[list[str], Usage]:
        """See WritesSideBySide."""
        prompt = await self._prompt(GenerateOptions())
        prompt += await self._engine.tokenize([Segment(variation.opening)])
        tokens = await self._engine.tokenize([Segment(variation.text)])
        if len(prompt) + len(tokens) > self.limit:
            raise ContextFullError(len(prompt), len(tokens), self.limit)
        vary = Vary(tokens, variation.first, variation.count, variation.lines, variation.skip)
        greedy = Sampling(temperature=0)
        request = EngineRequest(prompt, greedy, 0, vary=vary, session=self._session)
        finished = await self._finished(request, on_event, lambda text: None)
        return [written.text for written in finished.others], finished.usage

    async def _finished(
        self,
        request: EngineRequest,
        on_event: Callable[[ModelEvent], None],
        on_text: Callable[[str], None],
    ) -> Finished:
        """Generate what does not become part of the prompt, to its end."""
        finished: Finished | None = None
        async with aclosing(self._engine.generate(request)) as events:
            async for event in events:
                if isinstance(event, Finished):
                    finished = event
                elif isinstance(event, Tokens):
                    on_text(event.text)
                else:
                    on_event(event)
        assert finished is not None
        return finished

    async def _prompt(self, options: GenerateOptions) -> list[int]:
        """The tokens with the opening of a reply. Raises ContextFullError."""
        opening = await self._engine.tokenize(self._format.render_generation(options))
        prompt = [*self._tokens, *opening]
        if len(prompt) + 1 > self.limit:
            raise ContextFullError(len(self._tokens), len(opening) + 1, self.limit)
        return prompt

    def _new_grammar(self, grammar: Grammar) -> GrammarUsed | None:
        """The event that records a grammar, where it was not recorded yet."""
        used = grammar_used(grammar)
        if used.digest in self._grammars:
            return None
        self._grammars.add(used.digest)
        return used

    async def keep_unfinished(self) -> Reply | None:
        """See Conversation. The tokens stay as they were sampled, so nothing is decoded again."""
        partial, self._unfinished = self._unfinished, None
        if partial is None:
            return None
        ids = self._sampled_ids(partial)
        if ids is None:  # only the text that was shown
            ids, partial.thinking = await self._engine.tokenize([Segment(partial.text)]), ""
        elif partial.thinking and not partial.text:
            ids += await self._engine.tokenize(self._format.think_close())
        if not (partial.text or partial.thinking):
            return None
        start = self._position.reply_end
        self._tokens = [*partial.prompt, *ids]
        reply = Reply(
            text=partial.text,
            thinking=partial.thinking,
            finish_reason="cancelled",
            seed=partial.options.sampling.seed,
            temperature=partial.options.sampling.temperature,
            prompt_token_ids=partial.prompt[start:],
            token_ids=ids,
        )
        await self._close_reply("cancelled", ended=False)
        return reply

    def _sampled_ids(self, partial: _Unfinished) -> list[int] | None:
        """The ids that spell what was shown of a reply; None if the parser holds back too much.

        The last ids may begin a call or a mark that was not shown: they are left out.
        """
        end = len(partial.pieces) if partial.before_call is None else partial.before_call
        for count in range(end, max(-1, end - _HELD_BACK), -1):
            pieces = partial.pieces[:count]
            parser = self._format.parser(self._tools, partial.options)
            parser.feed("".join(piece.text for piece in pieces))
            rest, parsed = parser.finish()
            if rest or parsed.tool_calls or parsed.error:
                continue
            partial.text, partial.thinking = parsed.text, parsed.thinking
            return [token for piece in pieces for token in piece.ids]
        return None

    async def _request(self, prompt: list[int], options: GenerateOptions) -> EngineRequest:
        if options.grammar is not None:
            grammar: Grammar | None = Grammar(options.grammar)
        else:
            grammar = self._format.grammar(self._tools, options)
        think_close: list[int] = []
        if options.thinking and options.thinking_budget is not None:
            think_close = await self._engine.tokenize(self._format.think_close())
        return EngineRequest(
            tokens=prompt,
            sampling=options.sampling,
            max_tokens=options.max_tokens,
            grammar=grammar,
            stops=self._format.stops(),
            end_repeats=options.end_repeats,
            marks=self._marks,
            static=self._static,
            think_close=think_close,
            thinking_budget=options.thinking_budget if think_close else None,
            logprobs=options.logprobs,
            session=self._session,
            snapshot=bool(self._session),
        )

    # --- positions --------------------------------------------------------------------------

    def mark(self) -> int:
        """See Conversation."""
        self._positions[len(self._tokens)] = self._position
        return len(self._tokens)

    def rewind(self, mark: int) -> None:
        """See Conversation."""
        if mark not in self._positions or mark > len(self._tokens):
            raise ValueError(f"{mark} is not a mark of this conversation")
        del self._tokens[mark:]
        self._position = self._positions[mark]
        self._positions = {at: position for at, position in self._positions.items() if at <= mark}
        self._marks = [at for at in self._marks if at <= mark]

    def fork(self) -> LocalConversation:
        """Another conversation with the same content so far, on the same engine."""
        self._shared.forks += 1
        other = LocalConversation(self._engine, self._format, self.info)
        other._shared = self._shared
        self._shared.users += 1
        if self._session:
            other._session = f"{self._session}/{self._shared.forks}"
        other._tools = list(self._tools)
        other._tokens = list(self._tokens)
        other._static = self._static
        other._position = self._position
        other._positions = dict(self._positions)
        other._marks = list(self._marks)
        return other

    async def count(self, text: str) -> int:
        """Number of tokens of `text`."""
        return len(await self._engine.tokenize([Segment(text)]))

    @property
    def used(self) -> int:
        """See Conversation."""
        return len(self._tokens)

    @property
    def limit(self) -> int:
        """Size of the context in tokens."""
        return self._engine.model.context

    @property
    def tokens(self) -> tuple[int, ...]:
        """Token ids of the prompt so far."""
        return tuple(self._tokens)

    async def routing(self, ids: Sequence[int]) -> Routing | None:
        """See Conversation."""
        from laguna_agent.models.routing import Routing  # numpy, only when somebody asks

        reply, held = list(ids), self._tokens
        ends = range(len(held), len(reply) - 1, -1)
        end = next((at for at in ends if held[at - len(reply) : at] == reply), 0)
        if not end or not reply:
            return None
        last = min(len(reply), _EXAMINED)
        greedy = Sampling(temperature=0)
        found = await self._engine.examine(EngineRequest(held[:end], greedy, 0, resume=last))
        if not found.layers:
            return None
        model = self._engine.model
        experts = int(model.metadata.get(f"{model.architecture}.expert_count", 0))
        arrays, name = found.arrays, "the last reply"
        return Routing(
            name, found.layers, arrays["experts"], arrays["weights"], experts, model.path
        )

    @property
    def template_notes(self) -> Sequence[str]:
        """Where the chat format departs from the model's own template."""
        return self._format.template_notes

    async def aclose(self) -> None:
        """Release the engine once no fork uses it."""
        if self._closed:
            return
        self._closed = True
        self._shared.users -= 1
        if self._shared.users == 0:
            await self._engine.aclose()


def _add(partial: _Unfinished, event: Tokens, deltas: Sequence[ModelEvent]) -> None:
    for delta in deltas:
        if isinstance(delta, TextDelta):
            partial.text += delta.text
        elif isinstance(delta, ThinkingDelta):
            partial.thinking += delta.text
        elif isinstance(delta, ToolCallDelta) and partial.before_call is None:
            partial.before_call = len(partial.pieces)
    partial.pieces.append(event)


def grammar_used(grammar: Grammar) -> GrammarUsed:
    """The event that records a grammar."""
    fields = asdict(grammar)
    text = json.dumps(fields, sort_keys=True)
    return GrammarUsed(digest=hashlib.sha256(text.encode()).hexdigest()[:16], **fields)


def _raw(reply: Reply) -> list[str]:
    return [call.raw for call in reply.tool_calls]
