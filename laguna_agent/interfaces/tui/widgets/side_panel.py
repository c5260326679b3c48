"""The side panel: the plan, the changed files, how full the context is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text
from textual.widgets import Static

from laguna_agent.interfaces.tui.themes import Palette
from laguna_agent.interfaces.tui.transcript.changed_files import ChangedFiles
from laguna_agent.policy.sanitize import visible

if TYPE_CHECKING:
    from laguna_agent.events import PlanStep

WIDTH = 34
_STEPS = 20
AUTO_SHOW_COLUMNS = 112
"""Columns of the terminal from which the panel shows unless the user hid it."""


def step_line(step: PlanStep, palette: Palette) -> Text:
    """A step of the plan, with the mark of its state."""
    p = palette
    marks = {"done": ("✓", p.success), "active": ("●", p.accent), "dropped": ("–", p.muted)}
    mark, colour = marks.get(step.status, ("○", p.muted))
    dim = p.muted if step.status in ("done", "dropped") else p.foreground
    return Text.assemble((f"{mark} ", colour), (visible(step.text, single_line=True), dim))


class SidePanel(Static):
    """Text only; `draw` updates it."""

    def __init__(self, palette: Palette, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.palette = palette
        self.plan: list[PlanStep] = []
        self.used = self.limit = 0
        """Tokens of the context."""
        self.changed_files = ChangedFiles()

    def draw(self) -> None:
        """Show the current state."""
        p, width = self.palette, WIDTH - 4
        text = Text()

        def heading(title: str) -> None:
            if text:
                text.append("\n\n")
            text.append(f"{title}\n", style=f"bold {p.accent}")

        if self.plan:
            heading("Plan")
            text.append_text(Text("\n").join(step_line(step, p) for step in self.plan[:_STEPS]))
            if len(self.plan) > _STEPS:
                text.append(f"\n… {len(self.plan) - _STEPS} more", style=p.muted)
        heading("Changed files")
        counts_by_path = self.changed_files.counts
        for path, (added, removed) in list(counts_by_path.items())[-20:]:
            name = Text(visible(path, single_line=True), no_wrap=True)
            counts = f" +{added} -{removed}"
            room = width - len(counts)
            if name.cell_len > room:
                name = Text("…" + name.plain[-(room - 1) :])
            text.append_text(name)
            text.append(f" +{added}", style=p.success)
            text.append(f" -{removed}\n", style=p.error)
        if counts_by_path:
            text.right_crop(1)
        else:
            text.append("none yet", style=p.muted)
        if self.limit:
            heading("Context")
            share = min(1.0, self.used / self.limit)
            filled = round(share * (width - 5))
            colour = p.error if share > 0.85 else p.warning if share > 0.6 else p.accent
            text.append("━" * filled, style=colour)
            text.append("━" * (width - 5 - filled), style=p.muted)
            text.append(f" {share:.0%}\n")
            text.append(f"{self.used:,} of {self.limit:,} tokens", style=p.muted)
        self.update(text)
