"""What dialogs share: a box as high as its content, and the keys of those with a list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, TypeVar

from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen
from textual.strip import Strip
from textual.widget import Widget
from textual.widgets import OptionList, Static

from laguna_agent.interfaces.tui.widgets.fitted_row import Explained

Answer = TypeVar("Answer")
_SHARE = 0.85
"""Of the terminal's height that a dialog takes at most, where there is room around it."""
_BORDER = 2


class FittedDialog(ModalScreen[Answer]):
    """A dialog of which one part, the body, scrolls. It never shrinks while it is open, so that
    typing and moving in a list do not move it."""

    def __init__(self) -> None:
        super().__init__()
        self._tallest = 0
        """The most lines that the body wanted, at this size of the terminal."""

    @property
    def body(self) -> Widget:
        """The part that scrolls."""
        raise NotImplementedError

    @property
    def contents(self) -> Sequence[Widget]:
        """What stands side by side in the body."""
        raise NotImplementedError

    def fit(self) -> None:
        """Make the box as high as its content; call it when there is more of it."""
        if not self.is_mounted or not self.query(".dialog"):
            return
        dialog, body = self.query_one(".dialog"), self.body
        if not body.size.width:  # not laid out yet, or hidden
            return
        if self._tallest < self.size.height:
            shown = [one for one in self.contents if one.size.width]
            self._tallest = max(self._tallest, 1, *(self._height(one) for one in shown))
        beside = _BORDER + sum(
            self._height(child) + child.styles.margin.height
            for child in dialog.children
            if child is not body and child.display
        )
        low = self.has_class("-low") or self.has_class("-tiny")
        # In a low terminal the box has a border only where it saves no line.
        fits = self._tallest + beside <= self.size.height
        dialog.set_class(low and fits, "boxed")
        most = int(self.size.height * _SHARE) - beside
        if low:
            body.styles.height = self._tallest if fits else "1fr"
        else:
            body.styles.height = max(1, min(self._tallest, most))

    def _height(self, widget: Widget) -> int:
        """Lines that a widget wants at its width. What is laid out already may be of before."""
        if not isinstance(widget, Static | OptionList):
            return widget.outer_size.height
        width = widget.scrollable_content_region.width
        return widget.get_content_height(self.size, self.size, width) + widget.gutter.height

    def on_resize(self) -> None:
        self._tallest = 0
        self.call_after_refresh(self.fit)


class Rows(OptionList):
    """The rows of a list. The colours of what is marked in a row give way to the highlight's."""

    def __init__(self) -> None:
        super().__init__(id="choices", markup=False)

    def on_resize(self) -> None:
        if isinstance(self.screen, FittedDialog):
            self.screen.fit()

    def render_line(self, y: int) -> Strip:
        strip = super().render_line(y)
        line = y + self.scroll_offset.y
        if line >= len(self._lines) or self._lines[line][0] != self.highlighted:
            return strip
        option, number = self._lines[line]
        prompt = self.options[option].prompt
        if number == 0 and isinstance(prompt, Explained) and prompt.heading:
            plain = self.get_component_rich_style("option-list--option")
            return Strip(Segment.apply_style(strip, post_style=plain), strip.cell_length)
        color = self.get_component_rich_style("option-list--option-highlighted").color
        post = Style(color=color)
        return Strip(Segment.apply_style(strip, post_style=post), strip.cell_length)


class ListDialog(FittedDialog[Answer | None]):
    """A dialog with a list, which has the id `choices`. Escape goes back or closes it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", show=False, priority=True),
        Binding("down", "move(1)", show=False, priority=True),
        Binding("up", "move(-1)", show=False, priority=True),
        Binding("pagedown", "page(1)", show=False, priority=True),
        Binding("pageup", "page(-1)", show=False, priority=True),
    ]

    @property
    def options(self) -> OptionList:
        """The list."""
        return self.query_one("#choices", OptionList)

    def action_move(self, step: int) -> None:
        """Highlight the row `step` rows below."""
        options = self.options
        if options.option_count:
            index = (options.highlighted or 0) + step
            options.highlighted = max(0, min(index, options.option_count - 1))

    def action_page(self, step: int) -> None:
        """Highlight the row a page below."""
        self.action_move(step * max(1, self.options.size.height - 1))

    def action_cancel(self) -> None:
        """Close without a choice."""
        self.dismiss(None)
