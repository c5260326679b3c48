"""The recall tool: what the model gets when it searches earlier work."""

from __future__ import annotations

from pathlib import Path

import pytest

from laguna_agent.events import UserMessage
from laguna_agent.memory.recall import Recall
from laguna_agent.tools.recall import RecallArguments, RecallTool
from laguna_agent.tools.tool import ToolContext
from laguna_agent.trajectory.store import Trajectory


@pytest.fixture
def context(root: Path, tmp_path: Path) -> ToolContext:
    return ToolContext(workspace=root, state_dir=tmp_path / "outputs")


async def test_recall_answers_from_the_record(root: Path, context: ToolContext) -> None:
    with Trajectory.create(root, session_id="one") as trajectory:
        trajectory.append(UserMessage(text="The gizmo port is 4711."))
        recall = Recall(root, session="one")
        context.recall = recall.answer
        found = await RecallTool().run(RecallArguments(query="gizmo port"), context)
        assert found.ok
        assert "## one e1 user_message" in found.content
        assert "4711" in found.content
        assert found.summary == "1 result"
        opened = await RecallTool().run(RecallArguments(query="e1"), context)
        assert "The gizmo port is 4711." in opened.content
        nothing = await RecallTool().run(RecallArguments(query="zzzz"), context)
        assert nothing.ok
        assert "Nothing is on record about `zzzz`" in nothing.content
        recall.close()


async def test_a_fruitless_query_says_what_to_do_instead(context: ToolContext) -> None:
    without = await RecallTool().run(RecallArguments(query="x"), context)
    assert not without.ok
    assert "Look at the files" in without.content
    context.recall = lambda query, limit: "found"
    empty = await RecallTool().run(RecallArguments(query="  "), context)
    assert not empty.ok


async def test_a_long_answer_is_bounded_and_kept(context: ToolContext) -> None:
    context.recall = lambda query, limit: "## line\n" * 10_000
    found = await RecallTool().run(RecallArguments(query="x"), context)
    assert found.truncated
    assert len(found.content) < 2 * context.max_output_chars
    assert found.output_file is not None
    assert Path(found.output_file).read_text() == "## line\n" * 10_000
