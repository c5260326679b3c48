"""A conversation on the engine: nothing is decoded twice, rendered twice, or lost."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from laguna_agent.config import EngineConfig
from laguna_agent.errors import ContextFullError
from laguna_agent.events import Reply, TextDelta, ThinkingDelta, ToolCallDelta
from laguna_agent.models.chat import grammar
from laguna_agent.models.conversation import GenerateOptions, Message, Sampling, ToolSpec
from laguna_agent.models.engine.client import EngineClient
from laguna_agent.models.local_conversation import LocalConversation
from support.talk import conversation

SHELL = ToolSpec(
    name="shell",
    description="Run a command.",
    parameters={
        "type": "object",
        "properties": {"command": {"type": "string", "maxLength": 30}},
        "required": ["command"],
    },
)


@pytest.fixture
def config(config: EngineConfig) -> EngineConfig:
    return config.model_copy(update={"context": 8192})


async def reply_of(talk: LocalConversation, options: GenerateOptions) -> Reply:
    events = [event async for event in talk.generate(options)]
    reply = events[-1]
    assert isinstance(reply, Reply)
    shown = "".join(e.text for e in events if isinstance(e, TextDelta))
    thought = "".join(e.text for e in events if isinstance(e, ThinkingDelta))
    assert shown.strip() == reply.text.strip() or any(isinstance(e, ToolCallDelta) for e in events)
    assert thought.strip() == reply.thinking.strip()
    return reply


def options(turn: int, **changes: object) -> GenerateOptions:
    sampling = Sampling(temperature=1.0, top_k=0, seed=turn)
    return GenerateOptions(sampling=sampling, max_tokens=24, **changes)  # type: ignore[arg-type]  # keywords of a dataclass


async def decoded(engine: EngineClient) -> int:
    """Tokens decoded so far, without rejected drafts and ties that were decoded again."""
    counters = (await engine.status())["counters"]
    rejected = counters["drafted_tokens"] - counters["accepted_tokens"]
    return int(counters["decoded_tokens"] - rejected - counters["settled_tokens"])


async def test_twenty_turns_decode_every_token_once(engine: EngineClient) -> None:
    talk = conversation(engine)
    await talk.start("You are a coding agent. " * 10, [SHELL])
    for turn in range(20):
        role = "tool" if turn % 3 == 2 else "user"
        await talk.append([Message(role=role, content=f"Turn {turn}: what is {turn} + {turn}?")])
        reply = await reply_of(talk, options(turn))
        assert reply.miss is None
        assert reply.token_ids is not None
        in_cache = reply.usage.prompt_tokens + len(reply.token_ids) - 1
        assert await decoded(engine) == in_cache, f"turn {turn}"


@pytest.mark.slow
async def test_fifty_turns_with_tools_thinking_and_steering_prefill_only_what_is_new(
    engine: EngineClient,
) -> None:
    talk = conversation(engine)
    static = await talk.start("You are a coding agent.", [SHELL])
    known = 0
    for turn in range(50):
        thinking = turn % 2 == 0
        if turn % 5 == 4:
            await talk.append([Message(role="tool", content=f"exit {turn}", name="shell")])
            await talk.append([Message(role="user", content="Stop. Do it another way.")])
        else:
            await talk.append([Message(role="user", content=f"Step {turn}.")])
        reply = await reply_of(
            talk,
            options(
                turn,
                thinking=thinking,
                thinking_budget=8 if turn % 4 == 0 else None,
                tool_choice="required" if turn % 7 == 3 else "auto",
            ),
        )
        assert reply.token_ids is not None
        new = reply.usage.prompt_tokens - known
        assert reply.usage.prefilled_tokens == new, f"turn {turn}"
        assert reply.usage.reused_tokens == known
        known = reply.usage.prompt_tokens + len(reply.token_ids) - 1
    assert known > static


@pytest.mark.slow
async def test_the_replies_put_together_are_the_prompt(engine: EngineClient) -> None:
    talk = conversation(engine)
    static = await talk.start("Be brief.", [])
    ids: list[int] = []
    for turn in range(4):
        await talk.append([Message(role="user", content=f"Say {turn}.")])
        reply = await reply_of(talk, options(turn))
        ids += [*(reply.prompt_token_ids or ()), *(reply.token_ids or ())]
    other = conversation(engine, "other")
    assert await other.start("Be brief.", []) == static
    await other.restore(ids)
    assert other.tokens == talk.tokens
    await talk.append([Message(role="user", content="Go on.")])
    await other.append([Message(role="user", content="Go on.")])
    assert other.tokens == talk.tokens


@pytest.mark.slow
async def test_a_rewound_reply_can_be_drawn_again_for_one_token(engine: EngineClient) -> None:
    talk = conversation(engine)
    await talk.start("Be brief.", [])
    await talk.append([Message(role="user", content="Say something. " * 20)])
    mark = talk.mark()
    first = await reply_of(talk, options(1))
    talk.rewind(mark)
    again = await reply_of(talk, options(1))
    assert again.token_ids == first.token_ids
    assert again.usage.prefilled_tokens == 1
    talk.rewind(mark)
    other = await reply_of(talk, options(2))
    assert other.token_ids != first.token_ids


@pytest.mark.slow
async def test_a_fork_shares_what_came_before_and_leaves_the_other_alone(
    engine: EngineClient,
) -> None:
    talk = conversation(engine)
    await talk.start("Be brief. " * 30, [])
    await talk.append([Message(role="user", content="One.")])
    await reply_of(talk, options(1))
    before = talk.tokens
    fork = talk.fork()
    await fork.append([Message(role="user", content="Two.")])
    reply = await reply_of(fork, options(2))
    assert reply.usage.reused_tokens >= len(before) - 2
    assert talk.tokens == before
    await fork.aclose()
    await talk.append([Message(role="user", content="Three.")])
    assert (await reply_of(talk, options(3))).usage.reused_tokens >= len(before) - 2


@pytest.mark.slow
async def test_a_mark_of_another_conversation_is_refused(engine: EngineClient) -> None:
    talk = conversation(engine)
    await talk.start("Be brief.", [])
    with pytest.raises(ValueError, match="not a mark"):
        talk.rewind(3)


@pytest.mark.slow
async def test_closing_a_generation_leaves_the_prompt_as_it_was(engine: EngineClient) -> None:
    talk = conversation(engine)
    await talk.start("Be brief.", [])
    await talk.append([Message(role="user", content="One.")])
    before = talk.tokens
    stream = talk.generate(options(1))
    async for event in stream:
        if isinstance(event, TextDelta):
            break
    await stream.aclose()
    assert talk.tokens == before
    assert (await reply_of(talk, options(1))).token_ids


async def stopped(talk: LocalConversation, opts: GenerateOptions, after: int) -> Reply | None:
    """What is kept of a reply whose task is cancelled after some deltas."""
    begun = asyncio.Event()

    async def generate() -> None:
        seen = 0
        async with aclosing(talk.generate(opts)) as stream:
            async for event in stream:
                seen += isinstance(event, TextDelta | ThinkingDelta | ToolCallDelta)
                if seen >= after:
                    begun.set()

    task = asyncio.create_task(generate())
    waiting = asyncio.create_task(begun.wait())
    await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    task.cancel()
    await asyncio.wait([task])
    return await talk.keep_unfinished()


@pytest.mark.slow
@pytest.mark.parametrize("thinking", [False, True])
async def test_a_cancelled_reply_stays_with_the_tokens_it_had(
    engine: EngineClient, thinking: bool
) -> None:
    talk = conversation(engine)
    static = await talk.start("Be brief.", [SHELL])
    await talk.append([Message(role="user", content="One.")])
    opts = options(1, thinking=thinking)
    opts.max_tokens = 2_000
    reply = await stopped(talk, opts, after=6)
    assert reply is not None
    assert reply.finish_reason == "cancelled"
    assert reply.thinking if thinking else reply.text
    assert not reply.tool_calls
    await talk.append([Message(role="user", content="Two.")])
    again = await reply_of(talk, options(2))
    assert again.usage.reused_tokens >= len(reply.prompt_token_ids or ()) + static
    other = conversation(engine, "other")
    await other.start("Be brief.", [SHELL])
    await other.restore([*(reply.prompt_token_ids or ()), *(reply.token_ids or ())])
    assert talk.tokens is not None
    assert talk.tokens[: other.used] == other.tokens


@pytest.mark.slow
async def test_a_call_that_had_begun_is_not_kept_of_a_cancelled_reply(
    engine: EngineClient,
) -> None:
    talk = conversation(engine)
    await talk.start("Be brief.", [SHELL])
    await talk.append([Message(role="user", content="One.")])
    before = talk.tokens
    reply = await stopped(talk, options(3, tool_choice="required"), after=3)
    assert reply is None or not reply.tool_calls
    if reply is None:
        assert talk.tokens == before
    assert await talk.keep_unfinished() is None


@pytest.mark.slow
async def test_nothing_is_kept_of_a_reply_that_is_whole(engine: EngineClient) -> None:
    talk = conversation(engine)
    await talk.start("Be brief.", [])
    await talk.append([Message(role="user", content="One.")])
    await reply_of(talk, options(1))
    before = talk.tokens
    assert await talk.keep_unfinished() is None
    assert talk.tokens == before


async def test_a_full_context_is_reported_in_tokens(engine: EngineClient) -> None:
    talk = conversation(engine)
    await talk.start("Be brief.", [])
    await talk.append([Message(role="user", content="word " * 9000)])
    with pytest.raises(ContextFullError) as caught:
        await reply_of(talk, options(1))
    assert caught.value.used == talk.used
    assert caught.value.used + caught.value.wanted > caught.value.limit


@pytest.mark.slow
async def test_many_replies_in_a_row_are_valid_calls(
    engine: EngineClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Random weights do not open a call by themselves.
    monkeypatch.setattr(grammar, "PREAMBLE_LIMIT", 20)
    tools = [
        SHELL,
        ToolSpec(
            name="read",
            description="Read a file.",
            parameters={
                "type": "object",
                "properties": {
                    "path": {"type": "string", "maxLength": 20},
                    "limit": {"type": "integer"},
                },
                "required": ["path"],
            },
        ),
    ]
    talk = conversation(engine)
    await talk.start("You are a coding agent.", tools)
    await talk.append([Message(role="user", content="Do something.")])
    mark = talk.mark()
    for seed in range(60):
        talk.rewind(mark)
        reply = await reply_of(
            talk,
            GenerateOptions(
                sampling=Sampling(temperature=1.0, top_k=0, seed=seed),
                max_tokens=1500,
                tool_choice="required",
            ),
        )
        assert reply.error is None
        assert reply.finish_reason == "tool_calls", f"seed {seed}: {reply.text[-200:]!r}"
        for call in reply.tool_calls:
            assert call.name in ("shell", "read")
            required = "command" if call.name == "shell" else "path"
            assert isinstance(call.arguments[required], str)


@pytest.mark.slow
async def test_the_experts_of_a_reply_are_read_on_demand_and_cost_no_later_turn(
    engine: EngineClient,
) -> None:
    talk = conversation(engine)
    await talk.start("You are a coding agent. " * 10, [SHELL])
    await talk.append([Message(role="user", content="What is 1 + 1?")])
    first = await reply_of(talk, options(1))
    assert first.token_ids
    await talk.append([Message(role="user", content="And 2 + 2?")])
    last = await reply_of(talk, options(2))
    for reply in (first, last):
        routing = await talk.routing(reply.token_ids or [])
        assert routing is not None
        assert (routing.tokens, routing.layers) == (len(reply.token_ids or []), (1, 2, 3))
        assert (routing.experts, routing.file) == (16, engine.model.path)
    assert await talk.routing([1, 2, 3]) is None, "no reply of this conversation"
    assert await talk.routing([]) is None
    await talk.append([Message(role="user", content="And 3 + 3?")])
    assert (await reply_of(talk, options(3))).miss is None
