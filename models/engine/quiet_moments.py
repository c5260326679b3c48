"""Finds the moments at which nothing else loads the machine, so that measuring does not mislead."""

from __future__ import annotations

import os
import time
from pathlib import Path

_SECONDS = 5.0
"""Seconds that a moment must have lasted."""
_APART = 0.5
"""Seconds between two looks; over a shorter time a single tick would count as load."""
_BUSY = 0.15
"""Share of the processors' time up to which the machine is quiet."""


class QuietMoments:
    """Watches the processors while it is asked regularly."""

    def __init__(self, stat: Path = Path("/proc/stat")) -> None:
        self._stat = stat
        self._asked, self._last = 0.0, (0, 0)
        self._since: float | None = None
        self._lasts = False

    def lasts(self) -> bool:
        """Whether the machine has been quiet for some seconds. Pauses between calls start anew."""
        now = time.monotonic()
        if now - self._asked < _APART:
            return self._lasts
        self._lasts = self._look(now)
        return self._lasts

    def _look(self, now: float) -> bool:
        times = self._times()
        if times is None:  # not Linux: the load of the last minute
            return os.getloadavg()[0] < _BUSY * (os.cpu_count() or 1)
        if now - self._asked > _SECONDS:
            self._since = None
        else:
            busy, total = (new - old for new, old in zip(times, self._last, strict=True))
            if busy > _BUSY * max(1, total):
                self._since = None
            elif self._since is None:
                self._since = self._asked
        self._asked, self._last = now, times
        return self._since is not None and now - self._since >= _SECONDS

    def _times(self) -> tuple[int, int] | None:
        """Time of all processors since the start, in ticks: busy, and in all."""
        try:
            fields = self._stat.read_text().split("\n", 1)[0].split()[1:9]
            user, nice, system, idle, waiting, *others = map(int, fields)
        except (OSError, ValueError):
            return None
        busy = user + nice + system + sum(others)
        return busy, busy + idle + waiting
