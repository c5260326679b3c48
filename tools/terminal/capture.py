"""Captures the output of one command: shown live, bounded in memory, saved whole to a file."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from laguna_agent.tools.terminal.ansi import HeadAndTail, OutputCleaner

FILE_LIMIT = 64 << 20
"""Bytes of output that are saved; a command that prints more is stopped."""
_PAUSE = 0.05
_CHUNK = 1 << 16
_SHOW_EVERY = 0.05
_SHOW_LIMIT = 4_000


class Capture:
    """The output of one command, which may continue in the background after it returned."""

    def __init__(
        self,
        descriptor: int | None,
        *,
        limit: int,
        on_output: Callable[[str], None],
        save: Callable[[], tuple[str, Path]],
    ) -> None:
        self.name = ""
        """The name for `read` that shows all of it (`output:N`), empty if it was not saved."""
        self.file: Path | None = None
        self.flooded = False
        self.closed = asyncio.Event()
        """Set when no process has the other end open."""
        self._descriptor = descriptor
        self._on_output: Callable[[str], None] | None = on_output
        self._save = save
        self._limit = limit
        self._cleaner = OutputCleaner()
        self._shown = HeadAndTail(limit)
        self._unsaved: list[str] = []
        self._size = 0
        self._read = 0
        self._pause: asyncio.TimerHandle | None = None
        self._stream: int | None = None
        self._cannot_save = False
        self._live = ""
        self._timer: asyncio.TimerHandle | None = None
        if descriptor is not None:
            asyncio.get_running_loop().add_reader(descriptor, self._on_readable)

    def _on_readable(self) -> None:
        self.drain(rounds=4)
        if self.flooded and self._descriptor is not None:
            # The output is discarded: pause, so as not to keep a processor busy.
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._descriptor)
            self._pause = loop.call_later(_PAUSE, self._resume)

    def _resume(self) -> None:
        self._pause = None
        if self._descriptor is not None:
            asyncio.get_running_loop().add_reader(self._descriptor, self._on_readable)

    def drain(self, rounds: int = 1_000_000) -> None:
        """Read the available output without waiting."""
        while self._descriptor is not None and rounds > 0:
            rounds -= 1
            try:
                data = os.read(self._descriptor, _CHUNK)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._close_descriptor()
                return
            self.feed(data)

    def feed(self, data: bytes) -> None:
        """Add output."""
        if self.flooded:
            return
        self._read += len(data)
        self.flooded = self._read > FILE_LIMIT
        self._take(self._cleaner.feed(data))
        if self._on_output is not None and self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_SHOW_EVERY, self._show_live)

    def _take(self, text: str) -> None:
        if not text:
            return
        self._size += len(text)
        self._shown.add(text)
        if self._on_output is not None:
            self._live = (self._live + text)[-_SHOW_LIMIT:]
        if self._stream is None and not self._cannot_save:
            self._unsaved.append(text)
            if self._size > self._limit:
                self.save()
        elif self._stream is not None:
            self._write(text)

    def save(self) -> None:
        """Save the output to a file from now on, including what came before."""
        if self._stream is not None or self._cannot_save:
            return
        try:
            self.name, self.file = self._save()
            flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            self._stream = os.open(self.file, flags)
        except OSError:  # a full or read-only state directory must not lose the result
            self.name, self.file, self._cannot_save = "", None, True
            self._unsaved.clear()
            return
        self._write("".join(self._unsaved))
        self._unsaved.clear()

    def _write(self, text: str) -> None:
        data = memoryview(text.encode("utf-8", "replace"))
        try:
            while data and self._stream is not None:
                data = data[os.write(self._stream, data) :]
        except OSError:
            self._cannot_save = True
            self._close_stream()

    def _show_live(self) -> None:
        self._timer = None
        text, self._live = self._live, ""
        if text and self._on_output is not None:
            self._on_output(text)

    def result(self) -> str:
        """The output so far, bounded; later output goes only to the file."""
        if self._descriptor is None:
            self._take(self._cleaner.finish())
        if self._timer is not None:
            self._timer.cancel()
        self._show_live()
        self._on_output = None
        where = f"; all of it: read {self.name}" if self.name else ""
        text = self._shown.text(where)
        if self._descriptor is not None:
            text += self._cleaner.waiting()
        self._shown = HeadAndTail(0)
        return text

    @property
    def truncated(self) -> bool:
        """Whether `result` leaves something out."""
        return self._size > self._limit

    def _close_descriptor(self) -> None:
        if self._descriptor is None:
            return
        with contextlib.suppress(RuntimeError):
            asyncio.get_running_loop().remove_reader(self._descriptor)
        os.close(self._descriptor)
        self._descriptor = None
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        if self._stream is not None:
            self._take(self._cleaner.finish())
            self._close_stream()
        self.closed.set()

    def _close_stream(self) -> None:
        if self._stream is not None:
            os.close(self._stream)
            self._stream = None

    def close(self) -> None:
        """Stop reading."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._close_descriptor()
        self._close_stream()
        self.closed.set()
