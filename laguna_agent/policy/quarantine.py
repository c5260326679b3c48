"""Quarantine for files that a sandboxed command plants where git outside would run them.

Mounts protect what is there when a shell starts. What is not there yet cannot be mounted without
creating it in the repository, and a command can make repositories of its own. So all git
directories of the workspace are looked through while a shell lives: settings that run programs,
hooks, and a directory that stands for another are moved out; what was there before is put back.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from laguna_agent.policy.git_directories import Found, GitDirectories
from laguna_agent.policy.plain_git_config import unsafe_settings
from laguna_agent.policy.sanitize import visible

_CONFIGS = ("config", "config.worktree")
_CONFIG_LIMIT = 1 << 20
_SHARE = 30
"""Looking for new repositories takes at most one part in this many of the time."""
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

Stamp = tuple[int, int, int]


@dataclass
class _Accepted:
    """What one git directory may hold: what it held before, and what was found harmless since."""

    files: dict[str, bytes | None] = field(default_factory=dict)
    """Their contents; None for what is not a plain file."""
    stamps: dict[str, Stamp] = field(default_factory=dict)
    hooks: set[tuple[str, Stamp]] = field(default_factory=set)
    hooks_link: Stamp | None = None
    mounted_hooks: int = 0
    """The inode of the folder of hooks whose content a mount protects."""

    def covers(self, name: str, stamp: Stamp, data: bytes | None) -> bool:
        """Whether a file is still as it was accepted."""
        same = name in self.files and data == self.files[name]
        return same and (data is not None or stamp == self.stamps[name])


class Quarantine:
    """Watches the git directories of one workspace from the session's beginning."""

    def __init__(self, directories: GitDirectories, place: Path, absent: list[Path]) -> None:
        """`absent` are missing paths that the repository's configuration names."""
        self._directories = directories
        self._place = place
        self._absent = absent
        self._accepted: dict[tuple[int, int], _Accepted] = {}
        self._begun = False
        self._swept = False
        self._quiet: int | None = None
        self._next_look = 0.0
        self._lock = threading.Lock()
        self._taken: set[str] = set()
        self.persistent = False
        """Whether something was planted again after it had been moved away."""

    def begin(self) -> None:
        """Take note of what is there; for the time before the first command."""
        with self._lock:
            if not self._swept:
                self._begun = True
                self._accept_all(looks=True)

    def _find(self, looks: bool) -> Found:
        if not looks:
            return self._directories.latest()
        found = self._directories.look()
        self._next_look = time.monotonic() + _SHARE * self._directories.took_s
        return found

    def _accept_all(self, looks: bool) -> None:
        mounted = self._directories.protected().directories
        for path, identity in self._find(looks).directories.items():
            with contextlib.suppress(OSError), _opened(path) as directory:
                self._accepted[identity] = _accept(directory, mounted=path in mounted)

    def sweep(self, *, thorough: bool = True, quiet: int | None = None) -> list[str]:
        """Move planted files away; returns a line for the user about each.

        Unless `thorough`, new repositories are looked for only now and then. `quiet` is given when
        nothing runs, as the number of commands so far: what came since the last look with the same
        number is the person's own.
        """
        with self._lock:
            return self._sweep(thorough, quiet)

    def _sweep(self, thorough: bool, quiet: int | None) -> list[str]:
        if not self._begun:  # nothing ran yet: what is there is the person's own
            self._begun = True
            self._accept_all(looks=True)
        self._swept = True
        looks = thorough or time.monotonic() >= self._next_look
        if quiet is not None and quiet == self._quiet:
            self._accept_all(looks)
            return []
        if looks:
            self._quiet = quiet
        found = self._find(looks)
        notices: list[str] = []
        for path, identity in found.directories.items():
            accepted = self._accepted.setdefault(identity, _Accepted())
            with contextlib.suppress(OSError), _opened(path) as directory:
                if _identity(os.fstat(directory)) == identity:
                    notices += self._examine(path, directory, accepted)
        for absent in self._absent:
            if os.path.lexists(absent):
                # The first link on the way is as new as what it leads to.
                way = (*reversed(absent.parents), absent)
                planted = next((part for part in way if part.is_symlink()), absent)
                with contextlib.suppress(OSError), _opened(planted.parent) as directory:
                    notices.append(self._move(directory, planted.name, str(planted)))
        return notices

    def _examine(self, path: str, directory: int, accepted: _Accepted) -> Iterator[str]:
        """Move away what is planted in one git directory."""
        # Content is read each time: through a mapping it changes without another time.
        stamp, common = _stamp(directory, "commondir"), _read(directory, "commondir")
        changed = stamp is not None and not accepted.covers("commondir", stamp, common)
        if changed and not _stands_for_parent(path, common):
            yield self._move(directory, "commondir", f"{path}/commondir")
        for name in _CONFIGS:
            stamp, data = _stamp(directory, name), _read(directory, name)
            if stamp is None or accepted.covers(name, stamp, data):
                continue
            before = accepted.files.get(name) or b""
            known = unsafe_settings(before, path)
            if data is not None and unsafe_settings(data, path) <= known:
                accepted.files[name], accepted.stamps[name] = data, stamp
                continue
            yield self._move(directory, name, f"{path}/{name}")
            if before:
                _write_new(directory, name, before)
                accepted.stamps[name] = _stamp(directory, name) or stamp
        if _has_new_hooks(directory, accepted):
            yield self._move(directory, "hooks", f"{path}/hooks")

    def _move(self, directory: int, name: str, shown: str) -> str:
        """Move one file or folder of an open directory away."""
        self.persistent = self.persistent or shown in self._taken
        self._taken.add(shown)
        new_name = f"{name}-{secrets.token_hex(4)}"
        target = self._place / new_name
        what = f"{visible(shown, single_line=True)} came while commands ran and could run programs"
        try:
            self._place.mkdir(parents=True, exist_ok=True, mode=0o700)
            with _opened(os.path.realpath(self._place)) as place:
                try:
                    os.rename(name, new_name, src_dir_fd=directory, dst_dir_fd=place)
                except OSError:  # on another file system: rename it where it is
                    target = Path(os.path.dirname(shown), f"planted-{new_name}")
                    os.rename(name, target.name, src_dir_fd=directory, dst_dir_fd=directory)
        except OSError as error:
            return f"{what}; moving it away failed: {error}. Remove it before you use git here."
        return f"{what}; moved to {target}"


# --- one git directory --------------------------------------------------------------------------


@contextlib.contextmanager
def _opened(path: str | Path) -> Iterator[int]:
    """A directory, opened without following a link anywhere in its path."""
    descriptor = os.open("/", _DIRECTORY)
    try:
        for part in Path(path).parts[1:]:
            below = os.open(part, _DIRECTORY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
        yield descriptor
    finally:
        os.close(descriptor)


def _identity(info: os.stat_result) -> tuple[int, int]:
    return (info.st_dev, info.st_ino)


def _stamp(directory: int, name: str) -> Stamp | None:
    try:
        info = os.lstat(name, dir_fd=directory)
    except OSError:
        return None
    return (info.st_ino, info.st_size, info.st_ctime_ns)


def _read(directory: int, name: str) -> bytes | None:
    """A plain file's content; None if there is none, or something else of that name."""
    try:
        descriptor = os.open(name, _FILE, dir_fd=directory)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        data = stream.read(_CONFIG_LIMIT + 1)
    return data if len(data) <= _CONFIG_LIMIT else None


def _write_new(directory: int, name: str, data: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with contextlib.suppress(OSError):
        descriptor = os.open(name, flags, 0o644, dir_fd=directory)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)


def _accept(directory: int, *, mounted: bool) -> _Accepted:
    """What is there now is the person's own."""
    accepted = _Accepted()
    for name in (*_CONFIGS, "commondir"):
        stamp = _stamp(directory, name)
        if stamp is not None:
            accepted.files[name] = _read(directory, name)
            accepted.stamps[name] = stamp
    with contextlib.suppress(OSError):
        info = os.lstat("hooks", dir_fd=directory)
        if mounted and stat.S_ISDIR(info.st_mode):
            accepted.mounted_hooks = info.st_ino
        accepted.hooks_link = _stamp(directory, "hooks")
        accepted.hooks = set(_hooks(directory))
    return accepted


def _hooks(directory: int) -> Iterator[tuple[str, Stamp]]:
    """The hooks that git would run. Raises OSError, also if `hooks` is a link."""
    folder = os.open("hooks", _DIRECTORY, dir_fd=directory)
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                info = entry.stat(follow_symlinks=False)
                runs = stat.S_ISLNK(info.st_mode) or info.st_mode & 0o111
                if runs and not entry.name.endswith(".sample"):
                    yield entry.name, (info.st_ino, info.st_size, info.st_ctime_ns)
    finally:
        os.close(folder)


def _has_new_hooks(directory: int, accepted: _Accepted) -> bool:
    """Whether git would run something as a hook that was not there before."""
    try:
        info = os.lstat("hooks", dir_fd=directory)
        if not stat.S_ISDIR(info.st_mode):
            return _stamp(directory, "hooks") != accepted.hooks_link
        if info.st_ino == accepted.mounted_hooks:
            return False
        return not accepted.hooks.issuperset(_hooks(directory))
    except OSError:
        return False


def _stands_for_parent(path: str, common: bytes | None) -> bool:
    """Whether `commondir` of `…/worktrees/NAME` names the repository that it is part of."""
    return common == b"../..\n" and os.path.basename(os.path.dirname(path)) == "worktrees"
