"""Speaks MCP to a program: one message a line on its standard input and output.

Unlike the transport of the package `mcp`, this one bounds what a program can make laguna keep: the
length of a line, the requests that wait for an answer, the lines of standard error. It starts the
program with exactly the environment that it is given.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import mcp_types
from mcp.shared.message import SessionMessage

from laguna_agent.tools.mcp.launch import Launch, Traces
from laguna_agent.tools.terminal import processes

if TYPE_CHECKING:
    from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
    from mcp.client._transport import TransportStreams

MOST_BYTES = 8 << 20
"""Bytes of one message."""
_MOST_REQUESTS = 64
"""Requests of a server that wait for an answer, which it must read."""
_MOST_UNREAD_S = 60.0
"""Seconds that a message may wait until the program reads it."""
_GRACE_S = 1.0
_CHUNK = 1 << 16


@asynccontextmanager
async def stdio_transport(
    launch: Launch, traces: Traces, on_end: Callable[[], None]
) -> AsyncIterator[TransportStreams]:
    """Start the program, and stop it with all that it started when the block ends.

    `on_end` is called when it ends by itself, or had to be cut off. Raises OSError.
    """
    incoming: tuple[
        MemoryObjectSendStream[SessionMessage | Exception],
        MemoryObjectReceiveStream[SessionMessage | Exception],
    ] = anyio.create_memory_object_stream(0)
    outgoing: tuple[
        MemoryObjectSendStream[SessionMessage], MemoryObjectReceiveStream[SessionMessage]
    ] = anyio.create_memory_object_stream(0)
    program = await _Program.start(launch, traces)
    tasks = [
        asyncio.create_task(program.read(incoming[0])),
        asyncio.create_task(program.write(outgoing[1], incoming[0])),
        asyncio.create_task(program.read_errors()),
    ]
    tasks[0].add_done_callback(lambda task: None if task.cancelled() else on_end())
    try:
        yield incoming[1], outgoing[0]
    finally:
        for task in tasks[:2]:
            task.cancel()
        await asyncio.shield(program.stop())
        tasks[2].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for stream in (*incoming, *outgoing):
            stream.close()


class _Program:
    """A running server."""

    def __init__(self, process: asyncio.subprocess.Process, traces: Traces) -> None:
        self._process = process
        self._traces = traces
        self._unanswered: set[str] = set()
        self._watcher: subprocess.Popen[bytes] | None = None

    @classmethod
    async def start(cls, launch: Launch, traces: Traces) -> _Program:
        """Start it, as the leader of a session of its own."""
        environment, watcher = launch.environment, None
        if not launch.confined:  # it may leave its group, but it keeps the mark
            mark = secrets.token_hex(8)
            environment = {**environment, processes.MARK: f"{mark}:mcp"}
            watcher = await asyncio.to_thread(processes.watch, mark)
        try:
            process = await asyncio.create_subprocess_exec(
                *launch.argv,
                cwd=launch.cwd,
                env=environment,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        except BaseException:
            await _end(watcher)
            raise
        program = cls(process, traces)
        program._watcher = watcher
        return program

    async def read(self, to: MemoryObjectSendStream[SessionMessage | Exception]) -> None:
        """Pass messages on until the program ends, or does what no server may."""
        stdout = self._process.stdout
        assert stdout is not None
        buffer = bytearray()
        async with to:
            while chunk := await stdout.read(_CHUNK):
                searched = len(buffer)
                buffer += chunk
                while (end := buffer.find(b"\n", searched)) >= 0:
                    line, searched = bytes(buffer[:end]), 0
                    del buffer[: end + 1]
                    if not await self._pass_on(line, to):
                        return
                if len(buffer) > MOST_BYTES:
                    size = MOST_BYTES >> 20
                    self._traces.problem = f"it sent a message of more than {size} MiB"
                    return
            self._traces.add(bytes(buffer))

    async def _pass_on(
        self, line: bytes, to: MemoryObjectSendStream[SessionMessage | Exception]
    ) -> bool:
        """Pass one message on; False when the connection must end."""
        if not line.strip():
            return True
        try:
            message = mcp_types.jsonrpc_message_adapter.validate_json(line, by_name=False)
        except (ValueError, RecursionError):
            self._traces.add(line)  # a banner, or a print that was forgotten
            return True
        if isinstance(message, mcp_types.JSONRPCRequest):
            self._unanswered.add(str(message.id))
            if len(self._unanswered) > _MOST_REQUESTS:
                self._traces.problem = "it asks without reading the answers"
                return False
        try:
            await to.send(SessionMessage(message))
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            return False
        return True

    async def write(
        self,
        messages: MemoryObjectReceiveStream[SessionMessage],
        reading: MemoryObjectSendStream[SessionMessage | Exception],
    ) -> None:
        """Write messages as they come; closes `reading` when the program takes no more."""
        stdin = self._process.stdin
        assert stdin is not None
        try:
            async for item in messages:
                message = item.message
                text = message.model_dump_json(by_alias=True, exclude_unset=True)
                stdin.write(text.encode() + b"\n")
                async with asyncio.timeout(_MOST_UNREAD_S):
                    await stdin.drain()
                if isinstance(message, mcp_types.JSONRPCResponse | mcp_types.JSONRPCError):
                    self._unanswered.discard(str(message.id))
        except TimeoutError:
            self._traces.problem = "it does not read what it is sent"
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        except OSError:
            reading.close()

    async def read_errors(self) -> None:
        """Keep the last lines of standard error."""
        stderr = self._process.stderr
        assert stderr is not None
        rest = b""
        while chunk := await stderr.read(_CHUNK):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines[-Traces._LINES :]:
                self._traces.add(line)
            rest = rest[: Traces._WIDTH * 4]
        self._traces.add(rest)

    async def stop(self) -> None:
        """Close its input, give it a moment, then end it and whatever it started."""
        process = self._process
        assert process.stdin is not None
        process.stdin.close()
        for number in (None, signal.SIGTERM, signal.SIGKILL):
            if number is not None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, number)
            if await _exited(process, _GRACE_S):
                break
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # what it left behind
        await _end(self._watcher)
        # A process that got out of the group may hold the pipes open.
        process._transport.close()  # type: ignore[attr-defined]  # there is no public way


async def _exited(process: asyncio.subprocess.Process, seconds: float) -> bool:
    """Whether the process ends in time. `wait` would also wait for its pipes."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while process.returncode is None:  # noqa: ASYNC110 (there is no event for it)
                await asyncio.sleep(0.01)
    return process.returncode is not None


async def _end(watcher: subprocess.Popen[bytes] | None) -> None:
    """Let the watcher kill what has the mark."""
    if watcher is not None and watcher.stdin is not None:
        watcher.stdin.close()
        await asyncio.to_thread(watcher.wait)
