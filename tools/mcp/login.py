"""Logins at servers by OAuth, with the client of the package `mcp`."""

from __future__ import annotations

import asyncio
import html
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from laguna_agent.tools.mcp.launch import ServerError
from laguna_agent.tools.mcp.login_file import LoginFile, login_file

if TYPE_CHECKING:
    import httpx2
    from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider

_MOST_REQUEST = 16 << 10
ReadLine = Callable[[], Awaitable[str]]
"""Reads a line that a person enters; never answers where nobody can."""


def stored_login(url: str) -> httpx2.Auth | None:
    """The login at an address as it was stored, renewed when it must be; None without one.

    It asks nobody, and nothing but the place that the login named: where it holds no longer, the
    server's refusal stands.
    """
    if not login_file(url).exists():
        return None
    from laguna_agent.tools.mcp.renewal import StoredLogin

    return StoredLogin(LoginFile(url))


class Callback:
    """Receives the redirect that ends a login: on loopback, or pasted by a person."""

    def __init__(self, show: Callable[[str], None], read_line: ReadLine) -> None:
        self._show, self._read_line = show, read_line
        self._server: asyncio.Server | None = None
        self._result: asyncio.Future[dict[str, str]] | None = None
        self._state = ""

    async def start(self, port: int = 0) -> str:
        """Listen on loopback; returns the address to redirect to."""
        self._result = asyncio.get_running_loop().create_future()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/callback"

    async def stop(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()

    async def show(self, url: str) -> None:
        """Show a person where to log in."""
        self._state = parse_qs(urlsplit(url).query).get("state", [""])[0]
        self._show(url)

    async def wait(self) -> AuthorizationCodeResult:
        """The parameters of the redirect. Raises ServerError when the login was refused."""
        from mcp.shared.auth import AuthorizationCodeResult

        assert self._result is not None
        pasted = asyncio.create_task(self._pasted())
        try:
            waiting: list[asyncio.Future[Any]] = [self._result, pasted]
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            found: dict[str, str] = done.pop().result()
        finally:
            pasted.cancel()
        if "code" not in found:
            why = found.get("error_description") or found.get("error") or "it sent no code"
            raise ServerError(f"the login was refused: {' '.join(why.split())[:300]}")
        return AuthorizationCodeResult(
            code=found["code"], state=found.get("state"), iss=found.get("iss")
        )

    async def _pasted(self) -> dict[str, str]:
        while True:
            text = (await self._read_line()).strip()
            if "code=" in text or "error=" in text:
                return _parameters(text)
            if text:
                return {"code": text, "state": self._state}

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(Exception):
            async with asyncio.timeout(10):
                line = (await reader.readline())[:_MOST_REQUEST].decode("latin-1")
                while (await reader.readline()).strip():
                    pass
                path = line.split(" ")[1] if line.count(" ") >= 2 else ""
                given = _parameters(path) if urlsplit(path).path == "/callback" else {}
                ours = bool(given) and given.get("state") == self._state
                text = "laguna is logged in; you can close this page." if ours else "Not found."
                if ours and "code" not in given:
                    text = "The login was refused. laguna says more."
                status = "200 OK" if ours else "404 Not Found"
                body = f"<!doctype html><title>laguna</title><p>{html.escape(text)}"
                writer.write(
                    f"HTTP/1.1 {status}\r\nContent-Type: text/html\r\nConnection: close\r\n"
                    f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
                )
                await writer.drain()
                if ours and self._result is not None and not self._result.done():
                    self._result.set_result(given)
        writer.close()


def _parameters(url: str) -> dict[str, str]:
    query = urlsplit(url).query or url
    return {name: values[0] for name, values in parse_qs(query).items()}


def new_login(
    url: str, redirect: str, callback: Callback, *, client_id: str | None = None
) -> OAuthClientProvider:
    """A login that a person takes part in. `client_id` is laguna's at a server where it cannot
    register itself."""
    client = None
    if client_id is not None:
        client = {
            "client_id": client_id,
            "redirect_uris": [redirect],
            "token_endpoint_auth_method": "none",
        }
    from mcp.shared.auth import OAuthClientMetadata

    from laguna_agent.tools.mcp.renewal import NewLogin

    storage = LoginFile(url, client=client)
    metadata = OAuthClientMetadata.model_validate(
        {
            "client_name": "laguna",
            "redirect_uris": [redirect],
            "grant_types": ["authorization_code", "refresh_token"],
            "token_endpoint_auth_method": "none",
        }
    )
    return NewLogin(url, metadata, storage, callback.show, callback.wait)
