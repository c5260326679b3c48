"""Plan mode: when a reply proposes a plan, what accepting one says, and what the model is told.

Only `accepting_message` consents to a plan. Leaving plan mode in any other way tells the model that
nothing was accepted.
"""

from __future__ import annotations

import re

from laguna_agent.actions import Mode
from laguna_agent.agent.services import Services
from laguna_agent.agent.state import SessionState
from laguna_agent.agent.system_notes import Notes
from laguna_agent.errors import UsageError
from laguna_agent.events import AcceptedPlan, Reply, UserMessage, plan_text
from laguna_agent.trajectory.replay import ConversationState

_ITEM = re.compile(r"^ *(?:\d+[.)]|[-*+•]|#{1,4}) +\S", re.MULTILINE)
_MIN_ITEMS = 2
"""Items of a list from which on a text is taken for a plan."""
NOTES = {"plan": True, "act": False, "plan ended": False}
"""The reasons of notes about plan mode, and whether the model plans after them."""


def mode_notes(
    services: Services, state: SessionState, accepted: AcceptedPlan | None = None
) -> Notes:
    """The note that plan mode started or ended, if the model does not know yet. `accepted` is the
    plan that the message after it accepts."""
    pack, recorded = services.pack, services.recorder.state
    if services.gate.plan == state.planning:
        return []
    state.planning = services.gate.plan
    if state.planning:
        return [(pack.text("plan.md"), "plan")]
    if accepted is None:
        return [(pack.text("plan_ended.md"), "plan ended")]
    # The steps of the plan tool are those of the model, and not what was edited.
    steps = "" if accepted.edited else plan_text(recorded.plan)
    return [(pack.text("act.md", plan=steps), "act")]


def proposes_plan(recorded: ConversationState, summary: str) -> bool:
    """Whether a turn that ended well in plan mode proposes a plan: it called `done`, or answered
    with a list that does not end in a question."""
    last = next(
        (item.event for item in reversed(recorded.history) if isinstance(item.event, Reply)), None
    )
    if last is None or not summary.strip():
        return False
    if any(call.name == "done" for call in last.tool_calls):
        return True
    return not summary.rstrip().endswith("?") and len(_ITEM.findall(summary)) >= _MIN_ITEMS


def accepting_message(recorded: ConversationState, plan: str, mode: Mode) -> UserMessage:
    """The user's message that accepts a plan. It repeats the plan only where the model did not
    write it in just these words, or does not see it any more. Raises UsageError."""
    plan = plan.strip()
    if not plan:
        raise UsageError("there is no plan to accept", hint="Let the model propose one first.")
    accepted = AcceptedPlan(text=plan, edited=plan != recorded.proposed_plan, mode=mode)
    seen = any(
        plan in (text.strip() for text in _texts(item.event))
        for item in recorded.history
        if isinstance(item.event, Reply)
    )
    text = "Carry out the plan." if seen else f"Carry out this plan:\n\n{plan}"
    return UserMessage(text=text, plan=accepted)


def _texts(reply: Reply) -> list[str]:
    """The texts in which a reply may have given a plan."""
    done = [call.arguments.get("summary") for call in reply.tool_calls if call.name == "done"]
    return [reply.text, *(text for text in done if isinstance(text, str))]
