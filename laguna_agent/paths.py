"""Directories of laguna: configuration, data, state, and the state of one repository.

`LAGUNA_HOME`, read from the process environment only, moves all of them under one directory.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from functools import cache
from pathlib import Path

from laguna_agent.errors import UsageError


def _home() -> Path | None:
    value = os.environ.get("LAGUNA_HOME")
    return Path(value).expanduser().absolute() if value else None


@cache
def _platform(kind: str) -> Path:
    from platformdirs import PlatformDirs

    dirs = PlatformDirs("laguna", appauthor=False)
    return Path(getattr(dirs, f"user_{kind}_dir"))


def config_dir() -> Path:
    """Directory of the user's configuration (`config.toml`, `prompts/`, `skills/`)."""
    home = _home()
    return home / "config" if home else _platform("config")


def data_dir() -> Path:
    """Directory of large data that can be downloaded or rebuilt: models and KV snapshots."""
    home = _home()
    return home / "data" if home else _platform("data")


def state_dir() -> Path:
    """Directory of sessions, memory and logs."""
    home = _home()
    return home / "state" if home else _platform("state")


def models_dir() -> Path:
    """Directory of model files."""
    return data_dir() / "models"


def snapshots_dir() -> Path:
    """Directory of KV snapshots."""
    return data_dir() / "snapshots"


def logs_dir() -> Path:
    """Directory of log files (llama.cpp's among them)."""
    return state_dir() / "logs"


def holds_home(directory: Path) -> bool:
    """Whether this is the home directory or one above it, which hold more than a project."""
    try:
        home = Path.home().resolve()
    except RuntimeError:  # no home at all
        return directory == Path("/")
    return directory == home or directory in (*home.parents, Path("/"))


def repository_root(start: Path) -> Path:
    """The nearest directory at or above `start` that contains `.git`, or else `start` itself.

    A repository of the home directory, or above it, is none of the folders below.
    """
    start = start.resolve()
    found = _repository_above(start)
    return found if found is not None and not holds_home(found) else start


def workspace(directory: str | Path | None) -> tuple[Path, Path]:
    """The directory to work in, by default the current one, and the root of its repository.

    Raises UsageError when it does not exist, or, by default, when it holds the person's home.
    """
    cwd = Path(directory or ".").expanduser()
    if not cwd.is_dir():
        raise UsageError(f"there is no directory {cwd}")
    cwd = cwd.resolve()
    root = repository_root(cwd)
    if holds_home(root) and not directory:
        raise UsageError(
            f"{root} holds your home directory, so it is no workspace by itself",
            hint=f"Start laguna in the folder of a project, or say that you mean this: -C {root}",
        )
    return cwd, root


def passed_over(start: Path) -> Path | None:
    """The repository that `start` is in and that is not its root, since it holds the home."""
    start = start.resolve()
    found = _repository_above(start)
    return found if found is not None and found != start and holds_home(found) else None


def _repository_above(start: Path) -> Path | None:
    return next((d for d in (start, *start.parents) if os.path.exists(d / ".git")), None)


def repository_state_dir(root: Path) -> Path:
    """State directory of one repository, named after it and a digest of its absolute path."""
    digest = hashlib.sha256(os.fsencode(root)).hexdigest()[:10]
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", root.name).strip("-.") or "root"
    return state_dir() / f"{name}-{digest}"


def make_private(*directories: Path) -> None:
    """Create directories that only this user can read. Raises OSError."""
    for path in directories:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.stat().st_mode & 0o077:
            path.chmod(0o700)


def runtime_dir() -> Path:
    """Directory (mode 0700, owned by this user) for sockets and locks.

    Raises PermissionError when the directory exists and belongs to another user.
    """
    home = _home()
    if home:
        # A Unix socket path is limited to about 100 bytes, so it does not go under a deep home.
        digest = hashlib.sha256(os.fsencode(home)).hexdigest()[:10]
        base = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
        path = base / f"laguna-{os.getuid()}-{digest}"
    elif os.environ.get("XDG_RUNTIME_DIR"):
        path = Path(os.environ["XDG_RUNTIME_DIR"]) / "laguna"
    else:
        path = Path(tempfile.gettempdir()) / f"laguna-{os.getuid()}"
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    info = path.lstat()
    if info.st_uid != os.getuid() or path.is_symlink():
        raise PermissionError(f"{path} belongs to another user")
    if info.st_mode & 0o077:
        path.chmod(0o700)
    return path
