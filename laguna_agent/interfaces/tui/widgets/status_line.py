"""The status line: the mode, the model, how full the context is, the directory and the branch."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.text import Text
from textual.reactive import reactive
from textual.widget import Widget

from laguna_agent.interfaces.tui.system.background import in_background
from laguna_agent.interfaces.tui.themes import Palette
from laguna_agent.policy.sanitize import visible

_BRANCH_CELLS = 24


@dataclass(frozen=True)
class Status:
    """What the line shows. `used` and `limit` are tokens of the context."""

    mode: str = "ask"
    plan: bool = False
    model: str = ""
    used: int = 0
    limit: int = 0
    directory: str = ""
    branch: str = ""
    mouse: bool = True
    warning: str = ""
    """What a person must not overlook, such as a certificate that is not checked."""


class StatusLine(Widget):
    """One line, redrawn when its status changes."""

    status: reactive[Status] = reactive(Status())
    flashed: reactive[str] = reactive("")
    """A short text that replaces the right half for a moment."""

    def __init__(self, palette: Palette, root: Path, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.palette = palette
        self.root: Path | None = root
        """The repository whose branch is shown; None shows no branch."""

    def on_mount(self) -> None:
        self.call_after_refresh(self.refresh_branch)

    def change(self, **fields: Any) -> None:
        """Replace fields of the status."""
        self.status = replace(self.status, **fields)

    def refresh_branch(self) -> None:
        """Read the current branch again: a tool or a command may have switched it."""
        if self.root is not None:
            in_background(self, "branch", self._read_branch, self.root)

    async def _read_branch(self, root: Path) -> None:
        branch = await asyncio.to_thread(current_branch, root)
        if root == self.root and branch != self.status.branch:
            self.change(branch=branch)

    def flash(self, text: str, for_s: float = 3.0) -> None:
        """Show a short text for `for_s` seconds; an empty one ends the present one."""
        self.flashed = text
        if text:
            self.set_timer(for_s, lambda: self._end_flash(text))

    def _end_flash(self, text: str) -> None:
        if self.flashed == text:
            self.flashed = ""

    def render(self) -> Text:
        p, s, width = self.palette, self.status, self.size.width
        left = Text(no_wrap=True)
        colour = {"ask": p.success, "accept-edits": p.warning, "auto": p.warning,
                  "allow-all": p.error}.get(s.mode, p.foreground)  # fmt: skip
        left.append(f" {s.mode} ", style=f"reverse bold {colour}")
        if s.plan:
            left.append(" plan ", style=f"reverse bold {p.user}")
        if self.flashed:
            left.append(f"  {visible(self.flashed, single_line=True)}", style=p.accent)
            left.truncate(width, overflow="ellipsis")
            return left
        if s.model:
            left.append(f"  {visible(s.model, single_line=True)}", style=p.foreground)
        if s.warning:
            left.append(f"  {visible(s.warning, single_line=True)}", style=f"bold {p.error}")
        if s.limit:
            share = s.used / s.limit
            colour = p.error if share > 0.85 else p.warning if share > 0.6 else p.muted
            left.append(f"  {share:.0%} of {s.limit // 1000}k", style=colour)
        if not s.mouse:
            left.append("  mouse: terminal", style=p.muted)
        branch = Text(visible(s.branch, single_line=True), no_wrap=True)
        branch.truncate(_BRANCH_CELLS, overflow="ellipsis")
        # The least important goes first where there is no room.
        parts = [visible(s.directory, single_line=True), branch.plain, "f1 help"]
        for first in range(len(parts)):
            right = Text("  ".join(filter(None, parts[first:])), style=p.muted, no_wrap=True)
            if right.cell_len <= width - left.cell_len - 2:
                left.append(" " * (width - left.cell_len - right.cell_len - 1))
                left.append_text(right)
                break
        left.truncate(width, overflow="ellipsis")
        return left


def current_branch(root: Path) -> str:
    """The branch that is checked out at `root`, or its short commit; empty outside git.

    Reads files and runs no program.
    """
    from laguna_agent.trajectory.meta import git_head

    branch, commit = git_head(root)
    return branch or commit[:7]


def short_path(path: Path) -> str:
    """A directory for the status line: `~` for the home, only the end of a long path."""
    home, text = os.path.expanduser("~"), os.fspath(path)
    if text == home or text.startswith(home + os.sep):
        text = "~" + text[len(home) :]
    return visible(text if len(text) <= 40 else "…" + text[-39:], single_line=True)
