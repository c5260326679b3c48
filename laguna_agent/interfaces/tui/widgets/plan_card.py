"""The plan card: the plan that the model proposes, and what a person may decide about it.

It stands above the composer, which stays in view: a message that is typed there keeps planning.
"""

from __future__ import annotations

from collections.abc import Callable

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.message import Message
from textual.widgets import Static

from laguna_agent.interfaces.tui.themes import Palette
from laguna_agent.interfaces.tui.transcript.rendering import EntryRenderer
from laguna_agent.interfaces.tui.transcript.transcript_model import Entry
from laguna_agent.interfaces.tui.widgets.choice_row import Choice, ChoiceRow
from laguna_agent.interfaces.tui.widgets.fitted_row import position

_LOW, _VERY_LOW = 16, 10
"""Lines of the terminal below which the card saves lines, and its hint takes one line."""


class PlanCard(Vertical):
    """Shows one plan at a time, and posts what is decided."""

    class Decided(Message):
        """A choice was confirmed."""

        def __init__(self, choice: str) -> None:
            super().__init__()
            self.choice = choice

    def __init__(self, palette: Palette, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.palette = palette
        self.row = ChoiceRow(palette, id="plan-choices")
        self.display = False
        self._title, self._plan = "", ""
        self.on_shown: Callable[[], None] = lambda: None
        """Called when the card opens or closes: it takes the room of other widgets."""

    def compose(self) -> ComposeResult:
        yield Static(id="plan-heading")
        with VerticalScroll(id="plan-scroll", can_focus=False):
            yield Static(id="plan-text")
        yield self.row
        yield Static(id="plan-hint")

    @property
    def is_open(self) -> bool:
        """Whether a plan waits for a decision."""
        return self.display

    def open(self, title: str, plan: str, choices: list[Choice], *, focus: bool) -> None:
        """Show a plan; without `focus`, the keys stay where they are."""
        self._title, self._plan = title, plan
        self.display = True
        self.on_shown()
        self.row.offer(choices)
        self.query_one("#plan-scroll").scroll_home(animate=False)
        self.draw()
        if focus:
            self.row.focus()

    def close(self) -> None:
        """Hide the card."""
        self.screen.query_one("#main").display = True
        self.display = False
        self.on_shown()

    def on_typed(self, take: Callable[[events.Key], object]) -> None:
        """Give keys that write text to `take`."""
        self.row.on_typed = take

    def draw(self) -> None:
        """Lay the plan out for the current width."""
        if not self.display:
            return
        p, low = self.palette, self.screen.size.height < _LOW
        self.row.palette = p
        self.row.compact = low
        self.screen.query_one("#main").display = not low  # the plan is what it ends with
        self.row.draw()
        self.query_one("#plan-heading", Static).update(Text(self._title, f"bold {p.accent}"))
        width = max(20, self.screen.size.width - self.gutter.width - 2)
        renderer = EntryRenderer(p, copy_key=False)
        shown = renderer.renderable(Entry("answer", body=self._plan), width)
        self.query_one("#plan-text", Static).update(shown)
        self.call_after_refresh(self._fit)

    def _fit(self) -> None:
        """Limit the part that scrolls: the choices, the composer and a line stay in view."""
        height, columns = self.screen.size.height, self._columns
        # As they will be drawn: what is laid out may be of another width or choice.
        hint = len(self._hint.wrap(self.app.console, columns))
        beside = self.gutter.height + len(self.row.lines(columns)) + 1 + max(1, hint)
        # In a low terminal, all but the composer, the activity line and the status line.
        rest = self.screen.query_one("#composer-row").size.height + 2
        most = height - rest if height < _LOW else height * 2 // 3
        self.query_one("#plan-scroll").styles.max_height = max(1, most - beside)
        self.call_after_refresh(self._show_hint)

    @property
    def _columns(self) -> int:
        """Cells of a line of the card."""
        return max(1, self.screen.size.width - self.gutter.width)

    @property
    def _hint(self) -> Text:
        """The keys, or what the selected choice does."""
        where = position(self.query_one("#plan-scroll", VerticalScroll))
        selected = self.row.selected
        parts = [f"{where}, pgup pgdn" if where else "", "←→ choose, or type what to change"]
        if selected is not None:
            parts = [selected.about, "enter confirms"]
        hint = Text(" · ".join(filter(None, parts)), style=self.palette.muted)
        if self.screen.size.height < _VERY_LOW:
            hint.no_wrap = True
            hint.truncate(self._columns, overflow="ellipsis")
        return hint

    def _show_hint(self) -> None:
        self.query_one("#plan-hint", Static).update(self._hint)

    def scroll_plan(self, step: int) -> None:
        """Scroll the plan by pages."""
        scroll = self.query_one("#plan-scroll", VerticalScroll)
        scroll.scroll_relative(y=step * max(1, scroll.size.height - 1), animate=False)
        self.call_after_refresh(self._show_hint)

    def on_resize(self) -> None:
        self.draw()

    def on_choice_row_moved(self, message: ChoiceRow.Moved) -> None:
        message.stop()
        self._show_hint()
        self.call_after_refresh(self._fit)

    def on_choice_row_chosen(self, message: ChoiceRow.Chosen) -> None:
        message.stop()
        self.post_message(self.Decided(message.id))
