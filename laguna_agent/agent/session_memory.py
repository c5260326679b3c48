"""Long-term memory of one session: recalled when an epoch begins, written at the end of a turn."""

from __future__ import annotations

import re
from pathlib import Path

from laguna_agent.clip import clip_middle
from laguna_agent.config import MemoryConfig
from laguna_agent.events import Event, Reply, ToolFinished
from laguna_agent.memory.memory_store import MemoryStore
from laguna_agent.memory.recall import Recall
from laguna_agent.memory.summaries import forget_from, remember
from laguna_agent.models.conversation import Conversation
from laguna_agent.policy import sensitive_paths
from laguna_agent.tools.tool import RecallSearch
from laguna_agent.trajectory.store import Trajectory

_QUERY_CHARS = 10_000
"""Characters of a task that memories are searched by."""


class SessionMemory:
    """Recalls earlier sessions of this repository, and writes down what this one did."""

    def __init__(self, root: Path, trajectory: Trajectory, config: MemoryConfig) -> None:
        self._root = root
        self._trajectory = trajectory
        self._budget = config.budget
        self._recall = (
            Recall(root, session=trajectory.id, withholds=may_hold_secrets)
            if config.enabled
            else None
        )

    @property
    def search(self) -> RecallSearch | None:
        """What the recall tool searches with; None without a memory."""
        return None if self._recall is None else self._recall.answer

    async def recall_for(self, task: str, conversation: Conversation) -> str:
        """The memories of other sessions that fit the task, for the first message of an epoch."""
        if self._recall is None:
            return ""
        origin = (self._trajectory.meta.parent or "").partition(":")[0]
        return await self._recall.for_task(
            clip_middle(task, _QUERY_CHARS),
            budget=min(self._budget, conversation.limit // 16),
            count=conversation.count,
            without={self._trajectory.id, origin},
        )

    def remember(self, summary: str | None = None) -> None:
        """Write what happened since the last call. Raises LagunaError."""
        if self._recall is not None:
            remember(MemoryStore(self._root), self._trajectory, text=summary)

    def rewound(self, seq: int) -> None:
        """Take back what is remembered of the events after `seq`. Raises LagunaError."""
        if self._recall is not None:
            forget_from(MemoryStore(self._root), self._trajectory, seq)

    def close(self) -> None:
        """Close the index."""
        if self._recall is not None:
            self._recall.close()


def may_hold_secrets(event: Event) -> bool:
    """Whether an event is about a file that may hold secrets, by the paths that its calls name."""
    match event:
        case ToolFinished():
            texts = [event.title]
        case Reply():
            texts = [str(value) for call in event.tool_calls for value in call.arguments.values()]
        case _:
            return False
    words = [word for text in texts for word in re.split(r"[\s'\"=:;|&<>()]+", text[:4000])]
    return any(sensitive_paths.is_secret_file(word) for word in words if word)
