"""Servers at an address: both protocols, logins, and answers that no server should give."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from mcp.server.mcpserver import MCPServer
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from laguna_agent.tools.mcp.connection import Connection
from laguna_agent.tools.mcp.launch import ServerError
from laguna_agent.tools.mcp.login import Callback, new_login, stored_login
from laguna_agent.tools.mcp.login_file import login_file

Make = Callable[..., Connection]


async def _call(connection: Connection, tool: str = "add") -> str:
    answer = await connection.call(tool, {"a": 1, "b": 2}, lambda text: None)
    return answer.content[0].text


def _server() -> MCPServer:
    server = MCPServer("test")

    @server.tool()
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    return server


@pytest.mark.parametrize("options", [{}, {"stateless_http": True, "json_response": True}])
async def test_a_server_of_the_package_is_spoken_to(
    serve: Any, reach_url: Make, options: dict[str, Any]
) -> None:
    url = await serve(_server().streamable_http_app(**options))
    connection = reach_url(f"{url}/mcp")
    assert (await connection.listing()).offers["add"].description == "Add two numbers."
    assert await _call(connection) == "3"
    assert connection.protocol == "2026-07-28"


class Legacy:
    """A server of the older protocol whose answers a test chooses, by method."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.seen: list[str] = []
        self.headers: list[Any] = []

    @property
    def app(self) -> Starlette:
        return Starlette(routes=[Route("/mcp", self.serve, methods=["POST", "GET", "DELETE"])])

    async def serve(self, request: Request) -> Response:
        if request.method != "POST":
            return Response(status_code=405)
        message = await request.json()
        method = message["method"]
        self.seen.append(method)
        self.headers.append(request.headers)
        answer = self.answers.get(method.replace("/", "_"))
        if answer is not None and not isinstance(answer, Response):
            answer = answer(request)
        if answer is not None:
            return answer
        if "id" not in message:
            return Response(status_code=202)
        tools = [{"name": "add", "inputSchema": {"type": "object"}}]
        known = {
            "initialize": {
                "protocolVersion": "2025-06-18",
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "t", "version": "1"},
            },
            "tools/list": {"tools": tools},
            "tools/call": {"content": [{"type": "text", "text": "3"}]},
        }
        if method not in known:
            error = {"code": -32601, "message": "no such method"}
            return JSONResponse({"jsonrpc": "2.0", "id": message["id"], "error": error})
        headers = {"mcp-session-id": f"s{len(self.seen)}"} if method == "initialize" else {}
        result = {"jsonrpc": "2.0", "id": message["id"], "result": known[method]}
        return JSONResponse(result, headers=headers)


async def test_the_older_protocol_and_headers_are_spoken(serve: Any, reach_url: Make) -> None:
    server = Legacy()
    url = await serve(server.app)
    connection = reach_url(f"{url}/mcp", headers={"Authorization": "Bearer key"})
    assert await _call(connection) == "3"
    assert connection.protocol == "2025-06-18"
    assert {headers["authorization"] for headers in server.headers} == {"Bearer key"}


async def test_a_forgotten_session_is_begun_again(serve: Any, reach_url: Make) -> None:
    forgets = [True]

    def call(request: Request) -> Response | None:
        return Response(status_code=404) if forgets and forgets.pop() else None

    server = Legacy(tools_call=call)
    url = await serve(server.app)
    assert await _call(reach_url(f"{url}/mcp")) == "3"
    assert server.seen.count("initialize") == 2


def _flood(request: Request) -> Response:
    async def body() -> Any:
        for _ in range(1600):
            yield b"x" * 65536

    return StreamingResponse(body(), media_type="application/json")


def _flood_events(request: Request) -> Response:
    async def body() -> Any:
        for _ in range(1600):
            yield b"data: " + b"x" * 65536

    return StreamingResponse(body(), media_type="text/event-stream")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Response(status_code=500), "HTTP status 500"),
        (Response(status_code=401), "laguna mcp login test"),
        (Response("<html>", media_type="text/html"), "content type"),
        (Response("{", media_type="application/json"), "parse"),
        (RedirectResponse("http://evil.example/mcp"), "not followed"),
        (_flood, "8 MiB|exceed|more than"),
        (_flood_events, "SSE|exceed|more than"),
    ],
)
async def test_a_wrong_answer_to_a_call_is_an_error_in_a_line(
    serve: Any, reach_url: Make, answer: Any, said: str
) -> None:
    url = await serve(Legacy(tools_call=answer).app)
    with pytest.raises(ServerError, match=f"(?i){said}") as caught:
        await _call(reach_url(f"{url}/mcp", timeout=20.0))
    assert "\n" not in str(caught.value)


async def test_a_server_that_never_answers_ends_at_the_time_limit(
    serve: Any, reach_url: Make
) -> None:
    async def body() -> Any:
        yield b": wait\n\n"
        await asyncio.sleep(60)

    def stall(request: Request) -> Response:
        return StreamingResponse(body(), media_type="text/event-stream")

    url = await serve(Legacy(tools_call=stall).app)
    with pytest.raises(ServerError, match=r"gave no answer in 0\.3 s"):
        await _call(reach_url(f"{url}/mcp", timeout=0.3))


async def test_an_address_where_nobody_listens_is_named(reach_url: Make) -> None:
    with pytest.raises(ServerError, match=r"127\.0\.0\.1 cannot be reached"):
        await _call(reach_url("http://127.0.0.1:9/mcp"))


class Guarded(Legacy):
    """A server that wants a login, and the service that gives it."""

    def __init__(self) -> None:
        super().__init__()
        self.url = ""
        self.given: list[dict[str, str]] = []
        self.valid, self.refresh = "token1", "refresh1"

    @property
    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/mcp", self.guard, methods=["POST", "GET", "DELETE"]),
                Route("/.well-known/oauth-protected-resource/mcp", self.resource),
                Route("/.well-known/oauth-authorization-server", self.metadata),
                Route("/register", self.register, methods=["POST"]),
                Route("/give/token", self.token, methods=["POST"]),
            ]
        )

    async def guard(self, request: Request) -> Response:
        if request.headers.get("authorization") != f"Bearer {self.valid}":
            return Response(status_code=401, headers={"www-authenticate": "Bearer"})
        return await self.serve(request)

    async def resource(self, request: Request) -> Response:
        return JSONResponse({"resource": f"{self.url}/mcp", "authorization_servers": [self.url]})

    async def metadata(self, request: Request) -> Response:
        return JSONResponse(
            {
                "issuer": self.url,
                "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/give/token",
                "registration_endpoint": f"{self.url}/register",
                "response_types_supported": ["code"],
                "code_challenge_methods_supported": ["S256"],
            }
        )

    async def register(self, request: Request) -> Response:
        return JSONResponse({**await request.json(), "client_id": "laguna1"}, status_code=201)

    async def token(self, request: Request) -> Response:
        form = {key: str(value) for key, value in (await request.form()).items()}
        self.given.append(form)
        if form["grant_type"] == "refresh_token":
            if form["refresh_token"] != self.refresh:  # an old one, which ends the login
                self.valid = self.refresh = "ended"
                return JSONResponse({"error": "invalid_grant"}, status_code=400)
            self.valid, self.refresh = f"{self.valid}+", f"{self.refresh}+"
        token = {"access_token": self.valid, "token_type": "Bearer", "expires_in": 3600}
        return JSONResponse({**token, "refresh_token": self.refresh})


async def _never() -> str:
    await asyncio.get_running_loop().create_future()
    return ""


@pytest.mark.parametrize("how", ["browser", "pasted address", "pasted code"])
async def test_a_login_is_kept_in_a_private_file_and_used_again(
    serve: Any, reach_url: Make, how: str
) -> None:
    server = Guarded()
    server.url = await serve(server.app)
    url = f"{server.url}/mcp"
    shown: list[str] = []
    pasted: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    callback = Callback(shown.append, _never if how == "browser" else lambda: _wait(pasted))
    redirect = await callback.start()
    provider = new_login(url, redirect, callback)
    work = asyncio.create_task(_call(reach_url(url, login=lambda address: provider)))
    while not shown:
        await asyncio.sleep(0.01)
    asked = {key: value[0] for key, value in parse_qs(urlsplit(shown[0]).query).items()}
    back = f"{asked['redirect_uri']}?code=c1&state={asked['state']}"
    if how == "browser":
        async with httpx.AsyncClient(trust_env=False) as browser:
            wrong = await browser.get(f"{asked['redirect_uri']}?code=evil&state=guess")
            assert wrong.status_code == 404
            assert "logged in" in (await browser.get(back)).text
    else:
        pasted.set_result(f"{back}\n" if how == "pasted address" else "c1\n")

    assert await work == "3"
    await callback.stop()
    assert server.given[0]["code"] == "c1"
    assert server.given[0]["redirect_uri"] == redirect
    file = login_file(url)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert json.loads(file.read_text())["tokens"]["access_token"] == "token1"
    assert await _call(reach_url(url, login=stored_login)) == "3"
    assert len(server.given) == 1


async def _wait(future: asyncio.Future[str]) -> str:
    return await asyncio.shield(future)


async def test_without_a_login_or_with_one_that_ended_the_way_to_log_in_is_named(
    serve: Any, reach_url: Make
) -> None:
    server = Guarded()
    server.url = await serve(server.app)
    url = f"{server.url}/mcp"
    assert stored_login(url) is None
    with pytest.raises(ServerError, match="laguna mcp login test"):
        await _call(reach_url(url, login=stored_login))
    login_file(url).parent.mkdir(parents=True)
    ended = {"access_token": "old", "token_type": "Bearer"}
    login_file(url).write_text(json.dumps({"tokens": ended, "client": {"client_id": "x"}}))
    with pytest.raises(ServerError, match="laguna mcp login test"):
        await _call(reach_url(url, login=stored_login))


async def _logged_in(server: Guarded, serve: Any, reach_url: Make) -> str:
    """Log in at a server; returns its address."""
    server.url = await serve(server.app)
    url = f"{server.url}/mcp"
    pasted: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    callback = Callback(lambda address: pasted.set_result("c1"), lambda: _wait(pasted))
    provider = new_login(url, await callback.start(), callback)
    assert await _call(reach_url(url, login=lambda address: provider)) == "3"
    await callback.stop()
    return url


@pytest.mark.parametrize("how", ["it says so", "the server refuses it", "twice at once"])
async def test_a_token_that_has_ended_is_renewed_once_where_the_login_named(
    serve: Any, reach_url: Make, how: str
) -> None:
    server = Guarded()
    url = await _logged_in(server, serve, reach_url)
    kept = json.loads(login_file(url).read_text())
    assert kept["renewal"]["endpoint"] == f"{server.url}/give/token"
    if how == "it says so":
        login_file(url).write_text(json.dumps({**kept, "until": 1}))
    else:
        server.valid = "token2"

    connections = [reach_url(url, login=stored_login) for _ in range(3 if "twice" in how else 1)]
    answers = await asyncio.gather(*map(_call, connections))

    assert set(answers) == {"3"}
    assert [form["grant_type"] for form in server.given[1:]] == ["refresh_token"]
    tokens = json.loads(login_file(url).read_text())["tokens"]
    assert (tokens["access_token"], tokens["refresh_token"]) == (server.valid, "refresh1+")
    assert stat.S_IMODE(login_file(url).stat().st_mode) == 0o600


async def test_a_login_that_has_ended_asks_nobody_and_looks_nowhere_else(
    serve: Any, reach_url: Make
) -> None:
    server = Guarded()
    url = await _logged_in(server, serve, reach_url)
    server.valid = server.refresh = "ended"
    asked = [0]

    async def resource(request: Request) -> Response:
        asked[0] += 1
        return JSONResponse({})

    server.resource = resource  # type: ignore[method-assign]
    with pytest.raises(ServerError, match="laguna mcp login test"):
        await _call(reach_url(url, login=stored_login))
    assert asked == [0]


async def test_a_proxy_of_the_environment_is_used(
    serve: Any, reach_url: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = []

    async def answer(request: Request, error: Exception) -> Response:
        hosts.append(request.headers["host"])
        return Response(status_code=404)

    proxy = Starlette(exception_handlers={404: answer})
    monkeypatch.setenv("HTTP_PROXY", await serve(proxy))
    for name in ("NO_PROXY", "no_proxy", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ServerError, match="HTTP status 404"):
        await _call(reach_url("http://mcp.invalid/mcp"))
    assert set(hosts) == {"mcp.invalid"}
