"""A pack whose chat format writes calls in the text has them so on a server too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from laguna_agent.agent.model_loading import load_model
from laguna_agent.config import Config, ProviderConfig
from laguna_agent.events import Reply, TextDelta, ToolCall, ToolCallDelta
from laguna_agent.models.chat.fenced import FencedFormat
from laguna_agent.models.conversation import GenerateOptions, Message, ModelInfo, ToolSpec
from laguna_agent.models.servers.endpoint import Endpoint
from laguna_agent.models.servers.http_conversation import HttpConversation
from laguna_agent.models.servers.lessons import Lessons
from support.model_server import Exchange, ModelServer, Script, calls, says
from support.talk_to_server import collect, reply_of, talk, timeouts

READ = ToolSpec(
    name="read",
    description="Read a file.",
    parameters={"properties": {"path": {"type": "string"}}, "required": ["path"]},
)
WRITE = ToolSpec(
    name="write",
    description="Write a file.",
    parameters={
        "properties": {"path": {"type": "string"}, "content": {"type": "string"}},
        "required": ["path", "content"],
    },
)
TOOLS = [READ, WRITE]
REQUIRED = GenerateOptions(tool_choice="required")
SAID = "I look at it.\n\n### read a.py\n"
WRITTEN = "### write a.py\n```python\nx = 1\n```"


async def fenced(server: ModelServer, **more: Any) -> HttpConversation:
    info = ModelInfo(name="p/m", format="openai", context=4000)
    conversation = HttpConversation(
        endpoint=Endpoint(server.url), model="m", info=info, timeouts=timeouts(), **more
    )
    conversation.write_calls_as(FencedFormat())
    await conversation.start("Be brief.", TOOLS)
    await conversation.append([Message(role="user", content="Hello")])
    return conversation


def in_pieces(text: str, size: int, key: str = "content") -> Script:
    async def script(exchange: Exchange) -> None:
        await exchange.open()
        for at in range(0, len(text), size):
            await exchange.delta(**{key: text[at : at + size]})
        await exchange.delta(finish="stop")
        await exchange.done()

    return script


def made(reply: Reply) -> list[tuple[str, dict[str, Any]]]:
    return [(call.name, call.arguments) for call in reply.tool_calls]


async def test_tools_and_calls_are_in_the_text_as_for_a_local_model() -> None:
    async with ModelServer(in_pieces(SAID, 4), says(WRITTEN), says("Done.")) as server:
        talk = await fenced(server)
        first = reply_of(await collect(talk, REQUIRED))
        result = Message(role="tool", content="x = 0", name="read", call_id=first.tool_calls[0].id)
        await talk.append([result, Message(role="user", content="A note.")])
        second = reply_of(await collect(talk, REQUIRED))
        await talk.append([Message(role="tool", content="", name="write", call_id="?")])
        await collect(talk, REQUIRED)
        await talk.aclose()
    assert (first.text, made(first)) == ("I look at it.", [("read", {"path": "a.py"})])
    assert first.tool_calls[0].raw == "### read a.py"
    assert made(second) == [("write", {"path": "a.py", "content": "x = 1\n"})]
    assert talk.info.format == "fenced"

    system = FencedFormat.system_text("Be brief.", TOOLS)
    assert [m["content"] for m in server.requests[-1]["messages"]] == [
        system, "Hello", SAID.strip(), "x = 0\n\nA note.", WRITTEN, "(nothing)",
    ]  # fmt: skip
    rendered = FencedFormat().render_start("Be brief.", TOOLS)
    assert system in "".join(segment.text for segment in rendered)
    sent = [request["messages"] for request in server.requests]
    assert sent[1][: len(sent[0])] == sent[0]
    assert sent[2][: len(sent[1])] == sent[1]
    assert {m["role"] for m in sent[2]} == {"system", "user", "assistant"}
    grammar = FencedFormat().grammar(TOOLS, REQUIRED)
    for request in server.requests:
        assert grammar is not None
        assert request["grammar"] == grammar.gbnf
        assert not {"tools", "tool_choice"} & request.keys()


@pytest.mark.parametrize("size", [1, 3, 200])
async def test_a_call_is_streamed_as_a_call_and_not_shown(size: int) -> None:
    async with ModelServer(in_pieces(f"Now.\n{WRITTEN}\n", size)) as server:
        talk = await fenced(server)
        events = await collect(talk, REQUIRED)
        await talk.aclose()
    assert "".join(e.text for e in events if isinstance(e, TextDelta)).strip() == "Now."
    assert {e.id for e in events if isinstance(e, ToolCallDelta)} == {
        call.id for call in reply_of(events).tool_calls
    }


async def test_a_server_without_grammars_is_asked_without_from_then_on() -> None:
    async def refuses(exchange: Exchange) -> None:
        error = {"message": "Extra inputs are not permitted", "param": "grammar"}
        await exchange.answer("400 Bad Request", {"error": error})

    lessons = Lessons("p", "127.0.0.1", "m", "1")
    async with ModelServer(refuses, says(SAID)) as server:
        talk = await fenced(server, lessons=lessons)
        reply = reply_of(await collect(talk, REQUIRED))
        await collect(talk, REQUIRED)
        await talk.aclose()
    assert made(reply) == [("read", {"path": "a.py"})]
    assert ["grammar" in request for request in server.requests] == [True, False, False]
    assert lessons.known() == {"without grammar": True}
    assert all("### read PATH" in request["messages"][0]["content"] for request in server.requests)


async def test_an_own_grammar_and_a_reply_without_calls_are_left_alone() -> None:
    summary = GenerateOptions(tool_choice="none", grammar='root ::= "x"')
    async with ModelServer(says("It did:\n### read a.py")) as server:
        talk = await fenced(server)
        reply = reply_of(await collect(talk, summary))
        prose = reply_of(await collect(talk, GenerateOptions(tool_choice="none")))
        await talk.aclose()
    assert [request.get("grammar") for request in server.requests] == ['root ::= "x"', None]
    assert reply.text == prose.text == "It did:\n### read a.py"
    assert not reply.tool_calls


@pytest.mark.parametrize(
    ("script", "thinking"),
    [
        (says("I could ### read it.\n### read no.py\n</think>\n### read a.py"), "I could"),
        (says("<think>\n### read no.py\n</think>\n\n### read a.py"), "### read no.py"),
        (in_pieces("I look.\n### read a.py", 5, "reasoning_content"), "I look."),
    ],
)
async def test_calls_are_told_from_thoughts(script: Script, thinking: str) -> None:
    async with ModelServer(script) as server:
        talk = await fenced(server)
        reply = reply_of(await collect(talk, REQUIRED))
        await talk.append([Message(role="user", content="Go on")])
        await collect(talk, REQUIRED)
        await talk.aclose()
    assert made(reply) == [("read", {"path": "a.py"})]
    assert reply.thinking.startswith(thinking)
    assert "### read a.py" in server.requests[-1]["messages"][2]["content"]


@pytest.mark.parametrize(
    "script",
    [
        says('<tool_call>\n{"name": "read", "arguments": {"path": "a.py"}}\n</tool_call>'),
        says('Now.\n### {"name": "read", "arguments": {"path": "a.py"}}'),
        says('```json\n{"name": "read", "arguments": {"path": "a.py"}}\n```'),
        calls(("read", '{"path": "a.py"}')),
    ],
)
async def test_a_call_in_another_form_is_read_too(script: Script) -> None:
    async with ModelServer(script, says("Done.")) as server:
        talk = await fenced(server)
        reply = reply_of(await collect(talk, REQUIRED))
        await talk.append([Message(role="tool", content="x", name="read")])
        await collect(talk, REQUIRED)
        await talk.aclose()
    assert made(reply) == [("read", {"path": "a.py"})]
    messages = server.requests[-1]["messages"]
    assert [m["role"] for m in messages] == ["system", "user", "assistant", "user"]
    assert "read" in messages[2]["content"]


async def test_a_malformed_call_is_explained_in_the_form() -> None:
    async with ModelServer(says("### write a.py\nx = 1")) as server:
        talk = await fenced(server)
        reply = reply_of(await collect(talk, REQUIRED))
        await talk.aclose()
    assert reply.error is not None
    assert "### write PATH\n```\nCONTENT\n```" in reply.error
    assert not reply.tool_calls


async def test_replies_of_another_format_are_continued_in_this_one() -> None:
    other = ToolCall(id="1", name="write", arguments={"path": "b", "content": "```\n"}, raw="{}")
    own = ToolCall(id="2", name="read", arguments={"path": "a.py"}, raw="### read a.py\n")
    async with ModelServer(says("Done.")) as server:
        mine = await fenced(server)
        for call in (own, other):
            await mine.append_reply(Reply(text="So.", tool_calls=[call]))
            await mine.append([Message(role="tool", content="x", call_id=call.id)])
        await collect(mine, REQUIRED)
        await mine.aclose()
        native = await talk(server)
        await native.append_reply(Reply(text="So.", tool_calls=[own]))
        await collect(native)
        await native.aclose()
    written, found = (request["messages"] for request in server.requests)
    assert written[2]["content"] == "So.\n\n### read a.py"
    assert written[4]["content"] == "So.\n\n### write b\n````\n```\n````"
    assert found[2]["tool_calls"][0]["function"]["arguments"] == '{"path": "a.py"}'


@pytest.mark.parametrize(("pack", "format"), [("small", "fenced"), ("laguna", "openai")])
async def test_the_pack_says_how_calls_are_written(tmp_path: Path, pack: str, format: str) -> None:  # noqa: A002
    async with ModelServer(says(SAID)) as server:
        providers = {"box": ProviderConfig(url=server.url, context=8192)}
        config = Config(model="box/m", pack=pack, providers=providers)
        loaded = await load_model(config, root=tmp_path, session="s", trusted=False, plan=False)
        await loaded.conversation.start("Be brief.", TOOLS)
        await loaded.conversation.append([Message(role="user", content="Hello")])
        async for _ in loaded.conversation.generate(REQUIRED):
            pass
        await loaded.conversation.aclose()
    assert loaded.info.format == format
    [request] = server.requests
    assert ("### read PATH" in request["messages"][0]["content"]) is (pack == "small")
    assert ("tools" in request) is (pack == "laguna")
