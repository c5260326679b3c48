"""Variations of a text: each leaves it at a place of its own, and the prompt stays as it was."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import aclosing

import pytest

from laguna_agent.config import EngineConfig
from laguna_agent.errors import ContextFullError
from laguna_agent.events import ModelEvent, PrefillProgress, Reply, ToolCall
from laguna_agent.models.chat.chat_format import Segment
from laguna_agent.models.chat.laguna import LagunaFormat
from laguna_agent.models.conversation import GenerateOptions, Message, Sampling, Variation
from laguna_agent.models.engine.client import EngineClient
from laguna_agent.models.engine.generation import Sinks
from laguna_agent.models.engine.interface import TIE, EngineRequest, Finished, Vary
from laguna_agent.models.engine.model_runner import ModelRunner
from laguna_agent.models.engine.variations import Variations
from laguna_agent.models.local_conversation import LocalConversation
from support.synthetic import TINY_WINDOW, tiny_laguna
from support.talk import conversation

TEXT = """def area(width, height):
    # of a field
    return width * height


print(area(2, 3))
"""
SYSTEM = "You are a coding agent. " * 4
OPENING = "area.py, corrected:\n```python\n"


async def asked(engine: EngineClient) -> LocalConversation:
    talk = conversation(engine)
    await talk.start(SYSTEM, [])
    await talk.append([Message(role="user", content="The area is wrong. Fix it.")])
    return talk


async def variations(talk: LocalConversation, **changes: object) -> list[str]:
    asks = {"first": 0, "count": 12, "lines": 2, **changes}
    found, _ = await talk.variations(Variation(OPENING, TEXT, **asks), lambda event: None)  # type: ignore[arg-type]  # keywords of a dataclass
    return found


def places(texts: list[str]) -> list[tuple[int, str]]:
    """Where each leaves the text, and with what; equally good tokens may follow in any order."""
    found = []
    for text in texts:
        pairs = enumerate(zip(text, TEXT, strict=False))
        at = next(n for n, (one, other) in pairs if one != other)
        found.append((at, text[at]))
    return found


async def test_each_leaves_the_text_at_one_place_and_goes_on_for_some_lines(
    engine: EngineClient,
) -> None:
    talk = await asked(engine)
    before = talk.tokens
    found = await variations(talk)
    assert len(found) == 12
    assert len(set(found)) == 12
    assert not any(TEXT.startswith(text) for text in found)
    for text, (at, _) in zip(found, places(found), strict=True):
        assert text[at:].count("\n") <= 2 or text.endswith("\n")
    assert talk.tokens == before
    events = [event async for event in talk.generate(GenerateOptions(max_tokens=4))]
    assert isinstance(reply := events[-1], Reply)
    assert reply.miss is None


async def test_reading_the_text_is_reported(engine: EngineClient) -> None:
    talk, seen = await asked(engine), list[ModelEvent]()
    await talk.variations(Variation(OPENING, TEXT * 3, 0, 2, 1), seen.append)
    read = [event for event in seen if isinstance(event, PrefillProgress)]
    assert read[-1].done == read[-1].total
    assert read[-1].reused > len(talk.tokens), "all of the prompt"


async def test_those_that_were_tried_are_left_out(engine: EngineClient) -> None:
    talk = await asked(engine)
    twelve = await variations(talk)
    assert places(await variations(talk, count=4)) == places(twelve[:4])
    assert places(await variations(talk, first=4, count=8)) == places(twelve[4:])
    assert await variations(talk, first=100_000) == []


async def test_what_is_to_stay_stays(engine: EngineClient) -> None:
    talk = await asked(engine)
    start = len("def area(width, height):\n")
    end = TEXT.index("    return")
    found = await variations(talk, count=400, skip=((0, end), (TEXT.index("\n\n"), len(TEXT))))
    assert found
    assert all(text.startswith(TEXT[:end]) for text in found)
    assert start < end


async def test_more_than_are_written_at_a_time_come_in_order(engine: EngineClient) -> None:
    talk = await asked(engine)
    many = await variations(talk, count=40)
    assert len(many) == 40
    assert places(many[:12]) == places(await variations(talk))


async def test_a_text_without_a_place_has_none(engine: EngineClient) -> None:
    talk = await asked(engine)
    found, usage = await talk.variations(Variation(OPENING, "", 0, 4, 2), lambda event: None)
    assert found == []
    assert usage.completion_tokens == 0


async def test_a_text_that_does_not_fit_is_refused(engine: EngineClient) -> None:
    talk = await asked(engine)
    with pytest.raises(ContextFullError):
        await talk.variations(Variation(OPENING, TEXT * 200, 0, 4, 2), lambda event: None)


async def test_one_that_is_cancelled_leaves_the_engine_as_it_was(engine: EngineClient) -> None:
    talk = await asked(engine)
    task = asyncio.ensure_future(variations(talk, count=400, lines=50))
    while not (await engine.status())["busy"]:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(await variations(talk, count=2)) == 2


async def test_others_are_served_meanwhile(engine: EngineClient) -> None:
    talk, other = await asked(engine), conversation(engine, "other")
    await other.start("Another one.", [])
    await other.append([Message(role="user", content="Count to ten.")])
    task = asyncio.ensure_future(variations(talk, count=80))
    async with aclosing(other.generate(GenerateOptions(max_tokens=8))) as events:
        replies = [event async for event in events if isinstance(event, Reply)]
    assert replies
    assert len(await task) == 80


async def test_tokens_that_are_written_are_counted(
    engine: EngineClient, config: EngineConfig
) -> None:
    talk = await asked(engine)
    tokens = await engine.tokenize([])
    assert tokens == []
    _, usage = await talk.variations(Variation(OPENING, TEXT, 0, 3, 1), lambda event: None)
    assert 3 <= usage.completion_tokens <= 3 * 96
    counters = (await engine.status())["counters"]
    assert counters["generated_tokens"] == usage.completion_tokens
    vary = Vary([5, 6], 0, 1, 1)
    request = EngineRequest(list(talk.tokens), GenerateOptions().sampling, 0, vary=vary)
    last = [event async for event in engine.generate(request)][-1]
    assert getattr(last, "others", None)


async def test_a_text_far_longer_than_the_window_is_varied_everywhere(engine: EngineClient) -> None:
    talk = await asked(engine)
    functions = (f"def f_{n}(width, height):\n    return width * {n} + height\n" for n in range(30))
    tokens = await engine.tokenize([Segment("".join(functions))])
    assert len(tokens) > 8 * TINY_WINDOW
    cold = Sampling(temperature=0)
    vary = Vary(tokens, 0, 24, 6)
    request = EngineRequest(list(talk.tokens), cold, 0, vary=vary)
    finished = [event async for event in engine.generate(request)][-1]
    assert isinstance(finished, Finished)
    likeliest = total = 0
    for other in finished.others:
        start = other.text.removesuffix(await engine.detokenize(other.ids))
        held = await _tokens_of(engine, tokens, start)
        scored = EngineRequest([*talk.tokens, *held], cold, len(other.ids))
        scores = await engine.score(scored, other.ids)
        likeliest += sum(score.gap < TIE for score in scores[1:])
        total += len(scores) - 1
    assert len(finished.others) == 24
    assert likeliest > 0.95 * total, "each goes on as a reply alone would"


async def _tokens_of(engine: EngineClient, tokens: list[int], text: str) -> list[int]:
    """The first tokens, which spell `text`."""
    spelled = ""
    for count, token in enumerate(tokens):
        if spelled == text:
            return tokens[:count]
        spelled += await engine.detokenize([token])
    raise AssertionError(text)


def test_stopping_one_stops_no_other(config: EngineConfig) -> None:
    runner = ModelRunner(tiny_laguna(), config.model_copy(update={"snapshots": False}), None)
    prompt, text = list(range(100, 140)), list(range(200, 260))

    def begun(session: str) -> Variations:
        cold, vary = Sampling(temperature=0), Vary(text, 0, 8, 4)
        request = EngineRequest(prompt, cold, 0, vary=vary, session=session)
        made = runner.start(request, Sinks(lambda *_: None, lambda *_: None), lambda *_: None)
        assert isinstance(made, Variations)
        while made.context is None:
            next(made.steps)
        return made

    first, second = begun("one"), begun("two")
    runner.abort(first)
    for some in (first, second):
        runner.cache.context.clear_abort()
        deque(some.steps, maxlen=0)
    assert first.result is not None
    assert second.result is not None
    assert (first.result.reason, second.result.reason) == ("cancelled", "stop")
    assert len(second.result.others) == 8
    runner.close()


async def test_a_reply_made_of_a_variation_is_on_record_with_its_tokens(
    engine: EngineClient,
) -> None:
    talk = await asked(engine)
    call = ToolCall(id="c", name="write", arguments={}, raw="### write area.py")
    made = Reply(text="It may be this.", tool_calls=[call], composed=True)
    await talk.append_reply(made)
    await talk.append([Message(role="tool", content="ok", name="write")])
    events = [event async for event in talk.generate(GenerateOptions(max_tokens=8))]
    last = events[-1]
    assert isinstance(last, Reply)
    ids = [i for r in (made, last) for i in (*(r.prompt_token_ids or ()), *(r.token_ids or ()))]
    static = len(await engine.tokenize(LagunaFormat("v4").render_start(SYSTEM, [])))
    assert list(talk.tokens[static : static + len(ids)]) == ids
    assert await engine.detokenize(made.token_ids or []) == "It may be this.\n### write area.py"
