"""A conversation with a server that speaks the OpenAI chat completions API.

Messages are only ever appended, so that the server's own prefix cache works: replies go back as
they came, reasoning included. What the server refuses of a request is changed from then on
(`dialect`). A reply that breaks off is requested again (`tries`); `EngineRestarted` means that the
part shown so far is void.

Over 400 lines because a request, its further tries and what they teach share one state.
"""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

import httpx

from laguna_agent.errors import ContextFullError, ModelError
from laguna_agent.events import (
    CacheMiss,
    EngineRestarted,
    ModelEvent,
    Notice,
    Reply,
    RetryWait,
    TextDelta,
    ThinkingDelta,
)
from laguna_agent.log import logger
from laguna_agent.models.chat.call_parsers import malformed
from laguna_agent.models.chat.chat_format import ReplyParser
from laguna_agent.models.chat.fenced import FencedFormat
from laguna_agent.models.conversation import GenerateOptions, Message, ModelInfo, ToolSpec
from laguna_agent.models.http_client import proxy_for, without_password
from laguna_agent.models.servers.credentials import hidden
from laguna_agent.models.servers.dialect import Dialect
from laguna_agent.models.servers.endpoint import Endpoint
from laguna_agent.models.servers.http_messages import Messages
from laguna_agent.models.servers.http_reply import ReplyBuilder
from laguna_agent.models.servers.http_request import progress, reply_message, size, unstreamed
from laguna_agent.models.servers.lessons import Lessons
from laguna_agent.models.servers.refusals import (
    BusyError,
    KeyNeededError,
    NotAReplyError,
    RefusedRequestError,
    SilentError,
    StreamBrokenError,
    UnreadableCallError,
    refusal,
    refusal_in_stream,
)
from laguna_agent.models.servers.server_facts import ServerFacts, ask
from laguna_agent.models.servers.sse import Silence, events
from laguna_agent.models.servers.tries import Timeouts, Tries
from laguna_agent.models.servers.window import Window

__all__ = ["HttpConversation", "Timeouts"]

_THOUGHT_TOKENS = 12_288
"""Room for a thought in a reply, besides that for the answer: few servers end a thought."""
_SUMMARY_RESERVE = 2_048
"""What a thought leaves free for a summary of the conversation."""


@dataclass
class _Shared:
    """A client that forks of a conversation share, and what is known of the server; the last one
    closes it."""

    client: httpx.AsyncClient
    endpoint: Endpoint
    dialect: Dialect
    lessons: Lessons | None
    proxy: str | None
    context_known: bool
    """False when the server told no context, and may do so once it has loaded the model."""
    users: int = 0
    thinks: bool = False
    """Whether the model was seen to think."""
    thought_too_long: bool = False
    """Whether its last reply ended in its thought: the next one is asked for without."""
    unreadable_calls: int = 0
    """Replies in a row whose call the server could not read."""


class HttpConversation:
    """A `Conversation` on a server. Create with `providers.open_provider`."""

    def __init__(
        self,
        *,
        endpoint: Endpoint,
        model: str,
        info: ModelInfo,
        timeouts: Timeouts | None = None,
        dialect: Dialect | None = None,
        lessons: Lessons | None = None,
        facts: ServerFacts | None = None,
        context_known: bool = True,
    ) -> None:
        self.info, self.facts = info, facts or ServerFacts()
        address = httpx.URL(endpoint.address.rstrip("/"))
        # Messages, and so records, name the address: a password in it is for the client alone.
        auth = (address.username, address.password) if address.userinfo else None
        self._url, self._model = str(address.copy_with(userinfo=b"")), model
        self._timeouts = timeouts or Timeouts()
        client = endpoint.client(
            timeout=httpx.Timeout(None, connect=self._timeouts.connect_s), auth=auth
        )
        proxy = proxy_for(endpoint.address)
        self._shared = _Shared(
            client,
            endpoint,
            dialect or Dialect(),
            lessons,
            without_password(proxy) if proxy else None,
            context_known,
            users=1,
        )
        self._form: FencedFormat | None = None
        self._tools: list[ToolSpec] = []
        self._declared: list[dict[str, Any]] = []
        self._messages = Messages()
        self._marks: dict[int, tuple[int, int]] = {}
        self._window = Window(self.facts.server.raise_context)
        self._unfinished: Reply | None = None
        self._closed = False

    # --- growing ----------------------------------------------------------------------------

    def write_calls_as(self, form: FencedFormat) -> None:
        """Have tools and calls in the text, in the form that the pack describes. Before `start`."""
        self._form, self.info.format = form, form.name

    async def start(self, system: str, tools: Sequence[ToolSpec]) -> int:
        """See Conversation. The length is an estimate."""
        self._tools = list(tools)
        if self._form is not None:
            system = self._form.system_text(system, tools)
        else:
            self._declared = [tool.model_dump() for tool in tools]
        await self.append([Message(role="system", content=system)])
        return self.used

    async def append(self, messages: Sequence[Message]) -> int:
        """See Conversation. The number of tokens is an estimate."""
        before = self.used
        for message in messages if self._form is None else self._form.in_turns(messages):
            self._messages.append(message)
        return self.used - before

    async def append_reply(self, reply: Reply) -> int:
        """See Conversation. The number of tokens is an estimate."""
        before = self.used
        self._append_reply(reply)
        return self.used - before

    def _append_reply(self, reply: Reply, written: str = "") -> None:
        """Append a reply, which came as the text `written`."""
        if self._form is not None:
            text = written if written.strip() else self._form.reply_text(reply, self._tools)
            reply = reply.model_copy(update={"text": text, "tool_calls": []})
        self._messages.append_reply(reply)

    # --- generating -------------------------------------------------------------------------

    async def restore(self, ids: Sequence[int]) -> int:
        """See Conversation. The server keeps the tokens, so there are none to restore."""
        if ids:
            raise ModelError("token ids of a local model cannot be restored on a server")
        return 0

    async def generate(self, options: GenerateOptions) -> AsyncGenerator[ModelEvent, None]:
        """See Conversation. Raises ContextFullError when the server reports a full context.

        Closing the iterator cancels and leaves the messages unchanged.
        """
        self._messages.close_calls()
        shared, dialect = self._shared, self._shared.dialect
        options = self._with_room_for_thought(options)
        shortened = learned = unexplained = False
        new_key = shared.endpoint.new_key
        tries = Tries(self._timeouts, without_password(self._url), shared.proxy)
        while True:
            partial = self._unfinished = Reply(finish_reason="cancelled")
            builder = ReplyBuilder(
                self._tools, options, native=dialect.native_calls, reader=self._reader(options)
            )
            body = dialect.request(self._model, self._messages.items, *self._asked(options))
            if unexplained and tries.last:
                body = unstreamed(body)
            try:
                async with aclosing(self._attempt(body, builder)) as attempt:
                    async for event in attempt:
                        if isinstance(event, TextDelta):
                            partial.text += event.text
                        elif isinstance(event, ThinkingDelta):
                            partial.thinking += event.text
                        yield event
                break
            except ContextFullError as error:
                self._learn_from_refusal(error)
                room = error.limit - error.used - 16
                if shortened or not 256 <= room < options.max_tokens:
                    raise
                shortened = True
                options = replace(options, max_tokens=room)  # only the reply was too long
                continue
            except KeyNeededError:
                if new_key is None or not await self._renew_key(new_key):
                    raise
                new_key = None  # once
                continue
            except UnreadableCallError as error:
                self._unfinished = None
                shared.unreadable_calls += 1
                if shared.unreadable_calls > 1 and dialect.describe_tools():
                    self._log("tools are described in the text: it cannot read the model's calls")
                    continue
                yield self._unread_reply(builder, options, error)
                return
            except RefusedRequestError as error:
                change = dialect.adapt(error, body)
                if change is not None:
                    self._log(f"{change} (HTTP {error.status})")
                    learned = True
                    continue
                if error.status < 500:
                    raise error.explained() from error
                failed: Exception = error
            except (BusyError, StreamBrokenError, httpx.HTTPError) as error:
                failed = error
            unexplained = isinstance(failed, StreamBrokenError) and not builder.begun
            pause = tries.pause_after(failed, begun=builder.begun)
            reason = tries.reason(failed)
            yield EngineRestarted(reason=reason, attempt=tries.count, server=True, wait_s=pause)
            async with aclosing(self._wait(pause, reason, tries.count)) as waiting:
                async for event in waiting:
                    yield event
        shared.unreadable_calls = 0
        if learned and shared.lessons is not None:
            shared.lessons.keep(dialect.learned())
        self._unfinished = None
        reply = builder.reply(options)
        reply.miss = self._miss(reply)
        dialect.native_calls = builder.native
        shared.thinks = shared.thinks or bool(reply.thinking)
        shared.thought_too_long = builder.only_thought
        notice = self._notice_cut(reply, options)
        if notice is not None:
            yield notice
        self._append_reply(reply, builder.written)
        self._learn(reply)
        notice = await self._ask_context()
        if notice is not None:
            yield notice
        yield reply

    async def keep_unfinished(self) -> Reply | None:
        """See Conversation. A thought without an answer goes to the record alone: strict servers
        refuse it as a message."""
        reply, self._unfinished = self._unfinished, None
        if reply is None or not (reply.text.strip() or reply.thinking.strip()):
            return None
        self._messages.append_reply(reply)
        return reply

    def _reader(self, options: GenerateOptions) -> Callable[[], ReplyParser] | None:
        """Makes parsers of a reply in the form that the pack describes."""
        form = self._form
        return None if form is None else lambda: form.parser(self._tools, options)

    def _asked(self, options: GenerateOptions) -> tuple[Sequence[ToolSpec], GenerateOptions]:
        """The tools to declare natively, and the options; with the grammar of calls in the text."""
        if self._form is None:
            return self._tools, options
        grammar = self._form.grammar(self._tools, options)
        return (), replace(options, grammar=grammar.gbnf if grammar is not None else None)

    async def _renew_key(self, new_key: Callable[[], str | None]) -> bool:
        """Read the key again: it may have expired. False when it is the same."""
        key = await asyncio.to_thread(new_key)
        headers, value = self._shared.client.headers, f"Bearer {key}"
        if not key or headers.get("Authorization") == value:
            return False
        headers["Authorization"] = value
        self._log("the key was read again")
        return True

    async def _ask_context(self) -> Notice | None:
        """Ask for the context again after the first reply, where it is not known yet; a notice
        when it is smaller than was assumed."""
        shared, assumed = self._shared, self.info.context
        if shared.context_known:
            return None
        shared.context_known = True
        facts = await ask(shared.client, self._url, self._model)
        self.info.context = facts.context or assumed
        if self.info.context >= assumed:
            return None
        more = self._window.raise_context
        text = f"The server's context is {facts.context:,} tokens. For a larger context {more}."
        return Notice(level="warning", text=text)

    def _with_room_for_thought(self, options: GenerateOptions) -> GenerateOptions:
        """The options with tokens for a thought too, where the model thinks and there is room."""
        thinking = options.thinking and not self._shared.thought_too_long
        if not thinking and not self._shared.thinks:
            return options
        reserve = _SUMMARY_RESERVE if options.grammar is None else 64
        room = self.limit - self.used - options.max_tokens - reserve
        tokens = options.max_tokens + max(0, min(_THOUGHT_TOKENS, room))
        return replace(options, thinking=thinking, max_tokens=tokens)

    async def _wait(
        self, pause: float, reason: str, attempt: int
    ) -> AsyncGenerator[ModelEvent, None]:
        """Wait for the next try, reporting each second how long it still takes."""
        until = time.monotonic() + pause
        waiting = asyncio.ensure_future(self._timeouts.backoff(pause))
        try:
            while True:
                left = max(0.0, until - time.monotonic())
                yield RetryWait(reason=reason, attempt=attempt, left_s=left)
                if (await asyncio.wait({waiting}, timeout=1.0))[0]:
                    break
            await waiting
        finally:
            waiting.cancel()

    async def _attempt(
        self, body: dict[str, Any], builder: ReplyBuilder
    ) -> AsyncGenerator[ModelEvent, None]:
        """One request: yields its events and collects the reply in `builder`."""
        client, waits = self._shared.client, self._timeouts
        request = client.build_request("POST", f"{self._url}/chat/completions", json=body)
        silence = Silence(waits.first_s + waits.per_token_s * self.used)
        builder.sent = time.monotonic()
        response = await self._send(request, silence)
        try:
            if response.status_code != 200:
                told = hidden((await response.aread()).decode("utf-8", "replace")).encode()
                raise refusal(
                    response.status_code, told, response.headers, proxy=self._shared.proxy
                )
            async with aclosing(events(response, silence)) as stream:
                async for event in stream:
                    failure = refusal_in_stream(event, hidden)
                    if failure is not None:
                        raise failure
                    prefill = progress(event)
                    if prefill is not None:
                        yield prefill
                    for delta in builder.take(event):
                        yield delta
                    if builder.begun:
                        silence.seconds = waits.stall_s
            for delta in builder.end():
                yield delta
            if (failure := builder.failure()) is not None:
                raise failure
        except NotAReplyError as error:
            raise ModelError(
                f"{without_password(self._url)} answers with {error}, not with a reply",
                hint="`url` of the provider in config.toml ends with /v1 as a rule.",
            ) from error
        finally:
            await response.aclose()

    async def _send(self, request: httpx.Request, silence: Silence) -> httpx.Response:
        try:
            async with asyncio.timeout(silence.seconds):
                return await self._shared.client.send(request, stream=True)
        except TimeoutError:
            raise SilentError(f"the server sent nothing for {silence.seconds:g} s") from None

    def _unread_reply(
        self, builder: ReplyBuilder, options: GenerateOptions, error: UnreadableCallError
    ) -> Reply:
        """A reply whose call the server could not read: the model is told, and calls again."""
        builder.end()
        reply = builder.reply(options)
        reply.tool_calls, reply.finish_reason = [], "stop"
        reply.error = malformed(None, f"the server says: {error}")
        self._messages.append_reply(reply)
        return reply

    def _log(self, text: str) -> None:
        logger.info("%s: %s", self.info.name, text)

    def _miss(self, reply: Reply) -> CacheMiss | None:
        """Why the server processed tokens again; None when it did not or does not report it."""
        usage, known = reply.usage, self._messages.known_tokens
        if not known or not usage.reused_tokens or usage.reused_tokens >= 0.9 * known:
            return None
        return CacheMiss(
            reason="the server's own cache held less of this conversation",
            position=usage.reused_tokens,
        )

    def _notice_cut(self, reply: Reply, options: GenerateOptions) -> Notice | None:
        """Where the server's window is smaller than was thought: adopt it, and say so once."""
        found = self._window.smaller_than(
            self.limit, reply, self._messages, self._declared, self.used, options.max_tokens
        )
        if found is None:
            return None
        reply.finish_reason = "context_full"
        self.info.context = found.tokens
        return Notice(level="warning", text=found.text)

    def _learn(self, reply: Reply) -> None:
        usage, state = reply.usage, self._messages
        if usage.prompt_tokens and reply.finish_reason != "context_full":
            kept = reply_message(reply) is not None
            sent = state.items[:-1] if kept else state.items
            self._window.learn(usage.prompt_tokens, size(self._declared) + sum(map(size, sent)))
            state.known_tokens = usage.prompt_tokens + kept * usage.completion_tokens
            state.known_at = len(state.items)

    def _learn_from_refusal(self, error: ContextFullError) -> None:
        """Correct the estimate after a refusal, or a server without counts would get it again."""
        state = self._messages
        if 512 <= error.limit < self.limit:
            self.info.context = error.limit
        tokens = max(error.used, self.limit)
        if error.used >= error.limit and tokens > self.used:
            chars = size(self._declared) + sum(map(size, state.items))
            self._window.learn(tokens, chars, shrink=True)
            state.known_tokens = state.known_at = 0

    # --- positions --------------------------------------------------------------------------

    def mark(self) -> int:
        """See Conversation."""
        mark = len(self._messages.items)
        self._marks[mark] = (self._messages.known_tokens, self._messages.known_at)
        return mark

    def rewind(self, mark: int) -> None:
        """Drop everything after `mark`."""
        if not 0 <= mark <= len(self._messages.items):
            raise ValueError(f"{mark} is not a mark of this conversation")
        del self._messages.items[mark:]
        known = self._marks.get(mark, (0, 0))
        self._messages.known_tokens, self._messages.known_at = known

    def fork(self) -> HttpConversation:
        """Another conversation with the same content so far, over the same connections."""
        other = copy.copy(self)
        other._messages = self._messages.copy()
        other._marks = dict(self._marks)
        other._unfinished = None
        other._closed = False
        self._shared.users += 1
        return other

    async def count(self, text: str) -> int:
        """Tokens of `text`, estimated from the server's counts so far."""
        return int(len(text) / self._window.chars_per_token) + 1 if text else 0

    @property
    def used(self) -> int:
        """Tokens in the prompt: counted by the server, and estimated from there on."""
        state = self._messages
        fresh = sum(size(message) for message in state.items[state.known_at :])
        if not state.known_at:
            fresh += size(self._declared)
        return state.known_tokens + int(fresh / self._window.chars_per_token)

    @property
    def limit(self) -> int:
        """Size of the context in tokens."""
        return self.info.context

    @property
    def tokens(self) -> None:
        """None: the server tokenises."""
        return None

    async def routing(self, ids: Sequence[int]) -> None:
        """None: a server does not tell."""
        return

    @property
    def template_notes(self) -> Sequence[str]:
        """Empty: the server applies the template."""
        return ()

    async def aclose(self) -> None:
        """Close the connections once no fork uses them."""
        if not self._closed:
            self._closed = True
            self._shared.users -= 1
            if self._shared.users == 0:
                await self._shared.client.aclose()
