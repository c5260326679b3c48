"""laguna with a real llama-server and the starter: the whole loop, over HTTP."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from support.llama_server import build_llama_server, llama_server

# Without `make llama-server` the first of them builds the server.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def configure(laguna_home: Path, url: str) -> None:
    (laguna_home / "config").mkdir(exist_ok=True)
    text = f'model = "box/starter"\n[providers.box]\nurl = "{url}"\n'
    (laguna_home / "config" / "config.toml").write_text(text)


@pytest.mark.parametrize("jinja", ["--jinja", "--no-jinja"])
def test_a_task_goes_through_the_loop_on_a_llama_server(
    jinja: str,
    laguna: Any,
    laguna_home: Path,
    repository: Callable[[str], Path],
    starter_model: Path,
    tmp_path: Path,
) -> None:
    build_llama_server()
    flags = ["-c", "8192", "--parallel", "1", jinja]
    root, log = repository("roman"), tmp_path / "server.log"
    with llama_server(starter_model, log, *flags, port=free_port()) as url:
        configure(laguna_home, url)
        task = "A test in test_roman.py fails. Fix the bug in roman.py."
        limits = ("--max-steps", "12", "--output", "json")
        run = laguna("--task", task, *limits, cwd=root, timeout=1500)
    result = run.result
    # A small model need not succeed; the loop must run, on what the server says and reuses.
    assert result["status"] in ("done", "failed", "limit"), run.err
    lines = Path(result["trajectory"]).read_text(encoding="utf-8").split("\n")
    events = [json.loads(line) for line in lines if line]
    model, system = events[0]["model"], events[1]["text"]
    assert (model["context"], model["format"]) == (8192, "fenced")
    assert "beginning with ###" in system
    replies = [event for event in events if event["type"] == "reply"]
    assert all(reply["tool_calls"] and not reply["error"] for reply in replies)  # the grammar
    assert any(event["type"] == "tool_finished" and event["ok"] for event in events)
    usage = [reply["usage"] for reply in replies]
    assert usage[0]["prompt_tokens"] > 400
    if all(event["type"] != "compacted" for event in events):
        for before, now in pairwise(usage):
            shared = min(before["prompt_tokens"], now["prompt_tokens"])
            assert now["reused_tokens"] >= 0.9 * shared
    # It takes every field, the grammar too: nothing is remembered but the models that it serves.
    remembered = json.loads((laguna_home / "state" / "servers.json").read_text())
    assert [list(entry["learned"]) for entry in remembered.values()] == [["models"]]


def test_a_llama_server_is_measured(
    laguna: Any, laguna_home: Path, starter_model: Path, tmp_path: Path
) -> None:
    flags = ["-c", "4096", "--parallel", "1"]
    with llama_server(starter_model, tmp_path / "log", *flags, port=free_port()) as url:
        configure(laguna_home, url)
        depths = ("--depths", "1024", "--tokens", "16", "--rounds", "1", "--json")
        run = laguna("bench", "--provider", "box", *depths, timeout=900)
    assert run.code == 0, run.err
    found = run.result
    assert (found["server"], found["reuse"], found["streams"]) == ("llama-server", "reported", True)
    assert found["version"]
    assert found["depths"][0]["reused"] > 0.9
