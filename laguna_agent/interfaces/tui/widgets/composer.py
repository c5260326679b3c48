"""Where a person types: several lines, history, chips for what is long, completion."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Literal

from textual import events
from textual.message import Message
from textual.widgets import TextArea

from laguna_agent.interfaces.tui.system.preferences import PromptHistory

BLINK_S = 10.0
"""Seconds after the last key for which the cursor blinks: an idle laguna does nothing at all."""
CHIP_LINES, CHIP_CHARS = 10, 1_000
"""Pasted text longer than this is folded to a chip."""
_CHIP = re.compile(r"\[pasted #(\d+): [^\]]*\]")
_WORD = re.compile(r"(?:^|(?<=\s))([@/][^\s]*)$")


class Composer(TextArea):
    """A text area that sends. Chips stand for pasted text until it is sent."""

    class Sent(Message):
        """Enter (`steer`) or Alt+Enter (`queue`)."""

        def __init__(self, text: str, how: Literal["steer", "queue"]) -> None:
            super().__init__()
            self.text, self.how = text, how

    class WordChanged(Message):
        """The word at the cursor that may be completed (`@fi`, `/mo`), or an empty one."""

        def __init__(self, word: str) -> None:
            super().__init__()
            self.word = word

    def __init__(self, history: PromptHistory, *, id: str | None = None) -> None:
        super().__init__(
            "", id=id, soft_wrap=True, show_line_numbers=False, tab_behavior="focus",
            highlight_cursor_line=False, compact=True, placeholder="Ask laguna, / for commands",
        )  # fmt: skip
        self.prompt_history = history
        self.on_completion_key: Callable[[str], bool] = lambda key: False
        """Handles a key for an open completion, at once; returns whether it did."""
        self._pastes: dict[int, str] = {}
        self._place: int | None = None
        self._typed = ""
        self._word = ""
        self._last_key = 0.0

    # --- text and chips --------------------------------------------------------------------

    @property
    def expanded(self) -> str:
        """What was typed, with chips written out."""
        return _CHIP.sub(lambda m: self._pastes.get(int(m[1]), m[0]), self.text)

    def put(self, text: str) -> None:
        """Replace what is typed; can be undone."""
        self.replace(text, (0, 0), self.document.end)
        self.move_cursor(self.document.end)

    def put_back(self, text: str) -> None:
        """Put what was sent and is not used before what is typed by now."""
        self.put(f"{text}\n{self.text}" if self.text else text)

    def send(self, how: Literal["steer", "queue"]) -> None:
        """Send what is typed. The composer is empty at once: what is typed next is the next."""
        text = self.expanded
        if text.strip():
            self.prompt_history.add(self.text)
            self.empty()
            self.post_message(self.Sent(text.strip(), how))

    def empty(self) -> None:
        """Begin anew."""
        self.clear()
        self._pastes.clear()
        self._place, self._typed = None, ""

    def insert_paste(self, text: str) -> None:
        """Insert text from the clipboard, folded when it is long."""
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        lines = text.count("\n") + 1
        if lines > CHIP_LINES or len(text) > CHIP_CHARS:
            number = len(self._pastes) + 1
            self._pastes[number] = text
            size = f"{lines:,} lines" if lines > 1 else f"{len(text):,} characters"
            text = f"[pasted #{number}: {size}]"
        self.insert(text)

    async def _on_paste(self, event: events.Paste) -> None:
        event.prevent_default()
        event.stop()
        self.insert_paste(event.text)

    def complete(self, word: str, replacement: str) -> None:
        """Put a completion in the place of the word before the cursor."""
        row, column = self.cursor_location
        self.replace(replacement, (row, max(0, column - len(word))), (row, column))

    # --- keys ------------------------------------------------------------------------------

    async def _on_key(self, event: events.Key) -> None:
        key = event.key
        if key in ("up", "down", "tab", "enter") and self.on_completion_key(key):
            self._take(event)
        elif key in ("enter", "alt+enter"):
            self._take(event)
            row, column = self.cursor_location
            if key == "enter" and self.document.get_line(row)[:column].endswith("\\"):
                self.replace("\n", (row, column - 1), (row, column))
                return
            self.send("steer" if key == "enter" else "queue")
        elif key in ("shift+enter", "ctrl+j"):
            self._take(event)
            self.insert("\n")
        elif key == "up" and self.cursor_location[0] == 0 and not self._wrapped_above():
            self._take(event)
            self._go(-1)
        elif key == "down" and self.cursor_location[0] == self.document.line_count - 1:
            if self._place is not None:
                self._take(event)
                self._go(1)
        elif key == "backspace" and self._drop_chip():
            self._take(event)
        elif not await self._edited(event):
            await super()._on_key(event)

    async def _edited(self, event: events.Key) -> bool:
        """Do at once what a key stands for in a text area. By itself a key that is bound is done
        only when it has gone up to the screen, after letters that were typed behind it."""
        for binding in self._bindings.key_to_bindings.get(event.key, ()):
            if await self.app.run_action(binding.action, self):
                self._take(event)
                return True
        return False

    def _restart_blink(self) -> None:
        self._last_key = time.monotonic()
        super()._restart_blink()

    def _toggle_cursor_blink_visible(self) -> None:
        if time.monotonic() - self._last_key > BLINK_S:
            self._pause_blink(visible=True)
        else:
            super()._toggle_cursor_blink_visible()

    @staticmethod
    def _take(event: events.Key) -> None:
        event.stop()
        event.prevent_default()

    def _wrapped_above(self) -> bool:
        return self.wrapped_document.location_to_offset(self.cursor_location).y > 0

    def _drop_chip(self) -> bool:
        """Backspace after a chip takes all of it."""
        if self.selected_text:
            return False
        row, column = self.cursor_location
        for match in _CHIP.finditer(self.document.get_line(row)):
            if match.end() == column:
                self.delete((row, match.start()), (row, column))
                return True
        return False

    def _go(self, step: int) -> None:
        prompts = self.prompt_history.prompts
        place = len(prompts) if self._place is None else self._place
        if self._place is None:
            self._typed = self.text
        place += step
        if place < 0:
            return
        if place >= len(prompts):
            self._place = None
            self.put(self._typed)
        else:
            self._place = place
            self.put(prompts[place])

    # --- completion ------------------------------------------------------------------------

    def on_text_area_changed(self) -> None:
        self._look_at_word()

    def on_text_area_selection_changed(self) -> None:
        self._look_at_word()

    def word_now(self) -> str:
        """The word at the cursor that may be completed, or an empty one."""
        row, column = self.cursor_location
        match = _WORD.search(self.document.get_line(row)[:column])
        word = match[1] if match else ""
        return "" if word.startswith("/") and (row or column != len(word)) else word

    def _look_at_word(self) -> None:
        word = self.word_now()
        if word != self._word:
            self._word = word
            self.post_message(self.WordChanged(word))

    def on_focus(self) -> None:
        self._word = ""
        self._look_at_word()
