"""The files of a working tree that git takes settings or programs from, found without running git.

A repository's configuration may include files of the working tree, and name a folder of hooks,
filters and other programs there. Whoever changes one of them decides what the person's next git
command runs, so they are protected like `.git` itself.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator

from laguna_agent.policy import sensitive_paths

_SETTING = re.compile(
    r"^[ \t]*(?:\[[^\n]*?\][ \t]*)?([A-Za-z][A-Za-z0-9-]*)[ \t]*=[ \t]*([^\n]*)$", re.MULTILINE
)
_PROGRAM_KEY = re.compile(
    "fsmonitor|editor|pager|sshcommand|gitproxy|askpass|external|command|cmd|textconv|clean|smudge|"
    "process|driver|helper|program|uploadpack|receivepack|difffilter|alternaterefscommand"
)
_LIMIT = 1 << 20
_MOST_FILES = 32
"""Configuration files that are followed, so that includes in a circle end."""


def referenced_paths(worktree: str) -> list[str]:
    """Paths below `worktree` that the configuration of its repository includes, takes hooks from
    or runs, as named and with links resolved. They need not exist."""
    found: dict[str, None] = {}
    files = [*_config_files(worktree), *_user_config_files()]
    for path in files:  # grows by what is included
        text = read_plain(path)
        for key, value in _settings(text):
            for place in _places(key, value, worktree, os.path.dirname(path)):
                if key == "path" and place not in files and len(files) < _MOST_FILES:
                    files.append(place)
                for spelling in sensitive_paths.spellings(place):
                    if sensitive_paths.is_under(spelling, worktree) and spelling != worktree:
                        found[spelling] = None
    return list(found)


def reference_reason(path: str, root: str) -> str | None:
    """Why changing `path` may change what git runs, or None. `root` is the workspace."""
    for text in sensitive_paths.spellings(path):
        folder = os.path.dirname(text)
        while sensitive_paths.is_under(folder, root):
            if os.path.lexists(os.path.join(folder, ".git")):
                for place in referenced_paths(folder):
                    if sensitive_paths.is_under_folded(text, place):
                        return f"git takes settings or programs from {os.path.relpath(place, root)}"
            folder = os.path.dirname(folder)
    return None


def _config_files(worktree: str) -> list[str]:
    """The configuration files of the repository of a working tree, linked ones included."""
    directory = os.path.join(worktree, ".git")
    pointer = read_plain(directory)
    if pointer.startswith("gitdir:"):
        directory = os.path.join(worktree, pointer[len("gitdir:") :].strip())
    common = os.path.join(directory, read_plain(os.path.join(directory, "commondir")).strip())
    places = dict.fromkeys(map(os.path.normpath, (directory, common)))
    return [os.path.join(place, name) for place in places for name in ("config", "config.worktree")]


def _user_config_files() -> list[str]:
    """The person's own configuration, which may name a relative folder of hooks."""
    home = sensitive_paths.home()
    return [os.fspath(home / ".gitconfig"), os.fspath(home / ".config" / "git" / "config")]


def read_plain(path: str) -> str:
    """The text of a plain file; empty for anything else. Never waits for a pipe."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return ""
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return ""
        return os.read(descriptor, _LIMIT).decode("utf-8", "surrogateescape")
    finally:
        os.close(descriptor)


def _settings(text: str) -> Iterator[tuple[str, str]]:
    """Keys in lower case and values, whatever section they are in.

    A line that ends in a backslash goes on in the next one, except in a comment: both readings
    are taken, since one place too many is protected at no cost.
    """
    for reading in dict.fromkeys((text, re.sub(r"\\\r?\n", "", text))):
        for match in _SETTING.finditer(reading.replace("\r", "")):
            yield match.group(1).lower(), _plain(match.group(2))


def _plain(raw: str) -> str:
    """A value without its quotes, escapes and comment."""
    out: list[str] = []
    quoted = False
    position = 0
    while position < len(raw):
        character = raw[position]
        if character == "\\":
            position += 1
            out.append(raw[position : position + 1])
        elif character == '"':
            quoted = not quoted
        elif character in "#;" and not quoted:
            break
        else:
            out.append(character)
        position += 1
    return "".join(out).strip()


def _places(key: str, value: str, worktree: str, directory: str) -> Iterator[str]:
    """The paths that a setting names, absolute. `directory` is that of the configuration file."""
    if key in ("hookspath", "path"):
        if not value:
            return
        base = directory if key == "path" else worktree
        place = os.path.normpath(os.path.join(base, os.path.expanduser(value)))
        yield place
        if key == "hookspath" and os.path.basename(place) == "_":
            yield os.path.dirname(place)  # husky's folder `_` runs the hooks beside it
    elif _PROGRAM_KEY.fullmatch(key) or value.startswith("!"):
        for word in re.split(r"[\s'\"!;|&()]+", value):
            place = os.path.normpath(os.path.join(worktree, os.path.expanduser(word)))
            if word and os.path.isfile(place):
                yield place
