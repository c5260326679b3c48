"""The real program in a pseudo-terminal: a whole task, its end, and what it leaves behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pexpect
import pyte
import pytest

from support.model_server import Exchange, ModelServer

PASTE_OFF, ALT_OFF, CURSOR_ON, MOUSE_OFF = "\x1b[?2004l", "\x1b[?1049l", "\x1b[?25h", "\x1b[?1000l"


class Terminal:
    """laguna in a terminal whose screen can be read."""

    def __init__(self, *arguments: str, size: tuple[int, int] = (90, 28), **variables: str) -> None:
        environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
        environment.pop("NO_COLOR", None)
        self.screen = pyte.Screen(*size)
        self._stream = pyte.ByteStream(self.screen)
        self.output = b""
        self.child = pexpect.spawn(
            sys.executable,
            ["-m", "laguna_agent.cli", *arguments],
            dimensions=(size[1], size[0]),
            env={**environment, **variables},
            timeout=5,
        )
        self.before = termios.tcgetattr(self.child.child_fd)

    def _pump(self) -> bool:
        try:
            data = self.child.read_nonblocking(65_536, timeout=0.05)
        except pexpect.TIMEOUT:
            return True
        except pexpect.EOF:
            return False
        self.output += data
        # pyte does not know kitty's keyboard protocol and would print parts of it.
        self._stream.feed(data.replace(b"\x1b[>1u", b"").replace(b"\x1b[<u", b""))
        return True

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self.screen.display)

    async def until(self, condition: Callable[[], Any], what: str) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline, f"{what} did not happen:\n{self.text}"
            alive = await asyncio.to_thread(self._pump)
            assert alive or condition(), f"ended before {what}:\n{self.text}"

    async def shows(self, text: str) -> None:
        await self.until(lambda: text in self.text, f"showing {text!r}")

    async def hides(self, text: str) -> None:
        await self.until(lambda: text not in self.text, f"hiding {text!r}")

    async def ended(self) -> int:
        deadline = time.monotonic() + 30
        while await asyncio.to_thread(self._pump):
            assert time.monotonic() < deadline, f"did not end:\n{self.text}"
        await asyncio.to_thread(self.child.wait)
        return int(self.child.exitstatus if self.child.exitstatus is not None else -1)

    def type(self, text: str) -> None:
        self.child.send(text)

    def was_restored(self) -> bool:
        """Whether the last word about each mode of the terminal is that it is off."""
        end = self.output.decode("utf-8", "replace")
        return all(
            off in end[end.rfind("\x1b[?1049h") :] for off in (PASTE_OFF, ALT_OFF, MOUSE_OFF)
        )


def says(text: str) -> Any:
    async def script(exchange: Exchange) -> None:
        await exchange.open()
        await exchange.delta(content=text)
        await exchange.delta(finish="stop")
        await exchange.done(prompt_tokens=100, completion_tokens=5)

    return script


def calls(name: str, arguments: str) -> Any:
    async def script(exchange: Exchange) -> None:
        await exchange.open()
        function = {"name": name, "arguments": arguments}
        await exchange.delta(tool_calls=[{"index": 0, "id": f"c{name}", "function": function}])
        await exchange.delta(finish="tool_calls")
        await exchange.done(prompt_tokens=100, completion_tokens=5)

    return script


def stalls(text: str) -> Any:
    """Says something and then nothing, until the client goes away."""

    async def script(exchange: Exchange) -> None:
        await exchange.open()
        await exchange.delta(content=text)
        await exchange.closed()

    return script


EDIT = calls("edit", '{"path": "calc.py", "old": "return a - b", "new": "return a + b"}')


@pytest.fixture
def configured(laguna_home: Path, repository: Path) -> Callable[[ModelServer], list[str]]:
    """Puts a server into the configuration; gives the arguments that choose it."""

    def configure(server: ModelServer) -> list[str]:
        path = laguna_home / "config" / "config.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'[providers.fake]\nurl = "{server.url}"\ncontext = 32768\n')
        return ["--model", "fake/tester"]

    return configure


@pytest.mark.slow
async def test_a_whole_task_from_the_prompt_to_the_exit(configured, repository):
    calc = repository / "calc.py"
    scripts = [EDIT, says("Mended it."), stalls("I will now think for ever")]
    async with ModelServer(*scripts, says("Understood.")) as server:
        arguments = configured(server)
        terminal = Terminal(*arguments)
        await terminal.shows("fake/tester")
        terminal.type("mend calc.py\r")
        await terminal.shows("Allow a change of calc.py")
        assert "return a - b" in calc.read_text()
        await terminal.shows("y once")
        await asyncio.sleep(0.6)  # keys that come sooner are taken for the composer's
        terminal.type("y")
        await terminal.shows("Mended it.")
        assert "return a + b" in calc.read_text()
        await terminal.shows("─ done")

        terminal.type("and now?\r")
        await terminal.shows("I will now think for ever")
        terminal.type("do it faster\r")
        await terminal.shows("before the next step: do it faster")
        terminal.type("\x1b")
        await terminal.shows("stopped; what was said and done so far is kept")
        await terminal.shows("❯ do it faster")  # back in the composer
        terminal.type("\x03")
        await terminal.hides("❯ do it faster")
        terminal.type("\x04")
        assert await terminal.ended() == 0
        assert terminal.was_restored()
        assert b"Go on with: laguna --resume" in terminal.output

        terminal = Terminal(*arguments, "--continue")
        await terminal.shows("Mended it.")
        await terminal.shows("fake/tester")
        terminal.type("/rewind\r")
        await terminal.shows("Go back to before")
        terminal.type("mend\r")
        await terminal.shows("Restore the files too?")
        terminal.type("b")
        await terminal.shows("went back to before this message")
        assert "return a - b" in calc.read_text()
        await terminal.shows("❯ mend calc.py")
        terminal.type("\x03")
        await terminal.hides("❯ mend calc.py")
        terminal.type("/exit\r")
        assert await terminal.ended() == 0
        assert terminal.was_restored()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
async def test_a_signal_ends_it_with_the_terminal_restored_and_the_draft_kept(
    configured, laguna_home, number
):
    async with ModelServer(says("hello")) as server:
        terminal = Terminal(*configured(server))
        await terminal.shows("fake/tester")
        terminal.type("half a thought")
        await terminal.shows("half a thought")
        os.kill(terminal.child.pid, number)
        await terminal.ended()
        assert terminal.was_restored()
        drafts = list((laguna_home / "state").glob("*/draft.txt"))
        assert [draft.read_text() for draft in drafts] == ["half a thought"]


async def test_a_tiny_terminal_is_no_error_and_grows(configured):
    async with ModelServer(says("a word or two")) as server:
        terminal = Terminal(*configured(server), size=(20, 5))
        await terminal.shows("❯")
        terminal.type("hello\r")
        await terminal.until(lambda: server.requests, "the request")
        terminal.child.setwinsize(30, 100)
        terminal.screen.resize(30, 100)
        await terminal.shows("a word or two")
        await terminal.shows("fake/tester")
        terminal.type("\x04")
        assert await terminal.ended() == 0
        assert terminal.was_restored()


async def test_without_colours_nothing_is_coloured(configured):
    async with ModelServer(says("plain words")) as server:
        terminal = Terminal(*configured(server), NO_COLOR="1")
        await terminal.shows("fake/tester")
        terminal.type("hello\r")
        await terminal.shows("plain words")
        terminal.type("\x04")
        await terminal.ended()
        colours = {c.fg for row in terminal.screen.buffer.values() for c in row.values()}
        greys = {c for c in colours if c == "default" or c[:2] == c[2:4] == c[4:]}
        assert colours == greys


@pytest.mark.parametrize(
    ("arguments", "variables", "said"),
    [
        ([], {"TERM": "dumb"}, "TERM=dumb"),
        (["--resume", "nothing-of-that-name"], {}, "there is no session"),
        (["--mode", "sometimes"], {}, "invalid choice"),
    ],
)
async def test_what_cannot_be_shown_is_said_in_a_line_or_two(
    configured, arguments, variables, said
):
    async with ModelServer(says("x")) as server:
        terminal = Terminal(*configured(server), *arguments, **variables)
        if "session" in said:
            await terminal.shows(said)
            terminal.type("\x04")
            await terminal.ended()
        else:
            assert await terminal.ended() == 2
            assert said in terminal.output.decode()
        assert b"Traceback" not in terminal.output


async def test_without_a_terminal_it_says_what_to_do(repository):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "laguna_agent.cli", stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    assert (process.returncode, out) == (2, b"")
    assert "--task" in err.decode()
