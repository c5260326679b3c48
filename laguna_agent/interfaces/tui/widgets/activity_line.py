"""The activity line: what laguna is doing, how far it is, and for how long.

Its height is fixed. It redraws only itself, four times a second, and only while something runs.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.text import Text
from textual.message import Message
from textual.screen import Screen
from textual.timer import Timer
from textual.widget import Widget

from laguna_agent.byte_sizes import gigabytes
from laguna_agent.interfaces.tui.themes import Palette
from laguna_agent.interfaces.tui.transcript.rendering import seconds
from laguna_agent.policy.sanitize import visible

if TYPE_CHECKING:
    from laguna_agent import events as e

_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_BAR_CELLS = 12
_STOP_HINT = " · esc stops"
_DENY_HINTS = (" · ←→ choose · esc denies", " · ←→ · esc denies")
"""For a card without a border, which else names its keys; the longest first."""
_RESERVED_CELLS = len("⠋  · 12 min 05 s") + len(_STOP_HINT)
"""Cells that a long activity name leaves for the clock and the key."""


def _is_low(screen: Screen[object]) -> bool:
    return screen.has_class("-low") or screen.has_class("-tiny")


class ActivityLine(Widget):
    """One line. `begin` starts the clock, `end` stops it; session events change the text."""

    class Begun(Message):
        """Something runs now."""

    class Ended(Message):
        """Nothing runs any more."""

    def __init__(self, palette: Palette, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.palette = palette
        self.busy = False
        """Whether something runs: loading, a turn, a command, a download."""
        self._what = ""
        self._detail = ""
        self._key_hints: Sequence[str] = (_STOP_HINT,)
        self._share: float | None = None
        self._prefill: tuple[e.PrefillProgress, float] | None = None
        """The last report of prompt processing, and when it came."""
        self._since = 0.0
        self._frame = 0
        self._tokens = 0
        self._first_token_at = 0.0
        self._summarising = False
        self._timer: Timer | None = None
        self.still = False
        """True: no animation and no clock, for pictures."""

    def begin(self, what: str, *, hint: str = _STOP_HINT) -> None:
        """Something starts to run; `hint` names the keys for it."""
        self.busy = True
        self._restart(what)
        self._key_hints = (hint,)
        self.post_message(self.Begun())

    def end(self) -> None:
        """Nothing runs any more."""
        self.busy = False
        self._what, self._summarising = "", False
        if self._timer is not None:
            self._timer.stop()
            self._timer = None
        self.refresh()
        self.post_message(self.Ended())

    def report(self, what: str, detail: str = "", share: float | None = None) -> None:
        """Change the text; the clock restarts when `what` is another activity."""
        if what != self._what:
            self._restart(what)
        self._prefill = None
        changed = (detail, share) != (self._detail, self._share)
        self._detail, self._share = detail, share
        if changed and self.still:
            self.refresh()

    def await_approval(self) -> None:
        """Show that the agent waits for the user."""
        self.report("waiting for you")
        self._key_hints = _DENY_HINTS

    def _restart(self, what: str) -> None:
        self._what, self._detail, self._share, self._prefill = what, "", None, None
        self._key_hints = (_STOP_HINT,)
        self._since = time.monotonic()
        if self._timer is None and not self.still:
            self._timer = self.set_interval(0.25, self._tick)
        self.refresh()

    def _tick(self) -> None:
        self._frame += 1
        self.refresh()

    # --- events ----------------------------------------------------------------------------

    def show_event(self, event: e.Event) -> None:
        """Follow an event of the session."""
        match event.type:
            case "model_loading":
                self._show_loading(event)
            case "prefill_progress":
                self._show_prefill(event)
            case "retry_wait":
                self.report("asking the server again", f"in {event.left_s:.0f} s")
            case "thinking_delta":
                self._count_token("thinking")
            case "text_delta":
                self._count_token("summarising" if self._summarising else "writing")
            case "tool_call_delta":
                self._count_token(f"calling {event.name}" if event.name else "calling a tool")
            case "system_note":
                self._summarising = event.reason == "compaction"
            case "step_started":
                self._summarising, self._tokens = False, 0
                self.report("waiting for the model")
            case "reply":
                self._summarising, self._tokens = False, 0
            case "tool_started":
                self.report(f"running {event.title}")
            case "tool_finished":
                self.report("working")
            case _:
                pass

    def _show_loading(self, event: e.ModelLoading) -> None:
        if not self.busy:
            self.begin("loading the model")
        if event.measuring:
            self.report("measuring the best settings for this machine", "once per model")
            return
        elapsed = time.monotonic() - self._since
        share = event.done / event.total if event.total else None
        detail = f"{gigabytes(event.done)} of {gigabytes(event.total)}" if event.total else ""
        if share and share > 0.02 and elapsed > 1 and self._what == "loading the model":
            detail += f" · {seconds(elapsed * (1 - share) / share)} left"
        self.report("loading the model", detail, share)

    def _show_prefill(self, event: e.PrefillProgress) -> None:
        parts = [f"{event.done:,} of {event.total:,} tokens"]
        if event.reused:
            parts.append(f"{event.reused:,} reused")
        if event.rate:
            parts.append(f"{event.rate:.0f}/s")
        self.report("reading", " · ".join(parts), event.done / event.total if event.total else None)
        self._prefill = event, time.monotonic()

    def _count_token(self, what: str) -> None:
        now = time.monotonic()
        if what != self._what or not self._tokens:
            self._tokens, self._first_token_at = 0, now
        self._tokens += 1
        elapsed = now - self._first_token_at
        rate = f"{self._tokens / elapsed:.0f} tokens/s" if elapsed > 0.5 else ""
        self.report(what, rate if not self.still else "")

    # --- drawing ---------------------------------------------------------------------------

    def render(self) -> Text:
        if not self._what:
            return Text(no_wrap=True)
        width = self.size.width
        elapsed = 0.0 if self.still else time.monotonic() - self._since
        parts = self._detail.split(" · ") if self._detail else []
        if left := self._prefill_seconds_left():
            parts.append(f"{seconds(left)} left")
        # The least important goes first: the clock, the bar, the details in the middle.
        forms = [(parts, elapsed, _BAR_CELLS), (parts, 0.0, _BAR_CELLS)]
        forms.append((parts, 0.0, _BAR_CELLS // 2))
        forms += [([*parts[:n], *parts[-1:]], 0.0, 0) for n in range(len(parts) - 1, 0, -1)]
        short = [part.replace(" of ", "/").replace(" tokens", "") for part in parts]
        forms.append(([*short[:1], *short[1:][-1:]], 0.0, 0))
        named = self._key_hints == _DENY_HINTS and not _is_low(self.screen)
        hints = ("",) if named else self._key_hints
        for shown, clock, bar in forms:
            line = self._line(shown, clock, bar)
            for hint in hints:
                if line.cell_len + len(hint) <= width:
                    return line.append(hint, style=self.palette.muted)
        line.truncate(width, overflow="ellipsis")
        return line

    def _line(self, parts: list[str], elapsed: float, bar: int) -> Text:
        p = self.palette
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append(f"{_FRAMES[self._frame % len(_FRAMES)]} ", style=p.accent)
        what = Text(visible(self._what, single_line=True), style=p.accent)
        what.truncate(max(16, self.size.width - _RESERVED_CELLS), overflow="ellipsis")
        text.append_text(what)
        if self._share is not None and bar:
            filled = round(min(1.0, self._share + self._expected_share()) * bar)
            text.append(" " + "━" * filled, style=p.accent)
            text.append("━" * (bar - filled), style=p.muted)
        if parts:
            text.append(" " + " · ".join(parts), style=p.foreground)
        if elapsed >= 1:
            text.append(f" · {seconds(elapsed)}", style=p.muted)
        return text

    def _prefill_seconds_left(self) -> float:
        """Seconds until the prompt is processed, at the reported rate."""
        if self._prefill is None:
            return 0.0
        event, when = self._prefill
        return max(0.0, event.eta_s - (0.0 if self.still else time.monotonic() - when))

    def _expected_share(self) -> float:
        """The share of the prompt that is probably processed since the last report."""
        if self._prefill is None or self.still or not self._prefill[0].total:
            return 0.0
        event, when = self._prefill
        tokens = event.rate * (time.monotonic() - when)
        return min(tokens, 0.95 * (event.total - event.done)) / event.total
