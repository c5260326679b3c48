"""The status line: the mode first, then the model, how full the context is, and where we are."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from rich.text import Text
from textual.reactive import reactive
from textual.widget import Widget

from laguna_agent.interfaces.tui.themes import Palette
from laguna_agent.policy.display import visible


@dataclass(frozen=True)
class Status:
    """What the line says. `used` and `limit` are tokens."""

    mode: str = "ask"
    plan: bool = False
    model: str = ""
    used: int = 0
    limit: int = 0
    place: str = ""
    branch: str = ""
    mouse: bool = True


class StatusLine(Widget):
    """One line, redrawn when its status changes."""

    status: reactive[Status] = reactive(Status())
    flash: reactive[str] = reactive("")

    def __init__(self, palette: Palette, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.palette = palette

    def say(self, text: str, for_s: float = 3.0) -> None:
        """Show something short for a moment in the place of the right half."""
        self.flash = text
        self.set_timer(for_s, lambda: self._unsay(text))

    def _unsay(self, text: str) -> None:
        if self.flash == text:
            self.flash = ""

    def render(self) -> Text:
        p, s, width = self.palette, self.status, self.size.width
        left = Text(no_wrap=True)
        colour = {"ask": p.success, "accept-edits": p.warning, "auto": p.warning,
                  "allow-all": p.error}.get(s.mode, p.foreground)  # fmt: skip
        left.append(f" {s.mode} ", style=f"reverse bold {colour}")
        if s.plan:
            left.append(" plan ", style=f"reverse bold {p.user}")
        if self.flash:
            left.append(f"  {visible(self.flash, single_line=True)}", style=p.accent)
            left.truncate(width, overflow="ellipsis")
            return left
        if s.model:
            left.append(f"  {visible(s.model, single_line=True)}", style=p.foreground)
        if s.limit:
            share = s.used / s.limit
            hot = p.error if share > 0.85 else p.warning if share > 0.6 else p.muted
            left.append(f"  {share:.0%} of {s.limit // 1000}k", style=hot)
        if not s.mouse:
            left.append("  mouse: terminal", style=p.muted)
        right = Text(no_wrap=True, style=p.muted)
        right.append(visible(s.place, single_line=True))
        if s.branch:
            right.append(f"  {visible(s.branch, single_line=True)}")
        right.append("  f1 help")
        room = width - left.cell_len - 2
        if right.cell_len > room and s.branch:
            right = Text("f1 help", style=p.muted, no_wrap=True)
        if right.cell_len <= room:
            left.append(" " * (width - left.cell_len - right.cell_len - 1))
            left.append_text(right)
        left.truncate(width, overflow="ellipsis")
        return left


def short_path(path: Path) -> str:
    """A directory for the status line: `~` for the home, the end of a long one."""
    home, text = os.path.expanduser("~"), os.fspath(path)
    if text == home or text.startswith(home + os.sep):
        text = "~" + text[len(home) :]
    return visible(text if len(text) <= 40 else "…" + text[-39:], single_line=True)
