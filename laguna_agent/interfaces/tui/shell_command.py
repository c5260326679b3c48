"""A command that the user runs with `!`: in a pseudo-terminal of its own, outside the sandbox.

Its output is shown as plain text. A program that reads keys, such as an editor or a pager, gets the
user's terminal while it runs: `attach` connects the two. The session leader of the pseudo-terminal
is a shell that stays until the last process that the command left in the background has ended, so
that such a process loses neither its terminal nor its output.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
import tty
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import FrameType

from laguna_agent.policy.sanitize import visible
from laguna_agent.programs import find_program
from laguna_agent.tools.terminal.ansi import OutputCleaner

LEADER = r"""
trap : INT QUIT TSTP HUP
exec <"$2" >"$2" 2>/dev/null
eval "\"\$BASH\" -c \"\$1\" 2>&1 $3>&- $4<&-"
eval "echo $? >&$3; exec $3>&- </dev/null >/dev/null 2>&1; read -r _ <&$4"
"""
"""$1 the command, $2 the terminal, $3 where its exit code goes, $4 open as long as it may stay."""
_PAGERS = {"PAGER": "cat", "GIT_PAGER": "cat", "MANPAGER": "cat", "SYSTEMD_PAGER": "cat"}
"""Without them, `git log` would open a pager where the user wants its output."""
_READ_BYTES, _REPLAY_BYTES = 1 << 16, 1 << 16
_MOST_BYTES, _GATHER_S = 1 << 20, 0.02
"""What is read at once, and for how many seconds at most."""
_INTERVAL_S, _KEYS_READ_S = 0.05, 0.2
"""Seconds between two reads, and for which a program must want keys before it gets the terminal:
some only ask the terminal for its colours."""
_END_S, _QUIET_S, _BACKGROUND_S = 1.0, 0.02, 0.5
_CURSOR_MOVED = re.compile(rb"\x1b\[[0-9;]*[Hf]")
"""To a place on the screen: a program such as `top` draws without another screen."""
_SCREEN = re.compile(rb"\x1b\[\?(?:1049|1047|47)([hl])")
_MAIN_SCREEN = "\x1b[?1049l"
_RESET = (
    "\x1b[?1l\x1b>\x1b[?25h\x1b[0m\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l"
    "\x1b[?1004l\x1b[?2004l\x1b[r\r\n"
)
"""Undoes what a program that was killed may have left in the terminal."""


class ShellCommand:
    """One command. `run` and the callbacks that it gets belong to one event loop."""

    def __init__(self, command: str, cwd: Path, *, columns: int, rows: int) -> None:
        self.command = command
        self._cwd = cwd
        self._size = columns, rows
        self._loop = asyncio.get_running_loop()
        self._master = self._slave = self._status = self._hold = -1
        self._leader: subprocess.Popen[bytes] | None = None
        self._cleaner = OutputCleaner()
        self._replay = b""
        self._unshown = ""
        self._attached = False
        self._full_screen = self._other_screen = False
        self.drew_screen = False
        """Whether it used the whole screen, of which nothing is recorded."""
        self._begun_keys: float | None = None
        self._wanted = asyncio.Event()
        self._returned = asyncio.Event()

    # --- running ---------------------------------------------------------------------------

    async def run(
        self, show: Callable[[str, str], Awaitable[None]], request_terminal: Callable[[], None]
    ) -> int:
        """Run the command to its end; returns its exit code. Cancelling ends it.

        `show` gets each piece of output, and the line after it that is not finished; it returns
        when more can be shown. `request_terminal` has the user's terminal attached; whoever does
        it calls `detach` afterwards.
        """
        self._start()
        code: int | None = None
        try:
            while True:
                wants_keys = self._wants_keys()
                # What a program that reads keys draws is for the user's terminal alone.
                if self._begun_keys is None and (data := self._read()):
                    await show(self._cleaned(data), self._cleaner.waiting())
                if self._ended():
                    await self._drain(show)
                    code = self._exit_code()
                    return code
                if self._wanted.is_set() or wants_keys:
                    self._wanted.clear()
                    self._returned.clear()
                    request_terminal()
                    await self._returned.wait()
                    self._begun_keys, self._replay = None, b""
                    await show(self._take_unshown(), self._cleaner.waiting())
                await asyncio.sleep(_INTERVAL_S)
        finally:
            if code is None:
                await asyncio.shield(asyncio.to_thread(self._end))
            self._release()

    def want_terminal(self) -> None:
        """Have the terminal given to the command; safe to call from any thread."""
        self._loop.call_soon_threadsafe(self._wanted.set)

    def detach(self) -> None:
        """The terminal is laguna's again; safe to call from any thread."""
        self._loop.call_soon_threadsafe(self._returned.set)

    @property
    def left_running(self) -> bool:
        """Whether something that the command left in the background still runs."""
        return self._master >= 0 and bool(self._members())

    def resize(self, columns: int, rows: int) -> None:
        """Give the command's terminal another size."""
        self._size = columns, rows
        if self._master >= 0:
            with contextlib.suppress(OSError):
                size = struct.pack("HHHH", max(1, rows), max(1, columns), 0, 0)
                fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)

    def _start(self) -> None:
        self._master, slave = pty.openpty()
        os.set_blocking(self._master, False)
        self._status, status = os.pipe()
        hold, self._hold = os.pipe()
        try:
            self.resize(*self._size)
            self._leader = subprocess.Popen(
                [find_program("bash") or "/bin/bash", "-c", LEADER, "laguna", self.command,
                 os.ttyname(slave), str(status), str(hold)],
                cwd=self._cwd, env={**os.environ, **_PAGERS}, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                pass_fds=(status, hold),
            )  # fmt: skip
        finally:
            for descriptor in (status, hold):
                os.close(descriptor)
            # Open until the leader has opened the terminal: reading would fail before.
            self._slave = slave

    def _ended(self) -> bool:
        ready, _, _ = select.select([self._status], [], [], 0)
        return bool(ready)

    def _exit_code(self) -> int:
        text = os.read(self._status, 16).strip()
        return int(text) if text.isdigit() else -signal.SIGKILL

    def _read(self) -> bytes:
        """The output that there is, as much as may be shown at once."""
        found, until = b"", time.monotonic() + _GATHER_S
        with contextlib.suppress(OSError):
            while len(found) < _MOST_BYTES and time.monotonic() < until:
                found += os.read(self._master, _READ_BYTES)
        return found

    async def _drain(self, show: Callable[[str, str], Awaitable[None]]) -> None:
        """Show the rest; what a background process writes later is discarded."""
        await asyncio.sleep(_QUIET_S)  # the system passes it on a moment later
        if data := self._read():
            await show(self._cleaned(data), self._cleaner.waiting())
        await show(self._cleaner.finish(), "")

    def _cleaned(self, data: bytes) -> str:
        """Plain text of output, without what a full-screen program draws."""
        self._replay = (self._replay + data)[-_REPLAY_BYTES:]
        if self._attached and _CURSOR_MOVED.search(data):
            self._full_screen = self.drew_screen = True
        kept, at = b"", 0
        for switch in _SCREEN.finditer(data):
            kept += b"" if self._full_screen else data[at : switch.start()]
            self._full_screen = self._other_screen = switch[1] == b"h"
            self.drew_screen = True
            at = switch.end()
        kept += b"" if self._full_screen else data[at:]
        return self._cleaner.feed(kept)

    def _wants_keys(self) -> bool:
        """Whether the command reads keys one by one, or without showing them."""
        with contextlib.suppress(termios.error):
            flags = termios.tcgetattr(self._master)[tty.LFLAG]
            if self._full_screen or not flags & termios.ICANON or not flags & termios.ECHO:
                now = time.monotonic()
                self._begun_keys = self._begun_keys or now
                return self._full_screen or now - self._begun_keys > _KEYS_READ_S
        self._begun_keys = None
        return False

    # --- ending ----------------------------------------------------------------------------

    def _members(self) -> dict[int, str]:
        """The processes of the command and their states, without the leader."""
        leader = self._leader.pid if self._leader is not None else 0
        return {pid: state for pid, state in _session(leader).items() if pid != leader}

    def _end(self) -> None:
        """Interrupt the command as Ctrl+C does, and kill what is left a moment later."""
        if self._leader is None:
            return
        with contextlib.suppress(OSError):
            os.write(self._master, b"\x03")
        deadline = time.monotonic() + _END_S
        while self._members() and time.monotonic() < deadline:
            self._read()
            time.sleep(_QUIET_S)
        for _ in range(50):
            members = self._members()
            for pid in members:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            if not members:
                return
            time.sleep(_QUIET_S)

    def _release(self) -> None:
        """Let the leader go once nothing is left that needs its terminal; look again until then."""
        if self._slave >= 0:
            os.close(self._status)
            os.close(self._slave)
            self._slave = -1
        self._read()  # discarded, so that none is blocked
        if self._members():
            self._loop.call_later(_BACKGROUND_S, self._release)
            return
        os.close(self._hold)
        os.close(self._master)
        self._master = -1
        if self._leader is not None:
            self._loop.run_in_executor(None, self._leader.wait)

    # --- the user's terminal ---------------------------------------------------------------

    def attach(self) -> None:
        """Connect the user's terminal until the command ends. Blocks.

        Ctrl+Z does nothing: no shell could continue what it stops.

        Call it while the interface is suspended. Signals that end laguna arrive afterwards.
        """
        source, target = sys.__stdin__, sys.__stdout__
        assert source is not None
        assert target is not None
        stdin, stdout = source.fileno(), target.fileno()
        before = termios.tcgetattr(stdin)
        pending: list[int] = []

        def resized(*_: object) -> None:
            with contextlib.suppress(OSError):
                self.resize(*os.get_terminal_size(stdout))

        def postpone(number: int, _: FrameType | None) -> None:
            pending.append(number)

        handlers = {number: signal.signal(number, postpone)
                    for number in (signal.SIGTERM, signal.SIGHUP)}  # fmt: skip
        handlers[signal.SIGWINCH] = signal.signal(signal.SIGWINCH, resized)
        size = self._size
        self._attached = True
        try:
            tty.setraw(stdin)
            resized()
            heading = f"\r\x1b[J$ {visible(self.command, single_line=True)}\r\n"
            _write(stdout, heading.encode(errors="replace") + self._replay)
            while not pending and self._exchange(stdin, stdout):
                pass
        finally:
            # On the main screen already, it would take the cursor back to an older place.
            left = _MAIN_SCREEN if self._other_screen else ""
            self._attached = self._full_screen = self._other_screen = False
            with contextlib.suppress(OSError):
                _write(stdout, (left + _RESET).encode())
            termios.tcsetattr(stdin, termios.TCSADRAIN, before)
            for number, handler in handlers.items():
                signal.signal(number, handler)
            self.resize(*size)
            for late in pending:
                os.kill(os.getpid(), late)

    def _exchange(self, stdin: int, stdout: int) -> bool:
        """Pass on what there is to pass on; False when the command has ended."""
        ready, _, _ = select.select([stdin, self._master, self._status], [], [], 0.2)
        if self._master in ready:
            try:
                data = os.read(self._master, _READ_BYTES)
            except BlockingIOError:
                data = b""
            except OSError:
                return False
            if data:
                _write(stdout, data)
                self._unshown = (self._unshown + self._cleaned(data))[-_REPLAY_BYTES:]
                return True
        if self._status in ready:
            return False
        if stdin in ready:
            keys = os.read(stdin, 1024)
            if not keys:
                return False
            with contextlib.suppress(BlockingIOError):
                os.write(self._master, keys)
        return True

    def _take_unshown(self) -> str:
        """The text that was written while the command had the terminal."""
        text, self._unshown = self._unshown, ""
        return text


_PROC = os.path.exists("/proc/self/stat")


def _session(leader: int) -> dict[int, str]:
    """The living processes of a session or below its leader, with their states (R, S, T…)."""
    if not _PROC:
        listing = subprocess.run(
            ["/bin/ps", "-axo", "pid=,ppid=,pgid=,state="],
            capture_output=True, text=True, check=False,
        ).stdout  # fmt: skip
        rows = [line.split() for line in listing.splitlines()]
    else:
        rows = [row for entry in os.listdir("/proc") if entry.isdecimal() and (row := _stat(entry))]
    living = [row for row in rows if len(row) == 4 and row[3][0] not in "ZX"]
    found = {leader}
    for _ in living:
        more = {int(row[0]) for row in living if int(row[1]) in found or int(row[2]) == leader}
        if more <= found:
            break
        found |= more
    return {int(row[0]): row[3][0] for row in living if int(row[0]) in found}


def _stat(pid: str) -> list[str]:
    """The pid, parent, session and state of a process; empty when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
            state, parent, _, session = stream.read().rpartition(")")[2].split()[:4]
    except (OSError, ValueError):
        return []
    return [pid, parent, session, state]


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
