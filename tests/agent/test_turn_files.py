"""What a turn changed: named and undone, however it was made and however the turn ended."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from laguna_agent.agent.session import Session
from laguna_agent.events import Checkpointed, Notice, Reply
from laguna_agent.tools.checkpoints import tree_store
from support.packs import write_files
from support.scripted import call, calls, end_of, results_of, take
from support.shell_runs import run_in_bash

Opened = Callable[..., Any]
OK = Reply(text="ok")


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return write_files(tmp_path / "repo", {"code.txt": "one\ntwo\nthree\n", "notes.txt": "n\n"})


def write(workspace: Path, name: str, text: str, reply: Reply) -> Callable[[], Reply]:
    """The person writes a file while the model thinks."""

    def thinking() -> Reply:
        (workspace / name).write_text(text)
        return reply

    return thinking


def shell(command: str) -> Reply:
    return call("shell", command=command)


EDIT = call("write", path="new.txt", content="made\n")
CHANGES = {
    "a tool": [EDIT],
    "a command": [shell("echo made > new.txt")],
    "a command that failed": [shell("echo made > new.txt; false")],
    "a command in the background": [
        shell("{ until [ -e go ]; do sleep 0.02; done; echo made > new.txt; rm go; } >/dev/null &"),
        shell("touch go; while [ -e go ]; do sleep 0.02; done; touch other; rm other"),
    ],
    "a tool and a command": [EDIT, shell("echo more >> new.txt")],
    "a move": [shell("mv notes.txt new.txt")],
}  # fmt: skip


@pytest.mark.parametrize("how", CHANGES)
async def test_a_turns_own_changes_are_named_and_undone(
    opened: Opened, workspace: Path, how: str
) -> None:
    script = [*CHANGES[how][:-1], write(workspace, "mine.txt", "m\n", CHANGES[how][-1])]
    last = write(workspace, "code.txt", "one\nmine\nthree\n", OK)
    session, _ = await opened([*script, last])
    finished = end_of(await take(session, "Make it"))
    expected = ["new.txt", "notes.txt"] if how == "a move" else ["new.txt"]
    if "background" in how:  # while it ran, it may have been the one
        assert "new.txt" in finished.files_changed
    else:
        assert finished.files_changed == expected
        taken = await session.undo()
        assert [item.path for item in taken.done] == expected
        assert (workspace / "mine.txt").exists()
    assert (workspace / "notes.txt").exists() or how != "a move"
    assert (workspace / "code.txt").read_text() == "one\nmine\nthree\n"


async def test_a_background_commands_changes_between_two_steps_are_the_turns(
    opened: Opened, workspace: Path
) -> None:
    session, _ = await opened([*CHANGES["a command in the background"], OK])
    assert end_of(await take(session, "Make it")).files_changed == ["new.txt"]
    await session.undo()
    assert not (workspace / "new.txt").exists()


async def test_a_stopped_turn_says_what_it_did_and_is_undone_alone(
    opened: Opened, workspace: Path
) -> None:
    def stop() -> Reply:
        session.cancel()
        return shell("echo late > late.txt; sleep 60")

    first = call("edit", path="code.txt", old="one", new="1")
    session, _ = await opened([first, OK, shell("echo made > new.txt"), stop, OK])
    await take(session, "Begin")
    write_files(workspace, {"mine.txt": "m\n"})
    finished = end_of(await take(session, "Go on"))
    assert finished.status == "interrupted"
    assert finished.steps == 2
    assert finished.usage.completion_tokens >= 10
    assert finished.duration_s > 0
    assert set(finished.files_changed) <= {"new.txt", "late.txt"}
    assert "new.txt" in finished.files_changed
    await session.undo()
    assert sorted(os.listdir(workspace)) == ["code.txt", "mine.txt", "notes.txt"]
    assert (workspace / "code.txt").read_text().startswith("1\n")
    await session.undo()
    assert (workspace / "code.txt").read_text().startswith("one\n")
    assert (workspace / "mine.txt").exists()
    await session.undo(redo=True)
    assert (workspace / "code.txt").read_text().startswith("1\n")


async def test_the_turn_of_a_killed_session_is_undone_after_resuming(
    opened: Opened, workspace: Path
) -> None:
    session, _ = await opened([shell("echo made > new.txt"), OK])

    class KilledError(BaseException):
        pass

    def killed(event: Any) -> None:
        if event.type == "step_started" and event.step == 2:
            raise KilledError

    with pytest.raises(KilledError):
        await take(session, "Make it", watch=killed)
    await session.aclose()
    resumed, _ = await opened([OK], resume=session.trajectory.id)
    assert (workspace / "new.txt").exists()
    await resumed.undo()
    assert not (workspace / "new.txt").exists()


async def test_a_fork_undoes_the_turns_it_was_made_of(opened: Opened, workspace: Path) -> None:
    session, _ = await opened([EDIT, OK])
    await take(session, "Make it")
    await session.aclose()
    fork, _ = await opened([shell("echo made > second.txt"), OK], fork=session.trajectory.id)
    await take(fork, "And another")
    await fork.undo(2)
    assert sorted(os.listdir(workspace)) == ["code.txt", "notes.txt"]


async def test_a_rewind_with_the_files_keeps_what_the_person_wrote(
    opened: Opened, workspace: Path
) -> None:
    change = call("edit", path="code.txt", old="one", new="1")
    session, _ = await opened([change, OK])
    await take(session, "Change it")
    write_files(workspace, {"code.txt": "1\ntwo\nthree\nmine\n", "mine.txt": "m\n"})
    [message] = session.conversation_state.user_messages
    assert await session.rewind(message.seq, code=True) == ["code.txt"]
    assert (workspace / "code.txt").read_text() == "one\ntwo\nthree\nmine\n"
    assert (workspace / "mine.txt").exists()


async def test_names_that_are_not_text_pass_through_a_session(
    opened: Opened, workspace: Path
) -> None:
    name = os.fsdecode(b"caf\xe9.txt")
    (workspace / name).write_text("x")
    script = [
        calls(
            ("search", {"pattern": "x"}), ("read", {"path": "."}), ("read", {"path": "caf?.txt"})
        ),
        call("edit", path="caf\ufffd.txt", old="x", new="z"),
        shell('for f in caf*; do echo y > "$f"; done'),
        OK,
    ]
    session, conversation = await opened(script)
    events = await take(session, "Look, then change it")
    assert all(result.ok for result in results_of(events))
    assert end_of(events).files_changed == [name]
    conversation.prompt.encode()
    await session.undo()
    assert (workspace / name).read_text() == "x"
    await session.aclose()
    resumed, conversation = await opened([OK], resume=session.trajectory.id)
    assert end_of(await take(resumed, "Go on")).status == "done"
    conversation.prompt.encode()


@pytest.mark.parametrize(("limit", "value"), [("_LIST_TIMEOUT", 0.0), ("MAX_FILES", 1)])
async def test_in_a_very_large_tree_edits_are_still_undone(
    opened: Opened, workspace: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: float
) -> None:
    monkeypatch.setattr(tree_store, limit, value)
    session, _ = await opened([EDIT, shell("echo more > more.txt"), OK, EDIT, OK])
    events = await take(session, "Make it") + await take(session, "Again")
    said = [event.text for event in events if isinstance(event, Notice)]
    assert len([text for text in said if "Undo covers only what edits change" in text]) == 1
    await session.undo()
    assert not (workspace / "new.txt").exists()
    assert (workspace / "more.txt").exists()


async def test_where_git_is_missing_edits_are_named_and_the_reason_is_said_once(
    opened: Opened, workspace: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("bash", "rg", "bwrap", "sleep"):
        for folder in os.environ["PATH"].split(":"):
            if os.path.exists(f"{folder}/{name}") and not (programs / name).exists():
                (programs / name).symlink_to(f"{folder}/{name}")
    monkeypatch.setenv("PATH", str(programs))
    session: Session
    session, _ = await opened([EDIT, OK, EDIT, OK])
    events = await take(session, "Make it") + await take(session, "Again")
    assert not [event for event in events if isinstance(event, Checkpointed)]
    said = [event.text for event in events if isinstance(event, Notice)]
    assert len([text for text in said if "Undo covers only" in text]) == 1
    first = next(event for event in events if event.type == "turn_finished")
    assert first.files_changed == ["new.txt"]


async def test_what_a_hook_at_the_end_formats_is_the_turns(opened: Opened, workspace: Path) -> None:
    hook = {"on": "turn_end", "command": "tr a-z A-Z < new.txt > upper; mv upper new.txt"}
    session, _ = await opened([EDIT, OK], flags={"hooks": [hook]})
    await take(session, "Make it")
    assert (workspace / "new.txt").read_text() == "MADE\n"
    await session.undo()
    assert not (workspace / "new.txt").exists()


@pytest.mark.parametrize(
    ("mode", "step"),
    [
        ("auto", EDIT),
        ("auto", call("plan", steps=["one"])),
        ("auto", call("git", action="add", target="code.txt")),
        ("allow-all", shell("true")),
    ],
)
async def test_a_persons_git_settings_stay_whatever_the_first_call_is(
    opened: Opened, workspace: Path, mode: str, step: Reply
) -> None:
    settings = "git init -q && git config core.hooksPath .husky && git config alias.l '!git log'"
    run_in_bash([settings], workspace)
    before = (workspace / ".git/config").read_text()
    session, _ = await opened([step, OK], mode=mode)
    events = await take(session, "Make it")
    await session.aclose()
    assert (workspace / ".git/config").read_text() == before
    assert not [e for e in events if isinstance(e, Notice) and "moved to" in e.text]
