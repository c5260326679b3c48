"""Loads a stored session into the transcript: its end first, earlier pages when they are needed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from laguna_agent.interfaces.tui.system.background import in_background
from laguna_agent.interfaces.tui.transcript.stored_entries import read_back_to, read_page
from laguna_agent.interfaces.tui.transcript.transcript_model import Entry

if TYPE_CHECKING:
    from laguna_agent.agent.session import Session
    from laguna_agent.interfaces.tui.transcript.transcript_model import TranscriptModel
    from laguna_agent.interfaces.tui.transcript.transcript_view import Transcript
    from laguna_agent.interfaces.tui.widgets.side_panel import SidePanel


class HistoryLoader:
    """Fills the transcript and the side panel from the session that is open."""

    def __init__(
        self,
        transcript: Transcript,
        transcript_model: TranscriptModel,
        side_panel: SidePanel,
    ) -> None:
        self._transcript = transcript
        self._transcript_model = transcript_model
        self._side_panel = side_panel
        self._session: Session | None = None
        self._loading = False

    def show(self, session: Session) -> None:
        """Show the end of a session, its plan and its changed files."""
        self._session = session
        self._side_panel.plan = list(session.conversation_state.plan)
        last = session.trajectory.last_seq
        entries, more = read_page(session.trajectory.directory, last + 1) if last else ([], False)
        changed_files = self._side_panel.changed_files
        changed_files.clear()
        for entry in entries:
            changed_files.add(entry)
        if entries and not more:
            entries.insert(0, _banner(session))
        self._transcript.replace(entries, more_before=more)
        self._transcript_model.end_live_entries()
        self._transcript_model.seq = last
        answers = [entry.body for entry in entries if entry.kind == "answer"]
        self._transcript_model.last_answer = answers[-1] if answers else ""
        self._side_panel.draw()

    def load_earlier(self) -> None:
        """Load the page before the first entry."""
        if self._loading or self._session is None or not self._transcript.entries:
            return
        self._loading = True
        in_background(self._transcript, "history", self._load_page, self._session)

    async def _load_page(self, session: Session) -> None:
        directory, before = session.trajectory.directory, self._first_seq
        try:
            entries, more = await asyncio.to_thread(read_page, directory, before)
        finally:
            self._loading = False
        self._prepend(session, entries, more=more)

    async def find_earlier(self, text: str) -> bool:
        """Load entries back to the last stored one that contains `text`; False if none does."""
        session = self._session
        if self._loading or session is None or not self._transcript.more_before:
            return False
        directory, before = session.trajectory.directory, self._first_seq
        self._loading = True
        try:
            entries, more = await asyncio.to_thread(read_back_to, directory, before, text)
        finally:
            self._loading = False
        return bool(entries) and self._prepend(session, entries, more=more)

    @property
    def _first_seq(self) -> int:
        return next((entry.seq for entry in self._transcript.entries if entry.seq), 0)

    def _prepend(self, session: Session, entries: list[Entry], *, more: bool) -> bool:
        """Add entries before the first; False if another session is open by now."""
        if session is not self._session:
            return False
        if not more:
            entries.insert(0, _banner(session))
        self._transcript.add_earlier(entries, more_before=more)
        return True


def _banner(session: Session) -> Entry:
    from laguna_agent import __version__

    info = session.info
    parts = [info.name]
    if info.parameters:
        parts.append(f"{info.parameters / 1e9:.1f}B")
    if info.quantization:
        parts.append(info.quantization)
    parts.append(f"{info.context:,} tokens of context")
    title = session.trajectory.meta.title
    body = " · ".join(parts) + f"\n{session.settings.cwd}" + (f"\n{title}" if title else "")
    return Entry("banner", title=f"laguna {__version__}", body=body)
