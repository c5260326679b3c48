"""Compaction: when the context is nearly full, summarise and continue in a new epoch.

`ContextWindow` compacts before it appends anything that would leave no room for a summary. The
request to summarise is appended to the running conversation, so nothing is processed again;
replies must leave a reserve free (`reply_room`), so that there is always room for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import aclosing
from dataclasses import replace

from laguna_agent.agent.context.epoch import (
    OVERHEAD,
    Count,
    FirstMessage,
    Render,
    build_epoch,
    enter_epoch,
    message_of,
)
from laguna_agent.errors import ContextFullError, LagunaError
from laguna_agent.events import Compacted, Event, Notice, Reply, SystemNote
from laguna_agent.memory.extract import extract
from laguna_agent.memory.grounding import drop_claim, facts, ground
from laguna_agent.memory.summary_format import Summary, parse_summary, summary_grammar
from laguna_agent.models.conversation import Conversation, GenerateOptions, Message, Sampling
from laguna_agent.trajectory.codec import StoredEvent
from laguna_agent.trajectory.replay import COMPACTION, ConversationState


def summary_tokens(limit: int) -> int:
    """Tokens a summary may take in a context of `limit` tokens."""
    return max(96, min(1_200, limit // 8))


def summary_reserve(limit: int, request: int = 320) -> int:
    """Tokens that must stay free for the request (`request` tokens) and the summary."""
    return summary_tokens(limit) + request + 2 * OVERHEAD


def needs_compaction(used: int, limit: int, reserve: int) -> bool:
    """True when `used` tokens in the prompt leave less than `reserve` and room for a reply.

    When it is still true right after `compact`, the context is too small for the task.
    """
    return used + reserve + max(64, min(2_048, limit // 10)) > limit


def reply_room(used: int, limit: int, reserve: int) -> int:
    """Tokens that the next reply may take at most so that a summary still fits after it."""
    return max(0, limit - used - reserve)


async def compact(
    conversation: Conversation,
    state: ConversationState,
    *,
    emit: Callable[[Event], None],
    prefix_mark: int,
    request: Callable[[str], str],
    first_message: FirstMessage,
    evidence: Iterable[StoredEvent],
    reserve: int,
    pending: list[Message],
    guidance: str = "",
    logprobs: bool = False,
    render: Render = message_of,
    halve: bool = False,
) -> Compacted:
    """Summarise and start a new epoch in `conversation`; emits what happens and returns the
    Compacted event, emitted last.

    `emit` must record events in `state`. `prefix_mark` is `conversation.mark()` as it was after
    `start`. `request` makes the message that asks for the summary (the pack's `compact.md`) from
    what the record knows for sure, which is empty when there is no room for it. `evidence` are the
    events of this epoch, in which claims are located. `pending` are the messages that are on
    record and not yet in the prompt: they are appended before the request if they fit, are part of
    the new epoch in any case, and are removed from the list once they are in a prompt. `halve`:
    free half of what is in use, if it can be, and not only half of the context.

    When the model cannot summarise (no room, an engine error), the summary is made from the events
    alone, and a Notice says so. Cancelling leaves the conversation as it was.
    """
    # The epoch that ends here ends before the request and the summary, which are recorded too.
    state = replace(state, history=list(state.history), user_messages=list(state.user_messages))
    found = extract(evidence)
    before = conversation.used + await _size_of(conversation, pending)
    if state.epoch == 0 and state.replies == 0:
        summary, note = Summary(), "nothing was done yet"
    else:
        options = _options(conversation, logprobs=logprobs)
        known = facts(found)
        summary, note = await _summarise(conversation, pending, request, known, options, emit)
    if note:
        text = f"Compaction: {note}; summarised from the record alone."
        emit(Notice(level="warning", text=text))
    summary = ground(summary, found, _last_summary(state))
    text = await _fitted(summary, conversation.count, summary_tokens(conversation.limit) * 5 // 4)
    epoch = await build_epoch(
        state,
        text,
        first_message=first_message,
        render=render,
        count=conversation.count,
        limit=conversation.limit,
        reserve=reserve,
        halve=before if halve else None,
    )
    conversation.rewind(prefix_mark)
    pending.clear()
    token_ids = await enter_epoch(conversation, epoch)
    compacted = Compacted(
        summary=text,
        first_seq=state.first_seq,
        last_seq=state.last_seq,
        kept_from_seq=epoch.kept_from_seq,
        tokens_before=before,
        tokens_after=conversation.used,
        dropped=epoch.dropped,
        guidance=guidance,
        opening=epoch.first_message,
        token_ids=token_ids,
    )
    emit(compacted)
    return compacted


# --- inside ---------------------------------------------------------------------------------


async def _summarise(
    conversation: Conversation,
    pending: list[Message],
    request: Callable[[str], str],
    known: str,
    options: GenerateOptions,
    emit: Callable[[Event], None],
) -> tuple[Summary, str]:
    """The model's summary, or an empty one and why there is none.

    The request and the reply are emitted and stay in the conversation; without a reply it is as
    it was. `pending` is empty once it is in the prompt of the reply.
    """
    summary, note = Summary(), ""
    mark, replied = conversation.mark(), False
    try:
        text = await _append_request(conversation, pending, request, known)
        emit(SystemNote(text=text, reason=COMPACTION))
        async with aclosing(conversation.generate(options)) as events:
            async for event in events:
                emit(event)
                if isinstance(event, Reply):
                    replied = True
                    pending.clear()
                    summary = parse_summary(event.text)
        if summary.empty:
            note = "the model's summary was empty"
    except ContextFullError:
        note = "there was no room left for the model to summarise"
    except LagunaError as error:
        note = f"the model could not summarise ({error.message})"
    finally:
        if not replied:  # cancelled or failed: the request does not stay in the conversation
            conversation.rewind(mark)
    return summary, note


async def _size_of(conversation: Conversation, messages: list[Message]) -> int:
    """Tokens that messages would add."""
    if not messages:
        return 0
    mark, before = conversation.mark(), conversation.used
    await conversation.append(messages)
    size = conversation.used - before
    conversation.rewind(mark)
    return size


async def _append_request(
    conversation: Conversation,
    pending: list[Message],
    request: Callable[[str], str],
    known: str,
) -> str:
    """Append the request, after the pending messages and with what is known if both fit with the
    summary; returns its text. Raises ContextFullError when not even the request alone does.
    """
    mark, before = conversation.mark(), conversation.used
    room = summary_tokens(conversation.limit) + OVERHEAD
    needed = 0
    for first, text in (
        (pending, request(known)), (pending, request("")), ([], request(known)), ([], request("")),
    ):  # fmt: skip
        # Appending decodes nothing, so what does not fit is taken back without cost.
        await conversation.append([*first, Message(role="user", content=text)])
        needed = conversation.used - before + room
        if conversation.used + room <= conversation.limit:
            return text
        conversation.rewind(mark)
    raise ContextFullError(before, needed, conversation.limit)


def _last_summary(state: ConversationState) -> Summary | None:
    """The summary that the epoch started with."""
    first = state.history[0].event if state.history else None
    return parse_summary(first.summary) if isinstance(first, Compacted) else None


async def _fitted(summary: Summary, count: Count, tokens: int) -> str:
    """The text of a summary, without its least needed claims where it would be too long."""
    text = summary.render()
    while await count(text) > tokens and drop_claim(summary):
        text = summary.render()
    return text


def _options(conversation: Conversation, *, logprobs: bool) -> GenerateOptions:
    return GenerateOptions(
        sampling=Sampling(temperature=0.0),
        max_tokens=summary_tokens(conversation.limit),
        tool_choice="none",
        grammar=summary_grammar(tokens=summary_tokens(conversation.limit)),
        logprobs=logprobs,
    )
