"""Checks made of what a task says that commands print, in turns with a scripted model and a real
shell."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from laguna_agent.agent.approval import Approval
from laguna_agent.events import ApprovalRequested, CheckRan, Notice, Reply, ToolFinished
from support.packs import write_files
from support.scripted import call, end_of, take

Opened = Callable[..., Any]
BROKEN = "import sys\nprint(int(sys.argv[1]) * 3)\n"
FIXED = BROKEN.replace("* 3", "* 2")
TASK = "`python3 twice.py 0` prints 0 as it should, but `python3 twice.py 4` should print 8."
COMMAND = "python3 twice.py 0 && python3 twice.py 4 # print 0 and 8"


def write(text: str, path: str = "twice.py") -> Reply:
    return call("write", path=path, content=text)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return write_files(tmp_path / "repo", {"twice.py": BROKEN})


def checks(events: list[Any]) -> list[CheckRan]:
    return [event for event in events if isinstance(event, CheckRan)]


async def test_a_stated_output_decides_when_a_small_model_is_done(
    opened: Opened, workspace: Path
) -> None:
    script = [write(BROKEN.replace("* 3", "* 4")), write(FIXED)]
    session, conversation = await opened(script, pack="small")
    events = await take(session, TASK)
    first, wrong, right = checks(events)
    assert [ran.exit_code for ran in (first, wrong, right)] == [1, 1, 0]
    assert first.command == COMMAND
    assert first.output == (
        "`python3 twice.py 4` prints:\n12\nThe task says that it prints:\n8\n"
        "`python3 twice.py 0` prints 0, as it should."
    )
    assert first.output in conversation.prompt
    assert f"The task is done when this passes: {COMMAND}" in conversation.prompt
    finished = end_of(events)
    assert (finished.status, finished.files_changed) == ("done", ["twice.py"])
    assert finished.check is not None
    assert (finished.check.command, finished.check.exit_code) == (COMMAND, 0)
    assert (workspace / "twice.py").read_text() == FIXED


async def test_only_packs_for_small_models_make_such_checks(opened: Opened) -> None:
    session, _ = await opened([Reply(text="ok")])
    events = await take(session, TASK)
    assert checks(events) == []
    assert end_of(events).status == "done"


async def test_a_named_check_comes_first(opened: Opened) -> None:
    session, _ = await opened([Reply(text="ok")], pack="small", check="false")
    assert {ran.command for ran in checks(await take(session, TASK))} == {"false"}


@pytest.mark.parametrize(
    "task",
    [
        "Make it shorter. `python3 twice.py 4` should print 12 as before",
        "`python3 twice.py 4` gives 8 instead of 12.",
    ],
)
async def test_what_holds_already_is_no_check(opened: Opened, task: str) -> None:
    session, conversation = await opened(
        [write(FIXED), call("done", summary="Short.")], pack="small"
    )
    events = await take(session, task)
    assert checks(events) == []
    assert end_of(events).status == "done"
    assert "The task is done when" not in conversation.prompt


async def test_a_program_that_is_still_to_be_written_is_checked(
    opened: Opened, workspace: Path
) -> None:
    session, _ = await opened([write('print("It\'s `x`\\n b \\n")\n', "new.py")], pack="small")
    events = await take(session, "Write new.py:\n`python3 new.py` prints\n```\nIt's `x`\n b\n```")
    first, last = checks(events)
    assert "can't open file" in first.output
    assert "[exit status 2]" in first.output
    assert last.exit_code == 0
    assert end_of(events).status == "done"


async def test_done_is_not_accepted_while_something_else_is_printed(opened: Opened) -> None:
    script = [call("done", summary="Done."), write(FIXED)]
    session, _ = await opened(script, pack="small")
    events = await take(session, TASK)
    [refused] = [e for e in events if isinstance(e, ToolFinished) and e.name == "done"]
    assert not refused.ok
    assert "prints:\n12\nThe task says that it prints:\n8" in refused.content


async def test_running_the_commands_by_hand_does_not_pass_the_check(opened: Opened) -> None:
    session, conversation = await opened(
        [call("shell", command=COMMAND), write(FIXED)], pack="small"
    )
    await take(session, TASK)
    assert "passes. If nothing" not in conversation.prompt


async def test_a_program_that_waits_for_input_gets_none(opened: Opened, workspace: Path) -> None:
    (workspace / "twice.py").write_text("print(int(input()) * 3)\n")
    session, _ = await opened([Reply(text="I see.")], pack="small")
    events = await take(session, "`python3 twice.py` should print 8.")
    assert "EOFError" in checks(events)[0].output


async def test_an_error_message_may_be_printed_on_either_stream(
    opened: Opened, workspace: Path
) -> None:
    fixed = 'import sys\nsys.exit("no number")\n'
    session, _ = await opened([write(fixed)], pack="small")
    events = await take(session, "`python3 twice.py x` should print `no number`.")
    assert [ran.exit_code for ran in checks(events)] == [1, 0]


async def test_a_command_that_changes_files_is_no_check_and_they_are_put_back(
    opened: Opened, workspace: Path
) -> None:
    text = "open('log.txt', 'a').write('x')\nprint(3)\n"
    (workspace / "twice.py").write_text(text)
    session, _ = await opened([call("done", summary="Nothing to do.")] * 2, pack="small")
    events = await take(session, "`python3 twice.py` should print 4.")
    assert checks(events) == []
    assert not (workspace / "log.txt").exists()


async def test_a_command_that_changes_files_later_is_put_back_too(
    opened: Opened, workspace: Path
) -> None:
    text = "open('log.txt', 'a').write('x')\nprint(4)\n"
    session, _ = await opened([write(text)], pack="small")
    events = await take(session, "`python3 twice.py 1` should print 4.")
    assert end_of(events).files_changed == ["twice.py"]
    assert not (workspace / "log.txt").exists()


async def test_commands_that_need_approval_are_not_run_unasked(
    opened: Opened, workspace: Path
) -> None:
    script = [Reply(text="ok")]
    session, conversation = await opened(script, pack="small", mode="ask")
    events = await take(session, TASK)
    assert checks(events) == []
    assert not any(isinstance(event, Notice) for event in events)
    assert "The task is done when" not in conversation.prompt


@pytest.mark.parametrize("answer", ["once", "no"])
async def test_a_person_is_asked_about_the_commands_once(opened: Opened, answer: str) -> None:
    asked: list[ApprovalRequested] = []

    async def approver(request: ApprovalRequested) -> Approval:
        asked.append(request)
        return Approval(answer)  # type: ignore[arg-type]

    session, _ = await opened(
        [write(FIXED), Reply(text="ok")], pack="small", mode="accept-edits", approver=approver
    )
    events = await take(session, TASK)
    assert [getattr(request.action, "command", "") for request in asked] == [COMMAND]
    assert len(checks(events)) == (2 if answer == "once" else 0)


async def test_commands_that_rules_allow_need_no_approval(opened: Opened) -> None:
    rules = [{"verdict": "allow", "command": "python3 twice.py *"}]
    session, _ = await opened(
        [write(FIXED)], pack="small", mode="accept-edits", flags={"policy": {"rules": rules}}
    )
    assert [ran.exit_code for ran in checks(await take(session, TASK))] == [1, 0]


async def test_planning_runs_no_check(opened: Opened) -> None:
    session, _ = await opened([Reply(text="1. Fix it.")], pack="small", plan=True)
    assert checks(await take(session, TASK)) == []


async def test_what_a_call_should_give_decides_too(opened: Opened, workspace: Path) -> None:
    text = "def twice(n):\n    return n * 3\n"
    (workspace / "numbers_.py").write_text(text)
    script = [write(text.replace("* 3", "* 2"), "numbers_.py")]
    session, conversation = await opened(script, pack="small")
    events = await take(session, "twice([1]) should give [1, 1], it gives [1, 1, 1]. Fix it.")
    first, last = checks(events)
    assert first.command == (
        "python3 -c 'from numbers_ import twice; print(twice([1]))' # prints [1, 1]"
    )
    assert "prints:\n[1, 1, 1]\nThe task says that it prints:\n[1, 1]" in conversation.prompt
    assert (first.exit_code, last.exit_code) == (1, 0)
    assert end_of(events).status == "done"


async def test_a_module_in_a_folder_is_imported_from_there(opened: Opened, workspace: Path) -> None:
    write_files(
        workspace,
        {"src/base.py": "RATE = 3\n", "src/twice_.py": "import base\ndef f(n): return base.RATE\n"},
    )
    session, _ = await opened([write("RATE = 2\n", "src/base.py")], pack="small")
    events = await take(session, "f(1) should return 2.")
    assert [ran.exit_code for ran in checks(events)] == [1, 0]


async def test_a_call_that_needs_what_is_not_installed_is_no_check(
    opened: Opened, workspace: Path
) -> None:
    (workspace / "m.py").write_text("import no_such_package\ndef f(n): return n\n")
    session, _ = await opened([Reply(text="ok")], pack="small")
    assert checks(await take(session, "f(1) should return 2.")) == []


async def test_a_crash_that_is_to_be_repaired_is_checked(opened: Opened, workspace: Path) -> None:
    (workspace / "twice.py").write_text("print(int('x') * 2)\n")
    session, conversation = await opened([write("print(4)\n")], pack="small")
    events = await take(session, "`python3 twice.py` crashes. Fix it.")
    first, last = checks(events)
    assert first.command == "python3 twice.py # exits with 0"
    assert "[exit status 1]\nIt should exit with 0." in conversation.prompt
    assert (first.exit_code, last.exit_code) == (1, 0)


@pytest.mark.parametrize("text", ["print(4)\n", "import sys\nsys.exit('no such number')\n"])
async def test_a_command_that_does_not_crash_is_no_check(
    opened: Opened, workspace: Path, text: str
) -> None:
    (workspace / "twice.py").write_text(text)
    session, _ = await opened([Reply(text="ok")], pack="small")
    assert checks(await take(session, "`python3 twice.py` crashes. Fix it.")) == []
