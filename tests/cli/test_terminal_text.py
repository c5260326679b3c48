"""No subcommand writes a control character of a record, a file name or an argument."""

from __future__ import annotations

import argparse
import contextlib
import json
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from laguna_agent.cli import COMMANDS, main
from laguna_agent.events import (
    CheckRan,
    Notice,
    ToolFinished,
    TurnFinished,
    UserMessage,
)
from laguna_agent.memory.memory_store import MemoryStore
from laguna_agent.memory.summaries import remember
from laguna_agent.trajectory.store import Trajectory
from support.sessions import call, reply

Captured = pytest.CaptureFixture[str]
HOSTILE = "\x1b]52;c;aGk=\x07\x1b[2J\x1b]8;;x\x1b\\\x9b31m\u202e\u200b\x7f\x08\x00"
UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200b]")
SESSION = "20260101-aaaa"

# Arguments for each action that show what is recorded, or else an argument that an error quotes.
ARGUMENTS: dict[tuple[str, str], list[list[str]]] = {
    ("sessions", "list"): [[], ["--json"]],
    ("sessions", "show"): [[SESSION], [SESSION, "--replay"], [HOSTILE]],
    ("sessions", "export"): [
        [SESSION, "--format", kind] for kind in ("markdown", "html", "jsonl", "atif")
    ]
    + [[SESSION, "--format", "markdown", "--redact"]],
    ("sessions", "delete"): [[HOSTILE, "--yes"]],
    ("memory", "list"): [[], ["--json"]],
    ("memory", "show"): [[SESSION], [HOSTILE]],
    ("memory", "search"): [["needle"], [HOSTILE]],
    ("memory", "forget"): [[HOSTILE]],
    ("memory", "path"): [[HOSTILE]],
    ("models", "list"): [[]],
    ("models", "search"): [[HOSTILE]],
    ("models", "show"): [[HOSTILE]],
    ("models", "pull"): [[HOSTILE]],
    ("models", "import"): [[HOSTILE]],
    ("models", "remove"): [[HOSTILE]],
    ("models", "default"): [[HOSTILE]],
    ("models", "fit"): [[HOSTILE]],
    ("models", "experts"): [[HOSTILE, HOSTILE]],
    ("models", "compare"): [[HOSTILE, HOSTILE], [HOSTILE, "--kv", HOSTILE]],
    ("prompts", "list"): [[]],
    ("prompts", "show"): [[HOSTILE], ["--file", "system.md", "mine"]],
    ("prompts", "new"): [[HOSTILE]],
    ("prompts", "edit"): [[HOSTILE, "system.md"]],
    ("prompts", "lint"): [[HOSTILE]],
    ("prompts", "diff"): [[HOSTILE]],
    ("config", "show"): [[], [HOSTILE]],
    ("config", "path"): [[]],
    ("config", "edit"): [[HOSTILE]],
    ("engine", "status"): [[]],
    ("engine", "stop"): [[HOSTILE]],
    ("demo", ""): [["--model", HOSTILE]],
    ("doctor", ""): [["--why", f"echo {HOSTILE}"]],
    ("trust", ""): [["--show"], ["--digest", HOSTILE]],
    ("completion", ""): [[HOSTILE]],
    ("undo", ""): [["--list"], [HOSTILE], ["--session", HOSTILE]],
    ("bench", ""): [["--model", HOSTILE]],
    ("eval", ""): [[HOSTILE]],
    ("acp", ""): [["--print-config", HOSTILE]],
    ("mcp", "list"): [[]],
    ("mcp", "add"): [[HOSTILE, HOSTILE]],
    ("mcp", "remove"): [[HOSTILE]],
    ("mcp", "test"): [[HOSTILE]],
    ("mcp", "login"): [[HOSTILE]],
}


def actions() -> Iterator[tuple[str, str]]:
    for name in COMMANDS:
        parser = import_module(f"laguna_agent.interfaces.commands.{name}").make_parser()
        groups = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
        for action in [action for group in groups for action in group.choices] or [""]:
            yield name, action


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose session, memory, settings and file names hold escape sequences."""
    root = tmp_path / "repo"
    laguna = root / ".laguna"
    for folder in (laguna / "prompts" / "mine", root / ".git"):
        folder.mkdir(parents=True)
    (laguna / "config.toml").write_text('model = "x"\n')
    name = HOSTILE.replace("\x00", "")
    (laguna / f"AGENTS{name}.md".replace("/", "")).write_text(HOSTILE)
    (laguna / "prompts" / "mine" / "pack.toml").write_text('extends = "base"\n')
    (laguna / "prompts" / "mine" / "system.md").write_text(f"needle {HOSTILE}")
    (root / "AGENTS.md").write_text(HOSTILE)
    monkeypatch.chdir(root)
    text = f"needle {HOSTILE} end"
    trajectory = Trajectory.create(root, session_id=SESSION)
    for event in (
        UserMessage(text=text),
        reply(call("c", "shell", command=text), text=text, prompt=[1], ids=[2]),
        ToolFinished(call_id="c", name="shell", title=text, ok=True, content=text, diff=text),
        CheckRan(command=text, exit_code=1, output=text),
        Notice(text=text),
        TurnFinished(status="done", summary=text),
    ):
        trajectory.append(event)
    remember(MemoryStore(root), trajectory, text=f"Goal:\n- needle {HOSTILE}\nFiles:\n- {HOSTILE}")
    trajectory.close()
    return root


def test_each_action_of_each_command_is_tried_below() -> None:
    assert set(actions()) == set(ARGUMENTS)


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_writes_control_characters(
    command: str, repository: Path, capfd: Captured
) -> None:
    tried = [(a, line) for (c, a), lines in ARGUMENTS.items() if c == command for line in lines]
    for action, line in tried:
        with contextlib.suppress(SystemExit):
            main([command, *([action] if action else []), *line])
        out, err = capfd.readouterr()
        for text in (out, err):
            found = UNSAFE.search(text)
            assert found is None, (action, line, text[max(0, found.start() - 60) :][:90])


def test_what_was_recorded_is_still_there_to_read(repository: Path, capfd: Captured) -> None:
    for line in (["show", SESSION], ["show", SESSION, "--replay"]):
        assert main(["sessions", *line]) == 0
        assert "needle \\x1b]52;c;aGk=\\x07" in capfd.readouterr().out
    assert main(["memory", "search", "needle"]) == 0
    assert "\\x1b" in capfd.readouterr().out
    assert main(["sessions", "export", SESSION, "--format", "jsonl"]) == 0
    first = json.loads(capfd.readouterr().out.split("\n")[0])
    assert first["text"] == f"needle {HOSTILE} end"
