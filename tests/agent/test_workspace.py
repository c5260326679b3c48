"""What is a workspace, and what checkpoints cost: a home is none by itself, large files are left
out, and no checkpoint delays the first reply."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from laguna_agent.agent import turn_files
from laguna_agent.cli import main
from laguna_agent.events import Checkpointed, Notice, Reply, StepStarted
from laguna_agent.paths import passed_over, repository_root, repository_state_dir
from laguna_agent.tools.checkpoints.checkpoints import Checkpoints
from support.packs import write_files
from support.scripted import Script, call, end_of, open_scripted, run_scripted, take

Opened = Callable[..., Any]
Headless = Callable[..., Any]
OK = Reply(text="ok")
EDIT = call("write", path="new.txt", content="made\n")


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return write_files(tmp_path / "repo", {"code.txt": "one\n"})


@pytest.fixture
def headless(workspace: Path, capsys: pytest.CaptureFixture[str]) -> Headless:
    """Runs a task; returns the exit code and the object that it printed."""

    async def run(script: Script, **more: Any) -> tuple[int, dict[str, Any]]:
        code = await run_scripted(workspace, script, **more)
        return code, json.loads(capsys.readouterr().out)

    return run


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = write_files(tmp_path / "people" / "home", {".ssh/id_ed25519": "SECRET\n"})
    (home / ".git").mkdir()
    monkeypatch.setenv("HOME", str(home))
    return home


@pytest.mark.parametrize("where", ["project", "deep/in/it", "project/.git/.."])
def test_a_repository_that_is_the_home_is_not_that_of_a_folder_below(
    home: Path, where: str
) -> None:
    (home / where).mkdir(parents=True, exist_ok=True)
    (home / "project" / ".git").mkdir(parents=True, exist_ok=True)
    folder = (home / where).resolve()
    assert repository_root(folder) == folder
    assert passed_over(folder) == (None if folder == home / "project" else home)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["", "..", "/"])
def test_a_home_is_a_workspace_only_where_it_is_named(
    home: Path, where: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = (home / where).resolve()
    monkeypatch.chdir(folder)
    assert main(["--task", "Do it", "--output", "json"]) == 2
    out, err = capsys.readouterr()
    assert json.loads(out)["status"] == "error"
    assert "holds your home directory" in err
    assert f"-C {folder}" in err
    main(["--task", "Do it", "-C", str(folder), "--model", "no/such"])
    assert "holds your home" not in capsys.readouterr().err


async def test_a_home_that_is_named_is_neither_copied_nor_listed(home: Path) -> None:
    session, conversation = await open_scripted(home, [EDIT, OK])
    events = await take(session, "Do it")
    assert "id_ed25519" not in conversation.prompt
    checkpoints = Checkpoints(home, repository_state_dir(home))
    assert checkpoints.history() == []
    said = [event.text for event in events if isinstance(event, Notice)]
    assert any("Undo covers only what edits change here" in text for text in said)
    assert end_of(events).files_changed == ["new.txt"]
    await session.undo()
    assert not (home / "new.txt").exists()
    await session.aclose()


async def test_a_checkpoint_is_recorded_beside_the_first_reply_and_before_the_first_change(
    opened: Opened, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = threading.Event()
    seen: list[bool] = []
    record = Checkpoints.record

    def slow(self: Checkpoints, label: str) -> str:
        seen.append(asked.wait(timeout=20))
        assert not (workspace / "new.txt").exists()
        return record(self, label)

    def ask(event: Any) -> None:
        if isinstance(event, StepStarted):
            asked.set()

    monkeypatch.setattr(Checkpoints, "record", slow)
    session, _ = await opened([EDIT, OK])
    events = await take(session, "Do it", watch=ask)
    assert seen == [True]
    [checkpoint] = [event.id for event in events if isinstance(event, Checkpointed)]
    assert session.checkpoints.changed_since(checkpoint) == ["new.txt"]


async def test_files_that_are_left_out_are_named_once(opened: Opened, workspace: Path) -> None:
    for number in range(5):
        with (workspace / f"data{number}.bin").open("wb") as file:
            file.truncate(33 << 20)
    session, _ = await opened([OK, OK])
    texts = []
    for message in ("Look", "Look again"):
        events = await take(session, message)
        texts += [e.text for e in events if isinstance(e, Notice) and "Too large" in e.text]
    assert len(texts) == 1
    assert texts[0].startswith("Too large for undo: data0.bin, data1.bin, data2.bin and 2 more.")
    stored = repository_state_dir(workspace) / "checkpoints" / "git" / "objects"
    assert sum(path.stat().st_size for path in stored.rglob("*") if path.is_file()) < 100_000


async def test_many_files_that_are_too_much_together_stay_out_of_later_checkpoints(
    tmp_path: Path, workspace: Path
) -> None:
    checkpoints = Checkpoints(workspace, tmp_path / "state", max_bytes=1 << 20)
    for number in range(8):
        (workspace / f"data{number}").write_bytes(os.urandom(300_000 + number))
    (workspace / "code.py").write_text("x = 1\n")
    first = checkpoints.info(checkpoints.record("first"))
    assert len(first.skipped) == 5
    assert "code.py" not in first.skipped
    assert checkpoints.info(checkpoints.record("second")).skipped == first.skipped


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_leaves_a_full_account(
    workspace: Path, headless: Headless, number: signal.Signals
) -> None:
    def stop() -> Reply:
        os.kill(os.getpid(), number)
        return call("shell", command="echo late > late.txt; sleep 60")

    code, result = await headless([call("shell", command="echo made > new.txt"), stop, OK])
    assert (code, result["status"]) == (130, "interrupted")
    assert result["steps"] == 2
    assert result["duration_s"] > 0
    assert result["usage"]["completion_tokens"] >= 10
    assert "new.txt" in result["files_changed"]


async def test_a_timeout_leaves_a_full_account(workspace: Path, headless: Headless) -> None:
    script = [EDIT, call("shell", command="echo made > made.txt; sleep 60"), OK]
    flags = {"limits": {"timeout": 1.5}}
    code, result = await headless(script, flags=flags)
    assert (code, result["status"]) == (5, "limit")
    assert "--timeout" in result["error"]
    there = sorted({"made.txt", "new.txt"} & set(os.listdir(workspace)))
    assert (result["files_changed"], result["steps"] > 0) == (there, True)
    assert (result["usage"]["completion_tokens"] >= 10) is bool(there)


async def test_tokens_of_a_summary_are_counted(opened: Opened, workspace: Path) -> None:
    looks = [call("shell", command=f"seq {first} {first + 3_000}") for first in (1, 2, 3)]
    session, _ = await opened([*looks, Reply(text="- did it"), OK], limit=8_000)
    events = await take(session, "Look")
    replies = [event for event in events if isinstance(event, Reply)]
    assert any(event.type == "compacted" for event in events)
    total = sum(reply.usage.completion_tokens for reply in replies)
    assert end_of(events).usage.completion_tokens == total


async def test_a_turn_that_changes_nothing_does_not_wait_for_its_checkpoint(
    opened: Opened, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = threading.Event()
    record = Checkpoints.record

    def slow(self: Checkpoints, label: str) -> str:
        ended.wait(timeout=20)
        return record(self, label)

    monkeypatch.setattr(Checkpoints, "record", slow)
    monkeypatch.setattr(turn_files, "_PATIENCE_S", 0.0)
    session, _ = await opened([OK, EDIT, OK])
    assert end_of(await take(session, "What is this?")).status == "done"
    ended.set()
    assert end_of(await take(session, "Make it")).files_changed == ["new.txt"]
