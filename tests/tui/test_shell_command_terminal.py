"""A `!` command has a terminal of its own: what it does there, what it leaves, how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

import pytest

from laguna_agent.interfaces.tui.shell_command import ShellCommand
from support.shells import processes_with, unique, until


class Watched:
    """A command, what it showed, and how often it wanted the terminal."""

    def __init__(self, text: str, cwd: Path, columns: int = 80) -> None:
        self.shell = ShellCommand(text, cwd, columns=columns, rows=24)
        self.text = self.unfinished = ""
        self.requests = 0
        self.task = asyncio.create_task(self.shell.run(self._show, self._request))

    async def _show(self, text: str, unfinished: str) -> None:
        self.text += text
        self.unfinished = unfinished

    def _request(self) -> None:
        self.requests += 1

    async def code(self) -> int:
        async with asyncio.timeout(30):
            return await self.task

    async def end(self) -> None:
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task


@pytest.mark.parametrize(
    ("command", "text", "code"),
    [
        ("echo one; echo two >&2; exit 3", "one\ntwo\n", 3),
        ("printf 'no end'", "no end", 0),
        ("printf '\\e[1;31mred\\e[0m \\e]0;title\\a\\n'", "red \n", 0),
        ("printf '10%%\\r50%%\\r100%%\\n'", "100%\n", 0),
        ("printf 'a\\e[?1049hdrawn\\e[?1049lb\\n'", "ab\n", 0),
        ("exec false", "", 1),
        ("kill -9 $$", "", 137),
        ("tty -s && echo a terminal", "a terminal\n", 0),
        ("git --version | cat; echo $PAGER", None, 0),
        ("if", None, 2),
    ],
)
async def test_output_is_plain_text_and_the_exit_code_is_the_commands(
    tmp_path, command, text, code
):
    ran = Watched(command, tmp_path)
    assert await ran.code() == code
    if text is not None:
        assert ran.text == text
    assert "\x1b" not in ran.text
    assert not ran.requests


async def test_a_command_in_the_background_returns_at_once_and_stays_alive(tmp_path):
    seconds = unique()
    ran = Watched(f"sleep {seconds} & echo begun", tmp_path)
    assert await ran.code() == 0
    assert ran.text == "begun\n"
    (pid,) = processes_with(seconds)
    os.kill(pid, 9)
    assert ran.shell._leader is not None
    assert await until(lambda: ran.shell._leader.poll() is not None)


async def test_a_server_in_the_background_can_write_on(tmp_path):
    line = "(for n in $(seq 300); do echo $n of many; sleep 0.001; done; touch wrote-all) &"
    ran = Watched(line, tmp_path)
    assert await ran.code() == 0
    assert await until((tmp_path / "wrote-all").exists)


async def test_a_line_that_is_not_finished_is_shown(tmp_path):
    ran = Watched("printf 'Name? '; read -r name; echo hello $name", tmp_path)
    assert await until(lambda: ran.unfinished.strip() == "Name?")
    assert not ran.requests  # a line can be typed blindly: the user gives the terminal
    ran.shell.want_terminal()
    assert await until(lambda: ran.requests == 1)
    os.write(ran.shell._master, b"ada\n")
    ran.shell.detach()
    assert await ran.code() == 0
    assert ran.text.endswith("hello ada\n")


@pytest.mark.parametrize("command", [
    "stty -icanon; sleep {s}", "stty -echo; sleep {s}", "printf '\\e[?1049h'; sleep {s}",
])  # fmt: skip
async def test_a_program_that_reads_keys_gets_the_terminal(tmp_path, command):
    ran = Watched(command.format(s=unique()), tmp_path)
    assert await until(lambda: ran.requests == 1)
    ran.shell.detach()
    await ran.end()


async def test_a_glance_at_the_keyboard_does_not_count(tmp_path):
    ran = Watched("stty -icanon; stty icanon; echo over", tmp_path)
    assert await ran.code() == 0
    assert not ran.requests


@pytest.mark.parametrize(
    "command", ["sleep {s}", "trap : INT; while :; do sleep {s}; done", "(sleep {s} & wait) & wait",
                "setsid -w sleep {s}"]
)  # fmt: skip
async def test_ending_a_command_ends_what_it_started(tmp_path, command):
    seconds = unique()
    ran = Watched(command.format(s=seconds), tmp_path)
    assert await until(lambda: processes_with(seconds))
    await ran.end()
    assert await until(lambda: not processes_with(seconds))


async def test_an_interrupted_program_may_clean_up(tmp_path):
    ran = Watched("trap 'touch cleaned; exit' INT; echo ready; sleep 1000 & wait", tmp_path)
    assert await until(lambda: "ready" in ran.text)
    await ran.end()
    assert (tmp_path / "cleaned").exists()


async def test_a_resize_reaches_the_command(tmp_path):
    ran = Watched("trap 'stty size; exit' WINCH; echo ready; while :; do sleep 0.01; done",
                  tmp_path, columns=60)  # fmt: skip
    assert await until(lambda: "ready" in ran.text)
    ran.shell.resize(44, 11)
    assert await ran.code() == 0
    assert ran.text.endswith("11 44\n")
