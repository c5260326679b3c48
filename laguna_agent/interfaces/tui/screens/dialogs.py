"""Dialogs over the transcript: a page to read, a list to pick from, a question."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.console import RenderableType
from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Input, Static
from textual.widgets.option_list import Option

from laguna_agent.interfaces.tui import themes
from laguna_agent.interfaces.tui.screens.fitted_dialog import FittedDialog, ListDialog, Rows
from laguna_agent.interfaces.tui.system.background import in_background
from laguna_agent.interfaces.tui.widgets.choice_row import Choice as RowChoice
from laguna_agent.interfaces.tui.widgets.choice_row import ChoiceRow, Quiet
from laguna_agent.interfaces.tui.widgets.fitted_row import FittedRow, position
from laguna_agent.interfaces.tui.widgets.line_input import LineInput


class Page(FittedDialog[None]):
    """Shows something to read; Escape closes it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter,f1", "close", show=False),
        Binding("down,j", "scroll(1)", show=False),
        Binding("up,k", "scroll(-1)", show=False),
        Binding("pagedown,space", "page(1)", show=False, priority=True),
        Binding("pageup", "page(-1)", show=False, priority=True),
        Binding("home", "scroll(-1000000)", show=False),
        Binding("end", "scroll(1000000)", show=False),
    ]

    def __init__(self, title: str, draw: Callable[[int], RenderableType]) -> None:
        super().__init__()
        self._heading, self._draw = title, draw

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(Text(self._heading), classes="dialog-title")
            with VerticalScroll(can_focus=False):
                yield Static(id="page")
            yield Static(classes="dialog-hint")

    def on_mount(self) -> None:
        self.call_after_refresh(self._show)
        for changing in ("virtual_size", "scroll_y"):
            self.watch(self.query_one(VerticalScroll), changing, self._show_position)

    def on_resize(self) -> None:
        super().on_resize()
        self.call_after_refresh(self._show)

    @property
    def body(self) -> Widget:
        return self.query_one(VerticalScroll)

    @property
    def contents(self) -> Sequence[Widget]:
        return [self.query_one("#page")]

    def _show(self) -> None:
        page = self.query_one("#page", Static)
        page.update(self._draw(max(20, page.container_size.width - 2)))
        self.fit()

    def _show_position(self) -> None:
        where = position(self.query_one(VerticalScroll))
        hint = f"{where} · ↑↓ pgup pgdn scroll · esc closes" if where else "esc closes"
        self.query_one(".dialog-hint", Static).update(Text(hint))
        self.fit()

    def action_close(self) -> None:
        """Close the page."""
        self.dismiss(None)

    def action_scroll(self, lines: int) -> None:
        """Scroll by lines."""
        self.query_one(VerticalScroll).scroll_relative(y=lines, animate=False)

    def action_page(self, step: int) -> None:
        """Scroll by pages."""
        self.action_scroll(step * max(1, self.query_one(VerticalScroll).size.height - 1))


@dataclass(frozen=True)
class Choice:
    """A row of a picker. `words` is searched as well as the label; `id` is the answer."""

    id: str
    label: Text
    words: str = ""
    narrower: Sequence[Text] = ()
    """Shorter labels for narrow terminals, the longest first."""
    drawn: RenderableType | None = None
    """How the row looks, where it is more than its label."""

    @property
    def row(self) -> RenderableType:
        """How the row looks: as it is drawn, or the longest label that fits."""
        if self.drawn is not None:
            return self.drawn
        return FittedRow([self.label, *self.narrower]) if self.narrower else self.label


Search = Callable[[str], Awaitable[Sequence[Choice]]]
"""Finds more choices for the typed text, beyond those whose label or words match."""
_SEARCH_DELAY_S = 0.15
Preview = Callable[[str], RenderableType | Awaitable[RenderableType]]
"""Draws more about the choice with this id."""


def preview_columns(width: int) -> int:
    """Cells of a line of a preview, in a terminal of `width`."""
    return max(20, min(110, width * 9 // 10) // 2 - 6)


class _SearchLine(LineInput):
    """The search of a picker: Enter chooses only after the list could be read."""

    def __init__(self, placeholder: str) -> None:
        super().__init__(placeholder=placeholder, id="search")
        self.quiet = Quiet()

    def on_mount(self) -> None:
        self.call_after_refresh(self.quiet.look)

    async def _on_key(self, event: events.Key) -> None:
        if event.key == "enter" and not self.quiet.accepts(event):
            event.stop()
            event.prevent_default()
            return
        await super()._on_key(event)


class Picker(ListDialog[str]):
    """A list that typing filters; Enter chooses, Escape closes it."""

    def __init__(
        self,
        title: str,
        choices: Sequence[Choice],
        *,
        preview: Preview | None = None,
        search: Search | None = None,
        hint: str = "enter chooses · esc closes",
        placeholder: str = "type to search",
        highlighted: str = "",
    ) -> None:
        super().__init__()
        self._heading, self._choices, self._hint = title, list(choices), hint
        self._preview, self._search = preview, search
        self._placeholder, self._first = placeholder, highlighted
        self._shown: list[Choice] = []
        self._filtered = ""
        self._entered: str | None = None
        """The text that Enter followed before its search had found anything."""

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(Text(self._heading), classes="dialog-title")
            yield _SearchLine(self._placeholder)
            with Horizontal():
                yield Rows()
                if self._preview is not None:
                    with VerticalScroll(id="preview-scroll", can_focus=False):
                        yield Static(id="preview")
            yield Static(classes="dialog-hint")

    @property
    def body(self) -> Widget:
        return self.query_one(".dialog Horizontal", Horizontal)

    @property
    def contents(self) -> Sequence[Widget]:
        return [self.options, *self.query("#preview")]

    def on_mount(self) -> None:
        self.options.can_focus = False
        line = self.query_one(Input)
        self._filter(line.value, highlighted=self._first)  # it may be typed in already
        line.focus()

    def update_choices(self, choices: Sequence[Choice]) -> None:
        """Show other choices; the highlighted one stays highlighted."""
        self._choices = list(choices)
        if self.is_mounted:
            self._filter(self._filtered, highlighted=self.chosen or "")

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        if self.is_mounted:
            self._filter(event.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if not self.is_mounted:
            return
        if event.value != self._filtered:  # also the letters typed just before Enter
            self._filter(event.value)
        self._entered = event.value if self.chosen is None else None
        self.action_choose()

    def _filter(self, text: str, *, highlighted: str = "") -> None:
        wanted = text.casefold().split()
        self._shown = [
            choice
            for choice in self._choices
            if all(word in f"{choice.label.plain} {choice.words}".casefold() for word in wanted)
        ]
        self._filtered = text
        options = self.options
        options.clear_options()
        options.add_options([Option(choice.row) for choice in self._shown])
        if self._shown:
            ids = [choice.id for choice in self._shown]
            known = highlighted and highlighted in ids  # rows that answer nothing have no id
            options.highlighted = ids.index(highlighted) if known else 0
        self._preview_chosen()
        self._show_position()
        self.fit()
        if self._search is not None and len(text.strip()) >= 2:
            in_background(self, "search", self._find, self._search, text)

    def replace_choices(self, choices: Sequence[Choice]) -> None:
        """Show other choices, filtered as before; the highlight stays where it is."""
        options = self.options
        index = options.highlighted or 0
        self._choices = list(choices)
        self._filter(self._filtered)
        if self._shown:
            options.highlighted = min(index, len(self._shown) - 1)

    async def _find(self, search: Search, text: str) -> None:
        await asyncio.sleep(_SEARCH_DELAY_S)  # not after each letter of a word
        found = await search(text)
        if text != self._filtered:
            return
        known = {choice.id for choice in self._shown}
        more = [choice for choice in found if choice.id not in known]
        options = self.options
        self._shown += more
        options.add_options([Option(choice.row) for choice in more])
        if more and options.highlighted is None:
            options.highlighted = 0
        self._preview_chosen()
        self._show_position()
        self.fit()
        if text == self._entered:
            self.action_choose()

    def on_option_list_option_highlighted(self) -> None:
        self._preview_chosen()
        self._show_position()

    def _show_position(self) -> None:
        index, total = self.options.highlighted, len(self._shown)
        where = f"{index + 1} of {total:,}" if index is not None else "nothing matches"
        self.query_one(".dialog-hint", Static).update(Text(f"{where} · {self._hint}"))

    def on_option_list_option_selected(self) -> None:
        self.action_choose()

    @property
    def chosen(self) -> str | None:
        """The id of the highlighted row."""
        index = self.options.highlighted
        return self._shown[index].id if index is not None and index < len(self._shown) else None

    def _preview_chosen(self) -> None:
        if self._preview is None:
            return
        if (chosen := self.chosen) is None:
            self.workers.cancel_group(self, "preview")
            self.query_one("#preview", Static).update("")
        else:
            in_background(self, "preview", self._show_preview, self._preview, chosen)

    async def _show_preview(self, preview: Preview, chosen: str) -> None:
        shown = preview(chosen)
        self.query_one("#preview", Static).update(
            await shown if inspect.isawaitable(shown) else shown
        )
        self.fit()

    def action_choose(self) -> None:
        """Close with the highlighted row."""
        if (chosen := self.chosen) is not None:
            self.dismiss(chosen)


class Question(ModalScreen[str | None]):
    """Asks for one of a few choices (by id: what it does), or for a line of text.

    Returns the id or the text, None when Escape closes it.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", show=False, priority=True),
        Binding("down", "scroll(1)", show=False),
        Binding("up", "scroll(-1)", show=False),
        Binding("pagedown", "page(1)", show=False, priority=True),
        Binding("pageup", "page(-1)", show=False, priority=True),
    ]

    def __init__(
        self,
        title: str,
        text: RenderableType = "",
        *,
        choices: dict[str, str] | None = None,
        risky: str = "",
        value: str = "",
    ) -> None:
        """`risky` is the id of a choice to show in red."""
        super().__init__()
        self._heading, self._text, self._value = title, text, value
        self._choices = [
            RowChoice(id_, label, risky=id_ == risky) for id_, label in (choices or {}).items()
        ]

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog question"):
            yield Static(Text(self._heading), classes="dialog-title")
            if self._text:
                with VerticalScroll(can_focus=False, classes="question-text"):
                    yield Static(self._text)
            if self._choices:
                yield ChoiceRow(themes.PALETTES[self.app.theme], id="answers")
            else:
                yield LineInput(self._value)
            yield Static(classes="dialog-hint")

    def on_mount(self) -> None:
        if self._choices:
            row = self.query_one(ChoiceRow)
            row.offer(self._choices)
            row.focus()
        for scroll in self.query(VerticalScroll):
            for changing in ("virtual_size", "scroll_y"):
                self.watch(scroll, changing, self._show_position)
        self._show_position()

    def _show_position(self) -> None:
        hint = f"{'←→ choose · ' if self._choices else ''}enter confirms · esc closes"
        scroll = next(iter(self.query(VerticalScroll)), None)
        where = position(scroll) if scroll is not None else ""
        self.query_one(".dialog-hint", Static).update(Text(f"{where} · {hint}" if where else hint))

    def action_scroll(self, lines: int) -> None:
        """Scroll the text by lines."""
        for scroll in self.query(VerticalScroll):
            scroll.scroll_relative(y=lines, animate=False)

    def action_page(self, step: int) -> None:
        """Scroll the text by pages."""
        for scroll in self.query(VerticalScroll):
            self.action_scroll(step * max(1, scroll.size.height - 1))

    def on_choice_row_chosen(self, message: ChoiceRow.Chosen) -> None:
        self.dismiss(message.id)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.dismiss(event.value)

    def action_cancel(self) -> None:
        """Close without an answer."""
        self.dismiss(None)
