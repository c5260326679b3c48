"""Generates one reply, and generates it again, at a higher temperature, when it only repeats.

A reply whose calls were all made before, with nothing changed since, is discarded: it never becomes
part of the prompt, since a repetition in the context makes the next one likelier. One that begins
to write a file that has just been written is ended there. A reply that was cut because the context
was nearly full is discarded too, and generated again in a new epoch; so is one whose prompt a
server finds too long.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Any

from laguna_agent.agent.candidates import unchanged_file
from laguna_agent.agent.context.compaction import reply_room
from laguna_agent.agent.context.context_window import ContextWindow
from laguna_agent.agent.data_task import run_command
from laguna_agent.agent.possible_calls import possible_calls
from laguna_agent.agent.services import Services
from laguna_agent.agent.turn import Turn
from laguna_agent.errors import ContextFullError, ModelError
from laguna_agent.events import (
    ModelEvent,
    PrefillProgress,
    Reply,
    TextDelta,
    ThinkingDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from laguna_agent.models.conversation import GenerateOptions, Sampling
from laguna_agent.tools.code.index import index_source
from laguna_agent.tools.code.languages import language_of

RESAMPLES = 3
_WARMER = 0.35
_DRAWS = 2
"""Times that replies are written side by side before they count as no longer different: of four
replies, four copies of the mistake are no rarity."""


async def generate(services: Services, window: ContextWindow, turn: Turn) -> Reply | None:
    """The model's next reply, or None when it has nothing new to say. Raises LagunaError."""
    conversation = services.conversation
    if command := turn.take_command():
        return await _adopt(services, turn, run_command(command))
    if turn.faulty is not None and services.pack.manifest.check_after_change:
        path, turn.faulty = turn.faulty, None
        written, usage = await turn.candidates.without_faults(path, _counting(services, turn))
        turn.unfinished, turn.usage = Usage(), turn.usage.plus(usage)
        if written is not None:
            return await _adopt(services, turn, written)
    if turn.kind == "fix":
        usage = await turn.candidates.find_repairs(turn.task, _counting(services, turn))
        turn.unfinished, turn.usage = Usage(), turn.usage.plus(usage)
    data, turn.data = turn.data, None
    if data is not None:
        counting = _counting(services, turn)
        written, usage = await turn.candidates.script(data, turn.task, counting)
        turn.unfinished, turn.usage = Usage(), turn.usage.plus(usage)
        if written is not None:
            turn.target = data.target
            return await _adopt(services, turn, written)
    written = turn.candidates.next()
    due = written is None and turn.candidates.are_due()
    if due and (turn.candidates.stub is not None or _has_room(services, window, turn)):
        written = await _write_side_by_side(services, window, turn)
        if written is None and turn.candidates.are_due():
            return None
    if written is not None:
        return await _adopt(services, turn, written)
    options = make_options(services, window, turn)
    mark, compacted, repeats = conversation.mark(), False, 0
    while repeats <= RESAMPLES:
        cut = False
        try:
            reply = await _generate_once(services, turn, options, may_be_cut=not compacted)
            if not reply.discarded:
                turn.candidates.note(reply)
                return reply
            cut = not compacted and _cut_by_full_context(services, turn, reply, options)
        except ContextFullError:
            # A server counts by itself, and the estimate was too low.
            if compacted:
                raise
            cut = True
        conversation.rewind(mark)
        if cut:
            await window.make_room()
            options = make_options(services, window, turn)
            mark, compacted = conversation.mark(), True
            continue
        if turn.kind == "fix":
            copied = unchanged_file(services, reply) if not repeats else None
            if elsewhere := _named_elsewhere(turn, reply, copied):
                options.files = {**options.files, "write": elsewhere}
                repeats += 1
                continue
            counting = _counting(services, turn)
            written, usage = await turn.candidates.instead_of(reply, counting)
            turn.unfinished, turn.usage = Usage(), turn.usage.plus(usage)
            if written is not None:
                return await _adopt(services, turn, written)
        repeats += 1
        options.sampling = _warmer(options.sampling)
        _offer_others(services, turn, options, reply, always=repeats > 1)
    return None


async def _adopt(services: Services, turn: Turn, reply: Reply) -> Reply:
    """Make a reply that was written before part of the prompt and of the record."""
    await services.conversation.append_reply(reply)
    turn.record(reply)
    return reply


async def _write_side_by_side(
    services: Services, window: ContextWindow, turn: Turn
) -> Reply | None:
    """Write several replies; returns the first one to try, or None when all only repeat, twice."""
    candidates, counting = turn.candidates, _counting(services, turn)
    for _ in range(_DRAWS):
        stub = candidates.stub
        if stub is not None:
            discarded = await candidates.complete(counting)
        else:
            discarded = await candidates.draw(make_options(services, window, turn), counting)
        turn.unfinished = Usage()
        turn.record(*discarded)
        written = candidates.next()
        if written is not None or stub is not None:
            return written
        if turn.retries.exhausted or not candidates.are_due():
            break
    return None


def _counting(services: Services, turn: Turn) -> Callable[[ModelEvent], None]:
    """Shows events of what is written, and counts it in case that it ends early."""

    def show(event: ModelEvent) -> None:
        turn.unfinished = _plus(turn.unfinished, event)
        services.emit(event)

    return show


def _has_room(services: Services, window: ContextWindow, turn: Turn) -> bool:
    """Whether the context has room for the longest reply that may be needed."""
    longest = _reply_tokens(services, turn)
    return make_options(services, window, turn).max_tokens >= longest


def _offer_others(
    services: Services, turn: Turn, options: GenerateOptions, reply: Reply, *, always: bool
) -> None:
    """Hold the reply in the place of one that was discarded to something else: to other files, or
    to other tools."""
    if reply.finish_reason == "repeats":
        options.end_repeats = False  # it may be meant: a board of zeros
        return
    follows = unchanged_file(services, reply) in turn.to_follow
    if (turn.is_unasked(reply.tool_calls) or (follows and always)) and turn.may_end:
        options.allowed = ["done"]
    elif follows:
        return
    elif reply.finish_reason == "cancelled" and turn.ends_with_writing:
        left = _left(turn, options)  # it began to write a file again
        options.files = {**options.files, "write": left}
        options.allowed = ["write", "done"] if left else ["done"]
    elif not turn.changed and (files := _other_files(services, options, reply)):
        options.files = {**options.files, "write": files}
    elif always or services.pack.manifest.call_required:
        options.allowed = _others(services, options, reply)


def _others(services: Services, options: GenerateOptions, reply: Reply) -> Sequence[str] | None:
    """The tools for a reply in the place of one that repeats: others than it called, if any."""
    called = {call.name for call in reply.tool_calls}
    now = list(services.tools) if options.allowed is None else options.allowed
    return [name for name in now if name not in called] or options.allowed


def _left(turn: Turn, options: GenerateOptions) -> dict[str, str]:
    """The files that the task names and that are as they were, or not there."""
    missing, unchanged = turn.named_files()
    free = options.files.get("edit", {})
    return {p: free[p] for p in unchanged if p in free} | dict.fromkeys(missing, "")


def _other_files(
    services: Services, options: GenerateOptions, reply: Reply
) -> dict[str, str] | None:
    """The files for a reply in the place of one that writes a file as it is, if any."""
    path = unchanged_file(services, reply)
    known = options.files.get("write") or options.files.get("edit", {})
    return {name: text for name, text in known.items() if name != path} if path else None


def _named_elsewhere(turn: Turn, reply: Reply, copied: str | None) -> dict[str, str]:
    """Other files that the model has seen and that define what a reply says is wrong, where it
    copied a file that does not."""
    words = set(re.findall(r"`(\w+)(?:\(\))?`", reply.text)) if copied else set()
    found = {}
    for file in turn.retries.free_files() if words else ():
        language = language_of(file.path)
        index = index_source(language, file.text.encode()) if language else None
        if index is not None and words & {one.name for one in index.definitions}:
            found[file.path] = file.plain
    return {} if copied in found else found


async def _generate_once(
    services: Services, turn: Turn, options: GenerateOptions, *, may_be_cut: bool
) -> Reply:
    """Generate a reply, marked as discarded when it must not stay in the prompt.

    When it is cancelled, what was written of it stays in the prompt and on record.
    """
    try:
        return await _stream_reply(services, turn, options, may_be_cut=may_be_cut)
    except asyncio.CancelledError:
        written = await services.conversation.keep_unfinished()
        if written is not None:
            written.usage, turn.unfinished = turn.unfinished, Usage()
            turn.usage = turn.usage.plus(written.usage)
            services.emit(written)
        raise


async def _stream_reply(
    services: Services, turn: Turn, options: GenerateOptions, *, may_be_cut: bool
) -> Reply:
    unfinished = Usage()
    begun: ToolCall | None = None
    async with aclosing(services.conversation.generate(options)) as events:
        async for event in events:
            if not isinstance(event, Reply):
                turn.unfinished = unfinished = _plus(unfinished, event)
                services.emit(event)
                if isinstance(event, ToolCallDelta):
                    begun = _begun(begun, event)
                if begun is None or not _writes_again(services, turn, begun):
                    continue
                turn.unfinished = Usage()
                turn.usage = turn.usage.plus(unfinished)
                reply = Reply(tool_calls=[begun], finish_reason="cancelled", discarded=True)
                reply.usage, reply.seed = unfinished, options.sampling.seed
                reply.temperature = options.sampling.temperature
                services.emit(reply)
                return reply
            turn.unfinished = Usage()
            event.seed = options.sampling.seed
            event.temperature = options.sampling.temperature
            event.discarded = (
                (may_be_cut and _cut_by_full_context(services, turn, event, options))
                or turn.loop_detector.is_repeat(event.tool_calls)
                or turn.retries.is_repeat(event.tool_calls)
                or unchanged_file(services, event) is not None
                or event.finish_reason == "repeats"
                or turn.is_unasked(event.tool_calls)
            )
            turn.usage = turn.usage.plus(event.usage)
            services.emit(event)
            return event
    raise ModelError("the model gave no reply")


def _plus(usage: Usage, event: ModelEvent) -> Usage:
    """What a reply took so far, after one more of its events. Each delta is at least one token."""
    if isinstance(event, PrefillProgress):
        prompt = event.reused + event.total
        more = {"prompt_tokens": prompt, "reused_tokens": event.reused}
        return usage.model_copy(update={**more, "prefilled_tokens": event.done})
    if isinstance(event, ThinkingDelta | TextDelta | ToolCallDelta):
        # A call comes by the line.
        tokens = max(1, len(event.text) // 3) if isinstance(event, ToolCallDelta) else 1
        return usage.model_copy(update={"completion_tokens": usage.completion_tokens + tokens})
    return usage


def _writes_again(services: Services, turn: Turn, begun: ToolCall) -> bool:
    """Whether a small model begins to write what it has just written. It need not end."""
    small = services.pack.manifest.check_after_change
    return small and turn.loop_detector.writes_again(begun.name, begun.raw)


def _begun(call: ToolCall | None, delta: ToolCallDelta) -> ToolCall:
    """A call that is being written, with what came of it so far."""
    if call is None or call.id != delta.id:
        return ToolCall(id=delta.id, name=delta.name or "", arguments={}, raw=delta.text)
    return call.model_copy(
        update={"name": call.name or delta.name or "", "raw": call.raw + delta.text}
    )


def make_options(services: Services, window: ContextWindow, turn: Turn) -> GenerateOptions:
    """The options of the next reply."""
    manifest, conversation = services.pack.manifest, services.conversation
    allowed, files = possible_calls(
        services,
        turn.retries,
        kind=turn.kind,
        may_end=turn.may_end,
        only=turn.only,
        refused=turn.refused,
        answer_file=turn.answer_file,
    )
    room = reply_room(conversation.used, conversation.limit, window.reserve)
    return GenerateOptions(
        sampling=turn.retries.sampling(),
        max_tokens=max(1, min(_reply_tokens(services, turn), room)),
        thinking=services.thinking,
        thinking_budget=services.pack.thinking_budget,
        tool_choice="required" if manifest.call_required else "auto",
        allowed=allowed,
        parameters=_narrow_schemas(services),
        files=files,
        brief=turn.kind != "fix",
        end_repeats=manifest.check_after_change,
        logprobs=services.logprobs,
    )


def _narrow_schemas(services: Services) -> dict[str, dict[str, Any]]:
    """The schemas by which the grammar holds the calls of tools that the model has read about."""
    if services.mcp is None:
        return {}
    from laguna_agent.tools.mcp.tool import DESCRIBED, McpTool, call_schema

    described = services.tool_context.state.get(DESCRIBED)
    return {McpTool.name: call_schema(described)} if described else {}


def _reply_tokens(services: Services, turn: Turn) -> int:
    """The longest reply that may be needed."""
    longest = turn.retries.longest_reply()
    return min(services.limits.reply_tokens, longest or services.limits.reply_tokens)


def _cut_by_full_context(
    services: Services, turn: Turn, reply: Reply, options: GenerateOptions
) -> bool:
    """Whether a reply ended early because the context is nearly full."""
    if reply.finish_reason == "context_full":
        return True
    return reply.finish_reason == "length" and options.max_tokens < _reply_tokens(services, turn)


def _warmer(sampling: Sampling) -> Sampling:
    temperature = min(1.2, max(sampling.temperature, 0.2) + _WARMER)
    return sampling.model_copy(
        update={"temperature": temperature, "top_p": 0.95, "top_k": 40, "seed": sampling.seed + 1}
    )
