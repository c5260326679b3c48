"""Programs in a pseudo-terminal, whose screen tests can read."""

from __future__ import annotations

import asyncio
import os
import sys
import termios
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pexpect
import pyte

from support.model_server import Exchange

PASTE_OFF, ALT_OFF, CURSOR_ON, MOUSE_OFF = "\x1b[?2004l", "\x1b[?1049l", "\x1b[?25h", "\x1b[?1000l"
LAGUNA = (sys.executable, "-m", "laguna_agent.cli")


class Terminal:
    """A program in a terminal: laguna with `arguments`, or another `program`."""

    def __init__(
        self,
        *arguments: str,
        size: tuple[int, int] = (90, 28),
        program: Sequence[str] = LAGUNA,
        **variables: str,
    ) -> None:
        environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
        environment.pop("NO_COLOR", None)
        self.screen = pyte.Screen(*size)
        self._stream = pyte.ByteStream(self.screen)
        self.output = b""
        self.child = pexpect.spawn(
            program[0],
            [*program[1:], *arguments],
            dimensions=(size[1], size[0]),
            env={**environment, **variables},
            timeout=5,
        )
        self.before = self.modes

    def pump(self) -> bool:
        """Read the output so far; False once the program has exited."""
        try:
            data = self.child.read_nonblocking(65_536, timeout=0.05)
        except pexpect.TIMEOUT:
            return True
        except pexpect.EOF:
            return False
        self.output += data
        # pyte does not know kitty's keyboard protocol and would print parts of it.
        self._stream.feed(data.replace(b"\x1b[>25u", b"").replace(b"\x1b[<u", b""))
        return True

    @property
    def text(self) -> str:
        """The text on the screen."""
        return "\n".join(line.rstrip() for line in self.screen.display)

    @property
    def modes(self) -> list[Any]:
        """The modes of the terminal's input."""
        return termios.tcgetattr(self.child.child_fd)

    @property
    def state(self) -> str:
        """The process state as in /proc: R, S, T (stopped), Z."""
        stat = Path(f"/proc/{self.child.pid}/stat").read_text()
        return stat.rpartition(")")[2].split()[0]

    async def until(self, condition: Callable[[], Any], what: str) -> None:
        """Wait until a condition holds; fail if it never does."""
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline, f"{what} did not happen:\n{self.text}"
            alive = await asyncio.to_thread(self.pump)
            assert alive or condition(), f"ended before {what}:\n{self.text}"

    async def shows(self, text: str) -> None:
        """Wait until the screen shows a text."""
        await self.until(lambda: text in self.text, f"showing {text!r}")

    async def hides(self, text: str) -> None:
        """Wait until the screen does not show a text."""
        await self.until(lambda: text not in self.text, f"hiding {text!r}")

    async def ended(self) -> int:
        """Wait for the exit; returns the exit code, or minus the number of the signal."""
        deadline = time.monotonic() + 30
        while await asyncio.to_thread(self.pump):
            assert time.monotonic() < deadline, f"did not end:\n{self.text}"
        await asyncio.to_thread(self.child.wait)
        code = self.child.exitstatus
        return int(code if code is not None else -(self.child.signalstatus or 0))

    def type(self, text: str) -> None:
        """Type a text."""
        self.child.send(text)

    async def answer(self, key: str, what: str) -> None:
        """Press a key until the approval closes: an early key goes to the composer."""
        await self.shows(what)
        deadline, again = time.monotonic() + 60, 0.0
        while what in self.text:
            assert time.monotonic() < deadline, f"{key} did not answer:\n{self.text}"
            if time.monotonic() > again:
                self.type(key)
                again = time.monotonic() + 2
            await asyncio.to_thread(self.pump)

    def resize(self, width: int, height: int) -> None:
        """Resize the terminal."""
        self.child.setwinsize(height, width)
        self.screen.resize(height, width)

    @property
    def left(self) -> str:
        """The output since laguna last took the whole screen."""
        end = self.output.decode("utf-8", "replace")
        return end[end.rfind("\x1b[?1049h") :]

    def was_restored(self) -> bool:
        """Whether all modes were switched off and the input modes are as before."""
        written = all(off in self.left for off in (PASTE_OFF, ALT_OFF, MOUSE_OFF, CURSOR_ON))
        return written and (not self.child.isalive() or self.modes == self.before)


def says(text: str) -> Any:
    """A server that answers with a text."""

    async def script(exchange: Exchange) -> None:
        await exchange.open()
        await exchange.delta(content=text)
        await exchange.delta(finish="stop")
        await exchange.done(prompt_tokens=100, completion_tokens=5)

    return script


def calls(name: str, arguments: str) -> Any:
    """A server that answers with a tool call."""

    async def script(exchange: Exchange) -> None:
        await exchange.open()
        function = {"name": name, "arguments": arguments}
        await exchange.delta(tool_calls=[{"index": 0, "id": f"c{name}", "function": function}])
        await exchange.delta(finish="tool_calls")
        await exchange.done(prompt_tokens=100, completion_tokens=5)

    return script


def stalls(text: str) -> Any:
    """A server that writes a text and then hangs until the client disconnects."""

    async def script(exchange: Exchange) -> None:
        await exchange.open()
        await exchange.delta(content=text)
        await exchange.closed()

    return script


def waits(event: asyncio.Event, then: Any) -> Any:
    """A server that waits for an event and then answers by another script."""

    async def script(exchange: Exchange) -> None:
        await event.wait()
        await then(exchange)

    return script
