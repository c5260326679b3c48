"""Where the files of a git repository lead, for what reads them: the gate and the git tool.

A repository that comes as an archive can name another one as its own, or hold links in its git
directory. git then changes that other repository, or shows lines of what it cannot understand.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_LINKED = ("", "info", "objects", "objects/info", "refs", "refs/heads", "logs")
"""Folders of a git directory in which links are looked for."""
_NEVER_SHOWN = {"hooks", "description", "branches"}


def git_places(directory: str) -> list[str]:
    """The git directory that a `.git` is or names, the one that it shares with other worktrees, and
    where links in these lead, as far as that is elsewhere."""
    own = os.path.realpath(_named(directory, "gitdir:", directory))
    shared = os.path.realpath(_named(os.path.join(own, "commondir"), "", own))
    places = list(dict.fromkeys((own, shared)))
    linked: dict[str, None] = {}
    for folder in [os.path.join(place, name) for place in places for name in _LINKED]:
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_symlink() and entry.name not in _NEVER_SHOWN:
                    linked[os.path.realpath(entry.path)] = None
    return [*places, *(path for path in linked if not _is_below(path, places))]


def _is_below(path: str, folders: list[str]) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)


def _named(file: str, prefix: str, otherwise: str) -> str:
    """The path that a file of git's names; `otherwise` if it is no such file."""
    if not os.path.isfile(file):
        return otherwise
    try:
        text = Path(file).read_bytes()[:4096].decode("utf-8", "surrogateescape")
    except OSError:
        return otherwise
    return os.path.join(os.path.dirname(file), text.removeprefix(prefix).strip("\r\n\t "))
