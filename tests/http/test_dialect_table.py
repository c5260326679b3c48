"""Each row of the tables in docs/servers.md with the bytes that a server of that kind sends.

The rows of the document and those here are the same, by the name in the first column.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from laguna_agent.errors import LagunaError
from laguna_agent.events import Reply, ToolCall
from laguna_agent.models.conversation import Message
from support.model_server import Exchange, ModelServer
from support.talk_to_server import Pauses, collect, reply_of, talk, timeouts

DOCUMENT = Path(__file__).parents[2] / "docs" / "servers.md"


def answer(status: str, body: str, kind: str = "application/json", more: str = "") -> bytes:
    """The bytes of a whole answer."""
    data = body.encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n{more}Content-Length: {len(data)}\r\n"
    return f"{head}Connection: close\r\n\r\n".encode() + data


def stream(*deltas: str, end: str = "data: [DONE]\n\n") -> bytes:
    """The bytes of an event stream; each delta is the JSON text of one."""
    events = "".join(f'data: {{"choices":[{{"index":0,"delta":{d}}}]}}\n\n' for d in deltas)
    head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    return f"{head}{events}{end}".encode()


def error(message: str, **more: Any) -> str:
    return json.dumps({"error": {"message": message, **more}})


HI = stream('{"content":"Hi."}')
STOP = 'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
Check = Callable[[dict[str, Any], dict[str, Any]], bool]
"""Of the request that was answered badly and the next one: whether the change is the right one."""


@dataclass
class Row:
    """What a server sends in turn (at last it says hi), and what laguna makes of it."""

    answers: list[bytes]
    change: Check | None = None
    """The next request differs as it should."""
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    thinking: str = ""
    text: str = "Hi."
    failure: str = ""
    """What a person reads, when nothing helps."""
    limit: int = 0
    """The context from then on."""
    requests: int = 2
    pauses: int = 0
    """How often it waits before it asks again."""


def without(name: str) -> Check:
    return lambda before, after: name in before and name not in after


def messages(request: dict[str, Any]) -> list[dict[str, Any]]:
    return list(request["messages"])


def roles(request: dict[str, Any]) -> list[str]:
    return [message["role"] for message in messages(request)]


def refused(body: str, change: Check | None = None, status: str = "400 Bad Request") -> Row:
    return Row([answer(status, body)], change)


def called(*deltas: str, count: int = 1) -> Row:
    """A stream of native calls of `read`; the second one reads b.py."""
    paths = ["a.py", "b.py"][:count]
    calls: list[tuple[str, dict[str, Any]]] = [("read", {"path": path}) for path in paths]
    return Row([stream(*deltas, end=STOP)], calls=calls, text="", requests=1)


def piece(
    arguments: str, *, index: str = '"index":0,', call: str = "c1", name: str = "read"
) -> str:
    """A delta with a piece of a call; `arguments` is JSON text."""
    named = f'"name":"{name}",' if name else ""
    given = f'"id":"{call}",' if call else ""
    function = f'{{{named}"arguments":{arguments}}}'
    return f'{{"tool_calls":[{{{index}{given}"type":"function","function":{function}}}]}}'


def thought(*deltas: str) -> Row:
    return Row([stream(*deltas, end=STOP)], thinking="Hm.", requests=1)


def waits(status: str, body: str = "", more: str = "") -> Row:
    return Row([answer(status, body, more=more)] * 2, requests=3, pauses=2)


def fails(status: str, body: str, failure: str, more: str = "") -> Row:
    return Row([answer(status, body, more=more)], failure=failure, requests=1)


A, B = r'"{\"path\":\"a.py\"}"', r'"{\"path\":\"b.py\"}"'
CALL = json.dumps('<tool_call>\n{"name": "read", "arguments": {"path": "a.py"}}\n</tool_call>')
WINDOW = "This model's maximum context length is 8192 tokens. However, you requested 10000 tokens "
ROWS: dict[str, Row] = {
    # refusals
    "field": refused(error("Unsupported parameter: 'seed'", param="seed"), without("seed")),
    "field-loc": refused(
        '{"detail":[{"type":"extra_forbidden","loc":["body","top_k"],"msg":"Extra inputs are not '
        'permitted"}]}',
        without("top_k"),
        "422 Unprocessable Entity",
    ),
    "rename": refused(
        error("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."),
        lambda before, after: after["max_completion_tokens"] == before["max_tokens"],
    ),
    "alternate": refused(
        '{"object":"error","message":"Unexpected role \'user\' after role \'tool\'","code":400}',
        lambda before, after: roles(before)[-2:] == ["tool", "user"] and roles(after)[-1] == "tool",
    ),
    "alternate-all": Row(
        [
            answer(
                "500 Internal Server Error",
                error("Conversation roles must alternate user/assistant"),
            )
        ]
        * 2,
        lambda before, after: (
            "tools" not in after and roles(after)[-3:] == ["user", "assistant", "user"]
        ),
        requests=3,
    ),
    "system": refused(
        error("System role not supported"),
        lambda before, after: (
            roles(after)[0] == "user" and "Be brief." in messages(after)[0]["content"]
        ),
    ),
    "short-ids": refused(
        error("Tool call id was c1 but must be a-z, A-Z, 0-9, with a length of 9."),
        lambda before, after: len(messages(after)[3]["tool_calls"][0]["id"]) == 9,
    ),
    "no-thoughts": refused(
        error("property 'messages.3.reasoning_content' is unsupported"),
        lambda before, after: (
            "reasoning_content" in messages(before)[3]
            and "reasoning_content" not in messages(after)[3]
        ),
    ),
    "thoughts": refused(
        error("Missing `reasoning_content` field in the assistant message at message index 2"),
        lambda before, after: messages(after)[2]["reasoning_content"] == "",
    ),
    "no-tools": refused(
        error('"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser'),
        lambda before, after: (
            "tools" not in after and '"name": "read"' in messages(after)[0]["content"]
        ),
    ),
    "template": refused(
        error("Unknown method: items at row 91, column 22:\n{%- for k, v in args.items() %}"),
        lambda before, after: "tools" not in after,
        "500 Internal Server Error",
    ),
    "reply-too-long": Row(
        [answer("400 Bad Request", error(WINDOW + "(5904 in the messages)."))],
        lambda before, after: before["max_tokens"] > 2288 > after["max_tokens"] > 1000,
        limit=8192,
    ),
    "context": Row(
        [
            answer(
                "400 Bad Request",
                error(
                    "the request exceeds the available context size",
                    n_prompt_tokens=5000,
                    n_ctx=4096,
                    type="exceed_context_size_error",
                ),
            )
        ],
        failure="context",
        limit=4096,
        requests=1,
    ),
    # calls
    "by-index": called(
        piece(r'"{\"path\":"'),
        piece(r'"\"a.py\"}"', call="", name=""),
        piece(B, index='"index":1,', call="c2"),
        count=2,
    ),
    "index-0": called(piece(A), piece(B, call="c2"), count=2),
    "no-index": called(piece(A, index=""), piece(B, index="", call="c2"), count=2),
    "same-id": called(piece(A, call="call_0"), piece(B, call="call_0"), count=2),
    "no-id": called(piece(A, call=""), piece(B, index='"index":1,', call=""), count=2),
    "new-ids": called(
        piece(r'"{\"path\""', call="x1"), piece(r'": \"a.py\"}"', call="x2", name="")
    ),
    "repeated": called(piece(r'"{\"pa"'), piece(r'"{\"path\":\"a.py\"}"')),
    "object": called(piece('{"path":"a.py"}')),
    "twice-encoded": called(piece(r'"\"{\\\"path\\\":\\\"a.py\\\"}\""')),
    "glued": called(piece(r'"{\"path\":\"a.py\"}{\"path\":\"b.py\"}"'), count=2),
    "empty-first": called(piece(r'"{}{\"path\":\"a.py\"}"')),
    "marks-in-name": called(piece(A, name="functions.read<|channel|>json")),
    "function-call": called(f'{{"function_call":{{"name":"read","arguments":{A}}}}}'),
    "in-text": called(f'{{"content":{CALL}}}'),
    "in-thought": called(f'{{"reasoning_content":{CALL}}}'),
    # thoughts
    "reasoning_content": thought('{"reasoning_content":"Hm."}', '{"content":"Hi."}'),
    "reasoning": thought('{"reasoning":"Hm."}', '{"content":"Hi."}'),
    "reasoning_text": thought('{"reasoning_text":"Hm."}', '{"content":"Hi."}'),
    "thinking": thought('{"thinking":"Hm."}', '{"content":"Hi."}'),
    "both": thought('{"reasoning":"Hm.","reasoning_content":"Hm."}', '{"content":"Hi."}'),
    "details": thought(
        '{"reasoning_details":[{"type":"reasoning.text","text":"Hm."}]}', '{"content":"Hi."}'
    ),
    "parts": thought(
        '{"content":[{"type":"thinking","thinking":[{"type":"text","text":"Hm."}]},'
        '{"type":"text","text":"Hi."}]}'
    ),
    "tags": thought('{"content":"<think>Hm.</think>Hi."}'),
    "unopened": thought('{"content":"Hm.\\n</think>\\n\\nHi."}'),
    "channels": thought(
        '{"content":"<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final'
        '<|message|>Hi.<|return|>"}'
    ),
    # waiting and failing
    "loading": waits("503 Service Unavailable", error("Loading model", type="unavailable_error")),
    "busy": waits("429 Too Many Requests", error("slow down"), "Retry-After: 3\r\n"),
    "gateway": waits("502 Bad Gateway", "<html><h1>502 Bad Gateway</h1></html>"),
    "edge": waits("524 A Timeout Occurred", "<html>cloudflare</html>"),
    "overloaded": Row(
        [stream(end='data: {"error":{"message":"Overloaded","code":529}}\n\n')], pauses=1
    ),
    "named-error": Row(
        [stream(end='event: error\ndata: {"message":"Overloaded","code":529}\n\n')], pauses=1
    ),
    "detail": Row([stream(end='data: {"detail":"worker restarted"}\n\n')], pauses=1),
    "failure": waits("500 Internal Server Error", error("CUDA error")),
    "broken": Row([stream('{"content":"H"}', end="")], pauses=1),
    "bad-json": Row([stream(end='data: {"choices":[{\n\n')], pauses=1),
    "unreadable-call": Row(
        [
            answer(
                "500 Internal Server Error", error("Failed to parse input at pos 184: <tool_call>")
            )
        ],
        text="",
        requests=1,
    ),
    "key": fails("401 Unauthorized", error("Invalid key"), "HTTP 401: Invalid key\nCheck the key"),
    "quota": fails(
        "429 Too Many Requests", error("You exceeded your current quota"), "your current quota"
    ),
    "moved": fails(
        "308 Permanent Redirect", "", "it is at https://box/v1", "Location: https://box/v1\r\n"
    ),
    "no-model": fails(
        "404 Not Found", error("model 'm' not found"), "HTTP 404: model 'm' not found"
    ),
    "filter": Row(
        [
            stream(
                '{"content":"H"}',
                end='data: {"choices":[{"delta":{},"finish_reason":"content_filter"}]}\n\n',
            )
        ],
        failure="content filter",
        requests=1,
    ),
    "page": Row(
        [answer("200 OK", "<!DOCTYPE html><html>", "text/html")], failure="a web page", requests=1
    ),
    "other": Row([answer("200 OK", '{"status": "ok"}')], failure="not with a reply", requests=1),
    # shapes of an answer
    "whole": Row(
        [answer("200 OK", '{"choices":[{"message":{"content":"Hi."},"finish_reason":"stop"}]}')],
        requests=1,
    ),
    "crlf": Row([HI.replace(b"\n\n", b"\r\n\r\n").replace(b"\r\r", b"\r")], requests=1),
    "comments": Row([HI.replace(b"data: {", b": OPENROUTER PROCESSING\n\ndata: {", 1)], requests=1),
    "bom": Row([HI.replace(b"\r\n\r\n", b"\r\n\r\n\xef\xbb\xbf", 1)], requests=1),
    "split-event": Row([HI.replace(b',"delta"', b',\ndata: "delta"')], requests=1),
    "text-index": Row([HI.replace(b'"index":0', b'"index":"0"')], requests=1),
    "null-index": Row([HI.replace(b'"index":0', b'"index":null,"logprobs":null')], requests=1),
    "refusal": Row([HI.replace(b'"content"', b'"content":null,"refusal"')], requests=1),
    "no-type": Row(
        [
            answer(
                "200 OK",
                '{\n "choices": [{"message": {"content": "Hi."}, "finish_reason": "stop"}]\n}',
                "text/plain",
            )
        ],
        requests=1,
    ),
    "no-done": Row(
        [stream('{"content":"Hi."}', end=STOP.partition("data: [DONE]")[0])], requests=1
    ),
}


@pytest.mark.parametrize("name", ROWS)
async def test_the_bytes_of_a_row_are_understood(name: str) -> None:
    row, pauses = ROWS[name], Pauses()
    left = [*row.answers, HI]

    async def script(exchange: Exchange) -> None:
        await exchange.send(left.pop(0) if len(left) > 1 else left[0])

    async with ModelServer(script) as server:
        conversation = await talk(server, timeouts(backoff=pauses))
        conversation.info.context = 32_768
        # A reply without a thought, then one that calls a tool, and a note after its result.
        await conversation.append_reply(Reply(text="What is it?"))
        if name not in ("thoughts", "system"):
            conversation.rewind(2)
            await conversation.append([Message(role="user", content="Look.")])
            made = reply_of_call()
            await conversation.append_reply(made)
            await conversation.append([Message(role="tool", content="x = 1", call_id="c1")])
        await conversation.append([Message(role="user", content="Note: go on.")])
        reply, failure = None, ""
        try:
            reply = reply_of(await collect(conversation))
        except LagunaError as error_:
            failure = str(error_)
        limit = conversation.limit
        await conversation.aclose()
    assert len(server.requests) == row.requests
    assert len(pauses) == row.pauses
    if row.failure:
        assert row.failure in failure
    else:
        assert not failure
        assert reply is not None
        assert [(call.name, call.arguments) for call in reply.tool_calls] == row.calls
        assert (reply.text, reply.thinking) == (row.text, row.thinking)
        assert bool(reply.error) == (name == "unreadable-call")
    if row.change is not None:
        assert row.change(server.requests[-2], server.requests[-1])
    if row.limit:
        assert limit == row.limit


def reply_of_call() -> Reply:
    return Reply(
        text="",
        thinking="Hm.",
        tool_calls=[ToolCall(id="c1", name="read", arguments={"path": "a.py"})],
    )


def test_the_document_has_a_row_for_each_of_these_and_no_other() -> None:
    tables = re.findall(r"(?m)^\| row \|.*\n\|[-| ]+\n((?:\|.*\n)+)", DOCUMENT.read_text("utf-8"))
    named = [re.match(r"\| `([\w-]+)` \|", line) for table in tables for line in table.splitlines()]
    assert all(named)
    assert sorted(match[1] for match in named if match) == sorted(ROWS)
