"""Conversations with a real HTTP server, well-behaved and misbehaving."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from laguna_agent.config import Config, ProviderConfig
from laguna_agent.errors import ContextFullError, ModelError, UsageError
from laguna_agent.events import (
    EngineRestarted,
    PrefillProgress,
    Reply,
    TextDelta,
    ThinkingDelta,
    ToolCall,
    ToolCallDelta,
)
from laguna_agent.models.conversation import GenerateOptions, Message, Sampling
from laguna_agent.models.servers.providers import open_provider, provider_of
from support.model_server import Exchange, ModelServer, Script
from support.talk_to_server import Pauses, calls_read, collect, reply_of, says_hi, talk, timeouts


async def test_a_reply_streams_and_reports_the_servers_counts() -> None:
    async with ModelServer(says_hi) as server:
        conversation = await talk(server)
        events = await collect(
            conversation, GenerateOptions(sampling=Sampling(temperature=0, seed=7), max_tokens=50)
        )
        await conversation.aclose()
    texts = [event.text for event in events if isinstance(event, TextDelta)]
    reply = reply_of(events)
    assert "".join(texts) == reply.text == "Hi there\u2028."
    assert len(texts) == 2
    assert reply.finish_reason == "stop"
    usage = reply.usage
    assert (usage.prompt_tokens, usage.reused_tokens, usage.prefilled_tokens) == (40, 30, 10)
    assert usage.completion_tokens == 5
    assert conversation.used == 45
    sent = server.requests[0]
    assert sent["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
    ]
    assert (sent["temperature"], sent["seed"], sent["max_tokens"]) == (0, 7, 50)
    assert sent["tools"][0]["function"]["name"] == "read"
    assert server.headers[0]["authorization"] == "Bearer secret"


async def test_messages_only_grow_and_reasoning_and_calls_go_back_as_they_came() -> None:
    async with ModelServer(calls_read, says_hi) as server:
        conversation = await talk(server)
        events = await collect(conversation)
        reply = reply_of(events)
        assert reply.thinking == "I must look."
        assert "".join(e.text for e in events if isinstance(e, ThinkingDelta)) == reply.thinking
        assert [(c.id, c.name, c.arguments) for c in reply.tool_calls] == [
            ("c1", "read", {"path": "a.py"})
        ]
        deltas = [e for e in events if isinstance(e, ToolCallDelta)]
        assert "".join(e.text for e in deltas) == '{"path": "a.py"}'
        assert {e.name for e in deltas} == {"read"}
        await conversation.append(
            [Message(role="tool", content="x = 1", name="read", call_id="c1")]
        )
        await collect(conversation)
        await conversation.aclose()
    first, second = (request["messages"] for request in server.requests)
    assert second[: len(first)] == first
    assert second[len(first) :] == [
        {
            "role": "assistant",
            "content": "",
            "reasoning_content": "I must look.",
            "tool_calls": [
                {
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "read", "arguments": '{"path": "a.py"}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "x = 1"},
    ]


async def test_a_call_without_a_result_is_closed_before_the_next_message() -> None:
    async with ModelServer(calls_read, says_hi) as server:
        conversation = await talk(server)
        await collect(conversation)
        await conversation.append(
            [
                Message(role="user", content="Stop."),
                Message(role="tool", content="late", name="read", call_id="gone"),
                Message(role="system", content="Note."),
            ]
        )
        await collect(conversation)
        await conversation.aclose()
    sent = server.requests[1]["messages"][3:]
    assert [m["role"] for m in sent] == ["tool", "user", "user", "user"]
    assert sent[0]["tool_call_id"] == "c1"
    assert "interrupted" in sent[0]["content"]


async def test_calls_written_as_text_by_a_server_that_does_not_parse_them_are_read() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.open()
        for text in ("<think>Hm.</think>\n", '<tool_call>\n{"name": "read", ', '"arguments": '):
            await exchange.delta(content=text)
        await exchange.delta(content='{"path": "b"}}\n</tool_call>', finish="stop")
        await exchange.done()

    async with ModelServer(script) as server:
        conversation = await talk(server)
        reply = reply_of(await collect(conversation))
        await conversation.aclose()
    assert [(c.name, c.arguments) for c in reply.tool_calls] == [("read", {"path": "b"})]
    assert (reply.thinking, reply.text, reply.finish_reason) == ("Hm.", "", "tool_calls")


async def test_two_calls_without_indices_and_arguments_as_objects_are_read() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.open()
        for name in ("one", "two"):
            call = {"id": name, "function": {"name": "read", "arguments": {"path": name}}}
            await exchange.delta(tool_calls=[call])
        await exchange.delta(finish="tool_calls")
        await exchange.done()

    async with ModelServer(script) as server:
        conversation = await talk(server)
        reply = reply_of(await collect(conversation))
        await conversation.aclose()
    assert [(c.id, c.arguments["path"]) for c in reply.tool_calls] == [
        ("one", "one"),
        ("two", "two"),
    ]


async def test_a_whole_answer_instead_of_a_stream_is_taken() -> None:
    async def script(exchange: Exchange) -> None:
        message = {"role": "assistant", "content": "Whole."}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 3, "completion_tokens": 1}
        await exchange.answer("200 OK", {"choices": [choice], "usage": usage})

    async with ModelServer(script) as server:
        conversation = await talk(server)
        reply = reply_of(await collect(conversation))
        await conversation.aclose()
    assert (reply.text, reply.usage.prompt_tokens) == ("Whole.", 3)


async def test_prompt_progress_of_llama_server_is_shown() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.open()
        progress = {"total": 1000, "cache": 200, "processed": 600, "time_ms": 2000}
        await exchange.event({"choices": [], "prompt_progress": progress})
        await says_hi_body(exchange)

    async def says_hi_body(exchange: Exchange) -> None:
        await exchange.delta(content="Hi", finish="stop")
        await exchange.event({"choices": [], "timings": {"cache_n": 7, "prompt_n": 3}})
        await exchange.done()

    async with ModelServer(script) as server:
        conversation = await talk(server)
        events = await collect(conversation)
        await conversation.aclose()
    progress = next(e for e in events if isinstance(e, PrefillProgress))
    assert (progress.done, progress.total, progress.reused) == (400, 800, 200)
    assert (progress.rate, progress.eta_s) == (200.0, 2.0)
    assert (reply_of(events).usage.prompt_tokens, reply_of(events).usage.reused_tokens) == (10, 7)


async def test_options_that_a_strict_server_refuses_are_left_out_from_then_on() -> None:
    async def strict(exchange: Exchange) -> None:
        if "top_k" in exchange.body:
            error = {"message": "Unrecognized request argument supplied: top_k"}
            await exchange.answer("400 Bad Request", {"error": error})
        else:
            await says_hi(exchange)

    async with ModelServer(strict) as server:
        conversation = await talk(server)
        assert reply_of(await collect(conversation)).text == "Hi there\u2028."
        await collect(conversation)
        await conversation.aclose()
    assert ["top_k" in request for request in server.requests] == [True, False, False]


# --- servers that fail ------------------------------------------------------------------------


async def test_a_stream_that_breaks_unexplained_is_asked_for_whole_at_last() -> None:
    """As at the server of llama-cpp-python, whose streams break off at a full context."""

    async def unexplained(exchange: Exchange) -> None:
        if exchange.body["stream"]:
            await exchange.open()
            exchange.abort()
            return
        error = (
            "This model's maximum context length is 700 tokens. However, you requested 5000 tokens"
        )
        code = {"message": error, "code": "context_length_exceeded"}
        await exchange.answer("400 Bad Request", {"error": code})

    async with ModelServer(unexplained) as server:
        conversation = await talk(server)
        with pytest.raises(ContextFullError) as raised:
            await collect(conversation)
        await conversation.aclose()
    assert (raised.value.limit, conversation.limit) == (700, 700)
    assert [request["stream"] for request in server.requests] == [True, True, True, False]
    assert "stream_options" not in server.requests[-1]


async def breaks_off(exchange: Exchange) -> None:
    head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 9999\r\n\r\n"
    await exchange.send(head.encode())
    await exchange.delta(content="Half a")
    exchange.abort()


async def ends_early(exchange: Exchange) -> None:
    await exchange.open()
    await exchange.delta(content="Half a")


async def sends_nonsense(exchange: Exchange) -> None:
    await exchange.open()
    await exchange.send(b'data: {"choices": [{"delta"\n\n')


async def fails_in_stream(exchange: Exchange) -> None:
    await exchange.open()
    await exchange.event({"error": {"code": 500, "message": "out of\nmemory"}})


async def ends_with_an_error(exchange: Exchange) -> None:
    await exchange.open()
    await exchange.delta(content="Half a", finish="error")
    await exchange.done()


async def is_overloaded(exchange: Exchange) -> None:
    await exchange.open()
    error = {"type": "overloaded_error", "message": "Overloaded"}
    await exchange.event({"type": "error", "error": error})


async def stalls(exchange: Exchange) -> None:
    await exchange.open()
    await exchange.delta(content="Half a")
    await exchange.send(b"")
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (breaks_off, "connection broke"),
        (ends_early, "in the middle of a reply"),
        (sends_nonsense, "bad JSON"),
        (fails_in_stream, "the server failed: out of memory"),
        (ends_with_an_error, "the server ended the reply with an error"),
        (is_overloaded, "the server is busy: Overloaded"),
        (stalls, "sent nothing for 0.2 s"),
    ],
)
async def test_a_reply_that_breaks_is_asked_for_again(script: Script, reason: str) -> None:
    async with ModelServer(script, says_hi) as server:
        conversation = await talk(server, timeouts(stall_s=0.2 if script is stalls else 30.0))
        events = await collect(conversation)
        await conversation.aclose()
    restarts = [e for e in events if isinstance(e, EngineRestarted)]
    assert [e.attempt for e in restarts] == [1]
    assert reason in restarts[0].reason
    assert reply_of(events).text == "Hi there\u2028."
    assert server.requests[1]["messages"] == server.requests[0]["messages"]


@pytest.mark.parametrize(
    "endless",
    [
        b": wait\n\n" * 1000,
        b"x" * 9000,
        b'data: {"choices": [{"delta": {"content": "x"}}]}\n\n' * 200,
    ],
    ids=["comments", "line", "text"],
)
async def test_an_answer_without_end_is_not_read_for_ever(
    endless: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never_ends(exchange: Exchange) -> None:
        await exchange.open()
        while True:
            await exchange.send(endless)

    monkeypatch.setattr("laguna_agent.models.servers.sse._MOST_BYTES", 200_000)
    async with ModelServer(never_ends, says_hi) as server:
        conversation = await talk(server, timeouts())
        events = await collect(conversation)
        await conversation.aclose()
    (restart,) = [e for e in events if isinstance(e, EngineRestarted)]
    assert "more than 64 MiB" in restart.reason
    assert reply_of(events).text == "Hi there\u2028."


@pytest.mark.parametrize("script", [breaks_off, ends_early, sends_nonsense, fails_in_stream])
async def test_a_server_that_never_recovers_is_an_error_of_two_lines(script: Script) -> None:
    pauses = Pauses()
    async with ModelServer(script) as server:
        conversation = await talk(server, timeouts(backoff=pauses))
        with pytest.raises(ModelError) as raised:
            await collect(conversation)
        await conversation.aclose()
    assert str(raised.value).startswith("the model server gave no reply: ")
    assert str(raised.value).count("\n") == 1
    assert pauses == [0.5, 1.0, 2.0]
    assert len(server.requests) == 4


async def test_a_reply_that_a_content_filter_ends_is_an_error_at_once() -> None:
    async def filters(exchange: Exchange) -> None:
        await exchange.open()
        await exchange.delta(content="Half a", finish="content_filter")
        await exchange.done()

    async with ModelServer(filters) as server:
        conversation = await talk(server)
        with pytest.raises(ModelError, match="content filter ended the reply"):
            await collect(conversation)
        await conversation.aclose()
    assert len(server.requests) == 1


async def test_a_server_that_is_gone_is_named_and_one_that_comes_back_is_used() -> None:
    async with ModelServer(says_hi) as server:
        pass
    conversation = await talk(server)
    with pytest.raises(ModelError) as raised:
        await collect(conversation)
    assert f"nothing listens at {server.url}" in str(raised.value)
    assert "Is the server running?" in str(raised.value)

    back = ModelServer(says_hi)
    back.port = server.port

    async def revive(seconds: float) -> None:
        if back._server is None:
            await back.__aenter__()

    again = await talk(server, timeouts(backoff=revive))
    events = await collect(again)
    assert any(isinstance(event, EngineRestarted) for event in events)
    assert reply_of(events).text == "Hi there\u2028."
    await back.__aexit__()
    await again.aclose()
    await conversation.aclose()


async def test_a_loading_server_is_waited_for_as_long_as_it_asks() -> None:
    async def loading(exchange: Exchange) -> None:
        error = {"error": {"code": 503, "message": "Loading model"}}
        await exchange.answer("503 Service Unavailable", error, Retry_After="7")

    pauses = Pauses()
    async with ModelServer(loading, loading, says_hi) as server:
        conversation = await talk(server, timeouts(backoff=pauses))
        events = await collect(conversation)
        await conversation.aclose()
    assert pauses == [7.0, 7.0]
    assert "Loading model" in next(e for e in events if isinstance(e, EngineRestarted)).reason
    assert reply_of(events).text == "Hi there\u2028."
    async with ModelServer(loading) as server:
        conversation = await talk(server, timeouts(loading_s=20.0))
        with pytest.raises(ModelError, match="is still busy: Loading model"):
            await collect(conversation)
        await conversation.aclose()


FULL = [
    {
        "type": "exceed_context_size_error",
        "message": "the request exceeds the available context size",
        "n_prompt_tokens": 5000,
        "n_ctx": 4096,
    },
    {
        "code": "context_length_exceeded",
        "message": "This model's maximum context length is 4096 tokens. However, your messages "
        "resulted in 5000 tokens.",
    },
]


@pytest.mark.parametrize("error", FULL)
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_full_context_is_reported_with_its_numbers(
    error: dict[str, Any], streamed: bool
) -> None:
    async def full(exchange: Exchange) -> None:
        if streamed:
            await exchange.open()
            await exchange.event({"error": error})
        else:
            await exchange.answer("400 Bad Request", {"error": error})

    async with ModelServer(full) as server:
        conversation = await talk(server)
        with pytest.raises(ContextFullError) as raised:
            await collect(conversation)
        await conversation.aclose()
    assert (raised.value.used, raised.value.limit) == (5000, 4096)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        ("401 Unauthorized", {"error": {"message": "bad key"}}, "HTTP 401: bad key\nCheck the key"),
        ("404 Not Found", b"<html><h1>Not\n Found</h1>", "HTTP 404: Not Found\nCheck `url`"),
        ("400 Bad Request", {"detail": "x" * 999}, "HTTP 400: xxx"),
        ("500 Internal Server Error", b"", "HTTP 500"),
    ],
)
async def test_a_refusal_is_an_error_of_one_line(status: str, body: Any, expected: str) -> None:
    async def refuse(exchange: Exchange) -> None:
        await exchange.answer(status, body)

    async with ModelServer(refuse) as server:
        conversation = await talk(server)
        with pytest.raises(ModelError) as raised:
            await collect(conversation)
        await conversation.aclose()
    assert expected in str(raised.value)
    assert len(str(raised.value)) < 400


@pytest.mark.parametrize(
    ("arguments", "finish", "problem"),
    [
        ('{"path": "a', "length", "cut off"),
        ('{"path": a.py}', "tool_calls", "could not be read"),
        ("[1]", "tool_calls", "one JSON object"),
    ],
)
async def test_a_malformed_call_is_reported_to_the_model_and_not_made(
    arguments: str, finish: str, problem: str
) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.open()
        function = {"name": "read", "arguments": arguments}
        await exchange.delta(tool_calls=[{"index": 0, "id": "c1", "function": function}])
        await exchange.delta(finish=finish)
        await exchange.done()

    async with ModelServer(script, says_hi) as server:
        conversation = await talk(server)
        reply = reply_of(await collect(conversation))
        assert reply.tool_calls == []
        assert reply.error is not None
        assert problem in reply.error
        await conversation.append([Message(role="user", content=reply.error)])
        await collect(conversation)
        await conversation.aclose()
    assert "tool_calls" not in server.requests[1]["messages"][2]


async def test_a_call_that_is_not_allowed_is_reported_and_not_made() -> None:
    options = GenerateOptions(allowed=["done"])
    async with ModelServer(calls_read) as server:
        conversation = await talk(server)
        reply = reply_of(await collect(conversation, options))
        await conversation.aclose()
    assert reply.tool_calls == []
    assert reply.finish_reason == "stop"
    assert reply.error is not None
    assert "Call one of: `done`" in reply.error


async def test_invalid_bytes_and_wrong_encodings_are_no_traceback() -> None:
    async def lies(exchange: Exchange) -> None:
        head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\n"
        await exchange.send(head.encode() + b"Content-Length: 5\r\n\r\nhello")

    async with ModelServer(lies, says_hi) as server:
        conversation = await talk(server)
        await conversation.append([Message(role="user", content="a\udcffb")])
        events = await collect(conversation)
        await conversation.aclose()
    assert any(isinstance(event, EngineRestarted) for event in events)
    assert server.requests[1]["messages"][-1]["content"] == "a\ufffdb"


async def test_closing_the_iterator_cancels_at_the_server_and_keeps_the_messages() -> None:
    gone = asyncio.Event()

    async def endless(exchange: Exchange) -> None:
        await exchange.open()
        await exchange.delta(content="First")
        await exchange.closed()
        gone.set()

    async with ModelServer(endless, says_hi) as server:
        conversation = await talk(server)
        stream = conversation.generate(GenerateOptions())
        assert isinstance(await anext(stream), TextDelta)
        await stream.aclose()
        async with asyncio.timeout(20):
            await gone.wait()
        assert reply_of(await collect(conversation)).text == "Hi there\u2028."
        await conversation.aclose()
    assert server.requests[1]["messages"] == server.requests[0]["messages"]


async def test_what_was_written_of_a_cancelled_reply_can_be_kept() -> None:
    async def breaks_off(exchange: Exchange) -> None:
        await exchange.open()
        await exchange.delta(content="Void")
        exchange.abort()

    async def stalls(exchange: Exchange) -> None:
        await exchange.open()
        await exchange.delta(reasoning_content="I think.")
        await exchange.delta(content="One, ")
        await exchange.delta(content="two <tool_call>\n<function=read>")
        await exchange.delta(content="\n<para")
        await exchange.closed()

    async with ModelServer(breaks_off, stalls, says_hi) as server:
        conversation = await talk(server)
        held = asyncio.Event()

        async def generate() -> None:
            async for event in conversation.generate(GenerateOptions()):
                if isinstance(event, ToolCallDelta):
                    held.set()

        task = asyncio.create_task(generate())
        async with asyncio.timeout(20):
            await held.wait()
        task.cancel()
        await asyncio.wait([task])
        reply = await conversation.keep_unfinished()
        assert reply is not None
        assert (reply.thinking, reply.text.strip()) == ("I think.", "One, two")
        assert (reply.finish_reason, reply.tool_calls) == ("cancelled", [])
        assert await conversation.keep_unfinished() is None
        await conversation.append([Message(role="user", content="Go on.")])
        await collect(conversation)
        assert await conversation.keep_unfinished() is None
        await conversation.aclose()
    kept, said = server.requests[2]["messages"][-2:]
    assert (kept["role"], kept["content"].strip()) == ("assistant", "One, two")
    assert said == {"role": "user", "content": "Go on."}


# --- marks, forks, counts ---------------------------------------------------------------------


async def test_rewind_and_fork_go_on_from_where_they_were() -> None:
    async with ModelServer(says_hi) as server:
        conversation = await talk(server)
        mark = conversation.mark()
        await collect(conversation)
        fork = conversation.fork()
        conversation.rewind(mark)
        assert conversation.used < fork.used
        await conversation.append([Message(role="user", content="Again")])
        await fork.append([Message(role="user", content="Fork")])
        await conversation.aclose()
        await collect(fork)
        await fork.aclose()
    assert [m["content"] for m in server.requests[1]["messages"]] == [
        "Be brief.",
        "Hello",
        "Hi there\u2028.",
        "Fork",
    ]


async def test_counts_follow_the_servers_own() -> None:
    async with ModelServer(says_hi) as server:
        conversation = await talk(server)
        before = await conversation.count("word " * 100)
        await collect(conversation)
        after = await conversation.count("word " * 100)
        added = await conversation.append([Message(role="user", content="word " * 100)])
        await conversation.aclose()
    assert before > 0
    assert after != before
    assert abs(added - after) <= 8
    assert conversation.used == 45 + added


async def test_a_cache_miss_of_the_server_is_reported() -> None:
    async def forgets(exchange: Exchange) -> None:
        await exchange.open()
        await exchange.delta(content="Hi", finish="stop")
        details = {"cached_tokens": 10}
        await exchange.done(prompt_tokens=90, completion_tokens=5, prompt_tokens_details=details)

    async with ModelServer(says_hi, forgets) as server:
        conversation = await talk(server)
        assert reply_of(await collect(conversation)).miss is None
        miss = reply_of(await collect(conversation)).miss
        await conversation.aclose()
    assert miss is not None
    assert miss.position == 10


async def test_a_reply_of_an_earlier_process_is_put_back() -> None:
    async with ModelServer(says_hi) as server:
        conversation = await talk(server)
        call = ToolCall(id="c9", name="read", arguments={"path": "é"})
        await conversation.append_reply(Reply(text="See.", thinking="T", tool_calls=[call]))
        await conversation.append([Message(role="tool", content="ok", call_id="c9")])
        await collect(conversation)
        await conversation.aclose()
    assistant, tool = server.requests[0]["messages"][2:]
    assert json.loads(assistant["tool_calls"][0]["function"]["arguments"]) == {"path": "é"}
    assert tool["role"] == "tool"


# --- providers --------------------------------------------------------------------------------


def config(url: str, **given: Any) -> Config:
    offline = given.pop("offline", False)
    return Config(providers={"local": ProviderConfig(url=url, **given)}, offline=offline)


def test_names_are_split_at_the_first_slash_of_a_known_provider() -> None:
    providers = {"local": ProviderConfig(url="x")}
    assert provider_of("local/org/model", providers) == ("local", "org/model")
    assert provider_of("other/model.gguf", providers) is None
    assert provider_of("local/", providers) is None
    assert provider_of("local", providers) is None


async def test_the_context_is_asked_of_the_server() -> None:
    async with ModelServer(says_hi) as server:
        root = server.url.removesuffix("/v1")
        server.gets["/v1/models"] = {"data": [{"id": "m", "max_model_len": 8000}, {"id": "n"}]}
        vllm = await open_provider("local/m", config(server.url))
        server.gets["/v1/models"] = {"data": [{"id": "m"}]}
        server.gets["/props"] = {"default_generation_settings": {"n_ctx": 4096}}
        llama = await open_provider("local/m", config(root))
        del server.gets["/props"]
        silent = await open_provider("local/m", config(server.url))
        configured = await open_provider("local/m", config(server.url, context=777))
        limits = [c.limit for c in (vllm, llama, silent, configured)]
        assert reply_of(await collect(llama)).text.startswith("Hi")
        for conversation in (vllm, llama, silent, configured):
            await conversation.aclose()
    assert limits == [8000, 4096, 32768, 777]
    assert vllm.info.name == "local/m"


@pytest.mark.parametrize(
    ("name", "url", "given", "expected"),
    [
        ("other/m", "http://127.0.0.1:1", {}, "not a model of a configured provider"),
        ("local/m", "127.0.0.1:1", {}, "is not an address"),
        ("local/m", "ftp://x", {}, "is not an address"),
        ("local/m", "http://127.0.0.1:1", {"key_env": "NO_KEY"}, "NO_KEY is not set"),
        ("local/m", "https://example.org/v1", {"offline": True}, "laguna is offline"),
    ],
)
async def test_wrong_providers_are_refused_before_anything_is_sent(
    name: str, url: str, given: dict[str, Any], expected: str
) -> None:
    with pytest.raises(UsageError, match=expected):
        await open_provider(name, config(url, **given), environment={})
