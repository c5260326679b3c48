"""Speaks MCP to an address: streamable HTTP, with bounded answers.

The package `mcp` bounds events of a stream, but reads a JSON answer whole; here both end at the
same length.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

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
        httpx2.AsyncClient(
            headers=address.headers,
            auth=auth,
            timeout=timeout,
            transport=_Bounded(httpx2.AsyncHTTPTransport(trust_env=True), traces),
        ) as client,
        streamable_http_client(
            address.url, http_client=client, max_sse_event_size=MOST_BYTES
        ) as streams,
    ):
        yield streams


class _Bounded(httpx2.AsyncBaseTransport):
    """Passes requests on, bounds their answers, and notes errors."""

    def __init__(self, inner: httpx2.AsyncBaseTransport, traces: Traces) -> None:
        self._inner, self._traces = inner, traces

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request."""
        try:
            response = await self._inner.handle_async_request(request)
        except httpx2.TransportError as error:
            self._traces.problem = f"{request.url.host} cannot be reached: {error}"
            raise
        status = response.status_code
        if request.method == "POST":
            self._traces.problem = ""
            self._traces.status = status if status >= 400 else None
        if not response.headers.get("content-type", "").startswith("text/event-stream"):
            assert isinstance(response.stream, httpx2.AsyncByteStream)
            response.stream = _BoundedStream(response.stream, self._traces)
        return response

    async def aclose(self) -> None:
        """Close all connections."""
        await self._inner.aclose()


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
