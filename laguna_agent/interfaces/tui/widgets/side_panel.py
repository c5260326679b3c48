"""The side panel: the plan, the files that changed, how full the context is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text
from textual.widgets import Static

from laguna_agent.interfaces.tui.themes import Palette
from laguna_agent.policy.sanitize import visible

if TYPE_CHECKING:
    from laguna_agent.events import PlanStep

WIDTH = 34
ROOM = 112
"""Columns of the terminal from which the panel shows by itself."""


class SidePanel(Static):
    """Text only; drawn anew when something in it changes."""

    def __init__(self, palette: Palette, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.palette = palette
        self.plan: list[PlanStep] = []
        self.changed: dict[str, tuple[int, int]] = {}
        """Paths to lines added and removed."""
        self.used = self.limit = 0

    def draw(self) -> None:
        """Show the present state."""
        p, width = self.palette, WIDTH - 4
        text = Text()

        def heading(title: str) -> None:
            if text:
                text.append("\n\n")
            text.append(f"{title}\n", style=f"bold {p.accent}")

        if self.plan:
            heading("Plan")
            marks = {"done": ("✓", p.success), "active": ("●", p.accent), "dropped": ("–", p.muted)}
            for step in self.plan[:20]:
                mark, colour = marks.get(step.status, ("○", p.muted))
                text.append(f"{mark} ", style=colour)
                dim = p.muted if step.status in ("done", "dropped") else p.foreground
                text.append(visible(step.text, single_line=True) + "\n", style=dim)
            text.right_crop(1)
        heading("Changed files")
        for path, (added, removed) in list(self.changed.items())[-20:]:
            name = Text(visible(path, single_line=True), no_wrap=True)
            counts = f" +{added} -{removed}"
            room = width - len(counts)
            if name.cell_len > room:
                name = Text("…" + name.plain[-(room - 1) :])
            text.append_text(name)
            text.append(f" +{added}", style=p.success)
            text.append(f" -{removed}\n", style=p.error)
        if self.changed:
            text.right_crop(1)
        else:
            text.append("none yet", style=p.muted)
        if self.limit:
            heading("Context")
            share = min(1.0, self.used / self.limit)
            filled = round(share * (width - 5))
            hot = p.error if share > 0.85 else p.warning if share > 0.6 else p.accent
            text.append("━" * filled, style=hot)
            text.append("━" * (width - 5 - filled), style=p.muted)
            text.append(f" {share:.0%}\n")
            text.append(f"{self.used:,} of {self.limit:,} tokens", style=p.muted)
        self.update(text)
