"""`laguna engine` shows the running engines and ends them."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest

from laguna_agent.config import EngineConfig
from laguna_agent.interfaces.commands.engine import main
from laguna_agent.models.conversation import Sampling
from laguna_agent.models.engine.client import open_engine
from laguna_agent.models.engine.interface import EngineRequest
from laguna_agent.models.engine.spawn import socket_path
from support.synthetic import tiny_laguna


@pytest.mark.slow
async def test_status_and_stop(config: EngineConfig, capsys: pytest.CaptureFixture[str]) -> None:
    warm = config.model_copy(update={"keep_alive": 60})
    client = await open_engine(tiny_laguna(), config=warm)
    async for _ in client.generate(EngineRequest([300] * 100, Sampling(temperature=0), 3)):
        pass
    assert await asyncio.to_thread(main, ["status", "--json"]) == 0
    state = json.loads(capsys.readouterr().out)
    [engine] = state["engines"]
    assert engine["clients"] == 1
    assert engine["cache"]["tokens"] == 102
    assert engine["counters"]["decoded_tokens"] == 102
    assert await asyncio.to_thread(main, ["status"]) == 0
    shown = capsys.readouterr().out
    assert "laguna-tiny Q4_K_M, idle, 1 connected" in shown
    assert str(tiny_laguna()) in shown
    await client.aclose()
    assert await asyncio.to_thread(main, ["stop"]) == 0
    assert capsys.readouterr().out == "stopped 1 engine\n"
    assert client.process is not None
    assert await asyncio.to_thread(client.process.wait, 20) == 0
    assert await asyncio.to_thread(main, ["stop"]) == 0
    assert capsys.readouterr().out == "no engine is running\n"


def test_a_stale_socket_is_not_an_engine(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(socket_path("0123456789abcdef")))
    assert main(["status"]) == 0
    assert "no engine is running" in capsys.readouterr().out
