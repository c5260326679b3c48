"""The lines that a conversation added to and removed from each file."""

from __future__ import annotations

from collections.abc import Iterable

from laguna_agent.interfaces.tui.transcript.diff_view import parse
from laguna_agent.interfaces.tui.transcript.transcript_model import Entry
from laguna_agent.tools.checkpoints.change import Planned


class ChangedFiles:
    """Adds up the diffs of a conversation, and subtracts what is undone."""

    def __init__(self) -> None:
        self.counts: dict[str, tuple[int, int]] = {}
        """Lines added and removed, by path; the file changed last comes last."""

    def clear(self) -> None:
        """Start again, for another conversation."""
        self.counts = {}

    def add(self, entry: Entry) -> None:
        """Add the lines of an entry's diff."""
        if not entry.diff:
            return
        name = entry.title
        for row in parse(entry.diff):
            if row.kind == "file":
                name = row.text
            elif row.kind in ("added", "removed"):
                added, removed = self.counts.pop(name, (0, 0))
                is_added = row.kind == "added"
                self.counts[name] = added + is_added, removed + (not is_added)

    def redo(self, items: Iterable[Planned]) -> None:
        """Add changes that were made again."""
        for item in items:
            added, removed = self.counts.pop(item.path, (0, 0))
            self.counts[item.path] = added + item.added, removed + item.removed

    def undo(self, items: Iterable[Planned]) -> None:
        """Subtract changes that were taken back: what they add had been removed."""
        for item in items:
            added, removed = self.counts.pop(item.path, (0, 0))
            left = max(0, added - item.removed), max(0, removed - item.added)
            if any(left):
                self.counts[item.path] = left
