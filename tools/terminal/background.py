"""Commands that left processes running, whether or not these keep the command's output open."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from laguna_agent.tools.terminal.capture import Capture
from laguna_agent.tools.terminal.processes import Process, process_table

_PAUSE = 0.02
_ROUNDS = 5


@dataclass
class BackgroundCommand:
    """A command with processes that still ran when it returned."""

    call: int
    command: str
    capture: Capture
    pids: tuple[int, ...]
    """As seen inside the sandbox: those whose end is the end of the command."""


async def left_running(
    mark: str,
    shell: int | None,
    call: int,
    jobs: Iterable[int],
    capture: Capture,
    earlier: Sequence[BackgroundCommand],
) -> dict[int, tuple[int, ...]]:
    """What still runs of each call, the last of which is `call`; `jobs` are the shell's.

    Waits a moment for parts of a command that bash does not wait for (process substitutions), and
    for jobs to redirect their output or to detach.
    """
    new_jobs = set(jobs).difference(*(command.pids for command in earlier))
    pids: dict[int, tuple[int, ...]] = {}
    for attempt in range(_ROUNDS):
        pids = running_pids(mark, shell, call, earlier)
        if capture.closed.is_set() and call not in pids and (attempt or not new_jobs):
            break
        await asyncio.sleep(_PAUSE)
    return pids


def running_pids(
    mark: str, shell: int | None, call: int, earlier: Sequence[BackgroundCommand]
) -> dict[int, tuple[int, ...]]:
    """For each call that has running processes, their pids, without those of their children.

    `shell` is the inner shell. What belongs to none of the `earlier` commands belongs to `call`,
    the last one.
    """
    table = {
        pid: process
        for pid, process in process_table(mark).items()
        if pid != shell and (process.parent == shell or process.call not in (None, "keeper"))
    }
    inner = {pid: process.inner_pid for pid, process in table.items()}
    owners = {pid: command.call for command in earlier for pid in command.pids}

    def owner(process: Process) -> int:
        while process.call is None or not process.call.isdecimal():  # a subshell, or `env -i`
            if inner[process.pid] in owners:
                return owners[inner[process.pid]]
            if process.parent not in table:
                return call
            process = table[process.parent]
        return int(process.call)

    calls: dict[int, list[int]] = {}
    for pid, process in table.items():
        of, parent = owner(process), table.get(process.parent)
        if parent is None or owner(parent) != of:
            calls.setdefault(of, []).append(inner[pid])
    return {of: tuple(sorted(pids)) for of, pids in calls.items()}
