"""What an attempt cost, and of which kind a failure was, from the recorded trajectory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from laguna_agent.events import Event, Reply, ToolFinished, ToolStarted, TurnFinished, Usage
from laguna_agent.trajectory.reader import read_events

ANNOUNCES = "announces and stops"
REPEATS = "repeats itself"
STALE = "stale edits"
TESTS = "edits tests"
GIVES_UP = "gives up"
LIMIT = "limit"
DENIED = "denied"
WRONG_CHECKED = "wrong though its check passed"
WRONG = "wrong"
ERROR = "error"
CLASSES = (
    WRONG_CHECKED, WRONG, ANNOUNCES, REPEATS, STALE, TESTS, GIVES_UP, LIMIT, DENIED, ERROR
)  # fmt: skip

_CHANGING = ("edit", "write")


@dataclass
class Effort:
    """Figures of one attempt. Usage is the sum over all replies, also discarded ones."""

    usage: Usage = field(default_factory=Usage)
    discarded_tokens: int = 0
    calls: Counter[str] = field(default_factory=Counter)
    failed_changes: int = 0
    """Calls that were to change a file and were refused."""
    changes: int = 0
    steps: int = 0


def read_effort(session: Path) -> Effort:
    """The figures of a recorded session."""
    return measure([stored.event for stored in read_events(session, 1, whole=False, problems=[])])


def measure(events: Sequence[Event]) -> Effort:
    """The figures of a session's events."""
    effort = Effort()
    for event in events:
        if isinstance(event, Reply):
            effort.usage = effort.usage.plus(event.usage)
            if event.discarded:
                effort.discarded_tokens += event.usage.completion_tokens
        elif isinstance(event, ToolStarted):
            effort.calls[event.name] += 1
        elif isinstance(event, ToolFinished) and event.name in _CHANGING:
            effort.changes += event.ok
            effort.failed_changes += not event.ok
        elif isinstance(event, TurnFinished):
            effort.steps += event.steps
    return effort


def classify(
    result: dict[str, Any], effort: Effort, *, timed_out: bool, tests_changed: bool
) -> str:
    """The class of a failed attempt. `result` is laguna's object; empty for another agent."""
    status, error = result.get("status"), str(result.get("error") or "")
    check = result.get("check") or {}
    if timed_out or (status == "limit" and "repeats" not in error and "progress" not in error):
        return LIMIT
    if tests_changed:
        return TESTS
    if status == "limit":
        return REPEATS
    if status in ("error", "interrupted"):
        return ERROR
    if status == "denied":
        return DENIED
    if check.get("exit_code") == 0:
        return WRONG_CHECKED
    if effort.failed_changes > effort.changes:
        return STALE
    if status == "failed":
        return GIVES_UP
    if result and not effort.changes and sum(effort.calls.values()) <= 1:
        return ANNOUNCES
    return WRONG
