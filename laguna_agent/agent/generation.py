"""Asks the model for one reply, and asks again, more freely, when it only repeats itself.

A reply that makes calls which were made before, with nothing changed since, is thrown away: it
never becomes part of the prompt, since a repetition in the context makes the next one likelier.
So is one that was cut because the context was nearly full: it is asked for again in a new epoch,
as it is when a server says that the prompt is longer than was thought.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from laguna_agent.agent.context.compaction import reply_room
from laguna_agent.agent.context.context_append import make_room
from laguna_agent.agent.loop_detector import LoopDetector
from laguna_agent.agent.retries import Retries
from laguna_agent.agent.state import Agent
from laguna_agent.errors import ContextFullError
from laguna_agent.events import Event, Reply
from laguna_agent.models.conversation import GenerateOptions

RESAMPLES = 4
_WARMER = 0.35


async def ask(
    agent: Agent, watchdog: LoopDetector, attempts: Retries
) -> AsyncGenerator[Event, None]:
    """Yield the events of one reply. Replies that were thrown away are marked `discarded`; when
    the last one is, nothing new could be had."""
    conversation = agent.conversation
    options = make_options(agent, attempts)
    mark, fresh = conversation.mark(), False
    again = 0
    while again <= RESAMPLES:
        cut = False
        try:
            async with aclosing(conversation.generate(options)) as events:
                async for event in events:
                    if not isinstance(event, Reply):
                        yield event
                        continue
                    event.seed = options.sampling.seed
                    event.temperature = options.sampling.temperature
                    cut = not fresh and _for_lack_of_room(agent, event, options)
                    event.discarded = (
                        cut
                        or watchdog.is_repeat(event.tool_calls)
                        or attempts.is_repeat(event.tool_calls)
                    )
                    yield event
                    if not event.discarded:
                        return
        except ContextFullError:
            # A server counts by itself, and what was estimated was too little.
            if fresh or agent.compact is None:
                raise
            cut = True
        conversation.rewind(mark)
        if cut:
            async with aclosing(make_room(agent)) as room:
                async for made in room:
                    yield made
            options = make_options(agent, attempts)
            mark, fresh = conversation.mark(), True
            continue
        again += 1
        warmer = min(1.2, max(options.sampling.temperature, 0.2) + _WARMER)
        sampling = options.sampling.model_copy(
            update={"temperature": warmer, "top_p": 0.95, "top_k": 40,
                    "seed": options.sampling.seed + 1}
        )  # fmt: skip
        options.sampling = sampling


def make_options(agent: Agent, attempts: Retries) -> GenerateOptions:
    """How the next reply is to be made."""
    manifest, conversation = agent.pack.manifest, agent.conversation
    room = reply_room(conversation.used, conversation.limit, agent.reserve)
    return GenerateOptions(
        sampling=attempts.sampling(),
        max_tokens=max(1, min(agent.limits.reply_tokens, room)),
        thinking=agent.thinking,
        thinking_budget=agent.pack.thinking_budget,
        tool_choice="required" if manifest.call_required else "auto",
        allowed=attempts.allowed(),
        paths=attempts.paths(),
        logprobs=agent.logprobs,
    )


def _for_lack_of_room(agent: Agent, reply: Reply, options: GenerateOptions) -> bool:
    """Whether a reply ended early because the context is nearly full."""
    return (
        agent.compact is not None
        and reply.finish_reason in ("length", "context_full")
        and options.max_tokens < agent.limits.reply_tokens
    )
