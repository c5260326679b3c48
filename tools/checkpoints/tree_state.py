"""The files of a working tree at one moment."""

from __future__ import annotations

import stat
from dataclasses import dataclass

from laguna_agent.errors import LagunaError


class CheckpointError(LagunaError):
    """A state of the files could not be recorded, found or restored."""


@dataclass(frozen=True)
class TreeEntry:
    """A recorded file or link."""

    mode: int
    """Type and permission bits, as in `lstat`."""
    blob: str

    def same_content(self, other: TreeEntry | None) -> bool:
        """Whether both are files, or both links, of the same content."""
        return (
            other is not None
            and self.blob == other.blob
            and stat.S_IFMT(self.mode) == stat.S_IFMT(other.mode)
        )


@dataclass(frozen=True)
class TreeState:
    """The files of the working tree at one moment."""

    entries: dict[str, TreeEntry]
    skipped: frozenset[str] = frozenset()
    """Paths that are not recorded: too large, or unreadable."""
    time: float = 0.0
    """When it was taken, in seconds since 1970."""
