"""The context window of a session: appends messages to the prompt and compacts it when it is full.

Everything after the static prefix that the model reads, its own replies apart, is appended here.
What would leave no room for a summary is not appended: the conversation is compacted without it,
and it comes at the end of the new epoch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from laguna_agent.agent.context import compaction
from laguna_agent.agent.context.epoch import message_of, reenter
from laguna_agent.agent.context.first_message import git_state, today
from laguna_agent.agent.context.user_messages import text_of
from laguna_agent.agent.services import Services
from laguna_agent.agent.session_memory import SessionMemory
from laguna_agent.agent.state import SessionState
from laguna_agent.errors import ContextFullError
from laguna_agent.events import (
    Compacted,
    Event,
    Notice,
    Reply,
    Rewound,
    SystemNote,
    ToolFinished,
    Usage,
    UserMessage,
    plan_text,
)
from laguna_agent.models.conversation import Message, ToolSpec


@dataclass(frozen=True)
class Position:
    """A place in the conversation: a mark of the prompt, and the last event on record there."""

    mark: int
    seq: int


@dataclass(frozen=True)
class _Prefix:
    """The static prefix: the mark after it, and its tokens."""

    mark: int
    tokens: int


class ContextWindow:
    """Owns what goes into the prompt, how full it is, and when a new epoch starts."""

    def __init__(self, services: Services, state: SessionState, memory: SessionMemory) -> None:
        self._services = services
        self._state = state
        self._memory = memory
        self._conversation = services.conversation
        self._prefix: _Prefix | None = None
        self._turn_start = Position(0, 0)
        self._summary_request = ""
        self._summary_request_tokens = 0
        self._shown_template_notes = 0
        self._usage = Usage()
        self.pending_messages: list[Message] = []
        """Messages that are on record and not yet in the prompt."""
        self.reserve = 0
        """Tokens that replies leave free for a summary, as last measured."""

    # --- appending --------------------------------------------------------------------------

    async def start(self, system: str, tools: Sequence[ToolSpec]) -> int:
        """Put the static prefix, where every epoch starts; returns its tokens.

        After a start that was cancelled it goes back to the prefix that is there.
        """
        if self._prefix is None:
            tokens = await self._conversation.start(system, tools)
            self._prefix = _Prefix(self._conversation.mark(), tokens)
        else:
            self.rewind_to_prefix()
        return self._prefix.tokens

    def message_of(self, event: Event) -> Message:
        """The message that the model reads of a recorded event; the one place that renders it."""
        if isinstance(event, UserMessage) and event.origin == "steer":
            text = self._services.pack.text("steer.md", text=event.text)
            context = f"{event.context}\n\n" if event.context else ""
            return Message(role="user", content=context + text)
        return message_of(event)

    def add(self, event: UserMessage | SystemNote) -> None:
        """Record and show a message for the model; it is appended with the next ones."""
        self._services.emit(event)
        self.add_recorded(event)

    def add_note(self, text: str, reason: str, files: Sequence[str] = ()) -> None:
        """Add a message of laguna's own."""
        self.add(SystemNote(text=text, reason=reason, files=list(files)))

    def add_recorded(self, event: ToolFinished | UserMessage | SystemNote) -> None:
        """Add the message of an event that is on record already."""
        self.pending_messages.append(self.message_of(event))

    async def append_pending(self) -> None:
        """Append the pending messages, compacting first where there is no room for them.

        Without pending messages it only makes sure of room for a reply. Raises ContextFullError
        when the context is too small for what must stay in it.
        """
        conversation = self._conversation
        self.reserve = await self._measure_reserve()
        mark = conversation.mark()
        if self.pending_messages:
            await conversation.append(self.pending_messages)
        if not self._is_full():
            self.pending_messages.clear()
            return
        conversation.rewind(mark)  # nothing of it was decoded, so this costs nothing
        await self.make_room()

    async def reenter(self) -> None:
        """Bring a conversation that was just started to where the record ends."""
        self.pending_messages = await reenter(
            self._conversation, self._services.recorder.state, render=self.message_of
        )

    # --- turns ------------------------------------------------------------------------------

    def mark_turn_start(self) -> None:
        """Make this the point that `rewind_to_turn_start` goes back to."""
        self._turn_start = self.position()

    def position(self) -> Position:
        """Where the conversation is now."""
        return Position(self._conversation.mark(), self._services.recorder.state.last_seq)

    def rewind_to_turn_start(self) -> None:
        """Go back to the turn's first message, or to the start of an epoch that began since."""
        self.rewind_to(self._turn_start)

    def rewind_to(self, position: Position) -> None:
        """Go back to a position of this epoch, with the files."""
        self._conversation.rewind(position.mark)
        self.pending_messages.clear()
        self._services.emit(Rewound(to_seq=position.seq, code=True))

    def rewind_to_prefix(self) -> None:
        """Drop everything after the static prefix."""
        self._conversation.rewind(self._prefix_mark())

    def _prefix_mark(self) -> int:
        assert self._prefix is not None, "the conversation has not started"
        return self._prefix.mark

    # --- epochs -----------------------------------------------------------------------------

    async def make_room(self) -> None:
        """Compact, and raise ContextFullError when that frees too little."""
        await self.compact()
        if self._is_full():
            conversation = self._conversation
            raise ContextFullError(conversation.used, self.reserve, conversation.limit)

    async def compact(self, guidance: str = "", *, by_hand: bool = False) -> bool:
        """Summarise, and start a new epoch that holds the pending messages.

        `by_hand` frees half of what is in use, however much of the context is free. Where that is
        no gain, a Notice says so, the conversation stays as it is, and the result is False.
        """
        services = self._services
        before = services.recorder.state.last_seq

        def emit(event: Event) -> None:
            if not (by_hand and isinstance(event, Compacted) and _no_gain(event)):
                self._emit_summary(event)

        self._state.first_message_variables |= {
            "date": today(),
            "git": await asyncio.to_thread(git_state, services.tool_context.workspace),
            "memory": await self._memory.recall_for(self._tasks(), self._conversation),
        }
        compacted = await compaction.compact(
            self._conversation,
            services.recorder.state,
            emit=emit,
            prefix_mark=self._prefix_mark(),
            request=lambda known: self._request(guidance, known),
            first_message=self._epoch_message,
            evidence=services.recorder.epoch_events(),
            reserve=await self._measure_reserve(),
            guidance=guidance,
            logprobs=services.logprobs,
            render=self.message_of,
            pending=self.pending_messages,
            halve=by_hand,
        )
        if by_hand and _no_gain(compacted):
            services.recorder.record(Rewound(to_seq=before))
            self.rewind_to_prefix()
            await self.reenter()
            was, became = compacted.tokens_before, compacted.tokens_after
            text = f"Nothing to gain: {was:,} tokens would become {became:,}, so the conversation "
            services.emit(Notice(text=f"{text}stays as it is."))
            return False
        self._state.planning = services.starts_in_plan_mode
        self.mark_turn_start()
        self._memory.remember(compacted.summary)
        return True

    def _tasks(self) -> str:
        """What memories of an epoch have to fit: the first task, and the latest one."""
        messages = self._services.recorder.state.user_messages
        return "\n".join(dict.fromkeys(text_of(item) for item in [*messages[:1], *messages[-1:]]))

    def _emit_summary(self, event: Event) -> None:
        if isinstance(event, Reply):
            self._usage = self._usage.plus(event.usage)
        self._services.emit(event)

    def take_usage(self) -> Usage:
        """The tokens of summaries since this was last asked."""
        usage, self._usage = self._usage, Usage()
        return usage

    def _epoch_message(self, summary: str, messages: list[str], plan: str) -> str:
        instructions = self._services.instructions.all_shown()
        variables = {**self._state.first_message_variables, "instructions": instructions}
        return self._services.pack.text(
            "epoch.md", **variables, summary=summary, messages=messages, plan=plan
        )

    def _request(self, guidance: str = "", known: str = "") -> str:
        """The message that asks for a summary."""
        plan = plan_text(self._services.recorder.state.plan)
        return self._services.pack.text("compact.md", guidance=guidance, plan=plan, known=known)

    async def _measure_reserve(self) -> int:
        """Tokens that the request for a summary and the summary take."""
        text = self._request()
        if text != self._summary_request:
            self._summary_request = text
            self._summary_request_tokens = await self._conversation.count(text)
        return compaction.summary_reserve(self._conversation.limit, self._summary_request_tokens)

    def _is_full(self) -> bool:
        conversation = self._conversation
        return compaction.needs_compaction(conversation.used, conversation.limit, self.reserve)

    # --- the chat format --------------------------------------------------------------------

    def new_template_notices(self) -> list[Notice]:
        """Notices of where the chat format departs from the model's template, each once."""
        notes = self._conversation.template_notes[self._shown_template_notes :]
        self._shown_template_notes += len(notes)
        return [Notice(text=f"Chat format: {note}.") for note in notes]


def _no_gain(compacted: Compacted) -> bool:
    """Whether the new epoch is no shorter than the one before."""
    return compacted.tokens_after >= compacted.tokens_before
