"""Searches the transcript: the entries that are loaded, then the rest of the stored session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from laguna_agent.interfaces.tui.system.background import in_background

if TYPE_CHECKING:
    from textual.widgets import Input

    from laguna_agent.interfaces.tui.history_loader import HistoryLoader
    from laguna_agent.interfaces.tui.transcript.transcript_view import Transcript
    from laguna_agent.interfaces.tui.widgets.composer import Composer
    from laguna_agent.interfaces.tui.widgets.status_line import StatusLine


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
        if not text or self._transcript.find(text, backward=backward):
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
        if not found or not transcript.find(text):
            self._status.flash(f"no earlier match: {text}")
