"""A turn's changes as data: whose they are, which files differ, what taking them back does."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from laguna_agent.tools.checkpoints.tree_state import TreeEntry

Kind = Literal["turn", "undo", "redo"]
Edit = tuple[TreeEntry | None, TreeEntry | None]
"""A file before and after; None where it does not exist."""


@dataclass(frozen=True)
class Origin:
    """Whose changes these are. `seq` is the number of the session's last event before its turn."""

    session: str
    turn: str
    """Identifies the turn, in all sessions; for an undo or redo, that."""
    number: int = 0
    seq: int = 0
    title: str = ""
    kind: Kind = "turn"
    of: tuple[str, ...] = ()
    """The turns that were taken back or made again."""


@dataclass(frozen=True)
class Change:
    """Files that differ between two states, by path, with the time in seconds since 1970."""

    origin: Origin
    time: float
    files: Mapping[str, Edit]
    about: str = ""
    """What was run: where sessions write at the same time, the names in it tell whose a file is."""
    exact: bool = False
    """Whether nothing else can have been changed: an edit, rather than a command."""


@dataclass
class Step:
    """All changes of one turn, undo or redo, in order."""

    origin: Origin
    changes: list[Change] = field(default_factory=list)
    undone: bool = False

    @property
    def time(self) -> float:
        """When the last of them ended."""
        return self.changes[-1].time

    @property
    def files(self) -> list[str]:
        """The paths that differ after all of them."""
        return sorted(net(self.changes))


Outcome = Literal["restored", "removed", "merged", "conflict"]


@dataclass
class Planned:
    """What taking back does to one file. Line counts are those of the file as it is now."""

    path: str
    outcome: Outcome
    now: TreeEntry | None
    then: TreeEntry | None
    why: str = ""
    """The reason of a conflict."""
    added: int = 0
    removed: int = 0
    yours: int = 0
    """Lines that were added or removed since, which stay."""
    diff: str = ""


@dataclass
class Taken:
    """What was taken back or made again."""

    origin: Origin
    done: list[Planned] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)
    """Files that are as they were, and why."""
    change: Change | None = None

    @property
    def written(self) -> list[str]:
        """Paths of the files that were written."""
        return [item.path for item in self.done if item.then is not None]

    @property
    def removed(self) -> list[str]:
        """Paths of the files that were removed."""
        return [item.path for item in self.done if item.then is None]


def new_turn() -> str:
    """A new identifier of a turn, an undo or a redo."""
    return secrets.token_hex(6)


def net(changes: Iterable[Change]) -> dict[str, Edit]:
    """The files that differ from before to after all of the changes."""
    found: dict[str, Edit] = {}
    for path, edits in edits_by_file(changes).items():
        if len(edits) > 1 or edits[0][0] != edits[0][1]:
            found[path] = (edits[0][0], edits[-1][1])
    return found


def edits_by_file(changes: Iterable[Change]) -> dict[str, list[Edit]]:
    """The edits of each file in order; those that follow on one another are one."""
    found: dict[str, list[Edit]] = {}
    for change in changes:
        for path, (before, after) in change.files.items():
            edits = found.setdefault(path, [])
            if edits and edits[-1][1] == before:
                before = edits.pop()[0]
            if edits and before == after:
                continue
            edits.append((before, after))
    return found
