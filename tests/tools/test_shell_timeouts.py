"""Timeouts and cancelling on real bash, bare and in real bubblewrap."""

from __future__ import annotations

import asyncio

import pytest

from support.shells import Shell, processes_with, unique, until


@pytest.mark.parametrize(
    "command",
    [
        "sleep {n}",
        "sh -c 'trap \"\" TERM INT HUP; while :; do sleep {n}; done'",
        "bash -c 'sleep {n} & sleep {n}; :'",
        "setsid sleep {n} & disown; sleep {n}",
        "(trap '' TERM; (sleep {n}; :) ; :)",
        "nohup sleep {n} > /dev/null & wait",
        "for i in 1 2 3; do sleep {n}; done",
        "true | sleep {n} | cat",
        "echo $(sleep {n})",
    ],
    ids=["plain", "ignores-term", "children", "own-session", "subshells", "nohup", "loop", "pipe",
         "substitution"],
)  # fmt: skip
async def test_a_timeout_kills_the_process_tree(shell: Shell, command: str) -> None:
    number = unique()
    await shell("export KEPT=yes; cd /usr")
    result = await shell(command.format(n=number) + "; echo WRONGLY CONTINUED", timeout=0.3)
    assert "stopped after 0.3 s" in result.content
    assert "WRONGLY CONTINUED" not in result.content
    assert await until(lambda: not processes_with(number))
    after = await shell('echo "$KEPT $PWD"')
    assert after.content == "yes /usr"


async def test_a_timeout_keeps_variables_and_jobs(shell: Shell) -> None:
    number = unique()
    await shell(f"plain=kept; f() {{ echo function; }}; sleep {number} &")
    stopped = await shell("mkdir -p deep; cd deep; sleep 1000", timeout=0.3)
    assert f"still in the background: plain=kept; f() {{ echo function; }}; sleep {number} &" in (
        stopped.content
    )
    after = await shell('echo "$plain $(f)"; basename "$PWD"')
    assert after.content == "kept function\ndeep"
    assert processes_with(number)
    await shell.close()
    assert await until(lambda: not processes_with(number))


@pytest.mark.parametrize(
    "command", ["while :; do :; done", "trap '' TERM; while :; do :; done", "kill -STOP $$"]
)
async def test_a_loop_of_bash_itself_is_stopped(shell: Shell, command: str) -> None:
    result = await shell(command, timeout=0.3)
    assert "stopped after 0.3 s" in result.content
    assert (await shell("echo alive")).content == "alive"


async def test_what_was_printed_before_a_timeout_is_kept(shell: Shell) -> None:
    result = await shell("echo before; printf 'half a line'; sleep 1000", timeout=0.3)
    assert result.content.startswith("before\nhalf a line")


async def test_cancelling_ends_the_command_and_keeps_the_shell(shell: Shell) -> None:
    number = unique()
    await shell("export KEPT=yes")
    task = asyncio.ensure_future(shell(f"echo begun; sleep {number}; touch wrong"))
    assert await until(lambda: processes_with(number))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await shell('echo "$KEPT"')).content == "yes"
    assert not processes_with(number)
    assert not (shell.context.workspace / "wrong").exists()
