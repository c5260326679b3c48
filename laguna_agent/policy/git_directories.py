"""Finds the git directories below some folders, again and again.

A command can make a repository anywhere (`git init`, a clone, a copied folder), and git outside
would follow its settings. A second look reads only folders that changed: their change times cannot
be set back.
"""

from __future__ import annotations

import os
import stat
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from laguna_agent.policy.sensitive_paths import is_under

FOLDER_LIMIT = 50_000
"""Folders below one root that are looked at, the upper ones first."""
MOUNT_LIMIT = 24
"""Git directories, and `.git` files, that are mounted; each mount makes a shell start later."""
_BUILD_FOLDERS = {
    "node_modules",
    "build",
    "target",
    "dist",
    "out",
    "_deps",
    ".venv",
    "venv",
    "Pods",
}
"""Repositories below these come and go with `rm -rf`, which a mount would hinder; so do the
directories of linked worktrees."""
_RACY_NS = 1_000_000_000
"""A folder that changed this recently may change again without another time."""


@dataclass(frozen=True)
class _Folder:
    identity: tuple[int, int, int]
    below: tuple[str, ...]
    is_repository: bool
    has_git_file: bool


@dataclass(frozen=True)
class Found:
    """What is there, by path: git directories with device and inode, and `.git` files."""

    directories: dict[str, tuple[int, int]] = field(default_factory=dict)
    files: tuple[str, ...] = ()


class GitDirectories:
    """The git directories below `roots`, which are absolute and free of symbolic links.

    A child sees those `unmounted` elsewhere: nothing in them is protected by a mount.
    """

    def __init__(self, roots: Sequence[str | Path], unmounted: Sequence[str | Path] = ()) -> None:
        self._roots = [os.fspath(root) for root in roots]
        self._unmounted = [os.fspath(root) for root in unmounted]
        self._folders: dict[str, _Folder] = {}
        self._lock = threading.Lock()
        self._first: Found | None = None
        self._latest: Found | None = None
        self.took_s = 0.0
        """Seconds that the last look took."""

    def start(self) -> None:
        """Begin the first look in the background."""
        threading.Thread(target=self.latest, name="git directories", daemon=True).start()

    def latest(self) -> Found:
        """What the last look found; looks if there was none."""
        with self._lock:
            return self._latest or self._look()

    def look(self) -> Found:
        """Look again."""
        with self._lock:
            return self._look()

    def protected(self) -> Found:
        """What a shell sees as mounts: of what the first look found, the uppermost."""
        self.latest()
        assert self._first is not None
        directories = [path for path in self._first.directories if self._is_kept(path)]
        files = [path for path in self._first.files if self._is_kept(path)]
        return Found(
            {path: self._first.directories[path] for path in directories[:MOUNT_LIMIT]},
            tuple(files[:MOUNT_LIMIT]),
        )

    def _is_kept(self, path: str) -> bool:
        root = next((root for root in self._roots if is_under(path, root)), None)
        if root is None:
            return False
        parts = path[len(root) :].split("/")
        return _BUILD_FOLDERS.isdisjoint(parts) and "worktrees" not in parts[-2:-1]

    def _look(self) -> Found:
        begun = time.monotonic()
        folders: dict[str, _Folder] = {}
        directories: dict[str, tuple[int, int]] = {}
        files: list[str] = []
        for root in (*self._roots, *self._unmounted):
            waiting, most = deque([root]), len(folders) + FOLDER_LIMIT
            while waiting and len(folders) < most:
                path = waiting.popleft()
                folder = self._folder(path)
                if folder is None or path in folders:
                    continue
                folders[path] = folder
                waiting.extend(folder.below)
                if folder.is_repository:
                    directories[path] = folder.identity[:2]
                if folder.has_git_file:
                    files.append(os.path.join(path, ".git"))
        self._folders = folders
        self._latest = Found(directories, tuple(files))
        self._first = self._first or self._latest
        self.took_s = time.monotonic() - begun
        return self._latest

    def _folder(self, path: str) -> _Folder | None:
        try:
            info = os.lstat(path)
            if not stat.S_ISDIR(info.st_mode):
                return None
            identity = (info.st_dev, info.st_ino, info.st_ctime_ns)
            known = self._folders.get(path)
            if known is not None and known.identity == identity:
                return known
            if info.st_mode & 0o500 == 0o100 and info.st_uid == os.geteuid():
                _make_readable(path, info.st_mode)  # git can go where nobody can look
            if time.time_ns() - info.st_ctime_ns < _RACY_NS:
                identity = (info.st_dev, info.st_ino, 0)
            return _read_folder(path, identity)
        except OSError:
            return None


def _make_readable(path: str, mode: int) -> None:
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.chmod(f"/proc/self/fd/{descriptor}", stat.S_IMODE(mode) | 0o400)
    finally:
        os.close(descriptor)


def _read_folder(path: str, identity: tuple[int, int, int]) -> _Folder:
    names: set[str] = set()
    below: list[str] = []
    git_file = False
    with os.scandir(path) as entries:
        for entry in entries:
            names.add(entry.name)
            if entry.is_dir(follow_symlinks=False):
                below.append(entry.path)
            elif entry.name == ".git":
                git_file = entry.is_file(follow_symlinks=False)
    # What git asks of a git directory: HEAD, and objects and refs there or in `../..`.
    holds = {"objects", "refs"} <= names and not names.isdisjoint({"HEAD", "worktrees"})
    is_repository = holds or {"HEAD", "commondir"} <= names
    return _Folder(identity, tuple(below), is_repository, git_file)
