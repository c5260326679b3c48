"""laguna in a pseudo-terminal: a whole task, its exit, and the restored terminal."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys

import pytest

from support.model_server import ModelServer
from support.terminal import Terminal, calls, says, stalls, waits

EDIT = calls("edit", '{"path": "calc.py", "old": "return a - b", "new": "return a + b"}')
READ = calls("read", '{"path": "calc.py"}')


async def test_a_whole_task_from_the_prompt_to_the_exit(configured, repository):
    calc, thinking = repository / "calc.py", asyncio.Event()
    scripts = [EDIT, waits(thinking, READ), says("Fixed it."), stalls("I will now think for ever")]
    async with ModelServer(*scripts, says("Understood.")) as server:
        arguments = configured(server)
        terminal = Terminal(*arguments)
        await terminal.shows("fake/tester")
        terminal.type("fix calc.py\r")
        await terminal.shows("enter confirms")
        assert "return a - b" in calc.read_text()
        await terminal.answer("\x1b[C\r", "enter confirms")
        await terminal.until(lambda: len(server.requests) == 2, "the second request")
        assert "return a + b" in calc.read_text()
        await terminal.shows("❯")

        terminal.type("\x15")  # clears keys that came before the request
        await terminal.shows("Ask laguna")
        terminal.type("leave the tests alone\r")
        await terminal.shows("before the next step: leave the tests alone")
        assert "leave the tests alone" not in str(server.requests)
        thinking.set()
        await terminal.shows("Fixed it.")
        await terminal.shows("─ done")
        prompt = [message["content"] for message in server.requests[2]["messages"]]
        assert any("leave the tests alone" in text for text in prompt[-2:])
        await terminal.shows("↳ leave the tests alone")
        await terminal.hides("before the next step")

        terminal.type("and now?\r")
        await terminal.shows("I will now think for ever")
        terminal.type("do it faster\r")
        await terminal.shows("before the next step: do it faster")
        terminal.type("\x1b")
        await terminal.shows("stopped; the work so far is kept")
        await terminal.shows("held: do it faster")
        terminal.type("\x1b[1;3A")  # alt+up
        await terminal.shows("del removes")
        terminal.type("\x7f")
        await terminal.hides("held: do it faster")
        terminal.type("\x04")
        assert await terminal.ended() == 0
        assert terminal.was_restored()
        assert b"Resume with: laguna --resume" in terminal.output

        terminal = Terminal(*arguments, "--continue")
        await terminal.shows("Fixed it.")
        await terminal.shows("fake/tester")
        terminal.type("/rewind\r")
        await terminal.shows("Rewind to before")
        terminal.type("fix")
        await terminal.answer("\r", "Rewind to before")
        await terminal.answer("\x1b[C\x1b[C\r", "Take the files back too?")
        await terminal.shows("rewound to before this message")
        assert "return a - b" in calc.read_text()
        await terminal.shows("❯ fix calc.py")
        terminal.type("\x03")
        await terminal.hides("❯ fix calc.py")
        terminal.type("/exit\r")
        assert await terminal.ended() == 0
        assert terminal.was_restored()


async def test_commands_run_and_their_results_reach_the_model(configured, repository):
    command = calls("shell", '{"command": "echo sum $((40 + 2))"}')
    async with ModelServer(command, says("It is 42."), says("I see.")) as server:
        terminal = Terminal(*configured(server))
        await terminal.shows("fake/tester")
        terminal.type("add them\r")
        await terminal.shows("Run this command?")
        await terminal.answer("\x1b[C\r", "enter confirms")
        await terminal.shows("It is 42.")
        assert server.requests[1]["messages"][-1]["content"] == "sum 42"
        terminal.type("\x15")  # clears an answer that was typed twice
        await terminal.shows("Ask laguna")
        terminal.type("!echo mine $((1 + 1)); pwd\r")
        await terminal.shows("mine 2")
        terminal.type("and?\r")
        await terminal.shows("I see.")
        assert "mine 2" in str(server.requests[2]["messages"][-1])
        terminal.type("\x04")
        assert await terminal.ended() == 0
        assert terminal.was_restored()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
async def test_a_signal_restores_the_terminal_and_keeps_the_draft(configured, laguna_home, number):
    async with ModelServer(says("hello")) as server:
        terminal = Terminal(*configured(server))
        terminal.type("half a thought")  # before laguna has the terminal
        await terminal.shows("fake/tester")
        await terminal.shows("❯ half a thought")
        os.kill(terminal.child.pid, number)
        await terminal.ended()
        assert terminal.was_restored()
        (draft,) = (laguna_home / "state").glob("*/draft.json")
        assert json.loads(draft.read_text())["typed"] == "half a thought"


@pytest.mark.slow
async def test_a_tiny_terminal_works_and_can_grow(configured):
    async with ModelServer(says("a word or two")) as server:
        terminal = Terminal(*configured(server), size=(20, 5))
        await terminal.shows("❯")
        terminal.type("hello\r")
        await terminal.until(lambda: server.requests, "the request")
        terminal.resize(100, 30)
        await terminal.shows("a word or two")
        await terminal.shows("fake/tester")
        terminal.type("\x04")
        assert await terminal.ended() == 0
        assert terminal.was_restored()


@pytest.mark.slow
@pytest.mark.parametrize("theme", ["laguna-light", "terminal"])
async def test_no_color_leaves_the_terminals_own_colours(configured, laguna_home, theme):
    preferences = laguna_home / "state" / "interface.json"
    preferences.parent.mkdir(parents=True, exist_ok=True)
    preferences.write_text(f'{{"theme": "{theme}"}}')
    async with ModelServer(says("plain words")) as server:
        terminal = Terminal(*configured(server), NO_COLOR="1")
        await terminal.shows("fake/tester")
        terminal.type("hello\r")
        await terminal.shows("plain words")
        cells = [cell for row in terminal.screen.buffer.values() for cell in row.values()]
        assert {(cell.fg, cell.bg) for cell in cells} == {("default", "default")}
        terminal.type("/mode\r")
        await terminal.shows("asks before every side effect")
        marked = [
            "".join(cell.data for _, cell in sorted(row.items()) if cell.underscore)
            for row in terminal.screen.buffer.values()
        ]
        assert [text.split()[0] for text in marked if text] == ["ask"]
        terminal.type("\x1b")
        await terminal.hides("every side effect")
        terminal.type("\x04")
        assert await terminal.ended() == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "variables", "shown"),
    [
        ([], {"TERM": "dumb"}, "TERM=dumb"),
        (["--resume", "nothing-of-that-name"], {}, "there is no session"),
        (["--fork", "nothing-of-that-name"], {}, "there is no session"),
        (["--continue"], {}, "there is no session"),
        (["-C", "nowhere"], {}, "there is no directory nowhere"),
        (["--mode", "sometimes"], {}, "invalid choice"),
    ],
)
async def test_a_start_that_fails_is_reported_in_a_line_or_two(
    configured, arguments, variables, shown
):
    async with ModelServer(says("x")) as server:
        terminal = Terminal(*configured(server), *arguments, **variables)
        assert await terminal.ended() == 2
        assert shown in terminal.text
        assert b"Traceback" not in terminal.output


async def test_without_a_terminal_the_error_says_what_to_do(repository):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "laguna_agent.cli", stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    assert (process.returncode, out) == (2, b"")
    assert "--task" in err.decode()


@pytest.mark.slow
async def test_a_command_that_reads_keys_gets_the_terminal_and_gives_it_back(configured):
    async with ModelServer(says("I see.")) as server:
        terminal = Terminal(*configured(server))
        await terminal.shows("fake/tester")
        terminal.type("!read -rsn1 key; printf '\\e[31mgot:%s\\e[0m' $key; tput cup 3 3\r")
        await terminal.until(lambda: b"\x1b[?1049l\x1b[?25h" in terminal.output, "the release")
        await terminal.until(lambda: "$ read -rsn1 key" in terminal.left or
                             b"$ read -rsn1 key" in terminal.output, "its heading")  # fmt: skip
        heading = terminal.output.rindex(b"$ read -rsn1 key")
        terminal.type("z")
        await terminal.shows("✓ ! read -rsn1 key")
        begun = terminal.output.index(b"\x1b[?1049h", heading)
        assert b"\x1b[?1049l" not in terminal.output[heading:begun], "moves the shell's cursor"
        terminal.type("half a thought")
        await terminal.shows("❯ half a thought")
        terminal.type("\x15and?\r")
        await terminal.shows("I see.")
        sent = server.requests[0]["messages"][-1]["content"]
        assert "I ran `read -rsn1 key" in sent
        assert "\x1b" not in sent
        terminal.type("\x04")
        assert await terminal.ended() == 0
        assert terminal.was_restored()


@pytest.mark.slow
async def test_the_title_shows_the_state_and_an_approval_rings_where_nobody_looks(configured):
    async with ModelServer(EDIT, says("Fixed it.")) as server:
        terminal = Terminal(*configured(server), TERM_PROGRAM="")
        await terminal.shows("fake/tester")
        keep, give = b"\x1b[22;2t", b"\x1b]2;\x07\x1b[23;2t"
        assert keep in terminal.output
        await terminal.until(lambda: b"\x1b]2;shop \xc2\xb7 laguna\x07" in terminal.output, "idle")
        terminal.type("fix calc.py\r\x1b[O")  # the window loses the focus
        await terminal.until(
            lambda: b"shop \xc2\xb7 needs you\x07\x07" in terminal.output, "a bell"
        )
        assert b"shop \xc2\xb7 working" in terminal.output
        terminal.type("\x1b[I")
        await terminal.shows("enter confirms")
        await terminal.answer("\x1b", "enter confirms")
        terminal.type("\x15")
        await terminal.shows("Fixed it.")
        rung = terminal.output.count(b"\x07\x07")
        assert rung == 1  # the user looks
        terminal.type("\x04")
        assert await terminal.ended() == 0
        assert terminal.output.rfind(give) > terminal.output.rfind(keep)
