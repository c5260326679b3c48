"""What laguna tells the model of its own accord: when, and in the pack's words.

Each note is a text and a reason; the loop records it and puts it after what it belongs to.
"""

from __future__ import annotations

from collections.abc import Sequence

from laguna_agent.agent.check.runner import CheckRunner
from laguna_agent.agent.state import Agent
from laguna_agent.agent.tool_executor import ToolExecutor
from laguna_agent.events import plan_text

Notes = list[tuple[str, str]]
LAST_STEPS = 3
"""How many steps before the limit the model hears of it."""


def before_turn(agent: Agent) -> Notes:
    """What goes before the user's message."""
    notes: Notes = []
    if agent.interrupted and agent.opened:
        notes.append((agent.pack.text("interrupted.md"), "interrupted"))
    agent.interrupted = False
    return [*notes, *mode_changed(agent)]


def mode_changed(agent: Agent) -> Notes:
    """That planning began or ended since the model was told of it last."""
    if agent.gate.plan == agent.planning:
        return []
    agent.planning = agent.gate.plan
    if agent.planning:
        return [(agent.pack.text("plan.md"), "plan")]
    return [(agent.pack.text("act.md", plan=plan_text(agent.plan)), "act")]


def after_calls(
    agent: Agent, calls: ToolExecutor, checking: CheckRunner, *, steps: int, changed: Sequence[str]
) -> Notes:
    """What goes after the results of one reply's calls. `steps` were taken, files `changed`."""
    pack = agent.pack
    notes = [(text, "instructions") for text in _instructions_met(agent, calls)]
    notes += [(pack.text("hook.md", text=text), "hook") for text in calls.notes]
    ran = any(map(checking.is_passed_by, calls.calls, calls.results))
    if ran and changed:
        notes.append((pack.text("check_passed.md", command=checking.command), "check"))
    left = agent.limits.steps - steps
    if left == LAST_STEPS and steps > LAST_STEPS:
        notes.append((pack.text("limit.md", steps_left=left), "limit"))
    reminders = checking.reminders(steps, calls.results)
    return [*notes, *((text, "reminder") for text in reminders)]


def _instructions_met(agent: Agent, calls: ToolExecutor) -> list[str]:
    """Instructions of the folders that these calls came into, each told once."""
    paths = [call.arguments.get("path") for call in calls.calls]
    if agent.instructions is None:
        return []
    near = [
        agent.instructions.near(agent.context.workspace / p) for p in paths if isinstance(p, str)
    ]
    return [text for text in near if text]
