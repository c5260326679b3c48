"""A session that laguna 0.1.0 recorded opens, shows, continues and exports in every later version.

`tests/fixtures/recorded_session` is the state directory of a repository as that version left it:
four turns with tool calls, a denied approval, a message sent while the agent worked, a plan, a
compaction, a rewind, an undo, checkpoints and memory. Never record it again: what is on users'
disks does not change either.
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from laguna_agent.events import Reply, SystemPrompt, UserMessage
from laguna_agent.memory.memory_store import MemoryStore
from laguna_agent.memory.recall import Recall
from laguna_agent.paths import repository_state_dir
from laguna_agent.trajectory.atif import write_atif
from laguna_agent.trajectory.codec import encode
from laguna_agent.trajectory.document import write_html, write_markdown
from laguna_agent.trajectory.index import SessionIndex
from laguna_agent.trajectory.redact import Redacted, Redactor
from laguna_agent.trajectory.replay import conversation_state
from laguna_agent.trajectory.store import Trajectory
from support.atif import Document
from support.scripted import call, take

FIXTURE = Path(__file__).parents[1] / "fixtures" / "recorded_session"
ID = "260310-140502-b7km"
CALC = '''\
"""Sums."""


def add(a, b):
    """The sum of two numbers."""
    return a + b


def subtract(a, b):
    return a - b
'''

Opened = Callable[..., Awaitable[tuple[Any, Any]]]


@pytest.fixture
def workspace(tmp_path: Path, laguna_home: Path) -> Path:
    root = tmp_path / "calc"
    root.mkdir()
    (root / ".git").mkdir()
    (root / "calc.py").write_text(CALC)
    state = repository_state_dir(root)
    shutil.copytree(FIXTURE, state)
    (state / "checkpoints" / "git" / "refs" / "checkpoints").mkdir(parents=True)
    return root


@pytest.fixture
def recorded(workspace: Path) -> Trajectory:
    with SessionIndex(workspace) as index:
        return Trajectory.open(index.resolve(ID), for_append=False)


def test_no_field_of_the_record_changes_its_name_or_value(
    recorded: Trajectory, tmp_path: Path
) -> None:
    blobs = tmp_path / "blobs"
    lines = recorded.path.read_bytes().splitlines()
    stored = list(recorded.events())
    assert len(stored) == len(lines) == 114
    assert recorded.problems == []
    for line, item in zip(lines, stored, strict=True):
        again = json.loads(encode(item.seq, item.ts, item.event, blobs))
        old = json.loads(line)
        assert {name: again.get(name) for name in old} == old
    assert {path.name for path in blobs.iterdir()} == {p.name for p in recorded.blobs.iterdir()}


def test_it_is_listed_with_or_without_its_meta_file(workspace: Path) -> None:
    def listed() -> tuple[object, ...]:
        with SessionIndex(workspace) as index:
            (row,) = index.sessions()
        return row.id, row.title, row.repository, row.model, row.created

    known = listed()
    assert known == (
        ID,
        "Fix calc.add: it subtracts. Never change the tests.",
        "/home/user/calc",
        "scripted",
        "2026-03-10T14:05:02.370Z",
    )
    state = repository_state_dir(workspace)
    (state / "sessions" / ID / "meta.json").unlink()
    (state / "sessions.sqlite").unlink()
    assert listed()[:4] == known[:4]
    meta = Trajectory.open(state / "sessions" / ID, for_append=False).meta
    assert (meta.turns, meta.steps, meta.calls, meta.compactions) == (4, 18, 18, 1)
    assert (meta.status, meta.files_changed) == ("done", ["calc.py", "README.md"])


def test_the_state_of_its_conversation_is_what_the_record_says(recorded: Trajectory) -> None:
    state = conversation_state(recorded)
    assert (state.epoch, state.turns, state.last_status) == (1, 3, "done")
    assert [
        item.event.text for item in state.user_messages if item.event.type == "user_message"
    ] == [
        "Fix calc.add: it subtracts. Never change the tests.",
        "Give add a docstring, too.",
        "Now write subtract as well.",
        "No, keep that name. Write a README.",
    ]
    assert [(step.text, step.status) for step in state.plan] == [
        ("write subtract", "done"),
        ("test subtract", "active"),
    ]
    assert [item.event.type for item in state.pending] == ["tool_finished", "system_note"]
    assert state.missing_results == []


def test_the_tokens_of_its_prompt_come_back_whole(recorded: Trajectory) -> None:
    for stored in recorded.events():
        if isinstance(stored.event, Reply):
            state = conversation_state(recorded, at=stored.seq)
            assert state.system is not None
            assert state.system.token_ids is not None
            assert state.token_ids is not None
            # `prompt_tokens` was counted by the model when it replied.
            prompt = len(state.system.token_ids) + len(state.token_ids)
            assert prompt - len(stored.event.token_ids or ()) == stored.event.usage.prompt_tokens


def test_its_exports_hold_what_was_done(recorded: Trajectory) -> None:
    out = io.StringIO()
    write_atif(recorded, out, session=ID)
    document = Document.model_validate(json.loads(out.getvalue()))
    assert document.agent.version == "0.1.0"
    assert document.final_metrics is not None
    assert document.final_metrics.total_steps == len(document.steps) == 25
    prefix = next(s.event for s in recorded.events() if isinstance(s.event, SystemPrompt))
    replies = [step.metrics for step in document.steps if step.source == "agent"]
    for metrics in replies:
        assert metrics is not None
        assert metrics.prompt_token_ids is not None
        assert len(metrics.prompt_token_ids) == metrics.prompt_tokens
        assert metrics.prompt_token_ids[: prefix.tokens] == prefix.token_ids
    assert "minus" not in out.getvalue()  # that turn was rewound

    page = io.StringIO()
    write_markdown(recorded.events(), recorded.meta, page)
    html = io.StringIO()
    write_html(recorded.events(), recorded.meta, html)
    for text in (page.getvalue(), html.getvalue()):
        for expected in (
            "Fix calc.add: it subtracts. Never change the tests.",
            "old holds what I still need",
            "Give add a docstring, too.",
            "test subtract",
            "4 turns, 18 steps, 114 events",
        ):
            assert expected in text
        assert "0 files" not in text  # that version did not count them
    redacted = io.StringIO()
    write_atif(Redacted(recorded, Redactor()), redacted, session=ID)
    Document.model_validate(json.loads(redacted.getvalue()))


async def test_it_continues_with_a_turn(opened: Opened, workspace: Path) -> None:
    session, conversation = await opened(
        [
            call("edit", path="calc.py", old="Sums.", new="Sums and differences."),
            call("done", summary="The docstring names both."),
        ],
        resume=ID,
        mode="accept-edits",
    )
    events = await take(session, "Name both in the module's docstring.")
    assert events[-1].type == "turn_finished"
    assert (events[-1].status, events[-1].files_changed) == ("done", ["calc.py"])
    assert "Sums and differences." in (workspace / "calc.py").read_text()
    assert [event.files for event in events if event.type == "checkpointed"] == [1]
    page = io.StringIO()
    write_markdown(session.trajectory.events(115), session.trajectory.meta, page)
    assert "\n1 file, " in page.getvalue()
    # The prompt is the recorded one: neither a new system prompt nor a new first message.
    assert [event.type for event in events if event.type == "system_prompt"] == []
    assert "The user took changes back" in conversation.prompt
    assert conversation.prompt.index("README.md") < conversation.prompt.index("Name both")
    assert session.trajectory.last_seq > 114
    assert [stored.seq for stored in session.trajectory.events()] == list(
        range(1, session.trajectory.last_seq + 1)
    )


async def test_it_forks_and_the_copy_continues(opened: Opened, workspace: Path) -> None:
    session, _ = await opened([call("done", summary="Nothing to do.")], fork=ID)
    await take(session, "Is anything open?")
    assert session.trajectory.meta.parent == f"{ID}:114"
    origin = Trajectory.open(repository_state_dir(workspace) / "sessions" / ID, for_append=False)
    assert origin.last_seq == 114
    copied = list(session.trajectory.events())[:114]
    assert [item.event for item in copied] == [item.event for item in origin.events()]


async def test_it_rewinds_to_an_old_turn_with_its_files(opened: Opened, workspace: Path) -> None:
    session, _ = await opened([call("done", summary="")], resume=ID)
    (second,) = (
        stored.seq
        for stored in session.trajectory.events()
        if isinstance(stored.event, UserMessage) and "subtract as well" in stored.event.text
    )
    assert "calc.py" in await session.rewind(second, code=True)
    assert "def add" in (workspace / "calc.py").read_text()
    assert "def subtract" not in (workspace / "calc.py").read_text()
    state = conversation_state(session.trajectory)
    assert (state.epoch, len(state.user_messages)) == (0, 2)


async def test_its_turns_are_undone(opened: Opened, workspace: Path) -> None:
    session, _ = await opened([call("done", summary="")], resume=ID)
    await session.undo(9)
    assert "return a - b" in (workspace / "calc.py").read_text()
    assert "docstring" not in (workspace / "calc.py").read_text()


async def test_recall_finds_it_and_its_memory(workspace: Path) -> None:
    memory = MemoryStore(workspace).get(ID)
    assert memory.level == "session"
    assert not memory.edited
    assert len(memory.sources) == 5
    recall = Recall(workspace)
    assert [hit.memory.session for hit in recall.memories("why did calc.add subtract")] == [ID]
    assert [hit.seq for hit in recall.events("wrong operator") if hit.kind == "reply"] == [24]
    assert "add subtracts because of the wrong operator" in recall.open(ID, 24)
    assert ID in await recall.for_task("add a test of subtract", budget=400, count=len)
    recall.close()
