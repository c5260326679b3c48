"""Undo and rewind: what the model reads about the files and what it may then do, in turns of a real
session with a scripted model."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from laguna_agent.agent.approval import Approval
from laguna_agent.agent.session import Session
from laguna_agent.errors import UsageError
from laguna_agent.events import Reply, SystemNote, UserMessage
from laguna_agent.models.conversation import Message
from support.packs import write_files
from support.scripted import call, results_of, take

Opened = Callable[..., Any]
READ = call("read", path="code.txt")
EDIT = call("edit", path="code.txt", old="broken", new="fixed")
EDIT_AGAIN = call("edit", path="code.txt", old="broken", new="better")
MAKE = call("write", path="new.txt", content="x\n")
OK = Reply(text="ok")
UNDONE = "The user took changes back. These files are as they were before them:\n"


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return write_files(tmp_path / "repo", {"code.txt": "broken\n", "notes.txt": "n\n"})


@pytest.fixture
def opened(opened: Opened) -> Opened:
    """Opens sessions with a person who approves everything."""

    async def yes(request: Any) -> Approval:
        return Approval("once")

    return partial(opened, approver=yes)


def context(events: list[Any]) -> str:
    """The context of the user's message."""
    [context] = [event.context for event in events if isinstance(event, UserMessage)]
    return str(context)


def seq_of(session: Session, text: str) -> int:
    messages = session.conversation_state.user_messages
    return next(item.seq for item in messages if getattr(item.event, "text", "") == text)


async def test_the_model_reads_of_an_undo_once_with_the_next_message(
    opened: Opened, workspace: Path
) -> None:
    session, conversation = await opened([READ, EDIT, MAKE, OK])
    events = await take(session, "Fix it")
    before = list(conversation.entries)
    report = await session.undo()
    assert (report.written, report.removed) == (["code.txt"], ["new.txt"])
    assert (workspace / "code.txt").read_text() == "broken\n"
    assert conversation.entries == before, "nothing is appended before the next message"
    events = await take(session, "Continue")
    assert conversation.entries[: len(before)] == before
    appended = [entry.content for entry in conversation.entries[len(before) :][:2]]
    assert appended == [f"{UNDONE}code.txt\nnew.txt (gone again)", "Continue"]
    assert context(events) == "", "it is not reported again as a change by the user"
    await take(session, "And on")
    assert conversation.prompt.count("took changes back") == 1


async def test_after_an_undo_an_edit_of_what_was_read_before_applies(
    opened: Opened, workspace: Path
) -> None:
    session, _ = await opened([READ, EDIT, OK, EDIT_AGAIN, OK])
    await take(session, "Fix it")
    await session.undo()
    [edited] = results_of(await take(session, "Fix it in another way"))
    assert edited.ok
    assert (workspace / "code.txt").read_text() == "better\n"


async def test_after_an_undo_a_file_is_not_overwritten_before_it_is_read_again(
    opened: Opened, workspace: Path
) -> None:
    write = call("write", path="code.txt", content="all new\n")
    session, _ = await opened([READ, EDIT, OK, write, OK])
    await take(session, "Fix it")
    await session.undo()
    [refused] = results_of(await take(session, "Write it anew"))
    assert not refused.ok
    assert "broken" in refused.content
    assert (workspace / "code.txt").read_text() == "broken\n"


async def test_changes_by_the_user_after_an_undo_are_reported_with_it(
    opened: Opened, workspace: Path
) -> None:
    session, _ = await opened([READ, EDIT, OK])
    await take(session, "Fix it")
    await session.undo()
    write_files(workspace, {"notes.txt": "mine\n"})
    events = await take(session, "Continue")
    assert context(events) == "Changed since your last step, not by you:\nnotes.txt"


async def test_the_model_reads_of_an_undo_after_resuming(opened: Opened) -> None:
    session, _ = await opened([READ, EDIT, OK])
    await take(session, "Fix it")
    await session.undo()
    await session.aclose()
    resumed, conversation = await opened([OK], resume=session.trajectory.id)
    await take(resumed, "Continue")
    assert conversation.prompt.count(UNDONE) == 1
    assert conversation.prompt.index(UNDONE) < conversation.prompt.index("Continue")


async def test_the_model_reads_of_an_undo_right_after_resuming(
    opened: Opened, workspace: Path
) -> None:
    session, _ = await opened([READ, EDIT, OK])
    await take(session, "Fix it")
    await session.aclose()
    resumed, conversation = await opened([OK], resume=session.trajectory.id)
    await resumed.undo()
    assert (workspace / "code.txt").read_text() == "broken\n"
    await take(resumed, "Continue")
    assert conversation.prompt.index(UNDONE) < conversation.prompt.index("Continue")


async def test_a_session_undoes_no_turn_of_another(opened: Opened, workspace: Path) -> None:
    session, _ = await opened([READ, EDIT, OK])
    await take(session, "Fix it")
    await session.aclose()
    other, _ = await opened([OK])
    with pytest.raises(UsageError, match="no turn left that changed files"):
        await other.undo()
    assert (workspace / "code.txt").read_text() == "fixed\n"


async def test_an_undo_of_a_stopped_turn_comes_after_the_results_of_its_calls(
    opened: Opened,
) -> None:
    def stop() -> Reply:
        session.cancel()
        return call("shell", command="sleep 60")

    session, conversation = await opened([READ, EDIT, stop, OK])
    await take(session, "Fix it")
    await session.undo()
    await take(session, "Continue")
    last = [entry for entry in conversation.entries if isinstance(entry, Message)][-4:]
    assert [entry.role for entry in last] == ["tool", "user", "user", "user"]
    assert last[1].content == f"{UNDONE}code.txt"
    assert last[2].content.startswith("The user stopped you")
    notes = [e.event for e in session.conversation_state.history if isinstance(e.event, SystemNote)]
    assert [note.reason for note in notes] == ["undone", "interrupted"]


async def test_changes_of_a_stopped_turn_are_not_reported_as_the_users(
    opened: Opened, workspace: Path
) -> None:
    def stop() -> Reply:
        session.cancel()
        return call("shell", command="sleep 60")

    session, _ = await opened([OK, READ, EDIT, stop, OK])
    await take(session, "Hello")
    await take(session, "Fix it")
    write_files(workspace, {"notes.txt": "mine\n"})
    events = await take(session, "Continue")
    assert context(events) == "Changed since your last step, not by you:\nnotes.txt"


async def test_changes_between_two_runs_are_reported(opened: Opened, workspace: Path) -> None:
    session, _ = await opened([READ, EDIT, OK])
    await take(session, "Fix it")
    await session.aclose()
    write_files(workspace, {"notes.txt": "mine\n"})
    resumed, _ = await opened([OK], resume=session.trajectory.id)
    events = await take(resumed, "Continue")
    assert context(events) == "Changed since your last step, not by you:\nnotes.txt"


async def test_a_rewind_without_the_files_reports_which_files_differ(
    opened: Opened, workspace: Path
) -> None:
    session, conversation = await opened([READ, OK, EDIT, OK, OK])
    await take(session, "Look at it")
    await take(session, "Fix it")
    assert await session.rewind(seq_of(session, "Fix it"), code=False) == []
    assert (workspace / "code.txt").read_text() == "fixed\n"
    events = await take(session, "Now what?")
    assert context(events) == "Changed since your last step, not by you:\ncode.txt"
    assert "Fix it" not in conversation.prompt


async def test_a_rewind_with_the_files_reports_nothing_and_edits_apply(
    opened: Opened, workspace: Path
) -> None:
    session, _ = await opened([READ, OK, EDIT, OK, EDIT_AGAIN, OK])
    await take(session, "Look at it")
    await take(session, "Fix it")
    assert await session.rewind(seq_of(session, "Fix it"), code=True) == ["code.txt"]
    events = await take(session, "Fix it better")
    assert context(events) == ""
    [edited] = results_of(events)
    assert edited.ok
    assert (workspace / "code.txt").read_text() == "better\n"


async def test_after_a_rewind_a_file_read_in_the_rewound_part_is_not_overwritten(
    opened: Opened, workspace: Path
) -> None:
    write = call("write", path="code.txt", content="all new\n")
    session, _ = await opened([OK, READ, OK, write, OK])
    await take(session, "Hello")
    await take(session, "Look at it")
    await session.rewind(seq_of(session, "Look at it"), code=True)
    [refused] = results_of(await take(session, "Write it anew"))
    assert not refused.ok
    assert (workspace / "code.txt").read_text() == "broken\n"


async def test_a_rewind_reports_again_what_the_user_changed_before_the_rewound_turn(
    opened: Opened, workspace: Path
) -> None:
    session, _ = await opened([OK, READ, EDIT, OK, OK])
    await take(session, "Hello")
    write_files(workspace, {"notes.txt": "mine\n"})
    assert "notes.txt" in context(await take(session, "Fix it"))
    await session.rewind(seq_of(session, "Fix it"), code=True)
    assert (workspace / "notes.txt").read_text() == "mine\n"
    events = await take(session, "Do something else")
    assert context(events) == "Changed since your last step, not by you:\nnotes.txt"
