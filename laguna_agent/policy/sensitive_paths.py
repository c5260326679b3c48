"""Which paths hold secrets, which are protected, and when two spellings mean one path.

`gate` decides and `sandbox` hides from these same tables.
"""

from __future__ import annotations

import fnmatch
import os
import re
import unicodedata
from functools import lru_cache
from pathlib import Path

from laguna_agent.paths import config_dir, data_dir, state_dir
from laguna_agent.policy import secret_places

HOME_SECRETS = secret_places.HOME
CONFIG_SHOWN = secret_places.CONFIG_SHOWN
SYSTEM_SECRETS = secret_places.SYSTEM

PUBLIC_ROOTS: tuple[str, ...] = ("/usr", "/lib", "/lib64", "/bin", "/sbin", "/opt", "/etc", "/sys")
"""System directories without user data: reading them does not ask."""

PROTECTED_NAMES: tuple[str, ...] = (".git", ".laguna")
"""Directories (or files, in a linked worktree) that are not edited without asking."""


_SECRET_NAME = re.compile("|".join(map(fnmatch.translate, secret_places.NAMES)))
_PUBLIC_NAME = re.compile(secret_places.PUBLIC_NAME)


def home() -> Path:
    """The user's home directory."""
    return Path(os.path.expanduser("~"))


def real(path: str | Path) -> str:
    """`path` with every symbolic link resolved; parts that do not exist are kept as written."""
    try:
        return os.path.realpath(path)
    except OSError as error:  # a link that nobody may follow, such as `/proc/1/root`
        return os.fsdecode(error.filename or path)


@lru_cache(maxsize=8192)
def fold(text: str) -> str:
    """A key that is equal for names that a file system may treat as the same.

    Folds case, composes Unicode and drops code points that HFS+ ignores.
    """
    if text.isascii():
        return text.lower()
    kept = "".join(c for c in text if unicodedata.category(c) != "Cf")
    return unicodedata.normalize("NFC", unicodedata.normalize("NFKC", kept).casefold())


def spellings(path: str | Path) -> tuple[str, ...]:
    """The absolute forms of `path`: as written, at each symbolic link, and fully resolved.

    A rule about any of them applies.
    """
    current = os.path.normpath(path)
    found = [current]
    for _ in range(16):
        parent, name = os.path.split(current)
        parent = real(parent)
        hop = os.path.join(parent, name) if name else parent
        if hop not in found:
            found.append(hop)
        try:
            target = os.readlink(hop)
        except OSError:
            break
        current = os.path.normpath(os.path.join(parent, target))
        if current in found:
            break
        found.append(current)
    resolved = real(path)
    if resolved not in found:
        found.append(resolved)
    return tuple(found)


def is_under(path: str | Path, root: str | Path) -> bool:
    """Whether `path` is `root` or below it, comparing whole components exactly."""
    text, base = os.fspath(path), os.fspath(root).rstrip("/")
    return text == base or text.startswith(base + "/") or base == ""


def is_under_folded(path: str | Path, root: str | Path) -> bool:
    """Like `is_under`, ignoring differences that `fold` removes."""
    return is_under(fold(os.fspath(path)), fold(os.fspath(root)))


def laguna_directories() -> tuple[Path, ...]:
    """laguna's own configuration, data and state directories."""
    return _resolved(config_dir(), data_dir(), state_dir())


@lru_cache(maxsize=64)
def _resolved(*named: Path) -> tuple[Path, ...]:
    return tuple(Path(real(path)) for path in named)


def secret_paths() -> tuple[Path, ...]:
    """Absolute paths outside a workspace that hold secrets, whether they exist or not."""
    base = Path(real(home()))
    return (*(base / p for p in HOME_SECRETS), *(Path(p) for p in SYSTEM_SECRETS))


@lru_cache(maxsize=16)
def _folded_secrets(base: str) -> tuple[tuple[str, str], ...]:
    """Secret paths for one home directory, as shown and folded for comparison."""
    shown = [*(os.path.join(base, p) for p in HOME_SECRETS), *SYSTEM_SECRETS]
    return tuple((path, fold(path)) for path in shown)


@lru_cache(maxsize=4096)
def is_secret_name(name: str) -> bool:
    """Whether a file of this name holds secrets in any directory."""
    folded = fold(name)
    return bool(_SECRET_NAME.match(folded)) and not _PUBLIC_NAME.fullmatch(folded)


def is_secret_file(path: str) -> bool:
    """Whether a file holds secrets wherever it is, by its name or a folder in its path."""
    if is_secret_name(os.path.basename(path)):
        return True
    padded = f"/{fold(path)}/"
    return any(f"/{place}/" in padded for place in secret_places.FOLDERS)


def secret_reason(path: str | Path, root: str = "") -> str | None:
    """Why reading `path` may show a secret, or None.

    Below `root`, the workspace, only what holds secrets anywhere counts: the workspace itself may
    be below a path that is secret.
    """
    base = real(home())
    for text in spellings(path):
        inside = bool(root) and is_under(text, root)
        if is_secret_file(os.path.relpath(text, root) if inside else text):
            return f"{os.path.basename(text)} may hold secrets"
        if inside:
            continue
        folded = fold(text)
        for place, key in _folded_secrets(base):
            if folded.startswith(key) and is_under(folded, key):
                return f"{place} holds secrets"
        if is_under_folded(text, os.path.join(base, ".config")):
            below = os.path.relpath(text, os.path.join(base, ".config"))
            if not any(is_under(below, shown) for shown in CONFIG_SHOWN):
                return "~/.config holds the settings and tokens of applications"
        if text.startswith("/proc/"):
            return "/proc exposes other processes"
    return None


def protected_reason(path: str | Path, workspace: str | Path) -> str | None:
    """Why `path` is protected against changes, or None.

    Protected are `.git` and `.laguna` at any depth below the workspace, and laguna's directories.
    """
    for text in spellings(path):
        for place in laguna_directories():
            if is_under_folded(text, place) and not is_under(workspace, place):
                return f"{place} is laguna's own directory"
        inside = os.path.relpath(text, workspace) if is_under_folded(text, workspace) else text
        for part in inside.split("/"):
            # Short names and trailing dots mean something only on Windows, but a checkout may be
            # shared with it.
            name = fold(part).rstrip(". ")
            if name in PROTECTED_NAMES or name == "git~1":
                return f"{part} controls what runs and what is trusted"
    return None
