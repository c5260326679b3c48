"""States on disk: found by the next process, checked when read, bounded in size."""

from __future__ import annotations

import asyncio
import os
from array import array
from pathlib import Path

import pytest

from laguna_agent.config import EngineConfig
from laguna_agent.models.chat.chat_format import Segment
from laguna_agent.models.conversation import Sampling
from laguna_agent.models.engine.client import EngineClient, open_engine
from laguna_agent.models.engine.interface import EngineRequest, Finished
from laguna_agent.models.engine.snapshots import SnapshotStore
from laguna_agent.paths import snapshots_dir
from support.synthetic import tiny_laguna

GREEDY = Sampling(temperature=0)


async def restarted(client: EngineClient, config: EngineConfig) -> EngineClient:
    """A new engine process, after the first has ended by itself."""
    process = client.process
    await client.aclose()
    assert process is not None
    assert await asyncio.to_thread(process.wait, 30) == 0
    return await open_engine(tiny_laguna(), config=config)


async def finish(client: EngineClient, request: EngineRequest) -> Finished:
    last = [event async for event in client.generate(request)][-1]
    assert isinstance(last, Finished)
    return last


async def prefix(client: EngineClient) -> list[int]:
    return await client.tokenize([Segment("You are a coding agent. Be careful. " * 40)])


async def question(client: EngineClient, text: str) -> list[int]:
    return await client.tokenize([Segment(text)])


@pytest.mark.slow
async def test_a_new_process_restores_the_static_prefix(config: EngineConfig) -> None:
    client = await open_engine(tiny_laguna(), config=config)
    static = await prefix(client)
    for session in ("one", "two"):
        tokens = [*static, *await question(client, f"What is {session}?")]
        request = EngineRequest(
            tokens, GREEDY, 4, static=len(static), session=session, snapshot=True
        )
        finished = await finish(client, request)
        if session == "one":
            assert finished.usage.reused_tokens == 0
            client = await restarted(client, config)
    assert finished.usage.restored_tokens >= len(static)
    assert finished.usage.prefilled_tokens <= len(tokens) - len(static)
    assert finished.counters["snapshot_restores"] == 1
    await client.aclose()


async def test_a_new_process_resumes_a_session_where_it_ended(config: EngineConfig) -> None:
    client = await open_engine(tiny_laguna(), config=config)
    static = await prefix(client)
    tokens = [*static, *await question(client, "A long story follows. " * 20)]
    request = EngineRequest(tokens, GREEDY, 6, static=len(static), session="s", snapshot=True)
    first = await finish(client, request)
    client = await restarted(client, config)
    tokens = [*tokens, *first.ids, *await question(client, "And then?")]
    again = await finish(client, EngineRequest(tokens, GREEDY, 4, session="s", snapshot=True))
    assert again.usage.prefilled_tokens == len(await question(client, "And then?")) + 1
    undisturbed = await finish(client, EngineRequest(tokens, GREEDY, 4, session="t"))
    assert undisturbed.ids == again.ids
    await client.aclose()


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "garbage"])
async def test_a_damaged_snapshot_is_ignored_and_removed(config: EngineConfig, damage: str) -> None:
    client = await open_engine(tiny_laguna(), config=config)
    static = await prefix(client)
    request = EngineRequest(
        [*static, *await question(client, "One?")],
        GREEDY, 4, static=len(static), session="s", snapshot=True,
    )  # fmt: skip
    expected = await finish(client, request)
    process = client.process
    await client.aclose()
    assert process is not None
    await asyncio.to_thread(process.wait, 30)
    paths = list(snapshots_dir().rglob("*.kv"))
    assert paths
    for path in paths:
        data = bytearray(path.read_bytes())
        match damage:
            case "flip":
                data[-100] ^= 0xFF
            case "cut":
                del data[-100:]
            case "empty":
                data.clear()
            case "garbage":
                data = bytearray(os.urandom(5000))
        path.write_bytes(data)
    client = await open_engine(tiny_laguna(), config=config)
    finished = await finish(client, request)
    assert finished.ids == expected.ids
    assert finished.usage.reused_tokens == 0
    if damage == "flip":
        assert finished.miss is not None
        assert "damaged" in finished.miss.reason
    await client.aclose()


@pytest.mark.slow
async def test_snapshots_can_be_switched_off(config: EngineConfig) -> None:
    off = config.model_copy(update={"snapshots": False})
    client = await open_engine(tiny_laguna(), config=off)
    static = await prefix(client)
    await finish(
        client,
        EngineRequest([*static, 300], GREEDY, 4, static=len(static), session="s", snapshot=True),
    )
    await (await restarted(client, off)).aclose()
    assert not list(snapshots_dir().rglob("*.kv"))


def tokens(seed: int, count: int = 50) -> array[int]:
    return array("i", range(seed, seed + count))


def test_the_least_recently_used_are_removed_when_there_is_no_room(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path, {"model": "m"}, limit=4500)
    for number in range(3):
        store.save_static(tokens(number), bytearray(1000))
        store.flush()
        newest = max(tmp_path.rglob("*.kv"), key=lambda path: path.stat().st_mtime_ns)
        os.utime(newest, (number + 1, number + 1))
    kept = store.find(tokens(0))[0]
    assert kept.read() is not None, "reading counts as use"
    store.save_static(tokens(100), bytearray(1000))
    store.flush()
    found = {snapshot.tokens[0] for seed in (0, 1, 2, 100) for snapshot in store.find(tokens(seed))}
    assert 0 in found
    assert 100 in found
    assert 1 not in found
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.kv")) <= 4500


def test_another_model_or_build_never_sees_them(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path, {"model": "m", "build": 1}, limit=1 << 20)
    store.save_static(tokens(1), bytearray(100))
    store.flush()
    assert store.find(tokens(1))
    assert not SnapshotStore(tmp_path, {"model": "m", "build": 2}, limit=1 << 20).find(tokens(1))


def test_a_session_has_one_snapshot(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path, {"model": "m"}, limit=1 << 20)
    for count in (10, 20, 30):
        store.save_session("s", tokens(1, count), bytearray(100))
        store.flush()
        assert [len(s.tokens) for s in store.find(tokens(1, 100))] == [count]
    assert len(list(tmp_path.rglob("*.kv"))) == 1
