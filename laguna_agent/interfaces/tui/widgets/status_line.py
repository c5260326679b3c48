"""The status line: the mode first, then the model, how full the context is, and where we are."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, replace
from pathlib import Path

from rich.text import Text
from textual.reactive import reactive
from textual.widget import Widget

from laguna_agent.interfaces.tui.system.background import in_background
from laguna_agent.interfaces.tui.themes import Palette
from laguna_agent.policy.sanitize import visible

_BRANCH_CELLS = 24


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

    def __init__(self, palette: Palette, root: Path, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.palette = palette
        self.root: Path | None = root
        """The repository whose branch is shown; None: nothing is looked up."""

    def on_mount(self) -> None:
        self.call_after_refresh(self.look_at_branch)

    def look_at_branch(self) -> None:
        """Read again what is checked out; something that ran may have changed it."""
        if self.root is not None:
            in_background(self, "branch", self._look_at_branch, self.root)

    async def _look_at_branch(self, root: Path) -> None:
        branch = await asyncio.to_thread(checked_out, root)
        if root == self.root and branch != self.status.branch:
            self.status = replace(self.status, branch=branch)

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
        branch = Text(visible(s.branch, single_line=True), no_wrap=True)
        branch.truncate(_BRANCH_CELLS, overflow="ellipsis")
        # What says least goes first when there is no room.
        parts = [visible(s.place, single_line=True), branch.plain, "f1 help"]
        for first in range(len(parts)):
            right = Text("  ".join(filter(None, parts[first:])), style=p.muted, no_wrap=True)
            if right.cell_len <= width - left.cell_len - 2:
                left.append(" " * (width - left.cell_len - right.cell_len - 1))
                left.append_text(right)
                break
        left.truncate(width, overflow="ellipsis")
        return left


def checked_out(root: Path) -> str:
    """The branch that is checked out at `root`, else its short commit; empty outside git.

    Reads files and runs nothing.
    """
    from laguna_agent.trajectory.meta import git_head

    branch, commit = git_head(root)
    return branch or commit[:7]


def short_path(path: Path) -> str:
    """A directory for the status line: `~` for the home, the end of a long one."""
    home, text = os.path.expanduser("~"), os.fspath(path)
    if text == home or text.startswith(home + os.sep):
        text = "~" + text[len(home) :]
    return visible(text if len(text) <= 40 else "…" + text[-39:], single_line=True)
