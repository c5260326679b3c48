"""The same task through every interface leaves the same record, but for times and ids."""

from __future__ import annotations

import json
import queue
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from laguna_agent import Laguna
from laguna_agent.agent.settings import make_settings
from laguna_agent.interfaces.tui import messages
from laguna_agent.interfaces.tui.agent_thread import AgentThread
from support.editor import Editor, PlayedModel
from support.model_server import calls, says
from support.packs import write_files

TASK = "Write two in the place of one, and look at it"
SCRIPT = (
    calls(("plan", '{"steps": ["[>] change", "[ ] look"]}')),
    calls(("edit", '{"path": "a.txt", "old": "one", "new": "two"}')),
    calls(("shell", '{"command": "cat a.txt"}')),
    says("It says two.", prompt_tokens=90, completion_tokens=4),
)


def by_task(home: Path, folder: Path) -> None:
    argv = [sys.executable, "-m", "laguna_agent.cli", "--task", TASK, "-C", str(folder)]
    subprocess.run([*argv, "--output", "json"], check=True, capture_output=True)


def by_library(home: Path, folder: Path) -> None:
    with Laguna(folder) as laguna:
        assert laguna.run(TASK).status == "done"


def by_terminal(home: Path, folder: Path) -> None:
    posted: queue.Queue[Any] = queue.Queue()
    thread = AgentThread(lambda: make_settings(folder, flags={}, interactive=True), posted.put)
    thread.start()
    while not isinstance(posted.get(timeout=60), messages.SessionOpened):
        pass
    thread.turn(TASK)
    while not isinstance(posted.get(timeout=60), messages.WorkEnded):
        pass
    thread.close()


def by_editor(home: Path, folder: Path) -> None:
    editor = Editor(home)
    assert editor.prompt(editor.new(folder), TASK)["stopReason"] == "end_turn"
    assert editor.close() == 0


def record(home: Path) -> list[dict[str, Any]]:
    """The events of the only session, without what differs from one run to the next.

    The files are recorded beside the turn, so that event comes first wherever it was.
    """
    [path] = home.glob("state/*/sessions/*/events.jsonl")
    events = [_without(json.loads(line), path.parent.name) for line in path.open()]
    return sorted(events, key=lambda event: event["type"] != "checkpointed")


def _without(value: Any, session: str) -> Any:
    if isinstance(value, dict):
        left_out = {"seq", "ts", "seed", "checkpoint", "timings", "versions"}
        return {
            key: _without(item, session)
            for key, item in value.items()
            if key not in left_out and not key.endswith("_s")
            and not (key == "id" and value.get("type") == "checkpointed")
        }  # fmt: skip
    if isinstance(value, list):
        return [_without(item, session) for item in value]
    if isinstance(value, str):
        return re.sub(r"\d{2}:\d{2}(:\d{2})?", "TIME", value.replace(session, "SESSION"))
    return value


def test_every_interface_leaves_the_same_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways: list[Callable[[Path, Path], None]] = [by_task, by_library, by_terminal, by_editor]
    records = []
    with PlayedModel().serving(tmp_path / "model") as model:
        config = (tmp_path / "model" / "config" / "config.toml").read_text()
        for way in ways:
            home = tmp_path / way.__name__
            write_files(home, {"config/config.toml": f'mode = "auto"\n{config}'})
            monkeypatch.setenv("LAGUNA_HOME", str(home))
            folder = write_files(tmp_path / "repo", {"a.txt": "one\n"})
            model.play(*SCRIPT)
            way(home, folder)
            assert (folder / "a.txt").read_text() == "two\n"
            records.append(record(home))
            shutil.rmtree(folder)
    assert len(records[0]) > 12
    for other in records[1:]:
        assert other == records[0]
