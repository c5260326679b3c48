"""A recorded greedy run comes out of the model the same again, and a changed one does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from laguna_agent.config import EngineConfig
from laguna_agent.events import Event, Reply, SystemPrompt, UserMessage
from laguna_agent.interfaces.verify import replay_greedy
from laguna_agent.models.base import GenerateOptions, Message, Sampling
from laguna_agent.models.engine.client import open_engine
from laguna_agent.trajectory.store import Trajectory
from support.synthetic import tiny_laguna
from support.talk import conversation


async def test_greedy_replies_are_the_same_again(
    tmp_path: Path, laguna_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "project"
    root.mkdir()
    config = EngineConfig(context=1024, micro_batch=64, keep_alive=0, threads=1)
    engine = await open_engine(tiny_laguna(), config=config)
    talk = conversation(engine, "")
    tokens = await talk.start("You are an agent.", [])
    events: list[Event] = [
        SystemPrompt(text="s", tools=[], tokens=tokens, token_ids=list(talk.tokens))
    ]
    for number in range(3):
        message = UserMessage(text=f"question {number}")
        await talk.append([Message(role="user", content=message.text)])
        options = GenerateOptions(sampling=Sampling(temperature=0.0), max_tokens=20)
        made = [event async for event in talk.generate(options)]
        assert isinstance(made[-1], Reply)
        events += [message, made[-1]]
    with Trajectory.create(root, session_id="true") as trajectory:
        for event in events:
            trajectory.append(event)
        assert await replay_greedy(trajectory, engine) == 0
    assert "3 greedy replies" in capsys.readouterr().out

    last = events[-1]
    assert isinstance(last, Reply)
    assert last.token_ids
    last.token_ids = [*last.token_ids[:3], last.token_ids[3] ^ 1, *last.token_ids[4:]]
    with Trajectory.create(root, session_id="false") as trajectory:
        for event in events:
            trajectory.append(event)
        assert await replay_greedy(trajectory, engine) == 1
    assert "the first at token 3" in capsys.readouterr().out
    await talk.aclose()
