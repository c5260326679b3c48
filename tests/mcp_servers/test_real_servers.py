"""Two servers as their makers publish them, one on standard input and output, one over HTTP."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from laguna_agent.agent.approval import Approval
from laguna_agent.cli import main
from laguna_agent.events import Reply
from laguna_agent.paths import config_dir
from support.scripted import calls, end_of, open_scripted, results_of, take
from support.synthetic import cache_dir

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

EVERYTHING = "@modelcontextprotocol/server-everything@2026.8.31"
TIME = {"command": sys.executable, "args": ["-m", "mcp_server_time", "--local-timezone", "UTC"]}


async def _yes(request: Any) -> Approval:
    return Approval("once")


def _mcp(op: str, name: str, **arguments: Any) -> Reply:
    return calls(("mcp", {"op": op, "name": name, "arguments": arguments}))


async def test_the_time_server_answers_in_the_sandbox(root: Path) -> None:
    script = [
        _mcp("search", "which time is it"),
        _mcp("describe", "time/get_current_time"),
        _mcp("call", "time/get_current_time", timezone="Asia/Tokyo"),
        _mcp("call", "time/get_current_time", timezone="Nowhere/Else"),
        Reply(text="Done."),
    ]
    session, _ = await open_scripted(root, script, flags={"mcp": {"time": TIME}}, approver=_yes)
    try:
        events = await take(session, "Which time is it in Tokyo?")
        assert session.mcp is not None
        assert session.mcp.by_name["time"].connection.protocol == "2026-07-28"
    finally:
        await session.aclose()
    found, described, told, refused = results_of(events)
    assert "time/get_current_time:" in found.content
    assert '"required":["timezone"]' in described.content
    assert json.loads(told.content)["timezone"] == "Asia/Tokyo"
    assert not refused.ok
    assert "Nowhere/Else" in refused.content
    assert end_of(events).status == "done"


@pytest.fixture
async def everything() -> AsyncIterator[str]:
    """The address of the reference server of the protocol, from npm."""
    folder = cache_dir() / "mcp-everything"
    start = folder / "node_modules/@modelcontextprotocol/server-everything/dist/index.js"
    npm, node = shutil.which("npm"), shutil.which("node")
    assert npm, "this test needs npm"
    assert node, "this test needs node"
    if not start.exists():
        folder.mkdir(parents=True, exist_ok=True)
        install = [npm, "install", "--no-fund", "--no-audit", "--prefix", str(folder), EVERYTHING]
        await asyncio.to_thread(subprocess.run, install, check=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [node, str(start), "streamableHttp"],
        env={**os.environ, "PORT": str(port)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                break
            except OSError:
                assert process.poll() is None
                await asyncio.sleep(0.05)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.kill()
        process.wait()


async def test_the_reference_server_answers_over_http(root: Path, everything: str) -> None:
    script = [
        _mcp("describe", "all"),
        _mcp("call", "all/get-sum", a=2, b="3"),
        _mcp("call", "all/get-tiny-image"),
        _mcp("call", "all/get-structured-content", location="Chicago"),
        _mcp("call", "all/get-resource-reference", resourceType="Text", resourceId=1),
        _mcp("call", "all/trigger-long-running-operation", duration=0.2, steps=2),
        _mcp("call", "all/get-annotated-message", messageType="wrong"),
        Reply(text="Done."),
    ]
    flags = {"mcp": {"all": {"url": everything}}}
    session, _ = await open_scripted(root, script, flags=flags, approver=_yes)
    try:
        events = await take(session, "Try everything")
    finally:
        await session.aclose()
    listed, added, image, data, resource, slow, wrong = results_of(events)
    assert "all/get-sum: Returns the sum of two numbers" in listed.content
    assert "5" in added.content
    assert re.search(r"\[image, image/png, [\d,]+ bytes: not shown\]", image.content)
    assert "temperature" in data.content
    assert "read output:" in resource.content
    assert slow.ok
    assert not wrong.ok


def test_the_starter_calls_a_declared_tool(
    root: Path, starter_model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.chdir(root)
    assert main(["models", "import", str(starter_model)]) == 0
    command = [TIME["command"], *TIME["args"]]
    add = ["mcp", "add", "clock", "--declare", "get_current_time", "--", *command]
    assert main([*map(str, add)]) == 0
    assert main(["mcp", "test", "clock", "--approve"]) == 0
    capsys.readouterr()
    # Few tools and no date, so that it says the same on every day.
    pack = config_dir() / "prompts" / "clock"
    pack.mkdir(parents=True)
    (pack / "pack.toml").write_text('extends = "small"\ntools = ["done"]\n')
    (pack / "first.md").write_text("")
    answers: list[str] = []
    for question in ("Which time is it in", "Call clock_get_current_time with", "Tell the date in"):
        options = ["--pack", "clock", "--output", "json", "--no-memory", "--max-steps", "3"]
        main(["--task", f"{question} Asia/Tokyo", *options])
        out = json.loads(capsys.readouterr().out)
        text = Path(out["trajectory"]).read_text(encoding="utf-8")
        finished = [e for e in map(json.loads, text.splitlines()) if e["type"] == "tool_finished"]
        answers += [event["content"] for event in finished if event["ok"]]
    assert any('"timezone": "Asia/Tokyo"' in answer for answer in answers), answers
