"""Reads the entries of a stored session, one page of events at a time, from its end."""

from __future__ import annotations

import itertools
from pathlib import Path

from laguna_agent.interfaces.tui.transcript.transcript_model import Entry, TranscriptModel

PAGE = 400
"""Events of a page."""


def read_page(directory: Path, before: int) -> tuple[list[Entry], bool]:
    """The entries of up to PAGE events before number `before`, and whether there are more."""
    return _Pages(directory).page(before)


def read_back_to(directory: Path, before: int, text: str) -> tuple[list[Entry], bool]:
    """The entries before number `before`, back to the page with an entry that contains `text`.

    Also whether there are more before them. No entries if none contains it.
    """
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
    """The pages of one session, without what was rewound."""

    def __init__(self, directory: Path) -> None:
        from laguna_agent.trajectory.replay import StoredEvents, kept_ranges
        from laguna_agent.trajectory.store import Trajectory

        trajectory = Trajectory.open(directory, for_append=False)
        self._directory = directory
        self._is_kept = kept_ranges(StoredEvents(list(trajectory.of_type("rewound"))))

    def page(self, before: int) -> tuple[list[Entry], bool]:
        """The entries of up to PAGE events before number `before`, and whether there are more."""
        from laguna_agent.trajectory.reader import read_events

        entries: list[Entry] = []
        model = TranscriptModel(entries.append, lambda entry: None, entries.remove)
        start = max(1, before - PAGE)
        events = read_events(self._directory, start, whole=False, problems=[])
        page = itertools.takewhile(lambda item: item.seq < before, events)
        model.replay(item for item in page if self._is_kept(item.seq))
        return entries, start > 1
