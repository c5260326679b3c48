"""An epoch of a conversation: what its prompt is made of, and how a conversation enters it.

A new epoch is the static prefix, a first message (the summary, the user's messages, the
instructions and the plan) and the last steps, whole, with the tokens they had.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from laguna_agent.agent.context.user_messages import (
    FittedMessages,
    elide_middle,
    fit_messages,
    sizes_of,
)
from laguna_agent.events import (
    Compacted,
    Event,
    Reply,
    SystemNote,
    ToolFinished,
    UserMessage,
    plan_text,
)
from laguna_agent.models.conversation import Conversation, Message
from laguna_agent.plurals import counted
from laguna_agent.trajectory.codec import StoredEvent
from laguna_agent.trajectory.replay import ConversationState

OVERHEAD = 16
"""Tokens that a chat format spends on opening and closing one message, rounded up."""

_TRIES = 4
_WHOLE_STEPS = 3
"""Last steps whose results stay whole."""
_LONG, _SHORT = 1_200, 800
"""Characters of a result that is shortened in older steps, and what stays of it."""

FirstMessage = Callable[[str, list[str], str], str]
"""Makes the text of the epoch's first message from summary, user messages and plan."""
Render = Callable[[Event], Message]
"""Makes the message that the model reads of a user message, a note or a tool result."""
Count = Callable[[str], Awaitable[int]]
"""Counts the tokens of a text."""


@dataclass(frozen=True)
class Epoch:
    """The new epoch's prompt after the static prefix."""

    first_message: str
    entries: list[Message | Reply] = field(default_factory=list)
    """The steps that are kept whole, in order: messages and replies to append."""
    kept_from_seq: int = 0
    dropped: list[str] = field(default_factory=list)
    """What is no longer in the prompt, in words for people."""


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


async def build_epoch(
    state: ConversationState,
    summary: str,
    *,
    first_message: FirstMessage,
    count: Count,
    limit: int,
    reserve: int,
    render: Render = message_of,
    halve: int | None = None,
) -> Epoch:
    """Decide what of `state` is kept: always the summary, the plan and the user's messages; of the
    last steps as many as fit in half of the context that is left, but for the last three with the
    middle of long results left out.

    User messages stay whole as long as the first message takes at most half of it; `user_messages`
    says what happens then, and `dropped` names it. When not even the last step fits, its results
    are cut in the middle: without them its calls would only be made again. `reserve` tokens stay
    free for the next summary. With `halve`, the tokens in use, steps are kept as if the context
    was no larger than that.
    """
    prefix = await _prefix(state, count)
    room = limit - prefix - reserve
    steps_room = room if halve is None else min(room, halve - prefix)
    steps, plan = _steps(state), plan_text(state.plan)
    # A conversation without tokens is entered again from its events, whole.
    exact = state.system is not None and state.system.token_ids is not None

    def text_for(messages: FittedMessages, before: int) -> str:
        return first_message(summary, messages.before(before), plan)

    end = state.last_seq + 1
    messages, used = await _fit_messages(
        state, lambda messages: text_for(messages, end), count, room // 2
    )
    kept = len(steps)
    cut: dict[int, Message] = {}
    while kept > 0 and steps[kept - 1][0].seq not in messages.cut:
        # A user message in the kept steps is in its place there, not in the first message.
        older = exact and len(steps) - kept >= _WHOLE_STEPS
        short = _shortened(steps[kept - 1], render) if older else {}
        size = await _size(steps[kept - 1], count, render, short)
        last = kept == len(steps)
        if used + size > steps_room // 2 and not (last and used + size <= steps_room * 3 // 4):
            break
        used, kept = used + size, kept - 1
        cut |= short
    dropped: list[str] = []
    if cut:
        dropped.append("the middle of " + counted(len(cut), "older tool result"))
    if kept == len(steps) and steps and isinstance(steps[-1][0].event, Reply):
        cut = await _cut(steps[-1], steps_room * 3 // 4 - used, count, render)
        if cut:
            kept -= 1
            dropped.append(
                "the middle of "
                + ("a tool result" if len(cut) == 1 else f"{len(cut)} tool results")
                + " that did not fit"
            )
    kept_from = steps[kept][0].seq if kept < len(steps) else end
    entries: list[Message | Reply] = [
        item.event
        if isinstance(item.event, Reply)
        else cut.get(id(item.event)) or render(item.event)
        for step in steps[kept:]
        for item in step
    ]
    dropped += [*messages.dropped, *_dropped(steps[:kept])]
    return Epoch(text_for(messages, kept_from), entries, kept_from, dropped)


async def enter_epoch(conversation: Conversation, epoch: Epoch) -> list[int] | None:
    """Append an epoch to a conversation that holds only its static prefix.

    Returns the tokens of a local conversation after the prefix, up to the end of the last reply.
    """
    start = len(conversation.tokens or ())
    first = Message(role="user", content=epoch.first_message)
    closed = await _append_all(conversation, [first, *epoch.entries])
    tokens = conversation.tokens
    if tokens is None:
        return None
    replies = [entry for entry in epoch.entries if isinstance(entry, Reply)]
    if not replies:
        return []
    if replies[-1].token_ids is None:
        return None
    # The tokens that close a reply that was cut follow it, and are not part of it.
    last = tuple(replies[-1].token_ids)
    for end in range(closed, start + len(last) - 1, -1):
        if tokens[end - len(last) : end] == last:
            return list(tokens[start:end])
    return None


async def reenter(
    conversation: Conversation, state: ConversationState, *, render: Render = message_of
) -> list[Message]:
    """Bring a conversation that was just started to the last reply of `state`: its tokens.

    Returns the messages after that reply, which are not in the prompt yet: they need room first.
    Record the results of `state.missing_results` before, so that every call has one.
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


async def _append_all(conversation: Conversation, entries: Sequence[Message | Reply]) -> int:
    """Append in order; returns where the last reply ended, with the tokens that close it."""
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


async def _prefix(state: ConversationState, count: Count) -> int:
    """Tokens of the static prefix. Where they were an estimate, they are counted again."""
    if state.system is None:
        return 0
    tokens = state.system.tokens
    if state.system.token_ids is None:
        declared = json.dumps(state.system.tools, ensure_ascii=False)
        tokens = max(tokens, await count(state.system.text) + await count(declared))
    return tokens


async def _fit_messages(
    state: ConversationState, text_for: Callable[[FittedMessages], str], count: Count, most: int
) -> tuple[FittedMessages, int]:
    """The user's messages, so that the first message takes at most `most` tokens if it can; and
    the tokens it takes."""
    messages = state.user_messages
    sizes = await sizes_of(messages, count)
    bare = await count(text_for(FittedMessages({}))) + OVERHEAD
    share = most - bare
    fitted = fit_messages(messages, sizes, share)
    used = await count(text_for(fitted)) + OVERHEAD
    for _ in range(_TRIES):
        if used <= most:
            break
        # Cut by characters, it came out longer than estimated.
        share -= used - most + max(0, share) // 50
        fitted = fit_messages(messages, sizes, share)
        used = await count(text_for(fitted)) + OVERHEAD
    return fitted, used


def _steps(state: ConversationState) -> list[list[StoredEvent]]:
    """This epoch's history in pieces that stay whole: a reply with its results, a user message."""
    steps: list[list[StoredEvent]] = []
    for item in state.history:
        if isinstance(item.event, Compacted):
            continue  # its first message is made anew
        if isinstance(item.event, Reply | UserMessage) or not steps:
            steps.append([item])
        else:
            steps[-1].append(item)
    return steps


def _shortened(step: Sequence[StoredEvent], render: Render) -> dict[int, Message]:
    """Long results of a step without their middle, by the identity of their events. They can be
    recalled, and are told in the summary; whole, they would take the place of other steps."""
    short: dict[int, Message] = {}
    for item in step:
        if isinstance(item.event, ToolFinished):
            message = render(item.event)
            if len(message.content) > _LONG:
                text = elide_middle(message.content, _SHORT // 2, item.seq)
                short[id(item.event)] = message.model_copy(update={"content": text})
    return short


async def _size(
    step: Sequence[StoredEvent],
    count: Count,
    render: Render,
    short: Mapping[int, Message] | None = None,
) -> int:
    total = 0
    for item in step:
        if isinstance(item.event, UserMessage):
            # Its text is counted with the first message, from which it moves here.
            total += await count(item.event.context) if item.event.context else 0
            continue
        if isinstance(item.event, Reply):
            ids = item.event.token_ids
            raw = item.event.text + "".join(call.raw for call in item.event.tool_calls)
            total += OVERHEAD + (len(ids) if ids is not None else await count(raw))
        else:
            message = (short or {}).get(id(item.event)) or render(item.event)
            total += OVERHEAD + await count(message.content)
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
            text = elide_middle(message.content, half, item.seq)
            message = message.model_copy(update={"content": text})
            cut[id(item.event)] = message
            size = await count(message.content)
        left -= size + OVERHEAD
    return cut if left >= 0 else {}


def _dropped(steps: Sequence[Sequence[StoredEvent]]) -> list[str]:
    replies = results = notes = characters = context = 0
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
                    context += len(item.event.context)
                case _:
                    pass
    lines = []
    if replies:
        lines.append(counted(replies, "reply of the model", "replies of the model"))
    if results:
        shown = counted(results, "tool result")
        lines.append(f"{shown} ({characters:,} characters)")
    if notes:
        lines.append(counted(notes, "note of laguna", "notes of laguna"))
    if context:
        lines.append(f"files and output attached to the task ({context:,} characters)")
    return lines
