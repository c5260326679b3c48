"""The secret files of a workspace that commands see empty, wherever they are by now.

A mount covers a place. A file that a command carries to another place, with the folder that it is
in, would be seen there by the next shell: so files are known by what they are, and looked for.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path

_Identity = tuple[int, int]
_MOST_FOLDERS = 50_000


class HiddenSecrets:
    """Follows the files that `find` finds when they are first asked for."""

    def __init__(self, root: str, find: Callable[[], Iterable[str]]) -> None:
        self._root = root
        self._find = find
        self._files: dict[str, _Identity] | None = None

    def paths(self) -> list[Path]:
        """Where the files are now. What somebody saved anew in the place of one is one too."""
        known = _identified(self._find()) if self._files is None else self._files
        self._files = _identified(known)
        if lost := set(known.values()) - set(self._files.values()):
            moved = _moved(self._root, lost)
            gone = not lost <= set(moved.values())  # and perhaps saved anew in another place
            self._files |= moved | (_identified(self._find()) if gone else {})
        return [Path(path) for path in sorted(self._files)]


def _identified(paths: Iterable[str]) -> dict[str, _Identity]:
    found: dict[str, _Identity] = {}
    for path in paths:
        with contextlib.suppress(OSError):
            info = os.lstat(path)
            found[path] = (info.st_dev, info.st_ino)
    return found


def _moved(root: str, lost: set[_Identity]) -> dict[str, _Identity]:
    """The files below `root` that are among the lost ones."""
    inodes = {inode for _, inode in lost}
    found: list[str] = []
    waiting, looked = [root], 0
    while waiting and looked < _MOST_FOLDERS:
        looked += 1
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    elif entry.inode() in inodes:
                        found.append(entry.path)
        except OSError:
            continue
    return {path: identity for path, identity in _identified(found).items() if identity in lost}
