"""JSON-RPC over standard input and output: one message a line, and nothing else.

Reading and writing happen in threads, so that a client which stops reading holds up nothing, and
files work as well as pipes. What is no message is answered with an error and passed over.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import threading
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

MOST_BYTES = 64 << 20
"""Bytes of the longest message that is read."""
_READ = 1 << 16
_HEAD = 1_000
"""Bytes in which a message has its id, if at the beginning."""


class StdioTransport:
    """A `Transport` of the `acp` package. Takes over the descriptors of standard input and output.

    From then on, what anything else prints goes to standard error.
    """

    def __init__(self) -> None:
        self._in = os.dup(0)
        self._out = os.dup(1)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        os.dup2(2, 1)
        self._loop = asyncio.get_running_loop()
        self._incoming = asyncio.Queue[bytes | None]()
        self._outgoing = SimpleQueue[tuple[bytes, asyncio.Future[None] | None] | None]()
        self._writer = threading.Thread(target=self._write_all, name="acp-out", daemon=True)
        self._writer.start()
        threading.Thread(target=self._read_all, name="acp-in", daemon=True).start()

    def post(self, message: dict[str, Any]) -> None:
        """Send a message after those before it, without waiting."""
        self._outgoing.put((_line(message), None))

    async def send(self, message: dict[str, Any]) -> None:
        """Send a message and wait until it is written."""
        written: asyncio.Future[None] = self._loop.create_future()
        self._outgoing.put((_line(message), written))
        await written

    async def receive(self) -> dict[str, Any] | None:
        """The next message; None at the end of the input."""
        while (line := await self._incoming.get()) is not None:
            if not line.strip():
                continue
            if len(line) > MOST_BYTES:
                text = f"the message has more than {MOST_BYTES >> 20} MiB"
                self._refuse(-32600, text, _id_in(line))
                continue
            try:
                message: dict[str, Any] = json.loads(line)
            except (ValueError, RecursionError):
                self._refuse(-32700, "Parse error")
                continue
            if _is_message(message):
                if not isinstance(message.get("error", {}), dict | None):
                    message["error"] = {"message": str(message["error"])}
                return message
            self._refuse(-32600, "Invalid request")
        return None

    async def close(self) -> None:
        """Write what is left, for a second at most."""
        self._outgoing.put(None)
        await asyncio.to_thread(self._writer.join, 1.0)

    def _refuse(self, code: int, text: str, request: int | str | None = None) -> None:
        self.post({"jsonrpc": "2.0", "id": request, "error": {"code": code, "message": text}})

    # --- in threads -------------------------------------------------------------------------

    def _read_all(self) -> None:
        rest = bytearray()
        with suppress(OSError):
            while data := os.read(self._in, _READ):
                first, newline, more = data.partition(b"\n")
                if len(rest) <= MOST_BYTES:  # of a longer one the length is enough
                    rest += first
                if newline:
                    lines = more.split(b"\n")
                    self._received(bytes(rest), *lines[:-1])
                    rest = bytearray(lines[-1])
        if rest:
            self._received(bytes(rest))
        self._received(None)

    def _received(self, *lines: bytes | None) -> None:
        with suppress(RuntimeError):  # the loop is closed
            for line in lines:
                self._loop.call_soon_threadsafe(self._incoming.put_nowait, line)

    def _write_all(self) -> None:
        broken = False
        while (item := self._outgoing.get()) is not None:
            data, written = item
            try:
                while data and not broken:
                    data = data[os.write(self._out, data) :]
            except OSError:  # the client is gone, which ends the input too
                broken = True
            if written is not None:
                with suppress(RuntimeError):
                    self._loop.call_soon_threadsafe(_resolve, written)


def _resolve(written: asyncio.Future[None]) -> None:
    if not written.done():
        written.set_result(None)


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def _id_in(line: bytes) -> int | str | None:
    """The id of a request that is too long to be read, if it stands before the parameters: without
    it the client would wait for ever."""
    head = line[:_HEAD].partition(b'"params"')[0]
    found = re.search(rb'"id"\s*:\s*(-?\d{1,18}|"[ !#-\[\]-~]{0,200}")', head)
    value: int | str | None = json.loads(found[1]) if found is not None else None
    return value


def _is_message(message: Any) -> bool:
    """Whether a value can be a request, a notification or a response."""
    if not isinstance(message, dict):
        return False
    if not isinstance(message.get("id"), int | str | None):
        return False
    return isinstance(message.get("method", ""), str) and ("method" in message or "id" in message)
