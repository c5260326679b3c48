"""Walks a directory tree as git does: skips ignored files and does not follow links."""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pathspec import GitIgnoreSpec

_ALWAYS_SKIPPED = {".git", ".hg", ".svn"}
_NFS_REMOVED = ".nfs0"
"""How the names begin that NFS gives to removed files that are still open."""
# Generated, even where no .gitignore says so.
_USUALLY_GENERATED = {
    "node_modules",
    "__pycache__",
    ".venv",
    ".tox",
    ".nox",
    ".mypy_cache",
    ".ruff_cache",
    ".pytest_cache",
    ".hypothesis",
}
_IGNORE_LIMIT = 1 << 20
_MAX_DEPTH = 60


@dataclass(frozen=True)
class FileEntry:
    """A file or directory; `relative` is its path from the root of the walk."""

    relative: str
    is_directory: bool
    size: int = 0

    @cached_property
    def name(self) -> str:
        """The last component."""
        return self.relative.rpartition("/")[2]

    def __hash__(self) -> int:
        return hash(self.relative)


@dataclass(frozen=True)
class _Rules:
    """The ignore rules of one directory, which match paths relative to it."""

    base: str
    spec: GitIgnoreSpec

    def verdict(self, relative: str, is_directory: bool) -> bool | None:
        inner = relative[len(self.base) :]
        return self.spec.check_file(inner + "/" if is_directory else inner).include


def _read_rules(base: str, directory: int, name: str) -> _Rules | None:
    try:
        descriptor = os.open(
            name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory
        )
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        lines = stream.read(_IGNORE_LIMIT).decode("utf-8", "replace").split("\n")
    usable = []
    for line in lines:
        try:
            GitIgnoreSpec.from_lines([line])
        except ValueError:  # one invalid pattern does not disable the others
            continue
        usable.append(line)
    return _Rules(base, GitIgnoreSpec.from_lines(usable)) if usable else None


def _ignored(rules: list[_Rules], relative: str, is_directory: bool) -> bool:
    for rule in reversed(rules):
        verdict = rule.verdict(relative, is_directory)
        if verdict is not None:
            return verdict
    return False


def _directory_rules(base: str, directory: int) -> list[_Rules]:
    found = []
    for name in (".gitignore", ".ignore"):
        rules = _read_rules(base, directory, name)
        if rules is not None:
            found.append(rules)
    return found


def walk(
    root: Path,
    start: str = ".",
    *,
    limit: int = 100_000,
    directories: bool = False,
    honour_ignore: bool = True,
    max_depth: int = _MAX_DEPTH,
) -> Iterator[FileEntry]:
    """Yield the regular files, and optionally directories, below `root/start`, sorted.

    `.gitignore` and `.ignore` files from `root` down and `.git/info/exclude` are honoured.
    Directories are opened by descriptor without following links. At most `limit` entries.
    """
    try:
        top = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return
    descriptor = top
    rules: list[_Rules] = []
    base = ""
    try:
        if honour_ignore:
            exclude = _read_rules("", top, ".git/info/exclude")
            rules = ([exclude] if exclude else []) + _directory_rules("", top)
        for part in [] if start == "." else start.split("/"):
            step = os.open(
                part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=descriptor
            )
            os.close(descriptor)
            descriptor = step
            base += part + "/"
            if honour_ignore:
                rules = rules + _directory_rules(base, descriptor)
    except OSError:
        os.close(descriptor)
        return
    entries = _walk(descriptor, base, rules, directories, honour_ignore, max_depth)
    yield from itertools.islice(entries, limit)


def _walk(
    descriptor: int,
    base: str,
    rules: list[_Rules],
    directories: bool,
    honour_ignore: bool,
    depth: int,
) -> Iterator[FileEntry]:
    """Walk an open directory and close its descriptor."""
    try:
        with os.scandir(descriptor) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
        for entry in entries:
            relative = base + entry.name
            is_directory = entry.is_dir(follow_symlinks=False)
            if entry.name.startswith(_NFS_REMOVED) or (
                is_directory and entry.name in _ALWAYS_SKIPPED
            ):
                continue
            if honour_ignore and (
                (is_directory and entry.name in _USUALLY_GENERATED)
                or (rules and _ignored(rules, relative, is_directory))
            ):
                continue
            if not is_directory:
                try:
                    info = entry.stat(follow_symlinks=False)
                except OSError:
                    continue
                if stat.S_ISREG(info.st_mode):
                    yield FileEntry(relative, False, info.st_size)
                continue
            if directories:
                yield FileEntry(relative, True)
            if depth <= 1:
                continue
            try:
                child = os.open(
                    entry.name,
                    os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC,
                    dir_fd=descriptor,
                )
            except OSError:
                continue
            inner = rules
            if honour_ignore:
                inner = rules + _directory_rules(relative + "/", child)
            yield from _walk(child, relative + "/", inner, directories, honour_ignore, depth - 1)
    finally:
        os.close(descriptor)
