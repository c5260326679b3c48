"""Difficult terminals: resizes, encodings, signals, closed windows, and crashes of laguna."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys

import pytest

from support.model_server import ModelServer
from support.terminal import LAGUNA, Terminal, calls, says, stalls

EDIT = calls("edit", '{"path": "calc.py", "old": "return a - b", "new": "return a + b"}')
SLEEP = calls("shell", '{"command": "echo begun; sleep 1000"}')
PLAIN = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
STATES = {
    "stream": ([stalls("I will now think for ever")], "I will now think for ever", "ask"),
    "approval": ([EDIT], "Change calc.py?", "ask"),
    "tool": ([SLEEP], "begun", "allow-all"),
}


def drafts(laguna_home):
    """What is typed and what waits, of each repository."""
    saved = [json.loads(path.read_text()) for path in (laguna_home / "state").glob("*/draft.json")]
    return [[one["typed"], *one["waiting"]] for one in saved]


@pytest.mark.slow
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_in_any_state_restores_the_terminal_and_changes_nothing(
    configured, repository, state, number
):
    scripts, seen, mode = STATES[state]
    async with ModelServer(*scripts) as server:
        terminal = Terminal(*configured(server), "--mode", mode)
        await terminal.shows("fake/tester")
        terminal.type("go\r")
        await terminal.shows(seen)
        os.kill(terminal.child.pid, number)
        assert await terminal.ended() == 128 + number
        assert terminal.was_restored()
        assert b"Traceback" not in terminal.output
        assert "return a - b" in (repository / "calc.py").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("state", STATES)
async def test_control_c_stops_any_state_and_the_second_one_exits(configured, repository, state):
    scripts, seen, mode = STATES[state]
    async with ModelServer(*scripts, says("Then not.")) as server:
        terminal = Terminal(*configured(server), "--mode", mode)
        await terminal.shows("fake/tester")
        terminal.type("go\r")
        await terminal.shows(seen)
        if state == "approval":
            await terminal.answer("\x03", "enter confirms")
        else:
            terminal.type("\x03")
        await terminal.shows("Then not." if state == "approval" else "stopped; the work so far")
        await terminal.hides("esc stops")
        assert "return a - b" in (repository / "calc.py").read_text()
        terminal.type("\x03")
        await terminal.shows("press ctrl+c again to exit")
        terminal.type("\x03")
        assert await terminal.ended() == 0
        assert terminal.was_restored()


@pytest.mark.slow
@pytest.mark.parametrize("way", ["signal", "key"])
async def test_a_stop_releases_the_terminal_and_fg_takes_it_again(configured, way):
    async with ModelServer(says("still here")) as server:
        shell = Terminal(
            program=["bash", "--norc", "--noprofile", "-i"], PS1="shell> ", HISTFILE="/dev/null"
        )
        await shell.shows("shell>")
        shell.type(" ".join([*LAGUNA, *configured(server)]) + "\r")
        await shell.shows("Ask laguna")
        await shell.shows("fake/tester")
        shell.type("half a thought")
        await shell.shows("half a thought")
        (pid,) = children(shell.child.pid)
        shell.type("\x1a") if way == "key" else os.kill(pid, signal.SIGTSTP)
        await shell.until(lambda: "Stopped" in shell.left, "the shell's word")
        shell.type("echo back in the $((40 + 2))nd shell\r")
        await shell.until(lambda: "back in the 42nd shell" in shell.left, "the shell to work")
        shell.type("fg\r")
        await shell.until(lambda: shell.left.startswith("\x1b[?1049h"), "the screen taken again")
        await shell.shows("❯ half a thought")
        shell.type(" and a half\r")
        await shell.shows("still here")
        shell.type("\x04")
        await shell.until(lambda: "Resume with: laguna" in shell.left, "the end")
        await shell.until(shell.was_restored, "the terminal to be as it was")
        shell.type("exit\r")
        await shell.ended()


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(word) for word in file.read().split()]


async def test_sigkill_loses_no_typed_text(configured, laguna_home):
    async with ModelServer(stalls("I will now think")) as server:
        terminal = Terminal(*configured(server))
        await terminal.shows("fake/tester")
        terminal.type("go\r")
        await terminal.shows("I will now think")
        terminal.type("a first thing\x1b\r")
        await terminal.shows("after this: a first thing")
        terminal.type("half a thought")
        kept = ["half a thought", "a first thing"]
        await terminal.until(lambda: drafts(laguna_home) == [kept], "the draft")
        os.kill(terminal.child.pid, signal.SIGKILL)
        assert await terminal.ended() == -signal.SIGKILL
        again = Terminal(*configured(server))
        await again.shows("❯ half a thought")
        await again.shows("held: a first thing")
        again.type("\x03")
        await again.hides("half a thought")
        again.type("\x04")
        assert await again.ended() == 0


@pytest.mark.slow
async def test_a_crash_is_reported_in_two_lines_and_loses_no_text(configured, laguna_home):
    fault = (
        "import sys\n"
        "from laguna_agent import cli\n"
        "from laguna_agent.interfaces.tui.app import LagunaApp\n"
        "LagunaApp.action_help = lambda self: 1 / 0\n"
        "sys.exit(cli.main())\n"
    )
    async with ModelServer(says("x")) as server:
        program = [sys.executable, "-c", fault]
        terminal = Terminal(*configured(server), program=program)
        await terminal.shows("fake/tester")
        terminal.type("half a thought")
        await terminal.shows("half a thought")
        terminal.type("\x1bOP")  # F1
        assert await terminal.ended() == 1
        assert terminal.was_restored()
        written = terminal.left.rpartition("\x1b[?1004l")[2]
        assert "the interface failed: ZeroDivisionError" in written
        assert "What you typed is saved." in written
        assert "Traceback" not in written
        assert drafts(laguna_home) == [["half a thought"]]
        log = (laguna_home / "state" / "laguna.log").read_text()
        assert "the interface failed: ZeroDivisionError\n" in log
        assert "<string>:4 <lambda>\n" in log


@pytest.mark.slow
async def test_a_closed_window_ends_laguna_and_keeps_the_draft(configured, laguna_home):
    async with ModelServer(stalls("I will now think")) as server:
        terminal = Terminal(*configured(server))
        await terminal.shows("fake/tester")
        terminal.type("go\r")
        await terminal.shows("I will now think")
        terminal.type("half a thought")
        await terminal.until(lambda: drafts(laguna_home) == [["half a thought"]], "the draft")
        pid = terminal.child.pid
        os.close(terminal.child.child_fd)  # as when a terminal's window closes
        await asyncio.wait_for(asyncio.to_thread(os.waitpid, pid, 0), 30)
        assert drafts(laguna_home) == [["half a thought"]]


@pytest.mark.slow
async def test_many_resizes_during_streaming_lose_nothing(configured):
    flowing = asyncio.Event()

    async def streams(exchange):
        await exchange.open()
        for number in range(200):
            await exchange.delta(content=f"word {number}\n\n")
            if number == 20:
                await flowing.wait()
        await exchange.delta(finish="stop")
        await exchange.done(prompt_tokens=100, completion_tokens=400)

    async with ModelServer(streams) as server:
        terminal = Terminal(*configured(server))
        await terminal.shows("fake/tester")
        terminal.type("go\r")
        await terminal.shows("word 20")
        terminal.type("half a thought 日本語")
        await terminal.shows("half a thought")
        flowing.set()
        for step in range(60):
            terminal.resize(8 + step * 37 % 150, 3 + step * 13 % 50)
            await asyncio.to_thread(terminal.pump)
        terminal.resize(100, 30)
        await terminal.shows("word 199")
        await terminal.shows("─ done")
        await terminal.shows("fake/tester")
        await terminal.shows("half a thought")
        terminal.type("\x03")
        await terminal.hides("half a thought")
        terminal.type("\x04")
        assert await terminal.ended() == 0
        assert terminal.was_restored()


@pytest.mark.slow
@pytest.mark.parametrize(
    "variables",
    [
        PLAIN,
        {**PLAIN, "PYTHONIOENCODING": "latin-1"},
    ],
    ids=["ascii", "latin-1"],
)  # fmt: skip
async def test_without_utf8_symbols_are_substituted(configured, variables):
    async with ModelServer(EDIT, says("Größe 日本 ✓ fertig")) as server:
        terminal = Terminal(*configured(server), **variables)
        await terminal.shows("fake/tester")
        terminal.type("go\r")
        await terminal.shows("Change calc.py?  +1 -1")
        await terminal.answer("\x1b", "<> choose")
        await terminal.shows("???? + fertig")
        await terminal.shows("- done")
        assert "> go" in terminal.text
        assert "\\u" not in terminal.text
        terminal.type("\x04")
        assert await terminal.ended() == 0
        assert b"\xe2\x94" not in terminal.output
        assert (b"Gr\xf6\xdfe" in terminal.output) == ("PYTHONIOENCODING" in variables)


@pytest.mark.slow
async def test_an_invalid_byte_is_shown_as_one_and_does_no_harm(configured):
    async with ModelServer(says("well")) as server:
        terminal = Terminal(*configured(server))
        await terminal.shows("fake/tester")
        terminal.child.send(b"a\xe9\xffb")
        await terminal.shows("b")
        terminal.type("\r")
        await terminal.shows("well")
        terminal.type("\x04")
        assert await terminal.ended() == 0


@pytest.mark.parametrize(
    ("redirection", "shown"),
    [
        ("| head -1", "this is not a terminal"),
        (">&-", "this is not a terminal"),
        ("> out.txt", "this is not a terminal"),
        ("<&-", "this is not a terminal"),
        ("< /dev/null", "this is not a terminal"),
    ],
)
async def test_a_closed_or_redirected_stream_is_reported_in_two_lines(
    configured, repository, redirection, shown
):
    async with ModelServer(says("x")) as server:
        command = " ".join([*LAGUNA, *configured(server), redirection, "; echo ended"])
        terminal = Terminal(program=["bash", "-c", command])
        await terminal.ended()
        written = terminal.output.decode()
        assert shown in written
        assert "ended" in written
        assert "Traceback" not in written
        assert "Exception" not in written


@pytest.mark.slow
async def test_the_interface_is_drawn_with_standard_error_redirected(configured, repository):
    async with ModelServer(says("well then")) as server:
        command = " ".join(["exec", *LAGUNA, *configured(server), "2> errors.txt"])
        terminal = Terminal(program=["bash", "-c", command])
        await terminal.shows("fake/tester")
        terminal.type("hello\r")
        await terminal.shows("well then")
        terminal.type("\x04")
        assert await terminal.ended() == 0
        assert terminal.was_restored()
        assert (repository / "errors.txt").read_text() == ""


@pytest.mark.slow
async def test_the_external_editor_edits_the_typed_text(configured, tmp_path):
    editor = tmp_path / "my editor"
    editor.write_text('#!/bin/sh\ncat "$1" > "$(dirname "$0")/seen"\necho edited >> "$1"\n')
    editor.chmod(0o755)
    async with ModelServer(says("read it")) as server:
        terminal = Terminal(*configured(server), VISUAL=f"'{editor}'")
        await terminal.shows("fake/tester")
        terminal.type("a draft ")
        await terminal.shows("a draft")
        terminal.type("\x07")
        await terminal.shows("a draft edited")
        assert (tmp_path / "seen").read_text() == "a draft "
        terminal.type("\r")
        await terminal.shows("read it")
        terminal.type("\x04")
        assert await terminal.ended() == 0
        assert terminal.was_restored()


@pytest.mark.slow
async def test_an_editor_that_fails_leaves_the_typed_text(configured):
    async with ModelServer(says("x")) as server:
        terminal = Terminal(*configured(server), VISUAL="no-such-editor -w")
        await terminal.shows("fake/tester")
        terminal.type("a draft")
        await terminal.shows("a draft")
        terminal.type("\x07")
        await terminal.shows("the editor `no-such-editor -w` failed")
        await terminal.shows("❯ a draft")
        terminal.type("\x03")
        await terminal.hides("❯ a draft")
        terminal.type("\x04")
        assert await terminal.ended() == 0


@pytest.mark.slow
async def test_a_key_gives_the_mouse_to_the_terminal_and_takes_it_back(configured):
    on, off = b"\x1b[?1000h", b"\x1b[?1000l"
    async with ModelServer(says("x")) as server:
        terminal = Terminal(*configured(server))
        await terminal.shows("fake/tester")
        await terminal.until(lambda: on in terminal.output, "the mouse taken")
        terminal.type("\x0e")
        await terminal.shows("mouse: your terminal selects")
        assert terminal.output.rfind(off) > terminal.output.rfind(on)
        terminal.type("\x04")
        await terminal.ended()
        again = Terminal(*configured(server))
        await again.shows("mouse: terminal")  # saved
        assert on not in again.output
        again.type("\x0e")
        await again.shows("mouse: laguna")
        assert on in again.output
        again.type("\x04")
        await again.ended()


@pytest.mark.slow
async def test_copying_writes_the_clipboard_escape_sequence(configured):
    async with ModelServer(says("the last answer")) as server:
        terminal = Terminal(*configured(server))
        await terminal.shows("fake/tester")
        terminal.type("go\r")
        await terminal.shows("─ done")
        terminal.type("/copy\r")
        # base64 of "the last answer"
        await terminal.until(
            lambda: b"\x1b]52;c;dGhlIGxhc3QgYW5zd2Vy\x07" in terminal.output, "OSC 52"
        )
        await terminal.shows("copied")
        terminal.type("\x04")
        await terminal.ended()
