"""Locks between processes, with `flock` and on file systems that have none."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import pytest

from laguna_agent import file_lock
from laguna_agent.agent.model_loading import LoadedModel
from laguna_agent.agent.session import Session
from laguna_agent.agent.settings import Settings
from laguna_agent.config import load_config
from laguna_agent.errors import UsageError
from laguna_agent.file_lock import LockHeldError, locked
from laguna_agent.interfaces.headless import run_task
from laguna_agent.models.store import Store
from laguna_agent.prompts.loader.pack import load_pack
from laguna_agent.trajectory.store import Trajectory, is_locked
from support.packs import write_files
from support.scripted import ScriptedConversation, call

NO_LOCKS = {
    "Lustre": errno.ENOSYS,
    "NFS without lockd": errno.ENOLCK,
    "FUSE": errno.EOPNOTSUPP,
    "NFS, a directory": errno.EBADF,
}


def take_flock_away(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)


@pytest.fixture
def no_flock(monkeypatch: pytest.MonkeyPatch) -> None:
    take_flock_away(monkeypatch, errno.ENOSYS)


HOLDER = """
import fcntl, os, sys
from pathlib import Path
from laguna_agent import file_lock

def refuse(*_): raise OSError(38, "Function not implemented")
fcntl.flock = refuse
with file_lock.locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(path: Path) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    return process


@pytest.mark.parametrize("system", ["with flock", *NO_LOCKS])
def test_one_holds_the_lock_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str
) -> None:
    if system in NO_LOCKS:
        take_flock_away(monkeypatch, NO_LOCKS[system])
    counts: list[int] = []

    def count() -> None:
        with locked(tmp_path / "lock"):
            before = len(counts)
            counts.append(before)
            assert len(counts) == before + 1

    threads = [threading.Thread(target=count) for _ in range(8)]
    with locked(tmp_path / "lock"):
        for thread in threads:
            thread.start()
        with pytest.raises(LockHeldError), locked(tmp_path / "lock", wait=False):
            pass
        assert counts == []
    for thread in threads:
        thread.join()
    assert counts == list(range(8))
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


@pytest.mark.usefixtures("no_flock")
def test_a_lock_file_is_held_as_long_as_its_process_lives(tmp_path: Path) -> None:
    process = holder(tmp_path / "lock")
    held = pytest.raises(LockHeldError, match=f"process {process.pid} on .*\n.*remove .*lock.held")
    with held, locked(tmp_path / "lock", wait=False):
        pass
    assert file_lock.is_held(tmp_path / "lock.held")
    process.kill()
    process.communicate()
    assert not file_lock.is_held(tmp_path / "lock.held")
    with locked(tmp_path / "lock", wait=False):
        pass


@pytest.mark.usefixtures("no_flock")
@pytest.mark.parametrize(
    ("change", "held"),
    [
        ({}, True),
        ({"start": "1"}, False),  # the pid belongs to another process by now
        ({"host": "elsewhere", "pid": "999999999"}, True),
        ({"space": "pid:[1]", "pid": "999999999"}, True),
    ],
)
def test_who_may_still_hold_a_lock_file(tmp_path: Path, change: dict[str, str], held: bool) -> None:
    identity = file_lock._identity(os.getpid()) | change
    (tmp_path / "lock.held").write_text(json.dumps(identity))
    assert file_lock.is_held(tmp_path / "lock.held") == held
    if not held:
        with locked(tmp_path / "lock", wait=False):
            pass


@pytest.mark.usefixtures("no_flock")
@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": "x"}', "\0" * 40])
def test_a_lock_file_that_a_crash_left_damaged_is_removed(tmp_path: Path, content: str) -> None:
    path = tmp_path / "lock.held"
    path.write_text(content)
    os.utime(path, (1, 1))
    with locked(tmp_path / "lock", wait=False):
        pass


@pytest.mark.usefixtures("laguna_home", "no_flock")
def test_a_session_has_one_writer(tmp_path: Path) -> None:
    with Trajectory.create(tmp_path) as trajectory:
        (problem,) = trajectory.problems
        assert "has no locks; a file is used" in problem
        assert is_locked(trajectory.directory)
        with pytest.raises(UsageError, match="in use by another laguna"):
            Trajectory.open(trajectory.path)
    assert not is_locked(trajectory.directory)
    Trajectory.open(trajectory.path).close()


@pytest.mark.usefixtures("laguna_home", "no_flock")
async def test_a_task_runs_where_there_are_no_locks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def load(config: object, **_: object) -> LoadedModel:
        script = [call("write", path="a.txt", content="1\n"), call("done", summary="ok")]
        conversation = ScriptedConversation(script, limit=32_768)
        pack = load_pack("base", model_name="scripted")
        return LoadedModel(conversation, conversation.info, pack)

    workspace = write_files(tmp_path / "repo", {"b.txt": "0\n"})
    settings = Settings(cwd=workspace, config=load_config(), mode="auto")
    opening = partial(Session.open, load=load)
    assert int(await run_task("Do it", settings, "stream-json", open_session=opening)) == 0
    *events, result = map(json.loads, capsys.readouterr().out.splitlines())
    assert result["files_changed"] == ["a.txt"]
    warned = [event for event in events if "has no locks" in json.dumps(event)]
    assert len(warned) == 1
    assert any(event["type"] == "checkpointed" for event in events)
    Store().set_default(None)
