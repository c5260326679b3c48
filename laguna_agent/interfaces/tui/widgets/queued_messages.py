"""The messages that were typed while laguna works and are not used yet."""

from __future__ import annotations

from typing import Literal

from rich.text import Text
from textual import events
from textual.message import Message
from textual.widget import Widget

from laguna_agent.interfaces.tui.reference import keys_of
from laguna_agent.interfaces.tui.themes import Palette
from laguna_agent.interfaces.tui.widgets.fitted_row import one_line

Delivery = Literal["steer", "queue", "load", "held"]
"""When a message is used: before the next step of this turn, after the turn, once there is a model,
or when the user sends it on."""
_KEYS = keys_of("Waiting messages") | {"alt+up"}
_ROWS = 4
_HINT_COLUMNS = 60
"""Columns below which the messages have the room of the keys."""
_WHEN = {
    "steer": "↳ before the next step: ",
    "queue": "⋯ after this: ",
    "load": "⋯ once the model is there: ",
    "held": "• held: ",
}


class QueuedMessages(Widget, can_focus=True):
    """Lists the messages that wait, one line each, and how many there is no room for.

    With the focus, one is selected, and keys act on it.
    """

    class Changed(Message):
        """The list is another one."""

    class KeyPressed(Message):
        """A key for the selected message."""

        def __init__(self, key: str) -> None:
            super().__init__()
            self.key = key

    def __init__(self, palette: Palette, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.palette = palette
        self.selected = 0
        self._items: list[tuple[Delivery, str]] = []

    def show(self, items: list[tuple[Delivery, str]]) -> None:
        """Show (delivery, text) pairs in the order in which they are used."""
        if items != self._items:
            self._items = list(items)
            self.select(self.selected)
            self.display = bool(items)
            self.refresh(layout=True)
        self.post_message(self.Changed())

    def select(self, number: int) -> None:
        """Select a message."""
        self.selected = max(0, min(number, len(self._items) - 1))
        self.refresh()

    def focus_last(self) -> None:
        """Go to the last message, if there is one."""
        if self._items:
            self.select(len(self._items) - 1)
            self.focus()

    def get_content_height(self, container: object, viewport: object, width: int) -> int:
        return min(_ROWS, len(self._items))

    def render(self) -> Text:
        p, count = self.palette, len(self._items)
        rows = max(1, min(_ROWS, self.size.height or _ROWS))
        shown = count if count <= rows else max(1, rows - 1)
        first = max(0, min(self.selected - shown // 2, count - shown)) if self.has_focus else 0
        hint = self._hint if self.size.width >= _HINT_COLUMNS else ""
        end = min(first + shown, count)
        beside = hint if shown == count else ""  # right of the last message, else below it
        lines = [self._line(n, beside if n == end - 1 else "") for n in range(first, end)]
        if shown < count and rows > 1:
            before, after = first, count - first - shown
            parts = [f"{before} above"] * bool(before) + [f"{after} more"] * bool(after)
            lines.append(Text(f"  {' · '.join(parts)} of {count}{hint}", style=p.muted))
        elif lines:
            lines[-1].append(beside, style=p.muted)
        for line in lines:
            line.truncate(self.size.width, overflow="ellipsis")
        return Text("\n").join(lines)

    @property
    def _hint(self) -> str:
        if self.has_focus:
            return " · enter edits · del removes · alt+↑↓ moves it · esc returns"
        held = any(delivery == "held" for delivery, _ in self._items)
        return " · enter on an empty line sends · alt+up edits" if held else " · alt+up edits"

    def _line(self, number: int, hint: str) -> Text:
        p = self.palette
        delivery, message = self._items[number]
        chosen = self.has_focus and number == self.selected
        style = {"steer": p.accent, "queue": p.muted, "load": p.muted, "held": p.warning}[delivery]
        line = Text(no_wrap=True)
        line.append(_WHEN[delivery], style=style)
        room = max(8, self.size.width - line.cell_len - len(hint))
        text = Text(one_line(message), style=p.foreground)
        text.truncate(room, overflow="ellipsis")
        if chosen:
            text.stylize(f"reverse bold {p.accent}")
        return line.append_text(text)

    def on_focus(self) -> None:
        self.refresh()

    def on_blur(self) -> None:
        self.refresh()

    def on_key(self, event: events.Key) -> None:
        if event.key in _KEYS:
            event.stop()
            event.prevent_default()
            self.post_message(self.KeyPressed(event.key))
