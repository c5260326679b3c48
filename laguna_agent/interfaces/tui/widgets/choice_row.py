"""Choices in a row that arrow keys move over and Enter confirms: no typing answers by accident.

Nothing is chosen at first, so Enter alone does nothing, and neither does any letter: a sentence, a
pasted text or a held key cannot answer. Keys pressed before the choices could be seen, and shortly
after, are no answers either.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.style import Style
from rich.text import Text
from textual import events
from textual.message import Message
from textual.widgets import Static

from laguna_agent.interfaces.tui.themes import Palette

QUIET_S = 0.4
"""Seconds without a key after which keys can answer: a person who is typing has not read yet."""
_SEPARATORS = "·", ""
"""What stands between two choices; the second saves lines."""


class Quiet:
    """Whether a key was pressed after its dialog could be seen and typing had stopped."""

    def __init__(self) -> None:
        self.seconds = QUIET_S
        self._since = float("inf")

    def hide(self) -> None:
        """The dialog is about to appear: no key counts until `look`."""
        self._since = float("inf")

    def look(self) -> None:
        """The dialog has been painted."""
        self._since = monotonic()

    @property
    def over(self) -> bool:
        """Whether a key that is pressed now may answer."""
        return monotonic() >= self._since + self.seconds

    def accepts(self, event: events.Key) -> bool:
        """Whether a key may answer; one that may not prolongs the quiet time."""
        if event.time >= self._since + self.seconds:
            return True
        if event.time > self._since:
            self._since = event.time
        return False


@dataclass(frozen=True)
class Choice:
    """A choice. `about` says what it does, for when it is selected; `risky` shows it in red. The
    choices of a `group` have lines of their own, which its name begins; `alone` is the label where
    no group is shown."""

    id: str
    label: str
    about: str = ""
    risky: bool = False
    group: str = ""
    alone: str = ""


class ChoiceRow(Static, can_focus=True):
    """Shows choices and posts `Chosen` for the one that is confirmed."""

    class Chosen(Message):
        """The choice with this id was confirmed."""

        def __init__(self, id: str) -> None:
            super().__init__()
            self.id = id

    class Moved(Message):
        """Another choice was selected."""

    def __init__(self, palette: Palette, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.palette = palette
        self.quiet = Quiet()
        self.choices: Sequence[Choice] = ()
        self.selected: Choice | None = None
        self.compact = False
        """Show one choice at a time, in one line."""
        self._refusal = ""
        self._passed_on = False
        """Whether the next keys are for `on_typed`: they follow one that began a message, or the
        answer, and the focus has not moved yet."""
        self.on_typed: Callable[[events.Key], object] | None = None
        """Takes a key that writes text, which never answers."""

    def offer(self, choices: Sequence[Choice], *, refusal: str = "") -> None:
        """Show choices, none selected. The left key goes to the one with the id `refusal` first, by
        default the last."""
        self.choices, self.selected = choices, None
        self._refusal = refusal or choices[-1].id
        self.draw()
        self.wait_for_quiet()

    def wait_for_quiet(self) -> None:
        """Take no answer before the choices are painted and no key was pressed for a moment."""
        self._passed_on = False
        self.quiet.hide()
        self.call_after_refresh(self.quiet.look)

    def select(self, choice: Choice | None) -> None:
        """Select a choice, or none."""
        if choice != self.selected:
            self.selected = choice
            self.draw()
            self.post_message(self.Moved())

    def draw(self) -> None:
        """Draw the choices."""
        self.update(_Row(self))

    def lines(self, width: int) -> list[Text]:
        """The choices in lines of at most `width` cells, broken between them."""
        if self.compact:
            return [self._one(width)]
        return min((self._broken(width, separator) for separator in _SEPARATORS), key=len)

    def _broken(self, width: int, separator: str) -> list[Text]:
        indent = max((len(choice.group) + 1 for choice in self.choices if choice.group), default=0)
        found: list[Text] = []
        group: str | None = None
        for index, choice in enumerate(self.choices):
            label = self._label(index, choice)
            if choice.group != group:
                group = choice.group
                found.append(Text(no_wrap=True).append(group.ljust(indent), self.palette.muted))
            elif found[-1].cell_len + len(separator) + label.cell_len > width:
                found.append(Text(" " * indent, no_wrap=True))
            else:
                found[-1].append(separator, self.palette.muted)
            found[-1].append_text(label)
        return found

    def _label(self, index: int, choice: Choice, alone: str = "") -> Text:
        p, shown = self.palette, alone or choice.label
        colour = p.error if choice.risky else p.accent
        chosen = choice == self.selected
        # Without colours nothing is reversed: the mark tells.
        style = f"bold reverse {colour}" if chosen else p.foreground
        label = Text(f"❯{shown} " if chosen else f" {shown} ", style=style)
        label.stylize(Style(meta={"choice": index}))
        return label

    def _one(self, width: int) -> Text:
        if self.selected is None:
            refusal = next(choice for choice in self.choices if choice.id == self._refusal)
            first = self.choices[0]
            text = Text(f"‹{refusal.label} · {first.alone or first.label}›")
        else:
            index = self.choices.index(self.selected)
            text = self._label(index, self.selected, self.selected.alone)
            text.append(f" {index + 1}/{len(self.choices)}", self.palette.muted)
        text.no_wrap = True
        text.truncate(width, overflow="ellipsis")
        return text

    def _move(self, step: int) -> None:
        if self.selected is not None:
            index = self.choices.index(self.selected) + step
            self.select(self.choices[max(0, min(index, len(self.choices) - 1))])
        elif step > 0:
            self.select(self.choices[0])
        else:
            self.select(next(c for c in self.choices if c.id == self._refusal))

    def _on_key(self, event: events.Key) -> None:  # type: ignore[override]  # not awaited
        key = event.key
        steps = {"right": 1, "tab": 1, "left": -1}
        if self._passed_on and self.on_typed is not None:
            event.stop()
            event.prevent_default()
            self.on_typed(event)
        elif key in steps or key == "enter":
            event.stop()
            event.prevent_default()
            if not self.choices or not self.quiet.accepts(event):
                return
            if key in steps:
                self._move(steps[key])
            elif self.selected is not None:
                self.quiet.hide()
                # A choice with an ellipsis opens a line of its own for what is typed next.
                self._passed_on = not self.selected.label.endswith("…")
                self.post_message(self.Chosen(self.selected.id))
        elif event.is_printable and event.character:
            event.stop()
            event.prevent_default()
            self.quiet.accepts(event)
            self.select(None)
            if self.on_typed is not None:
                self._passed_on = True
                self.on_typed(event)

    def on_click(self, event: events.Click) -> None:
        """A click selects; it does not answer."""
        style = event.style.meta.get("choice")
        if isinstance(style, int) and style < len(self.choices):
            self.select(self.choices[style])


class _Row:
    """The choices as lines of the width that there is."""

    def __init__(self, row: ChoiceRow) -> None:
        self._row = row

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from self._row.lines(options.max_width)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(1, options.max_width)
