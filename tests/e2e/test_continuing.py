"""Continuing sessions with the real command: continue, resume, fork, after a kill, with memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.synthetic import smooth_laguna


@pytest.fixture
def tiny(tiny: list[str]) -> list[str]:
    return [*tiny, "--temperature", "0", "--max-tokens", "8", "--output", "json"]


@pytest.fixture
def task(laguna: Any, tiny: list[str], tmp_path: Path) -> Any:
    """Runs one task in a directory of its own; gives the object on standard output."""
    root = tmp_path / "project"
    root.mkdir()

    def run(text: str, *flags: str) -> dict[str, Any]:
        done = laguna("--task", text, *tiny, *flags, cwd=root)
        assert done.code == 5, done.out + done.err  # a step was not enough, as it should be
        result: dict[str, Any] = done.result
        return result

    run.root = root  # type: ignore[attr-defined]  # where it runs
    return run


def events_of(result: dict[str, Any]) -> list[dict[str, Any]]:
    text = Path(result["trajectory"]).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.split("\n") if line]


def messages_of(result: dict[str, Any]) -> list[str]:
    return [e["text"] for e in events_of(result) if e["type"] == "user_message"]


@pytest.mark.slow
def test_sessions_are_continued_resumed_and_forked(task: Any) -> None:
    first = task("Say one")
    second = task("Say two")
    assert first["session"] != second["session"]
    again = task("Say three", "--continue")
    assert again["session"] == second["session"]
    assert messages_of(again) == ["Say two", "Say three"]
    # Earlier messages are neither processed nor rendered again: their tokens are reused.
    assert again["usage"]["reused_tokens"] > again["usage"]["prefilled_tokens"]
    replies = [event for event in events_of(again) if event["type"] == "reply"]
    started = [event for event in events_of(again) if event["type"] == "session_started"]
    assert len(started) == 1
    assert replies[-1]["miss"] is None

    resumed = task("Say four", "--resume", first["session"][-4:])
    assert resumed["session"] == first["session"]
    assert messages_of(resumed) == ["Say one", "Say four"]

    before = Path(second["trajectory"]).read_bytes()
    forked = task("Say five", "--fork", second["session"])
    assert forked["session"] not in (first["session"], second["session"])
    assert messages_of(forked) == ["Say two", "Say three", "Say five"]
    assert Path(second["trajectory"]).read_bytes() == before
    meta = json.loads((Path(forked["trajectory"]).parent / "meta.json").read_text())
    assert meta["parent"].startswith(f"{second['session']}:")


@pytest.mark.slow
def test_continuing_a_missing_session_is_wrong_usage(
    laguna: Any, tiny: list[str], tmp_path: Path
) -> None:
    for flags, words in (
        (["--continue"], "no session in this repository"),
        (["--resume", "nothing"], "no session `nothing`"),
        (["--fork", "nothing"], "no session `nothing`"),
    ):
        run = laguna("--task", "x", *tiny, *flags, cwd=tmp_path)
        assert run.code == 2
        assert words in run.err + run.out
        assert "Traceback" not in run.err


@pytest.mark.slow
def test_after_a_kill_a_session_continues_and_one_in_use_is_refused(
    laguna: Any, tiny: list[str], task: Any
) -> None:
    endless = ["--pack", "laguna", "--max-tokens", "100000"]
    arguments = ["--task", "Say one", *tiny, *endless, "--output", "stream-json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "laguna_agent.cli", *arguments],
        cwd=task.root,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        event = json.loads(line)
        if event.get("type") == "session_started":
            session = event["session"]
        if event.get("type") == "step_started":
            break
    busy = laguna("--task", "x", *tiny, "--resume", session, cwd=task.root)
    assert busy.code == 2
    assert "in use by another laguna" in busy.err + busy.out
    assert f"--fork {session}" in busy.err + busy.out
    process.kill()
    process.wait()
    process.stdout.close()
    again = task("Say two", "--continue")
    assert again["session"] == session
    assert messages_of(again) == ["Say one", "Say two"]


@pytest.mark.slow
def test_a_new_task_remembers_unless_memory_is_off(
    task: Any, laguna: Any, laguna_home: Path
) -> None:
    def context(result: dict[str, Any]) -> str:
        (message,) = [e for e in events_of(result) if e["type"] == "user_message"]
        return str(message["context"])

    def tools(result: dict[str, Any]) -> list[str]:
        (prompt,) = [e for e in events_of(result) if e["type"] == "system_prompt"]
        return [tool["name"] for tool in prompt["tools"]]

    blind = task("Paint the zebra crossing white", "--no-memory")
    assert "recall" not in tools(blind)
    assert list(laguna_home.rglob("memory/segments/*")) == []
    first = task("Paint the zebra crossing white")
    assert "recall" in tools(first)
    assert "Memory" not in context(first)
    (memory,) = laguna_home.rglob("memory/segments/*.md")
    assert memory.stem == f"{first['session']}-1"
    second = task("Is the zebra crossing still white?")
    assert "Memory of earlier work" in context(second)
    assert f"[{first['session']}]" in context(second)
    third = task("Is the zebra crossing still white?", "--no-memory")
    assert "Memory" not in context(third)
    listed = laguna("memory", "list", cwd=task.root)
    assert listed.out.count("zebra") == 2
    assert laguna("memory", "forget", first["session"], cwd=task.root).code == 0
    fourth = task("Is the zebra crossing white?")
    assert f"[{first['session']}]" not in context(fourth)


@pytest.mark.slow
def test_a_recorded_run_is_verified_and_exported_with_log_probabilities(
    laguna: Any, tmp_path: Path, laguna_home: Path, short_pack: Path
) -> None:
    root = tmp_path / "project"
    root.mkdir()
    flags = ["--no-thinking", "--temperature", "0", "--max-steps", "2", "--pack", str(short_pack)]
    (laguna_home / "config").mkdir(parents=True)
    (laguna_home / "config" / "config.toml").write_text(f'model = "{smooth_laguna()}"\n')
    run = laguna("--task", "Say it", *flags, "--logprobs", "--output", "json", cwd=root)
    assert run.code in (0, 1, 5), run.err
    session = run.result["session"]
    verified = laguna("sessions", "show", session, "--verify", cwd=root)
    assert verified.code == 0, verified.out + verified.err
    assert "the same again" in verified.out
    exported = laguna("sessions", "export", session, cwd=root)
    metrics = [s["metrics"] for s in json.loads(exported.out)["steps"] if "metrics" in s]
    assert metrics
    for metric in metrics:
        assert len(metric["logprobs"]) == len(metric["completion_token_ids"])
    path = Path(run.result["trajectory"])
    lines = path.read_text(encoding="utf-8").split("\n")
    place = next(n for n, line in enumerate(lines) if '"type":"reply"' in line)
    event = json.loads(lines[place])
    event["token_ids"][2] ^= 1
    lines[place] = json.dumps(event, separators=(",", ":"))
    path.write_text("\n".join(lines), encoding="utf-8")
    changed = laguna("sessions", "show", session, "--verify", cwd=root)
    assert changed.code == 1
    assert "the first at token 2" in changed.out
