"""Marks of changes that are being made: what a killed laguna had changed is recorded from them.

A mark is a file, locked by the process that makes the change. It holds the state of the files
before the change, and its time says when that process was last alive: what was written later is
not its.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from laguna_agent.file_lock import LockHeldError, lock, release
from laguna_agent.tools.checkpoints.tree_state import TreeEntry, TreeState

BEAT_S = 0.2
"""Seconds between two beats of a mark."""


class Mark:
    """A mark of this process. `beat` at least every `BEAT_S` seconds, and `end` it."""

    def __init__(self, folder: Path, head: dict[str, Any], before: TreeState) -> None:
        """`head` holds whose the change is, and what is run. Raises OSError."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = folder / secrets.token_hex(8)
        entries = {path: [entry.mode, entry.blob] for path, entry in before.entries.items()}
        state = {"entries": entries, "skipped": sorted(before.skipped), "time": before.time}
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._file = os.open(self._path, flags, 0o600)
        self._lock_file = lock(self._file, self._path.with_suffix(".held"), wait=False)
        with open(self._file, "w", encoding="ascii", closefd=False) as stream:
            stream.write(f"{json.dumps(head)}\n{json.dumps(state)}\n")

    def beat(self) -> None:
        """Say that the change is still being made."""
        with contextlib.suppress(OSError):
            os.utime(self._file)

    def end(self) -> None:
        """The change is recorded."""
        with contextlib.suppress(OSError):
            self._path.unlink()
        release(self._file, self._lock_file)


@dataclass(frozen=True)
class Unfinished:
    """A change whose process was killed, and when it was last alive."""

    origin: dict[str, Any]
    about: str
    before: TreeState
    until: float

    def made(self, workspace: Path, path: str) -> bool:
        """Whether a file was changed, or removed from its folder, before the process was killed."""
        target = workspace / path
        if os.path.lexists(target):
            return os.lstat(target).st_ctime <= self.until
        while not os.path.lexists(target):
            target = target.parent
        return target.stat().st_mtime <= self.until


def running_marks(folder: Path) -> Iterator[tuple[str, str]]:
    """The session of each mark, and what it runs."""
    for path in folder.glob("*"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            if not path.suffix and path.is_file():
                with path.open(encoding="ascii") as stream:
                    head = json.loads(stream.readline())
                yield head["origin"]["session"], head["about"]


def take_left(folder: Path) -> Iterator[Unfinished]:
    """The changes that killed processes left; their marks are removed once they are recorded."""
    for path in sorted(folder.glob("*")) if folder.is_dir() else []:
        if path.suffix:  # a lock file
            continue
        try:
            file = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            lock_file = lock(file, path.with_suffix(".held"), wait=False)
        except (LockHeldError, OSError):
            os.close(file)
            continue
        try:
            with contextlib.suppress(ValueError, KeyError, TypeError):  # written in part
                head, data = map(json.loads, path.read_text("ascii").splitlines())
                entries = {name: TreeEntry(*entry) for name, entry in data["entries"].items()}
                before = TreeState(entries, frozenset(data["skipped"]), data["time"])
                yield Unfinished(head["origin"], head["about"], before, os.fstat(file).st_mtime)
            path.unlink(missing_ok=True)
        finally:
            release(file, lock_file)
