"""The plan tool."""

from __future__ import annotations

from pathlib import Path

import pytest

from laguna_agent.events import PlanStep
from laguna_agent.tools.plan import PlanArguments, PlanTool
from laguna_agent.tools.registry import validate_arguments
from laguna_agent.tools.tool import ToolContext, ToolResult


@pytest.fixture
def context(tmp_path: Path) -> ToolContext:
    return ToolContext(workspace=tmp_path, state_dir=tmp_path)


async def plan(context: ToolContext, *steps: str) -> ToolResult:
    return await PlanTool().run(PlanArguments(steps=list(steps)), context)


async def test_marks_set_states_and_the_next_step_is_named(context: ToolContext) -> None:
    result = await plan(context, "[x] read", "[>] fix", "[ ] test", "[~] document")
    assert result.plan == [
        PlanStep(text="read", status="done"),
        PlanStep(text="fix", status="active"),
        PlanStep(text="test", status="pending"),
        PlanStep(text="document", status="dropped"),
    ]
    assert result.content == "Plan kept, 1 of 4 done. Now: fix"


async def test_the_first_open_step_becomes_active(context: ToolContext) -> None:
    result = await plan(context, "[x] a", "b", "c")
    assert result.plan is not None
    assert [step.status for step in result.plan] == ["done", "active", "pending"]


async def test_one_step_is_active_at_a_time(context: ToolContext) -> None:
    result = await plan(context, "[>] a", "[>] b")
    assert result.plan is not None
    assert [step.status for step in result.plan] == ["active", "pending"]


@pytest.mark.parametrize("text", ["- [x] a", "1. [X] a", "* [x]  a", "[x]a", "2) [x] a\n"])
async def test_list_styles_of_models_are_understood(context: ToolContext, text: str) -> None:
    result = await plan(context, text)
    assert result.plan == [PlanStep(text="a", status="done")]
    assert result.content == "Every step is done."


async def test_an_unchanged_plan_points_to_the_next_step(context: ToolContext) -> None:
    await plan(context, "a", "b")
    result = await plan(context, "[>] a", "b")
    assert result.content == "The plan is the same. Do the next step: a"


@pytest.mark.parametrize("steps", [[], ["", " "], [f"step {n}" for n in range(40)]])
def test_empty_and_endless_plans_are_refused(steps: list[str]) -> None:
    assert isinstance(validate_arguments(PlanTool(), {"steps": steps}), str)


def test_a_plan_has_no_side_effects_and_counts_its_steps(context: ToolContext) -> None:
    arguments = PlanArguments(steps=["[x] a", "b"])
    assert PlanTool().actions(arguments, context) == []
    assert PlanTool().title(arguments, context) == "Plan: 1 of 2 done"
