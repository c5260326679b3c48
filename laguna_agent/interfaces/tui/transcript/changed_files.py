"""The lines that a conversation added to and removed from each file."""

from __future__ import annotations

from collections.abc import Iterable

from laguna_agent.interfaces.tui.transcript.diff_view import parse
from laguna_agent.interfaces.tui.transcript.transcript_model import Entry
from laguna_agent.tools.checkpoints.change import Planned


class ChangedFiles:
    """Adds up the diffs of a conversation, turn by turn, so that an undo can be subtracted."""

    def __init__(self) -> None:
        self.counts: dict[str, tuple[int, int]] = {}
        """Lines added and removed, by path; the file changed last comes last."""
        self._before_turns: list[dict[str, tuple[int, int]]] = []

    def clear(self) -> None:
        """Start again, for another conversation."""
        self.counts, self._before_turns = {}, []

    def start_turn(self) -> None:
        """A turn starts."""
        self._before_turns.append(dict(self.counts))

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

    def add_counts(self, items: Iterable[Planned]) -> None:
        """Add changes that were made again."""
        self.start_turn()
        for item in items:
            added, removed = self.counts.pop(item.path, (0, 0))
            self.counts[item.path] = added + item.added, removed + item.removed

    def undo_turn(self, failed: Iterable[str]) -> None:
        """Subtract the last turn that changed files, except for the files that `failed`."""
        while self._before_turns:
            before = self._before_turns.pop()
            if before != self.counts:
                kept = {name: self.counts[name] for name in failed if name in self.counts}
                self.counts = {**before, **kept}
                return
