"""Random weights at temperature 1, held by the grammars: every reply is a valid call.

Nothing but the grammar shapes these replies. Random weights never spell a closing tag, so the
tools bound their strings, and lines in fences are bounded here.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from laguna_agent.config import EngineConfig
from laguna_agent.events import Reply
from laguna_agent.models.chat import fenced, grammar
from laguna_agent.models.chat.chat_format import ChatFormat, Grammar
from laguna_agent.models.chat.chatml import ChatMLFormat
from laguna_agent.models.chat.fenced import FencedFormat
from laguna_agent.models.chat.laguna import LagunaFormat
from laguna_agent.models.conversation import GenerateOptions, Message, ModelInfo, Sampling, ToolSpec
from laguna_agent.models.engine.client import EngineClient, open_engine
from laguna_agent.models.local_conversation import LocalConversation
from support.synthetic import tiny_laguna

pytestmark = pytest.mark.slow


Word = Annotated[str, Field(json_schema_extra={"maxLength": 12})]
"""Grammars hold the length roughly, so it is declared and not validated."""


class Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Span(Arguments):
    first: int
    last: int | None = None


class Read(Arguments):
    path: Word
    start: int | None = None
    span: Span | None = None


class Write(Arguments):
    path: Word
    content: Word
    executable: bool = False


class Plan(Arguments):
    steps: list[Word] = Field(max_length=3)
    mode: str = Field(default="all", json_schema_extra={"enum": ["all", "none"]})


class Count(Arguments):
    number: int = Field(ge=3, le=250)


class Tag(Arguments):
    word: Word
    level: Literal["low", "high"]
    times: int = Field(ge=1)
    loud: bool


class Switch(Arguments):
    on: bool = False


class Done(Arguments):
    pass


MODELS: dict[str, type[Arguments]] = {
    "read": Read,
    "write": Write,
    "plan": Plan,
    "count": Count,
    "tag": Tag,
    "switch": Switch,
    "done": Done,
}
TOOLS = [
    ToolSpec(name=name, description="…", parameters=model.model_json_schema())
    for name, model in MODELS.items()
]


class BoundedFences(FencedFormat):
    """The fenced format with lines and texts that random weights can end."""

    def grammar(self, tools: Sequence[ToolSpec], options: GenerateOptions) -> Grammar | None:
        made = super().grammar(tools, options)
        assert made is not None
        return replace(made, gbnf=made.gbnf.replace("]*", "]{0,12}").replace(")*", "){0,12}"))


@pytest.fixture(autouse=True)
def short_preambles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grammar, "PREAMBLE_LIMIT", 12)
    monkeypatch.setattr(grammar, "MAX_CALLS", 2)
    monkeypatch.setattr(fenced, "THOUGHT_CHARS", 12)


@pytest.fixture
async def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[EngineClient]:
    monkeypatch.setenv("LAGUNA_HOME", str(tmp_path))
    config = EngineConfig(context=3072, keep_alive=0, threads=1, snapshots=False)
    client = await open_engine(tiny_laguna(), config=config)
    yield client
    await client.aclose()


async def replies(
    engine: EngineClient, chat: ChatFormat, count: int, **options: Any
) -> AsyncIterator[Reply]:
    info = ModelInfo(name="tiny", format=chat.name, context=3072)
    conversation = LocalConversation(engine, chat, info)
    await conversation.start("You are laguna.", TOOLS)
    await conversation.append([Message(role="user", content="Go.")])
    mark = conversation.mark()
    for seed in range(count):
        made = GenerateOptions(
            sampling=Sampling(temperature=1.0, top_k=0, seed=seed),
            max_tokens=1800,
            tool_choice="required",
            **options,
        )
        last = None
        async for event in conversation.generate(made):
            last = event
        assert isinstance(last, Reply)
        yield last
        conversation.rewind(mark)


def check(reply: Reply) -> None:
    assert reply.error is None, reply
    assert reply.finish_reason == "tool_calls", reply
    assert reply.tool_calls
    for call in reply.tool_calls:
        MODELS[call.name].model_validate(call.arguments)
        json.dumps(call.arguments, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    ("chat", "options"),
    [
        (LagunaFormat("v4"), {}),
        (LagunaFormat("v8"), {"thinking": True, "thinking_budget": 12}),
        (ChatMLFormat(), {}),
        (BoundedFences(), {}),
    ],
    ids=["laguna", "laguna-v8-thinking", "chatml", "fenced"],
)
async def test_random_replies_are_valid_calls(
    engine: EngineClient, chat: ChatFormat, options: dict[str, Any]
) -> None:
    names: set[str] = set()
    async for reply in replies(engine, chat, 50, **options):
        check(reply)
        names |= {call.name for call in reply.tool_calls}
    assert names == set(MODELS)


async def test_only_allowed_tools_are_called_under_random_weights(engine: EngineClient) -> None:
    async for reply in replies(engine, LagunaFormat(), 40, allowed=["read"]):
        check(reply)
        assert {call.name for call in reply.tool_calls} == {"read"}
