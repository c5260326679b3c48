"""The plan above the composer, where the terminal has no room for the side panel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.text import Text
from textual.widget import Widget

from laguna_agent.interfaces.tui.themes import Palette
from laguna_agent.interfaces.tui.widgets.side_panel import step_line

if TYPE_CHECKING:
    from laguna_agent.events import PlanStep

_LEAST, _LOW, _TALL = 7, 16, 24
"""Lines of the terminal from which one line is shown, and three steps and five below a heading."""
_OPEN = ("pending", "active")


class InlinePlan(Widget):
    """The steps around the active one; a single line in a low terminal, or while nothing runs."""

    def __init__(self, palette: Palette, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.palette = palette
        self._allowed = self._working = False
        self._height = 0
        self._steps: list[PlanStep] = []
        self.display = False

    def show(self, steps: Sequence[PlanStep]) -> None:
        """Show a plan; one without open steps is hidden."""
        self._steps = list(steps)
        self._fit()

    def adapt(self, height: int, *, allowed: bool, working: bool) -> None:
        """Adapt to the lines of the terminal; `allowed`: it is in view nowhere else, and no dialog
        takes the room. The steps are for who follows the work: without it, one line is left."""
        self._height, self._allowed, self._working = height, allowed, working
        self._fit()

    def _fit(self) -> None:
        has_open = any(step.status in _OPEN for step in self._steps)
        shown = self._allowed and has_open and self._height >= _LEAST
        if shown != self.display:
            self.display = shown
        if shown:
            self.refresh(layout=True)

    def get_content_height(self, container: object, viewport: object, width: int) -> int:
        return 1 + min(self._rows, len(self._steps)) if self._rows else 1

    @property
    def _rows(self) -> int:
        if not self._working:
            return 0
        return 0 if self._height < _LOW else 3 if self._height < _TALL else 5

    def render(self) -> Text:
        p, rows, total = self.palette, self._rows, len(self._steps)
        done = sum(step.status == "done" for step in self._steps)
        active = next((n for n, step in enumerate(self._steps) if step.status == "active"), None)
        if active is None:
            active = next((n for n, s in enumerate(self._steps) if s.status in _OPEN), 0)
        heading = Text("Plan", style=f"bold {p.accent}", no_wrap=True)
        heading.append(f"  {done} of {total} done", style=f"not bold {p.muted}")
        if not rows:
            lines = [heading.append("  ").append_text(step_line(self._steps[active], p))]
        else:
            first = max(0, min(active - rows // 2, total - rows))
            shown = self._steps[first : first + rows]
            lines = [heading, *(step_line(step, p) for step in shown)]
            if (hidden := total - first - len(shown)) > 0:
                lines[-1].append(f"  … {hidden} more", style=p.muted)
        for line in lines:
            line.truncate(self.size.width, overflow="ellipsis")
        return Text("\n").join(lines)
