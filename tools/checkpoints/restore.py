"""Restores recorded files byte for byte, never through a link, keeping hard links and owners."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from pathlib import Path

from laguna_agent.tools.files.storage import CANNOT_REPLACE
from laguna_agent.tools.files.workspace import WorkspacePath, open_beneath, parent_directory

_IN_THE_WAY = "a file or folder that is not recorded is in the way"


class Restorer:
    """Writes and removes files of a workspace. Recorded files in the way are removed."""

    def __init__(self, workspace: Path, *, recorded: set[str]) -> None:
        """`recorded` are the current paths that can be restored later."""
        self._workspace = workspace
        self._recorded = recorded
        self.removed_in_the_way: list[str] = []

    def write(self, path: str, mode: int, content: bytes | None) -> str | None:
        """Make `path` a file or link with this mode; with None as content, only set the mode.

        Returns why it failed, or None.
        """
        try:
            problem = self._clear(path)
            if problem:
                return problem
            with parent_directory(self._target(path), create=True) as (directory, name):
                if stat.S_ISLNK(mode):
                    _make_link(directory, name, content or b"")
                elif content is None:
                    os.chmod(name, stat.S_IMODE(mode), dir_fd=directory)
                else:
                    self._write_file(directory, name, path, mode, content)
        except OSError as error:
            return error.strerror or str(error)
        return None

    def remove(self, path: str) -> str | None:
        """Remove a file or link, and the folders that become empty."""
        try:
            with parent_directory(self._target(path)) as (directory, name):
                os.unlink(name, dir_fd=directory)
        except FileNotFoundError:
            return None
        except OSError as error:
            return error.strerror or str(error)
        self._remove_empty(os.path.dirname(path))
        return None

    def _target(self, path: str) -> WorkspacePath:
        return WorkspacePath(self._workspace, path, path)

    def _clear(self, path: str) -> str | None:
        """Remove recorded files that are in the way of `path` or of its folders."""
        parts = path.split("/")
        for depth in range(1, len(parts) + 1):
            part = "/".join(parts[:depth])
            try:
                info = os.lstat(self._workspace / part)
            except FileNotFoundError:
                return None
            is_directory = stat.S_ISDIR(info.st_mode)
            if depth < len(parts) and not is_directory:
                return self._remove_recorded(part)
            if depth == len(parts) and is_directory:
                return self._remove_tree(part)
        return None

    def _remove_recorded(self, path: str) -> str | None:
        if path not in self._recorded:
            return _IN_THE_WAY
        problem = self.remove(path)
        if problem is None:
            self.removed_in_the_way.append(path)
        return problem

    def _remove_tree(self, path: str) -> str | None:
        for inside in sorted(p for p in self._recorded if p.startswith(path + "/")):
            problem = self._remove_recorded(inside)
            if problem:
                return problem
        for root, _, _ in os.walk(self._workspace / path, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(root)
        return _IN_THE_WAY if (self._workspace / path).is_dir() else None

    def _remove_empty(self, folder: str) -> None:
        while folder:
            try:
                with parent_directory(self._target(folder)) as (directory, name):
                    os.rmdir(name, dir_fd=directory)
            except OSError:
                return
            folder = os.path.dirname(folder)

    def _write_file(self, directory: int, name: str, path: str, mode: int, content: bytes) -> None:
        try:
            info: os.stat_result | None = os.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            info = None
        if info is not None and stat.S_ISREG(info.st_mode) and info.st_nlink > 1:
            self._write_in_place(path, mode, content)
            return
        try:
            self._replace(directory, name, info, mode, content)
        except OSError as error:
            if info is None or error.errno not in CANNOT_REPLACE:
                raise
            self._write_in_place(path, mode, content)

    def _replace(
        self, directory: int, name: str, info: os.stat_result | None, mode: int, content: bytes
    ) -> None:
        temporary = f".{name[:80]}.{secrets.token_hex(6)}.tmp"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(temporary, flags, 0o600, dir_fd=directory)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(content)
                stream.flush()
                if info is not None and stat.S_ISREG(info.st_mode):
                    with contextlib.suppress(OSError):
                        os.fchown(descriptor, info.st_uid, info.st_gid)
                os.fchmod(descriptor, stat.S_IMODE(mode))
            os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=directory)
            raise

    def _write_in_place(self, path: str, mode: int, content: bytes) -> None:
        descriptor = open_beneath(self._workspace, path, os.O_WRONLY | os.O_NONBLOCK)
        with os.fdopen(descriptor, "wb") as stream:
            os.ftruncate(descriptor, 0)
            stream.write(content)
            stream.flush()
            if stat.S_IMODE(os.fstat(descriptor).st_mode) != stat.S_IMODE(mode):
                os.fchmod(descriptor, stat.S_IMODE(mode))


def _make_link(directory: int, name: str, target: bytes) -> None:
    temporary = f".{name[:80]}.{secrets.token_hex(6)}.tmp"
    os.symlink(target, os.fsencode(temporary), dir_fd=directory)
    try:
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=directory)
        if error.errno != errno.ENOENT:
            raise
