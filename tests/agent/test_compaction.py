"""Compaction on a real engine: the context never overflows, and no user message is lost."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from laguna_agent.agent.context.compaction import (
    compact,
    needs_compaction,
    reply_room,
    summary_reserve,
)
from laguna_agent.agent.context.epoch import message_of, reenter
from laguna_agent.config import EngineConfig
from laguna_agent.events import (
    Compacted,
    Event,
    PlanStep,
    PlanUpdated,
    Reply,
    SystemNote,
    SystemPrompt,
    ToolCall,
    ToolFinished,
    UserMessage,
)
from laguna_agent.memory.summary_format import SECTIONS
from laguna_agent.models.conversation import GenerateOptions, Message, Sampling, ToolSpec
from laguna_agent.models.engine.client import EngineClient, open_engine
from laguna_agent.models.local_conversation import LocalConversation
from laguna_agent.trajectory.codec import StoredEvent
from laguna_agent.trajectory.replay import ConversationState, conversation_state
from laguna_agent.trajectory.store import Trajectory
from support.forced import STEPS
from support.synthetic import tiny_laguna
from support.talk import conversation

SYSTEM = "You are an agent. " * 6
TOOL = ToolSpec(
    name="read",
    description="Read a file.",
    parameters={"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
)
REQUEST = "The context is nearly full. Summarise the work so far."


def first_message(summary: str, messages: list[str], plan: str) -> str:
    lines = "\n".join(f"- {message}" for message in messages)
    return f"The user said:\n{lines}\nPlan:\n{plan}\nSummary:\n{summary}\nGo on."


class Script:
    """A loop of the simplest kind: replies of the real engine, results from a script."""

    def __init__(self, trajectory: Trajectory, talk: LocalConversation, seed: int = 3) -> None:
        self.trajectory, self.talk = trajectory, talk
        self.state = ConversationState()
        self.dice = random.Random(seed)
        self.prefix = 0
        self.messages_sent: list[str] = []
        self.compactions: list[Compacted] = []
        self.first_replies: list[Reply] = []
        """The first reply of each epoch after the first."""
        self.summaries: list[Reply] = []
        self.highest = 0

    def record(self, event: Event) -> None:
        if not event.transient:
            seq = self.trajectory.append(event)
            self.state.apply(StoredEvent(seq, "2026-01-01T00:00:00.000Z", event))

    async def begin(self) -> None:
        tokens = await self.talk.start(SYSTEM, [TOOL])
        self.prefix = self.talk.mark()
        ids = list(self.talk.tokens)
        self.record(SystemPrompt(text=SYSTEM, tools=[], tokens=tokens, token_ids=ids))
        self.say("Port the parser; never change tests/golden.txt.")
        self.record(PlanUpdated(steps=[PlanStep(text="port it", status="active")]))

    def say(self, text: str) -> None:
        self.messages_sent.append(text)
        self.record(UserMessage(text=text))

    async def step(self, number: int, *, words: int = 40) -> None:
        """Append what is pending, compacting before where it has to be; then one reply."""
        talk, state = self.talk, self.state
        reserve = summary_reserve(talk.limit)
        messages = [message_of(item.event) for item in state.pending]
        size = sum([await talk.count(message.content) + 12 for message in messages])
        if needs_compaction(talk.used + size, talk.limit, reserve):
            await self.compact()
        else:
            await talk.append(messages)
        options = GenerateOptions(
            sampling=Sampling(temperature=1.0, seed=number),
            max_tokens=min(24, reply_room(talk.used, talk.limit, reserve)),
            grammar='root ::= [a-z ]{4,40} "."',
        )
        async for event in talk.generate(options):
            if isinstance(event, Reply):
                event.tool_calls = [
                    ToolCall(id=str(number), name="read", arguments={"path": f"src/f{number}.py"})
                ]
                if self.compactions and len(self.first_replies) < len(self.compactions):
                    self.first_replies.append(event)
                self.record(event)
        self.highest = max(self.highest, talk.used)
        content = " ".join(self.dice.choices(["alpha", "beta", "gamma", "delta"], k=words))
        self.record(ToolFinished(call_id=str(number), name="read", ok=True, content=content))
        if number % 25 == 24:
            self.say(
                f"Also mind rule {number}: keep it " + "very " * self.dice.randrange(8) + "small."
            )

    async def compact(self) -> None:
        events = list(self.trajectory.events(self.state.first_seq, whole=False))
        compacted = await compact(
            self.talk,
            self.state,
            emit=self.emit,
            prefix_mark=self.prefix,
            request=lambda known: f"{REQUEST}\n{known}",
            first_message=first_message,
            evidence=events,
            reserve=summary_reserve(self.talk.limit),
            pending=self.pending(),
        )
        self.compactions.append(compacted)

    def pending(self) -> list[Message]:
        """Messages on record that are not in the prompt yet."""
        events = [item.event for item in self.state.pending]
        return [message_of(event) for event in events if not isinstance(event, Reply)]

    def emit(self, event: Event) -> None:
        self.record(event)
        if isinstance(event, Reply):
            self.summaries.append(event)
            self.highest = max(self.highest, self.talk.used)

    async def prompt(self) -> str:
        return await self.talk._engine.detokenize(self.talk.tokens)


async def script(tmp_path: Path, context: int) -> AsyncIterator[Script]:
    root = tmp_path / "project"
    root.mkdir()
    config = EngineConfig(context=context, micro_batch=128, keep_alive=0, threads=1)
    engine: EngineClient = await open_engine(tiny_laguna(), config=config)
    talk = conversation(engine, "scripted")
    with Trajectory.create(root) as trajectory:
        made = Script(trajectory, talk)
        await made.begin()
        yield made
    await talk.aclose()


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[Script]:
    async for made in script(tmp_path, 2048):
        yield made


@pytest.fixture
async def large(tmp_path: Path) -> AsyncIterator[Script]:
    async for made in script(tmp_path, 8192):
        yield made


async def test_a_new_epoch_holds_all_user_messages_and_the_last_steps_whole(small: Script) -> None:
    number = 0
    while not small.compactions:
        await small.step(number)
        number += 1
    (compacted,) = small.compactions
    assert compacted.tokens_after < compacted.tokens_before
    prompt = await small.prompt()
    for text in small.messages_sent:
        assert text in prompt
    assert "[>] port it" in prompt
    kept = [
        item
        for item in small.state.history
        if not isinstance(item.event, Compacted) and item not in small.state.pending
    ]
    assert kept
    assert isinstance(kept[0].event, Reply | UserMessage)
    for item in kept:
        if isinstance(item.event, ToolFinished):
            assert item.event.content in prompt
    assert any("replies of the model" in line for line in compacted.dropped)


@pytest.mark.slow
async def test_the_request_is_appended_and_processes_nothing_again(small: Script) -> None:
    number = 0
    while not small.compactions:
        before = small.talk.used
        await small.step(number)
        number += 1
    (summary,) = small.summaries
    assert summary.usage.reused_tokens >= before - 1
    assert summary.miss is None


@pytest.mark.slow
async def test_a_summary_has_every_section_and_points_to_events(small: Script) -> None:
    number = 0
    while not small.compactions:
        await small.step(number)
        number += 1
    (compacted,) = small.compactions
    lines = compacted.summary.split("\n")
    headings = [line for line in lines if not line.startswith("- ")]
    assert headings == [f"{name}:" for name in SECTIONS if f"{name}:" in headings]
    assert {"Goal:", "Constraints:"} <= set(headings)
    claims = [line for line in lines if line.startswith("- ")]
    assert claims
    assert all("[e" in claim for claim in claims)


async def test_after_a_kill_the_same_tokens_come_back(small: Script) -> None:
    number = 0
    while not small.compactions:
        await small.step(number)
        number += 1
    for _ in range(3):
        await small.step(number)
        number += 1
    other = small.talk.fork()
    other.rewind(small.prefix)
    await other.append(await reenter(other, conversation_state(small.trajectory)))
    await small.talk.append([message_of(item.event) for item in small.state.pending])
    assert other.tokens == small.talk.tokens
    await other.aclose()


@pytest.mark.slow
async def test_after_a_kill_right_after_a_compaction_the_epoch_is_entered_again(
    small: Script,
) -> None:
    number = 0
    while small.talk.used < 900:
        await small.step(number)
        number += 1
    await small.compact()
    state = conversation_state(small.trajectory)
    assert state.token_ids
    other = small.talk.fork()
    other.rewind(small.prefix)
    await other.append(await reenter(other, state))
    assert other.tokens == small.talk.tokens
    await other.aclose()


@pytest.mark.slow
async def test_results_too_large_to_append_are_compacted_before(small: Script) -> None:
    await small.step(0, words=100)
    await small.step(1, words=420)
    await small.step(2, words=420)
    assert small.compactions
    assert small.highest <= small.talk.limit


@pytest.mark.slow
async def test_without_room_to_ask_the_summary_comes_from_the_record(small: Script) -> None:
    await small.step(0, words=100)
    while small.talk.used < small.talk.limit - 80:
        await small.talk.append([message_of(SystemNote(text="filler " * 4, reason="x"))])
    await small.compact()
    (compacted,) = small.compactions
    assert small.summaries == []
    assert "Port the parser" in compacted.summary
    assert "never change tests/golden.txt" in compacted.summary
    assert compacted.tokens_after < small.talk.limit // 2


@pytest.mark.slow
async def test_cancelling_a_compaction_leaves_the_conversation_as_it_was(small: Script) -> None:
    await small.step(0)
    before = small.talk.tokens
    events = list(small.trajectory.events())
    emitted: list[Event] = []

    def emit(event: Event) -> None:
        emitted.append(event)
        running.cancel()

    running = asyncio.create_task(
        compact(
            small.talk,
            small.state,
            emit=emit,
            prefix_mark=small.prefix,
            request=lambda known: REQUEST,
            first_message=first_message,
            evidence=events,
            reserve=summary_reserve(small.talk.limit),
            pending=small.pending(),
        )
    )
    with pytest.raises(asyncio.CancelledError):
        await running
    assert isinstance(emitted[0], SystemNote)
    assert small.talk.tokens == before


@pytest.mark.slow
async def test_many_steps_in_8k(large: Script) -> None:
    for number in range(STEPS):
        await large.step(number)
    assert len(large.compactions) >= STEPS // 50
    assert large.highest <= large.talk.limit
    # The script's last words and results are on record, and not yet appended.
    await large.talk.append([message_of(item.event) for item in large.state.pending])
    prompt = await large.prompt()
    for text in large.messages_sent:
        assert text in prompt
    for compacted, first in zip(large.compactions, large.first_replies, strict=False):
        # The static prefix is not read again; the opening and the kept steps are, once.
        fresh = compacted.tokens_after - large.prefix
        opener = first.usage.prompt_tokens - compacted.tokens_after
        assert first.usage.prefilled_tokens == fresh + opener
        assert first.usage.reused_tokens == large.prefix
