"""Compaction: when the context nears its end, summarise and go on in a new epoch.

How the loop uses it, before it appends what `state.pending` holds:

    reserve = summary_reserve(conversation.limit)
    if needs_compaction(conversation.used + tokens_of_pending, conversation.limit, reserve):
        async for event in compact(conversation, state, ...):   # record and show each
            ...

The request to summarise is appended to the running conversation, so nothing is processed again.
The new epoch is the static prefix, one opening message (the summary, every user message as it
was written, the plan) and the last steps, whole, with the tokens they had. Replies must leave
`reserve` free (`reply_room`), so that there is always room to summarise.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from laguna_agent.errors import ContextFullError, LagunaError
from laguna_agent.events import (
    Compacted,
    Event,
    Notice,
    PlanStep,
    Reply,
    SystemNote,
    ToolFinished,
    UserMessage,
)
from laguna_agent.memory.extract import attribute, extract
from laguna_agent.memory.structure import Summary, parse_summary, summary_grammar
from laguna_agent.models.base import Conversation, GenerateOptions, Message, Sampling
from laguna_agent.trajectory.codec import StoredEvent
from laguna_agent.trajectory.replay import COMPACTION, ConversationState

_OVERHEAD = 12
"""Tokens that a chat format spends on opening and closing one message, rounded up."""

Opening = Callable[[str, list[str], str], str]
"""Makes the text of the epoch's first message of summary, user messages and plan."""
Render = Callable[[Event], Message]
"""Makes the message that the model reads of a user message, a note or a tool result."""


@dataclass(frozen=True)
class Epoch:
    """What the new epoch's prompt is made of, after the static prefix."""

    opening: str
    entries: list[Message | Reply] = field(default_factory=list)
    """The steps that were kept whole, in order: messages to append and replies to append."""
    kept_from_seq: int = 0
    dropped: list[str] = field(default_factory=list)
    """What is no longer in the prompt, in words for a person."""


def summary_tokens(limit: int) -> int:
    """Tokens a summary may take in a context of `limit` tokens."""
    return max(96, min(1_200, limit // 8))


def summary_reserve(limit: int, request: int = 320) -> int:
    """Tokens that must stay free for the request (`request` tokens) and the summary."""
    return summary_tokens(limit) + request + 2 * _OVERHEAD


def needs_compaction(used: int, limit: int, reserve: int) -> bool:
    """True when `used` tokens in the prompt leave less than `reserve` and room for a reply.

    When it is still true right after `compact`, the context is too small for the task.
    """
    return used + reserve + max(64, min(2_048, limit // 10)) > limit


def reply_room(used: int, limit: int, reserve: int) -> int:
    """Tokens that the next reply may take at most so that a summary still fits after it."""
    return max(0, limit - used - reserve)


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


async def compact(
    conversation: Conversation,
    state: ConversationState,
    *,
    prefix_mark: int,
    request: str,
    opening: Opening,
    evidence: Iterable[StoredEvent],
    guidance: str = "",
    sampling: Sampling | None = None,
    render: Render = message_of,
    pending_appended: bool = False,
) -> AsyncIterator[Event]:
    """Summarise, begin a new epoch in `conversation`, and yield what happens, Compacted last.

    `prefix_mark` is `conversation.mark()` as it was after `start`. `request` is the text that
    asks for the summary (the pack's `compact.md`). `evidence` are the events of this epoch, in
    which claims are located. Unless `pending_appended`, what `state.pending` holds is not yet in
    the prompt: it is added before the request if it fits, and to the new epoch in any case.

    The request (a SystemNote) and the reply are yielded too; record them before Compacted, and
    give Compacted to `state.take` when it is recorded. When the model cannot summarise (no room,
    an engine error), the summary is made from the events alone, and a Notice says so.
    """
    # What is yielded below is recorded and taken by the caller meanwhile; the epoch that ends
    # here ends before it.
    state = replace(state, history=list(state.history), user_messages=list(state.user_messages))
    found = extract(evidence)
    summary, note = Summary(), ""
    before, mark, asked = conversation.used, conversation.mark(), False
    try:
        if not pending_appended:
            await _append_pending(conversation, state, request, render)
        before, mark = conversation.used, conversation.mark()
        async for event in _ask(conversation, request, sampling):
            yield event
            if isinstance(event, Reply):
                asked = True
                summary = parse_summary(event.text)
                if summary.empty:
                    note = "the model's summary was empty"
    except ContextFullError:
        note = "there was no room left for the model to summarise"
    except LagunaError as error:
        note = f"the model could not summarise ({error.message})"
    finally:
        if not asked:  # cancelled, or failed: the request is not part of the conversation
            conversation.rewind(mark)
    if note:
        yield Notice(level="warning", text=f"Compaction: {note}; summarised from the record alone.")
    summary = attribute(summary, found.evidence).filled_from(found.summary)
    text = summary.render()
    epoch = await build_epoch(
        state,
        text,
        opening=opening,
        render=render,
        count=conversation.count,
        limit=conversation.limit,
    )
    conversation.rewind(prefix_mark)
    token_ids = await enter_epoch(conversation, epoch)
    yield Compacted(
        summary=text,
        first_seq=state.first_seq,
        last_seq=state.last_seq,
        kept_from_seq=epoch.kept_from_seq,
        tokens_before=before,
        tokens_after=conversation.used,
        dropped=epoch.dropped,
        guidance=guidance,
        opening=epoch.opening,
        token_ids=token_ids,
    )


async def build_epoch(
    state: ConversationState,
    summary: str,
    *,
    opening: Opening,
    count: Callable[[str], Awaitable[int]],
    limit: int,
    render: Render = message_of,
) -> Epoch:
    """Decide what of `state` goes on: always the summary, all user messages and the plan; of the
    last steps as many whole ones as fit in half of the context that is left.

    User messages stay whole as long as they fit at all; when they alone would fill the context,
    the middle of the longest is left out, and `dropped` says so.
    """
    prefix = state.system.tokens if state.system else 0
    room = limit - prefix - summary_reserve(limit)
    steps, plan = _steps(state), plan_text(state.plan)
    dropped: list[str] = []

    def text_for(said: Sequence[StoredEvent]) -> tuple[str, list[str]]:
        messages = [_spoken(item) for item in said]
        return opening(summary, messages, plan), messages

    text, _ = text_for(state.user_messages)
    used = await count(text) + _OVERHEAD
    kept = len(steps)
    while kept > 0:
        # A user message in the kept steps is in its place there, and no longer in the opening.
        size = await _size(steps[kept - 1], count, render)
        if used + size > room // 2 and not (kept == len(steps) and used + size <= room * 3 // 4):
            break
        used, kept = used + size, kept - 1
    kept_from = steps[kept][0].seq if kept < len(steps) else state.last_seq + 1
    said = [item for item in state.user_messages if item.seq < kept_from]
    text, messages = text_for(said)
    tail = used - await count(text_for(state.user_messages)[0]) - _OVERHEAD
    while await count(text) + _OVERHEAD + tail > room:
        shorter = _shorten(messages, said)
        if shorter is None:
            break
        dropped.append(shorter)
        text = opening(summary, messages, plan)
    entries: list[Message | Reply] = [
        item.event if isinstance(item.event, Reply) else render(item.event)
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
) -> None:
    """Bring a conversation that was just started to `state`: tokens first, then what is pending.

    Record and `take` the results of `state.interrupted` before, so that every call has one.
    """
    if state.token_ids:
        await conversation.restore(state.token_ids)
    await _append_all(
        conversation,
        [
            item.event if isinstance(item.event, Reply) else render(item.event)
            for item in state.pending
        ],
    )


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


async def _append_pending(
    conversation: Conversation, state: ConversationState, request: str, render: Render
) -> None:
    messages = [render(item.event) for item in state.pending if not isinstance(item.event, Reply)]
    size = await conversation.count(request) + summary_tokens(conversation.limit) + 2 * _OVERHEAD
    for message in messages:
        size += await conversation.count(message.content) + _OVERHEAD
    if messages and conversation.used + size <= conversation.limit:
        await conversation.append(messages)


async def _ask(
    conversation: Conversation, request: str, sampling: Sampling | None
) -> AsyncIterator[Event]:
    note = SystemNote(text=request, reason=COMPACTION)
    size = await conversation.count(request) + summary_tokens(conversation.limit) + 2 * _OVERHEAD
    if conversation.used + size > conversation.limit:
        raise ContextFullError(conversation.used, size, conversation.limit)
    await conversation.append([Message(role="user", content=request)])
    yield note
    options = GenerateOptions(
        sampling=sampling or Sampling(temperature=0.0),
        max_tokens=summary_tokens(conversation.limit),
        tool_choice="none",
        grammar=summary_grammar(),
    )
    async for event in conversation.generate(options):
        yield event


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


async def _size(
    step: Sequence[StoredEvent], count: Callable[[str], Awaitable[int]], render: Render
) -> int:
    total = 0
    for item in step:
        if isinstance(item.event, UserMessage):
            # Its text is counted with the opening, from which it moves here.
            total += await count(item.event.context) if item.event.context else 0
            continue
        if isinstance(item.event, Reply):
            ids = item.event.token_ids
            raw = item.event.text + "".join(call.raw for call in item.event.tool_calls)
            total += _OVERHEAD + (len(ids) if ids is not None else await count(raw))
        else:
            total += _OVERHEAD + await count(render(item.event).content)
    return total


def _spoken(item: StoredEvent) -> str:
    assert isinstance(item.event, UserMessage)
    return item.event.text


def _shorten(messages: list[str], said: Sequence[StoredEvent]) -> str | None:
    """Take the middle half out of the longest message; says what was left out, None if all are
    short already."""
    place = max(range(len(messages)), key=lambda n: len(messages[n]), default=-1)
    if place < 0 or len(messages[place]) < 400:
        return None
    text, seq = messages[place], said[place].seq
    quarter = len(text) // 4
    gap = f"\n[… {len(text) - 2 * quarter} characters left out; recall e{seq} has them]\n"
    messages[place] = text[:quarter] + gap + text[-quarter:]
    return f"the middle of a long user message (e{seq})"


def _dropped(steps: Sequence[Sequence[StoredEvent]]) -> list[str]:
    replies = results = notes = characters = 0
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
                case _:
                    pass
    lines = []
    if replies:
        lines.append(f"{replies} replies of the model")
    if results:
        lines.append(f"{results} tool results ({characters} characters)")
    if notes:
        lines.append(f"{notes} notes of laguna")
    return lines
