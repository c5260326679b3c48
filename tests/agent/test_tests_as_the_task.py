"""Tests that a task asks for are its check: they are to pass for the code as it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from laguna_agent.events import CheckRan
from support.scripted import call, end_of, take

Opened = Callable[..., Any]
TASK = "Write unit tests for two() into test_code.py, with unittest."


def written(value: int, path: str = "test_code.py") -> Any:
    content = (
        "import unittest\nfrom code2 import two\n\n\nclass TestTwo(unittest.TestCase):\n"
        f"    def test_two(self):\n        self.assertEqual(two(), {value})\n"
    )
    return call("write", path=path, content=content)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    root = tmp_path / "repo"
    root.mkdir()
    (root / "code2.py").write_text("def two():\n    return 2\n")
    return root


async def test_tests_that_pass_end_the_turn(opened: Opened, workspace: Path) -> None:
    session, conversation = await opened([written(2)], pack="small")
    events = await take(session, TASK)
    assert end_of(events).status == "done"
    assert conversation.played == 1
    assert [event.exit_code for event in events if isinstance(event, CheckRan)] == [0]


async def test_after_wrong_tests_the_model_starts_over_with_what_the_code_gives(
    opened: Opened, workspace: Path
) -> None:
    session, conversation = await opened([written(3), written(2)], pack="small")
    events = await take(session, TASK)
    assert end_of(events).status == "done"
    assert "self.assertEqual(two(), 3) fails: 2 != 3" in conversation.prompt
    second = conversation.options[1]
    assert second.allowed == ["write"]
    assert list(second.files["write"]) == ["test_code.py"], "the code stays as it is"
    assert "assertEqual(two(), 2)" in (workspace / "test_code.py").read_text()


async def test_tests_that_cannot_run_are_no_check(opened: Opened, workspace: Path) -> None:
    broken = call("write", path="test_code.py", content="import unittest\nimport nothing_here\n")
    session, _ = await opened([broken, call("done", summary="so")], pack="small")
    events = await take(session, TASK)
    assert end_of(events).status == "done"
    assert "starting over" not in str(events)
    assert end_of(events).check is None


@pytest.mark.parametrize(
    "task",
    ["Fix two(): it should return 3. Add a test for it first.", "Let two() return 3."],
)
async def test_tests_of_what_is_not_there_yet_are_no_check(
    opened: Opened, workspace: Path, task: str
) -> None:
    session, _ = await opened([written(3), call("done", summary="so")], pack="small")
    events = await take(session, task)
    assert not [event for event in events if isinstance(event, CheckRan)]
    assert (workspace / "test_code.py").exists()


async def test_code_that_is_changed_too_is_not_judged_by_new_tests(
    opened: Opened, workspace: Path
) -> None:
    code = call("write", path="code2.py", content="def two():\n    return 3\n")
    session, _ = await opened([code, written(2), call("done", summary="so")], pack="small")
    events = await take(session, "Let two() return 3, and write a test for it.")
    assert not [event for event in events if isinstance(event, CheckRan)]
