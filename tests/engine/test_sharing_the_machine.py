"""Engines end when memory is short, refuse other users, and are refused where they do not fit."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from laguna_agent.config import EngineConfig
from laguna_agent.errors import ModelError
from laguna_agent.models.chat.chat_format import Segment
from laguna_agent.models.conversation import Sampling
from laguna_agent.models.engine import registry, server, spawn, wire
from laguna_agent.models.engine.client import EngineClient, open_engine
from laguna_agent.models.engine.interface import EngineRequest, Finished
from laguna_agent.models.engine.registry import evict_idle, running_keys
from laguna_agent.models.engine.server import EngineServer
from laguna_agent.models.engine.spawn import EngineSpec, connect, socket_path
from laguna_agent.models.sizing.hardware import MemorySize
from support.synthetic import tiny_laguna

WARM = 600


class ShortOfMemory:
    """An idle model as the server sees it, on a machine whose memory runs
    short at the third check."""

    def __init__(self) -> None:
        self.looks = 0
        self.closed = False

    def ready_message(self) -> dict[str, Any]:
        return {"type": "ready"}

    def idle(self, *, alone: bool) -> None:
        pass

    def wants_measuring(self) -> bool:
        return False

    def short_of_memory(self) -> bool:
        self.looks += 1
        return self.looks >= 3

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def listener(tmp_path: Path) -> Any:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as made:
        made.bind(str(tmp_path / "s"))
        made.listen()
        yield made


def test_an_idle_engine_ends_when_memory_is_short(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_SHORT_S", 0.0)
    monkeypatch.setattr(server, "_WATCH_S", 0.001)
    engine = ShortOfMemory()
    serving = EngineServer(listener, keep_alive=WARM)
    serving.ready(engine)
    serving.run(lambda: True)
    assert engine.closed
    assert engine.looks == 3


def test_another_user_is_refused(
    listener: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "peer_uid", lambda _: os.getuid() + 1)
    EngineServer(listener, keep_alive=WARM).ready(ShortOfMemory())
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stranger:
        stranger.settimeout(30)
        stranger.connect(str(tmp_path / "s"))
        with contextlib.suppress(BrokenPipeError):
            stranger.sendall(wire.pack({"type": "hello", "version": wire.VERSION}))
        with pytest.raises(wire.WireError):
            wire.receive_frame(stranger)


def test_the_uid_of_the_peer_comes_from_the_system(listener: socket.socket) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one:
        one.connect(listener.getsockname())
        assert spawn.peer_uid(one) == os.getuid()


@pytest.mark.slow
async def test_a_socket_of_another_user_is_not_trusted(
    engine: EngineClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spawn, "peer_uid", lambda _: os.getuid() + 1)
    with pytest.raises(ModelError, match="belongs to another user"):
        connect(engine.spec.key)


@pytest.mark.slow
async def test_another_protocol_is_refused(engine: EngineClient) -> None:
    connection = connect(engine.spec.key)
    assert connection is not None
    with connection:
        connection.settimeout(30)
        connection.sendall(wire.pack({"type": "hello", "version": wire.VERSION + 1}))
        answer, _ = await asyncio.to_thread(wire.receive_frame, connection)
    assert answer["type"] == "refused"
    assert answer["version"] == wire.VERSION


async def test_an_engine_of_another_protocol_is_left_alone_and_one_of_ours_started(
    home: Path, config: EngineConfig
) -> None:
    key = EngineSpec(tiny_laguna(), config).key
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as foreign:
        foreign.bind(str(socket_path(key)))
        foreign.listen()

        def refuse() -> None:
            connection, _ = foreign.accept()
            with connection:
                wire.receive_frame(connection)
                connection.sendall(wire.pack({"type": "refused", "version": 99, "pid": 1}))

        other = threading.Thread(target=refuse)
        other.start()
        client = await open_engine(tiny_laguna(), config=config)
        other.join()
    assert client.process is not None
    assert await client.tokenize([Segment("x")])
    await client.aclose()


@pytest.mark.slow
async def test_only_idle_engines_are_evicted(
    home: Path, config: EngineConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "machine_memory", lambda: MemorySize(1 << 34, 1 << 20))
    warm = config.model_copy(update={"keep_alive": WARM})
    idle = await open_engine(tiny_laguna(), config=warm)
    used = await open_engine(tiny_laguna(), config=warm.model_copy(update={"context": 1024}))
    assert len(running_keys()) == 2
    assert evict_idle("another", 1 << 10) == [], "there is enough memory"
    await idle.aclose()
    ended: list[str] = []
    while not ended:  # until the engine has noticed that its client left
        ended = await asyncio.to_thread(evict_idle, "another", 1 << 30)
    assert ended == [idle.spec.key]
    assert running_keys() == [used.spec.key]
    await used.stop()
    await used.aclose()


async def test_a_context_that_does_not_fit_is_refused_before_loading(
    home: Path, config: EngineConfig
) -> None:
    with pytest.raises(ModelError, match="too large for this machine") as caught:
        await open_engine(tiny_laguna(), config=config.model_copy(update={"context": 1 << 30}))
    assert caught.value.exit_code == 3
    assert "engine.context" in str(caught.value)


async def test_an_engine_sleeps_at_barriers_instead_of_spinning(engine: EngineClient) -> None:
    environment = Path(f"/proc/{(await engine.status())['pid']}/environ").read_bytes()
    assert b"GOMP_SPINCOUNT=1000" in environment.split(b"\0")


@pytest.mark.slow
async def test_what_the_user_says_of_openmp_counts(
    home: Path, config: EngineConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    client = await open_engine(tiny_laguna(), config=config)
    environment = Path(f"/proc/{(await client.status())['pid']}/environ").read_bytes()
    assert b"GOMP_SPINCOUNT" not in environment
    await client.aclose()


async def test_an_engine_that_is_killed_while_it_loads_is_started_again(
    home: Path, config: EngineConfig
) -> None:
    killed: list[int] = []

    def kill_once(event: object) -> None:
        if not killed:
            for key in running_keys():
                pids = [
                    int(path.parent.name)
                    for path in Path("/proc").glob("[0-9]*/cmdline")
                    if key.encode() in path.read_bytes()
                ]
                killed.extend(pids)
                for pid in pids:
                    os.kill(pid, 9)

    client = await open_engine(tiny_laguna(), config=config, on_event=kill_once)
    assert killed
    request = EngineRequest(await client.tokenize([Segment("x")]), Sampling(temperature=0), 2)
    last = [event async for event in client.generate(request)][-1]
    assert isinstance(last, Finished)
    await client.aclose()
