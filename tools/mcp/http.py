"""Speaks MCP to an address: streamable HTTP, with bounded answers.

The package `mcp` bounds events of a stream, but reads a JSON answer whole; here both end at the
same length.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx2
from mcp.client.streamable_http import streamable_http_client

from laguna_agent.tools.mcp.launch import Address, Traces
from laguna_agent.tools.mcp.stdio import MOST_BYTES

if TYPE_CHECKING:
    from mcp.client._transport import TransportStreams

_CONNECT_S = 30.0


@asynccontextmanager
async def http_transport(
    address: Address, traces: Traces, auth: httpx2.Auth | None = None
) -> AsyncIterator[TransportStreams]:
    """Connect to a server; `auth` adds a login."""
    # How long an answer may take is the business of the call.
    timeout = httpx2.Timeout(_CONNECT_S, read=None)
    async with (
        _Client(traces, headers=address.headers, auth=auth, timeout=timeout) as client,
        streamable_http_client(
            address.url, http_client=client, max_sse_event_size=MOST_BYTES
        ) as streams,
    ):
        yield streams


class _Client(httpx2.AsyncClient):
    """Bounds answers and notes errors. It uses the proxies that the environment names."""

    def __init__(self, traces: Traces, **options: Any) -> None:
        super().__init__(event_hooks={"response": [self._bound]}, **options)
        self._traces = traces

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        """Send a request."""
        try:
            return await super().send(request, **options)
        except httpx2.TransportError as error:
            self._traces.problem = f"{error.request.url.host} cannot be reached: {error}"
            raise

    async def _bound(self, response: httpx2.Response) -> None:
        status = response.status_code
        # Not what a login asks of others.
        if "text/event-stream" in response.request.headers.get("accept", ""):
            self._traces.problem = ""
            self._traces.status = status if status >= 400 else None
        if not response.headers.get("content-type", "").startswith("text/event-stream"):
            assert isinstance(response.stream, httpx2.AsyncByteStream)
            response.stream = _BoundedStream(response.stream, self._traces)


class _BoundedStream(httpx2.AsyncByteStream):
    def __init__(self, inner: httpx2.AsyncByteStream, traces: Traces) -> None:
        self._inner, self._traces = inner, traces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        seen = 0
        async for chunk in self._inner:
            seen += len(chunk)
            if seen > MOST_BYTES:
                self._traces.problem = f"it sent an answer of more than {MOST_BYTES >> 20} MiB"
                raise httpx2.StreamError(self._traces.problem)
            yield chunk

    async def aclose(self) -> None:
        await self._inner.aclose()
