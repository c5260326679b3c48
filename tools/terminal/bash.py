"""A persistent bash session: commands one after another, each with a timeout that is kept.

A command has ended when the shell says so on a descriptor of its own. Whatever happens to the
shell in between, the session has one again for the next command, in the same directory and with
the same variables.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from laguna_agent.tools.base import Sandbox
from laguna_agent.tools.terminal import processes
from laguna_agent.tools.terminal.capture import Capture
from laguna_agent.tools.terminal.driver import HELLO, Report, ReportParser, driver
from laguna_agent.tools.terminal.spawn import Spawned, spawn, stop

_START_TIMEOUT = 20.0
_TERM_GRACE = 2.0
_LATE_OUTPUT = 0.1
_POLL = 0.05
_FLOOD_CHECK = 0.2


class ShellError(Exception):
    """No shell could be started; the message says why."""


@dataclass
class Background:
    """A command whose processes live on after it returned."""

    call: int
    command: str
    capture: Capture
    pids: tuple[int, ...]
    """Of the shell's jobs, as the commands in the shell know them."""


@dataclass
class Outcome:
    """What became of a command. `exit_code` is None when it was stopped."""

    exit_code: int | None
    text: str
    capture: Capture
    cwd: str
    timed_out: bool = False
    flooded: bool = False
    restarted: bool = False
    """The command ended the shell; a new one is there."""
    state_lost: bool = False
    """The new shell has no more than the exported variables of before the command."""
    background: Background | None = None
    ended: list[Background] = field(default_factory=list)
    """Background commands that ended since the last command."""


class BashSession:
    """One bash, started at the first command."""

    def __init__(
        self,
        *,
        workspace: Path,
        directory: Path,
        sandbox: Sandbox | None,
        save: Callable[[], tuple[str, Path]],
        limit: int,
    ) -> None:
        """`directory` holds the pipes that output comes through; where the sandbox shows it,
        read-only is enough. `save` makes a file for a long output, of which a result has `limit`
        characters."""
        self.cwd = str(workspace)
        self.background: list[Background] = []
        self._workspace = workspace
        self._directory = directory
        self.sandbox = sandbox
        self._save = save
        self._limit = limit
        self._spawned: Spawned | None = None
        self._parser = ReportParser()
        self._reports: asyncio.Queue[Report | None] = asyncio.Queue()
        self._shell_pid: int | None = None
        self._state = ""
        self._exports = ""
        self._call = 0
        self._jobs: tuple[int, ...] = ()
        self._lock = asyncio.Lock()
        self._settling: asyncio.Task[None] | None = None
        self._current: Capture | None = None
        self._exit_watch: int | None = None
        self._unsent = bytearray()
        self._gone = False
        self._pipes_hidden = False
        self._last_words = ""

    # --- commands ---------------------------------------------------------------------------

    async def run(self, command: str, *, timeout: float, emit: Callable[[str], None]) -> Outcome:
        """Run a command. Raises ShellError when there is no shell to be had.

        Cancelling ends what the command started; the session stays usable.
        """
        async with self._lock:
            await self._settled()
            if self._spawned is None or self._shell_pid is None:
                self._discard()
                await self._start()
            self._call += 1
            nonce = secrets.token_hex(8)
            before = self._older_children()
            capture, pipe = self._open_capture(emit)
            self._current = capture
            try:
                self._send(nonce, f"{self._mark}:{self._call}", str(pipe), command)
                outcome = await self._finish(command, nonce, capture, timeout, before)
            except asyncio.CancelledError:
                call = self._call
                self._settling = asyncio.ensure_future(self._abandon(capture, call, before))
                raise
            finally:
                self._current = None
                with contextlib.suppress(OSError):
                    pipe.unlink()
            return outcome

    async def _settled(self) -> None:
        """Wait until a cancelled command has been cleared away."""
        if self._settling is not None:
            await asyncio.shield(self._settling)
            self._settling = None

    async def _finish(
        self, command: str, nonce: str, capture: Capture, timeout: float, before: set[int]
    ) -> Outcome:
        deadline = time.monotonic() + timeout
        status: int | None = None
        timed_out = flooded = restarted = False
        saved = None
        while True:
            wait = min(deadline - time.monotonic(), _FLOOD_CHECK)
            report = await self._next_report(max(wait, 0.0))
            if isinstance(report, Report) and report.nonce == nonce and report.kind == "R":
                status = report.status
                self._learn(report)
                break
            if isinstance(report, Report) and report.nonce == nonce and report.kind == "S":
                saved = report
                self._learn(report)
                continue
            if report is None or (isinstance(report, Report) and report.kind == "D"):
                status = report.status if report else None
                restarted = True
                break
            flooded = capture.flooded
            timed_out = time.monotonic() >= deadline
            if flooded or timed_out:
                saved = await self._stop_call(self._call, before, nonce)
                restarted = True
                break
        capture.drain()
        jobs = self._jobs
        if restarted:
            await self._restart()
        if self._pipes_hidden:
            capture.close()
        if not capture.closed.is_set() and not jobs:
            # The end of a pipeline that bash does not wait for may still be writing.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(capture.closed.wait(), _LATE_OUTPUT)
        capture.drain()
        background = None
        if not capture.closed.is_set():
            capture.save()
            known = {pid for job in self.background for pid in job.pids}
            pids = tuple(pid for pid in jobs if pid not in known)
            background = Background(self._call, command, capture, pids)
        ended = [job for job in self.background if job.capture.closed.is_set()]
        self.background = [job for job in self.background if job not in ended]
        if background is not None:
            self.background.append(background)
        return Outcome(
            exit_code=None if timed_out or flooded else status,
            text=capture.result(),
            capture=capture,
            cwd=self.cwd,
            timed_out=timed_out,
            flooded=flooded,
            restarted=restarted,
            state_lost=restarted and saved is None,
            background=background,
            ended=ended,
        )

    def _learn(self, report: Report) -> None:
        if report.cwd:
            self.cwd = report.cwd
        self._jobs = report.jobs
        if report.kind == "S":
            self._state = report.state
        else:
            self._exports = report.state

    async def _stop_call(self, call: int, before: set[int], nonce: str) -> Report | None:
        """End all that a call started, and the inner shell with it; its last words, if any.

        The shell is told first: its trap runs when the process that it waits for has ended, so
        the rest of the command is not begun.
        """
        saved: Report | None = None
        if self._shell_pid is not None:
            processes.send([self._shell_pid], signal.SIGTERM)
        processes.send(self._started_by(call, before), signal.SIGTERM)
        for kill_after in (_TERM_GRACE, 1.0, 1.0, 1.0):
            deadline = time.monotonic() + kill_after
            while (left := deadline - time.monotonic()) > 0:
                report = await self._next_report(min(left, _POLL))
                if isinstance(report, Report) and report.kind == "S" and report.nonce == nonce:
                    saved = report
                    self._learn(report)
                elif isinstance(report, Report) and report.kind == "R" and report.nonce == nonce:
                    self._learn(report)
                elif report is None or (isinstance(report, Report) and report.kind == "D"):
                    processes.send(self._started_by(call, before), signal.SIGKILL)
                    return saved
            processes.send(self._started_by(call, before), signal.SIGKILL)
            if kill_after < _TERM_GRACE and self._shell_pid is not None:
                processes.send([self._shell_pid], signal.SIGKILL)
        self._discard()  # not even that: the whole sandbox goes
        return saved

    async def _abandon(self, capture: Capture, call: int, before: set[int]) -> None:
        await self._stop_call(call, before, "")
        capture.close()
        await self._restart()

    # --- processes --------------------------------------------------------------------------

    @property
    def _mark(self) -> str:
        return self._spawned.mark if self._spawned is not None else ""

    def _older_children(self) -> set[int]:
        """The shell's children from before a call: background jobs of earlier ones."""
        if not self._jobs or self._shell_pid is None:
            return set()
        table = processes.table(self._mark)
        return {p.pid for p in table.values() if p.parent == self._shell_pid}

    def _started_by(self, call: int, before: set[int]) -> set[int]:
        table = processes.table(self._mark)
        found = {p.pid for p in table.values() if p.call == str(call)}
        if self._shell_pid is not None:
            found |= processes.descendants(table, self._shell_pid, before)
        return found - {self._shell_pid, os.getpid()}

    def _find_shell(self, reported: int) -> int:
        """The pid, as it is known here, of the inner shell that calls itself `reported`."""
        table = processes.table(self._mark)
        shells = {p.pid for p in table.values() if p.call == "shell"}
        tops = [pid for pid in shells if table[pid].parent not in shells]
        return tops[-1] if tops else reported

    # --- life -------------------------------------------------------------------------------

    async def _start(self) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self._spawned = spawn(self.sandbox, self._workspace)
        except Exception as error:  # pexpect wraps all kinds of failures to start a process
            raise ShellError(f"bash could not be started: {error}") from error
        loop = asyncio.get_running_loop()
        self._parser = ReportParser()
        self._reports = asyncio.Queue()
        self._unsent.clear()
        self._gone = False
        loop.add_reader(self._spawned.reports, self._on_report)
        loop.add_reader(self._spawned.terminal.child_fd, self._on_terminal)
        if hasattr(os, "pidfd_open"):
            self._exit_watch = os.pidfd_open(self._spawned.terminal.pid)
            loop.add_reader(self._exit_watch, self._on_exit)
        await self._greet()

    async def _greet(self) -> None:
        """Give the inner shell its driver and wait until it is ready."""
        self._send(driver(self._state or self._exports, self.cwd, str(self._directory)))
        deadline = time.monotonic() + _START_TIMEOUT
        while (left := deadline - time.monotonic()) > 0:
            report = await self._next_report(left)
            if report is None:
                break
            if isinstance(report, Report) and report.kind == "R" and report.nonce == HELLO:
                self._shell_pid = self._find_shell(report.status)
                self.cwd = report.cwd or self.cwd
                self._pipes_hidden = report.state != "visible"
                self._state = ""
                self._jobs = ()
                return
        said = self._last_words
        self._discard()
        raise ShellError(f"bash did not start{': ' + said if said else ''}")

    async def _restart(self) -> None:
        """Have a shell again, after the inner one ended or all of it."""
        self._shell_pid = None
        if self._gone or self._spawned is None:
            self._discard()
            await self._start()
            return
        self._send("go")
        try:
            await self._greet()
        except ShellError:
            await self._start()

    def _send(self, *fields: str) -> None:
        assert self._spawned is not None
        waiting = bool(self._unsent)
        for text in fields:
            self._unsent += text.encode("utf-8", "surrogateescape") + b"\0"
        if not waiting:
            self._flush()

    def _flush(self) -> None:
        if self._spawned is None:
            return
        loop = asyncio.get_running_loop()
        try:
            while self._unsent:
                del self._unsent[: os.write(self._spawned.commands, self._unsent)]
        except BlockingIOError:
            loop.add_writer(self._spawned.commands, self._flush)
            return
        except OSError:  # the shell is gone, which is noticed elsewhere
            self._unsent.clear()
        loop.remove_writer(self._spawned.commands)

    async def _next_report(self, timeout: float) -> Report | bool | None:
        """The next report; None when the whole shell is gone, False after `timeout` seconds."""
        if self._spawned is None:
            return None
        report: Report | bool | None = False
        try:
            report = await asyncio.wait_for(self._reports.get(), timeout)
        except TimeoutError:
            if self._exit_watch is None and not self._spawned.terminal.isalive():
                report = None
        self._gone = self._gone or report is None
        return report

    def _on_report(self) -> None:
        assert self._spawned is not None
        try:
            data = os.read(self._spawned.reports, 1 << 16)
        except BlockingIOError:
            return
        if not data:
            asyncio.get_running_loop().remove_reader(self._spawned.reports)
            self._reports.put_nowait(None)
        for report in self._parser.feed(data):
            self._reports.put_nowait(report)

    def _on_terminal(self) -> None:
        """Keep the terminal empty: a command's own output comes through a pipe, if it can."""
        assert self._spawned is not None
        try:
            data = os.read(self._spawned.terminal.child_fd, 1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._spawned.terminal.child_fd)
            return
        self._last_words = data[-500:].decode("utf-8", "replace").strip()
        if self._current is not None and self._pipes_hidden:
            self._current.feed(data)

    def _on_exit(self) -> None:
        if self._exit_watch is not None:
            asyncio.get_running_loop().remove_reader(self._exit_watch)
            os.close(self._exit_watch)
            self._exit_watch = None
        self._reports.put_nowait(None)

    def _open_capture(self, emit: Callable[[str], None]) -> tuple[Capture, Path]:
        pipe = self._directory / secrets.token_hex(8)
        os.mkfifo(pipe, 0o600)
        descriptor = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        return Capture(descriptor, limit=self._limit, emit=emit, save=self._save), pipe

    def _discard(self) -> None:
        """Kill all that is left of the shell, background jobs too, and close what it held."""
        spawned, self._spawned = self._spawned, None
        self._shell_pid = None
        self._jobs = ()
        if spawned is None:
            return
        loop = asyncio.get_running_loop()
        for descriptor in (spawned.reports, spawned.terminal.child_fd, spawned.commands):
            loop.remove_reader(descriptor)
        loop.remove_writer(spawned.commands)
        if self._exit_watch is not None:
            loop.remove_reader(self._exit_watch)
            os.close(self._exit_watch)
            self._exit_watch = None
        os.close(spawned.commands)
        os.close(spawned.reports)
        stop(spawned)

    async def restart(self, sandbox: Sandbox | None) -> None:
        """End the shell; the next command starts one in `sandbox`, where this one was."""
        await self.aclose()
        self.sandbox = sandbox

    async def aclose(self) -> None:
        """End the shell and everything that runs under it."""
        if self._settling is not None:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(asyncio.shield(self._settling), 10)
        if self._spawned is not None:
            table = processes.table(self._mark)
            left = {p.pid for p in table.values() if p.call is not None and p.call.isdecimal()}
            processes.send(left, signal.SIGTERM)
            deadline = time.monotonic() + 0.5
            while left and time.monotonic() < deadline:
                await asyncio.sleep(0.02)
                left &= processes.table(self._mark).keys()
        self._discard()
        for job in self.background:
            job.capture.close()
        self.background.clear()
