"""Long-term memory of one session: recalled at its start, written at the end of each turn."""

from __future__ import annotations

from pathlib import Path

from laguna_agent.config import MemoryConfig
from laguna_agent.memory.memory_store import MemoryStore
from laguna_agent.memory.recall import Recall
from laguna_agent.memory.summaries import remember
from laguna_agent.models.conversation import Conversation
from laguna_agent.tools.tool import ToolContext
from laguna_agent.trajectory.store import Trajectory


class SessionMemory:
    """Recalls earlier sessions of this repository, and writes down what this one did."""

    def __init__(self, root: Path, trajectory: Trajectory, config: MemoryConfig) -> None:
        self._root = root
        self._trajectory = trajectory
        self._config = config
        self._recall: Recall | None = None

    async def recall_for(
        self, task: str, conversation: Conversation, tool_context: ToolContext
    ) -> str:
        """The memories that fit the task, for the first message; opens the index to the recall
        tool."""
        if not self._config.enabled:
            return ""
        self._recall = Recall(self._root, session=self._trajectory.id)
        tool_context.recall = self._recall.answer
        return await self._recall.for_task(
            task, budget=self._config.budget, count=conversation.count
        )

    def remember(self, summary: str | None = None) -> None:
        """Write what happened since the last call. Raises LagunaError."""
        if self._config.enabled:
            remember(MemoryStore(self._root), self._trajectory, text=summary)

    def close(self) -> None:
        """Close the index."""
        if self._recall is not None:
            self._recall.close()
