"""The append-only record of a session: a directory whose `events.jsonl` is the source of truth.

```
sessions/<id>/events.jsonl   one JSON object a line; `seq` counts from 1, so it is the line number
sessions/<id>/meta.json      what lists show; rebuilt when missing
sessions/<id>/blobs/<sha256> fields too large for a line
sessions/<id>/outputs/       long outputs of tools, which the model can read
```
Appending costs the same however long the session is. One process appends at a time (it locks the
directory, or `lock` in it where the file system has no locks);
others may read meanwhile. When a line cannot be written whole (disk full, read-only), its bytes
are removed again and LagunaError is raised: a turn that cannot be recorded stops.

Over 400 lines because what is written and what a reader may then rely on are one promise.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from laguna_agent import file_lock
from laguna_agent.errors import LagunaError, UsageError
from laguna_agent.events import Event
from laguna_agent.paths import repository_state_dir
from laguna_agent.trajectory import codec, meta
from laguna_agent.trajectory.codec import StoredEvent
from laguna_agent.trajectory.meta import Meta
from laguna_agent.trajectory.reader import Tail, read_events, read_tail

_ALPHABET = "23456789abcdefghjkmnpqrstvwxyz"
_LOCK_PATIENCE = 0.2
"""Seconds to wait for the lock, which `is_locked` in another process holds for an instant."""
_LOCK_FILE = "lock"


def sessions_dir(root: Path) -> Path:
    """Directory of the sessions of the repository at `root`."""
    return repository_state_dir(root) / "sessions"


def new_session_id(now: datetime | None = None) -> str:
    """A short id that sorts by time: `261124-173708-x7qd` (UTC)."""
    stamp = (now or datetime.now(UTC)).strftime("%y%m%d-%H%M%S")
    return stamp + "-" + "".join(secrets.choice(_ALPHABET) for _ in range(4))


class Trajectory:
    """The record of one session. Create with `create`, `open` or `fork`; a context manager."""

    def __init__(
        self,
        directory: Path,
        lock: int | None,
        file: int | None,
        info: Meta,
        lock_file: Path | None = None,
    ) -> None:
        self._directory = directory
        self._lock, self._lock_file, self._file = lock, lock_file, file
        self.meta = info
        self.problems: list[str] = []
        """Damage that was skipped or repaired, described for the user."""
        if lock_file is not None:
            self.problems.append(f"the file system of {directory} has no locks; a file is used")
        self._next = 1
        self._size = 0
        self._torn = False

    # --- creating and opening ------------------------------------------------------------------

    @classmethod
    def create(
        cls, root: Path, *, session_id: str | None = None, parent: str | None = None
    ) -> Trajectory:
        """Create a session of the repository at `root`. `parent` is `id:seq` of a fork's origin."""
        name = session_id or new_session_id()
        _check_id(name)
        directory = sessions_dir(root) / name
        try:
            directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            directory.mkdir(mode=0o700)
            (directory / "outputs").mkdir(mode=0o700)
            branch, commit = meta.git_head(root)
            info = Meta(id=name, repository=str(root), branch=branch, commit=commit, parent=parent)
            info.created = info.updated = _now()
            lock, lock_file, file = _open_locked(directory, create=True)
            trajectory = cls(directory, lock, file, info, lock_file)
            meta.write_meta(directory, info)
        except FileExistsError as error:
            raise UsageError(f"session `{name}` already exists") from error
        except OSError as error:
            raise _unwritable(directory, error) from error
        return trajectory

    @classmethod
    def open(cls, path: Path, *, for_append: bool = True) -> Trajectory:
        """Open a session by its directory or its `events.jsonl`.

        For appending, an unfinished last event is cut off (see `problems`). Raises UsageError
        when another process appends to the session or a newer laguna wrote it.
        """
        directory = path.parent if path.name == "events.jsonl" else path
        if not (directory / "events.jsonl").is_file():
            raise UsageError(
                f"there is no session at {directory}", hint="`laguna sessions list` lists them."
            )
        lock = file = lock_file = None
        try:
            if for_append:
                lock, lock_file, file = _open_locked(directory, create=False)
            tail = read_tail(directory / "events.jsonl")
            info = meta.read_meta(directory)
            info_or_new = info or Meta(id=directory.name)
            trajectory = cls(directory, lock, file, info_or_new, lock_file)
            trajectory._next, trajectory._size = tail.last_seq + 1, tail.size
            if info is None or info.events != tail.last_seq:
                trajectory.meta = trajectory._recount(info)
                trajectory.meta.events = tail.last_seq
            if for_append:
                trajectory._repair(tail)
                # Tells caches that a session may change; creating one changes the time by itself.
                with contextlib.suppress(OSError):
                    os.utime(directory.parent)
            elif tail.torn:
                trajectory.problems.append(tail.describe())
        except BaseException as error:
            if file is not None:
                os.close(file)
            if lock is not None:
                file_lock.release(lock, lock_file)
            if isinstance(error, OSError):
                raise _unwritable(directory, error) from error
            raise
        return trajectory

    @classmethod
    def fork(cls, source: Path, root: Path, *, at: int | None = None) -> Trajectory:
        """A new session with the events of `source` up to and including `at` (None: all).

        The copy is complete: deleting the origin does not affect it. Damaged lines are left out.
        """
        origin = cls.open(source, for_append=False)
        last = origin.last_seq if at is None else min(at, origin.last_seq)
        if last < 1:
            raise UsageError(f"session {origin.id} has no events to continue from")
        trajectory = cls.create(root, parent=f"{origin.id}:{last}")
        try:
            for stored in origin.events(whole=True):
                if stored.seq > last:
                    break
                trajectory._write(
                    codec.encode(stored.seq, stored.ts, stored.event, trajectory.blobs)
                )
                trajectory._next = stored.seq + 1
                trajectory.meta.apply(stored.ts, stored.event)
            trajectory.meta.parent = f"{origin.id}:{last}"
            trajectory.meta.remembered = min(origin.meta.remembered, last)
            trajectory.problems.extend(origin.problems)
            trajectory.sync()
        except OSError as error:
            trajectory.close()
            raise _unwritable(trajectory.path, error) from error
        return trajectory

    # --- properties ---------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """The session's id, the name of its directory."""
        return self._directory.name

    @property
    def directory(self) -> Path:
        """The session's directory."""
        return self._directory

    @property
    def path(self) -> Path:
        """The file of events."""
        return self._directory / "events.jsonl"

    @property
    def blobs(self) -> Path:
        """Directory of fields too large for a line."""
        return self._directory / "blobs"

    @property
    def outputs(self) -> Path:
        """Directory for long outputs of tools."""
        return self._directory / "outputs"

    @property
    def last_seq(self) -> int:
        """Number of the last event; 0 when there is none."""
        return self._next - 1

    # --- writing ------------------------------------------------------------------------------

    def append(self, event: Event) -> int:
        """Write one event; returns its number. It survives a crash of the machine after `sync`.

        Raises ValueError for transient events, and LagunaError when it cannot be written; then
        nothing of it stays in the file.
        """
        if event.transient:
            raise ValueError(f"{type(event).__name__} is shown, not stored")
        if self._file is None:
            raise ValueError(f"session {self.id} is not open for appending")
        seq, ts = self._next, _now()
        try:
            self._write(codec.encode(seq, ts, event, self.blobs))
        except OSError as error:
            raise _unwritable(self.path, error) from error
        self._next = seq + 1
        self.meta.apply(ts, event)
        return seq

    def sync(self) -> None:
        """Flush events to disk (fsync) and update `meta.json`."""
        if self._file is None:
            return
        try:
            os.fsync(self._file)
            self.meta.bytes = self._size
            meta.write_meta(self._directory, self.meta)
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def close(self) -> None:
        """Close the session. A failing disk only adds to `problems`: all events are written."""
        if self._file is not None:
            try:
                self.sync()
            except LagunaError as error:
                self.problems.append(error.message)
            os.close(self._file)
            self._file = None
        if self._lock is not None:
            file_lock.release(self._lock, self._lock_file)
            self._lock = None

    def discard(self) -> None:
        """Close a session that was just created, and remove it."""
        self.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # --- reading ------------------------------------------------------------------------------

    def events(self, start: int = 0, *, whole: bool = True) -> Iterator[StoredEvent]:
        """The events from number `start` on, in order, as they are on disk now.

        Damaged lines are skipped and described in `problems`. With `whole` false no blob is read:
        huge texts are cut to their heads.
        """
        return read_events(self._directory, start, whole=whole, problems=self.problems)

    def of_type(self, kind: str, start: int = 0) -> Iterator[StoredEvent]:
        """The events of one type, such as `user_message`, found without parsing the others."""
        return read_events(self._directory, start, whole=True, problems=self.problems, kind=kind)

    # --- internals ----------------------------------------------------------------------------

    def _write(self, line: bytes) -> None:
        assert self._file is not None
        if self._torn:
            line = b"\n" + line
        written = 0
        try:
            while written < len(line):
                written += os.write(self._file, line[written:])
        except OSError:
            if written:
                try:
                    os.ftruncate(self._file, self._size)
                except OSError:
                    self._torn = True  # the next event starts a new line
                    self._size += written
            raise
        self._torn = False
        self._size += written

    def _repair(self, tail: Tail) -> None:
        if tail.whole_without_newline:
            self._write(b"\n")
        elif tail.torn:
            assert self._file is not None
            self.problems.append(tail.describe())
            whole = tail.size - tail.torn
            # Kept for inspection.
            (self._directory / f"torn-{whole}").write_bytes(os.pread(self._file, tail.torn, whole))
            os.ftruncate(self._file, whole)
            self._size = whole

    def _recount(self, known: Meta | None) -> Meta:
        branch, commit = (known.branch, known.commit) if known else ("", "")
        info = Meta(
            id=self.id, branch=branch, commit=commit, parent=known.parent if known else None
        )
        for stored in read_events(self._directory, 0, whole=False, problems=[]):
            info.apply(stored.ts, stored.event)
        if known is not None:
            info.repository = info.repository or known.repository
            info.created = known.created or info.created
            info.remembered = known.remembered
            info.updated = info.updated or known.updated
        info.bytes = self._size
        return info


def _open_locked(directory: Path, *, create: bool) -> tuple[int, Path | None, int]:
    """Descriptors of the lock, which is the directory itself, and of the file to append to; between
    them the lock file if there is one."""
    lock = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    lock_file = None
    try:
        lock_file = _take_lock(lock, directory)
        flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | (os.O_CREAT | os.O_EXCL if create else 0)
        return lock, lock_file, os.open(directory / "events.jsonl", flags, 0o600)
    except BaseException:
        file_lock.release(lock, lock_file)
        raise


def _take_lock(descriptor: int, directory: Path) -> Path | None:
    deadline = time.monotonic() + _LOCK_PATIENCE
    while True:
        try:
            return file_lock.lock(descriptor, directory / _LOCK_FILE, wait=False)
        except file_lock.LockHeldError as error:
            if time.monotonic() > deadline:
                hint = f"Continue in a copy with `--fork {directory.name}`."
                raise UsageError(
                    f"session {directory.name} is in use by another laguna",
                    hint=f"{hint} {error.hint}" if error.hint else hint,
                ) from error
            time.sleep(0.01)


def delete_session(directory: Path) -> None:
    """Delete a session permanently. Raises LagunaError, UsageError while it is in use."""
    if is_locked(directory):
        raise UsageError(f"session {directory.name} is in use by another laguna")
    try:
        shutil.rmtree(directory)
    except OSError as error:
        raise LagunaError(f"{directory} cannot be deleted: {error.strerror}") from error


def is_locked(directory: Path) -> bool:
    """Whether a process appends to the session."""
    if file_lock.is_held(directory / _LOCK_FILE):
        return True
    lock = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(lock)
    return False


def _check_id(name: str) -> None:
    if not name or name.startswith((".", "-")) or any(c in name for c in "/\\\0: \n"):
        raise UsageError(f"`{name}` is not a valid session id: use letters, digits and dashes")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _unwritable(path: Path, error: OSError) -> LagunaError:
    why = error.strerror or str(error)
    hint = "Free some disk space, then continue with `--continue`."
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        hint = "Set LAGUNA_HOME to a writable directory."
    elif error.errno not in (errno.ENOSPC, errno.EDQUOT):
        hint = "Earlier events are kept."
    return LagunaError(f"cannot record the session in {path}: {why}", hint=hint)
