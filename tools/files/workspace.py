"""Paths in the workspace, opened by directory descriptor so that no link leads out of it.

A path from the model is first resolved to a real path, for which the policy decides. It is then
opened relative to a descriptor of its root, refusing links in every component, so that a link
created in between makes the call fail instead of leading elsewhere.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
import re
import stat
import struct
import sys
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from laguna_agent.tools.tool import ToolContext

_OPENAT2 = 437  # the same on every Linux architecture except alpha
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_NO_SYMLINKS = 0x04
_RESOLVE_BENEATH = 0x08
_PROTECTED = {".git", "git~1", ".laguna", "laguna~1"}
_BASE_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW
OUTPUT_PREFIX = "output:"
_POSITION = re.compile(r"(?::\d+(?:-\d+|:\d+)?:?|#L\d+(?:-L?\d+)?)$")


class PathError(Exception):
    """A path is unusable; the message is for the model."""


@dataclass(frozen=True)
class WorkspacePath:
    """A resolved path: `relative` to `root`, free of links, `.` for the root itself."""

    root: Path
    relative: str
    label: str
    """The path as the model sees it: relative to where it works, or `output:N`."""
    note: str = ""
    """Added to the result if the path was taken to mean another one."""
    saved: bool = False
    """True for a saved output in the session's state directory, which is read-only."""

    @property
    def path(self) -> Path:
        """The absolute real path."""
        return self.root / self.relative if self.relative != "." else self.root


def protected_name(relative: str) -> str | None:
    """The component that file tools must not write to (`.git`, `.laguna` in any case), or None."""
    for part in relative.split("/"):
        # File systems may fold case or drop ignorable characters.
        plain = "".join(c for c in part if unicodedata.category(c) != "Cf")
        if unicodedata.normalize("NFKC", plain).casefold().rstrip(". ") in _PROTECTED:
            return part
    return None


def _beneath(real: str, root: str) -> str | None:
    if real == root:
        return "."
    prefix = root if root.endswith("/") else root + "/"
    return real[len(prefix) :] if real.startswith(prefix) else None


def resolve_path(context: ToolContext, raw: str, *, guess: bool = False) -> WorkspacePath:
    """Resolve a path argument. Raises PathError if it leads out of the workspace.

    With `guess`, a path that does not exist is taken as the only existing file with the same
    ending, and `note` says so.
    """
    if "\0" in raw:
        raise PathError("a path cannot hold a NUL character")
    workspace = os.path.realpath(context.workspace)
    start = os.path.realpath(context.start)
    bare = raw.strip().strip("`\"'") or "."  # models quote paths, but names may contain quotes
    text = raw if raw != bare and os.path.lexists(os.path.join(start, raw)) else bare
    state = os.path.realpath(context.state_dir)
    if text.startswith(OUTPUT_PREFIX):
        name = text.removeprefix(OUTPUT_PREFIX)
        return _located(state, f"{state}/output/{name}", label=text)
    if text.startswith("~"):
        text = os.path.expanduser(text)
    if start != workspace and _is_from_root(text, start, workspace):
        start = workspace
    try:
        real = os.path.realpath(os.path.join(start, text))
    except (OSError, ValueError) as error:
        raise PathError(f"{text} is not a usable path: {error}") from None
    inside = _beneath(real, workspace)
    if inside is not None and os.path.lexists(real):
        return WorkspacePath(Path(workspace), inside, context.shown(inside))
    if _beneath(real, state) is not None:
        return _located(state, real, label=real)
    if not os.path.lexists(real) and (meant := _meant(text, start, guess=guess)):
        return replace(resolve_path(context, meant, guess=guess), note=f"Taken as {meant}.")
    if inside is not None and (other := _spelled_otherwise(workspace, inside, fold_case=guess)):
        found, how = other
        note = f"On disk, {text} has other characters ({how}); taken as {found}."
        return replace(resolve_path(context, f"{workspace}/{found}", guess=guess), note=note)
    if inside is not None and not guess:
        return WorkspacePath(Path(workspace), inside, context.shown(inside))
    candidates = [] if os.path.lexists(real) else similar_paths(Path(workspace), text)
    candidates = [context.shown(path) for path in candidates]
    if guess and len(candidates) == 1:
        note = f"{text} does not exist; taken as {candidates[0]}."
        return replace(resolve_path(context, candidates[0]), note=note)
    hint = f" Did you mean {' or '.join(candidates[:3])}?" if candidates else ""
    if inside is None:
        raise PathError(f"{text} is outside the workspace; use a path relative to it.{hint}")
    if candidates:
        raise PathError(f"{text} does not exist.{hint}")
    return WorkspacePath(Path(workspace), inside, context.shown(inside))


def _meant(text: str, start: str, *, guess: bool) -> str | None:
    """The path in another notation: of Windows, with a scheme, with the @ of a mention, or with the
    number of a line."""
    plain = text.removeprefix("file://")
    if guess and plain.startswith("@"):
        plain = plain[1:]
    slashed = plain.replace("\\", "/")
    if slashed != plain and os.path.isdir(os.path.join(start, slashed.partition("/")[0])):
        plain = slashed
    file = _POSITION.sub("", plain)
    if file != plain and os.path.isfile(os.path.join(start, file)):
        plain = file
    return plain if plain != text and plain else None


def _spelled_otherwise(workspace: str, relative: str, *, fold_case: bool) -> tuple[str, str] | None:
    """The path as it is on disk, where that only looks the same, and what differs.

    What does not exist yet keeps its spelling, below folders as they are on disk: a file is not
    created beside its twin. Raises PathError if several files look the same.
    """
    from laguna_agent.tools.files.file_names import SPELLINGS

    done, how = "", ""
    parts = relative.split("/")
    for position, part in enumerate(parts):
        folder = f"{workspace}/{done}"
        if os.path.lexists(folder + part):
            done += part + "/"
            continue
        try:
            names = os.listdir(folder)
        except OSError:
            names = []
        for kind, key in SPELLINGS if fold_case else SPELLINGS[:-1]:
            wanted = key(part)
            same = [name for name in names if key(name) == wanted] if wanted else []
            if len(same) > 1:
                shown = " or ".join(ascii(done + name) for name in sorted(same)[:3])
                raise PathError(f"{relative} does not exist; there is {shown}.")
            if same:
                done, how = f"{done}{same[0]}/", kind
                break
        else:
            done += "/".join(parts[position:]) + "/"
            break
    return (done[:-1], how) if how else None


def _is_from_root(text: str, start: str, workspace: str) -> bool:
    """Whether a path is meant from the workspace's root, as git prints paths: its first folder is
    there and not where relative paths start."""
    first, slash, _ = text.partition("/")
    return bool(
        slash
        and first not in ("", ".", "..")
        and not os.path.lexists(os.path.join(start, first))
        and os.path.isdir(os.path.join(workspace, first))
    )


def _located(root: str, path: str, *, label: str) -> WorkspacePath:
    relative = _beneath(os.path.realpath(path), root)
    if relative is None:
        raise PathError(f"{label} is not a saved output")
    return WorkspacePath(Path(root), relative, label, saved=True)


def similar_paths(workspace: Path, text: str) -> list[str]:
    """Files in the workspace that a path that does not exist may mean; the best kind only."""
    from laguna_agent.tools.files.file_names import composed
    from laguna_agent.tools.files.walk import walk

    wanted = [composed(part) for part in text.split("/") if part not in ("", ".", "..")]
    if not wanted:
        return []
    suffix = "/" + "/".join(wanted)
    longer, shorter, same_name = [], [], []
    for entry in walk(workspace, limit=20_000):
        if composed(entry.name) != wanted[-1]:
            continue
        relative = composed(entry.relative)
        if ("/" + relative).endswith(suffix):
            longer.append(entry.relative)
        elif suffix.endswith("/" + relative):
            shorter.append(entry.relative)
        else:
            same_name.append(entry.relative)
    return longer or shorter or same_name


# --- opening --------------------------------------------------------------------------------


@functools.cache
def _syscall() -> Callable[..., int] | None:
    if not sys.platform.startswith("linux"):
        return None
    function: Callable[..., int] = ctypes.CDLL(None, use_errno=True).syscall
    return function


def _openat2(directory: int, relative: str, flags: int, mode: int) -> int | None:
    """A descriptor, or None if the kernel or a seccomp filter does not support the call."""
    call = _syscall()
    if call is None:
        return None
    resolve = _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS | _RESOLVE_NO_MAGICLINKS
    how = struct.pack("QQQ", flags, mode if flags & os.O_CREAT else 0, resolve)
    for _ in range(8):
        descriptor = call(_OPENAT2, directory, os.fsencode(relative), how, len(how))
        if descriptor >= 0:
            return int(descriptor)
        code = ctypes.get_errno()
        if code in (errno.EAGAIN, errno.EINTR):
            continue
        if code in (errno.ENOSYS, errno.EPERM, errno.EINVAL, errno.E2BIG):
            return None
        raise OSError(code, os.strerror(code), relative)
    return None


def _open_walking(directory: int, relative: str, flags: int, mode: int) -> int:
    """Open component by component, refusing links."""
    parts = relative.split("/")
    if any(part == ".." for part in parts):
        raise PermissionError(errno.EXDEV, "leads out of its root", relative)
    current = os.dup(directory)
    try:
        for part in parts[:-1]:
            step = os.open(part, os.O_RDONLY | os.O_DIRECTORY | _BASE_FLAGS, dir_fd=current)
            os.close(current)
            current = step
        return os.open(parts[-1], flags | _BASE_FLAGS, mode, dir_fd=current)
    finally:
        os.close(current)


def open_beneath(root: Path, relative: str, flags: int, mode: int = 0o666) -> int:
    """A descriptor of `root/relative`; no component may be a link or lead above `root`.

    Raises OSError (ELOOP for a link, EXDEV for a path that leads out).
    """
    directory = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        flags |= _BASE_FLAGS
        descriptor = _openat2(directory, relative, flags, mode)
        if descriptor is None:
            descriptor = _open_walking(directory, relative, flags, mode)
        return descriptor
    finally:
        os.close(directory)


@contextlib.contextmanager
def parent_directory(target: WorkspacePath, *, create: bool = False) -> Iterator[tuple[int, str]]:
    """A descriptor of the directory that contains the target, and the target's name in it."""
    parent, _, name = target.relative.rpartition("/")
    if create and parent:
        _make_directories(target.root, parent)
    descriptor = open_beneath(target.root, parent or ".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor, name
    finally:
        os.close(descriptor)


def _make_directories(root: Path, relative: str) -> None:
    done = ""
    for part in relative.split("/"):
        parent = done or "."
        done = f"{done}/{part}" if done else part
        descriptor = open_beneath(root, parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, dir_fd=descriptor)
        finally:
            os.close(descriptor)


def file_status(target: WorkspacePath) -> os.stat_result | None:
    """The status of the target, links not followed; None if it does not exist."""
    try:
        with parent_directory(target) as (directory, name):
            return os.stat(name or ".", dir_fd=directory, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise PathError(explain(error, target.label)) from None


_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFLNK: "a dangling symbolic link",
    stat.S_IFDIR: "a directory",
}


def special_kind(info: os.stat_result) -> str | None:
    """What the target is, in words; None for a regular file."""
    return None if stat.S_ISREG(info.st_mode) else _KINDS.get(stat.S_IFMT(info.st_mode), "special")


def explain(error: OSError, label: str) -> str:
    """A line for the model about a failed system call."""
    reasons = {
        errno.ENOENT: f"{label} does not exist.",
        errno.ENOTDIR: f"{label}: a part of the path is a file, not a directory.",
        errno.EISDIR: f"{label} is a directory.",
        errno.EACCES: f"{label} may not be accessed (permissions).",
        errno.EPERM: f"{label} may not be accessed (not permitted).",
        errno.ELOOP: f"{label}: a part of the path became a symbolic link; it was not followed.",
        errno.EXDEV: f"{label} leads out of the workspace.",
        errno.ENOSPC: f"{label} was not written: the disk is full.",
        errno.EROFS: f"{label} was not written: the file system is read-only.",
        errno.ENAMETOOLONG: f"{label[:80]}…: the name is too long.",
    }
    return reasons.get(error.errno or 0, f"{label}: {error.strerror or error}.")


def open_file(target: WorkspacePath) -> int:
    """A descriptor for reading a regular file. Never blocks on pipes or opens devices.

    Raises PathError if it is not a regular file or cannot be read.
    """
    info = file_status(target)
    if info is None:
        raise PathError(f"{target.label} does not exist.")
    if kind := special_kind(info):
        raise PathError(f"{target.label} is {kind}, not a file; it was not opened.")
    try:
        descriptor = open_beneath(
            target.root, target.relative, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
        )
    except OSError as error:
        raise PathError(explain(error, target.label)) from None
    if kind := special_kind(os.fstat(descriptor)):
        os.close(descriptor)
        raise PathError(f"{target.label} is {kind}, not a file; it was not read.")
    return descriptor


def read_bytes(target: WorkspacePath, limit: int) -> bytes:
    """The content, up to `limit` bytes. Raises PathError."""
    with os.fdopen(open_file(target), "rb") as stream:
        try:
            return stream.read(limit)
        except OSError as error:
            raise PathError(explain(error, target.label)) from None
