"""Finds the running engine for a model and its settings, or starts one.

An engine is identified by a key, a hash of everything its state depends on, which is in the name of
its socket. The socket is created before the engine process, so that clients never wait for it to
appear.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from laguna_agent import __version__
from laguna_agent.config import EngineConfig
from laguna_agent.errors import ModelError
from laguna_agent.file_lock import LockHeldError, locked
from laguna_agent.log import logger
from laguna_agent.models.engine import wire
from laguna_agent.paths import logs_dir, runtime_dir
from laguna_agent.programs import python_command

_LOG_BYTES = 4 << 20
_SPINS = 1000
"""Rounds that an OpenMP thread spins at a barrier before it sleeps. With libgomp's default of
300,000, an engine that shares the machine with another busy process waits for threads that are not
running: decoding drops to a tenth. Short spins cost an undisturbed engine about two percent."""
_UNSHARED = {"keep_alive", "snapshots", "snapshots_gib", "speculation"}
"""Settings in which two clients of one engine may differ."""


@dataclass(frozen=True)
class EngineSpec:
    """The arguments of an engine process."""

    path: Path
    config: EngineConfig
    sha256: str | None = None

    @property
    def key(self) -> str:
        """Identifies the engine by its model file, settings and version."""
        real = self.path.resolve()
        info = real.stat()
        settings = self.config.model_dump(exclude=_UNSHARED)
        parts = [str(real), info.st_size, info.st_mtime_ns, settings, __version__, wire.VERSION]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """The spec as a command-line argument of the process."""
        return json.dumps(
            {
                "path": str(self.path.resolve()),
                "config": self.config.model_dump(),
                "sha256": self.sha256,
                "key": self.key,
            }
        )


def socket_path(key: str) -> Path:
    """The socket of the engine with that key."""
    return runtime_dir() / f"engine-{key}.sock"


def engine_log_path(key: str) -> Path:
    """The log of the engine with that key and of llama.cpp in it."""
    return logs_dir() / f"engine-{key}.log"


@contextmanager
def start_lock(key: str, *, wait: bool = True) -> Iterator[bool]:
    """Held while an engine with that key starts or is about to end; yields whether it was taken."""
    with ExitStack() as held:
        try:
            held.enter_context(locked(runtime_dir() / f"engine-{key}.lock", wait=wait))
        except LockHeldError:
            yield False
            return
        yield True


@dataclass
class Started:
    """A connected socket, and the engine process if this process started it."""

    connection: socket.socket
    process: subprocess.Popen[bytes] | None = None


def connect(key: str) -> socket.socket | None:
    """A connection to the running engine with that key; None when there is none."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(str(socket_path(key)))
    except OSError:
        connection.close()
        return None
    if peer_uid(connection) != os.getuid():
        connection.close()
        raise ModelError(f"the engine's socket {socket_path(key)} belongs to another user")
    return connection


def find_or_start(spec: EngineSpec) -> Started:
    """Connect to the engine of a spec; start it if it is not running.

    Raises ModelError when the file is missing or the process cannot be started.
    """
    try:
        key = spec.key
    except OSError as error:
        raise ModelError(f"{spec.path} cannot be read: {error.strerror}") from error
    connection = connect(key)
    if connection is not None:
        return Started(connection)
    with start_lock(key):
        connection = connect(key)
        if connection is not None:
            return Started(connection)
        return _start(spec, key)


def _start(spec: EngineSpec, key: str) -> Started:
    path = socket_path(key)
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(64)
        log = engine_log_path(key)
        log.parent.mkdir(parents=True, exist_ok=True)
        keep = log.exists() and log.stat().st_size < _LOG_BYTES
        descriptor = os.open(
            log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | (0 if keep else os.O_TRUNC), 0o600
        )
        try:
            process = subprocess.Popen(
                python_command(
                    "laguna_agent.models.engine.process", str(listener.fileno()), spec.to_json()
                ),
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                cwd="/",
                pass_fds=[listener.fileno()],
                env=engine_environment(),
                start_new_session=True,
            )
        except OSError as error:
            raise ModelError(f"the engine process cannot be started: {error}") from error
        finally:
            os.close(descriptor)
        # Reaps the process when it ends, so that it does not stay as a zombie.
        threading.Thread(target=process.wait, daemon=True).start()
        logger.info("engine %s started: process %d", key, process.pid)
        connection = connect(key)
        if connection is None:
            raise ModelError("the engine process does not accept connections")
        return Started(connection, process)
    finally:
        listener.close()


def engine_environment() -> dict[str, str]:
    """The environment of an engine process; the user's OpenMP settings take precedence."""
    chosen = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys()
    return dict(os.environ) if chosen else {**os.environ, "GOMP_SPINCOUNT": str(_SPINS)}


def peer_uid(connection: socket.socket) -> int:
    """User id of the process at the other end; -1 when unknown."""
    try:
        if hasattr(socket, "SO_PEERCRED"):
            data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            return int(struct.unpack("3i", data)[1])
        # macOS: LOCAL_PEERCRED gives a struct xucred, whose second field is the user.
        data = connection.getsockopt(0, 1, 76)
        return int(struct.unpack_from("2I", data)[1])
    except OSError:
        return -1


def last_log_line(key: str) -> str:
    """The last informative line of the engine's log, for an error message."""
    try:
        with engine_log_path(key).open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 8192))
            lines = file.read().decode("utf-8", "replace").split("\n")
    except OSError:
        return ""
    useful = [line.strip() for line in lines if line.strip(" .")]
    errors = [line for line in useful if "error" in line.lower() or "failed" in line.lower()]
    return (errors or useful or [""])[-1][:300]
