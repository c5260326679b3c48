"""The line that says what laguna does now, and for how long; and what waits to be said.

It has a fixed height and redraws only itself, a few times a second and only while something runs.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from rich.text import Text
from textual.widget import Widget

from laguna_agent.interfaces.tui.themes import Palette
from laguna_agent.interfaces.tui.transcript.rendering import seconds
from laguna_agent.policy.sanitize import visible

if TYPE_CHECKING:
    from laguna_agent import events as e

_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_BAR = 12
_STOPS, _REFUSES = " · esc stops", " · esc is no"
_ROOM = len("⠋  · 12 min 05 s") + len(_STOPS)
"""Columns that a long name of what runs leaves for the time and the key."""


class ActivityLine(Widget):
    """One line. `begin` starts the clock, `end` stops it; events change what it says."""

    def __init__(self, palette: Palette, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.palette = palette
        self._what = ""
        self._detail = ""
        self._escape = _STOPS
        self._share: float | None = None
        self._read: tuple[e.PrefillProgress, float] | None = None
        """How far the reading of a prompt was when it was last told, and when that was."""
        self._since = 0.0
        self._frame = 0
        self._tokens = 0
        self._first = 0.0
        self._summarising = False
        self._timer: Any = None
        self.still = False
        """True: no animation and no clock, for pictures."""

    @property
    def running(self) -> bool:
        """Whether something is said to go on."""
        return bool(self._what)

    def begin(self, what: str) -> None:
        """Say that something goes on."""
        self._what, self._detail, self._share, self._read = what, "", None, None
        self._escape = _STOPS
        self._since = time.monotonic()
        if self._timer is None and not self.still:
            self._timer = self.set_interval(0.25, self._tick)
        self.refresh()

    def end(self) -> None:
        """Nothing goes on."""
        self._what, self._summarising = "", False
        if self._timer is not None:
            self._timer.stop()
            self._timer = None
        self.refresh()

    def take(self, event: e.Event) -> None:
        """Follow an event of the session."""
        show: Any = getattr(self, f"_{event.type}", None)
        if show is not None:
            show(event)

    def say(self, what: str, detail: str = "", share: float | None = None) -> None:
        """Change what is said; the clock starts anew when it is something else."""
        if what != self._what:
            self.begin(what)
        self._read = None
        changed = (detail, share) != (self._detail, self._share)
        self._detail, self._share = detail, share
        if changed and self.still:
            self.refresh()

    def ask(self) -> None:
        """Say that a person is waited for."""
        self.say("waiting for your answer")
        self._escape = _REFUSES

    def _tick(self) -> None:
        self._frame += 1
        self.refresh()

    # --- events ----------------------------------------------------------------------------

    def _model_loading(self, event: e.ModelLoading) -> None:
        if event.measuring:
            self.say("measuring what suits this machine", "once for each model")
            return
        elapsed = time.monotonic() - self._since
        share = event.done / event.total if event.total else None
        detail = f"{size(event.done)} of {size(event.total)}" if event.total else ""
        if share and share > 0.02 and elapsed > 1 and self._what == "loading the model":
            detail += f" · {seconds(elapsed * (1 - share) / share)} left"
        self.say("loading the model", detail, share)

    def _prefill_progress(self, event: e.PrefillProgress) -> None:
        parts = [f"{event.done:,} of {event.total:,} tokens"]
        if event.reused:
            parts.append(f"{event.reused:,} reused")
        if event.rate:
            parts.append(f"{event.rate:.0f}/s")
        self.say("reading", " · ".join(parts), event.done / event.total if event.total else None)
        self._read = event, time.monotonic()

    def _generated(self, what: str) -> None:
        now = time.monotonic()
        if what != self._what or not self._tokens:
            self._tokens, self._first = 0, now
        self._tokens += 1
        elapsed = now - self._first
        rate = f"{self._tokens / elapsed:.0f} tokens/s" if elapsed > 0.5 else ""
        self.say(what, rate if not self.still else "")

    def _thinking_delta(self, event: e.ThinkingDelta) -> None:
        self._generated("thinking")

    def _text_delta(self, event: e.TextDelta) -> None:
        self._generated("summarising" if self._summarising else "writing")

    def _tool_call_delta(self, event: e.ToolCallDelta) -> None:
        self._generated(f"calling {event.name}" if event.name else "calling a tool")

    def _system_note(self, event: e.SystemNote) -> None:
        self._summarising = event.reason == "compaction"

    def _step_started(self, event: e.StepStarted) -> None:
        self._summarising = False
        self._tokens = 0
        self.say("waiting for the model")

    def _reply(self, event: e.Reply) -> None:
        self._tokens, self._summarising = 0, False

    def _tool_started(self, event: e.ToolStarted) -> None:
        self.say(f"running {event.title}")

    def _tool_finished(self, event: e.ToolFinished) -> None:
        self.say("working")

    # --- drawing ---------------------------------------------------------------------------

    def render(self) -> Text:
        if not self._what:
            return Text(no_wrap=True)
        width = self.size.width
        elapsed = 0.0 if self.still else time.monotonic() - self._since
        parts = self._detail.split(" · ") if self._detail else []
        if left := self._left():
            parts.append(f"{seconds(left)} left")
        # What matters least goes first: the clock, the bar, what is between first and last.
        tries = [(parts, elapsed, _BAR), (parts, 0.0, _BAR), (parts, 0.0, _BAR // 2)]
        tries += [([*parts[:n], *parts[-1:]], 0.0, 0) for n in range(len(parts) - 1, 0, -1)]
        short = [part.replace(" of ", "/").replace(" tokens", "") for part in parts]
        tries.append(([*short[:1], *short[1:][-1:]], 0.0, 0))
        for shown, clock, bar in tries:
            line = self._line(shown, clock, bar)
            if line.cell_len + len(self._escape) <= width:
                return line.append(self._escape, style=self.palette.muted)
        line.truncate(width, overflow="ellipsis")
        return line

    def _line(self, parts: list[str], elapsed: float, bar: int) -> Text:
        p = self.palette
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append(f"{_FRAMES[self._frame % len(_FRAMES)]} ", style=p.accent)
        what = Text(visible(self._what, single_line=True), style=p.accent)
        what.truncate(max(16, self.size.width - _ROOM), overflow="ellipsis")
        text.append_text(what)
        if self._share is not None and bar:
            filled = round(min(1.0, self._share + self._ahead()) * bar)
            text.append(" " + "━" * filled, style=p.accent)
            text.append("━" * (bar - filled), style=p.muted)
        if parts:
            text.append(" " + " · ".join(parts), style=p.foreground)
        if elapsed >= 1:
            text.append(f" · {seconds(elapsed)}", style=p.muted)
        return text

    def _left(self) -> float:
        """Seconds that the reading still takes, as far as it goes on as it did."""
        if self._read is None:
            return 0.0
        event, when = self._read
        return max(0.0, event.eta_s - (0.0 if self.still else time.monotonic() - when))

    def _ahead(self) -> float:
        """The share of a prompt that should have been read since it was last told."""
        if self._read is None or self.still or not self._read[0].total:
            return 0.0
        event, when = self._read
        since = event.rate * (time.monotonic() - when)
        return min(since, 0.95 * (event.total - event.done)) / event.total


class QueuedMessages(Widget):
    """What was typed while laguna works and is not used yet."""

    def __init__(self, palette: Palette, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.palette = palette
        self._items: list[tuple[str, str]] = []

    def show(self, items: list[tuple[str, str]]) -> None:
        """Show (how, text) in the order in which they are used."""
        if items != self._items:
            self._items = list(items)
            self.display = bool(items)
            self.refresh(layout=True)

    def get_content_height(self, container: object, viewport: object, width: int) -> int:
        return min(4, len(self._items))

    def render(self) -> Text:
        p = self.palette
        lines = []
        for how, said in self._items[:4]:
            line = Text(no_wrap=True)
            what = "↳ before the next step: " if how == "steer" else "⋯ after this turn: "
            line.append(what, style=p.accent if how == "steer" else p.muted)
            line.append(visible(said, single_line=True), style=p.foreground)
            line.append("   alt+up edits", style=p.muted)
            line.truncate(self.size.width, overflow="ellipsis")
            lines.append(line)
        return Text("\n").join(lines)


def size(count: int) -> str:
    """Bytes for people."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
