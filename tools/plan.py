"""The plan tool: a short list of steps with states, shown by the interfaces."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from pydantic import field_validator

from laguna_agent.actions import Action
from laguna_agent.events import PlanStep
from laguna_agent.tools.tool import ToolArguments, ToolContext, ToolKind, ToolResult

MAX_STEPS = 12
_STATE = "plan"
_MARK = re.compile(
    r"^\s*(?:[-*]\s+|\d+[.)]\s*)?(?:\[(?P<mark>[ xX>~!-]?)\]\s*)?(?P<text>.*)$", re.DOTALL
)
_STATUS = {"x": "done", "X": "done", ">": "active", "~": "dropped", "-": "dropped", "!": "active"}


class PlanArguments(ToolArguments):
    """All steps, including earlier ones."""

    steps: list[str]

    @field_validator("steps")
    @classmethod
    def _not_empty(cls, value: list[str]) -> list[str]:
        if not any(_step(text).text for text in value):
            raise ValueError("give at least one step")
        if len(value) > MAX_STEPS:
            raise ValueError(f"give at most {MAX_STEPS} steps")
        return value


class PlanTool:
    """Keeps the model's plan. Each call replaces all of it."""

    name: ClassVar[str] = "plan"
    kind: ClassVar[ToolKind] = "plan"
    description: ClassVar[str] = "Set the plan. Mark steps [x] done, [>] active."
    arguments: ClassVar[type[ToolArguments]] = PlanArguments
    example: ClassVar[dict[str, Any]] = {"steps": ["[x] FIRST", "[>] SECOND", "THIRD"]}

    def title(self, arguments: PlanArguments, context: ToolContext) -> str:
        """`Plan: 1 of 3`."""
        steps = [_step(text) for text in arguments.steps]
        return f"Plan: {sum(step.status == 'done' for step in steps)} of {len(steps)} done"

    def actions(self, arguments: PlanArguments, context: ToolContext) -> list[Action]:
        """None: a plan has no side effects."""
        return []

    async def run(self, arguments: PlanArguments, context: ToolContext) -> ToolResult:
        """Store the steps and name the next one."""
        steps = [step for step in map(_step, arguments.steps) if step.text]
        before = context.state.get(_STATE)
        open_steps = [step for step in steps if step.status in ("pending", "active")]
        active = [step for step in open_steps if step.status == "active"]
        if open_steps and not active:
            open_steps[0].status = "active"
            active = [open_steps[0]]
        for extra in active[1:]:
            extra.status = "pending"
        context.state[_STATE] = [step.model_copy() for step in steps]
        done = sum(step.status == "done" for step in steps)
        if steps == before:
            content = f"The plan is the same. Do the next step: {active[0].text}" if active else ""
        elif active:
            content = f"Plan kept, {done} of {len(steps)} done. Now: {active[0].text}"
        else:
            content = "Every step is done."
        return ToolResult(
            ok=True,
            content=content or "Every step is done.",
            summary=f"{done} of {len(steps)} done",
            plan=steps,
        )


def _step(text: str) -> PlanStep:
    match = _MARK.match(text)
    assert match is not None
    status = _STATUS.get(match["mark"] or "", "pending")
    plain = " ".join(match["text"].split())[:200]
    return PlanStep.model_validate({"text": plain, "status": status})
