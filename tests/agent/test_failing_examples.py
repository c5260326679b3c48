"""Examples in the documentation of functions that a small model changes, in turns with a scripted
model and a real shell."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from laguna_agent.events import Notice, Reply, SystemNote
from support.candidates import Writer
from support.packs import write_files
from support.scripted import call, calls, end_of, take

Opened = Callable[..., Any]
HEAD = 'def double(x):\n    """Twice x.\n\n    >>> double(2)\n    4\n    """\n'
UNFINISHED = f"{HEAD}    return None\n"
STUB = f"{HEAD}    raise NotImplementedError\n"
TASK = "Write the function double in solution.py as its documentation says."
DONE = call("done", summary="Done.")


def solution(result: str) -> str:
    return UNFINISHED.replace("return None", f"return {result}")


def write(result: str) -> Reply:
    return call("write", path="solution.py", content=solution(result))


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return write_files(tmp_path / "repo", {"solution.py": UNFINISHED})


def told(events: list[Any]) -> list[str]:
    return [e.text.strip() for e in events if isinstance(e, SystemNote) and e.reason == "example"]


async def test_a_small_model_starts_over_when_an_example_fails(
    opened: Opened, workspace: Path
) -> None:
    session, conversation = await opened([write("x + 1"), write("x * 2"), DONE, DONE], pack="small")
    events = await take(session, TASK)
    [note] = told(events)
    where = "An example in the docstring of `double` (solution.py) failed in your last try"
    assert note == f"{where}, which is taken back:\ndouble(2)\nIt should give 4 but gave 3."
    assert any(isinstance(e, Notice) and "starting over" in e.text for e in events)
    assert conversation.options[1].sampling.temperature > 0
    assert (workspace / "solution.py").read_text() == solution("x * 2")
    assert end_of(events).status == "done"


async def test_examples_that_hold_do_not_end_the_turn(opened: Opened) -> None:
    session, conversation = await opened([write("x * 2"), DONE, DONE], pack="small")
    events = await take(session, TASK)
    assert told(events) == []
    assert conversation.played >= 2


async def test_done_beside_a_failing_edit_is_not_accepted(opened: Opened, workspace: Path) -> None:
    wrong = {"path": "solution.py", "content": solution("x")}
    both = calls(("write", wrong), ("done", {"summary": "Done."}))
    session, _ = await opened([both, write("2 * x"), DONE, DONE], pack="small")
    await take(session, TASK)
    assert (workspace / "solution.py").read_text() == solution("2 * x")


async def test_documentation_that_is_wrong_does_not_hold_a_turn_up(
    opened: Opened, workspace: Path
) -> None:
    script = [write(f"x + {n}") for n in range(3, 8)]
    session, _ = await opened([*script, DONE], pack="small")
    events = await take(session, TASK)
    notes = told(events)
    assert ["taken back" in note for note in notes] == [True] * 4 + [False, False]
    assert end_of(events).status == "done"
    assert (workspace / "solution.py").read_text() == solution("x + 7")


async def test_work_on_other_files_is_kept(opened: Opened, workspace: Path) -> None:
    other = call("write", path="other.py", content="x = 1\n")
    session, _ = await opened([other, write("x + 1"), DONE, DONE, DONE], pack="small")
    events = await take(session, TASK)
    assert ["taken back" in note for note in told(events)] == [False, False]
    assert (workspace / "other.py").exists()


async def test_a_check_decides_alone(opened: Opened) -> None:
    session, _ = await opened([write("x + 1")], pack="small", check="true")
    events = await take(session, TASK)
    assert told(events) == []
    assert end_of(events).status == "done"


@pytest.mark.parametrize("options", [{}, {"pack": "small", "mode": "accept-edits"}])
async def test_examples_run_only_unasked_and_for_small_models(
    opened: Opened, options: dict[str, Any]
) -> None:
    session, _ = await opened(
        [write("x + 1") if options else edit_of("x + 1"), DONE, DONE], **options
    )
    assert told(await take(session, TASK)) == []


def edit_of(result: str) -> Reply:
    return call("edit", path="solution.py", old="return None", new=f"return {result}")


async def test_modules_of_packages_are_imported_as_such(opened: Opened, workspace: Path) -> None:
    helper = 'from .base import TWO\n\n\ndef f(x):\n    """f(1) == 3"""\n    return x * TWO\n'
    write_files(workspace, {"p/__init__.py": "", "p/base.py": "TWO = 2\n"})
    script = [call("write", path="p/m.py", content=helper), DONE, DONE, DONE]
    session, _ = await opened(script, pack="small")
    notes = told(await take(session, "Write p/m.py"))
    assert "`f` (p/m.py)" in notes[0]
    assert "should give 3 but gave 2" in notes[0]


async def test_what_examples_write_is_taken_back(opened: Opened, workspace: Path) -> None:
    text = solution("x * 2").replace("    return", "    open('made.txt', 'w').close()\n    return")
    session, _ = await opened(
        [call("write", path="solution.py", content=text), DONE, DONE], pack="small"
    )
    events = await take(session, TASK)
    assert not (workspace / "made.txt").exists()
    assert end_of(events).files_changed == ["solution.py"]


async def test_what_is_told_of_an_example_is_short(opened: Opened) -> None:
    text = solution("'long' * 5_000").replace("double(2)", f"double('{'y' * 1_000}')")
    session, _ = await opened(
        [call("write", path="solution.py", content=text), write("x * 2"), DONE, DONE], pack="small"
    )
    assert len(told(await take(session, TASK))[0]) < 450


# --- functions that are still to be written -----------------------------------------------------


def bodies(*expressions: str) -> list[str]:
    return [f"    return {expression}\n```" for expression in expressions]


async def open_writer(opened: Opened, *rounds: list[str], script: Any = (), **options: Any) -> Any:
    session, conversation = await opened(
        [*script, DONE, DONE, DONE], pack="small", conversation=Writer, **options
    )
    conversation.bodies = list(rounds)
    return session, conversation


@pytest.fixture
def stub(workspace: Path) -> Path:
    path = workspace / "solution.py"
    path.write_text(STUB)
    return path


async def test_a_turn_ends_when_the_function_is_written_and_its_examples_hold(
    opened: Opened, stub: Path
) -> None:
    session, conversation = await open_writer(opened, bodies("x * 2"))
    end = end_of(await take(session, TASK))
    assert end.error is None
    assert (end.status, end.summary) == ("done", "Wrote double in solution.py.")
    assert (conversation.played, end.usage.completion_tokens) == (0, 20)
    assert stub.read_text() == solution("x * 2")


async def test_the_model_goes_on_from_the_head_with_nothing_else_in_the_prompt(
    opened: Opened, stub: Path
) -> None:
    session, conversation = await open_writer(opened, bodies("x * 2"))
    await take(session, TASK)
    [completion] = conversation.completed
    assert completion.begins == f"```python\n{HEAD}"
    head = f"```python\n{HEAD.rstrip()}\n```"
    assert completion.message == f"{TASK}\n\nComplete the following Python function.\n{head}"
    assert [s.temperature for s in conversation.completed_with[0]] == [0]


async def test_four_warmer_ones_follow_when_an_example_fails(opened: Opened, stub: Path) -> None:
    session, conversation = await open_writer(
        opened, bodies("x"), bodies("x + 1", "x + 2", "2 * x", "3")
    )
    events = await take(session, TASK)
    assert told(events) == []
    assert end_of(events).status == "done"
    assert len(conversation.completed) == 2
    assert len({s.temperature for s in conversation.completed_with[1]}) == 4
    assert stub.read_text() == solution("x + 2")


async def test_what_uses_no_argument_is_not_tried(opened: Opened, stub: Path) -> None:
    session, _ = await open_writer(opened, bodies("x"), bodies("4", "x * 2"))
    await take(session, TASK)
    assert stub.read_text() == solution("x * 2")


async def test_the_first_try_stays_when_all_fail_an_example(opened: Opened, stub: Path) -> None:
    numbers = [bodies(*(f"x + {n}" for n in range(start, start + 4))) for start in (10, 20, 30, 40)]
    session, _ = await open_writer(opened, bodies("x + 3"), *numbers)
    end = end_of(await take(session, TASK))
    assert end.status == "failed"
    assert "`double` fails: `double(2)` should give 4 but gives" in (end.error or "")
    assert stub.read_text() == solution("x + 3")


async def test_tries_that_no_longer_differ_end_it(opened: Opened, stub: Path) -> None:
    session, conversation = await open_writer(opened, bodies("x + 3"), bodies("x + 3", "x + 3"))
    end = end_of(await take(session, TASK))
    assert end.status == "failed"
    assert "no longer differ" in (end.error or "")
    assert len(conversation.completed) == 2
    assert stub.read_text() == solution("x + 3")


async def test_the_model_uses_its_tools_when_no_answer_can_be_used(
    opened: Opened, stub: Path
) -> None:
    cut = ["    return x"] * 4
    session, conversation = await open_writer(opened, cut, script=[write("x * 2")])
    assert end_of(await take(session, TASK)).status == "done"
    assert len(conversation.completed) == 2
    assert stub.read_text() == solution("x * 2")


async def test_a_check_decides_about_a_function_too_and_then_the_model_reads_what_failed(
    opened: Opened, stub: Path, workspace: Path
) -> None:
    test = "from solution import double\nassert double(5) == 10, double(5)\n"
    (workspace / "test_solution.py").write_text(test)
    rounds = bodies("x"), bodies("x + 1", "x + 2", "x + 3", "x + 4")
    session, conversation = await open_writer(opened, *rounds)
    conversation.rounds = [[write("x * 2")]]
    events = await take(session, "Implement double so that `python3 test_solution.py` passes.")
    assert end_of(events).status == "done"
    assert len(conversation.completed) == 2
    assert [e for e in events if isinstance(e, SystemNote) and e.reason == "again"]
    assert stub.read_text() == solution("x * 2")


@pytest.mark.parametrize(
    "message",
    [
        "Implement double in solution.py and add tests for it.",
        "Write the function double in solution.py. Commit it.",
        "Implement double in solution.py, then let main use it.",
        "Implement double in solution.py with a --double option",
        "Implement double in solution.py like triple in other.py",
    ],
)
async def test_the_turn_goes_on_when_more_is_asked(
    opened: Opened, stub: Path, message: str
) -> None:
    session, conversation = await open_writer(opened, bodies("x * 2"))
    await take(session, message)
    assert len(conversation.completed) == 1
    assert conversation.played >= 1


OTHER = "\n\ndef triple(x):\n    raise NotImplementedError\n"


@pytest.mark.parametrize(
    "message",
    [
        "Let double in solution.py be faster.",
        "Implement double in other.py.",
        "Rename double in solution.py to twice.",
        "Implement double-entry books.",
        "Do not write double.x in solution.py",
        "Fix solution.py.",
        "Write a README.md for solution.py",
        "Add a function half to solution.py.",
        "Write a function title_case in solution.py",
        "Implement decode, not double, in solution.py",
        "Implement Other.double in solution.py",
        "Write a docstring with two examples for double",
        "Complete the type hints of double",
        "Write tests for double in test_solution.py",
        "Refactor solution.py. Do not implement double yet.",
        "Complete solution.py: it should also handle quotes",
        "Implement double of Shape in solution.py",
    ],
)
async def test_a_stub_that_is_not_the_task_is_left_alone(
    opened: Opened, stub: Path, message: str
) -> None:
    stub.write_text(STUB + OTHER)
    session, conversation = await open_writer(opened, bodies("x * 2"))
    await take(session, message)
    assert not conversation.completed


async def test_the_named_one_of_several_is_written(opened: Opened, stub: Path) -> None:
    stub.write_text(STUB + OTHER)
    session, conversation = await open_writer(opened, bodies("x * 3"))
    await take(session, "Implement triple in solution.py")
    assert conversation.completed[0].begins.endswith("def triple(x):\n")
    assert conversation.played >= 1, "another one is not written yet"


async def test_code_behind_the_function_stays(opened: Opened, stub: Path) -> None:
    behind = "\n\ndef main():\n    print(double(1))\n\n\nmain()\n"
    stub.write_text(f"import sys\n\n\n{STUB}{behind}")
    session, conversation = await open_writer(opened, bodies("x * 2"))
    await take(session, TASK)
    assert len(conversation.completed) == 1
    assert stub.read_text() == f"import sys\n\n\n{solution('x * 2')}{behind}"


async def test_the_first_try_stays_when_a_limit_ends_the_turn(opened: Opened, stub: Path) -> None:
    rounds = bodies("x + 3"), bodies(*(f"x + {n}" for n in range(4, 8)))
    session, _ = await open_writer(opened, *rounds, flags={"limits": {"steps": 2}})
    assert end_of(await take(session, TASK)).status == "limit"
    assert stub.read_text() == solution("x + 3")
