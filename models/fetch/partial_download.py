"""A file that is being fetched: locked, resumable, hashed as it is written, renamed when complete.

The bytes go to `NAME.part`; `NAME.part.json` records what file they belong to. Nothing else ever
sees an incomplete file.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from laguna_agent.atomic_write import atomic_write
from laguna_agent.byte_sizes import gigabytes
from laguna_agent.errors import ModelError
from laguna_agent.file_lock import LockHeldError, locked
from laguna_agent.models.gguf import MAGIC

SPARE = 64 << 20
"""Bytes of disk space that a download leaves free."""


class SourceError(Exception):
    """A source cannot provide the file; the message continues a sentence that begins with its
    label."""


@dataclass(frozen=True)
class DownloadProgress:
    """Progress of a transfer, in bytes and bytes per second; `total` is None when unknown."""

    name: str
    phase: Literal["checking", "downloading"]
    done: int
    total: int | None
    rate: float

    @property
    def eta_s(self) -> float | None:
        """Seconds left at this rate; None when unknown."""
        if self.total is None or self.rate <= 0:
            return None
        return max(0.0, (self.total - self.done) / self.rate)


OnProgress = Callable[[DownloadProgress], None]


class Meter:
    """Turns byte counts into Progress, at most ten times a second and at the end.

    The rate is that of the last ten seconds.
    """

    def __init__(
        self,
        name: str,
        on_progress: OnProgress | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.total: int | None = None
        self._on_progress = on_progress
        self._clock = clock
        self._phase: Literal["checking", "downloading"] | None = None
        self._samples: list[tuple[float, int]] = []
        self._shown = float("-inf")

    def at(self, phase: Literal["checking", "downloading"], done: int) -> None:
        """Report that `done` bytes are done."""
        now = self._clock()
        if phase != self._phase or (self._samples and done < self._samples[-1][1]):
            self._phase, self._samples, self._shown = phase, [(now, done)], float("-inf")
        if self._on_progress is None or (now - self._shown < 0.1 and done != self.total):
            return
        self._shown = now
        self._samples = [s for s in self._samples if now - s[0] < 10] or self._samples[-1:]
        self._samples.append((now, done))
        (first, before), (last, after) = self._samples[0], self._samples[-1]
        rate = (after - before) / (last - first) if last > first else 0.0
        self._on_progress(DownloadProgress(self.name, phase, done, self.total, rate))


class PartialFile:
    """The part of `target` fetched so far. As a context manager it holds the lock.

    `pinned` is the digest that the complete file must have, if known.
    """

    def __init__(self, target: Path, pinned: str | None, meter: Meter, *, wait: bool) -> None:
        self.target = target
        self.pinned = pinned
        self.meter = meter
        self.size = 0
        self.origin = ""
        self._path = target.with_name(target.name + ".part")
        self._note = target.with_name(target.name + ".part.json")
        self._wait = wait
        self._lock = ExitStack()
        self._file: BinaryIO | None = None
        self._sha = hashlib.sha256()

    def __enter__(self) -> PartialFile:
        locks = self.target.parent / ".locks"
        locks.mkdir(parents=True, exist_ok=True)
        # The lock file stays: were it removed, two processes could lock two files of one name.
        try:
            self._lock.enter_context(locked(locks / self.target.name, wait=self._wait))
        except LockHeldError:
            raise ModelError(
                f"{self.target.name} is being fetched by another laguna",
                hint="Wait for it, or stop it; the bytes fetched so far are kept.",
            ) from None
        return self

    def __exit__(self, *_: object) -> None:
        if self._file:
            if not self.size:
                self.discard()
            else:
                self._file.close()
        self._lock.close()

    def open(self) -> None:
        """Resume from the bytes of an earlier run if they belong to the same file.

        Does nothing when already open.
        """
        if self._file:
            return
        note = self._read_note()
        resumes = self._path.exists() and (
            note.get("sha256") == self.pinned if self.pinned else bool(note.get("origin"))
        )
        self._file = self._path.open("r+b" if resumes else "w+b")
        if resumes:
            self._rehash()
            self.origin = note.get("origin", "")
        if self.pinned:
            self._write_note()

    def _rehash(self) -> None:
        assert self._file is not None
        while chunk := self._file.read(4 << 20):
            self._sha.update(chunk)
            self.size += len(chunk)
            self.meter.at("checking", self.size)

    def belongs_to(self, origin: str) -> None:
        """Record the origin of the bytes (address and version) when no digest pins them.

        Bytes of another origin are dropped.
        """
        if self.pinned or origin == self.origin:
            return
        if self.size:
            self.restart()
        self.origin = origin
        self._write_note()

    def reserve(self, total: int | None, extra: int = 0) -> None:
        """Check that the disk has room for the rest of `total` bytes and `extra` more."""
        self.meter.total = total
        needed = max(0, (total or 0) - self.size) + extra
        require_room(self.target.parent, needed)

    def write(self, data: bytes | memoryview) -> None:
        """Append bytes."""
        assert self._file is not None
        if self.size < len(MAGIC):
            start = bytes(data[: len(MAGIC) - self.size])
            if start != MAGIC[self.size : self.size + len(start)]:
                raise SourceError("sends something that is not a GGUF file")
        try:
            self._file.write(data)
        except OSError as error:
            raise ModelError(f"{self._path} cannot be written: {error.strerror}") from None
        self._sha.update(data)
        self.size += len(data)
        self.meter.at("downloading", self.size)

    def restart(self) -> None:
        """Drop the bytes fetched so far."""
        assert self._file is not None
        self._file.seek(0)
        self._file.truncate()
        self._sha = hashlib.sha256()
        self.size = 0

    def discard(self) -> None:
        """Remove the file; `open` starts again."""
        self.restart()
        assert self._file is not None
        self._file.close()
        self._file = None
        self.origin = ""
        self._path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def finish(self, check: Callable[[Path], None] | None = None) -> str:
        """Rename the complete file to `target`; returns its digest.

        Raises SourceError when the digest is not the pinned one, and ModelError of `check`; in both
        cases the bytes are removed.
        """
        assert self._file is not None
        digest = self._sha.hexdigest()
        if self.pinned and digest != self.pinned:
            self.discard()
            raise SourceError(
                f"sent other bytes than expected (sha256 {digest[:12]}…, expected "
                f"{self.pinned[:12]}…); they were removed"
            )
        self._file.flush()
        os.fsync(self._file.fileno())
        if check:
            try:
                check(self._path)
            except ModelError:
                self.discard()
                raise
        self._file.close()
        self._file = None
        self._path.replace(self.target)
        self._note.unlink(missing_ok=True)
        _sync_directory(self.target.parent)
        return digest

    @property
    def kept(self) -> bool:
        """Whether the next run can resume."""
        return self.size > 0 and self._path.exists()

    def _read_note(self) -> dict[str, str]:
        try:
            note = json.loads(self._note.read_bytes())
        except (OSError, ValueError):
            return {}
        return note if isinstance(note, dict) else {}

    def _write_note(self) -> None:
        note = {"sha256": self.pinned} if self.pinned else {"origin": self.origin}
        atomic_write(self._note, json.dumps(note))


def partial_size(target: Path) -> int:
    """Bytes of the file that an earlier run fetched."""
    try:
        return target.with_name(target.name + ".part").stat().st_size
    except OSError:
        return 0


def require_room(directory: Path, needed: int) -> None:
    """Raise ModelError unless the disk has room for `needed` bytes."""
    free = shutil.disk_usage(directory).free
    if needed + SPARE > free:
        raise ModelError(
            f"not enough disk: {gigabytes(needed)} are needed in {directory}, "
            f"{gigabytes(free)} are free",
            hint="Free some, or move laguna's data (LAGUNA_HOME or XDG_DATA_HOME).",
        )


def _sync_directory(path: Path) -> None:
    with suppress(OSError):  # not every file system supports it, and the file itself is written
        number = os.open(path, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
