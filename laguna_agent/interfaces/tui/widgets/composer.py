"""The composer: several lines of text, prompt history, chips for long pastes, completion."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from textual import events
from textual.message import Message
from textual.widgets import TextArea

from laguna_agent.interfaces.tui.system.preferences import PromptHistory
from laguna_agent.interfaces.tui.widgets.queued_messages import Delivery

BLINK_S = 10.0
"""Seconds after the last key for which the cursor blinks: an idle laguna uses no CPU."""
CHIP_LINES, CHIP_CHARS = 10, 1_000
"""Pasted text longer than this is folded into a chip."""
_CHIP = re.compile(r"\[pasted #(\d+): [^\]]*\]")
_COMPLETABLE = re.compile(r"(?:^|(?<=\s))([@/][^\s]*)$")


class Composer(TextArea):
    """A text area that sends messages. Chips stand for pasted text until it is sent."""

    class Sent(Message):
        """A message was sent with Enter (`steer`) or Alt+Enter (`queue`)."""

        def __init__(self, text: str, delivery: Delivery) -> None:
            super().__init__()
            self.text = text
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
        self._pastes: dict[int, str] = {}
        self._position: int | None = None
        """Of the prompt from the history that is shown."""
        self._typed = ""
        self._word = ""
        self._last_key = 0.0

    # --- text and chips --------------------------------------------------------------------

    @property
    def expanded(self) -> str:
        """The text with its chips replaced by what was pasted."""
        return _CHIP.sub(lambda m: self._pastes.get(int(m[1]), m[0]), self.text)

    def put(self, text: str) -> None:
        """Replace the text; can be undone."""
        self.replace(text, (0, 0), self.document.end)
        self.move_cursor(self.document.end)

    def put_back(self, text: str) -> None:
        """Return a message that was sent and not used, above the text typed since."""
        self.put(f"{text}\n{self.text}" if self.text else text)

    def send(self, delivery: Delivery) -> None:
        """Send the text and empty the composer at once."""
        text = self.expanded
        if text.strip():
            self.prompt_history.add(self.text)
            self.empty()
            self.post_message(self.Sent(text.strip(), delivery))

    def empty(self) -> None:
        """Remove the text and its chips."""
        self.clear()
        self._pastes.clear()
        self._position, self._typed = None, ""

    def insert_paste(self, text: str) -> None:
        """Insert pasted text, folded into a chip when it is long."""
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
        elif key == "backspace" and self._delete_chip():
            self._consume(event)
        elif not await self._run_binding(event):
            await super()._on_key(event)

    async def _run_binding(self, event: events.Key) -> bool:
        """Run the text area's own action for a key now. Textual would run it only after the key
        bubbled up to the screen, when letters typed after it are already inserted."""
        for binding in self._bindings.key_to_bindings.get(event.key, ()):
            if await self.app.run_action(binding.action, self):
                self._consume(event)
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
    def _consume(event: events.Key) -> None:
        event.stop()
        event.prevent_default()

    def _wrapped_above(self) -> bool:
        return self.wrapped_document.location_to_offset(self.cursor_location).y > 0

    def _delete_chip(self) -> bool:
        """Delete the whole chip that ends at the cursor."""
        if self.selected_text:
            return False
        row, column = self.cursor_location
        for match in _CHIP.finditer(self.document.get_line(row)):
            if match.end() == column:
                self.delete((row, match.start()), (row, column))
                return True
        return False

    def _show_prompt(self, step: int) -> None:
        """Show the previous or next prompt of the history; after the last, the unsent text."""
        prompts = self.prompt_history.prompts
        position = len(prompts) if self._position is None else self._position
        if self._position is None:
            self._typed = self.text
        position += step
        if position < 0:
            return
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
