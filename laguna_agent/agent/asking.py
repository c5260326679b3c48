"""Asks the model for one reply, and asks again, more freely, when it only repeats itself.

A reply that makes calls which were made before, with nothing changed since, is thrown away: it
never becomes part of the prompt, since a repetition in the context makes the next one likelier.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from laguna_agent.agent.attempts import Attempts
from laguna_agent.agent.compaction import reply_room, summary_reserve
from laguna_agent.agent.state import Agent
from laguna_agent.agent.watchdog import Watchdog
from laguna_agent.events import ModelEvent, Notice, Reply
from laguna_agent.models.base import GenerateOptions

RESAMPLES = 4
_WARMER = 0.35


async def ask(
    agent: Agent, watchdog: Watchdog, attempts: Attempts
) -> AsyncGenerator[ModelEvent | Notice, None]:
    """Yield the events of one reply. Replies that were thrown away are marked `discarded`; when
    the last one is, nothing new could be had."""
    conversation = agent.conversation
    options = make_options(agent, attempts)
    mark = conversation.mark()
    for again in range(RESAMPLES + 1):
        async with aclosing(conversation.generate(options)) as events:
            async for event in events:
                if not isinstance(event, Reply):
                    yield event
                    continue
                event.seed = options.sampling.seed
                event.temperature = options.sampling.temperature
                event.discarded = again <= RESAMPLES and (
                    watchdog.is_repeat(event.tool_calls) or attempts.is_repeat(event.tool_calls)
                )
                yield event
                if not event.discarded:
                    return
        conversation.rewind(mark)
        warmer = min(1.2, max(options.sampling.temperature, 0.2) + _WARMER)
        sampling = options.sampling.model_copy(
            update={"temperature": warmer, "top_p": 0.95, "top_k": 40,
                    "seed": options.sampling.seed + 1}
        )  # fmt: skip
        options.sampling = sampling


def make_options(agent: Agent, attempts: Attempts) -> GenerateOptions:
    """How the next reply is to be made."""
    manifest, conversation = agent.pack.manifest, agent.conversation
    reserve = summary_reserve(conversation.limit)
    room = reply_room(conversation.used, conversation.limit, reserve)
    return GenerateOptions(
        sampling=attempts.sampling(),
        max_tokens=max(1, min(agent.limits.reply_tokens, room)),
        thinking=agent.thinking,
        thinking_budget=agent.pack.thinking_budget,
        tool_choice="required" if manifest.call_required else "auto",
        allowed=attempts.allowed(),
        paths=attempts.paths(),
    )
