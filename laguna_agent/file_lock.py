"""Locks between processes: `flock`, or a lock file where the file system has no locks.

Lustre, some NFS and some FUSE file systems refuse `flock` and `fcntl` alike. There a file that is
created exclusively is the lock. It says who holds it, and is removed when that process is gone.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

from laguna_agent.errors import LagunaError

_NO_LOCKS = {
    errno.ENOLCK,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.ENOSYS,
    errno.EINVAL,
    errno.EBADF,  # NFS, for what is not open for writing, such as a directory
}
_POLL = 0.02
_WRITTEN_BY = 10.0
"""Seconds after which an empty lock file is one of a process that died."""


class LockHeldError(LagunaError):
    """Another process holds the lock."""


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock of the file `path`, which is created and stays.

    Raises LockHeldError if it is held and `wait` is false, and OSError.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    lock_file = None
    try:
        lock_file = lock(descriptor, path.with_name(f"{path.name}.held"), wait=wait)
        yield
    finally:
        release(descriptor, lock_file)


def lock(descriptor: int, lock_file: Path, *, wait: bool = True) -> Path | None:
    """Lock an open file or directory; returns the lock file if it was needed, for `release`.

    Raises LockHeldError if it is held and `wait` is false, and OSError.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        raise LockHeldError("the lock is held by another process") from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    else:
        return None
    while (holder := _create(lock_file)) is not None:
        if not wait:
            raise LockHeldError(
                f"the lock is held by {holder}", hint=f"If that is gone, remove {lock_file}."
            )
        time.sleep(_POLL)
    return lock_file


def release(descriptor: int, lock_file: Path | None) -> None:
    """Give up a lock, and close its descriptor."""
    if lock_file is not None:
        with contextlib.suppress(OSError):
            lock_file.unlink()
    os.close(descriptor)


def is_held(lock_file: Path) -> bool:
    """Whether a lock file exists whose process may still run."""
    try:
        return _runs(lock_file.read_bytes())
    except OSError:
        return False


def _create(lock_file: Path) -> str | None:
    """Create the lock file; who holds it if somebody does."""
    own = json.dumps(_identity(os.getpid())).encode()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    while True:
        try:
            with os.fdopen(os.open(lock_file, flags, 0o600), "wb") as file:
                file.write(own)
        except FileExistsError:
            pass
        else:
            return None
        try:
            content, age = lock_file.read_bytes(), time.time() - lock_file.stat().st_mtime
        except FileNotFoundError:
            continue
        if not content and age < _WRITTEN_BY:
            return "a process that just took it"
        if _runs(content):
            return _described(content)
        _remove_stale(lock_file, content)


def _remove_stale(lock_file: Path, content: bytes) -> None:
    """Remove the lock file of a process that is gone, unless another process just took it."""
    aside = lock_file.with_name(f"{lock_file.name}.{secrets.token_hex(6)}")
    with contextlib.suppress(FileNotFoundError):
        lock_file.rename(aside)
        if aside.read_bytes() != content:
            with contextlib.suppress(FileExistsError):
                os.link(aside, lock_file)
        aside.unlink()


def _identity(pid: int) -> dict[str, str]:
    return {"host": os.uname().nodename, "space": _space(), "pid": str(pid), "start": _start(pid)}


def _space() -> str:
    """The namespace that process ids are of: containers may share a directory."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _start(pid: int) -> str:
    """When the process started, in ticks since the start of the machine; empty if unknown."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _runs(content: bytes) -> bool:
    """Whether the holder may still run: on other machines and in other containers it may."""
    try:
        holder = json.loads(content)
        pid = int(holder["pid"])
        own = _identity(pid)
        if (holder["host"], holder["space"]) != (own["host"], own["space"]):
            return True
        os.kill(pid, 0)
        return bool(holder["start"] == own["start"])
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    except (ValueError, KeyError, TypeError):
        return False


def _described(content: bytes) -> str:
    holder = json.loads(content)
    return f"process {holder['pid']} on {holder['host']}"
