"""Finding servers, listing their models, and trying one before it is used."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from laguna_agent.config import Config, ProviderConfig
from laguna_agent.errors import LagunaError, UsageError
from laguna_agent.models.servers import discovery, model_list
from laguna_agent.models.servers.discovery import (
    find_local,
    list_configured,
    provider_name,
    reach,
    try_model,
)
from laguna_agent.models.servers.endpoint import Endpoint
from laguna_agent.models.servers.model_list import FoundServer, list_models
from laguna_agent.models.servers.refusals import KeyNeededError
from laguna_agent.models.servers.typed_address import addresses
from support.model_server import Exchange, ModelServer
from support.talk_to_server import says_hi

LISTED = {"data": [{"id": "coder", "owned_by": "llamacpp"}, {"id": "chat"}]}


def listing(*names: str, **more: Any) -> dict[str, Any]:
    return {"data": [{"id": name, **more} for name in names]}


def sends(status: str, body: bytes, **headers: str) -> Callable[[Exchange], Awaitable[None]]:
    async def answer(exchange: Exchange) -> None:
        await exchange.answer(status, body, **headers)

    return answer


async def failure(work: Awaitable[Any]) -> str:
    """What a person reads when it fails; two lines at most."""
    with pytest.raises(LagunaError) as caught:
        await work
    text = str(caught.value)
    assert text.count("\n") <= 1
    return text


# --- addresses ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "first"),
    [
        ("8080", "http://127.0.0.1:8080/v1"),
        (":8080", "http://127.0.0.1:8080/v1"),
        ("localhost:1234", "http://localhost:1234/v1"),
        ("192.168.1.20:8080", "http://192.168.1.20:8080/v1"),
        (" http://box:8080/ ", "http://box:8080/v1"),
        ("http:/box:8080", "http://box:8080/v1"),
        ("http://box:8080/v1/chat/completions", "http://box:8080/v1"),
        ("http://box:8080/v1/models?x=1", "http://box:8080/v1"),
        ("0.0.0.0:8000", "http://127.0.0.1:8000/v1"),
        ("http://[::]:8000", "http://[::1]:8000/v1"),
        ("::1", "http://[::1]/v1"),
        ("[::1]:8080", "http://[::1]:8080/v1"),
        ("openrouter.ai/api/v1", "https://openrouter.ai/api/v1"),
        ("https://user:pass@box:1/v1", "https://user:pass@box:1/v1"),
    ],
)
def test_an_address_is_understood_as_people_type_it(typed: str, first: str) -> None:
    assert addresses(typed)[0] == first


def test_other_paths_and_schemes_are_tried_next() -> None:
    assert addresses("http://box:11434/api") == [
        "http://box:11434/api",
        "http://box:11434/api/v1",
        "http://box:11434/v1",
    ]
    assert addresses("box:8080") == ["http://box:8080/v1", "https://box:8080/v1"]
    # Nothing goes in the clear to what is far, unless it is asked for.
    assert all(address.startswith("https:") for address in addresses("api.example.com/v1"))
    assert addresses("http://api.example.com") == ["http://api.example.com/v1"]


@pytest.mark.parametrize(
    "typed",
    ["", "  ", "http://", "ftp://box", "my server", "box:99999", "http://a b/", "-", "qwen3:30b"],
)
def test_what_is_no_address_is_refused_with_an_example(typed: str) -> None:
    with pytest.raises(UsageError, match="no address") as caught:
        addresses(typed)
    assert "http://127.0.0.1:8080/v1" in str(caught.value)


# --- listing --------------------------------------------------------------------------------


async def test_a_server_is_known_with_its_program_and_models() -> None:
    async with ModelServer() as server:
        server.gets["/v1/models"] = LISTED
        found = await reach(f"127.0.0.1:{server.port}")
    assert found.models == ("coder", "chat")
    assert found.place == f"llama-server at 127.0.0.1:{server.port}"
    assert found.endpoint.address == server.url


async def test_the_path_that_answers_is_found_from_a_wrong_one() -> None:
    async with ModelServer() as server:
        server.gets["/v1/models"] = LISTED
        server.gets["/ui/models"] = sends("200 OK", b"<html>hello</html>")
        found = await reach(f"http://127.0.0.1:{server.port}/ui")
    assert found.endpoint.address == server.url
    assert server.asked == ["/ui/models", "/ui/v1/models", "/v1/models"]


async def test_models_that_cannot_chat_are_left_out_and_loaded_ones_come_first() -> None:
    async with ModelServer() as server:
        server.gets["/v1/models"] = {
            "data": [
                {"id": "a", "status": {"value": "unloaded"}},
                {"id": "text-embedding-nomic-embed-text-v1.5"},
                {"id": "bge-reranker"},
                {"id": "b", "status": {"value": "loaded"}},
                {"id": "b"},
                {"id": "evil\x1b[2J"},
                {"id": "x" * 9_000},
            ]
        }
        assert (await reach(server.url)).models == ("b", "a")


@pytest.mark.parametrize("value", [{"object": "list", "data": None}, {"data": []}, {"models": []}])
async def test_a_server_without_models_is_a_server(value: Any) -> None:
    async with ModelServer() as server:
        server.gets["/v1/models"] = value
        assert (await reach(server.url)).models == ()


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        ("200 OK", b"<!doctype html><html>router</html>", "with a web page"),
        ("200 OK", b'{"hello": 1}', "not with a list of models"),
        ("200 OK", b'[1, 2]', "not with a list of models"),
        ("200 OK", b"[" * 200_000, "not with a list of models"),
        ("404 Not Found", b"no", "HTTP 404"),
        ("500 Oh", b"{}", "HTTP 500"),
        ("301 Moved", b"", "HTTP 301"),
        ("503 Busy", b'{"error": {"message": "Loading model"}}', "is not ready: Loading model"),
        ("429 Slow", b"{}", "is not ready"),
    ],
)  # fmt: skip
async def test_another_answer_is_said_in_words(status: str, body: bytes, told: str) -> None:
    async with ModelServer() as server:
        server.gets["/v1/models"] = sends(status, body)
        text = await failure(reach(server.url))
    assert told in text
    assert server.url in text
    assert "\n" in text  # and what to do


async def test_a_server_that_wants_a_key_says_so_and_takes_it() -> None:
    async def guarded(exchange: Exchange) -> None:
        ok = exchange.headers.get("authorization") == "Bearer right"
        await exchange.answer("200 OK" if ok else "401 Unauthorized", LISTED if ok else {})

    async with ModelServer() as server:
        server.gets["/v1/models"] = guarded
        with pytest.raises(KeyNeededError, match="wants an API key"):
            await reach(server.url)
        with pytest.raises(KeyNeededError, match="does not accept the API key"):
            await reach(server.url, "wrong")
        assert (await reach(server.url, "right")).models == ("coder", "chat")


async def test_nothing_there_and_no_host_are_told_apart() -> None:
    assert "nothing listens at" in await failure(reach("http://127.0.0.1:9"))
    assert "there is no host bxo.invalid" in await failure(reach("http://bxo.invalid:8080"))


async def test_a_port_that_stays_silent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(exchange: Exchange) -> None:
        await asyncio.Event().wait()

    async def half(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{")
        await asyncio.Event().wait()

    async with ModelServer() as server:
        for script, told in ((silent, "does not answer"), (half, "does not finish its answer")):
            server.gets["/v1/models"] = script
            endpoint = Endpoint(server.url)
            assert told in await failure(list_models(endpoint, limit_s=0.1))


async def test_an_endless_answer_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_list, "_MOST_BYTES", 10_000)

    async def endless(exchange: Exchange) -> None:
        await exchange.open(kind="application/json")
        while True:
            await exchange.send(b" " * 4_096)

    async with ModelServer() as server:
        server.gets["/v1/models"] = endless
        assert "not with a list of models" in await failure(reach(server.url))


async def test_an_untrusted_certificate_is_explained(
    certificate: tuple[Path, ssl.SSLContext],
) -> None:
    pem, context = certificate
    async with ModelServer(tls=context) as server:
        server.gets["/v1/models"] = LISTED
        text = await failure(reach(server.url))
        assert "certificate" in text
        assert "`ca`" in text
        # Without https:// it is found to speak that, and then the same is said.
        assert "certificate" in await failure(reach(f"127.0.0.1:{server.port}"))
        config = Config(providers={"box": ProviderConfig(url=server.url, ca=str(pem))})
        assert isinstance((await list_configured(config))["box"], FoundServer)


async def test_https_to_a_plain_server_is_explained() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert "does not speak https" in await failure(reach(f"https://127.0.0.1:{port}"))
        assert "(HTTP 400)" in await failure(reach(str(port)))


async def test_offline_asks_no_other_machine() -> None:
    assert "laguna is offline" in await failure(reach("http://192.0.2.1:8080", offline=True))


async def test_configured_servers_are_asked_at_once_each_with_its_own_error() -> None:
    async with ModelServer() as one, ModelServer() as two:
        one.gets["/v1/models"] = listing("a")
        two.gets["/v1/models"] = sends("401 Unauthorized", b"{}")
        config = Config(
            providers={
                "one": ProviderConfig(url=one.url),
                "two": ProviderConfig(url=two.url),
                "dead": ProviderConfig(url="http://127.0.0.1:9/v1"),
                "key": ProviderConfig(url=one.url, key_env="NO_SUCH_KEY"),
                "bad": ProviderConfig(url="box:8080"),
            }
        )
        found = await list_configured(config)
    assert list(found) == ["one", "two", "dead", "key", "bad"]
    first = found["one"]
    assert isinstance(first, FoundServer)
    assert first.models == ("a",)
    for name, told in (
        ("two", "wants an API key"),
        ("dead", "nothing listens"),
        ("key", "NO_SUCH_KEY is not set"),
        ("bad", "is not an address"),
    ):
        assert told in str(found[name])


# --- servers on this machine ------------------------------------------------------------------


async def test_servers_at_usual_ports_are_found_on_both_loopback_addresses() -> None:
    async with (
        ModelServer() as one,
        ModelServer(host="::1") as two,
        ModelServer() as page,
        ModelServer() as locked,
    ):
        one.gets["/v1/models"] = LISTED
        two.gets["/v1/models"] = listing("six")
        page.gets["/v1/models"] = sends("200 OK", b"<html>")
        locked.gets["/v1/models"] = sends("401 Unauthorized", b"{}")
        usual = [(server.port, "/v1") for server in (locked, one, two, page)]
        found = await find_local({}, usual=[*usual, (9, "/v1")])
    assert [(server.endpoint.address, server.models) for server in found] == [
        (one.url, ("coder", "chat")),
        (two.url, ("six",)),
        (locked.url, ()),
    ]
    assert found[2].wants_key


async def test_a_silent_port_is_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "_LOCAL_S", 0.05)

    async def silent(exchange: Exchange) -> None:
        await asyncio.Event().wait()

    async with ModelServer() as server:
        server.gets["/v1/models"] = silent
        assert await find_local({}, usual=[(server.port, "/v1")]) == []


async def test_ollama_is_found_where_its_own_variable_says_if_that_is_here() -> None:
    async with ModelServer() as server:
        server.gets["/v1/models"] = listing("qwen3:30b", owned_by="library")
        for host in (f"127.0.0.1:{server.port}", f"http://0.0.0.0:{server.port}"):
            [found] = await find_local({"OLLAMA_HOST": host}, usual=[(9, "/v1")])
            assert found.program == "Ollama"
            assert found.models == ("qwen3:30b",)
    for host in ("192.0.2.1:11434", "https://example.com", "nonsense here"):
        assert discovery._ollama({"OLLAMA_HOST": host}) == []


# --- trying and naming ------------------------------------------------------------------------


def configured(server: ModelServer, **given: Any) -> Config:
    return Config(providers={"box": ProviderConfig(url=server.url, **given)})


async def test_a_model_is_tried_with_a_few_tokens() -> None:
    async with ModelServer(says_hi) as server:
        await try_model("box/m", configured(server))
    [request] = server.requests
    assert request["model"] == "m"
    assert request["max_tokens"] <= 16


async def test_a_model_that_does_not_answer_is_reported() -> None:
    async def unknown(exchange: Exchange) -> None:
        await exchange.answer("404 Not Found", {"error": {"message": "no model m"}})

    async def locked(exchange: Exchange) -> None:
        await exchange.answer("401 Unauthorized", {})

    async with ModelServer(unknown, locked) as server:
        assert "no model m" in await failure(try_model("box/m", configured(server)))
        with pytest.raises(KeyNeededError):
            await try_model("box/m", configured(server))


@pytest.mark.parametrize(
    ("url", "program", "name"),
    [
        ("http://127.0.0.1:11434/v1", "Ollama", "ollama"),
        ("http://127.0.0.1:1234/v1", "LM Studio", "lm-studio"),
        ("http://127.0.0.1:9000/v1", "", "server"),
        ("https://openrouter.ai/api/v1", "", "openrouter"),
        ("http://box.lan:8080/v1", "", "box"),
        ("http://box:8080/v1", "", "box"),
        ("http://192.168.1.20:8080/v1", "", "server"),
    ],
)
def test_a_new_provider_is_called_after_its_program_or_host(
    url: str, program: str, name: str
) -> None:
    found = FoundServer(Endpoint(url), program)
    assert provider_name(found, {}) == name
    other = {name: ProviderConfig(url="http://elsewhere/v1")}
    assert provider_name(found, other) == f"{name}-2"
    known = {"mine": ProviderConfig(url=url.removesuffix("/v1") + "/")}
    assert provider_name(found, known) == "mine"
