"""A conversation with a server that speaks the OpenAI chat completions API.

Messages are only ever appended, so that the server's own prefix cache works: replies go back as
they came, reasoning included. Options that only some servers know (llama-server, vLLM) are sent
until the server refuses them. A reply that breaks off is requested again; `EngineRestarted` means
that the part shown so far is void.
"""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import httpx

from laguna_agent import __version__
from laguna_agent.encodable import encodable
from laguna_agent.errors import ContextFullError, ModelError
from laguna_agent.events import CacheMiss, EngineRestarted, ModelEvent, Reply
from laguna_agent.models.conversation import GenerateOptions, Message, ModelInfo, ToolSpec
from laguna_agent.models.servers.http_reply import ReplyBuilder
from laguna_agent.models.servers.http_request import extras, progress, reply_message, size
from laguna_agent.models.servers.sse import (
    BusyError,
    RefusedOptionError,
    StreamBrokenError,
    events,
    reason_of,
    refusal,
    refusal_in_stream,
)

_RETRIES = 3
_CHARS_PER_TOKEN = 3.6
"""An estimate until the server reports token counts."""


@dataclass(frozen=True)
class Timeouts:
    """How long to wait, in seconds."""

    connect_s: float = 10.0
    first_s: float = 900.0
    """Until the first byte: a slow machine may be processing a long prompt."""
    stall_s: float = 120.0
    """Between two parts of a reply."""
    loading_s: float = 300.0
    """In all, for a server that reports that it is loading or busy."""
    backoff: Callable[[float], Awaitable[None]] = asyncio.sleep


@dataclass
class _Shared:
    """A client that forks of a conversation share; the last one closes it."""

    client: httpx.AsyncClient
    users: int = 0
    plain: bool = False
    """The server refused an option that only some servers know: send none of them."""


@dataclass
class _State:
    messages: list[dict[str, Any]] = field(default_factory=list)
    tools: list[dict[str, Any]] = field(default_factory=list)
    known_tokens: int = 0
    """Tokens of the messages before index `known_at`, as the server counted them."""
    known_at: int = 0


class HttpConversation:
    """A `Conversation` on a server. Create with `providers.open_provider`."""

    def __init__(
        self,
        *,
        url: str,
        model: str,
        info: ModelInfo,
        key: str | None = None,
        timeouts: Timeouts | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.info = info
        self._url, self._model = url.rstrip("/"), model
        self._timeouts = timeouts or Timeouts()
        headers = {"User-Agent": f"laguna/{__version__}"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        timeout = httpx.Timeout(None, connect=self._timeouts.connect_s)
        client = httpx.AsyncClient(
            headers=headers, timeout=timeout, transport=transport, trust_env=not is_local(url)
        )
        self._shared = _Shared(client, users=1)
        self._tools: list[ToolSpec] = []
        self._state = _State()
        self._marks: dict[int, tuple[int, int]] = {}
        self._ratio = _CHARS_PER_TOKEN
        self._closed = False

    # --- growing ----------------------------------------------------------------------------

    async def start(self, system: str, tools: Sequence[ToolSpec]) -> int:
        """See Conversation. The length is an estimate."""
        self._tools = list(tools)
        # Some servers insist on a type, which a declaration may leave out.
        self._state.tools = [
            {
                "type": "function",
                "function": {**t.model_dump(), "parameters": {"type": "object", **t.parameters}},
            }
            for t in tools
        ]
        if system:
            self._state.messages.append({"role": "system", "content": encodable(system)})
        return self.used

    async def append(self, messages: Sequence[Message]) -> int:
        """See Conversation. The number of tokens is an estimate."""
        before = self.used
        for message in messages:
            self._append(message)
        return self.used - before

    async def append_reply(self, reply: Reply) -> int:
        """See Conversation. The number of tokens is an estimate."""
        before = self.used
        self._close_calls()
        self._state.messages.append(reply_message(reply))
        return self.used - before

    def _append(self, message: Message) -> None:
        messages, content = self._state.messages, encodable(message.content)
        if message.role == "tool" and message.call_id in self._open_calls():
            messages.append({"role": "tool", "tool_call_id": message.call_id, "content": content})
            return
        self._close_calls()
        role = message.role
        if role == "tool":
            content, role = f"Result of `{message.name or 'a tool'}`:\n{content}", "user"
        if role == "system" and messages:
            role = "user"  # many templates accept a system message only at the beginning
        messages.append({"role": role, "content": content})

    def _open_calls(self) -> list[str]:
        """Ids of calls of the last reply that have no result yet."""
        answered = set()
        for message in reversed(self._state.messages):
            if message["role"] == "tool":
                answered.add(message["tool_call_id"])
                continue
            calls = message.get("tool_calls", ())
            return [call["id"] for call in calls if call["id"] not in answered]
        return []

    def _close_calls(self) -> None:
        """Add a result to each open call: servers refuse a call without one."""
        for call_id in self._open_calls():
            self._state.messages.append(
                {"role": "tool", "tool_call_id": call_id, "content": "Not run: interrupted."}
            )

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
        self._close_calls()
        failures = 0
        waited, waits = 0.0, 0
        while True:
            builder = ReplyBuilder(self._tools, options)
            try:
                async with aclosing(self._attempt(options, builder)) as attempt:
                    async for event in attempt:
                        yield event
                break
            except RefusedOptionError:
                self._shared.plain = True
                continue
            except ContextFullError as error:
                self._learn_from_refusal(error)
                raise
            except BusyError as error:
                pause = min(error.wait_s or 2.0, 30.0)
                waited, waits = waited + pause, waits + 1
                if waited > self._timeouts.loading_s:
                    raise ModelError(
                        f"the model server at {self._url} is still busy: {error}",
                        hint="Wait until it is ready, or look at its log.",
                    ) from error
                yield EngineRestarted(reason=f"the server is busy: {error}", attempt=waits)
            except (StreamBrokenError, httpx.HTTPError) as error:
                failures += 1
                if failures > _RETRIES:
                    raise self._gave_up(error) from error
                pause = 0.5 * 2 ** (failures - 1)
                yield EngineRestarted(reason=self._reason(error), attempt=failures)
            await self._timeouts.backoff(pause)
        reply = builder.reply(options)
        reply.miss = self._miss(reply)
        self._state.messages.append(reply_message(reply))
        self._learn(reply)
        yield reply

    async def _attempt(
        self, options: GenerateOptions, builder: ReplyBuilder
    ) -> AsyncGenerator[ModelEvent, None]:
        """One request: yields its events and collects the reply in `builder`."""
        more = {} if self._shared.plain else extras(options)
        request = self._shared.client.build_request(
            "POST", f"{self._url}/chat/completions", json={**self._payload(options), **more}
        )
        builder.sent = time.monotonic()
        response = await self._send(request)
        try:
            if response.status_code != 200:
                body = await response.aread()
                raise refusal(response.status_code, body, response.headers, extras=bool(more))
            stream = events(
                response, first_s=self._timeouts.first_s, stall_s=self._timeouts.stall_s
            )
            async with aclosing(stream):
                async for event in stream:
                    failure = refusal_in_stream(event)
                    if failure is not None:
                        raise failure
                    prefill = progress(event)
                    if prefill is not None:
                        yield prefill
                    for delta in builder.take(event):
                        yield delta
            for delta in builder.end():
                yield delta
        finally:
            await response.aclose()

    async def _send(self, request: httpx.Request) -> httpx.Response:
        try:
            async with asyncio.timeout(self._timeouts.first_s):
                return await self._shared.client.send(request, stream=True)
        except TimeoutError:
            seconds = self._timeouts.first_s
            raise StreamBrokenError(f"the server sent nothing for {seconds:g} s") from None

    def _payload(self, options: GenerateOptions) -> dict[str, Any]:
        sampling = options.sampling
        payload: dict[str, Any] = {
            "model": self._model,
            "messages": self._state.messages,
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": sampling.seed,
            "max_tokens": options.max_tokens,
        }
        if self._state.tools:
            payload["tools"] = self._state.tools
            payload["tool_choice"] = "none" if options.grammar else options.tool_choice
        return payload

    def _reason(self, error: Exception) -> str:
        if isinstance(error, StreamBrokenError):
            return str(error)
        return f"no connection to {self._url}: {reason_of(error)}"

    def _gave_up(self, error: Exception) -> ModelError:
        hint = "Is the server running? `url` of the provider in config.toml is its address."
        if isinstance(error, StreamBrokenError):
            hint = "The server's log may say why."
        return ModelError(f"the model server gave no reply: {self._reason(error)}", hint=hint)

    def _miss(self, reply: Reply) -> CacheMiss | None:
        """Why the server processed tokens again; None when it did not or does not report it."""
        usage, known = reply.usage, self._state.known_tokens
        if not known or not usage.reused_tokens or usage.reused_tokens >= 0.9 * known:
            return None
        return CacheMiss(
            reason="the server's own cache held less of this conversation",
            position=usage.reused_tokens,
        )

    def _learn(self, reply: Reply) -> None:
        usage, state = reply.usage, self._state
        if usage.prompt_tokens:
            chars = size(state.tools) + sum(size(m) for m in state.messages[:-1])
            self._ratio = min(max(chars / usage.prompt_tokens, 1.0), 10.0)
            state.known_tokens = usage.prompt_tokens + usage.completion_tokens
            state.known_at = len(state.messages)

    def _learn_from_refusal(self, error: ContextFullError) -> None:
        """Correct the estimate after a refusal, or a server without counts would get it again."""
        state = self._state
        tokens = max(error.used, self.limit)
        if tokens > self.used:
            chars = size(state.tools) + sum(size(m) for m in state.messages)
            self._ratio = min(max(chars / tokens, 1.0), self._ratio)
            state.known_tokens = state.known_at = 0

    # --- positions --------------------------------------------------------------------------

    def mark(self) -> int:
        """See Conversation."""
        mark = len(self._state.messages)
        self._marks[mark] = (self._state.known_tokens, self._state.known_at)
        return mark

    def rewind(self, mark: int) -> None:
        """Drop everything after `mark`."""
        if not 0 <= mark <= len(self._state.messages):
            raise ValueError(f"{mark} is not a mark of this conversation")
        del self._state.messages[mark:]
        known = self._marks.get(mark, (0, 0))
        self._state.known_tokens, self._state.known_at = known

    def fork(self) -> HttpConversation:
        """Another conversation with the same content so far, over the same connections."""
        other = copy.copy(self)
        other._state = _State(
            list(self._state.messages),
            self._state.tools,
            self._state.known_tokens,
            self._state.known_at,
        )
        other._marks = dict(self._marks)
        other._closed = False
        self._shared.users += 1
        return other

    async def count(self, text: str) -> int:
        """Tokens of `text`, estimated from the server's counts so far."""
        return int(len(text) / self._ratio) + 1 if text else 0

    @property
    def used(self) -> int:
        """Tokens in the prompt: counted by the server, and estimated from there on."""
        state = self._state
        fresh = sum(size(message) for message in state.messages[state.known_at :])
        if not state.known_at:
            fresh += size(state.tools)
        return state.known_tokens + int(fresh / self._ratio)

    @property
    def limit(self) -> int:
        """Size of the context in tokens."""
        return self.info.context

    @property
    def tokens(self) -> None:
        """None: the server tokenises."""
        return None

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


def is_local(url: str) -> bool:
    """True for an address on this machine: no proxy, no network."""
    host = httpx.URL(url).host
    return host in ("localhost", "::1") or host.startswith("127.")
