"""The messages that were typed while laguna works and are not used yet."""

from __future__ import annotations

from typing import Literal

from rich.text import Text
from textual.message import Message
from textual.widget import Widget

from laguna_agent.interfaces.tui.themes import Palette
from laguna_agent.policy.sanitize import visible

Delivery = Literal["steer", "queue"]
"""When a message is used: before the next step of this turn, or after the turn."""
_ROWS = 4


class QueuedMessages(Widget):
    """Lists the first queued messages, one line each."""

    class Changed(Message):
        """The list is another one."""

    def __init__(self, palette: Palette, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.palette = palette
        self._items: list[tuple[Delivery, str]] = []

    def show(self, items: list[tuple[Delivery, str]]) -> None:
        """Show (delivery, text) pairs in the order in which they are used."""
        if items != self._items:
            self._items = list(items)
            self.display = bool(items)
            self.refresh(layout=True)
        self.post_message(self.Changed())

    def get_content_height(self, container: object, viewport: object, width: int) -> int:
        return min(_ROWS, len(self._items))

    def render(self) -> Text:
        p = self.palette
        lines = []
        for delivery, message in self._items[:_ROWS]:
            steers = delivery == "steer"
            line = Text(no_wrap=True)
            when = "↳ before the next step: " if steers else "⋯ after this turn: "
            line.append(when, style=p.accent if steers else p.muted)
            line.append(visible(message, single_line=True), style=p.foreground)
            line.append("   alt+up edits", style=p.muted)
            line.truncate(self.size.width, overflow="ellipsis")
            lines.append(line)
        return Text("\n").join(lines)
