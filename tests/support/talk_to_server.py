"""Conversations with a `ModelServer`, and its most usual scripts."""

from __future__ import annotations

from typing import Any

from laguna_agent.events import ModelEvent, Reply
from laguna_agent.models.conversation import GenerateOptions, Message, ModelInfo, ToolSpec
from laguna_agent.models.servers.endpoint import Endpoint
from laguna_agent.models.servers.http_conversation import HttpConversation, Timeouts
from support.model_server import Exchange, ModelServer

TOOL = ToolSpec(
    name="read",
    description="Read.",
    parameters={"type": "object", "properties": {"path": {"type": "string"}}},
)


class Pauses(list[float]):
    """Records pauses in place of waiting."""

    async def __call__(self, seconds: float) -> None:
        self.append(seconds)


def timeouts(**given: Any) -> Timeouts:
    """Timeouts without pauses."""
    return Timeouts(**{"stall_s": 30.0, "backoff": Pauses(), **given})


async def talk(server: ModelServer, given: Timeouts | None = None, **more: Any) -> HttpConversation:
    """A conversation with a system prompt, a tool and a first message."""
    info = ModelInfo(name="p/m", format="openai", context=1000)
    endpoint = Endpoint(server.url, "secret")
    conversation = HttpConversation(
        endpoint=endpoint, model="m", info=info, timeouts=given or timeouts(), **more
    )
    await conversation.start("Be brief.", [TOOL])
    await conversation.append([Message(role="user", content="Hello")])
    return conversation


async def collect(
    conversation: HttpConversation, options: GenerateOptions | None = None
) -> list[ModelEvent]:
    """All events of one reply."""
    return [event async for event in conversation.generate(options or GenerateOptions())]


def reply_of(events: list[ModelEvent]) -> Reply:
    """The reply, which comes last."""
    assert isinstance(events[-1], Reply)
    return events[-1]


async def says_hi(exchange: Exchange) -> None:
    """Answers with a text."""
    await exchange.open()
    await exchange.delta(content="Hi")
    await exchange.delta(content=" there\u2028.", finish="stop")
    details = {"cached_tokens": 30}
    await exchange.done(prompt_tokens=40, completion_tokens=5, prompt_tokens_details=details)


async def calls_read(exchange: Exchange) -> None:
    """Thinks and calls `read`."""
    await exchange.open()
    await exchange.delta(reasoning_content="I must ")
    await exchange.delta(reasoning_content="look.")
    start = {"index": 0, "id": "c1", "type": "function"}
    await exchange.delta(tool_calls=[{**start, "function": {"name": "read", "arguments": ""}}])
    for piece in ('{"pa', 'th": "a.', 'py"}'):
        await exchange.delta(tool_calls=[{"index": 0, "function": {"arguments": piece}}])
    await exchange.delta(finish="tool_calls")
    await exchange.done(prompt_tokens=50, completion_tokens=9)
