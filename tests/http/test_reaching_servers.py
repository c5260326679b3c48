"""The way to a server: certificates, proxies, and how long is waited."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from laguna_agent.config import Config, ProviderConfig
from laguna_agent.errors import LagunaError, ModelError, UsageError
from laguna_agent.events import EngineRestarted, RetryWait
from laguna_agent.models.conversation import GenerateOptions
from laguna_agent.models.fetch.download import HttpSource, fetch
from laguna_agent.models.http_client import is_local, proxy_for
from laguna_agent.models.servers.http_conversation import HttpConversation
from laguna_agent.models.servers.http_reply import ReplyBuilder
from laguna_agent.models.servers.providers import open_provider
from support.model_server import Exchange, ModelServer
from support.talk_to_server import collect, reply_of, says_hi, talk, timeouts

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


async def open_it(url: str, **given: Any) -> HttpConversation:
    config = Config(providers={"box": ProviderConfig(url=url, **given)})
    return await open_provider("box/m", config, timeouts=timeouts())


async def answer_of(url: str, **given: Any) -> str:
    conversation = await open_it(url, **given)
    try:
        return reply_of(await collect(conversation)).text
    finally:
        await conversation.aclose()


async def failure_of(url: str, **given: Any) -> str:
    with pytest.raises(LagunaError) as raised:
        await answer_of(url, **given)
    assert str(raised.value).count("\n") == 1
    return str(raised.value)


async def answering(answer: bytes) -> tuple[asyncio.Server, int]:
    """A server that gives one answer to whatever comes, and its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


# --- certificates -----------------------------------------------------------------------------


async def test_a_self_signed_certificate_is_refused_at_once_with_what_to_set(
    certificate: tuple[Path, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    pem, context = certificate
    async with ModelServer(says_hi, tls=context) as server:
        failure = await failure_of(server.url)
        assert f"the certificate of {server.url} is not trusted: self-signed" in failure
        assert "`ca` of the provider" in failure
        assert "SSL_CERT_FILE" in failure
        assert await answer_of(server.url, ca=str(pem)) == "Hi there\u2028."
        monkeypatch.setenv("SSL_CERT_FILE", str(pem))
        assert await answer_of(server.url) == "Hi there\u2028."
        other = await failure_of(server.url.replace("127.0.0.1", "localhost"))
        assert "must have the name that the certificate is for" in other


async def test_a_certificate_that_is_not_checked_is_accepted_and_named(
    certificate: tuple[Path, ssl.SSLContext],
) -> None:
    _, context = certificate
    async with ModelServer(says_hi, tls=context) as server:
        conversation = await open_it(server.url, verify=False)
        assert reply_of(await collect(conversation)).text == "Hi there\u2028."
        assert not conversation.info.verified
        assert conversation.info.engine == f"server {server.url}, certificate not checked"
        await conversation.aclose()
    async with ModelServer(says_hi) as server:  # without https there is none
        conversation = await open_it(server.url, verify=False)
        assert conversation.info.verified
        await conversation.aclose()


@pytest.mark.parametrize("content", [None, b"", b"not a certificate"])
async def test_a_file_that_is_no_certificate_is_named(
    tmp_path: Path, content: bytes | None
) -> None:
    pem = tmp_path / "box.pem"
    if content is not None:
        pem.write_bytes(content)
    with pytest.raises(UsageError, match=r"`ca` of the provider: .*box\.pem cannot be read"):
        await open_it("https://127.0.0.1:1/v1", ca=str(pem))


async def test_https_to_a_server_without_it_says_so() -> None:
    server, port = await answering(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    assert "does not speak https" in await failure_of(f"https://127.0.0.1:{port}/v1")
    server.close()


async def test_a_server_that_moved_says_where_to() -> None:
    async def moved(exchange: Exchange) -> None:
        await exchange.answer("308 Permanent Redirect", b"", Location="https://box.example/v1")

    async with ModelServer(moved) as server:
        assert "it is at https://box.example/v1" in await failure_of(server.url)


PAGE = b"\r\n  <!DOCTYPE html>\n<html>Log in</html>\n"


@pytest.mark.parametrize(
    ("kind", "body", "what"),
    [
        ("text/html; charset=utf-8", PAGE, "a web page"),
        ("text/event-stream", PAGE, "a web page"),
        ("text/plain", PAGE, "a web page"),
        ("application/octet-stream", PAGE, "a web page"),
        ("application/json", b'{"status": "ok"}', '{"status": "ok"}'),
    ],
)
async def test_an_answer_that_is_no_reply_is_named_and_not_asked_for_again(
    kind: str, body: bytes, what: str
) -> None:
    async def page(exchange: Exchange) -> None:
        await exchange.open(kind=kind)
        await exchange.send(body)

    async with ModelServer(page) as server:
        assert f"answers with {what}, not with a reply" in await failure_of(server.url)
    assert len(server.requests) == 1


async def test_the_address_of_the_endpoint_itself_is_understood() -> None:
    async with ModelServer(says_hi) as server:
        assert await answer_of(f"{server.url}/chat/completions") == "Hi there\u2028."
        assert await answer_of(f"{server.url}/") == "Hi there\u2028."


# --- proxies ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://127.0.0.1:8080/v1", True),
        ("http://127.9.9.9/v1", True),
        ("http://localhost:1/v1", True),
        ("http://LocalHost.:1/v1", True),
        ("http://box.localhost/v1", True),
        ("http://[::1]:1/v1", True),
        ("http://[::ffff:127.0.0.1]/v1", True),
        ("http://0.0.0.0:8080/v1", True),
        ("http://192.168.1.2/v1", False),
        ("http://127.example.org/v1", False),
        ("http://localhost.example.org/v1", False),
    ],
)
def test_addresses_of_this_machine_go_through_no_proxy(
    url: str, local: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert is_local(url) is local
    assert (proxy_for(url) is None) is local


@pytest.mark.parametrize("proxy", ["socks://127.0.0.1:1", "socks5://127.0.0.1:1", "x://y", "http:"])
async def test_a_server_on_this_machine_is_reached_whatever_the_proxies_are(
    proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy)
    async with ModelServer(says_hi) as server:
        assert await answer_of(server.url) == "Hi there\u2028."


@pytest.mark.parametrize(
    ("name", "proxy", "told"),
    [
        ("ALL_PROXY", "socks://user:secret@127.0.0.1:1080", "needs the Python package socksio"),
        ("all_proxy", "socks5://127.0.0.1:1080", "needs the Python package socksio"),
        ("HTTPS_PROXY", "socks5h://127.0.0.1:1080", "needs the Python package socksio"),
        ("ALL_PROXY", "socks4://127.0.0.1:1080", "of a kind that laguna does not know"),
        ("ALL_PROXY", "ftp://127.0.0.1:1080", "of a kind that laguna does not know"),
    ],
)
async def test_a_proxy_that_cannot_be_used_is_named(
    name: str, proxy: str, told: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(name, proxy)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)  # without socksio
    failure = await failure_of("https://box.example/v1")
    assert told in failure
    assert f"{name.upper()} names the proxy" in failure
    assert "NO_PROXY=box.example" in failure
    assert "secret" not in failure
    source = HttpSource("https://box.example/model.gguf", pause=lambda seconds: None)
    with pytest.raises(ModelError) as raised:
        fetch("model", tmp_path / "model.gguf", [source])
    assert told in str(raised.value)
    assert "secret" not in str(raised.value)


def test_only_the_proxy_for_the_address_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks4://127.0.0.1:1080")
    monkeypatch.setenv("HTTPS_PROXY", "127.0.0.1:3128")
    assert proxy_for("https://box.example/v1") == "http://127.0.0.1:3128"
    monkeypatch.setenv("NO_PROXY", "other.example,.example:8080,10.0.0.7")
    assert proxy_for("https://box.example:8080/v1") is None
    assert proxy_for("http://10.0.0.7:8080/v1") is None
    assert proxy_for("https://box.example/v1") is not None


@pytest.mark.parametrize("status", ["503 Service Unavailable", "407 Proxy Auth", "502 Bad Gateway"])
async def test_a_proxy_that_answers_for_the_server_is_named(
    status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuses(exchange: Exchange) -> None:
        await exchange.answer(status, b"<html><h1>ERROR</h1> The requested URL ...")

    async with ModelServer(refuses) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://user:secret@127.0.0.1:{proxy.port}")
        failure = await failure_of("http://box.example:8080/v1")
    assert f"the proxy http://127.0.0.1:{proxy.port} answered HTTP {status[:3]}" in failure
    assert "NO_PROXY" in failure
    assert "secret" not in failure
    assert len(proxy.requests) == 1


async def test_a_proxy_that_refuses_the_tunnel_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    server, port = await answering(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
    failure = await failure_of("https://box.example/v1")
    server.close()
    assert f"the proxy http://127.0.0.1:{port} answered 403 Forbidden" in failure


async def test_a_proxy_that_cannot_be_reached_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://user:secret@127.0.0.1:9")
    failure = await failure_of("http://box.example:8080/v1")
    assert "nothing listens at the proxy http://127.0.0.1:9" in failure
    assert "NO_PROXY" in failure
    assert "secret" not in failure


async def test_a_loading_server_behind_a_proxy_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def loading(exchange: Exchange) -> None:
        await exchange.answer("503 Unavailable", {"error": {"message": "Loading model"}})

    async with ModelServer(loading, says_hi) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        assert await answer_of("http://box.example:8080/v1") == "Hi there\u2028."


# --- silence ----------------------------------------------------------------------------------


def silent_after(*parts: Callable[[Exchange], Any]) -> Any:
    async def script(exchange: Exchange) -> None:
        await exchange.open()
        for part in parts:
            await part(exchange)
        await asyncio.Event().wait()

    return script


def role(exchange: Exchange) -> Any:
    return exchange.delta(role="assistant", content="")


def comment(exchange: Exchange) -> Any:
    return exchange.send(b": keep-alive\n\n")


@pytest.mark.parametrize("parts", [(), (role,), (comment, role)])
async def test_a_prompt_that_is_read_for_too_long_is_not_begun_again(parts: Any) -> None:
    waits = timeouts(first_s=0.2, per_token_s=0.0, stall_s=30.0)
    async with ModelServer(silent_after(*parts), says_hi) as server:
        conversation = await talk(server, waits)
        with pytest.raises(ModelError, match=r"sent nothing for 0\.2 s\n.*`timeout`"):
            await collect(conversation)
        await conversation.aclose()
    assert len(server.requests) == 1


def test_a_reply_has_not_begun_before_it_says_something() -> None:
    builder = ReplyBuilder([], GenerateOptions())
    for delta in ({"role": "assistant", "content": ""}, {"content": None}, {}):
        builder.take({"choices": [{"delta": delta}]})
        assert not builder.begun
    builder.take({"choices": [{"delta": {"reasoning_content": "Hm."}}]})
    assert builder.begun


async def test_the_wait_grows_with_the_prompt_and_can_be_set() -> None:
    async with ModelServer(silent_after()) as server:
        conversation = await talk(server, timeouts(first_s=0.1, per_token_s=0.01))
        tokens = conversation.used
        with pytest.raises(ModelError, match=f"nothing for {0.1 + tokens * 0.01:g} s"):
            await collect(conversation)
        await conversation.aclose()
        config = Config(providers={"box": ProviderConfig(url=server.url, timeout=0.3)})
        conversation = await open_provider("box/m", config)
        with pytest.raises(ModelError, match=r"nothing for 0\.3 s"):
            await collect(conversation)
        await conversation.aclose()


# --- the countdown ----------------------------------------------------------------------------


async def test_waiting_for_a_busy_server_counts_down() -> None:
    async def loading(exchange: Exchange) -> None:
        await exchange.answer("503 Unavailable", {"error": {"message": "Loading model"}})

    async def waits(seconds: float) -> None:
        await asyncio.sleep(0)

    async with ModelServer(loading, says_hi) as server:
        conversation = await talk(server, timeouts(backoff=waits))
        events = await collect(conversation)
        await conversation.aclose()
    restart = next(event for event in events if isinstance(event, EngineRestarted))
    wait = next(event for event in events if isinstance(event, RetryWait))
    assert restart.server
    assert wait.transient
    assert 0 < wait.left_s <= restart.wait_s
    assert "Loading model" in wait.reason
