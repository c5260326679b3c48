"""The connection to a keeper: what is sent to it, what it reports, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from laguna_agent.tools.terminal.driver import Report, ReportParser
from laguna_agent.tools.terminal.spawn import spawn, stop
from laguna_agent.tools.tool import Sandbox

_LAST_WORDS = 500


class Connection:
    """A keeper that runs, seen from the event loop. Made in a running loop, closed in it."""

    def __init__(
        self,
        sandbox: Sandbox | None,
        workspace: Path,
        pipes: Path,
        on_terminal: Callable[[bytes], None],
    ) -> None:
        """Start it. `on_terminal` gets what is written to the terminal itself.

        Raises OSError or what pexpect and the sandbox raise.
        """
        self.gone = False
        """True once the keeper's end has been read from the reports."""
        self.last_words = ""
        self._keeper = spawn(sandbox, workspace, pipes)
        self.mark = self._keeper.mark
        self._on_terminal_bytes = on_terminal
        self._parser = ReportParser()
        self._reports: asyncio.Queue[Report | None] = asyncio.Queue()
        self._unsent = bytearray()
        self._exit_watch: int | None = None
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._keeper.reports, self._on_report)
        self._loop.add_reader(self._keeper.terminal.child_fd, self._on_terminal)
        if hasattr(os, "pidfd_open"):
            self._exit_watch = os.pidfd_open(self._keeper.terminal.pid)
            self._loop.add_reader(self._exit_watch, self._on_exit)

    def send(self, *fields: str) -> None:
        """Send fields; what the pipe does not take yet follows when it does."""
        waiting = bool(self._unsent)
        for text in fields:
            self._unsent += text.encode("utf-8", "surrogateescape") + b"\0"
        if not waiting:
            self._flush()

    async def next_report(self, timeout: float) -> Report | bool | None:
        """The next report; None when the keeper is gone, False after `timeout` seconds."""
        report: Report | bool | None = False
        try:
            # Not `wait_for`, which loses a cancellation that comes together with a report.
            async with asyncio.timeout(timeout):
                report = await self._reports.get()
        except TimeoutError:
            if self._exit_watch is None and not self._keeper.terminal.isalive():
                report = None
        self.gone = self.gone or report is None
        return report

    def ended_meanwhile(self) -> bool:
        """Take the reports that are there; whether one says that a shell has ended."""
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
        except OSError:  # the shell is gone, which the reports tell
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
        """Read what is on the terminal, without waiting."""
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
        self.last_words = data[-_LAST_WORDS:].decode("utf-8", "replace").strip()
        self._on_terminal_bytes(data)
        return True

    def _on_exit(self) -> None:
        self._forget_exit_watch()
        # What was written before the end is read before the end is told.
        with contextlib.suppress(OSError):
            self._on_report()
        self._reports.put_nowait(None)

    def _forget_exit_watch(self) -> None:
        if self._exit_watch is not None:
            self._loop.remove_reader(self._exit_watch)
            os.close(self._exit_watch)
            self._exit_watch = None

    def close(self) -> None:
        """Kill all that is left of the shell, background jobs too, and close what it held."""
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
