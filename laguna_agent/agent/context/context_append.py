"""Adds what is on record to the prompt, making room for it first.

Everything that the model is told after the static prefix comes through `tell`. What would leave
no room for a summary is not added: the conversation is summarised without it, and it stands at
the end of the new epoch.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from laguna_agent.agent.context.compaction import needs_compaction
from laguna_agent.agent.state import Agent
from laguna_agent.errors import ContextFullError
from laguna_agent.events import Compacted, Event
from laguna_agent.models.conversation import Message


async def tell(agent: Agent, messages: Sequence[Message] = ()) -> AsyncGenerator[Event, None]:
    """Add messages, whose events are recorded already, to the prompt.

    Yields what a compaction brings, if one has to come first. Without messages it only makes
    room. Raises ContextFullError when the context is too small for what must stay in it.
    """
    conversation, limit = agent.conversation, agent.conversation.limit
    agent.unsaid += messages
    agent.reserve = await agent.measure()
    mark = conversation.mark()
    if agent.unsaid:
        await conversation.append(agent.unsaid)
    if agent.compact is None or not needs_compaction(conversation.used, limit, agent.reserve):
        agent.unsaid.clear()
        return
    # Nothing of it was decoded, so taking it back costs nothing.
    conversation.rewind(mark)
    async with aclosing(make_room(agent)) as events:
        async for event in events:
            yield event


async def make_room(agent: Agent) -> AsyncGenerator[Event, None]:
    """Summarise and begin a new epoch, which holds what is unsaid."""
    conversation = agent.conversation
    if agent.compact is None:
        return
    async with aclosing(agent.compact()) as events:
        async for event in events:
            yield event
            if isinstance(event, Compacted):
                agent.on_epoch()
    if needs_compaction(conversation.used, conversation.limit, agent.reserve):
        raise ContextFullError(conversation.used, agent.reserve, conversation.limit)
