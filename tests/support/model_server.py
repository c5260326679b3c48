"""A scripted chat completions server on loopback, with real HTTP and every way to misbehave."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

Script = Callable[["Exchange"], Awaitable[None]]


class Exchange:
    """One request and its answer. `body` is the parsed request."""

    def __init__(self, path: str, headers: dict[str, str], body: Any, writer: asyncio.StreamWriter):
        self.path, self.headers, self.body = path, headers, body
        self._writer = writer

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def open(self, status: str = "200 OK", kind: str = "text/event-stream") -> None:
        head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n"
        await self.send(head.encode())

    async def answer(self, status: str, value: Any, **headers: str) -> None:
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        more = "".join(f"{k.replace('_', '-')}: {v}\r\n" for k, v in headers.items())
        head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{more}"
        head += f"Content-Length: {len(data)}\r\nConnection: close\r\n\r\n"
        await self.send(head.encode() + data)

    async def event(self, value: Any) -> None:
        await self.send(b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n")

    async def delta(self, finish: str | None = None, **delta: Any) -> None:
        await self.event({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})

    async def done(self, **usage: Any) -> None:
        if usage:
            await self.event({"choices": [], "usage": usage})
        await self.send(b"data: [DONE]\n\n")

    def abort(self) -> None:
        self._writer.transport.abort()

    async def closed(self) -> None:
        """Wait until the client has disconnected."""
        while not self._writer.transport.is_closing():
            try:
                await self.send(b": ping\n\n")
            except ConnectionError:
                return
            await asyncio.sleep(0.01)


class ModelServer:
    """Answers chat requests with its scripts in order, and then repeats the last one."""

    def __init__(
        self, *scripts: Script, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
    ) -> None:
        self.scripts = list(scripts)
        self._tls, self._host = tls, host
        self.requests: list[Any] = []
        self.headers: list[dict[str, str]] = []
        self.gets: dict[str, Any] = {}
        """Answers to GET by path: JSON, or a script."""
        self.asked: list[str] = []
        """Paths of the GETs that came."""
        self._server: asyncio.Server | None = None
        self.port = 0

    @property
    def url(self) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http{'s' if self._tls else ''}://{host}:{self.port}/v1"

    async def __aenter__(self) -> ModelServer:
        self._server = await asyncio.start_server(self._serve, self._host, self.port, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self._server.close_clients() if hasattr(self._server, "close_clients") else None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            method, path, _ = head[0].split(" ")
            headers = {k.lower(): v.strip() for k, _, v in (h.partition(":") for h in head[1:])}
            data = await reader.readexactly(int(headers.get("content-length", "0")))
            exchange = Exchange(path, headers, json.loads(data) if data else None, writer)
            if method == "GET" or not path.endswith("/chat/completions"):
                self.asked.append(path)
                found = self.gets.get(path) or self.gets.get(path.partition("?")[0])
                if callable(found):
                    await found(exchange)
                    return
                status = "404 Not Found" if found is None else "200 OK"
                await exchange.answer(status, found or {"error": "no"})
                return
            script = self.scripts[min(len(self.requests), len(self.scripts) - 1)]
            self.requests.append(exchange.body)
            self.headers.append(headers)
            await script(exchange)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


def says(text: str, **usage: int) -> Script:
    async def script(exchange: Exchange) -> None:
        await exchange.open()
        await exchange.delta(content=text, finish="stop")
        await exchange.done(**usage)

    return script


def calls(*made: tuple[str, str]) -> Script:
    """Calls of (tool, arguments as they are sent)."""

    async def script(exchange: Exchange) -> None:
        await exchange.open()
        for number, (name, arguments) in enumerate(made):
            function = {"name": name, "arguments": arguments}
            piece = {"index": number, "id": f"call_{number}", "function": function}
            await exchange.delta(tool_calls=[piece])
        await exchange.delta(finish="tool_calls")
        await exchange.done()

    return script
