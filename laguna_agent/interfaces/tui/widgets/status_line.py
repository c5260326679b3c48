"""The status line: the mode, the model, how full the context is, the check, what runs in the
background; then the directory and the branch.

In little room, the parts on the right go first: a part is shortened, then left out.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.cells import cell_len
from rich.text import Text
from textual.reactive import reactive
from textual.widget import Widget

from laguna_agent.interfaces.tui.system.background import in_background
from laguna_agent.interfaces.tui.themes import Palette
from laguna_agent.interfaces.tui.widgets.fitted_row import shorten_middle
from laguna_agent.plurals import counted
from laguna_agent.policy.sanitize import visible

_BRANCH_CELLS, _MODEL_CELLS, _CHECK_CELLS = 24, 20, 24


@dataclass(frozen=True)
class Status:
    """What the line shows. `used` and `limit` are tokens of the context."""

    mode: str = "ask"
    plan: bool = False
    model: str = ""
    used: int = 0
    limit: int = 0
    check: str = ""
    check_passed: bool | None = None
    """None: it has not run."""
    jobs: int = 0
    """Commands that still run in the background."""
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
        return self.line(self.size.width)

    def line(self, width: int) -> Text:
        """What is shown in `width` cells."""
        left = self._modes()
        if self.flashed:
            flashed = visible(self.flashed, single_line=True)
            left.append(f"  {flashed}", style=self.palette.accent)
            left.truncate(width, overflow="ellipsis")
            return left
        parts = self._parts()
        room = width - left.cell_len - 1
        for number in range(len(parts) - 1, -1, -1):
            if sum(part.cells for part in parts) > room and parts[number].short:
                parts[number] = parts[number].shortened
        while len(parts) > 1 and sum(part.cells for part in parts) > room:
            parts.pop()
        if parts and parts[0].cells > room > 2:
            parts[0] = replace(parts[0], text=shorten_middle(parts[0].text, room - 2))
        for part in parts:
            left.append("  ").append(part.text, style=part.colour)
        self._append_right(left, width)
        left.truncate(width, overflow="ellipsis")
        return left

    def _modes(self) -> Text:
        p, s = self.palette, self.status
        colour = {"ask": p.success, "accept-edits": p.warning, "auto": p.warning,
                  "allow-all": p.error}.get(s.mode, p.foreground)  # fmt: skip
        text = Text(no_wrap=True)
        if s.plan:  # whatever the mode, nothing is changed
            text.append(" plan ", style=f"reverse bold {p.user}")
        else:
            text.append(f" {s.mode} ", style=f"reverse bold {colour}")
        if s.warning:  # what is unsafe is in view at every width, as the mode is
            text.append(f"  {visible(s.warning, single_line=True)}", style=f"bold {p.error}")
        return text

    def _parts(self) -> list[_Part]:
        """What is left of the gap, in the order of its importance."""
        p, s = self.palette, self.status
        parts = []
        if s.model:
            model = visible(s.model, single_line=True)
            short = shorten_middle(model.rpartition("/")[2], _MODEL_CELLS)
            parts.append(_Part(model, p.foreground, short))
        if s.limit:
            share = s.used / s.limit
            colour = p.error if share > 0.85 else p.warning if share > 0.6 else p.muted
            whole = f"{share:.0%} of {s.limit // 1024}k context"
            parts.append(_Part(whole, colour, f"{share:.0%}"))
        if s.check:
            mark = {True: " ✓", False: " ✗", None: ""}[s.check_passed]
            colour = {True: p.success, False: p.error, None: p.muted}[s.check_passed]
            command = visible(s.check, single_line=True)
            text = f"check: {shorten_middle(command, _CHECK_CELLS)}{mark}"
            parts.append(_Part(text, colour, f"check{mark}"))
        if s.jobs:
            parts.append(_Part(counted(s.jobs, "job"), p.warning))
        if not s.mouse:
            parts.append(_Part("mouse: terminal", p.muted))
        return parts

    def _append_right(self, line: Text, width: int) -> None:
        """The directory, the branch and the key of the help, as much as there is room for."""
        s = self.status
        branch = Text(visible(s.branch, single_line=True), no_wrap=True)
        branch.truncate(_BRANCH_CELLS, overflow="ellipsis")
        shown = [visible(s.directory, single_line=True), branch.plain, "f1 help"]
        for first in range(len(shown)):
            right = Text("  ".join(filter(None, shown[first:])), style=self.palette.muted)
            room = width - line.cell_len - right.cell_len - 1
            if room > 0:
                line.append(" " * room).append_text(right)
                return


@dataclass(frozen=True)
class _Part:
    text: str
    colour: str
    short: str = ""
    """A shorter form, if there is one."""

    @property
    def cells(self) -> int:
        return 2 + cell_len(self.text)

    @property
    def shortened(self) -> _Part:
        return replace(self, text=self.short, short="")


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
