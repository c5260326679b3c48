"""A line to type in, which handles keys in the order in which they were typed."""

from __future__ import annotations

from textual import events
from textual.widget import Widget
from textual.widgets import Input


async def run_own_binding(widget: Widget, event: events.Key) -> bool:
    """Run the widget's own action for a key now; False when it has none.

    Textual would run it only after the key bubbled up to the app, when letters typed after it are
    already inserted: what is typed fast, or on a busy machine, would lose its end to a backspace.
    """
    for binding in widget._bindings.key_to_bindings.get(event.key, ()):
        if await widget.app.run_action(binding.action, widget):
            event.prevent_default()
            event.stop()
            return True
    return False


class LineInput(Input):
    """Textual's line of input, in order."""

    async def _on_key(self, event: events.Key) -> None:
        if not await run_own_binding(self, event):
            await super()._on_key(event)
