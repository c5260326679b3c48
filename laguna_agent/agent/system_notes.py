"""Messages that laguna adds for the model, in the pack's words, and when each is due.

Each note is a text and a reason; the loop records it and appends it to the prompt.
"""

from __future__ import annotations

from collections.abc import Sequence

from laguna_agent.agent.check.examples import FailedExample
from laguna_agent.agent.services import Services
from laguna_agent.agent.tool_executor import ToolExecutor
from laguna_agent.agent.turn import Turn

Notes = list[tuple[str, str]]
LAST_STEPS = 3
"""Steps before the limit at which the model is warned of it."""


def after_calls(services: Services, turn: Turn, executor: ToolExecutor) -> Notes:
    """Notes after the results of one reply's calls."""
    pack, check = services.pack, turn.check
    notes = [(text, "instructions") for text in _new_instructions(services, executor)]
    notes += hook_notes(services, executor.hook_texts)
    ran = any(map(check.is_passed_by, executor.calls, executor.results))
    if ran and turn.changed:
        notes.append((pack.text("check_passed.md", command=check.command), "check"))
    left = services.limits.steps - turn.steps
    if left == LAST_STEPS and turn.steps > LAST_STEPS:
        notes.append((pack.text("limit.md", steps_left=left), "limit"))
    reminders = turn.reminders.after_results(turn.steps, executor.results, turn.git_left)
    return [*notes, *((text, "reminder") for text in reminders)]


def hook_notes(services: Services, texts: Sequence[str]) -> Notes:
    """Notes of what hooks add."""
    return [(services.pack.text("hook.md", text=text), "hook") for text in texts]


def example_note(
    services: Services, failed: FailedExample, *, taken_back: bool = False
) -> tuple[str, str]:
    """The note of an example in documentation that fails."""
    fields = failed._asdict()
    return services.pack.text("example_failed.md", **fields, taken_back=taken_back), "example"


def _new_instructions(services: Services, executor: ToolExecutor) -> list[str]:
    """Instructions of folders that these calls work in for the first time."""
    start = services.tool_context.start
    paths = [call.arguments.get("path") for call in executor.calls]
    found = [services.instructions.near(start / p) for p in paths if isinstance(p, str)]
    return [text for text in found if text]
