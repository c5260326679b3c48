"""What a server refused is remembered for other sessions, and forgotten when the server changes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from laguna_agent.config import Config, ProviderConfig
from laguna_agent.models.servers import lessons
from laguna_agent.models.servers.providers import open_provider
from support.model_server import Exchange, ModelServer
from support.talk_to_server import calls_read, collect, says_hi, timeouts

Refuses = Callable[[dict[str, Any]], str | None]


def strict(refuses: Refuses, status: str = "400 Bad Request") -> Any:
    async def script(exchange: Exchange) -> None:
        refusal = refuses(exchange.body)
        if refusal is None:
            await says_hi(exchange)
        else:
            await exchange.answer(status, {"error": {"message": refusal}})

    return script


def no_seed(body: dict[str, Any]) -> str | None:
    return "Unsupported parameter: 'seed'" if "seed" in body else None


async def requests(server: ModelServer, *, model: str = "m", provider: str = "box") -> int:
    """How many requests one reply of a new session takes."""
    before = len(server.requests)
    config = Config(providers={provider: ProviderConfig(url=server.url)})
    conversation = await open_provider(f"{provider}/{model}", config, timeouts=timeouts())
    try:
        await collect(conversation)
    finally:
        await conversation.aclose()
    return len(server.requests) - before


def version(number: str) -> dict[str, Any]:
    return {
        "/v1/models": {"data": [{"id": "m", "owned_by": "vllm"}, {"id": "n", "owned_by": "vllm"}]},
        "/version": {"version": number},
    }


async def test_a_refusal_is_remembered_for_its_provider_model_and_version() -> None:
    async with ModelServer(strict(no_seed)) as server:
        server.gets = version("0.30.1")
        assert await requests(server) == 2
        assert await requests(server) == 1
        assert await requests(server, model="n") == 2
        assert await requests(server, provider="other") == 2
        assert await requests(server) == 1
        server.gets = version("0.31.0")
        assert await requests(server) == 2
        assert await requests(server) == 1


@pytest.mark.parametrize(
    ("message", "accepts"),
    [
        ("use max_completion_tokens, not max_tokens", lambda body: "max_tokens" not in body),
        ("System role not supported", lambda body: body["messages"][0]["role"] == "user"),
        ("Tools are not supported", lambda body: "tools" not in body),
        ("'reasoning_content' is unsupported", lambda body: "reasoning" not in str(body)),
    ],
)
async def test_each_kind_of_change_is_remembered(
    message: str, accepts: Callable[[dict[str, Any]], bool]
) -> None:
    from laguna_agent.events import Reply
    from laguna_agent.models.conversation import Message
    from support.talk_to_server import TOOL

    async with ModelServer(strict(lambda body: None if accepts(body) else message)) as server:
        counts = []
        for _ in range(2):
            before = len(server.requests)
            config = Config(providers={"box": ProviderConfig(url=server.url)})
            conversation = await open_provider("box/m", config, timeouts=timeouts())
            await conversation.start("Be brief.", [TOOL])
            await conversation.append([Message(role="user", content="Hello")])
            await conversation.append_reply(Reply(text="Yes?", thinking="Hm."))
            await conversation.append([Message(role="user", content="More")])
            await collect(conversation)
            await conversation.aclose()
            counts.append(len(server.requests) - before)
    assert counts == [2, 1]


@pytest.mark.parametrize("status", ["500 Internal Server Error", "501 Not Implemented"])
async def test_what_a_failing_server_says_is_not_remembered(status: str) -> None:
    async with ModelServer(strict(no_seed, status)) as server:
        assert await requests(server) == 2
        assert await requests(server) == 2


async def test_what_did_not_help_is_not_remembered() -> None:
    async def refuses_all(exchange: Exchange) -> None:
        await exchange.answer(
            "400 Bad Request", {"error": {"message": "Unknown parameter: 'seed'"}}
        )

    async with ModelServer(refuses_all) as server:
        with pytest.raises(Exception, match="HTTP 400"):
            await requests(server)
        server.scripts = [says_hi]
        await requests(server)
    assert "seed" in server.requests[-1]


async def test_a_busy_server_teaches_nothing() -> None:
    async def busy(exchange: Exchange) -> None:
        error = {"error": {"message": "seed: rate limit, try again"}}
        await exchange.answer("429 Too Many Requests", error)

    async with ModelServer(busy, says_hi) as server:
        await requests(server)
        await requests(server)
    assert all("seed" in request for request in server.requests)


async def test_lessons_are_forgotten_after_a_month(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ModelServer(strict(no_seed)) as server:
        now = lessons.time.time()
        assert await requests(server) == 2
        for days, needed in ((29, 1), (31, 2)):
            monkeypatch.setattr(lessons.time, "time", lambda days=days: now + days * 86_400)
            assert await requests(server) == needed


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{",
        "[" * 5_000,
        '{"box": 1}',
        '{"KEY": {"version": "", "at": NOW, "learned": {"without messages": true, "tools": 1}}}',
        '{"KEY": {"version": "", "at": "x", "learned": []}}',
        '{"KEY": {"version": "", "at": NOW, "learned": {"thoughts": "no", "rename model": "x"}}}',
    ],
)
async def test_a_damaged_file_of_lessons_is_as_good_as_none(
    content: str, laguna_home: Path
) -> None:
    state = laguna_home / "state"
    state.mkdir(exist_ok=True)
    async with ModelServer(strict(no_seed), calls_read) as server:
        key = f"box {server.url} m"
        text = content.replace("KEY", key).replace("NOW", str(int(lessons.time.time())))
        (state / "servers.json").write_text(text)
        assert await requests(server) == 2
        assert server.requests[-1]["model"] == "m"
    kept = json.loads((state / "servers.json").read_text())
    assert kept[key]["learned"] == {"without seed": True}
