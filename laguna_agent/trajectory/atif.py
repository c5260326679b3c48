"""Exports a session as ATIF 1.8, the Agent Trajectory Interchange Format, one JSON document.

Each reply of the model is a step with the exact token ids of its prompt and completion, so that
training and evaluation need not tokenise anything again. Rewound events are left out; discarded
replies are counted, not shown.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, TextIO

from laguna_agent import __version__
from laguna_agent.events import (
    CheckRan,
    Compacted,
    Reply,
    SystemNote,
    SystemPrompt,
    ToolFinished,
    TurnFinished,
    Usage,
    UserMessage,
)
from laguna_agent.trajectory.codec import StoredEvent
from laguna_agent.trajectory.replay import ConversationState, Source, active_events

SCHEMA = "ATIF-v1.8"


@dataclass
class _Totals:
    usage: Usage = field(default_factory=Usage)
    steps: int = 0
    discarded: int = 0
    status: str = ""


def write_atif(
    source: Source, out: TextIO, *, session: str, token_ids: bool = True, notes: str = ""
) -> None:
    """Write the document step by step, in memory that does not depend on the session's length."""
    state, totals = ConversationState(), _Totals()
    head: dict[str, Any] = {"schema_version": SCHEMA, "session_id": session}
    events = active_events(source, whole=True)
    first: list[StoredEvent] = []
    for stored in events:
        first.append(stored)
        if isinstance(stored.event, SystemPrompt | UserMessage | Reply):
            break
    for stored in first:
        state.apply(stored)
    head["trajectory_id"] = session
    head["agent"] = _agent(state)
    out.write(json.dumps(head)[:-1] + ', "steps": [')
    written = False
    for step in _steps(chain(first, events), state, totals, set(), token_ids=token_ids):
        totals.steps += 1
        out.write((",\n" if written else "\n") + json.dumps({"step_id": totals.steps, **step}))
        written = True
    if not written:  # the format requires at least one step
        totals.steps = 1
        out.write(json.dumps({"step_id": 1, "source": "system", "message": "(no events)"}))
    tail: dict[str, Any] = {
        "final_metrics": {
            "total_prompt_tokens": totals.usage.prompt_tokens,
            "total_completion_tokens": totals.usage.completion_tokens,
            "total_cached_tokens": totals.usage.reused_tokens,
            "total_steps": totals.steps,
            "extra": {
                "prefilled_tokens": totals.usage.prefilled_tokens,
                "discarded_replies": totals.discarded,
            },
        }
    }
    if notes:
        tail["notes"] = notes
    if totals.status:
        tail["extra"] = {"status": totals.status}
    out.write("\n], " + json.dumps(tail)[1:] + "\n")


def _agent(state: ConversationState) -> dict[str, Any]:
    agent: dict[str, Any] = {"name": "laguna", "version": __version__}
    if state.started is not None:
        started = state.started
        agent["version"] = started.versions.get("laguna", __version__)
        agent["model_name"] = str(started.model.get("name", "")) or None
        agent["extra"] = started.model_dump(
            include={"model", "sampling", "seed", "pack", "versions", "mode", "parent"}
        )
    if state.system is not None:
        agent["tool_definitions"] = [
            {"type": "function", "function": tool} for tool in state.system.tools
        ]
    return {name: value for name, value in agent.items() if value is not None}


def _steps(
    events: Iterator[StoredEvent],
    state: ConversationState,
    totals: _Totals,
    calls: set[str],
    *,
    token_ids: bool,
) -> Iterator[dict[str, Any]]:
    """The steps in order. A reply's step is held back until the results of its calls are in it."""
    held: dict[str, Any] | None = None
    for stored in events:
        event = stored.event
        if isinstance(event, ToolFinished) and held is not None:
            result = _result(event, calls)
            held.setdefault("observation", {"results": []})["results"].append(result)
            _follow(state, stored)
            continue
        step = _step(stored, state, totals, token_ids=token_ids)
        _follow(state, stored)
        if step is None:
            continue
        if held is not None:
            yield held
        held = step
        calls.clear()
        calls.update(call["tool_call_id"] for call in step.get("tool_calls", ()))
    if held is not None:
        yield held


def _follow(state: ConversationState, stored: StoredEvent) -> None:
    if stored.seq > state.last_seq:  # the first events were applied before, for `_agent`
        state.apply(stored)


def _step(
    stored: StoredEvent, state: ConversationState, totals: _Totals, *, token_ids: bool
) -> dict[str, Any] | None:
    event = stored.event
    step: dict[str, Any] = {"timestamp": stored.ts, "extra": {"seq": stored.seq}}
    extra = step["extra"]
    match event:
        case SystemPrompt():
            step |= {"source": "system", "message": event.text}
        case UserMessage():
            step |= {"source": "user", "message": event.text}
            if event.context:
                extra["context"] = event.context
            if event.origin != "user":
                extra["origin"] = event.origin
        case SystemNote():
            step |= {"source": "system", "message": event.text}
            extra["reason"] = event.reason
        case CheckRan():
            step |= {"source": "system", "message": f"Check: {event.command}"}
            step["observation"] = {
                "results": [{"content": event.output, "extra": {"exit_code": event.exit_code}}]
            }
        case Compacted():
            step |= {"source": "system", "message": event.opening or event.summary}
            extra["compacted"] = event.model_dump(exclude={"opening", "type"})
        case Reply():
            totals.usage = totals.usage.plus(event.usage)
            if event.discarded:
                totals.discarded += 1
                return None
            step |= _reply(event, state, token_ids=token_ids)
        case TurnFinished():
            totals.status = event.status
            return None
        case _:
            return None
    return step


def _reply(event: Reply, state: ConversationState, *, token_ids: bool) -> dict[str, Any]:
    count = 0 if event.composed else 1
    step: dict[str, Any] = {"source": "agent", "message": event.text, "llm_call_count": count}
    if event.thinking:
        step["reasoning_content"] = event.thinking
    if event.tool_calls:
        step["tool_calls"] = [
            {
                "tool_call_id": call.id,
                "function_name": call.name,
                "arguments": call.arguments,
                **({"extra": {"raw": call.raw}} if call.raw else {}),
            }
            for call in event.tool_calls
        ]
    if event.composed:  # the format allows no metrics then; the totals have them
        return step
    metrics: dict[str, Any] = {
        "prompt_tokens": event.usage.prompt_tokens,
        "completion_tokens": event.usage.completion_tokens,
        "cached_tokens": event.usage.reused_tokens,
        "extra": {
            "prefilled_tokens": event.usage.prefilled_tokens,
            "finish_reason": event.finish_reason,
            "seed": event.seed,
            "temperature": event.temperature,
            "timings": event.timings.model_dump(),
        },
    }
    if token_ids:
        prefix = state.system.token_ids if state.system else None
        if (
            prefix is not None
            and state.token_ids is not None
            and event.prompt_token_ids is not None
        ):
            metrics["prompt_token_ids"] = [*prefix, *state.token_ids, *event.prompt_token_ids]
        if event.token_ids is not None:
            metrics["completion_token_ids"] = event.token_ids
        if event.logprobs is not None:
            metrics["logprobs"] = event.logprobs
    step["metrics"] = metrics
    return step


def _result(event: ToolFinished, calls: set[str]) -> dict[str, Any]:
    result: dict[str, Any] = {"content": event.content}
    if event.call_id in calls:
        result["source_call_id"] = event.call_id
    extra = event.model_dump(
        include={"ok", "diff", "files_changed", "exit_code", "duration_s", "truncated"},
        exclude_defaults=True,
    )
    return {**result, "extra": {"ok": event.ok, **extra}}
