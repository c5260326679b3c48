"""Several replies to one prompt: each as if it were alone, and the prompt is processed once."""

from __future__ import annotations

import json
import os
import signal
from contextlib import aclosing

import pytest

from laguna_agent.events import EngineRestarted, ModelEvent, Reply, TextDelta
from laguna_agent.models.chat.fenced import FencedFormat, code_grammar
from laguna_agent.models.conversation import (
    Completed,
    Completion,
    GenerateOptions,
    Message,
    ModelInfo,
    Sampling,
    ToolSpec,
)
from laguna_agent.models.engine.client import EngineClient
from laguna_agent.models.engine.interface import TIE, EngineRequest
from laguna_agent.models.engine.side_by_side import affordable
from laguna_agent.models.gguf import read_header
from laguna_agent.models.local_conversation import LocalConversation
from laguna_agent.models.sizing.hardware import MemorySize
from support.synthetic import tiny_laguna
from support.talk import conversation

NOTE = ToolSpec(
    name="note",
    description="Note a number.",
    parameters={
        "type": "object",
        "properties": {"text": {"type": "string", "maxLength": 12}},
        "required": ["text"],
    },
)
WARM = [Sampling(temperature=1.0, top_k=0, seed=seed) for seed in range(4)]
TEXT = "def area(width, height):\n    return width * height\n"


async def asked(engine: EngineClient) -> LocalConversation:
    talk = conversation(engine)
    await talk.start("You are a coding agent. " * 4, [NOTE])
    await talk.append([Message(role="user", content=TEXT * 4)])
    return talk


async def replies_of(
    talk: LocalConversation, options: GenerateOptions, samplings: list[Sampling]
) -> list[Reply]:
    events = [event async for event in talk.candidates(options, samplings)]
    return [event for event in events if isinstance(event, Reply)]


async def test_each_reply_is_what_its_sampling_gives_and_the_prompt_stays(
    engine: EngineClient,
) -> None:
    talk = await asked(engine)
    before = talk.tokens
    replies = await replies_of(talk, GenerateOptions(max_tokens=40), WARM)
    texts = [reply.text for reply in replies]
    assert len(set(texts)) == 4
    assert [reply.seed for reply in replies] == [0, 1, 2, 3]
    assert talk.tokens == before
    assert sum(reply.usage.completion_tokens for reply in replies) == sum(
        len(reply.token_ids or ()) for reply in replies
    )
    events = [event async for event in talk.generate(GenerateOptions(max_tokens=4))]
    reply = events[-1]
    assert isinstance(reply, Reply)
    assert reply.miss is None
    assert reply.usage.prefilled_tokens <= 1, "the prompt is in the cache"


async def test_greedy_replies_are_those_of_a_reply_alone_but_for_ties(
    engine: EngineClient,
) -> None:
    talk = await asked(engine)
    cold = Sampling(temperature=0)
    replies = await replies_of(talk, GenerateOptions(max_tokens=48), [cold, WARM[1], cold])
    for reply in (replies[0], replies[2]):
        ids = reply.token_ids or []
        assert len(ids) == 48
        scores = await engine.score(EngineRequest(_prompt(talk, reply), cold, 48), ids)
        assert all(score.gap < TIE for score in scores)


def _prompt(talk: LocalConversation, reply: Reply) -> list[int]:
    """The tokens that a reply continues: those of the conversation and its opening."""
    opening = list(reply.prompt_token_ids or ())
    held = list(talk.tokens)
    at = next(n for n in range(len(held) + 1) if held[n:] == opening[: len(held) - n])
    return held[:at] + opening


async def test_each_reply_keeps_to_the_grammar(engine: EngineClient) -> None:
    talk = await asked(engine)
    options = GenerateOptions(max_tokens=300, tool_choice="required")
    replies = await replies_of(talk, options, WARM)
    called = [reply for reply in replies if reply.tool_calls]
    assert called
    ids = [call.id for reply in called for call in reply.tool_calls]
    assert len(set(ids)) == len(ids)
    for reply in called:
        assert len(json.dumps(reply.tool_calls[0].arguments["text"])) <= 80
    for reply in replies:
        assert reply.tool_calls or reply.finish_reason == "length"
    await talk.append_reply(called[-1])
    await talk.append([Message(role="tool", content="ok", name="note")])
    events = [event async for event in talk.generate(GenerateOptions(max_tokens=4))]
    reply = events[-1]
    assert isinstance(reply, Reply)
    assert reply.miss is None


async def test_drafts_from_the_prompt_serve_every_reply(engine: EngineClient) -> None:
    """Copied text is drafted, and what was not right is taken back in its sequence only."""
    talk = await asked(engine)
    await replies_of(talk, GenerateOptions(max_tokens=96), [Sampling(temperature=0)] * 3)
    counters = (await engine.status())["counters"]
    assert counters["generated_tokens"] == 3 * 96
    assert counters["drafted_tokens"]


async def test_one_that_is_closed_leaves_the_engine_and_the_prompt_as_they_were(
    engine: EngineClient,
) -> None:
    talk = await asked(engine)
    before = talk.tokens
    async with aclosing(talk.candidates(GenerateOptions(max_tokens=1500), WARM)) as events:
        async for event in events:
            if isinstance(event, TextDelta):
                break
    assert talk.tokens == before
    assert len(await replies_of(talk, GenerateOptions(max_tokens=8), WARM[:2])) == 2


async def test_other_conversations_are_served_while_replies_are_written(
    engine: EngineClient,
) -> None:
    talk, other = await asked(engine), conversation(engine)
    await other.start("Another one.", [])
    await other.append([Message(role="user", content="Count to ten." * 20)])
    seen = 0
    async with aclosing(talk.candidates(GenerateOptions(max_tokens=300), WARM)) as events:
        async for event in events:
            if isinstance(event, TextDelta) and not seen:
                seen = len([e async for e in other.generate(GenerateOptions(max_tokens=8))])
            last = event
    assert seen
    assert isinstance(last, Reply)
    assert last.seed == 3


def test_there_are_as_many_replies_as_there_is_memory_for(monkeypatch: pytest.MonkeyPatch) -> None:
    header = read_header(tiny_laguna())
    request = EngineRequest([1] * 100, WARM[0], 1000, others=WARM[1:])
    counts = []
    for free in (1 << 34, 5 << 20, 1 << 20):
        memory = MemorySize(total=1 << 34, available=free)
        monkeypatch.setattr(
            "laguna_agent.models.engine.side_by_side.machine_memory", lambda size=memory: size
        )
        counts.append(affordable(header, request, "f16"))
    assert counts[0] == 4
    assert 1 < counts[1] < 4
    assert counts[2] == 1


async def test_an_engine_that_is_killed_writes_all_replies_again(engine: EngineClient) -> None:
    talk = await asked(engine)
    options = GenerateOptions(max_tokens=200)
    killed = False
    events = []
    async with aclosing(talk.candidates(options, WARM)) as coming:
        async for event in coming:
            events.append(event)
            if isinstance(event, TextDelta) and not killed:
                killed = True
                assert engine.process is not None
                engine.process.kill()
    assert any(isinstance(event, EngineRestarted) for event in events)
    replies = [event for event in events if isinstance(event, Reply)]
    assert [reply.seed for reply in replies] == [0, 1, 2, 3]
    for reply in replies:
        spelled = await engine.detokenize(reply.token_ids or [])
        assert spelled.lstrip().startswith(reply.text[:40]), "nothing is missing or twice there"
        assert len(reply.token_ids or []) == 200 or reply.finish_reason != "length"


BEGUN = "```python\ndef area(width, height):\n"


async def completed(
    engine: EngineClient, samplings: list[Sampling], tokens: int = 30, *, kill: bool = False
) -> tuple[list[Completed], list[ModelEvent], str, LocalConversation]:
    info = ModelInfo(name="tiny", format="fenced", context=engine.model.context)
    talk = LocalConversation(engine, FencedFormat(), info, "begun")
    await talk.start("You are a coding agent.", [NOTE])
    completion = Completion("Complete it.", BEGUN, code_grammar(BEGUN, only_defines=True), tokens)
    pid = (await engine.status())["pid"]
    events: list[ModelEvent] = []
    shown: list[str] = []

    def on_event(event: ModelEvent) -> None:
        if kill and not events:
            os.kill(pid, signal.SIGKILL)
        events.append(event)

    found = await talk.complete(completion, samplings, on_event, shown.append)
    return found, events, "".join(shown), talk


async def test_answers_go_on_from_a_text_and_leave_the_prompt_alone(engine: EngineClient) -> None:
    found, _, shown, talk = await completed(engine, [Sampling(temperature=0)])
    [one] = found
    assert one.text == BEGUN + shown
    assert shown
    assert one.usage.completion_tokens == 30, "what is given is not counted as written"
    assert "Complete it." not in await engine.detokenize(talk.tokens)


async def test_several_answers_all_go_on_from_it(engine: EngineClient) -> None:
    found, _, shown, _ = await completed(engine, WARM, 20)
    assert found[0].text == BEGUN + shown
    assert all(one.text.startswith(BEGUN) for one in found)
    assert len({one.text for one in found}) == 4
    assert [one.usage.completion_tokens for one in found] == [20] * 4


@pytest.mark.parametrize("count", [1, 4])
async def test_an_answer_is_whole_after_the_engine_is_lost(
    engine: EngineClient, count: int
) -> None:
    samplings = [Sampling(temperature=0), *WARM[1:count]]
    whole, _, _, _ = await completed(engine, samplings)
    again, events, _, _ = await completed(engine, samplings, kill=True)
    assert any(isinstance(event, EngineRestarted) for event in events)
    assert all(one.text.startswith(BEGUN) for one in again)
    assert [one.usage.completion_tokens for one in again] == [30] * len(whole)


async def test_what_does_not_fit_is_not_begun(engine: EngineClient) -> None:
    found, *_ = await completed(engine, WARM, engine.model.context)
    assert found == []
