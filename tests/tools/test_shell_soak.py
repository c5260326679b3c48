"""Long sessions of nasty commands: no hang, no zombie, flat memory."""

from __future__ import annotations

import asyncio
import gc
import os
import random
from pathlib import Path

import pytest

from support.shells import Shell, make_context, until

COMMON = [
    "echo hello",
    "cd /; cd - >/dev/null",
    "export A=$RANDOM; echo $A",
    "seq 1 3000",
    "false",
    "no_such_command",
    "cat",
    "read x",
    "ls /etc | head -3",
    "f() { echo f; }; f",
    "echo 'open",
    "echo $(ls",
    "cat <<END\nopen here-document",
    "printf '\\r1%%\\r2%%\\r100%%\\n'",
    "head -c 20000 /dev/urandom",
    "sleep 0.01 & echo begun",
    "sleep 0.05 & disown",
    "(sleep 0.02 &)",
    "for i in 1 2 3; do (echo $i &); done",
    "jobs; wait",
    "echo x > >(cat)",
    "yes | head -5000",
    "bash -c 'kill -SEGV $$' 2>/dev/null",
    "PS1='$(echo x)'; PROMPT_COMMAND='echo y'",
    "exec 5>&1",
    "set -x; set +x",
    "break; continue; return",
    "printf() { :; }; unset -f printf",
    "test -t 0 || test -e /dev/tty",
    "python3 -c 'input()' 2>&1 | tail -1",
]
ENDING = [
    "exit 3",
    "set -e; false",
    "exec true",
    "exec sh -c 'exit 4'",
    "kill -9 $$",
    "kill $$",
    "break 9",
    "f() { exit 2; }; f",
    "trap 'echo bye' EXIT; exit",
    "set -u; echo $never_set_at_all",
    "kill -9 $PPID",
]
SLOW = [
    "sleep 1000",
    "sleep 1000 & wait",
    "setsid sleep 1000 & disown; sleep 1000",
    "while :; do :; done",
    "for i in 1 2 3; do sleep 1000; done",
    "echo $(sleep 1000)",
    "tail -f /dev/null",
    "cat <(sleep 1000)",
]
STUBBORN = ["sh -c 'trap \"\" TERM INT HUP; while :; do sleep 100; done'"]


def resident() -> int:
    """Resident memory of this process, in bytes."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def children(state: str | None = None) -> list[str]:
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            try:
                fields = Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[1] == str(os.getpid()) and state in (None, fields[0]):
                found.append(entry)
    return found


async def soak(tmp_path: Path, *, confined: bool, commands: int, seed: int) -> None:
    chance = random.Random(seed)
    descriptors, others = len(os.listdir("/proc/self/fd")), set(children())
    shell = Shell(make_context(tmp_path, confined))
    halfway = 0
    for number in range(commands):
        kind = chance.random()
        group = (
            COMMON
            if kind < 0.90
            else ENDING
            if kind < 0.965
            else SLOW
            if kind < 0.995
            else STUBBORN
        )
        command = chance.choice(group)
        timeout = 0.15 if group in (SLOW, STUBBORN) else 20
        result = await asyncio.wait_for(shell(command, timeout=timeout), 60)
        assert group is SLOW or group is STUBBORN or "stopped after" not in result.content, command
        assert len(result.content) < shell.context.max_output_chars + 2000
        if number == commands // 2:
            halfway = resident()
    assert (await shell("echo alive")).content.split("\n")[0] == "alive"
    assert resident() - halfway < 8_000_000
    assert len(children("Z")) == 0
    await shell.close()
    assert await until(lambda: not set(children()) - others)
    assert len(os.listdir("/proc/self/fd")) <= descriptors
    assert not list((tmp_path / "state" / "shell").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("confined", [False, True], ids=["bare", "bubblewrap"])
async def test_a_short_session_of_nasty_commands(tmp_path: Path, confined: bool) -> None:
    await soak(tmp_path, confined=confined, commands=60, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("confined", [False, True], ids=["bare", "bubblewrap"])
async def test_a_long_session_of_nasty_commands(tmp_path: Path, confined: bool) -> None:
    await soak(tmp_path, confined=confined, commands=800, seed=2)
