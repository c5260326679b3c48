"""Many turns with a server over HTTP, which counts tokens itself and refuses what is too long."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest

from laguna_agent.agent.context.user_messages import fit_messages, sizes_of
from laguna_agent.agent.session import Session
from laguna_agent.agent.settings import Settings
from laguna_agent.config import load_config
from laguna_agent.events import Compacted, TurnFinished, UserMessage
from laguna_agent.trajectory.codec import StoredEvent
from support.model_server import Exchange, ModelServer
from support.scripted import open_watched, take

LIMIT = 6_144


@dataclass
class Counting:
    """A server whose tokens are `density` characters; it may report usage in its answers."""

    density: float
    reports: bool = True
    longest: int = 0
    refused: int = 0
    summaries: int = 0
    prompts: list[str] = field(default_factory=list)

    async def answer(self, exchange: Exchange) -> None:
        body = exchange.body
        prompt = json.dumps(body["messages"], ensure_ascii=False)
        tokens = int((len(prompt) + len(json.dumps(body["tools"]))) / self.density)
        if tokens > LIMIT:
            self.refused += 1
            message = f"maximum context length is {LIMIT} tokens, you requested {tokens} tokens"
            await exchange.answer("400 Bad Request", {"error": {"message": message}})
            return
        self.longest = max(self.longest, tokens)
        self.prompts.append(prompt)
        text = "Noted. " * 20
        if "The context is nearly full" in body["messages"][-1]["content"]:
            self.summaries += 1
            text = "Goal:\n- answer questions\n"
        await exchange.open()
        await exchange.delta(content=text, finish="stop")
        usage = {"prompt_tokens": tokens, "completion_tokens": int(len(text) / self.density)}
        await exchange.done(**(usage if self.reports else {}))


@asynccontextmanager
async def session_with(server: Counting, home: Path, root: Path) -> AsyncIterator[Session]:
    root.mkdir()
    async with ModelServer(server.answer) as running:
        config = home / "config" / "config.toml"
        config.parent.mkdir(parents=True, exist_ok=True)
        config.write_text(f'[providers.fake]\nurl = "{running.url}"\ncontext = {LIMIT}\n')
        made = load_config(flags={"model": "fake/tester"})
        session = await open_watched(Settings(cwd=root, config=made, mode="auto"))
        yield session
        await session.aclose()


def question(number: int) -> str:
    return f"Question {number}: " + f"and what of item {number}, please? " * 8


@pytest.mark.parametrize(
    ("density", "reports"),
    [
        (2.0, True),
        pytest.param(3.5, True, marks=pytest.mark.slow),
        pytest.param(2.0, False, marks=pytest.mark.slow),
    ],
)
async def test_a_conversation_longer_than_the_context_is_answered_at_every_turn(
    laguna_home: Path, tmp_path: Path, density: float, reports: bool
) -> None:
    server, turns = Counting(density, reports), 100
    assert sum(len(question(n)) for n in range(turns)) / density > LIMIT
    compacted: list[int] = []
    async with session_with(server, laguna_home, tmp_path / "repo") as session:
        for number in range(turns):
            events = await take(session, question(number))
            assert isinstance(events[-1], TurnFinished)
            assert events[-1].status == "done"
            compacted += [number for event in events if isinstance(event, Compacted)]
            assert session.conversation.used <= LIMIT
            assert question(number) in server.prompts[-1]
    # A server that reports no usage refuses once, and the limit is learnt from that.
    assert server.refused <= (0 if reports else 1)
    assert server.longest <= LIMIT
    assert server.summaries >= len(compacted) - server.refused
    # Each epoch has room for work: none is summarised again right after it began.
    assert len(compacted) >= 2
    gaps = [after - before for before, after in pairwise(compacted)]
    assert min(gaps) >= 3
    assert question(0)[:20] in server.prompts[-1]
    assert "messages left out, e" in server.prompts[-1]


@pytest.mark.slow
async def test_a_message_too_long_for_the_context_is_cut_and_the_next_are_answered(
    laguna_home: Path, tmp_path: Path
) -> None:
    server = Counting(3.5)
    log = "".join(f"line {number} of the log\n" for number in range(600))
    async with session_with(server, laguna_home, tmp_path / "repo") as session:
        for text in (f"Look at this:\n{log}", *(question(n) for n in range(12))):
            events = await take(session, text)
            assert isinstance(events[-1], TurnFinished)
            assert events[-1].status == "done"
    assert server.refused == 0
    assert "Look at this:\\nline 0 of" in server.prompts[-1]
    assert "line 599 of the log" in server.prompts[-1]
    assert "line 300 of the log" not in server.prompts[-1]


def messages(lengths: list[int]) -> list[StoredEvent]:
    return [
        StoredEvent(10 + 3 * number, "", UserMessage(text=f"{number:03} ".ljust(length, "x")))
        for number, length in enumerate(lengths)
    ]


async def count(text: str) -> int:
    return len(text) // 4


async def test_messages_stay_word_for_word_while_they_fit() -> None:
    sent = messages([40, 4_000, 80])
    fitted = fit_messages(sent, await sizes_of(sent, count), 1_100)
    assert fitted.before(1_000) == [item.event.text for item in sent]  # type: ignore[union-attr]  # they are user messages
    assert (fitted.dropped, fitted.cut) == ([], frozenset())


async def test_the_longest_messages_lose_their_middle_first() -> None:
    sent = messages([400, 8_000, 400, 6_000, 400])
    fitted = fit_messages(sent, await sizes_of(sent, count), 2_000)
    texts = fitted.before(1_000)
    assert [len(text) for text in texts][::2] == [400, 400, 400]
    assert sum(map(len, texts)) // 4 <= 2_000
    assert "left out; recall e13 has them" in texts[1]
    assert fitted.dropped == ["the middle of 2 user messages"]


async def test_of_many_short_messages_the_older_are_left_out_and_named() -> None:
    sent = messages([200] * 100)
    fitted = fit_messages(sent, await sizes_of(sent, count), 1_000)
    texts = fitted.before(1_000)
    assert texts[0].startswith("000 ")
    assert texts[-1].startswith("099 ")
    gone = 100 - (len(texts) - 1)
    first, last = sent[1].seq, sent[gone].seq
    assert texts[1] == f"[… {gone} messages left out, e{first} to e{last}; recall has them]"
    assert texts[2].startswith(f"{gone + 1:03} ")
    assert fitted.dropped == [f"{gone} older user messages"]


async def test_any_number_of_messages_is_cut_to_the_room() -> None:
    dice = random.Random(7)
    for _ in range(300):
        sent = messages([dice.choice([5, 60, 500, 9_000]) for _ in range(dice.randrange(1, 60))])
        sizes, room = await sizes_of(sent, count), dice.randrange(400, 6_000)
        fitted = fit_messages(sent, sizes, room)
        texts = fitted.before(10_000)
        assert await count("\n".join(texts)) <= room
        assert texts[0][:4] == "000 "
        assert texts[-1][:4] == f"{len(sent) - 1:03} "
        if sum(sizes) <= room:
            assert not fitted.cut
