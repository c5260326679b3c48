"""KV states on disk, so that a prefix is processed once per machine and not once per run.

A snapshot is a file with a prefix's tokens, its state, and a checksum. Everything else that a state
depends on (model, build of llama.cpp, KV types, RoPE settings) is hashed into the name of its
directory. A thread writes the files, whole or not at all; they are checked when read.
"""

from __future__ import annotations

import hashlib
import json
import logging
import mmap
import os
import queue
import struct
import threading
import time
import zlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from laguna_agent.atomic_write import atomic_stream
from laguna_agent.models.engine.kv_state import SavedState, common_prefix, digest

log = logging.getLogger(__name__)

_SUFFIX = ".kv"
_MAGIC = b"LAGUNAKV"
_HEAD = struct.Struct("<8sI")
_MAX_HEADER = 1 << 16


@dataclass
class Snapshot:
    """A snapshot file; a `SavedState` that the cache can load."""

    path: Path
    tokens: array[int]
    size: int
    offset: int
    checksum: int
    label: str = "snapshot"
    problem: str = ""

    def read(self) -> memoryview | None:
        """The state; None when the file has changed or cannot be read, and `problem` says why."""
        try:
            with self.path.open("rb") as file:
                if os.fstat(file.fileno()).st_size != self.offset + self.size:
                    self.problem = "its length does not match its header"
                    return None
                # Mapped, not read: large models leave little memory.
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
            data = memoryview(mapped)[self.offset :]
            if zlib.crc32(data) != self.checksum:
                self.problem = "its checksum does not match"
                return None
            os.utime(self.path)
        except OSError as error:
            self.problem = str(error.strerror)
            return None
        return data


class SnapshotStore:
    """Snapshots of one model and its settings, in a directory that all engines share.

    `limit` bounds the bytes of the whole directory; the least recently used go first.
    """

    def __init__(self, root: Path, key: dict[str, Any], limit: int) -> None:
        name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
        self.root = root
        self.directory = root / name
        self.limit = limit
        self._key = key
        self._known: dict[str, Snapshot] = {}
        self._seen = 0
        self._lock = threading.Lock()
        self._queue: queue.Queue[tuple[str, array[int], bytearray, dict[str, Any]] | None] = (
            queue.Queue()
        )
        self._writer = threading.Thread(target=self._write_all, daemon=True)
        self._writer.start()

    # --- finding ----------------------------------------------------------------------------

    def find(self, prompt: array[int]) -> list[SavedState]:
        """Snapshots that share a prefix with the prompt, the longest prefix first."""
        self._scan()
        with self._lock:
            found = [(common_prefix(s.tokens, prompt), s) for s in self._known.values()]
        found = [(length, s) for length, s in found if length > 0]
        found.sort(key=lambda pair: (-pair[0], len(pair[1].tokens)))
        return [snapshot for _, snapshot in found]

    def has(self, tokens: array[int]) -> bool:
        """True when these very tokens are stored."""
        self._scan()
        with self._lock:
            return f"static-{digest(tokens).hex()}{_SUFFIX}" in self._known

    def forget(self, state: SavedState) -> None:
        """Remove a snapshot that could not be used."""
        if isinstance(state, Snapshot):
            log.warning("snapshot %s is ignored: %s", state.path, state.problem or "refused")
            with self._lock:
                self._known.pop(state.path.name, None)
            state.path.unlink(missing_ok=True)

    def _scan(self) -> None:
        try:
            seen = self.directory.stat().st_mtime_ns
        except OSError:
            return
        if seen == self._seen:
            return
        self._seen = seen
        names = {entry.name for entry in self.directory.glob(f"*{_SUFFIX}")}
        with self._lock:
            for name in self._known.keys() - names:
                del self._known[name]
            # A session's snapshot is replaced under its name.
            for name in names:
                path = self.directory / name
                known = self._known.get(name)
                if known is None or not _same_file(known, path):
                    snapshot = _open(path)
                    if snapshot is not None:
                        self._known[name] = snapshot

    # --- writing ----------------------------------------------------------------------------

    def save_static(self, tokens: array[int], data: bytearray) -> None:
        """Store a static prefix. Returns at once."""
        name = f"static-{digest(tokens).hex()}{_SUFFIX}"
        self._queue.put((name, tokens, data, {"kind": "static"}))

    def save_session(self, session: str, tokens: array[int], data: bytearray) -> None:
        """Store the state of a session in place of its previous one. Returns at once."""
        label = hashlib.sha256(session.encode("utf-8", "replace")).hexdigest()[:24]
        header = {"kind": "session", "session": session}
        self._queue.put((f"session-{label}{_SUFFIX}", tokens, data, header))

    def flush(self, timeout: float = 60.0) -> None:
        """Wait until everything is written."""
        until = time.monotonic() + timeout
        while self._queue.unfinished_tasks and time.monotonic() < until:
            time.sleep(0.005)

    def close(self) -> None:
        """Write what is queued and end the writer thread."""
        self.flush()
        self._queue.put(None)

    def _write_all(self) -> None:
        while True:
            item = self._queue.get()
            if item is None:
                return
            try:
                self._write(*item)
            except OSError as error:
                log.warning("a snapshot could not be written: %s", error)
            finally:
                self._queue.task_done()

    def _write(self, name: str, tokens: array[int], data: bytearray, extra: dict[str, Any]) -> None:
        if len(data) > self.limit:
            return
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        header = json.dumps(
            {
                **extra,
                "tokens": len(tokens),
                "size": len(data),
                "crc32": zlib.crc32(data),
                "key": self._key,
            }
        ).encode()
        self.prune(self.limit - _HEAD.size - len(header) - 4 * len(tokens) - len(data))
        with atomic_stream(self.directory / name) as file:
            file.buffer.write(_HEAD.pack(_MAGIC, len(header)))
            file.buffer.write(header)
            file.buffer.write(tokens.tobytes())
            file.buffer.write(data)

    def prune(self, limit: int) -> None:
        """Remove the least recently used snapshots of all models until `limit` bytes are left."""
        files = sorted(_snapshot_files(self.root), key=lambda entry: entry[1])
        total = sum(size for _, _, size in files)
        for path, _, size in files:
            if total <= limit:
                return
            path.unlink(missing_ok=True)
            total -= size

    def describe(self) -> dict[str, Any]:
        """Counts and bytes, of this model and of all."""
        files = list(_snapshot_files(self.root))
        own = [size for path, _, size in files if path.parent == self.directory]
        return {
            "directory": str(self.root),
            "snapshots": len(own),
            "bytes": sum(own),
            "bytes_of_all_models": sum(size for _, _, size in files),
            "limit": self.limit,
        }


def stored_snapshots(root: Path) -> tuple[int, int]:
    """Number and bytes of the snapshots of all models."""
    sizes = [size for _, _, size in _snapshot_files(root)]
    return len(sizes), sum(sizes)


def _snapshot_files(root: Path) -> Iterator[tuple[Path, float, int]]:
    """Path, time of last use, and bytes of every snapshot of every model."""
    for path in root.glob(f"*/*{_SUFFIX}"):
        try:
            info = path.stat()
        except OSError:
            continue
        yield path, info.st_mtime, info.st_size


def _same_file(known: Snapshot, path: Path) -> bool:
    try:
        return path.stat().st_size == known.offset + known.size and _checksum(path) == (
            known.checksum,
            len(known.tokens),
        )
    except (OSError, ValueError, KeyError, struct.error):
        return False


def _header(path: Path) -> tuple[dict[str, Any], int]:
    with path.open("rb") as file:
        magic, length = _HEAD.unpack(file.read(_HEAD.size))
        if magic != _MAGIC or length > _MAX_HEADER:
            raise ValueError("not a snapshot")
        header = json.loads(file.read(length))
    if not isinstance(header, dict):
        raise ValueError("not a snapshot")
    return header, _HEAD.size + length


def _checksum(path: Path) -> tuple[int, int]:
    header, _ = _header(path)
    return int(header["crc32"]), int(header["tokens"])


def _open(path: Path) -> Snapshot | None:
    """Read everything but the state; None, with a line in the log, when it is not a snapshot."""
    try:
        header, offset = _header(path)
        count, size = int(header["tokens"]), int(header["size"])
        if path.stat().st_size != offset + 4 * count + size:
            raise ValueError("its length does not match its header")
        with path.open("rb") as file:
            file.seek(offset)
            tokens = array("i", file.read(4 * count))
        return Snapshot(path, tokens, size, offset + 4 * count, int(header["crc32"]))
    except (OSError, ValueError, KeyError, TypeError, struct.error) as error:
        log.warning("snapshot %s is ignored: %s", path, error)
        return None
