"""An epoch of a conversation: what its prompt is made of, and how a conversation enters it.

A new epoch is the static prefix, one opening message (the summary, every user message as it was
written, the instructions and the plan) and the last steps, whole, with the tokens they had.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from laguna_agent.events import (
    Compacted,
    Event,
    PlanStep,
    Reply,
    SystemNote,
    ToolFinished,
    UserMessage,
)
from laguna_agent.models.base import Conversation, Message
from laguna_agent.trajectory.codec import StoredEvent
from laguna_agent.trajectory.replay import ConversationState

OVERHEAD = 16
"""Tokens that a chat format spends on opening and closing one message, rounded up."""

Opening = Callable[[str, list[str], str], str]
"""Makes the text of the epoch's first message of summary, user messages and plan."""
Render = Callable[[Event], Message]
"""Makes the message that the model reads of a user message, a note or a tool result."""
Count = Callable[[str], Awaitable[int]]
"""Counts the tokens of a text."""


@dataclass(frozen=True)
class Epoch:
    """What the new epoch's prompt is made of, after the static prefix."""

    opening: str
    entries: list[Message | Reply] = field(default_factory=list)
    """The steps that were kept whole, in order: messages to append and replies to append."""
    kept_from_seq: int = 0
    dropped: list[str] = field(default_factory=list)
    """What is no longer in the prompt, in words for a person."""


def message_of(event: Event) -> Message:
    """The message that the model reads of a user message, a note or a tool result."""
    match event:
        case UserMessage():
            text = f"{event.context}\n\n{event.text}" if event.context else event.text
            return Message(role="user", content=text)
        case ToolFinished():
            return Message(
                role="tool", content=event.content, name=event.name, call_id=event.call_id
            )
        case SystemNote():
            return Message(role="user", content=event.text)
        case Compacted():
            return Message(role="user", content=event.opening)
        case _:
            raise ValueError(f"{type(event).__name__} is not part of a prompt")


def plan_text(plan: Sequence[PlanStep]) -> str:
    """The plan as lines with a mark for each step's status."""
    marks = {"pending": "[ ]", "active": "[>]", "done": "[x]", "dropped": "[-]"}
    return "\n".join(f"{marks[step.status]} {step.text}" for step in plan)


async def build_epoch(
    state: ConversationState,
    summary: str,
    *,
    opening: Opening,
    count: Count,
    limit: int,
    reserve: int,
    render: Render = message_of,
) -> Epoch:
    """Decide what of `state` goes on: always the summary, all user messages and the plan; of the
    last steps as many whole ones as fit in half of the context that is left.

    User messages stay whole as long as they fit at all; when they alone would fill the context,
    the middle of the longest is left out, and `dropped` says so. When not even the last step
    fits, its results are cut in the middle: without them its calls would only be made again.
    `reserve` tokens stay free for the next summary.
    """
    prefix = state.system.tokens if state.system else 0
    room = limit - prefix - reserve
    steps, plan = _steps(state), plan_text(state.plan)
    dropped: list[str] = []

    def text_for(said: Sequence[StoredEvent]) -> tuple[str, list[str]]:
        messages = [_spoken(item) for item in said]
        return opening(summary, messages, plan), messages

    text, _ = text_for(state.user_messages)
    used = await count(text) + OVERHEAD
    kept = len(steps)
    while kept > 0:
        # A user message in the kept steps is in its place there, and no longer in the opening.
        size = await _size(steps[kept - 1], count, render)
        if used + size > room // 2 and not (kept == len(steps) and used + size <= room * 3 // 4):
            break
        used, kept = used + size, kept - 1
    cut: dict[int, Message] = {}
    if kept == len(steps) and steps and isinstance(steps[-1][0].event, Reply):
        cut = await _cut(steps[-1], room * 3 // 4 - used, count, render)
        if cut:
            kept -= 1
            used += await _size(steps[kept], count, lambda event: cut.get(id(event), render(event)))
            dropped.append(
                "the middle of "
                + ("a tool result" if len(cut) == 1 else f"{len(cut)} tool results")
                + " that did not fit"
            )
    kept_from = steps[kept][0].seq if kept < len(steps) else state.last_seq + 1
    said = [item for item in state.user_messages if item.seq < kept_from]
    text, messages = text_for(said)
    tail = used - await count(text_for(state.user_messages)[0]) - OVERHEAD
    while await count(text) + OVERHEAD + tail > room:
        shorter = _shorten(messages, said)
        if shorter is None:
            break
        dropped.append(shorter)
        text = opening(summary, messages, plan)
    entries: list[Message | Reply] = [
        item.event
        if isinstance(item.event, Reply)
        else cut.get(id(item.event)) or render(item.event)
        for step in steps[kept:]
        for item in step
    ]
    return Epoch(text, entries, kept_from, dropped + _dropped(steps[:kept]))


async def enter_epoch(conversation: Conversation, epoch: Epoch) -> list[int] | None:
    """Append an epoch to a conversation that holds only its static prefix.

    Returns what a local conversation holds after the prefix up to the end of the last reply.
    """
    start = len(_tokens(conversation) or ())
    opening = Message(role="user", content=epoch.opening)
    closed = await _append_all(conversation, [opening, *epoch.entries])
    tokens = _tokens(conversation)
    if tokens is None:
        return None
    replies = [entry for entry in epoch.entries if isinstance(entry, Reply)]
    if not replies:
        return []
    if replies[-1].token_ids is None:
        return None
    # What closes a reply that was cut stands after it, and is not part of it.
    last = tuple(replies[-1].token_ids)
    for end in range(closed, start + len(last) - 1, -1):
        if tokens[end - len(last) : end] == last:
            return list(tokens[start:end])
    return None


async def reenter(
    conversation: Conversation, state: ConversationState, *, render: Render = message_of
) -> list[Message]:
    """Bring a conversation that was just started to the last reply of `state`: its tokens.

    Returns the messages after that reply, which are not in the prompt yet: room has to be made
    for them first. Record and `take` the results of `state.interrupted` before, so that every
    call has one.
    """
    if state.token_ids:
        await conversation.restore(state.token_ids)
    entries = [
        item.event if isinstance(item.event, Reply) else render(item.event)
        for item in state.pending
    ]
    last = max((at for at, entry in enumerate(entries) if isinstance(entry, Reply)), default=-1)
    await _append_all(conversation, entries[: last + 1])
    return [entry for entry in entries[last + 1 :] if isinstance(entry, Message)]


# --- inside ---------------------------------------------------------------------------------


def _tokens(conversation: Conversation) -> tuple[int, ...] | None:
    return getattr(conversation, "tokens", None)


async def _append_all(conversation: Conversation, entries: Sequence[Message | Reply]) -> int:
    """Append in order; returns where the last reply ended, what closes it included."""
    messages: list[Message] = []
    closed = conversation.used
    for entry in entries:
        if isinstance(entry, Message):
            messages.append(entry)
            continue
        if messages:
            await conversation.append(messages)
            messages = []
        await conversation.append_reply(entry)
        closed = conversation.used
    if messages:
        await conversation.append(messages)
    return closed


def _steps(state: ConversationState) -> list[list[StoredEvent]]:
    """This epoch's history in pieces that stay whole: a reply with its results, a user message."""
    steps: list[list[StoredEvent]] = []
    for item in state.history:
        if isinstance(item.event, Compacted):
            continue  # its opening is made anew
        if isinstance(item.event, Reply | UserMessage) or not steps:
            steps.append([item])
        else:
            steps[-1].append(item)
    return steps


async def _size(step: Sequence[StoredEvent], count: Count, render: Render) -> int:
    total = 0
    for item in step:
        if isinstance(item.event, UserMessage):
            # Its text is counted with the opening, from which it moves here.
            total += await count(item.event.context) if item.event.context else 0
            continue
        if isinstance(item.event, Reply):
            ids = item.event.token_ids
            raw = item.event.text + "".join(call.raw for call in item.event.tool_calls)
            total += OVERHEAD + (len(ids) if ids is not None else await count(raw))
        else:
            total += OVERHEAD + await count(render(item.event).content)
    return total


async def _cut(
    step: Sequence[StoredEvent], room: int, count: Count, render: Render
) -> dict[int, Message]:
    """A step's results cut so that the step fits in `room` tokens, by the identity of their
    events; empty when they cannot be."""
    results = [item for item in step if isinstance(item.event, ToolFinished)]
    rest = [item for item in step if not isinstance(item.event, ToolFinished)]
    left = room - await _size(rest, count, render)
    cut: dict[int, Message] = {}
    for place, item in enumerate(results):
        message = render(item.event)
        share = left // (len(results) - place) - OVERHEAD
        size = await count(message.content)
        if size > share:
            if share < 64:
                return {}
            # In characters by the text's own density, with a margin for the mark in its middle.
            half = int(len(message.content) * (share - 40) / size * 0.9) // 2
            text = _without_middle(message.content, half, item.seq)
            message = message.model_copy(update={"content": text})
            cut[id(item.event)] = message
            size = await count(message.content)
        left -= size + OVERHEAD
    return cut if left >= 0 else {}


def _spoken(item: StoredEvent) -> str:
    assert isinstance(item.event, UserMessage)
    return item.event.text


def _without_middle(text: str, kept: int, seq: int) -> str:
    """The first and last `kept` characters of event `seq`, and what stands for those between."""
    gap = f"\n[… {len(text) - 2 * kept} characters left out; recall e{seq} has them]\n"
    return text[:kept] + gap + text[-kept:]


def _shorten(messages: list[str], said: Sequence[StoredEvent]) -> str | None:
    """Take the middle half out of the longest message; says what was left out, None if all are
    short already."""
    place = max(range(len(messages)), key=lambda n: len(messages[n]), default=-1)
    if place < 0 or len(messages[place]) < 400:
        return None
    text, seq = messages[place], said[place].seq
    messages[place] = _without_middle(text, len(text) // 4, seq)
    return f"the middle of a long user message (e{seq})"


def _dropped(steps: Sequence[Sequence[StoredEvent]]) -> list[str]:
    replies = results = notes = characters = beside = 0
    for step in steps:
        for item in step:
            match item.event:
                case Reply():
                    replies += 1
                case ToolFinished():
                    results += 1
                    characters += len(item.event.content)
                case SystemNote():
                    notes += 1
                case UserMessage():
                    beside += len(item.event.context)
                case _:
                    pass
    lines = []
    if replies:
        lines.append(_counted(replies, "reply of the model", "replies of the model"))
    if results:
        shown = _counted(results, "tool result", "tool results")
        lines.append(f"{shown} ({characters:,} characters)")
    if notes:
        lines.append(_counted(notes, "note of laguna", "notes of laguna"))
    if beside:
        lines.append(f"files and output shown beside the task ({beside:,} characters)")
    return lines


def _counted(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
