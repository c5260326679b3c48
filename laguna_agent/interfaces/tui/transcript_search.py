"""Searches the transcript: the entries that are loaded, then the rest of the stored session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from laguna_agent.interfaces.tui.system.background import in_background

if TYPE_CHECKING:
    from textual.widgets import Input

    from laguna_agent.interfaces.tui.history_loader import HistoryLoader
    from laguna_agent.interfaces.tui.transcript.transcript_model import Entry
    from laguna_agent.interfaces.tui.transcript.transcript_view import Transcript
    from laguna_agent.interfaces.tui.widgets.composer import Composer
    from laguna_agent.interfaces.tui.widgets.status_line import StatusLine

_FOLDED = ("tool", "thinking", "user")
"""Kinds of entries of which only a part may be shown."""


class TranscriptSearch:
    """Opens the search line and goes from match to match."""

    def __init__(
        self,
        transcript: Transcript,
        search_line: Input,
        composer: Composer,
        status: StatusLine,
        history_loader: HistoryLoader,
    ) -> None:
        self._transcript = transcript
        self._search_line = search_line
        self._composer = composer
        self._status = status
        self._history_loader = history_loader

    @property
    def is_open(self) -> bool:
        """Whether the search line is open."""
        return self._search_line.has_class("shown")

    def open(self) -> None:
        """Open the search line."""
        self._search_line.add_class("shown")
        self._search_line.value = ""
        self._search_line.focus()

    def close(self) -> None:
        """Close the search line."""
        self._search_line.remove_class("shown")
        self._composer.focus()

    def search(self, text: str) -> None:
        """Go to the last entry of the whole conversation that contains `text`."""
        self.close()
        self._transcript.focus()
        self._transcript.cursor = None
        self._go_to_match(text, backward=True)

    def next_match(self, *, backward: bool) -> None:
        """Go to the previous or the next match of the last search."""
        self._go_to_match(self._transcript.query_text, backward=backward)

    def _go_to_match(self, text: str, *, backward: bool) -> None:
        if not text or self._find(text, backward=backward):
            return
        if backward and self._transcript.more_before:
            self._status.flash("searching the whole conversation…", 30)
            in_background(self._transcript, "search", self._search_stored, text)
        else:
            self._status.flash(f"no {'earlier' if backward else 'later'} match: {text}")

    async def _search_stored(self, text: str) -> None:
        transcript = self._transcript
        before = transcript.cursor
        if before is None:
            transcript.cursor = 0
        found = await self._history_loader.find_earlier(text)
        self._status.flash("")
        if not found:
            transcript.cursor = before
        if not found or not self._find(text):
            self._status.flash(f"no earlier match: {text}")

    def _find(self, text: str, *, backward: bool = True) -> bool:
        """Select the next entry that contains `text`, towards the start or the end."""
        transcript = self._transcript
        transcript.mark(text)
        if not transcript.query_text:
            return False
        step = -1 if backward else 1
        start = transcript.cursor if transcript.cursor is not None else len(transcript.entries)
        index = start + step
        while 0 <= index < len(transcript.entries):
            if transcript.query_text in transcript.entries[index].text.casefold():
                transcript.select(index)
                self._show_match(index)
                return True
            index += step
        return False

    def _show_match(self, index: int) -> None:
        """Scroll the matching line into view; expand the entry if it hides the line."""
        entry = self._transcript.entries[index]
        folds = not entry.is_open and (entry.kind in _FOLDED or entry.is_open is False)
        if (line := self._matching_line(entry)) is None and folds:
            self._transcript.toggle(entry)
            line = self._matching_line(entry)
        self._transcript.show_line(index, line or 0)

    def _matching_line(self, entry: Entry) -> int | None:
        """The first drawn line of an entry that contains the query; None if the match is wrapped
        over two lines."""
        query = self._transcript.query_text
        lines = enumerate(self._transcript.drawn(entry))
        return next((number for number, line in lines if query in line.casefold()), None)
