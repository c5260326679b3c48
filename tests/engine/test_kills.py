"""Killing an engine at any moment costs time and nothing else."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from pathlib import Path

import pytest

from laguna_agent.config import EngineConfig
from laguna_agent.events import EngineRestarted, Reply
from laguna_agent.models.conversation import GenerateOptions, Message, Sampling
from laguna_agent.models.engine.client import EngineClient, open_engine
from support.synthetic import tiny_laguna
from support.talk import conversation

KILLS = int(os.environ.get("LAGUNA_TEST_KILLS", "36"))
"""A soak uses more."""
OPTIONS = GenerateOptions(sampling=Sampling(temperature=0), max_tokens=40)


async def killer(client: EngineClient, delay: float) -> None:
    await asyncio.sleep(delay)
    process = client.process
    if process is not None and process.returncode is None:
        os.kill(process.pid, signal.SIGKILL)


@pytest.mark.slow
async def test_random_kills_lose_no_turn(home: Path, config: EngineConfig) -> None:
    """Kills hit prefill, decoding, the pauses between turns, and loading."""
    generator = random.Random(7)
    client = await open_engine(tiny_laguna(), config=config)
    kills = restarts = 0
    while kills < KILLS:
        talk = conversation(client, f"session {kills}")
        await talk.start("You are a coding agent. " * 20, [])
        before = 0
        for turn in range(6):
            await talk.append([Message(role="user", content=f"Turn {turn}: go on. " * 10)])
            # From the middle of the prompt to after the reply.
            strike = asyncio.create_task(killer(client, generator.uniform(0, 0.08)))
            kills += 1
            events = [event async for event in talk.generate(OPTIONS)]
            await strike
            restarts += sum(isinstance(event, EngineRestarted) for event in events)
            reply = events[-1]
            assert isinstance(reply, Reply)
            assert reply.finish_reason in ("length", "stop", "tool_calls")
            assert reply.token_ids
            assert reply.usage.prompt_tokens > before
            before = reply.usage.prompt_tokens
    await client.aclose()
    assert restarts > KILLS // 4, "many kills hit a turn"
