"""Examples in the documentation of functions that a small model changes, in turns with a scripted
model and a real shell."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from laguna_agent.events import Notice, Reply, SystemNote
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


async def test_a_turn_ends_when_the_function_is_written_and_its_examples_hold(
    opened: Opened, workspace: Path
) -> None:
    (workspace / "solution.py").write_text(STUB)
    session, conversation = await opened([write("x * 2"), DONE], pack="small")
    end = end_of(await take(session, TASK))
    assert (end.status, end.summary) == ("done", "Wrote double in solution.py.")
    assert conversation.played == 1


async def test_the_model_goes_on_from_the_head_of_the_function(
    opened: Opened, workspace: Path
) -> None:
    (workspace / "solution.py").write_text(STUB)
    session, conversation = await opened([write("x + 1"), write("x * 2")], pack="small")
    conversation.info.format = "fenced"
    await take(session, TASK)
    assert [o.begins for o in conversation.options] == [
        f"### write solution.py\n```python\n{HEAD}"
    ] * 2


async def test_a_try_that_fails_an_example_leaves_nothing_in_the_prompt(
    opened: Opened, workspace: Path
) -> None:
    (workspace / "solution.py").write_text(STUB)
    session, conversation = await opened([write("x + 1"), write("x * 2")], pack="small")
    events = await take(session, TASK)
    assert told(events) == []
    assert conversation.options[1].sampling.temperature > 0
    assert (workspace / "solution.py").read_text() == solution("x * 2")


async def test_the_first_try_stays_when_all_fail_an_example(
    opened: Opened, workspace: Path
) -> None:
    (workspace / "solution.py").write_text(STUB)
    session, _ = await opened([write(f"x + {n}") for n in range(3, 9)], pack="small")
    end = end_of(await take(session, TASK))
    assert end.status == "failed"
    assert "`double` fails: `double(2)` should give 4 but gives" in (end.error or "")
    assert (workspace / "solution.py").read_text() == solution("x + 3")


async def test_a_turn_goes_on_when_another_function_is_to_be_written(
    opened: Opened, workspace: Path
) -> None:
    other = "\n\ndef triple(x):\n    raise NotImplementedError\n"
    (workspace / "solution.py").write_text(STUB + other)
    both = solution("x * 2") + other.replace("raise NotImplementedError", "return 3 * x")
    script = [
        call("write", path="solution.py", content=solution("x * 2") + other),
        call("write", path="solution.py", content=both),
        DONE,
        DONE,
    ]
    session, conversation = await opened(script, pack="small")
    await take(session, "Write the functions in solution.py.")
    assert conversation.played == 2
    assert (workspace / "solution.py").read_text() == both
