"""Shows a transfer on standard error: one live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from typing import TextIO

from laguna_agent.byte_sizes import gigabytes
from laguna_agent.models.fetch.partial_download import DownloadProgress, Meter

_PLAIN_EVERY = 10.0


class TransferLine:
    """A context manager that shows progress and notices, never mixed on one line."""

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        quiet: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._live = self._stream.isatty()
        self._quiet = quiet
        self._clock = clock
        self._width = 0
        self._last = float("-inf")
        self._phase = ""
        self._ended = False

    def __enter__(self) -> TransferLine:
        return self

    def __exit__(self, *_: object) -> None:
        self._clear()

    def progress(self, progress: DownloadProgress) -> None:
        """Show progress, if it is time to."""
        if self._quiet:
            return
        if self._live:
            columns = shutil.get_terminal_size((80, 24)).columns
            text = describe(progress)[: max(columns - 1, 1)]
            self._stream.write("\r" + text.ljust(self._width))
            self._width = len(text)
            self._stream.flush()
            return
        now = self._clock()
        ended = progress.done == progress.total
        # The end always gets a line, and only one.
        due = ended != self._ended if ended else now - self._last >= _PLAIN_EVERY
        if progress.phase != self._phase or due:
            self._phase, self._last, self._ended = progress.phase, now, ended
            self._stream.write(describe(progress) + "\n")
            self._stream.flush()

    def notice(self, text: str) -> None:
        """Write a notice on a line of its own."""
        self._clear()
        self._stream.write(f"laguna: {text}\n")
        self._stream.flush()

    def hashing(self, name: str) -> Callable[[int, int], None]:
        """A callback that shows the progress of a file's digest, if the file is large."""
        meter = Meter(name, self.progress)

        def show(done: int, total: int) -> None:
            meter.total = total
            if total >= 1 << 30:
                meter.at("checking", done)

        return show

    def _clear(self) -> None:
        if self._width:
            self._stream.write("\r" + " " * self._width + "\r")
            self._stream.flush()
            self._width = 0


def describe(progress: DownloadProgress) -> str:
    """`laguna-xs-2.1  43 %  8.7 GB of 20.3 GB  24 MB/s  8 min left`."""
    parts = [progress.name]
    if progress.phase == "checking":
        parts.append("checking")
    if progress.total:
        parts.append(f"{100 * progress.done // progress.total}%")
        parts.append(f"{gigabytes(progress.done)} of {gigabytes(progress.total)}")
    else:
        parts.append(gigabytes(progress.done))
    if progress.rate >= 1:
        parts.append(f"{gigabytes(round(progress.rate))}/s")
    if progress.eta_s is not None and progress.done != progress.total:
        parts.append(f"{duration(progress.eta_s)} left")
    return "  ".join(parts)


def duration(seconds: float) -> str:
    """A duration as people write it: `45 s`, `8 min`, `2 h 05 min`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"
