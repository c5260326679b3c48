"""The starter with a pack of one's own: it uses a tool written in text, and finds its prefix again
after a restart, until the pack is edited."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.packs import write_files

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PACK = {
    "desk/pack.toml": 'extends = "small"\ntools = ["done"]\n[limits]\nreply_tokens = 160\n',
    "desk/system.md": "You are the desk for questions about releases. Take one action in each "
    "reply, beginning with ###. Look up what you do not know, then give the answer with done.\n",
    "desk/tools/codename.md": """+++
command = "grep -F -- {number}= .names/list | cut -d= -f2"
[arguments.number]
type = "number"
+++
Look up the code name of a release by its number.
""",
}
TASK = "What is the code name of release 7?"


@pytest.fixture
def desk(laguna_home: Path, tmp_path: Path) -> Path:
    write_files(laguna_home / "config/prompts", PACK)
    repository = write_files(
        tmp_path / "repository", {".names/list": "6=Dim Otter\n7=Bright Heron\n"}
    )
    subprocess.run(["git", "init", "-q"], cwd=repository, check=True)
    return repository


Run = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def task(desk: Path, starter_model: Path) -> Iterator[Run]:
    """Runs a task in a new process with a new engine; gives the events of its trajectory."""

    def laguna(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "laguna_agent.cli", *arguments],
            cwd=desk,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode in (0, 5), done.stderr
        return done.stdout

    def run(text: str, steps: int) -> list[dict[str, Any]]:
        laguna("engine", "stop")
        out = laguna(
            "--task", text, "--model", str(starter_model), "--pack", "desk",
            "--output", "json", "--max-steps", str(steps),
        )  # fmt: skip
        lines = Path(json.loads(out)["trajectory"]).read_text().split("\n")
        events = [json.loads(line) for line in lines if line]
        return [event.get("event", event) for event in events]

    yield run
    laguna("engine", "stop")


def of_type(events: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [event for event in events if event["type"] == kind]


def test_the_starter_uses_a_tool_that_is_written_only_in_text(task: Run) -> None:
    events = task(TASK, 3)
    [call, *_] = [call for reply in of_type(events, "reply") for call in reply["tool_calls"]]
    assert (call["name"], call["arguments"]) == ("codename", {"number": 7})
    [called, *_] = of_type(events, "tool_finished")
    assert (called["name"], called["ok"], called["content"]) == ("codename", True, "Bright Heron")


def test_a_custom_packs_prefix_is_found_after_a_restart_and_missed_after_an_edit(
    task: Run, laguna_home: Path
) -> None:
    def first_reply(text: str) -> tuple[int, dict[str, Any]]:
        events = task(text, 1)
        return of_type(events, "system_prompt")[0]["tokens"], of_type(events, "reply")[0]

    prefix, cold = first_reply("Look up release 7.")
    assert cold["usage"]["restored_tokens"] == 0
    _, warm = first_reply("Look up release 6, please.")
    assert warm["usage"]["restored_tokens"] >= 0.99 * prefix
    assert warm["usage"]["restored_tokens"] <= warm["usage"]["reused_tokens"]
    path = laguna_home / "config/prompts/desk/system.md"
    path.write_text("Answer in capitals.\n{{ super() }}\n")
    _, edited = first_reply("Look up release 6, please.")
    assert edited["usage"]["reused_tokens"] < 0.5 * prefix
    assert "the system prompt or the tools changed" in edited["miss"]["reason"]
    assert 0 < edited["miss"]["position"] < prefix
