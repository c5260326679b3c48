"""One connection to an engine process: sends frames, and sorts the answers by request."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Iterator
from dataclasses import dataclass

from laguna_agent.models.engine import wire
from laguna_agent.models.engine.spawn import Started

_DEATH_CHECKS = 25
"""How often, 20 ms apart, to check whether the process has ended."""


class EngineLostError(Exception):
    """The connection to the engine is gone; the message says why, as far as that is known."""


@dataclass
class Frame:
    """A message of the engine."""

    header: wire.Header
    payload: bytes = b""


class EngineConnection:
    """A connection with its reader task. Each request has an id and a queue of its frames.

    A None in a queue means that the connection is lost.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, started: Started
    ) -> None:
        self.reader, self.writer, self.started = reader, writer, started
        self.lost = False
        self._queues: dict[int, asyncio.Queue[Frame | None]] = {}
        self._last_id = 0
        self._task: asyncio.Task[None] | None = None

    def listen(self) -> None:
        """Start to read frames into the queues of their requests."""
        self._task = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        try:
            while True:
                header, payload = await wire.read_frame(self.reader)
                queue = self._queues.get(header.get("id", -1))
                if queue is not None:
                    queue.put_nowait(Frame(header, payload))
        except wire.WireError:
            pass
        finally:
            self.lost = True
            for queue in self._queues.values():
                queue.put_nowait(None)

    @contextlib.contextmanager
    def request(self) -> Iterator[tuple[int, asyncio.Queue[Frame | None]]]:
        """The id of a new request and the queue of its frames, for as long as the block runs."""
        self._last_id += 1
        number = self._last_id
        queue: asyncio.Queue[Frame | None] = asyncio.Queue()
        self._queues[number] = queue
        if self.lost:
            queue.put_nowait(None)
        try:
            yield number, queue
        finally:
            del self._queues[number]

    async def send(self, header: wire.Header, payload: bytes = b"") -> None:
        """Send a frame. Raises EngineLostError."""
        if self.lost:
            raise EngineLostError(await self.reason())
        try:
            self.writer.write(wire.pack(header, payload))
            await self.writer.drain()
        except OSError as error:
            raise EngineLostError(await self.reason()) from error

    async def reason(self) -> str:
        """Why the engine is gone, as far as this process can tell."""
        process = self.started.process
        for _ in range(_DEATH_CHECKS):
            if process is None or process.returncode is not None:
                break
            await asyncio.sleep(0.02)
        if process is None or process.returncode is None:
            return "the engine process is gone"
        code = process.returncode
        if code == -signal.SIGILL:
            return (
                "the engine process used an instruction that this processor does not have"
                " (./install.sh builds llama.cpp for it)"
            )
        if code < 0:
            return f"the engine process was killed by signal {-code}"
        return f"the engine process exited with code {code}"

    async def close(self) -> None:
        """Close the connection and end the reader task."""
        self.lost = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()
