"""Going back on a person's word: what the model is told of the files, and what it then may do, in
turns of a real session with a scripted model."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from laguna_agent.agent.approval import Approval
from laguna_agent.agent.session import Session
from laguna_agent.events import Checkpointed, Reply, SystemNote, ToolFinished, UserMessage
from laguna_agent.models.conversation import Message
from support.packs import write_files
from support.scripted import ScriptedConversation, call, open_scripted, take

Opened = Callable[..., Any]
READ = call("read", path="code.txt")
EDIT = call("edit", path="code.txt", old="broken", new="mended")
EDIT_AGAIN = call("edit", path="code.txt", old="broken", new="better")
MAKE = call("write", path="new.txt", content="x\n")
OK = Reply(text="ok")
UNDONE = "The user took changes back. These files are as they were before them:\n"


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return write_files(tmp_path / "repo", {"code.txt": "broken\n", "notes.txt": "n\n"})


@pytest.fixture
async def opened(workspace: Path) -> AsyncIterator[Opened]:
    """Opens sessions that a person sits before."""
    sessions: list[Session] = []

    async def yes(request: Any) -> Approval:
        return Approval("once")

    async def make(script: list[Any], **more: Any) -> tuple[Session, ScriptedConversation]:
        session, conversation = await open_scripted(workspace, script, approver=yes, **more)
        sessions.append(session)
        return session, conversation

    yield make
    for session in sessions:
        await session.aclose()


def checkpoint(events: list[Any]) -> str:
    """Of the files at a turn's beginning."""
    [recorded] = [event.id for event in events if isinstance(event, Checkpointed)]
    return str(recorded)


def context(events: list[Any]) -> str:
    """What stood beside the user's message."""
    [said] = [event.context for event in events if isinstance(event, UserMessage)]
    return str(said)


def results(events: list[Any]) -> list[ToolFinished]:
    return [event for event in events if isinstance(event, ToolFinished)]


def seq_of(session: Session, text: str) -> int:
    messages = session.conversation_state.user_messages
    return next(item.seq for item in messages if getattr(item.event, "text", "") == text)


async def test_the_model_is_told_of_an_undo_with_the_next_message_once_and_only_appended(
    opened: Opened, workspace: Path
) -> None:
    session, conversation = await opened([READ, EDIT, MAKE, OK])
    events = await take(session, "Mend it")
    before = list(conversation.entries)
    report = await session.undo(checkpoint(events))
    assert (report.written, report.removed) == (["code.txt"], ["new.txt"])
    assert (workspace / "code.txt").read_text() == "broken\n"
    assert conversation.entries == before, "nothing is said before there is something to say"
    events = await take(session, "Go on")
    assert conversation.entries[: len(before)] == before
    told = [entry.content for entry in conversation.entries[len(before) :][:2]]
    assert told == [f"{UNDONE}code.txt\nnew.txt (gone again)", "Go on"]
    assert context(events) == "", "it is not told a second time as somebody's change"
    await take(session, "And on")
    assert conversation.told.count("took changes back") == 1


async def test_after_an_undo_the_first_edit_of_what_was_seen_before_holds(
    opened: Opened, workspace: Path
) -> None:
    session, _ = await opened([READ, EDIT, OK, EDIT_AGAIN, OK])
    await session.undo(checkpoint(await take(session, "Mend it")))
    [edited] = results(await take(session, "Mend it in another way"))
    assert edited.ok
    assert (workspace / "code.txt").read_text() == "better\n"


async def test_after_an_undo_nothing_is_overwritten_that_was_not_seen_as_it_is(
    opened: Opened, workspace: Path
) -> None:
    write = call("write", path="code.txt", content="all new\n")
    session, _ = await opened([READ, EDIT, OK, write, OK])
    events = await take(session, "Mend it")
    write_files(workspace, {"code.txt": "by hand\n"})
    await session.undo(checkpoint(events))
    [refused] = results(await take(session, "Write it anew"))
    assert not refused.ok
    assert "broken" in refused.content
    assert (workspace / "code.txt").read_text() == "broken\n"


async def test_what_a_person_changes_after_an_undo_is_told_beside_it(
    opened: Opened, workspace: Path
) -> None:
    session, _ = await opened([READ, EDIT, OK])
    await session.undo(checkpoint(await take(session, "Mend it")))
    write_files(workspace, {"notes.txt": "mine\n"})
    events = await take(session, "Go on")
    assert context(events) == "Changed since your last step, not by you:\nnotes.txt"


async def test_an_undo_is_known_after_resuming(opened: Opened) -> None:
    session, _ = await opened([READ, EDIT, OK])
    await session.undo(checkpoint(await take(session, "Mend it")))
    await session.aclose()
    resumed, conversation = await opened([OK], resume=session.trajectory.id)
    await take(resumed, "Go on")
    assert conversation.told.count(UNDONE) == 1
    assert conversation.told.index(UNDONE) < conversation.told.index("Go on")


async def test_an_undo_right_after_resuming_is_told(opened: Opened, workspace: Path) -> None:
    session, _ = await opened([READ, EDIT, OK])
    events = await take(session, "Mend it")
    await session.aclose()
    resumed, conversation = await opened([OK], resume=session.trajectory.id)
    await resumed.undo(checkpoint(events))
    assert (workspace / "code.txt").read_text() == "broken\n"
    await take(resumed, "Go on")
    assert conversation.told.index(UNDONE) < conversation.told.index("Go on")


async def test_an_undo_before_anything_was_said_needs_no_word(
    opened: Opened, workspace: Path
) -> None:
    session, _ = await opened([READ, EDIT, OK])
    events = await take(session, "Mend it")
    await session.aclose()
    other, conversation = await opened([OK])
    await other.undo(checkpoint(events))
    assert (workspace / "code.txt").read_text() == "broken\n"
    await take(other, "Hello")
    assert "took changes back" not in conversation.told


async def test_an_undo_of_a_stopped_turn_comes_after_the_results_of_its_calls(
    opened: Opened,
) -> None:
    def stop() -> Reply:
        session.cancel()
        return call("shell", command="sleep 60")

    session, conversation = await opened([READ, EDIT, stop, OK])
    await session.undo(checkpoint(await take(session, "Mend it")))
    await take(session, "Go on")
    last = [entry for entry in conversation.entries if isinstance(entry, Message)][-4:]
    assert [entry.role for entry in last] == ["tool", "user", "user", "user"]
    assert last[1].content == f"{UNDONE}code.txt"
    assert last[2].content.startswith("The user stopped you")
    notes = [e.event for e in session.conversation_state.history if isinstance(e.event, SystemNote)]
    assert [note.reason for note in notes] == ["undone", "interrupted"]


async def test_what_the_model_did_in_a_turn_that_was_stopped_is_not_told_as_somebody_elses(
    opened: Opened, workspace: Path
) -> None:
    def stop() -> Reply:
        session.cancel()
        return call("shell", command="sleep 60")

    session, _ = await opened([OK, READ, EDIT, stop, OK])
    await take(session, "Hello")
    await take(session, "Mend it")
    write_files(workspace, {"notes.txt": "mine\n"})
    events = await take(session, "Go on")
    assert context(events) == "Changed since your last step, not by you:\nnotes.txt"


async def test_what_a_person_changed_between_two_runs_is_told(
    opened: Opened, workspace: Path
) -> None:
    session, _ = await opened([READ, EDIT, OK])
    await take(session, "Mend it")
    await session.aclose()
    write_files(workspace, {"notes.txt": "mine\n"})
    resumed, _ = await opened([OK], resume=session.trajectory.id)
    events = await take(resumed, "Go on")
    assert context(events) == "Changed since your last step, not by you:\nnotes.txt"


async def test_a_rewind_of_the_conversation_alone_tells_which_files_are_ahead_of_it(
    opened: Opened, workspace: Path
) -> None:
    session, conversation = await opened([READ, OK, EDIT, OK, OK])
    await take(session, "Look at it")
    await take(session, "Mend it")
    assert await session.rewind(seq_of(session, "Mend it"), code=False) == []
    assert (workspace / "code.txt").read_text() == "mended\n"
    events = await take(session, "Now what?")
    assert context(events) == "Changed since your last step, not by you:\ncode.txt"
    assert "Mend it" not in conversation.told


async def test_a_rewind_with_the_files_leaves_nothing_to_tell_and_edits_hold(
    opened: Opened, workspace: Path
) -> None:
    session, _ = await opened([READ, OK, EDIT, OK, EDIT_AGAIN, OK])
    await take(session, "Look at it")
    await take(session, "Mend it")
    assert await session.rewind(seq_of(session, "Mend it"), code=True) == ["code.txt"]
    events = await take(session, "Mend it better")
    assert context(events) == ""
    [edited] = results(events)
    assert edited.ok
    assert (workspace / "code.txt").read_text() == "better\n"


async def test_after_a_rewind_a_file_that_was_read_in_the_part_that_is_gone_is_not_overwritten(
    opened: Opened, workspace: Path
) -> None:
    write = call("write", path="code.txt", content="all new\n")
    session, _ = await opened([OK, READ, OK, write, OK])
    await take(session, "Hello")
    await take(session, "Look at it")
    await session.rewind(seq_of(session, "Look at it"), code=True)
    [refused] = results(await take(session, "Write it anew"))
    assert not refused.ok
    assert (workspace / "code.txt").read_text() == "broken\n"


async def test_a_rewind_tells_again_what_a_person_changed_before_the_turn_that_is_gone(
    opened: Opened, workspace: Path
) -> None:
    session, _ = await opened([OK, READ, EDIT, OK, OK])
    await take(session, "Hello")
    write_files(workspace, {"notes.txt": "mine\n"})
    assert "notes.txt" in context(await take(session, "Mend it"))
    await session.rewind(seq_of(session, "Mend it"), code=True)
    assert (workspace / "notes.txt").read_text() == "mine\n"
    events = await take(session, "Do something else")
    assert context(events) == "Changed since your last step, not by you:\nnotes.txt"
