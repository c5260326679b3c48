"""Progress of a headless run: a live line on a terminal, plain lines in a log."""

from __future__ import annotations

import os
import shutil
import time
from typing import TextIO

from laguna_agent.byte_sizes import gigabytes
from laguna_agent.events import (
    CheckRan,
    Compacted,
    EngineRestarted,
    Event,
    ModelLoading,
    Notice,
    PrefillProgress,
    Reply,
    RetryWait,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    ToolFinished,
    ToolStarted,
)
from laguna_agent.interfaces.phrases import short_summary
from laguna_agent.policy.sanitize import visible

_DISCARDED = {
    "length": "the context was full",
    "context_full": "the context was full",
    "repeats": "it repeats itself without end",
}
"""Why a reply was discarded, by how it ended."""
_REDRAW_S = 0.1
_PLAIN_S = 10.0


class ProgressPrinter:
    """Writes to `stream` (standard error). On a terminal the last line is live."""

    def __init__(self, stream: TextIO, *, quiet: bool = False) -> None:
        self._stream = stream
        self._quiet = quiet
        self._live = stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self._line = ""
        self._drawn = 0.0
        self._generated = 0
        self._began = 0.0

    def show(self, event: Event) -> None:
        """Show an event, if it matters to a person."""
        if self._quiet:
            return
        match event:
            case ModelLoading(measuring=True):
                self._update("measuring the best settings for this machine (once per model)")
            case ModelLoading(done=done, total=total) if total:
                self._update(f"loading the model: {gigabytes(done)} of {gigabytes(total)}")
            case PrefillProgress():
                self._update(_prefill(event))
            case TextDelta() | ThinkingDelta() | ToolCallDelta():
                self._generating(event)
            case Reply():
                self._replied(event)
            case ToolStarted(title=title):
                self._update(f"{title} ...")
            case ToolFinished():
                mark = "✓" if event.ok else "✗"
                summary = short_summary(event.title, event.summary)
                detail = f"  {summary}" if summary else ""
                self._write_line(f"{mark} {event.title}{detail}{_seconds(event.duration_s)}")
                self._update("")
            case CheckRan(command=command, exit_code=code):
                mark = "✓" if code == 0 else "✗"
                status = "passes" if code == 0 else f"fails (exit {code})"
                self._write_line(f"{mark} check `{command}` {status}{_seconds(event.duration_s)}")
            case Notice(text=text):
                self._write_line(f"- {text}")
            case Compacted():
                self._write_line(f"- {compacted_line(event)}")
            case EngineRestarted(reason=reason, server=False):
                self._write_line(f"- engine restarted: {reason}")
            case EngineRestarted(reason=reason, attempt=1) if not self._live:
                self._write_line(f"- asking the server again: {reason}")
            case RetryWait():
                if self._live:
                    self._update(retry_line(event))
            case _:
                pass

    def close(self) -> None:
        """Clear the live line."""
        self._erase()

    def _generating(self, event: TextDelta | ThinkingDelta | ToolCallDelta) -> None:
        now = time.monotonic()
        if not self._generated:
            self._began = now
        self._generated += 1
        kind = {"thinking_delta": "thinking", "text_delta": "writing"}.get(event.type, "calling")
        if isinstance(event, ToolCallDelta) and event.name:
            kind = event.name
        self._update(f"{kind}: {now - self._began:.0f} s")

    def _replied(self, reply: Reply) -> None:
        self._generated = 0
        text = " ".join(reply.text.split())
        if reply.discarded and reply.side_by_side:
            return
        if reply.discarded:
            why = _DISCARDED.get(reply.finish_reason, "it repeats an earlier one")
            self._write_line(f"- reply discarded, since {why}; generating another")
        elif text:
            self._write_line(f"· {text if len(text) <= 200 else text[:199] + '…'}")

    def _update(self, line: str) -> None:
        """Replace the live line; without a terminal, write it every ten seconds at most."""
        now = time.monotonic()
        if self._live:
            if line == self._line or (line and now - self._drawn < _REDRAW_S):
                return
            self._erase()
            width = shutil.get_terminal_size().columns
            self._line = visible(line)[: max(10, width - 1)]
            self._write(self._line)
            self._drawn = now
        elif line and now - self._drawn >= _PLAIN_S:
            if self._drawn:
                self._write(visible(line) + "\n")
            self._drawn = now

    def _write_line(self, line: str) -> None:
        self._erase()
        self._write(visible(line) + "\n")

    def _erase(self) -> None:
        if self._live and self._line:
            self._write("\r\x1b[K")
            self._line = ""

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            self._quiet = True


def retry_line(event: RetryWait) -> str:
    """Why and when a server is asked again, in one line."""
    when = f"in {event.left_s:.0f} s" if event.left_s >= 0.5 else "now"
    return f"asking the server again {when} (try {event.attempt + 1}): {event.reason}"


def compacted_line(event: Compacted) -> str:
    """What a compaction did and dropped, in one line."""
    line = f"summarised: {event.tokens_before:,} tokens became {event.tokens_after:,}"
    return f"{line}; left out: {', '.join(event.dropped)}" if event.dropped else line


def _prefill(event: PrefillProgress) -> str:
    reused = f", {event.reused} reused" if event.reused else ""
    rate = f", {event.rate:.0f} tokens/s" if event.rate else ""
    eta = f", {event.eta_s:.0f} s left" if event.eta_s else ""
    return f"reading: {event.done} of {event.total} tokens{reused}{rate}{eta}"


def _seconds(seconds: float) -> str:
    return f"  {seconds:.1f} s" if seconds >= 0.1 else ""
