"""Whole turns with a model server: what reaches the tools, the model and the person."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from laguna_agent.agent.settings import Settings
from laguna_agent.config import load_config
from laguna_agent.events import Compacted, Event, Notice, Reply, TextDelta
from support.model_server import Exchange, ModelServer, Script, calls, says
from support.scripted import end_of, open_watched, results_of, take


async def turn(
    folder: Path, server: ModelServer, text: str, **provider: Any
) -> tuple[list[Event], list[list[dict[str, Any]]]]:
    """The events of one turn in a folder, and the messages of each request."""
    given = {"providers": {"s": {"url": server.url, **provider}}, "model": "s/m"}
    session = await open_watched(Settings(cwd=folder, config=load_config(flags=given), mode="auto"))
    try:
        return await take(session, text), [request["messages"] for request in server.requests]
    finally:
        await session.aclose()


WRITE = '{"path": "marker", "content": "made"}'
SHOWN = f'```json\n{{"name": "write", "arguments": {WRITE}}}\n```'


@pytest.mark.parametrize("answer", [f"You write it like this:\n{SHOWN}\nDone.", f"So:\n{SHOWN}"])
@pytest.mark.parametrize("first", [(), (calls(("read", '{"path": "a.txt"}')),)])
async def test_a_call_that_is_shown_to_explain_is_not_made(
    tmp_path: Path, answer: str, first: tuple[Script, ...]
) -> None:
    (tmp_path / "a.txt").write_text("text")
    async with ModelServer(*first, says(answer)) as server:
        events, _ = await turn(tmp_path, server, "How is a call of write written?")
    assert not (tmp_path / "marker").exists()
    assert end_of(events).status == "done"
    assert end_of(events).summary == answer


async def test_the_model_is_told_of_a_malformed_call_beside_a_good_one(tmp_path: Path) -> None:
    script = calls(("write", WRITE), ("write", '{"path": "other", "cont'))
    async with ModelServer(script, says("Thanks.")) as server:
        events, requests = await turn(tmp_path, server, "Write two files.")
    assert (tmp_path / "marker").read_text() == "made"
    assert [result.ok for result in results_of(events)] == [True]
    told = json.dumps(requests[1][-2:])
    assert "call of `write` could not be read" in told
    assert [m["role"] for m in requests[1][-3:]] == ["assistant", "tool", "user"]


async def test_done_beside_a_malformed_call_does_not_end_the_turn(tmp_path: Path) -> None:
    script = calls(("done", '{"summary": "All."}'), ("write", '{"path": "marker", "cont'))
    async with ModelServer(script, calls(("write", WRITE)), says("Now it is.")) as server:
        events, _ = await turn(tmp_path, server, "Write a file.")
    assert (tmp_path / "marker").read_text() == "made"
    assert end_of(events).summary == "Now it is."


async def test_a_long_thought_does_not_fail_the_task(tmp_path: Path) -> None:
    async def thinks(exchange: Exchange) -> None:
        """A model whose thought takes 6,000 tokens, unless it may not think."""
        await exchange.open()
        thinking = exchange.body.get("chat_template_kwargs", {}).get("enable_thinking")
        if thinking and exchange.body["max_tokens"] < 6_000:
            await exchange.delta(reasoning_content="Hm. " * 50, finish="length")
            await exchange.done(prompt_tokens=1500, completion_tokens=exchange.body["max_tokens"])
            return
        await exchange.delta(reasoning_content="Hm. " * 50)
        await exchange.delta(content="Four.", finish="stop")
        await exchange.done(prompt_tokens=1500, completion_tokens=6_010)

    async with ModelServer(thinks) as server:
        events, requests = await turn(tmp_path, server, "What is two and two?", context=32_768)
    assert end_of(events).status == "done"
    assert end_of(events).summary == "Four."
    assert len(requests) == 1


async def test_a_thought_without_end_is_followed_by_an_answer_without_one(tmp_path: Path) -> None:
    async def thinks(exchange: Exchange) -> None:
        await exchange.open()
        if exchange.body["chat_template_kwargs"]["enable_thinking"]:
            await exchange.delta(reasoning_content="Hm. " * 50, finish="length")
            await exchange.done(prompt_tokens=1500, completion_tokens=exchange.body["max_tokens"])
            return
        await exchange.delta(content="Four.", finish="stop")
        await exchange.done(prompt_tokens=1500, completion_tokens=5)

    async with ModelServer(thinks) as server:
        events, requests = await turn(tmp_path, server, "What is two and two?")
    assert end_of(events).summary == "Four."
    assert "Your thought was cut off after" in requests[1][-1]["content"]
    assert all(message["content"] for message in requests[1])


def cutting_server(window: int, seen: list[int]) -> Script:
    """A server that reads only the last `window` tokens of a prompt, and says nothing of it."""

    async def script(exchange: Exchange) -> None:
        tokens = len(json.dumps(exchange.body["messages"])) // 4 + 700
        seen.append(tokens)
        await exchange.open()
        summary = exchange.body.get("tool_choice") == "none"
        if summary:
            await exchange.delta(content="GOAL: read the files", finish="stop")
        elif len(seen) < 12:
            path = f"file{len(seen)}.txt"
            function = {"name": "read", "arguments": json.dumps({"path": path})}
            piece = {"index": 0, "id": f"c{len(seen)}", "function": function}
            await exchange.delta(tool_calls=[piece], finish="tool_calls")
        else:
            await exchange.delta(content="All read.", finish="stop")
        await exchange.done(prompt_tokens=min(tokens, window), completion_tokens=20)

    return script


async def test_a_server_that_cuts_prompts_is_noticed_and_the_conversation_summarised(
    tmp_path: Path,
) -> None:
    for number in range(14):
        (tmp_path / f"file{number}.txt").write_text(f"Words of file {number}. " * 150)
    seen: list[int] = []
    async with ModelServer(cutting_server(4096, seen)) as server:
        events, _ = await turn(tmp_path, server, "Read all files, and say when.")
    notices = [e.text for e in events if isinstance(e, Notice) and "The server read only" in e.text]
    assert len(notices) == 1
    assert "4,096" in notices[0]
    assert "For a larger context" in notices[0]
    assert any(isinstance(event, Compacted) for event in events)
    cut = [tokens for tokens in seen if tokens > 4096]
    assert len(cut) <= 3, "from then on prompts fit"
    assert end_of(events).status == "done"
    discarded = [event for event in events if isinstance(event, Reply) and event.discarded]
    assert discarded, "what it said to a part of the prompt does not count"


async def test_a_server_that_counts_only_new_tokens_is_not_taken_for_one_that_cuts(
    tmp_path: Path,
) -> None:
    for number in range(14):
        (tmp_path / f"file{number}.txt").write_text(f"Words of file {number}. " * 150)
    before = [0]

    async def script(exchange: Exchange) -> None:
        tokens = len(json.dumps(exchange.body["messages"])) // 4 + 700
        fresh, before[0] = max(1, tokens - before[0]), tokens
        await exchange.open()
        step = len(exchange.body["messages"])
        if step < 12:
            function = {"name": "read", "arguments": json.dumps({"path": f"file{step}.txt"})}
            piece = {"index": 0, "id": f"c{step}", "function": function}
            await exchange.delta(tool_calls=[piece], finish="tool_calls")
        else:
            await exchange.delta(content="All read.", finish="stop")
        await exchange.done(prompt_tokens=fresh, completion_tokens=20)

    async with ModelServer(script) as server:
        events, _ = await turn(tmp_path, server, "Read all files, and say when.")
    assert not [e for e in events if isinstance(e, Notice) and "The server" in e.text]
    assert end_of(events).status == "done"


async def test_the_model_and_the_record_have_what_was_written_before_a_stop(tmp_path: Path) -> None:
    async def stalls(exchange: Exchange) -> None:
        await exchange.open()
        await exchange.delta(content="The bug is in calc.py: ")
        await exchange.closed()

    async with ModelServer(stalls, says("Right."), says("Still.")) as server:
        given = {"providers": {"s": {"url": server.url}}, "model": "s/m"}
        settings = Settings(cwd=tmp_path, config=load_config(flags=given), mode="auto")
        session = await open_watched(settings)

        def stop(event: Event) -> None:
            if isinstance(event, TextDelta):
                asyncio.get_running_loop().call_later(0, session.cancel)

        events = await take(session, "Where is it?", watch=stop)
        (partial,) = [event for event in events if isinstance(event, Reply)]
        assert (partial.text.strip(), partial.finish_reason) == (
            "The bug is in calc.py:", "cancelled",
        )  # fmt: skip
        assert end_of(events).status == "interrupted"
        await take(session, "Go on.")
        name = session.trajectory.id
        await session.aclose()
        again = await open_watched(dataclasses.replace(settings, resume=name))
        await take(again, "And?")
        await again.aclose()
    for number in (1, 2):
        roles = [
            (m["role"], str(m["content"]).strip()) for m in server.requests[number]["messages"]
        ]
        at = roles.index(("assistant", "The bug is in calc.py:"))
        assert "Where is it?" in roles[at - 1][1]
        assert "The user stopped you here" in roles[at + 1][1]
