"""A connection to one server: started when it is first needed, watched, and started again.

The connection lives in a task of its own, since the package `mcp` wants it closed where it was
opened. What calls it only waits: for the listing of its tools, or for the answer to a call.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import TypeAdapter

from laguna_agent import __version__
from laguna_agent.clip import clip
from laguna_agent.config import McpServerConfig
from laguna_agent.tools.mcp.launch import Address, Launch, ServerError, Traces
from laguna_agent.tools.mcp.offers import Offer, make_offer
from laguna_agent.tools.terminal.ansi import clean_text

if TYPE_CHECKING:
    import httpx2
    from mcp import Client
    from mcp.client._transport import TransportStreams
    from mcp_types import CallToolResult, InputRequiredResult

State = Literal["not started", "starting", "running", "failed"]
Progress = Callable[[str], None]
Reach = Callable[[], Awaitable[Launch | Address]]
"""How to reach the server, found each time it is started. Raises ServerError."""
Login = Callable[[str], "httpx2.Auth | None"]
"""The login at an address, if there is one."""
_MOST_TOOLS, _MOST_PAGES = 500, 50
_CLOSE_S = 5.0
_MOST_TEXT = 700
_MOST_PROGRESS = 1_000


class Listing(NamedTuple):
    """The tools of a server by name, and whether some were left out."""

    offers: dict[str, Offer]
    cut: bool


class Connection:
    """One server. `reach` says how it is reached; `login` adds a login to an address."""

    def __init__(
        self, name: str, config: McpServerConfig, reach: Reach, login: Login | None = None
    ) -> None:
        self.name, self.config = name, config
        self.state: State = "not started"
        self.problem = ""
        """Why it failed, as `state` says."""
        self.protocol = ""
        self._reach, self._login = reach, login
        self._traces = Traces()
        self._client: Client | None = None
        self._listing: Listing | None = None
        self._stale = False
        self._died = False
        self._task: asyncio.Task[None] | None = None
        self._ended = asyncio.Event()
        self._lock = asyncio.Lock()

    @property
    def listed(self) -> dict[str, Offer]:
        """What it offered when it last started."""
        return self._listing.offers if self._listing is not None else {}

    async def listing(self) -> Listing:
        """The tools of the server, which is started for it. Raises ServerError."""
        client = await self._connected()
        if self._stale or self._listing is None:
            self._stale = False
            try:
                async with asyncio.timeout(self.config.startup_timeout):
                    self._listing = await _list_tools(client)
            except TimeoutError:
                raise self._error(f"did not list its tools{self._within_start()}") from None
            except Exception as error:
                raise self._error(f"could not list its tools: {_said(error)}") from None
        return self._listing

    async def call(
        self, tool: str, arguments: dict[str, Any], on_progress: Progress
    ) -> CallToolResult:
        """Call a tool. Raises ServerError; cancelling cancels the call at the server."""
        from mcp import MCPError
        from mcp_types import CONNECTION_CLOSED, INVALID_REQUEST, REQUEST_TIMEOUT

        for last in (False, True):
            client = await self._connected()
            self._traces.problem, self._traces.status = "", None
            try:
                # The package counts the time from when a request was sent, which may be never.
                async with asyncio.timeout(self.config.timeout + _CLOSE_S):
                    return await self._call_once(client, tool, arguments, on_progress)
            except TimeoutError:
                await self.stop()
                raise self._lost("", timed_out=True) from None
            except MCPError as error:
                # Servers send these codes too.
                timed_out = error.code == REQUEST_TIMEOUT and error.message.endswith("timed out")
                closed = error.code == CONNECTION_CLOSED and error.message == "Connection closed"
                if timed_out or closed or self._ended.is_set():
                    raise self._lost(error.message, timed_out=timed_out) from None
                # It has forgotten the session, so it did not run the call.
                forgotten = error.code == INVALID_REQUEST and self._traces.status == 404
                if forgotten and not last:
                    await self.stop()
                    continue
                raise self._error(self._refused(error.message)) from None
            except Exception as error:
                raise self._error(f"gave no usable answer: {_said(error)}") from None
        raise AssertionError("unreachable")

    async def _call_once(
        self, client: Client, tool: str, arguments: dict[str, Any], on_progress: Progress
    ) -> CallToolResult:
        import mcp_types

        shown = 0

        async def show(progress: float, total: float | None, message: str | None) -> None:
            nonlocal shown
            shown += 1
            if shown <= _MOST_PROGRESS:
                of = f"/{total:g}" if total else ""
                said = clip(clean_text((message or "")[:_MOST_TEXT]), 200)
                on_progress(f"{said} {progress:g}{of}".strip() + "\n")

        # Not `Client.call_tool`, which compiles the patterns of the server's own output schema.
        result = await client.session.send_request(
            mcp_types.CallToolRequest(
                params=mcp_types.CallToolRequestParams(name=tool, arguments=arguments)
            ),
            _answers(),
            request_read_timeout_seconds=self.config.timeout,
            progress_callback=show,
        )
        if isinstance(result, mcp_types.InputRequiredResult):
            raise ServerError("it asks the user for input, which laguna does not pass on")
        return result

    # --- life ---------------------------------------------------------------------------------

    async def _connected(self) -> Client:
        """The client of a server that runs."""
        async with self._lock:
            if self._task is not None and (self._task.done() or self._ended.is_set()):
                await self.stop()
            if self._task is None:
                await self._start()
            assert self._client is not None
            return self._client

    async def _start(self) -> None:
        try:
            await asyncio.to_thread(_import_package)
        except ImportError:
            self.state, self.problem = "failed", "the package `mcp` is not installed"
            how = f"{sys.executable} -m pip install 'mcp>=2.3'"
            raise self._error(f"needs the package `mcp`; to install it: {how}") from None
        problem = ""
        # Some servers end at a request of the newer protocol that they do not know.
        for mode in ("auto", "legacy"):
            self._traces, self._ended = Traces(), asyncio.Event()
            self._listing, self._stale, self._died = None, False, False
            self.state, self.problem = "starting", ""
            ready: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
            self._task = asyncio.create_task(self._serve(ready, mode))
            try:
                both: list[asyncio.Future[Any]] = [self._task, ready]
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            except asyncio.CancelledError:
                await self.stop()
                raise
            if ready.done() and not ready.cancelled():
                self._client, self.state = ready.result(), "running"
                return
            problem = self.problem or "it ended"
            self._task = None
            if not self._died or self._traces.problem:
                break
        self.state, self.problem = "failed", problem
        raise self._error(problem)

    async def _serve(self, ready: asyncio.Future[Client], mode: str) -> None:
        """Hold the connection open, from the start of the server to its end."""
        from mcp import Client, types

        try:
            async with asyncio.timeout(self.config.startup_timeout) as limit:
                reached = await self._reach()
                client = Client(
                    self._transport(reached),
                    mode=mode,
                    client_info=types.Implementation(name="laguna", version=__version__),
                    message_handler=self._on_message,
                    cache=None,
                )
                async with client:
                    self._listing = await _list_tools(client)
                    self.protocol = client.protocol_version
                    limit.reschedule(None)
                    ready.set_result(client)
                    async with self._listening(client):
                        await self._ended.wait()
        except TimeoutError:
            why = self._traces.reason()
            self.problem = f"did not start{self._within_start()}{': ' if why else ''}{why}"
        except ServerError as error:
            self.problem = str(error)
        except (Exception, BaseExceptionGroup) as error:
            self.problem = self._start_problem(error)
        finally:
            self._ended.set()
            self._client = None

    def _transport(
        self, reached: Launch | Address
    ) -> AbstractAsyncContextManager[TransportStreams]:
        """The transport, which tells when the other side has ended."""
        if isinstance(reached, Launch):
            from laguna_agent.tools.mcp.stdio import stdio_transport

            return stdio_transport(reached, self._traces, self._has_died)
        from laguna_agent.tools.mcp.http import http_transport

        login = self._login(reached.url) if self._login is not None else None
        return http_transport(reached, self._traces, login)

    def _has_died(self) -> None:
        self._died = True
        self._ended.set()

    @contextlib.asynccontextmanager
    async def _listening(self, client: Client) -> AsyncIterator[None]:
        """Hear of changed tools; in the newer protocol a client must ask for that."""
        from mcp_types.version import MODERN_PROTOCOL_VERSIONS

        offered = client.server_capabilities.tools
        wanted = offered is not None and bool(offered.list_changed)
        if not wanted or client.protocol_version not in MODERN_PROTOCOL_VERSIONS:
            yield
            return

        async def listen() -> None:
            with contextlib.suppress(Exception):
                async with client.listen(tools_list_changed=True) as events:
                    async for _ in events:
                        self._stale = True

        task = asyncio.create_task(listen())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _on_message(self, message: Any) -> None:
        import mcp_types

        if isinstance(message, mcp_types.ToolListChangedNotification):
            self._stale = True

    async def stop(self) -> None:
        """End the server. It is started again when it is needed."""
        task, self._task = self._task, None
        self._client = None
        if task is None:
            return
        self._ended.set()
        if self.state == "starting":
            task.cancel()
        _, pending = await asyncio.wait([task], timeout=_CLOSE_S)
        if pending:
            task.cancel()
            await asyncio.wait([task], timeout=_CLOSE_S)
        if not task.cancelled() and task.done():
            task.exception()  # it was reported as the problem of the start
        if self.state != "failed":
            self.state = "not started"

    aclose = stop

    # --- what went wrong ------------------------------------------------------------------------

    def _error(self, problem: str) -> ServerError:
        return ServerError(clip(clean_text(f"the MCP server {self.name} {problem}"), _MOST_TEXT))

    def _within_start(self) -> str:
        return f" within {self.config.startup_timeout:g} s"

    def _start_problem(self, error: BaseException) -> str:
        why = self._traces.reason()
        if self._traces.status in (401, 403):
            return self._refused("")
        if isinstance(error, OSError) and not why:
            return f"cannot be started: {error.strerror or error}"
        said = _said(error)
        if "closed" in said.lower() and why:
            return f"ended while it started: {why}"
        return f"did not start: {said}" + (f"; {why}" if why and why not in said else "")

    def _refused(self, message: str) -> str:
        if self._traces.status == 401:
            return (
                f"wants a login (HTTP status 401); the user can run: laguna mcp login {self.name}"
            )
        if self._traces.status is not None:
            return f"answered with HTTP status {self._traces.status}"
        if self._traces.problem:
            return f"failed: {self._traces.problem}"
        return f"refused the call: {message[:500]}"

    def _lost(self, message: str, *, timed_out: bool) -> ServerError:
        """A call of which nobody knows whether it took effect."""
        if timed_out:
            return self._error(
                f"gave no answer in {self.config.timeout:g} s, and the call was cancelled; "
                "whether it took effect is unknown"
            )
        why = self._traces.reason() or ("" if "Connection closed" in message else message[:300])
        return self._error(
            f"ended during the call{': ' if why else ''}{why}; whether it took effect is unknown. "
            "It is started again by the next call"
        )


async def _list_tools(client: Client) -> Listing:
    """All tools, of a bounded number of pages."""
    import mcp_types

    offers: dict[str, Offer] = {}
    cursor, seen = None, set[str]()
    for _ in range(_MOST_PAGES):
        page = await client.session.list_tools(
            params=mcp_types.PaginatedRequestParams(cursor=cursor)
        )
        for tool in page.tools:
            if len(offers) >= _MOST_TOOLS:
                return Listing(offers, cut=True)
            hints = tool.annotations
            offer = await asyncio.to_thread(
                make_offer,
                tool.name,
                tool.description,
                tool.input_schema,
                reads_only=bool(hints and hints.read_only_hint),
            )
            offers.setdefault(offer.name, offer)
        cursor = page.next_cursor
        if not cursor or cursor in seen:
            return Listing(offers, cut=False)
        seen.add(cursor)
    return Listing(offers, cut=True)


@cache
def _answers() -> TypeAdapter[CallToolResult | InputRequiredResult]:
    import mcp_types

    return TypeAdapter(mcp_types.CallToolResult | mcp_types.InputRequiredResult)


def _said(error: BaseException) -> str:
    """What an error says, on one line."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return " ".join(str(error).split())[:300] or type(error).__name__


def _import_package() -> None:
    """Import the package, which takes about a second, and keep its log off the terminal."""
    import mcp  # noqa: F401

    for name in ("mcp", "client", "httpx2", "httpcore2"):
        log = logging.getLogger(name)
        log.addHandler(logging.NullHandler())
        log.propagate = False
