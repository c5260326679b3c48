"""Tests that a task asks for are its check: they are to pass for the code as it is."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from laguna_agent.agent.check.detection import only_tests_are_asked_for
from laguna_agent.agent.check.expected_values import with_given_values
from laguna_agent.events import CheckRan, Reply
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
    wrong = written(3)
    arguments = wrong.tool_calls[0].arguments
    arguments["content"] = arguments["content"].replace("Equal(two(), 3)", "True(two() == 3)")
    session, conversation = await opened([wrong, written(2)], pack="small")
    events = await take(session, TASK)
    assert end_of(events).status == "done"
    assert "self.assertTrue(two() == 3) fails: False is not true" in conversation.prompt
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
    [
        "Fix two(): it should return 3. Add a test for it first.",
        "Let two() return one more.",
        "Change two() in code2.py to return 3 and update the tests.",
        "Implement two() and write tests for it.",
        "Write a failing test for two(): it should be 3.",
        "Write a test that shows the bug in two().",
        "Add a test for two() and let it return 3.",
    ],
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


RUNNERS = pytest.mark.parametrize("runner", ["unittest -q", "pytest -q"])


@RUNNERS
@pytest.mark.parametrize(
    ("line", "corrected"),
    [
        ("self.assertEqual(two(), 3)", "self.assertEqual(two(), 2)"),
        ("self.assertEqual('x', name())", "self.assertEqual('ä != b', name())"),
        ("self.assertEqual(name(), 'a == b', 'why')", "self.assertEqual(name(), 'ä != b', 'why')"),
        ("self.assertEqual([two()], [3])", "self.assertEqual([two()], [2])"),
        ("assert {'k': 3} == pair()", "assert {'k': 2} == pair()"),
        ("x = 'ä'; assert two() == -1", "x = 'ä'; assert two() == 2"),
        ("self.assertEqual(two(), two() + 1)", None),
        ("self.assertTrue(two() == 3)", None),
        ("self.assertEqual(two(), None and 3)", None),
        ("self.assertRaises(ValueError, two)", None),
        ("assert list(range(two() * 500)) == []", None),
    ],
)
def test_a_wrong_value_gives_way_to_what_the_code_gives(
    workspace: Path, runner: str, line: str, corrected: str | None
) -> None:
    name = "test_code.py"
    before = (
        "import unittest\nfrom code2 import *\n\n\nclass TestTwo(unittest.TestCase):\n"
        "    def test_two(self):\n        {line}\n\n    def test_right(self):\n"
        "        self.assertEqual(two(), 2)\n"
    )
    (workspace / "code2.py").write_text(
        "def two():\n    return 2\n\n\ndef name():\n    return 'ä != b'\n\n\n"
        "def pair():\n    return {'k': 2}\n"
    )
    (workspace / name).write_text(before.format(line=line))
    if "assert " in line and runner.startswith("unittest"):
        corrected = None  # it does not print values of plain assertions
    command = [sys.executable, "-m", *runner.split(), name]
    ran = subprocess.run(command, cwd=workspace, capture_output=True, text=True, check=False)
    found = with_given_values(before.format(line=line), name, ran.stdout + ran.stderr)
    assert found == (None if corrected is None else (before.format(line=corrected), [7]))


async def test_wrong_values_are_corrected_and_the_person_is_told(
    opened: Opened, workspace: Path
) -> None:
    session, conversation = await opened([written(3)], pack="small")
    events = await take(session, TASK)
    finished = end_of(events)
    assert finished.status == "done"
    assert conversation.played == 1
    assert "expected something else than the code gives (line 7)" in finished.summary
    assert "assertEqual(two(), 2)" in (workspace / "test_code.py").read_text()
    assert [e.composed for e in events if isinstance(e, Reply)] == [False, True]


async def test_tests_of_a_function_that_is_not_there_are_no_check(
    opened: Opened, workspace: Path
) -> None:
    content = (
        "import unittest\nimport code2\n\n\nclass T(unittest.TestCase):\n    def test_a(self):\n"
    )
    content += "        self.assertEqual(code2.three(), 3)\n"
    script = [call("write", path="test_code.py", content=content), call("done", summary="so")]
    session, _ = await opened(script, pack="small")
    events = await take(session, "Write a test for three() in test_code.py.")
    assert end_of(events).status == "done"
    assert end_of(events).check is None
    assert (workspace / "test_code.py").read_text() == content


RAISES = """import unittest
from ranges import clamp


class TestClamp(unittest.TestCase):
    def test_small(self):
        with self.assertRaises(ValueError):
            clamp(-1, 0, 1)
"""


@pytest.mark.parametrize(
    "output",
    [
        'File "/x/test_r.py", line 7, in test_small\nAssertionError: ValueError not raised\n',
        "E       AssertionError: ValueError not raised by clamp\n\ntest_r.py:7: AssertionError\n",
    ],
)
def test_an_exception_that_is_not_raised_becomes_a_comparison(output: str) -> None:
    made = with_given_values(RAISES, "test_r.py", output)
    assert made is not None
    text, lines = made
    assert lines == [8]
    assert text.count("\n") == RAISES.count("\n")
    assert "        given = clamp(-1, 0, 1)\n        self.assertEqual(given, None)\n" in text
    failed = 'File "/x/test_r.py", line 8, in test_small\nAssertionError: 0 != None\n'
    again = with_given_values(text, "test_r.py", failed)
    assert again is not None
    assert "self.assertEqual(given, 0)" in again[0]


def test_an_exception_that_pytest_waits_for_becomes_a_comparison() -> None:
    text = "def test_a():\n    with pytest.raises(ValueError):\n        f(1)\n"
    output = "E       Failed: DID NOT RAISE <class 'ValueError'>\n\ntest_a.py:3: Failed\n"
    made = with_given_values(text, "test_a.py", output)
    assert made == ("def test_a():\n    given = f(1)\n    assert given == None\n", [3])


@pytest.mark.parametrize(
    "body",
    ["            a = clamp(1)\n            clamp(a)\n", "            pass\n"],
)
def test_more_than_one_call_stays(body: str) -> None:
    text = RAISES.replace("            clamp(-1, 0, 1)\n", body)
    output = 'File "/x/test_r.py", line 7, in test_small\nAssertionError: ValueError not raised\n'
    assert with_given_values(text, "test_r.py", output) is None


def test_a_test_that_reads_the_exception_stays() -> None:
    text = (
        "def test_a():\n    with pytest.raises(ValueError) as e:\n        f(1)\n"
        "    assert 'neg' in str(e.value)\n"
    )
    output = "E       Failed: DID NOT RAISE <class 'ValueError'>\n\ntest_a.py:3: Failed\n"
    assert with_given_values(text, "test_a.py", output) is None


@pytest.mark.parametrize(
    ("task", "only"),
    [
        ("write tests for clamp() in test_ranges.py. should check too small and too big", True),
        ("Please add tests/test_names.py that checks every rule. Don't change names.py.", True),
        ("Write tests for f. It should return 3 for 2.", False),
        ("Write tests for parse(); negative numbers must raise ValueError", False),
        ("Write tests according to README.md", False),
        ("Write tests. Do not fix the code, report what differs", False),
    ],
)
def test_whether_tests_are_all_that_is_asked_for(task: str, only: bool) -> None:
    assert only_tests_are_asked_for(task) is only
