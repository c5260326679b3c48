"""Text of generated tokens, safe to show: whole UTF-8 characters and no part of a stop string."""

from __future__ import annotations

import codecs
from collections.abc import Sequence


class TextStream:
    """Turns token bytes into text, holding back what may still become a stop string.

    Once `stopped` is set, the text ends right before the stop string.
    """

    def __init__(self, stops: Sequence[str] = ()) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""
        self.stopped: str | None = None
        self.shown = 0
        """Bytes of text before the stop string, once there is one."""
        self._before = 0

    @property
    def clean(self) -> bool:
        """True when no incomplete character is pending."""
        return not self._decoder.getstate()[0]

    def feed(self, data: bytes) -> str:
        """Add the bytes of a token; returns the text that may be shown now."""
        return self._take(self._decoder.decode(data))

    def finish(self) -> str:
        """The text still held back at the end of the reply."""
        if self.stopped is not None:
            return ""
        rest = self._take(self._decoder.decode(b"", final=True))
        if self.stopped is None:
            rest, self._held = rest + self._held, ""
        return rest

    def _take(self, text: str) -> str:
        if self.stopped is not None:
            return ""
        if not self._stops:
            return text
        self._held += text
        found = [(at, stop) for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:
            at, self.stopped = min(found)
            shown, self._held = self._held[:at], ""
            self.shown = self._before + len(shown.encode())
            return shown
        keep = max(_overlap(self._held, stop) for stop in self._stops)
        cut = len(self._held) - keep
        shown, self._held = self._held[:cut], self._held[cut:]
        self._before += len(shown.encode())
        return shown


def _overlap(text: str, stop: str) -> int:
    """Length of the longest suffix of `text` that is a prefix of `stop`."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
