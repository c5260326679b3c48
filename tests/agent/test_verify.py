"""A recorded greedy run comes out of the model the same again, and a changed one does not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from laguna_agent.config import EngineConfig
from laguna_agent.events import (
    Event,
    GrammarUsed,
    Reply,
    SystemPrompt,
    ToolFinished,
    UserMessage,
)
from laguna_agent.interfaces.commands.replay_check import _is_given, replay_greedy
from laguna_agent.models.chat import grammar
from laguna_agent.models.chat.chat_format import Grammar, Segment
from laguna_agent.models.chat.fenced import FencedFormat
from laguna_agent.models.conversation import (
    GenerateOptions,
    Message,
    ModelInfo,
    Sampling,
    ToolSpec,
)
from laguna_agent.models.engine.client import EngineClient, open_engine
from laguna_agent.models.local_conversation import LocalConversation
from laguna_agent.trajectory.store import Trajectory
from support.synthetic import smooth_laguna
from support.talk import conversation

READ = ToolSpec(
    name="read",
    description="Read a file.",
    parameters={
        "type": "object",
        "properties": {"path": {"type": "string", "maxLength": 60}},
        "required": ["path"],
    },
)


@pytest.fixture(autouse=True)
def short_preamble(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grammar, "PREAMBLE_LIMIT", 60)


@pytest.fixture
async def engine() -> AsyncIterator[EngineClient]:
    config = EngineConfig(context=2048, micro_batch=64, keep_alive=0, threads=1)
    made = await open_engine(smooth_laguna(), config=config)
    yield made
    await made.aclose()


async def recorded(engine: EngineClient) -> list[Event]:
    """Replies that a grammar holds in all the ways there are, and one that nothing holds."""
    talk = conversation(engine, "")
    tokens = await talk.start("You are an agent.", [READ])
    events: list[Event] = [
        SystemPrompt(text="You are an agent.", tools=[], tokens=tokens, token_ids=[*talk.tokens])
    ]
    greedy = Sampling(temperature=0.0)
    for number, options in enumerate(
        [
            GenerateOptions(sampling=greedy, max_tokens=150, tool_choice="required"),
            GenerateOptions(sampling=greedy, max_tokens=60, grammar='root ::= [a-f ]{30,60} "."'),
            GenerateOptions(
                sampling=greedy, max_tokens=90, tool_choice="required",
                thinking=True, thinking_budget=12,
            ),
            GenerateOptions(sampling=greedy, max_tokens=40, tool_choice="none"),
        ]
    ):  # fmt: skip
        said: Event = UserMessage(text=f"question {number}")
        message = Message(role="user", content=f"question {number}")
        if number == 1:
            said = ToolFinished(call_id="a", name="read", ok=True, content="what is in the file")
            message = Message(role="tool", content="what is in the file", name="read")
        await talk.append([message])
        events.append(said)
        events.extend([e async for e in talk.generate(options) if not e.transient])
    return events


async def verified(root: Path, engine: EngineClient, events: list[Event], name: str) -> int:
    with Trajectory.create(root, session_id=name) as trajectory:
        for event in events:
            trajectory.append(event)
        return await replay_greedy(trajectory, engine)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "project"
    made.mkdir()
    return made


async def test_an_honest_run_is_the_same_again_grammars_included(
    engine: EngineClient, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    events = await recorded(engine)
    replies = [event for event in events if isinstance(event, Reply)]
    assert [bool(reply.grammar) for reply in replies] == [True, True, True, False]
    assert replies[0].tool_calls or replies[0].error or replies[0].finish_reason == "length"
    assert replies[2].think_close
    assert sum(isinstance(event, GrammarUsed) for event in events) == 3
    code = await verified(root, engine, events, "honest")
    out = capsys.readouterr().out
    assert code == 0, out
    assert "4 greedy replies" in out
    assert "differ" not in out


@pytest.mark.slow
async def test_a_changed_token_is_found_in_whichever_reply_it_stands(
    engine: EngineClient, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    honest = await recorded(engine)
    places = [place for place, event in enumerate(honest) if isinstance(event, Reply)]
    for place in places:
        events = [event.model_copy(deep=True) for event in honest]
        reply = events[place]
        assert isinstance(reply, Reply)
        assert reply.token_ids
        reply.token_ids[3] = reply.token_ids[3] ^ 1
        assert await verified(root, engine, events, f"changed-{place}") == 1
        out = capsys.readouterr().out
        line = next(line for line in out.split("\n") if line.startswith(f"e{place + 1}:"))
        assert "the first at token 3" in line


@pytest.mark.slow
async def test_a_changed_text_is_found_though_the_tokens_are_the_models(
    engine: EngineClient, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    honest = await recorded(engine)
    for place, change, said in (
        (-1, {"text": "I did it."}, "its text is not what they spell"),
        (-2, {"text": "Another question"}, "before it is not what they spell"),
        (4, {"content": "something else"}, "before it is not what they spell"),
    ):
        events = list(honest)
        assert set(change) <= set(type(events[place]).model_fields)
        events[place] = events[place].model_copy(update=change)
        assert await verified(root, engine, events, f"text-{place}") == 1
        out = capsys.readouterr().out
        assert said in out
        assert "1 reply with changed text" in out


@pytest.mark.slow
async def test_without_its_grammar_a_reply_cannot_be_verified(
    engine: EngineClient, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    events = [e for e in await recorded(engine) if not isinstance(e, GrammarUsed)]
    assert await verified(root, engine, events, "without") == 1
    assert "is not on record" in capsys.readouterr().out


@pytest.mark.slow
async def test_replies_that_were_drawn_are_not_judged(
    engine: EngineClient, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    events = await recorded(engine)
    for event in events:
        if isinstance(event, Reply):
            event.temperature = 0.7
    assert await verified(root, engine, events, "drawn") == 1
    assert "Nothing to verify" in capsys.readouterr().err


BEGUN = "### read a.py\n```python\ndef area(width, height):\n"


async def begun(engine: EngineClient) -> list[Event]:
    """A reply of which the beginning was given."""
    info = ModelInfo(name="tiny", format="fenced", context=engine.model.context)
    talk = LocalConversation(engine, FencedFormat(), info, "begun")
    tokens = await talk.start("You are an agent.", [READ])
    prompt = SystemPrompt(text="You are an agent.", tools=[], tokens=tokens, token_ids=talk.tokens)
    await talk.append([Message(role="user", content="question")])
    options = GenerateOptions(
        sampling=Sampling(temperature=0.0), max_tokens=20, tool_choice="required", begins=BEGUN
    )
    replies = [event async for event in talk.generate(options) if not event.transient]
    return [prompt, UserMessage(text="question"), *replies]


async def test_what_a_reply_was_given_is_not_compared(
    engine: EngineClient, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    events = await begun(engine)
    [reply] = [event for event in events if isinstance(event, Reply)]
    assert reply.given
    assert await verified(root, engine, events, "given") == 0
    written = len(reply.token_ids or ()) - reply.given
    assert f"{written} tokens: {written} the same again" in capsys.readouterr().out


@pytest.mark.parametrize("given", [-1, 1, 3, 10_000])
async def test_a_reply_cannot_claim_that_more_was_given_than_its_grammar_holds(
    engine: EngineClient, root: Path, capsys: pytest.CaptureFixture[str], given: int
) -> None:
    """Without that, changed tokens would not be compared."""
    events = await begun(engine)
    [reply] = [event for event in events if isinstance(event, Reply)]
    assert reply.token_ids
    reply.given = reply.given + given if given > 0 else given
    reply.token_ids[-1] ^= 1
    assert await verified(root, engine, events, f"claimed-{given}") == 1
    assert f"{len(reply.token_ids)} tokens" in capsys.readouterr().out


GRAMMARS = [
    'root ::= "### read a" | [a-z]+',
    'root ::= "### read a"? [a-z]+',
    'root ::= ("### read a") [a-z]+',
    'root ::= [#] "## read a"',
    'root ::= "### read b"',
    'start ::= "### read a"',
]


@pytest.mark.parametrize("gbnf", GRAMMARS)
async def test_a_grammar_that_does_not_ask_for_a_text_shows_no_given_one(
    engine: EngineClient, gbnf: str
) -> None:
    tokens = await engine.tokenize([Segment("### read a")])
    assert not await _is_given(engine, tokens, Grammar(gbnf))
    right = Grammar('root ::= "### read a.py\\n" [a-z|]* "|"\nother ::= "a" | "b"\n')
    assert await _is_given(engine, tokens, right)
    assert not await _is_given(engine, tokens, replace(right, lazy=True))
    assert not await _is_given(engine, tokens, None)
    assert not await _is_given(engine, [], right)
