"""A conversation with the tiny Laguna."""

from __future__ import annotations

from laguna_agent.models.chat.laguna import LagunaFormat
from laguna_agent.models.conversation import ModelInfo
from laguna_agent.models.engine.client import EngineClient
from laguna_agent.models.local_conversation import LocalConversation


def conversation(engine: EngineClient, session: str = "test") -> LocalConversation:
    chat = LagunaFormat("v4")
    info = ModelInfo(name="tiny", format=chat.name, context=engine.model.context)
    return LocalConversation(engine, chat, info, session)
