"""The recorder: the one way for an event to the trajectory and to who watches the session."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from laguna_agent.events import Event, Rewound, TurnStarted, UserMessage
from laguna_agent.log import log_event
from laguna_agent.trajectory.codec import StoredEvent
from laguna_agent.trajectory.replay import ConversationState, conversation_state
from laguna_agent.trajectory.store import Trajectory

OnEvent = Callable[[Event], None]
"""Shows an event. It is called from the session's event loop and must not block."""


class Recorder:
    """Appends events to the trajectory, keeps `state` current, then shows them."""

    def __init__(
        self, trajectory: Trajectory, *, resumed: bool = False, on_event: OnEvent | None = None
    ) -> None:
        self.trajectory = trajectory
        self.state = conversation_state(trajectory) if resumed else ConversationState()
        self._on_event = on_event

    def emit(self, event: Event) -> None:
        """Record an event, unless it is transient, then show it. Raises LagunaError."""
        self.record(event)
        self.show(event)

    def record(self, event: Event) -> None:
        """Append an event to the trajectory, unless it is transient. Raises LagunaError."""
        if event.transient:
            return
        seq = self.trajectory.append(event)
        log_event(event)
        if isinstance(event, Rewound):
            self.state = conversation_state(self.trajectory)
        else:
            self.state.apply(StoredEvent(seq, self.trajectory.meta.updated, event))

    def show(self, event: Event) -> None:
        """Pass an event to the listener."""
        if self._on_event is not None:
            self._on_event(event)

    def epoch_events(self) -> Iterator[StoredEvent]:
        """The recorded events of this epoch."""
        return self.trajectory.events(self.state.first_seq)

    def planned_before(self, seq: int) -> bool:
        """Whether the session was in plan mode when user message `seq` was written."""
        planned = False
        for stored in self.trajectory.of_type("turn_started"):
            if stored.seq < seq and isinstance(stored.event, TurnStarted):
                planned = stored.event.settings is not None and stored.event.settings.plan
        messages = [stored.event for stored in self.state.user_messages if stored.seq == seq]
        return planned or any(isinstance(m, UserMessage) and m.plan is not None for m in messages)

    def turn_before(self, seq: int) -> tuple[int, int]:
        """Where to rewind to so that user message `seq` is undone: the number of the last event
        before it, and that of the last event before its turn."""
        start = turn = 0
        for stored in self.trajectory.events(whole=False):
            if stored.seq > seq:
                break
            if isinstance(stored.event, TurnStarted):
                start = turn = stored.seq - 1
            elif isinstance(stored.event, UserMessage) and stored.seq < seq:
                start = max(start, stored.seq)
        return start, turn
