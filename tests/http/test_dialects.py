"""Servers that refuse a part of the request, each in its own words, as strict as the real ones."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from laguna_agent.errors import ContextFullError, ModelError
from laguna_agent.events import EngineRestarted, Reply
from laguna_agent.models.conversation import GenerateOptions, Message
from support.model_server import Exchange, ModelServer, Script
from support.talk_to_server import Pauses, calls_read, collect, reply_of, says_hi, talk, timeouts

Refuses = Callable[[Mapping[str, Any]], dict[str, Any] | None]


def strict(refuses: Refuses, *scripts: Script, status: str = "400 Bad Request") -> Script:
    """A server that answers by its scripts in order, unless it refuses the request."""
    left = list(scripts)

    async def script(exchange: Exchange) -> None:
        refusal = refuses(exchange.body)
        if refusal is not None:
            await exchange.answer(status, refusal)
        else:
            await (left.pop(0) if len(left) > 1 else left[0])(exchange)

    return script


# --- fields -----------------------------------------------------------------------------------

OPENAI = {"error": {"message": "Unsupported parameter: '{}'", "param": "{}"}}
WORDINGS: dict[str, Any] = {
    "openai": OPENAI,
    "param": {"error": {"message": "Invalid request.", "param": "{}", "code": "unsupported_value"}},
    "azure": {"error": {"message": "Unrecognized request argument supplied: {}", "param": None}},
    "value": {"error": {"message": "'{}' does not support 0 with this model. Only the default."}},
    "fastapi": {
        "detail": [{"type": "extra_forbidden", "loc": ["body", "{}"], "msg": "Extra inputs are not "
                    "permitted", "input": {"seed": 1, "temperature": 0, "text": "x" * 500}}]
    },
    "mistral": {
        "object": "error",
        "message": {"detail": [{"loc": ["body", "{}"], "msg": "Extra inputs are not permitted"}]},
    },
    "detail": {"detail": "Unsupported parameter: {}"},
    "errors": {"errors": [{"message": "Unknown parameter: {}"}]},
    "rust": "unknown field `{}`, expected one of `model`, `messages`, `seed`, `temperature`",
    "listed": {"error": {"message": "{} is not supported. Supported parameters: seed, max_tokens"}},
    "litellm": {"error": {"message": "litellm.UnsupportedParamsError: x does not support "
                          "parameters: ['{}'], for model=y"}},
    "openrouter": {"error": {"message": "Provider returned error", "code": 400,
                             "metadata": {"raw": "property '{}' is unsupported"}}},
}  # fmt: skip


def worded(wording: Any, name: str) -> Any:
    return json.loads(json.dumps(wording).replace("{}", name))


@pytest.mark.parametrize("wording", WORDINGS)
@pytest.mark.parametrize("name", ["seed", "max_tokens", "stream_options", "temperature", "top_k"])
async def test_a_field_refused_by_name_is_left_out_from_then_on(name: str, wording: str) -> None:
    unprocessable = wording in ("fastapi", "mistral", "rust")
    status = "422 Unprocessable Entity" if unprocessable else "400 Bad Request"

    def refuses(body: Mapping[str, Any]) -> dict[str, Any] | None:
        return worded(WORDINGS[wording], name) if name in body else None

    async with ModelServer(strict(refuses, says_hi, status=status)) as server:
        conversation = await talk(server)
        for _ in range(2):
            assert reply_of(await collect(conversation)).text == "Hi there\u2028."
        await conversation.aclose()
    assert [name in request for request in server.requests] == [True, False, False]
    left = set(server.requests[0]) - set(server.requests[1])
    assert left == {name}, "only that field"


async def test_several_fields_are_left_out_one_after_the_other() -> None:
    def refuses(body: Mapping[str, Any]) -> dict[str, Any] | None:
        found = [name for name in ("seed", "stream_options", "temperature") if name in body]
        return worded(WORDINGS["openai"], found[0]) if found else None

    async with ModelServer(strict(refuses, says_hi)) as server:
        conversation = await talk(server)
        await collect(conversation)
        await conversation.aclose()
    assert len(server.requests) == 4


async def test_of_two_that_exclude_each_other_one_stays() -> None:
    def refuses(body: Mapping[str, Any]) -> dict[str, Any] | None:
        text = "`temperature` and `top_p` cannot both be specified for this model."
        return {"error": {"message": text}} if {"temperature", "top_p"} <= set(body) else None

    async with ModelServer(strict(refuses, says_hi)) as server:
        conversation = await talk(server)
        await collect(conversation)
        await conversation.aclose()
    assert "temperature" in server.requests[1]
    assert "top_p" not in server.requests[1]


async def test_max_tokens_takes_the_name_that_the_server_asks_for() -> None:
    def refuses(body: Mapping[str, Any]) -> dict[str, Any] | None:
        text = "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
        error = {"message": f"{text}'max_completion_tokens' instead.", "param": "max_tokens"}
        return {"error": error} if "max_tokens" in body else None

    async with ModelServer(strict(refuses, says_hi)) as server:
        conversation = await talk(server)
        await collect(conversation, GenerateOptions(max_tokens=77))
        await conversation.aclose()
    assert server.requests[1]["max_completion_tokens"] == 77


async def test_a_refusal_that_names_nothing_of_the_request_is_an_error_at_once() -> None:
    async with ModelServer(strict(lambda body: {"error": {"message": "no such model"}})) as server:
        conversation = await talk(server)
        with pytest.raises(ModelError, match="HTTP 400: no such model"):
            await collect(conversation)
        await conversation.aclose()
    assert len(server.requests) == 1


async def test_a_server_that_refuses_for_ever_is_not_asked_for_ever() -> None:
    def refuses(body: Mapping[str, Any]) -> dict[str, Any]:
        return {"error": {"message": f"unknown fields: {', '.join(body)}; roles must alternate"}}

    async with ModelServer(strict(refuses, says_hi)) as server:
        conversation = await talk(server)
        with pytest.raises(ModelError, match="HTTP 400"):
            await collect(conversation)
        await conversation.aclose()
    assert len(server.requests) < 10


async def test_refusals_that_contradict_each_other_come_to_an_end() -> None:
    words = itertools.cycle(["reasoning_content is not permitted", "Missing reasoning_content"])

    async with ModelServer(strict(lambda body: {"error": next(words)})) as server:
        conversation = await talk(server)
        with pytest.raises(ModelError, match="HTTP 400"):
            await collect(conversation)
        await conversation.aclose()
    assert len(server.requests) == 2


async def test_a_window_that_shrinks_with_each_request_comes_to_an_end() -> None:
    windows = iter(range(8000, 0, -1))

    def refuses(body: Mapping[str, Any]) -> dict[str, Any]:
        window = next(windows)
        return {"error": f"maximum context length is {window}, and your request has 5000 tokens"}

    async with ModelServer(strict(refuses)) as server:
        conversation = await talk(server)
        with pytest.raises(ContextFullError):
            await collect(conversation)
        await conversation.aclose()
    assert len(server.requests) == 2


# --- roles ------------------------------------------------------------------------------------


def refuses_like_devstral(body: Mapping[str, Any]) -> dict[str, Any] | None:
    """The rule of Mistral's templates: calls and results do not count, the rest alternates."""
    counted = [
        message["role"]
        for message in body["messages"]
        if message["role"] not in ("system", "tool") and not message.get("tool_calls")
    ]
    if all((role == "user") == (at % 2 == 0) for at, role in enumerate(counted)):
        return None
    text = (
        "Jinja Exception: After the optional system message, conversation roles must alternate "
        "user and assistant roles except for tool calls and results."
    )
    return {"error": {"code": 500, "message": text, "type": "server_error"}}


def refuses_like_gemma(body: Mapping[str, Any]) -> dict[str, Any] | None:
    """A template with nothing but user and assistant, and a system text that it adds to one."""
    roles = [m["role"] for m in body["messages"] if m["role"] != "system"]
    if roles == ["user", "assistant"] * (len(roles) // 2) + ["user"]:
        return None
    text = "Conversation roles must alternate user/assistant/user/assistant/..."
    return {"object": "error", "message": text, "type": "BadRequestError", "code": 400}


def refuses_like_mistral(body: Mapping[str, Any]) -> dict[str, Any] | None:
    roles = [message["role"] for message in body["messages"]]
    if any(pair == ("tool", "user") for pair in itertools.pairwise(roles)):
        return {"object": "error", "message": "Unexpected role 'user' after role 'tool'"}
    return None


@pytest.mark.parametrize(
    "refuses", [refuses_like_devstral, refuses_like_gemma, refuses_like_mistral]
)
@pytest.mark.parametrize("status", ["400 Bad Request", "500 Internal Server Error"])
async def test_a_note_after_a_result_is_accepted_where_roles_must_alternate(
    refuses: Refuses, status: str
) -> None:
    async with ModelServer(strict(refuses, calls_read, says_hi, status=status)) as server:
        conversation = await talk(server)
        await collect(conversation)
        await conversation.append(
            [
                Message(role="tool", content="x = 1", name="read", call_id="c1"),
                Message(role="user", content="Note: three steps are left."),
            ]
        )
        assert reply_of(await collect(conversation)).text == "Hi there\u2028."
        await conversation.append(
            [Message(role="user", content="Go on."), Message(role="user", content="And on.")]
        )
        assert reply_of(await collect(conversation)).text == "Hi there\u2028."
        await conversation.aclose()
    text = json.dumps(server.requests[-1]["messages"])
    for part in ("x = 1", "three steps are left", "Go on.", "And on.", "Be brief."):
        assert text.count(part) == 1
    refused = sum(refuses(request) is not None for request in server.requests)
    assert refused <= 2, "refused until the form is right, and never again"


async def test_a_system_prompt_goes_into_the_first_message_where_there_is_no_role_for_it() -> None:
    def refuses(body: Mapping[str, Any]) -> dict[str, Any] | None:
        roles = [message["role"] for message in body["messages"]]
        return {"error": {"message": "System role not supported"}} if "system" in roles else None

    async with ModelServer(strict(refuses, says_hi)) as server:
        conversation = await talk(server)
        await collect(conversation)
        await conversation.aclose()
    assert server.requests[1]["messages"] == [{"role": "user", "content": "Be brief.\n\nHello"}]


async def test_ids_of_calls_are_shortened_where_they_must_be() -> None:
    def refuses(body: Mapping[str, Any]) -> dict[str, Any] | None:
        ids = re.findall(r'"(?:id|tool_call_id)": "([^"]*)"', json.dumps(body["messages"]))
        if all(re.fullmatch("[a-zA-Z0-9]{9}", one) for one in ids):
            return None
        text = f"Tool call id was {ids[0]} but must be a-z, A-Z, 0-9, with a length of 9."
        return {"object": "error", "message": text}

    async with ModelServer(strict(refuses, calls_read, says_hi)) as server:
        conversation = await talk(server)
        await collect(conversation)
        await conversation.append([Message(role="tool", content="ok", call_id="c1")])
        await collect(conversation)
        await conversation.aclose()
    assistant, tool = server.requests[-1]["messages"][-2:]
    assert assistant["tool_calls"][0]["id"] == tool["tool_call_id"]


@pytest.mark.parametrize(
    ("message", "kept"),
    [
        ("property 'reasoning_content' is unsupported", False),
        ("Missing `reasoning_content` field in the assistant message at message index 2", True),
    ],
)
async def test_thoughts_go_back_as_the_server_wants_them(message: str, kept: bool) -> None:
    def refuses(body: Mapping[str, Any]) -> dict[str, Any] | None:
        replies = [m for m in body["messages"] if m["role"] == "assistant"]
        right = all(("reasoning_content" in m) is kept for m in replies)
        return None if right else {"error": {"message": message}}

    first = says_hi if kept else calls_read
    async with ModelServer(strict(refuses, first, says_hi)) as server:
        conversation = await talk(server)
        await collect(conversation)
        await conversation.append([Message(role="user", content="More")])
        assert reply_of(await collect(conversation)).text == "Hi there\u2028."
        await conversation.aclose()


# --- tools ------------------------------------------------------------------------------------

NO_TOOLS = [
    '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set',
    "registry.ollama.ai/library/gemma:7b does not support tools",
    "tools param requires --jinja flag",
    'No endpoints found that support tool use. Try disabling "read".',
    "Tools are not supported for this model",
    "Can only get item pairs from a mapping.",
    "Unknown method: items at row 91, column 22",
]


@pytest.mark.parametrize("message", NO_TOOLS)
@pytest.mark.parametrize("status", ["400 Bad Request", "404 Not Found", "500 Error"])
async def test_without_native_tools_they_are_described_and_called_in_the_text(
    message: str, status: str
) -> None:
    def refuses(body: Mapping[str, Any]) -> dict[str, Any] | None:
        native = (
            "tools" in body or "tool_choice" in body or "tool" in str(body["messages"][-1])[:18]
        )
        return {"error": {"message": message}} if native else None

    async def calls_in_text(exchange: Exchange) -> None:
        await exchange.open()
        call = '<tool_call>\n{"name": "read", "arguments": {"path": "a.py"}}\n</tool_call>'
        await exchange.delta(content=call, finish="stop")
        await exchange.done()

    async with ModelServer(strict(refuses, calls_in_text, says_hi, status=status)) as server:
        conversation = await talk(server)
        reply = reply_of(await collect(conversation))
        assert [(c.name, c.arguments) for c in reply.tool_calls] == [("read", {"path": "a.py"})]
        call_id = reply.tool_calls[0].id
        await conversation.append([Message(role="tool", content="x = 1", call_id=call_id)])
        await collect(conversation)
        await conversation.aclose()
    assert len(server.requests) == 3
    system, _, call, result = server.requests[-1]["messages"]
    assert '"name": "read"' in system["content"]
    assert '"path": "a.py"' in call["content"]
    assert result["role"] == "user"
    assert "x = 1" in result["content"]


# --- failures ---------------------------------------------------------------------------------


def answers(status: str, body: Any = b"", **headers: str) -> Script:
    async def script(exchange: Exchange) -> None:
        await exchange.answer(status, body, **headers)

    return script


@pytest.mark.parametrize("status", [500, 502, 503, 504, 520, 521, 522, 523, 524, 529, 408, 429])
async def test_a_server_that_fails_for_now_is_asked_again(status: int) -> None:
    pauses = Pauses()
    script = answers(f"{status} Failure", b"<html>error</html>")
    async with ModelServer(script, script, says_hi) as server:
        conversation = await talk(server, timeouts(backoff=pauses))
        events = await collect(conversation)
        await conversation.aclose()
    assert reply_of(events).text == "Hi there\u2028."
    restarts = [e for e in events if isinstance(e, EngineRestarted)]
    assert [e.attempt for e in restarts] == [1, 2]
    assert all(e.server and e.wait_s == pause for e, pause in zip(restarts, pauses, strict=True))
    assert pauses[1] > pauses[0]


@pytest.mark.parametrize("status", [500, 503, 520, 529])
async def test_asking_again_comes_to_an_end(status: int) -> None:
    pauses = Pauses()
    async with ModelServer(answers(f"{status} Failure")) as server:
        conversation = await talk(server, timeouts(backoff=pauses))
        with pytest.raises(ModelError):
            await collect(conversation)
        await conversation.aclose()
    assert len(server.requests) < 40
    assert sum(pauses) <= 330


@pytest.mark.parametrize(
    ("asked", "pause"),
    [("7", 7.0), ("0", 2.0), ("-5", 2.0), ("nan", 2.0), ("inf", 2.0), ("soon", 2.0),
     ("Sun, 29 Nov 2026 08:00:09 GMT", 9.0), ("Sun, 29 Nov 2026 07:00:00 GMT", 2.0)],
)  # fmt: skip
async def test_a_server_is_waited_for_as_long_as_it_asks(asked: str, pause: float) -> None:
    pauses = Pauses()
    date = "Sun, 29 Nov 2026 08:00:00 GMT"
    busy = answers("429 Too Many Requests", b"", Retry_After=asked, Date=date)
    async with ModelServer(busy, says_hi) as server:
        conversation = await talk(server, timeouts(backoff=pauses))
        await collect(conversation)
        await conversation.aclose()
    assert pauses == [pause]


async def test_a_server_that_asks_to_wait_for_hours_is_an_error_at_once() -> None:
    busy = answers("429 Too Many Requests", {"error": "slow down"}, Retry_After="7200")
    async with ModelServer(busy) as server:
        conversation = await talk(server)
        with pytest.raises(ModelError, match="it asks to wait 7200 s"):
            await collect(conversation)
        await conversation.aclose()
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("status", "message"),
    [
        ("429 Too Many Requests", "You exceeded your current quota, please check your billing"),
        ("402 Payment Required", "Insufficient Balance"),
        ("401 Unauthorized", "Invalid key"),
    ],
)
async def test_what_waiting_does_not_change_is_an_error_at_once(status: str, message: str) -> None:
    async with ModelServer(answers(status, {"error": {"message": message}})) as server:
        conversation = await talk(server)
        with pytest.raises(ModelError, match=re.escape(message)):
            await collect(conversation)
        await conversation.aclose()
    assert len(server.requests) == 1


UNREADABLE = [
    {"error": {"code": 500, "message": "Failed to parse tool call arguments as JSON: {'path"}},
    {"error": {"code": 500, "message": "Failed to parse input at pos 184: <tool_call>read"}},
    {"error": "error parsing tool call: raw='ls -R', err=invalid character 'l' looking for value"},
    {"error parsing tool call": "invalid character 'c' looking for beginning of value"},
]


@pytest.mark.parametrize("error", UNREADABLE)
@pytest.mark.parametrize("streamed", [False, True])
async def test_the_model_is_told_of_a_call_that_the_server_could_not_read(
    error: dict[str, Any], streamed: bool
) -> None:
    async def fails(exchange: Exchange) -> None:
        if streamed or "error" not in error:
            await exchange.open()
            await exchange.delta(content="I look.")
            await exchange.event(error)
        else:
            await exchange.answer("500 Internal Server Error", error)

    async with ModelServer(fails, fails, says_hi) as server:
        conversation = await talk(server)
        first = reply_of(await collect(conversation))
        assert "could not be read: the server says:" in (first.error or "")
        assert first.tool_calls == []
        await conversation.append([Message(role="user", content=str(first.error))])
        second = reply_of(await collect(conversation))
        await conversation.aclose()
    assert second.text == "Hi there\u2028."
    assert ["tools" in request for request in server.requests] == [True, True, False]


# --- empty messages ---------------------------------------------------------------------------


async def test_no_empty_message_is_ever_sent() -> None:
    async def malformed(exchange: Exchange) -> None:
        await exchange.open()
        function = {"name": "read", "arguments": '{"path": '}
        await exchange.delta(tool_calls=[{"index": 0, "id": "c1", "function": function}])
        await exchange.delta(finish="tool_calls")
        await exchange.done()

    async def nothing(exchange: Exchange) -> None:
        await exchange.open()
        await exchange.delta(content="", finish="stop")
        await exchange.done()

    async def only_thinks(exchange: Exchange) -> None:
        await exchange.open()
        await exchange.delta(reasoning_content="Hm.", content=" \n")
        await exchange.delta(finish="stop")
        await exchange.done()

    def refuses(body: Mapping[str, Any]) -> dict[str, Any] | None:
        text = "Assistant message must have either content or tool_calls, but not none."
        empty = [m for m in body["messages"] if not m["content"].strip() and "tool_calls" not in m]
        return {"object": "error", "message": text} if empty else None

    scripts = (malformed, nothing, only_thinks, calls_read, says_hi)
    async with ModelServer(strict(refuses, *scripts)) as server:
        conversation = await talk(server)
        for _ in range(4):
            await collect(conversation)
            await conversation.append([Message(role="user", content="Again.")])
        await conversation.append_reply(Reply(text="", thinking="Hm."))
        await conversation.append([Message(role="assistant", content="")])
        assert reply_of(await collect(conversation)).text == "Hi there\u2028."
        await conversation.aclose()
    assert len(server.requests) == 5


async def test_a_result_without_a_word_says_so() -> None:
    async with ModelServer(calls_read, says_hi) as server:
        conversation = await talk(server)
        await collect(conversation)
        await conversation.append([Message(role="tool", content="\n", call_id="c1")])
        await collect(conversation)
        await conversation.aclose()
    assert server.requests[1]["messages"][-1]["content"] == "(nothing)"


# --- a reply that is too long for the window --------------------------------------------------


_WINDOW = "This model's maximum context length is 8192 tokens"
LONG_REPLY = [
    f"'max_tokens' is too large: 4096. {_WINDOW} and your request has 5904 input tokens.",
    f"{_WINDOW}. However, you requested 10000 tokens (5904 in the messages).",
]


@pytest.mark.parametrize("message", LONG_REPLY)
async def test_a_reply_too_long_for_the_window_is_asked_for_shorter(message: str) -> None:
    def refuses(body: Mapping[str, Any]) -> dict[str, Any] | None:
        return {"message": message} if body["max_tokens"] + 5904 > 8192 else None

    async with ModelServer(strict(refuses, says_hi)) as server:
        conversation = await talk(server)
        conversation.info.context = 32_768
        assert reply_of(await collect(conversation)).text == "Hi there\u2028."
        assert conversation.limit == 8192
        await conversation.aclose()
    assert 2000 < server.requests[1]["max_tokens"] <= 8192 - 5904


async def test_a_window_that_a_refusal_tells_is_the_window_from_then_on() -> None:
    message = "the request exceeds the available context size"
    error = {"type": "exceed_context_size_error", "message": message}
    numbers = {"n_prompt_tokens": 5000, "n_ctx": 4096}
    async with ModelServer(answers("400 Bad Request", {"error": {**error, **numbers}})) as server:
        conversation = await talk(server)
        conversation.info.context = 32_768
        with pytest.raises(ContextFullError):
            await collect(conversation)
        assert conversation.limit == 4096
        await conversation.aclose()
