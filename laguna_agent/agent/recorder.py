"""The record of a session and the state it adds up to, kept together as events happen."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from pathlib import Path

from laguna_agent import __version__
from laguna_agent.agent.settings import Settings
from laguna_agent.agent.state import Agent
from laguna_agent.config import MemoryConfig
from laguna_agent.errors import UsageError
from laguna_agent.events import (
    Checkpointed,
    Event,
    Rewound,
    SessionStarted,
    SystemPrompt,
    TurnStarted,
    UserMessage,
)
from laguna_agent.memory.memory_store import MemoryStore
from laguna_agent.memory.recall import Recall
from laguna_agent.memory.summaries import remember
from laguna_agent.models.conversation import Conversation, ToolSpec
from laguna_agent.trajectory.codec import StoredEvent
from laguna_agent.trajectory.index import SessionIndex
from laguna_agent.trajectory.replay import ConversationState, conversation_state
from laguna_agent.trajectory.store import Trajectory


def open_trajectory(settings: Settings, root: Path) -> tuple[Trajectory, bool]:
    """The record to append to, and whether it was there before. Raises UsageError."""
    if not (settings.resume or settings.fork or settings.continue_last):
        return Trajectory.create(root), False
    with SessionIndex(root) as index:
        if settings.continue_last:
            path = index.latest()
            if path is None:
                raise UsageError("there is no session in this repository to go on with")
        else:
            path = index.resolve(settings.resume or settings.fork or "")
    if settings.fork:
        return Trajectory.fork(path, root), True
    return Trajectory.open(path), True


class Recorder:
    """Appends events, and knows where the conversation stands."""

    def __init__(self, trajectory: Trajectory, *, resumed: bool) -> None:
        self.trajectory = trajectory
        self.state = conversation_state(trajectory) if resumed else ConversationState()

    def add(self, event: Event) -> int:
        """Store an event that is not transient; returns its number."""
        seq = self.trajectory.append(event)
        if isinstance(event, Rewound):
            self.state = conversation_state(self.trajectory)
        else:
            self.state.apply(StoredEvent(seq, "", event))
        return seq

    def epoch(self) -> Iterator[StoredEvent]:
        """The events of this epoch."""
        return self.trajectory.events(self.state.first_seq)

    def turn_before(self, seq: int) -> tuple[int, str | None]:
        """Where to go back to so that user message `seq` was never said: the number of the last
        event before its turn, and the checkpoint of the files at its beginning."""
        start, checkpoint = 0, None
        for stored in self.trajectory.events(whole=False):
            if stored.seq > seq:
                break
            if isinstance(stored.event, TurnStarted):
                start, checkpoint = stored.seq - 1, None
            elif isinstance(stored.event, Checkpointed):
                checkpoint = stored.event.id
            elif isinstance(stored.event, UserMessage) and stored.seq < seq:
                start = max(start, stored.seq)
        return start, checkpoint


def session_started(settings: Settings, trajectory: Trajectory, agent: Agent) -> SessionStarted:
    """What the record begins with."""
    info = agent.conversation.info
    return SessionStarted(
        session=trajectory.id,
        repository=str(agent.context.workspace),
        cwd=str(settings.cwd),
        model=info.model_dump(mode="json"),
        sampling=agent.sampling.model_dump(mode="json"),
        seed=agent.sampling.seed,
        pack={"name": agent.pack.name, "sha256": agent.pack.sha256},
        versions={
            "laguna": __version__,
            "python": platform.python_version(),
            "engine": info.engine,
        },
        mode=agent.gate.mode,
        parent=trajectory.meta.parent,
    )


def system_prompt(
    conversation: Conversation, text: str, specs: Sequence[ToolSpec], tokens: int
) -> SystemPrompt:
    """The static prefix that `conversation` was just started with."""
    ids = conversation.tokens
    return SystemPrompt(
        text=text,
        tools=[spec.model_dump(mode="json") for spec in specs],
        tokens=tokens,
        token_ids=list(ids) if ids is not None else None,
    )


class Recollection:
    """Long-horizon memory of one session: recalled at its start, written at each turn's end."""

    def __init__(self, agent: Agent, trajectory: Trajectory, config: MemoryConfig) -> None:
        self.agent = agent
        self.trajectory = trajectory
        self.config = config
        self._recall: Recall | None = None

    async def begin(self, task: str) -> None:
        """Put the few memories that fit the task into the first message."""
        if not self.config.enabled:
            return
        agent = self.agent
        self._recall = Recall(agent.context.workspace, session=self.trajectory.id)
        agent.context.state["recall"] = self._recall.answer
        agent.opening["memory"] = await self._recall.for_task(
            task, budget=self.config.budget, count=agent.conversation.count
        )

    def remember(self, text: str | None = None) -> None:
        """Write what happened since the last time. Raises LagunaError."""
        if self.config.enabled:
            remember(MemoryStore(self.agent.context.workspace), self.trajectory, text=text)

    def close(self) -> None:
        """Let go of the index."""
        if self._recall is not None:
            self._recall.close()
