"""The transcript of a session on record, a page at a time from its end; and what it adds up to."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

from laguna_agent.interfaces.tui.system.background import in_background
from laguna_agent.interfaces.tui.transcript.diff_view import parse
from laguna_agent.interfaces.tui.transcript.transcript_model import Entry, TranscriptModel

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from laguna_agent.agent.session import Session
    from laguna_agent.events import Event
    from laguna_agent.interfaces.tui.app import LagunaApp

PAGE = 400
"""Events that are read at a time."""


class HistoryLoader:
    """Fills the transcript and the side panel of a session that was opened."""

    def __init__(self, app: LagunaApp) -> None:
        self._app = app
        self._directory: Path | None = None
        self._loading = False
        self._before: list[dict[str, tuple[int, int]]] = []
        """The list of changed files as it was before each turn."""

    def show(self, session: Session) -> None:
        """Show a session's end and its plan and files."""
        app = self._app
        self._directory = session.trajectory.directory
        app.side_panel.plan = list(session.agent.plan or session.record.state.plan)
        app.side_panel.changed = {}
        self._before = []
        last = session.trajectory.last_seq
        entries, more = read_page(self._directory, last + 1) if last else ([], False)
        for entry in entries:
            if entry.kind == "user" and entry.name != "steer":
                self._turn()
            self.count(entry)
        if not more:
            entries.insert(0, self._banner(session))
        app.transcript.replace(entries, more_before=more)
        app.transcript_model.settle()
        app.transcript_model.seq = last
        answers = [entry.body for entry in entries if entry.kind == "answer"]
        app.transcript_model.last_answer = answers[-1] if answers else ""
        app.side_panel.draw()

    def take(self, event: Event) -> None:
        """Follow the plan and the turns."""
        if event.type == "user_message" and event.origin != "steer":
            self._turn()
        if event.type == "plan_updated":
            self._app.side_panel.plan = event.steps
            self._app.side_panel.draw()
        elif event.type == "user_message" and event.origin == "user":
            self._app.side_panel.draw()

    def count(self, entry: Entry) -> None:
        """Add the lines of an edit to the list of changed files."""
        if not entry.diff:
            return
        name = entry.title
        changed = self._app.side_panel.changed
        for row in parse(entry.diff):
            if row.kind == "file":
                name = row.text
            elif row.kind in ("added", "removed"):
                added, removed = changed.pop(name, (0, 0))
                more = (added + 1, removed) if row.kind == "added" else (added, removed + 1)
                changed[name] = more
        if self._app.transcript.entries:
            self._app.side_panel.draw()

    def undone(self, failed: Iterable[str]) -> None:
        """Take what the last turn that changed files did out of the list of them, but for files
        that could not be put back."""
        side = self._app.side_panel
        while self._before:
            before = self._before.pop()
            if before != side.changed:
                left = {name: side.changed[name] for name in failed if name in side.changed}
                side.changed = {**before, **left}
                break
        side.draw()

    def _turn(self) -> None:
        self._before.append(dict(self._app.side_panel.changed))

    def load_earlier(self) -> None:
        """Put the page before the first entry into the transcript."""
        transcript = self._app.transcript
        if self._loading or self._directory is None or not transcript.entries:
            return
        first = next((entry.seq for entry in transcript.entries if entry.seq), 0)
        self._loading = True
        in_background(self._app, "past", self._load, self._directory, first)

    async def _load(self, directory: Path, before: int) -> None:
        try:
            entries, more = await asyncio.to_thread(read_page, directory, before)
        finally:
            self._loading = False
        if directory == self._directory:
            self._put_before(entries, more=more)

    async def find_earlier(self, text: str) -> bool:
        """Load the last entry on record that holds `text` and all after it; False if none does."""
        transcript, directory = self._app.transcript, self._directory
        if self._loading or directory is None or not transcript.more_before:
            return False
        first = next((entry.seq for entry in transcript.entries if entry.seq), 0)
        self._loading = True
        try:
            entries, more = await asyncio.to_thread(read_until, directory, first, text)
        finally:
            self._loading = False
        if not entries or directory != self._directory:
            return False
        self._put_before(entries, more=more)
        return True

    def _put_before(self, entries: list[Entry], *, more: bool) -> None:
        if not more and self._app.agent.session is not None:
            entries.insert(0, self._banner(self._app.agent.session))
        self._app.transcript.add_earlier(entries, more_before=more)

    def _banner(self, session: Session) -> Entry:
        from laguna_agent import __version__

        info = session.info
        parts = [info.name]
        if info.parameters:
            parts.append(f"{info.parameters / 1e9:.1f}B")
        if info.quantization:
            parts.append(info.quantization)
        parts.append(f"{info.context:,} tokens of context")
        title = session.trajectory.meta.title
        body = " · ".join(parts) + f"\n{session.root}" + (f"\n{title}" if title else "")
        return Entry("banner", title=f"laguna {__version__}", body=body)


def read_page(directory: Path, before: int) -> tuple[list[Entry], bool]:
    """The entries of up to PAGE events before number `before`, and whether there are more."""
    return _Pages(directory).page(before)


def read_until(directory: Path, before: int, text: str) -> tuple[list[Entry], bool]:
    """The entries before number `before`, back to the page whose entries hold `text`; none if none
    does. And whether there are more before them."""
    pages, wanted = _Pages(directory), text.casefold()
    found: list[Entry] = []
    more = True
    while more:
        entries, more = pages.page(before)
        found[:0] = entries
        if any(wanted in entry.text.casefold() for entry in entries):
            return found, more
        before -= PAGE
    return [], False


class _Pages:
    """A record, read by the page; what was rewound is left out."""

    def __init__(self, directory: Path) -> None:
        from laguna_agent.trajectory.replay import StoredEvents, kept_ranges
        from laguna_agent.trajectory.store import Trajectory

        trajectory = Trajectory.open(directory, for_append=False)
        self._directory = directory
        self._keeps = kept_ranges(StoredEvents(list(trajectory.of_type("rewound"))))

    def page(self, before: int) -> tuple[list[Entry], bool]:
        """The entries of up to PAGE events before number `before`, and whether there are more."""
        from laguna_agent.trajectory.reader import read_events

        entries: list[Entry] = []
        ledger = TranscriptModel(entries.append, lambda entry: None, entries.remove)
        start = max(1, before - PAGE)
        events = read_events(self._directory, start, whole=False, problems=[])
        read = itertools.takewhile(lambda item: item.seq < before, events)
        ledger.replay(item for item in read if self._keeps(item.seq))
        return entries, start > 1
