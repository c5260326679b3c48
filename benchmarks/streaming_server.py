"""A model server for benchmarks that streams the text and at the speed the last message asks for.

    python benchmarks/streaming_server.py    prints its port, serves until its input is closed

`stream KIND RATE SECONDS` is answered with Markdown of that kind (`prose` or `code`), RATE tokens a
second; `stored ...` and everything else with a short answer at once.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from collections.abc import Iterator

WORDS = ("the", "cart", "adds", "each", "price", "times", "its", "count", "less", "the", "voucher")


def prose() -> Iterator[str]:
    """Tokens of paragraphs, lists, tables and short code, without end."""
    words = itertools.cycle(WORDS)
    for section in itertools.count(1):
        yield from (f"## Part {section}", "\n\n")
        for _ in range(3):
            yield from (f" {next(words)}" for _ in range(60))
            yield ".\n\n"
        for item in range(1, 5):
            yield f"{item}."
            yield from (f" {next(words)}" for _ in range(12))
            yield "\n"
        yield "\n```python\n"
        for line in range(12):
            yield from ("    total", " +=", " item", ".price", " *", f" {line}\n")
        yield "```\n\n| case | before | now |\n|---|---|---|\n"
        for row in range(4):
            yield from (f"| {row} ", "| 3.00 ", "| 6.00 ", "|\n")
        yield "\n"


def code() -> Iterator[str]:
    """Tokens of one block of code that does not end."""
    yield "```python\n"
    for number in itertools.count(1):
        yield from ("def", f" total_{number}", "(items", ": list", "[Item]", ") ->", " Decimal:\n")
        yield from ('    """', "Sum", " of", " all", ' prices."""\n', "    return", " sum(")
        yield from ("item.price", " *", " item.count", " for", " item", " in", " items)\n\n\n")


KINDS = {"prose": prose, "code": code}


class Server:
    """Chat completions as OpenAI's API streams them."""

    def __init__(self) -> None:
        self.answers = itertools.count(1)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            size = int(head.partition("content-length:")[2].partition("\r")[0] or 0)
            body = json.loads(await reader.readexactly(size) or b"{}")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                         b"Connection: close\r\n\r\n")  # fmt: skip
            await self._answer(body, writer)
            self._send(writer, {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
            used = size // 4
            usage = {"prompt_tokens": used, "completion_tokens": 9}
            self._send(writer, {"choices": [], "usage": usage})
            writer.write(b"data: [DONE]\n\n")
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(self, body: dict[str, object], writer: asyncio.StreamWriter) -> None:
        users = [m for m in body.get("messages", []) if m.get("role") == "user"]  # type: ignore[attr-defined]  # JSON
        text = str(users[-1]["content"]) if users else ""
        order = text[text.rfind("stream ") :].split() if "stream " in text else []
        if not order:
            number = next(self.answers)
            await self._token(writer, f"answer **{number}** ")
            for word in WORDS:
                await self._token(writer, f"{word} ")
            return
        rate, seconds = float(order[2]), float(order[3])
        begin = time.monotonic()
        for number, token in enumerate(KINDS[order[1]]()):
            due = begin + number / rate
            if due > begin + seconds:
                break
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            await self._token(writer, token)

    async def _token(self, writer: asyncio.StreamWriter, text: str) -> None:
        delta = {"content": text}
        self._send(writer, {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
        await writer.drain()

    def _send(self, writer: asyncio.StreamWriter, value: object) -> None:
        writer.write(b"data: " + json.dumps(value).encode() + b"\n\n")


async def main() -> None:
    """Serve until standard input closes."""
    server = await asyncio.start_server(Server().serve, "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
