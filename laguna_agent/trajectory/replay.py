"""The state of a conversation from its record: prompt, plan, calls without a result.

The prompt is restored as the token ids that the model read and wrote, so resuming renders nothing
again. Where ids are missing (another engine, a damaged blob), `history` has the same as events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from laguna_agent.config import RuleConfig
from laguna_agent.events import (
    Compacted,
    KeptSettings,
    PermissionsChanged,
    PlanStep,
    PlanUpdated,
    Reply,
    Rewound,
    SessionStarted,
    SettingsChanged,
    SystemNote,
    SystemPrompt,
    ToolFinished,
    TurnFinished,
    TurnStarted,
    Usage,
    UserMessage,
)
from laguna_agent.trajectory.codec import StoredEvent

INTERRUPTED = (
    "Interrupted: laguna was stopped before this call ended. It may have run in part; "
    "look at what it did before you do it again."
)
COMPACTION = "compaction"
"""Reason of the note that requests a summary. `history` has neither it nor its reply."""


class Source(Protocol):
    """Stored events that can be read repeatedly: a `Trajectory`, or `StoredEvents`."""

    def events(self, start: int = 0, *, whole: bool = True) -> Iterator[StoredEvent]:
        """The events from number `start` on, in order."""

    def of_type(self, kind: str, start: int = 0) -> Iterator[StoredEvent]:
        """The events of one type, in order."""


@dataclass(frozen=True)
class StoredEvents:
    """A `Source` in memory."""

    items: Sequence[StoredEvent]

    def events(self, start: int = 0, *, whole: bool = True) -> Iterator[StoredEvent]:
        """The events from number `start` on, in order."""
        return (item for item in self.items if item.seq >= start)

    def of_type(self, kind: str, start: int = 0) -> Iterator[StoredEvent]:
        """The events of one type, in order."""
        return (item for item in self.events(start) if item.event.type == kind)


@dataclass
class ConversationState:
    """The state of a conversation. `apply` updates it with each stored event."""

    started: SessionStarted | None = None
    settings: KeptSettings | None = None
    """The settings of the last turn, or those set since."""
    rules: list[RuleConfig] = field(default_factory=list)
    """The rules that hold for this session only. Rewinding keeps them."""
    system: SystemPrompt | None = None
    token_ids: list[int] | None = None
    """The prompt from the end of the static prefix to the end of the last reply, for
    `Conversation.restore`. None when a reply was stored without ids; empty when this epoch has no
    reply yet."""
    history: list[StoredEvent] = field(default_factory=list)
    """What the prompt of this epoch consists of, in order: user messages, notes, replies and tool
    results. After a compaction it begins with the Compacted event, whose `opening` is the epoch's
    first message, followed by the steps that were kept."""
    user_messages: list[StoredEvent] = field(default_factory=list)
    """The user messages of all epochs."""
    instructions: list[str] = field(default_factory=list)
    """Instruction files that notes showed, in all epochs."""
    plan: list[PlanStep] = field(default_factory=list)
    proposed_plan: str = ""
    """The plan that the last turn proposed, as long as no other turn began."""
    planning_messages: list[str] = field(default_factory=list)
    """The user messages of the turns in plan mode up to now, since the last turn outside it."""
    epoch: int = 0
    """Compactions so far."""
    epoch_seq: int = 0
    """Number of the Compacted event that began this epoch; 0 in the first epoch."""
    turns: int = 0
    turn_open: bool = False
    """True when the last turn has no TurnFinished."""
    last_status: str = ""
    """Status of the last finished turn."""
    files_changed: list[str] = field(default_factory=list)
    last_checkpoint: str = ""
    """The checkpoint of the files as the last turn left them; empty when there is none."""
    first_seq: int = 0
    """Number of the first event of this epoch."""
    last_seq: int = 0
    open_calls: dict[str, str] = field(default_factory=dict)
    """Calls of the last reply without a result: id to name."""
    replies: int = 0
    """Replies of this epoch, without those kept from the epoch before."""
    _pending_from: int = 0
    _summary_asked: bool = False

    @property
    def pending(self) -> list[StoredEvent]:
        """The end of `history` that is not in `token_ids` and has to be appended to the prompt.

        That is all of it, replies included, when `token_ids` is None or the epoch has no reply.
        """
        return self.history if self.token_ids is None else self.history[self._pending_from :]

    @property
    def tokens(self) -> int:
        """Tokens of the prompt after the last reply, as recorded; 0 when no reply told."""
        for stored in reversed(self.history):
            event = stored.event
            usage = event.usage if isinstance(event, Reply) else Usage()
            if usage.prompt_tokens and stored.seq > self.epoch_seq:  # one beside others has none
                return usage.prompt_tokens + usage.completion_tokens
            if isinstance(event, Compacted):
                return event.tokens_after
        return self.system.tokens if self.system is not None else 0

    @property
    def missing_results(self) -> list[ToolFinished]:
        """Results for the calls without one. They are not on record yet: whoever resumes the
        session records them."""
        return [
            ToolFinished(
                call_id=call_id, name=name, ok=False, content=INTERRUPTED, summary="interrupted"
            )
            for call_id, name in self.open_calls.items()
        ]

    def apply(self, stored: StoredEvent) -> None:
        """Update the state with the next stored event. After a Rewound, compute it anew with
        `conversation_state`."""
        self.last_seq = stored.seq
        self.first_seq = self.first_seq or stored.seq
        event = stored.event
        match event:
            case SessionStarted():
                self.started = event
            case PermissionsChanged():
                self.rules = event.rules
            case SystemPrompt():
                self.system = event
                if not self.history:
                    self.token_ids = []
            case UserMessage():
                self.user_messages.append(stored)
                self.history.append(stored)
                if self.settings is not None and self.settings.plan:
                    self.planning_messages.append(event.text)
            case SystemNote():
                if event.reason == COMPACTION:
                    self._summary_asked = True
                else:
                    self.history.append(stored)
                    self.instructions += event.files
            case Reply() if not event.discarded:
                self._apply_reply(stored, event)
            case ToolFinished():
                self.history.append(stored)
                self.open_calls.pop(event.call_id, None)
                known = dict.fromkeys([*self.files_changed, *event.files_changed])
                self.files_changed = list(known)
            case PlanUpdated():
                self.plan = event.steps
            case Compacted():
                self._apply_compaction(stored, event)
            case TurnStarted():
                self.turns, self.turn_open, self.last_checkpoint = self.turns + 1, True, ""
                self.settings, self.proposed_plan = event.settings or self.settings, ""
                if self.settings is None or not self.settings.plan:
                    self.planning_messages = []
                self._summary_asked = False  # the turn ended before the summary
            case SettingsChanged():
                self.settings = event.settings
            case TurnFinished():
                self.turn_open = self._summary_asked = False
                self.last_status, self.last_checkpoint = event.status, event.checkpoint
                self.proposed_plan = event.summary.strip() if event.plan else ""
            case _:
                pass

    def _apply_reply(self, stored: StoredEvent, reply: Reply) -> None:
        if self._summary_asked:
            self._summary_asked = False
        else:
            self.history.append(stored)
            self.replies += 1
            self.open_calls = {call.id: call.name for call in reply.tool_calls}
        self._pending_from = len(self.history)
        if reply.token_ids is None or reply.prompt_token_ids is None:
            self.token_ids = None
        elif self.token_ids is not None:
            self.token_ids += reply.prompt_token_ids
            self.token_ids += reply.token_ids

    def _apply_compaction(self, stored: StoredEvent, event: Compacted) -> None:
        kept = (
            item
            for item in self.history
            if item.seq >= event.kept_from_seq
            and item.seq <= event.last_seq
            and not isinstance(item.event, Compacted)
        )
        self.history = [stored, *kept]
        self.replies = 0
        self._pending_from = 0
        for place, item in enumerate(self.history):
            if isinstance(item.event, Reply):
                self._pending_from = place + 1
        if event.token_ids is not None:
            self.token_ids = list(event.token_ids)
        else:
            # Without ids of the kept replies the epoch has to be rendered again.
            self.token_ids = None if self._pending_from else []
        self.open_calls = {}
        self._summary_asked = False
        self.epoch += 1
        self.epoch_seq = self.first_seq = stored.seq


def conversation_state(
    source: Source | Sequence[StoredEvent], *, at: int | None = None
) -> ConversationState:
    """The state after event `at` (None: the last), without rewound events."""
    if isinstance(source, Sequence):
        source = StoredEvents(source)
    keeps = kept_ranges(source, at=at)
    state = ConversationState()
    for stored in source.events():
        if at is not None and stored.seq > at:
            break
        # A permission that was taken back does not return with a rewind.
        if keeps(stored.seq) or isinstance(stored.event, PermissionsChanged):
            state.apply(stored)
        state.last_seq = stored.seq
    return state


def kept_ranges(source: Source, *, at: int | None = None, start: int = 0) -> Callable[[int], bool]:
    """A predicate on event numbers from `start` on: whether the event is part of the conversation,
    that is, not rewound.

    A rewind restores the conversation as it was after `to_seq`, so rewinding to an event that an
    earlier rewind removed undoes that rewind.
    """
    rewinds = [
        (stored.seq, stored.event.to_seq)
        for stored in source.of_type("rewound", start)
        if isinstance(stored.event, Rewound) and (at is None or stored.seq <= at)
    ]
    if not rewinds:
        return lambda seq: True
    ranges: list[tuple[int, float]] = []
    end: float = float("inf")
    for seq, to_seq in reversed(rewinds):
        if seq <= end and to_seq < seq:
            ranges.append((seq + 1, end))
            end = to_seq
    ranges.append((0, end))
    return lambda seq: any(first <= seq <= final for first, final in ranges)


def active_events(source: Source, *, whole: bool = False) -> Iterator[StoredEvent]:
    """The events that are part of the conversation, without rewound ones."""
    keeps = kept_ranges(source)
    return (stored for stored in source.events(whole=whole) if keeps(stored.seq))
