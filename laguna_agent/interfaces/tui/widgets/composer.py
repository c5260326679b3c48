"""The composer: several lines of text, prompt history, chips for long pastes, completion."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.document._document import EditResult, Location, Selection
from textual.document._edit import Edit
from textual.message import Message
from textual.widgets import TextArea

from laguna_agent.interfaces.tui.system.preferences import PromptHistory
from laguna_agent.interfaces.tui.system.prompt import CHIP, Prompt, expand, fold
from laguna_agent.interfaces.tui.widgets.line_input import run_own_binding
from laguna_agent.interfaces.tui.widgets.queued_messages import Delivery

BLINK_S = 10.0
"""Seconds after the last key for which the cursor blinks: an idle laguna uses no CPU."""
CHIP_LINES, CHIP_CHARS = 10, 1_000
"""Pasted text longer than this is folded into a chip."""
_COMPLETABLE = re.compile(r"(?:^|(?<=\s))([@/][^\s]*)$")


class Composer(TextArea):
    """A text area that sends messages. Chips stand for pasted text until it is sent."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+underscore", "undo", show=False)]

    class Sent(Message):
        """A message was sent with Enter (`steer`) or Alt+Enter (`queue`); it may be empty."""

        def __init__(self, prompt: Prompt, delivery: Delivery) -> None:
            super().__init__()
            self.prompt = prompt
            self.delivery: Delivery = delivery

    class WordChanged(Message):
        """The completable word at the cursor is another one (`@fi`, `/mo`, or empty)."""

        def __init__(self, word: str) -> None:
            super().__init__()
            self.word = word

    def __init__(self, prompt_history: PromptHistory, *, id: str | None = None) -> None:
        super().__init__(
            "", id=id, soft_wrap=True, show_line_numbers=False, tab_behavior="focus",
            highlight_cursor_line=False, compact=True, placeholder="Ask laguna, / for commands",
        )  # fmt: skip
        self.prompt_history = prompt_history
        self.on_completion_key: Callable[[str], bool] = lambda key: False
        """Handles a key for an open completion list; returns whether it did."""
        self._pastes: dict[str, str] = {}
        """The text of every chip that was ever in the composer: an undo may bring one back."""
        self._position: int | None = None
        """Of the prompt from the history that is shown."""
        self._typed = Prompt("")
        self._word = ""
        self._last_key = 0.0

    # --- text and chips --------------------------------------------------------------------

    @property
    def prompt(self) -> Prompt:
        """What is typed."""
        found = {chip for chip in CHIP.findall(self.text) if chip in self._pastes}
        return Prompt(self.text, {chip: self._pastes[chip] for chip in found})

    @property
    def expanded_selection(self) -> str:
        """The selected text, its chips replaced by what was pasted."""
        return expand(self.selected_text, self._pastes)

    def put(self, prompt: Prompt | str) -> None:
        """Replace the text; can be undone."""
        text = prompt if isinstance(prompt, str) else self._adopt(prompt)
        self.replace(text, (0, 0), self.document.end)
        self.move_cursor(self.document.end)

    def put_back(self, prompt: Prompt) -> None:
        """Return a message that was sent and not used, above the text typed since."""
        text = self._adopt(prompt)
        self.put(f"{text}\n{self.text}" if self.text else text)

    def put_edited(self, text: str) -> None:
        """Put what an editor made of the text. Pastes that it left as they are stay chips."""
        self.put(fold(text, self.prompt.pastes))

    def _adopt(self, prompt: Prompt) -> str:
        """The text of a prompt from elsewhere, whose chips may have the names of others."""

        def renamed(chip: re.Match[str]) -> str:
            pasted = prompt.pastes.get(chip[0])
            if pasted is None or self._pastes.get(chip[0], pasted) == pasted:
                return chip[0]
            return self._chip_of(pasted)

        text = CHIP.sub(renamed, prompt.text)
        for chip, pasted in prompt.pastes.items():
            self._pastes.setdefault(chip, pasted)
        return text

    def _chip_of(self, pasted: str) -> str:
        """A new chip for a pasted text."""
        lines = pasted.rstrip("\n").count("\n") + 1
        size = f"{lines:,} lines" if lines > 1 else f"{len(pasted):,} characters"
        number = len(self._pastes) + 1
        while (chip := f"[pasted #{number}: {size}]") in self._pastes:
            number += 1
        self._pastes[chip] = pasted
        return chip

    def send(self, delivery: Delivery) -> None:
        """Send the text and empty the composer at once."""
        prompt = self.prompt
        self.prompt_history.add(prompt)
        self.empty()
        self.post_message(self.Sent(prompt, delivery))

    def empty(self) -> None:
        """Remove the text."""
        self.clear()
        self._position, self._typed = None, Prompt("")

    def insert_paste(self, text: str) -> None:
        """Insert pasted text, folded into a chip when it is long."""
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        folded = text.count("\n") >= CHIP_LINES or len(text) > CHIP_CHARS
        self.replace(self._chip_of(text) if folded else text, *self.selection,
                     maintain_selection_offset=False)  # fmt: skip

    def edit(self, edit: Edit) -> EditResult:
        """Perform an edit. A chip is one thing: what would change a part of it, changes it whole,
        and what is inserted within it comes after it."""
        start, end = sorted((edit.from_location, edit.to_location))
        if start == end:
            start = end = self._outside_chip(start, after=True)
        else:
            start, end = self._outside_chip(start), self._outside_chip(end, after=True)
        if (start, end) != tuple(sorted((edit.from_location, edit.to_location))):
            edit = Edit(edit.text, start, end, edit.maintain_selection_offset)
        return super().edit(edit)

    def _outside_chip(self, location: Location, *, after: bool = False) -> Location:
        """A location, moved out of the chip that it is within."""
        row, column = location
        if row < self.document.line_count:
            for chip in CHIP.finditer(self.document.get_line(row)):
                if chip.start() < column < chip.end() and chip[0] in self._pastes:
                    return row, chip.end() if after else chip.start()
        return location

    async def _on_paste(self, event: events.Paste) -> None:
        event.prevent_default()
        event.stop()
        self.insert_paste(event.text)

    def complete(self, word: str, replacement: str) -> None:
        """Replace the word before the cursor with its completion."""
        row, column = self.cursor_location
        self.replace(replacement, (row, max(0, column - len(word))), (row, column))

    # --- keys ------------------------------------------------------------------------------

    async def _on_key(self, event: events.Key) -> None:
        key = event.key
        if key in ("up", "down", "tab", "enter") and self.on_completion_key(key):
            self._consume(event)
        elif key in ("enter", "alt+enter"):
            self._consume(event)
            row, column = self.cursor_location
            if key == "enter" and self.document.get_line(row)[:column].endswith("\\"):
                self.replace("\n", (row, column - 1), (row, column))
                return
            self.send("steer" if key == "enter" else "queue")
        elif key in ("shift+enter", "ctrl+j"):
            self._consume(event)
            self.insert("\n")
        elif key == "up" and self.cursor_location[0] == 0 and not self._wrapped_above():
            self._consume(event)
            self._show_prompt(-1)
        elif key == "down" and self.cursor_location[0] == self.document.line_count - 1:
            if self._position is not None:
                self._consume(event)
                self._show_prompt(1)
        elif event.character == "?" and not self.text:
            self._consume(event)
            await self.app.run_action("help")
        elif not await run_own_binding(self, event):
            await super()._on_key(event)

    def _restart_blink(self) -> None:
        self._last_key = time.monotonic()
        super()._restart_blink()

    def _toggle_cursor_blink_visible(self) -> None:
        if time.monotonic() - self._last_key > BLINK_S:
            self._pause_blink(visible=True)
        else:
            super()._toggle_cursor_blink_visible()

    @staticmethod
    def _consume(event: events.Key) -> None:
        event.stop()
        event.prevent_default()

    def _wrapped_above(self) -> bool:
        return self.wrapped_document.location_to_offset(self.cursor_location).y > 0

    def _watch_selection(self, previous_selection: Selection, selection: Selection) -> None:
        forward = selection.end > previous_selection.end
        end = self._outside_chip(selection.end, after=forward)
        if end != selection.end:
            start = end if selection.is_empty else selection.start
            self.selection = Selection(start, end)
            return
        super()._watch_selection(previous_selection, selection)

    def _show_prompt(self, step: int) -> None:
        """Show the previous or next prompt of the history; after the last, the unsent text."""
        prompts = self.prompt_history
        position = len(prompts) if self._position is None else self._position
        if position + step < 0:
            return
        if self._position is None:
            self._typed = self.prompt
        position += step
        if position >= len(prompts):
            self._position = None
            self.put(self._typed)
        else:
            self._position = position
            self.put(prompts[position])

    # --- completion ------------------------------------------------------------------------

    def on_text_area_changed(self) -> None:
        self._update_word()

    def on_text_area_selection_changed(self) -> None:
        self._update_word()

    def completable_word(self) -> str:
        """The word before the cursor if it can be completed, else an empty one."""
        row, column = self.cursor_location
        match = _COMPLETABLE.search(self.document.get_line(row)[:column])
        word = match[1] if match else ""
        return "" if word.startswith("/") and (row or column != len(word)) else word

    def _update_word(self) -> None:
        word = self.completable_word()
        if word != self._word:
            self._word = word
            self.post_message(self.WordChanged(word))

    def on_focus(self) -> None:
        self._word = ""
        self._update_word()
