"""The connection to a keeper: sends commands, receives reports, and detects its end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
from collections.abc import Callable
from pathlib import Path

from laguna_agent.tools.terminal import processes
from laguna_agent.tools.terminal.driver import ReportParser, ShellReport
from laguna_agent.tools.terminal.processes import Process
from laguna_agent.tools.terminal.spawn import spawn, stop
from laguna_agent.tools.tool import Sandbox

_LAST_OUTPUT = 500


class ShellConnection:
    """The connection to a running keeper. Create and close it in the same event loop."""

    def __init__(
        self,
        sandbox: Sandbox | None,
        workspace: Path,
        pipes: Path,
        on_terminal: Callable[[bytes], None],
    ) -> None:
        """Start the keeper. `on_terminal` gets what is written to the terminal itself.

        Raises OSError, or what pexpect and the sandbox raise.
        """
        self.gone = False
        """True once the reports have ended."""
        self.last_output = ""
        self._keeper = spawn(sandbox, workspace, pipes)
        self.mark = self._keeper.mark
        self._on_terminal_bytes = on_terminal
        self.secret = secrets.token_hex(16)
        """What the shells' reports begin with."""
        self._parser = ReportParser(self.secret)
        self._reports: asyncio.Queue[ShellReport | None] = asyncio.Queue()
        self._unsent = bytearray()
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._keeper.reports, self._on_report)
        self._loop.add_reader(self._keeper.terminal.child_fd, self._on_terminal)
        self._exit_watch = processes.open_pidfd(self._keeper.terminal.pid)
        if self._exit_watch is not None:
            self._loop.add_reader(self._exit_watch, self._on_exit)
        self.send(self.secret)

    def send(self, *fields: str) -> None:
        """Send fields; what the full pipe does not accept yet is sent later."""
        waiting = bool(self._unsent)
        for text in fields:
            self._unsent += text.encode("utf-8", "surrogateescape") + b"\0"
        if not waiting:
            self._flush()

    def processes(self) -> dict[int, Process]:
        """The processes of the shells by pid, found from outside: nothing that a command reports
        can name another one. Without a sandbox, all processes that can be seen."""
        table = processes.process_table(self.mark)
        if not self._keeper.confined:
            return table
        inside = processes.descendants(table, self._keeper.terminal.pid)
        return {pid: process for pid, process in table.items() if pid in inside}

    def find_shell(self, reported: int) -> Process | None:
        """The inner shell. `reported` is its pid as it says, which is believed only below the
        keeper and where a sandbox does not number its processes anew."""
        table = self.processes()
        inside = processes.descendants(table, self._keeper.terminal.pid)
        shells = {pid for pid in inside if table[pid].call == "shell"}
        tops = [pid for pid in shells if table[pid].parent not in shells]
        return table.get(tops[-1] if tops else reported if reported in inside else -1)

    async def next_report(self, timeout: float) -> ShellReport | bool | None:
        """The next report; None if the keeper is gone, False after `timeout` seconds."""
        report: ShellReport | bool | None = False
        try:
            # Not `wait_for`, which loses a cancellation that arrives together with a report.
            async with asyncio.timeout(timeout):
                report = await self._reports.get()
        except TimeoutError:
            if self._exit_watch is None and not self._keeper.terminal.isalive():
                report = None
        self.gone = self.gone or report is None
        return report

    def ended_meanwhile(self) -> bool:
        """Read the available reports; whether one says that a shell has ended."""
        ended = False
        while not self._reports.empty():
            report = self._reports.get_nowait()
            self.gone = self.gone or report is None
            ended = ended or report is None or report.kind == "D"
        return ended

    def _flush(self) -> None:
        commands = self._keeper.commands
        try:
            while self._unsent:
                del self._unsent[: os.write(commands, self._unsent)]
        except BlockingIOError:
            self._loop.add_writer(commands, self._flush)
            return
        except OSError:  # the shell is gone; the reports end too
            self._unsent.clear()
        self._loop.remove_writer(commands)

    def _on_report(self) -> None:
        try:
            data = os.read(self._keeper.reports, 1 << 16)
        except BlockingIOError:
            return
        if not data:
            self._loop.remove_reader(self._keeper.reports)
            self._reports.put_nowait(None)
        for report in self._parser.feed(data):
            self._reports.put_nowait(report)

    def drain_terminal(self) -> None:
        """Read the terminal without waiting."""
        while self._on_terminal():
            pass

    def _on_terminal(self) -> bool:
        try:
            data = os.read(self._keeper.terminal.child_fd, 1 << 16)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._loop.remove_reader(self._keeper.terminal.child_fd)
            return False
        self.last_output = data[-_LAST_OUTPUT:].decode("utf-8", "replace").strip()
        self._on_terminal_bytes(data)
        return True

    def _on_exit(self) -> None:
        self._forget_exit_watch()
        # Read the reports written before the end.
        with contextlib.suppress(OSError):
            self._on_report()
        self._reports.put_nowait(None)

    def _forget_exit_watch(self) -> None:
        if self._exit_watch is not None:
            self._loop.remove_reader(self._exit_watch)
            os.close(self._exit_watch)
            self._exit_watch = None

    def is_quiet(self, shell: int | None) -> bool:
        """Whether nothing runs below the shell or beside it in its sandbox."""
        # The sandbox's own processes have one child each, down to the shell; whoever loses their
        # parent becomes a child of one of them.
        below = [self._keeper.terminal.pid]
        while below and len(below) == 1:
            last = below[0]
            below = processes.children(last)
        return not below and last == shell

    def kill(self) -> None:
        """Kill the keeper, and with it all of its sandbox; the reports end."""
        if self._keeper.terminal.isalive():  # else its pid may be that of another process
            os.kill(self._keeper.terminal.pid, signal.SIGKILL)

    def close(self) -> None:
        """Kill the shell and its background jobs, and close the descriptors."""
        if self._closed:
            return
        self._closed = self.gone = True
        self._forget_exit_watch()
        self._loop.remove_reader(self._keeper.reports)
        self._loop.remove_reader(self._keeper.terminal.child_fd)
        self._loop.remove_writer(self._keeper.commands)
        os.close(self._keeper.commands)
        os.close(self._keeper.reports)
        stop(self._keeper)
