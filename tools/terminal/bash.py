"""A persistent bash session that runs one command after another, each with a timeout.

The shell reports on a descriptor of its own that a command has ended. Whatever happens to the
shell, the session starts another for the next command, in the same directory and with the same
variables.

Over 400 lines because what may happen to one shell, and what then follows, belongs in one place.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from laguna_agent.tools.terminal import processes
from laguna_agent.tools.terminal.background import (
    BackgroundCommand,
    left_running,
    running_pids,
)
from laguna_agent.tools.terminal.capture import Capture
from laguna_agent.tools.terminal.connection import ShellConnection
from laguna_agent.tools.terminal.driver import HELLO, ShellReport, driver
from laguna_agent.tools.terminal.processes import Process
from laguna_agent.tools.tool import Sandbox

_START_TIMEOUT = 20.0
_TERM_GRACE = 1.0
_KILL_GRACES = (0.5, 0.6, 2.0)
_POLL = 0.05
_FLOOD_CHECK = 0.2
_ATTEMPTS = 3


class ShellError(Exception):
    """No shell could be started; the message says why."""


@dataclass
class CommandResult:
    """The result of a command. `exit_code` is None if it was stopped."""

    exit_code: int | None
    text: str
    capture: Capture
    cwd: str
    timed_out: bool = False
    flooded: bool = False
    restarted: bool = False
    """The command ended the shell, and a new one was started."""
    state_lost: bool = False
    """The new shell has only the variables exported before the command."""
    renewed: bool = False
    """The shell had ended since the last command, so this one ran in a new shell."""
    background: BackgroundCommand | None = None
    running: list[BackgroundCommand] = field(default_factory=list)
    """Earlier background commands that still run."""
    ended: list[BackgroundCommand] = field(default_factory=list)
    """Background commands that ended since the last command."""


class BashSession:
    """One bash, started with the first command."""

    def __init__(
        self,
        *,
        workspace: Path,
        directory: Path,
        sandbox: Sandbox | None,
        save: Callable[[], tuple[str, Path]],
        limit: int,
    ) -> None:
        """`directory` holds the pipes for output. `save` creates a file for a long output, of which
        the result shows `limit` characters."""
        self.cwd = str(workspace)
        self.background: list[BackgroundCommand] = []
        self._workspace = workspace
        self._directory = directory
        self.sandbox = sandbox
        self._save = save
        self._limit = limit
        self._connection: ShellConnection | None = None
        self._shell: Process | None = None
        self._state = ""
        self._exports = ""
        self._call = 0
        self._jobs: tuple[int, ...] = ()
        self._lock = asyncio.Lock()
        self._settling: asyncio.Task[None] | None = None
        self._current: Capture | None = None
        self._pipes_hidden = False

    # --- commands -------------------------------------------------------------------------------

    async def run(
        self, command: str, *, timeout: float, on_output: Callable[[str], None]
    ) -> CommandResult:
        """Run a command. Raises ShellError if no shell can be started.

        Cancelling stops the command's processes; the session stays usable.
        """
        async with self._lock:
            await self.settled()
            renewed = self._connection is not None and self._connection.ended_meanwhile()
            if renewed:
                await self._restart()
            if self._connection is None or self._shell is None:
                self._discard()
                await self._start()
            for _ in range(_ATTEMPTS):
                result = await self._attempt(command, timeout, on_output)
                if result is not None:
                    result.renewed = renewed
                    return result
                renewed = True
            raise ShellError("bash keeps exiting before it runs a command")

    async def _attempt(
        self, command: str, timeout: float, on_output: Callable[[str], None]
    ) -> CommandResult | None:
        """Run the command once; None if the shell was gone before it began."""
        assert self._connection is not None
        connection = self._connection
        self._call += 1
        nonce = secrets.token_hex(8)
        before = self._older_children()
        capture, pipe = self._open_capture(on_output)
        self._current = capture
        try:
            connection.send(nonce, f"{connection.mark}:{self._call}", str(pipe), command)
            return await self._finish(connection, command, nonce, capture, timeout, before)
        except asyncio.CancelledError:
            abandoned = self._abandon(capture, self._call, before)
            self._settling = asyncio.ensure_future(abandoned)
            raise
        finally:
            self._current = None
            with contextlib.suppress(OSError):
                pipe.unlink()

    @property
    def calls(self) -> int:
        """The number of commands so far."""
        return self._call

    def running_calls(self) -> set[int]:
        """The commands, counted from 1, that still have processes."""
        if self._connection is None:
            return set()
        shell = self._shell.pid if self._shell is not None else None
        return set(running_pids(self._connection.mark, shell, self._call, self.background))

    async def settled(self) -> None:
        """Wait until a cancelled command has been stopped."""
        if self._settling is not None:
            await asyncio.shield(self._settling)
            self._settling = None

    async def _finish(
        self,
        connection: ShellConnection,
        command: str,
        nonce: str,
        capture: Capture,
        timeout: float,
        before: set[int],
    ) -> CommandResult | None:
        deadline = time.monotonic() + timeout
        status: int | None = None
        timed_out = flooded = restarted = begun = False
        saved = None
        while True:
            wait = min(deadline - time.monotonic(), _FLOOD_CHECK)
            report = await connection.next_report(max(wait, 0.0))
            if isinstance(report, ShellReport) and report.nonce == nonce and report.kind == "R":
                status = report.status
                self._learn(report)
                break
            if isinstance(report, ShellReport) and report.nonce == nonce and report.kind == "S":
                saved = report
                self._learn(report)
                continue
            if isinstance(report, ShellReport) and report.kind == "B":
                begun = begun or report.nonce == nonce
                continue
            if report is None or (isinstance(report, ShellReport) and report.kind == "D"):
                if not begun:
                    capture.close()
                    await self._restart()
                    return None
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
        if self._pipes_hidden and not connection.gone:
            connection.drain_terminal()
        if restarted:
            await self._restart()
        if self._pipes_hidden:
            capture.close()
        mark = self._connection.mark if self._connection else ""
        shell = self._shell.pid if self._shell else None
        pids = await left_running(mark, shell, self._call, self._jobs, capture, self.background)
        capture.drain()
        background = None
        if not capture.closed.is_set() or self._call in pids:
            if not capture.closed.is_set():
                capture.save()
            background = BackgroundCommand(self._call, command, capture, pids.get(self._call, ()))
        ended = [
            job for job in self.background if job.capture.closed.is_set() and job.call not in pids
        ]
        self.background = [job for job in self.background if job not in ended]
        running = list(self.background)
        if background is not None:
            self.background.append(background)
        return CommandResult(
            exit_code=None if timed_out or flooded else status,
            text=capture.result(),
            capture=capture,
            cwd=self.cwd,
            timed_out=timed_out,
            flooded=flooded,
            restarted=restarted,
            state_lost=restarted and saved is None,
            background=background,
            running=running,
            ended=ended,
        )

    def _learn(self, report: ShellReport) -> None:
        if report.cwd:
            self.cwd = report.cwd
        self._jobs = report.jobs
        if report.kind == "S":
            self._state = report.state
        else:
            self._exports = report.state

    async def _stop_call(self, call: int, before: set[int], nonce: str) -> ShellReport | None:
        """Stop a call's processes and the inner shell; returns the shell's final report, if any.

        The shell is signalled first: its trap runs when the process that it waits for has ended,
        so that the rest of the command does not start.
        """
        saved: ShellReport | None = None
        connection = self._connection
        if connection is None:
            return None
        if self._shell is not None:
            processes.send_signal([self._shell], signal.SIGTERM)
        processes.send_signal(self._started_by(call, before), signal.SIGTERM)
        for kill_after in (_TERM_GRACE, *_KILL_GRACES):
            deadline = time.monotonic() + kill_after
            while (left := deadline - time.monotonic()) > 0:
                report = await connection.next_report(min(left, _POLL))
                if isinstance(report, ShellReport) and report.kind == "S" and report.nonce == nonce:
                    saved = report
                    self._learn(report)
                elif (
                    isinstance(report, ShellReport) and report.kind == "R" and report.nonce == nonce
                ):
                    self._learn(report)
                elif report is None or (isinstance(report, ShellReport) and report.kind == "D"):
                    processes.send_signal(self._started_by(call, before), signal.SIGKILL)
                    return saved
            processes.send_signal(self._started_by(call, before), signal.SIGKILL)
            if kill_after in _KILL_GRACES and self._shell is not None:
                processes.send_signal([self._shell], signal.SIGKILL)
        self._discard()  # SIGKILL did not help: end the whole sandbox
        return saved

    async def _abandon(self, capture: Capture, call: int, before: set[int]) -> None:
        await self._stop_call(call, before, "")
        capture.close()
        await self._restart()

    # --- processes ------------------------------------------------------------------------------

    def _older_children(self) -> set[int]:
        """The shell's children before a call: background jobs of earlier calls."""
        if not self._jobs or self._shell is None or self._connection is None:
            return set()
        table = self._connection.processes()
        return {p.pid for p in table.values() if p.parent == self._shell.pid}

    def _started_by(self, call: int, before: set[int]) -> list[Process]:
        if self._connection is None:
            return []
        table = self._connection.processes()
        found = {p.pid for p in table.values() if p.call == str(call)}
        if self._shell is not None:
            found |= processes.descendants(table, self._shell.pid, before) - {self._shell.pid}
        return [table[pid] for pid in found - {os.getpid()}]

    # --- starting and stopping ------------------------------------------------------------------

    async def _start(self) -> None:
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._connection = ShellConnection(
                self.sandbox, self._workspace, self._directory, self._on_terminal
            )
        except Exception as error:  # pexpect wraps many kinds of failures
            raise ShellError(f"bash could not be started: {error}") from error
        await self._greet(self._connection)

    async def _greet(self, connection: ShellConnection) -> None:
        """Send the driver to the inner shell and wait until it is ready."""
        state = self._state or self._exports
        connection.send(driver(state, self.cwd, str(self._directory), connection.secret))
        deadline = time.monotonic() + _START_TIMEOUT
        while (left := deadline - time.monotonic()) > 0:
            report = await connection.next_report(left)
            if report is None or (isinstance(report, ShellReport) and report.kind == "D"):
                break  # it ended before it was ready
            if isinstance(report, ShellReport) and report.kind == "R" and report.nonce == HELLO:
                self._shell = connection.find_shell(report.status)
                self.cwd = report.cwd or self.cwd
                self._pipes_hidden = report.state != "visible"
                self._state = ""
                self._jobs = ()
                return
        self._discard()
        self._state = self._exports = ""  # perhaps why: a read-only variable of the driver
        output = connection.last_output
        raise ShellError(f"bash did not start{': ' + output if output else ''}")

    async def _restart(self) -> None:
        """Start a shell after the inner one, or the keeper too, has ended."""
        self._shell = None
        if self._connection is not None and not self._connection.gone:
            self._connection.send("go")
            with contextlib.suppress(ShellError):
                await self._greet(self._connection)
                return
        self._discard()
        await self._start()

    def _on_terminal(self, data: bytes) -> None:
        """Take output from the terminal, where the sandbox hides the command's pipe."""
        if self._current is not None and self._pipes_hidden:
            self._current.feed(data)

    def _open_capture(self, on_output: Callable[[str], None]) -> tuple[Capture, Path]:
        pipe = self._directory / secrets.token_hex(8)
        os.mkfifo(pipe, 0o600)
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(pipe, flags)
        if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise ShellError(f"{pipe} was replaced")
        return Capture(descriptor, limit=self._limit, on_output=on_output, save=self._save), pipe

    def _discard(self) -> None:
        """Kill the shell and its background jobs."""
        connection, self._connection = self._connection, None
        self._shell = None
        self._jobs = ()
        if connection is not None:
            connection.close()

    def calls_if_quiet(self) -> int | None:
        """The number of calls so far; None while a command or anything that it left runs."""
        calls, connection = self._call, self._connection
        if self._lock.locked():
            return None
        shell = self._shell.pid if self._shell else None
        return calls if connection is None or connection.is_quiet(shell) else None

    def kill(self) -> None:
        """Kill the shell and all that runs in it; a running command ends with it."""
        if self._connection is not None:
            self._connection.kill()

    async def restart(self, sandbox: Sandbox | None) -> None:
        """End the shell; the next command starts one in `sandbox`, in the same directory."""
        await self.aclose()
        self.sandbox = sandbox

    async def aclose(self) -> None:
        """Stop the shell and all its processes."""
        if self._settling is not None:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(asyncio.shield(self._settling), 10)
        if self._connection is not None:
            table = self._connection.processes()
            left = {p for p in table.values() if p.call is not None and p.call.isdecimal()}
            processes.send_signal(left, signal.SIGTERM)
            deadline = time.monotonic() + 0.5
            while left and time.monotonic() < deadline:
                await asyncio.sleep(0.02)
                left &= set(self._connection.processes().values())
        self._discard()
        for job in self.background:
            job.capture.close()
        self.background.clear()
