"""Finds the processes of a shell by a mark in their environment or by descent.

A daemon leaves its process group, session and process tree, but keeps the mark that the shell
exports in its environment.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

MARK = "LAGUNA_SHELL"
_MARK_BYTES = f"{MARK}=".encode()
_PROC = Path("/proc")
_KTHREADD = 2
"""The parent of the kernel's own processes, which have no environment."""
_LOOKS, _PAUSE_S = 100, 0.005
_STARTED = 19
"""Place of the start time among the fields of `stat` after the name."""

WATCH = r"""
read -r mark
read -r end
round=0
while [ $round -lt 100 ]; do
  round=$((round + 1)); found=
  if [ -e /proc/self/environ ]; then
    list=$(grep -lsz -- "^LAGUNA_SHELL=$mark:" /proc/[0-9]*/environ)
  else
    list=$(ps -axEww -o pid=,command= | grep -F "LAGUNA_SHELL=$mark:" | sed 's/^ *//; s/ .*//')
  fi
  for entry in $list; do
    pid=${entry#/proc/}; pid=${pid%/environ}
    [ "$pid" = $$ ] || { kill -KILL "$pid" 2>/dev/null && found=1; }
  done
  [ -n "$found" ] || break
done
"""
"""For `sh`: waits for the end of its input, which comes however laguna ends, and then kills every
process with the mark from its first line."""


@dataclass(frozen=True)
class Process:
    """A running process. `call` is the part after the mark: the call that started it."""

    pid: int
    parent: int
    call: str | None
    started: str
    """When it started, which tells it from a later process of the same pid."""

    @property
    def inner_pid(self) -> int:
        """The pid as the process itself sees it, in the sandbox."""
        with contextlib.suppress(OSError), open(f"/proc/{self.pid}/status", "rb") as stream:
            for line in stream:
                if line.startswith(b"NSpid:"):
                    return int(line.split()[-1])
        return self.pid


def watch(mark: str) -> subprocess.Popen[bytes]:
    """Start the watcher; closing its `stdin` makes it kill every process with the mark."""
    watcher = subprocess.Popen(
        ["/bin/sh", "-c", WATCH],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={"PATH": "/usr/bin:/bin"},
        cwd="/",
        start_new_session=True,
    )
    assert watcher.stdin is not None
    watcher.stdin.write(mark.encode() + b"\n")
    watcher.stdin.flush()
    return watcher


def process_table(mark: str) -> dict[int, Process]:
    """All visible processes by pid, without zombies."""
    if not (_PROC / "self" / "stat").exists():
        return _table_of_ps()
    processes = {}
    prefix = f"{mark}:".encode()
    for entry in os.listdir(_PROC):
        if not entry.isdecimal():
            continue
        try:
            with open(f"/proc/{entry}/stat", "rb") as stream:
                fields = stream.read().rpartition(b")")[2].split()
            state, parent, started = fields[0], fields[1], fields[_STARTED].decode()
        except (OSError, ValueError, IndexError):
            continue
        if state in (b"Z", b"X"):
            continue
        call = None
        with contextlib.suppress(OSError):
            environment = _environment(entry, kernel=int(parent) in (0, _KTHREADD))
            at = environment.find(_MARK_BYTES + prefix)
            if at == 0 or (at > 0 and environment[at - 1] == 0):
                start = at + len(_MARK_BYTES) + len(prefix)
                call = environment[start:].partition(b"\0")[0].decode("ascii", "replace")
        processes[int(entry)] = Process(int(entry), int(parent), call, started)
    return processes


def _environment(entry: str, *, kernel: bool) -> bytes:
    """The environment of a process. While it executes another program, the system shows none, and
    no command line either, for a moment. Raises OSError."""
    begun = False
    for _ in range(_LOOKS):
        with open(f"/proc/{entry}/environ", "rb") as stream:
            environment = stream.read()
        if environment or kernel or begun:
            break
        with open(f"/proc/{entry}/cmdline", "rb") as stream:
            begun = bool(stream.read(1))  # its environment is there now, if it has one
        if not begun:
            time.sleep(_PAUSE_S)
    return environment


def _table_of_ps() -> dict[int, Process]:
    listing = subprocess.run(
        ["/bin/ps", "-axo", "pid=,ppid=,state="], capture_output=True, text=True, check=False
    ).stdout
    rows = (line.split() for line in listing.splitlines())
    return {
        int(row[0]): Process(int(row[0]), int(row[1]), None, "")
        for row in rows
        if len(row) == 3 and not row[2].startswith("Z")
    }


def children(pid: int) -> list[int]:
    """The children of a process; where the system does not tell, as if there were some."""
    try:
        if len(os.listdir(f"/proc/{pid}/task")) != 1:
            return [pid, pid]  # another thread's children are not listed there
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as stream:
            return [int(word) for word in stream.read().split()]
    except (OSError, ValueError):
        return [pid, pid]


def descendants(processes: dict[int, Process], root: int, without: Iterable[int] = ()) -> set[int]:
    """Pids below `root`, except those at or below `without`."""
    children: dict[int, list[int]] = {}
    for process in processes.values():
        children.setdefault(process.parent, []).append(process.pid)
    excluded, found, waiting = set(without), set(), [root]
    while waiting:
        for child in children.get(waiting.pop(), ()):
            if child not in excluded and child not in found:
                found.add(child)
                waiting.append(child)
    return found


def send_signal(processes: Iterable[Process], number: signal.Signals) -> None:
    """Signal each process; ignores those that are gone or not ours.

    Another process that has got the pid meanwhile is not signalled.
    """
    for process in processes:
        handle = open_pidfd(process.pid)
        try:
            if _started(process.pid) != process.started:
                continue
            with contextlib.suppress(ProcessLookupError, PermissionError):
                if handle is None:
                    os.kill(process.pid, number)
                else:
                    signal.pidfd_send_signal(handle, number)
        finally:
            if handle is not None:
                os.close(handle)


def open_pidfd(pid: int) -> int | None:
    """A descriptor of a process; None if it is gone or the system has none (macOS, gVisor)."""
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


def _started(pid: int) -> str | None:
    """The start time of a process; None if it is gone, empty where it cannot be known."""
    if not _PROC.joinpath("self", "stat").exists():
        return ""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return fields[_STARTED].decode()
    except (OSError, IndexError):
        return None
