"""`laguna memory` on the command line."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from laguna_agent.errors import UsageError
from laguna_agent.interfaces.commands.memory import main
from laguna_agent.memory.memory_store import MemoryStore
from laguna_agent.memory.summaries import remember
from laguna_agent.trajectory.store import Trajectory
from support import sessions as samples

Captured = pytest.CaptureFixture[str]
SESSION = "261124-173708-x7qd"


@pytest.fixture
def memory(root: Path) -> Path:
    with Trajectory.create(root, session_id=SESSION) as trajectory:
        for event in samples.session():
            trajectory.append(event)
        path = remember(MemoryStore(root), trajectory)
    assert path is not None
    return path


def run(root: Path, action: str, *arguments: str) -> int:
    return main([action, "-C", str(root), *arguments])


def test_list(root: Path, memory: Path, capsys: Captured) -> None:
    assert run(root, "list") == 0
    line = capsys.readouterr().out
    assert f"{SESSION}-1" in line
    assert "Fix calc.add" in line
    assert "(edited)" not in line
    memory.write_text(memory.read_text() + "more\n")
    assert run(root, "list") == 0
    assert "(edited)" in capsys.readouterr().out
    assert run(root, "list", "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["files"] == ["calc.py"]


def test_list_without_memories(root: Path, capsys: Captured) -> None:
    assert run(root, "list") == 0
    assert "No memories" in capsys.readouterr().err


def test_no_search_waits_for_a_pipe(root: Path, memory: Path, capsys: Captured) -> None:
    with Trajectory.create(root, session_id="261124-173709-pipe") as trajectory:
        events = trajectory.directory / "events.jsonl"
    events.unlink(missing_ok=True)
    os.mkfifo(events)
    os.mkfifo(memory.with_name("pipe.md"))
    assert run(root, "search", "calc") == 0
    assert SESSION in capsys.readouterr().out


def test_show_and_path(root: Path, memory: Path, capsys: Captured) -> None:
    assert run(root, "show", SESSION[:6]) == 0
    assert capsys.readouterr().out == memory.read_text()
    assert run(root, "path", SESSION) == 0
    assert capsys.readouterr().out == f"{memory}\n"
    assert run(root, "path") == 0
    assert capsys.readouterr().out == f"{memory.parent.parent}\n"


def test_search_finds_memories_and_events(root: Path, memory: Path, capsys: Captured) -> None:
    assert run(root, "search", "subtracts", "calc.add") == 0
    out = capsys.readouterr().out
    assert f"## memory {SESSION}-1" in out
    assert f"## {SESSION} e15" in out
    assert run(root, "search", SESSION, "e11") == 0
    assert "assert 3 == 4" in capsys.readouterr().out
    assert run(root, "search", "nothinglikeit") == 1
    assert "Nothing is on record" in capsys.readouterr().err


def test_forget(root: Path, memory: Path, capsys: Captured) -> None:
    assert run(root, "forget", f"{SESSION}-1") == 0
    assert not memory.exists()
    with pytest.raises(UsageError, match="no memory"):
        run(root, "show", SESSION)
