"""Writes files of the workspace so that a crash leaves the old or the new content, never a mix.

A file is replaced by renaming a temporary file over it, which keeps mode, owner, extended
attributes, and symbolic links to it. Where that is not possible it is written in place: one that is
itself a mount, one in a folder that is not writable, and one with several hard links in the
workspace, which renaming would split. A file with links outside is split from them. What is written
in place goes to a journal first, and `recover` finishes a write that a crash interrupted; one that
fails is taken back.

`laguna_agent.atomic_write` is for laguna's own files, which need neither attributes nor links kept.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import stat
from io import FileIO
from pathlib import Path

from laguna_agent.tools.files.read_state import digest
from laguna_agent.tools.files.workspace import (
    PathError,
    WorkspacePath,
    explain,
    file_status,
    open_beneath,
    parent_directory,
    protected_name,
    read_bytes,
    special_kind,
)
from laguna_agent.tools.tool import ToolContext

FILE_LIMIT = 32 << 20
"""Bytes of the largest file that is edited or rewritten."""
_JOURNAL = "unfinished-writes"
_MOST_NAMES = 200_000
"""Names that are looked at for those of one file."""
CANNOT_REPLACE = {errno.EBUSY, errno.EXDEV, errno.EACCES, errno.EPERM, errno.EROFS}
"""Errors of replacing a file that may be writable all the same: it is a mount, or its folder is
read-only or sticky."""


def check_writable(target: WorkspacePath) -> os.stat_result | None:
    """The file's status, None for a new file. Raises PathError if it must not be written."""
    if target.saved:
        raise PathError(f"{target.label} is a saved output and cannot be changed.")
    if protected_name(target.relative):
        raise PathError(f"{target.label} belongs to git or laguna; tools do not write it.")
    info = file_status(target)
    if info is None:
        return None
    if kind := special_kind(info):
        raise PathError(f"{target.label} is {kind}, not a file; it was not written.")
    if info.st_size > FILE_LIMIT:
        raise PathError(f"{target.label} is {info.st_size >> 20} MiB, too large to edit here.")
    with parent_directory(target) as (directory, name):
        if not os.access(name, os.W_OK, dir_fd=directory, effective_ids=_EFFECTIVE):
            raise PathError(f"{target.label} is read-only.")
    return info


_EFFECTIVE = os.access in os.supports_effective_ids


def replace_file(
    context: ToolContext, target: WorkspacePath, data: bytes, *, expected: bytes
) -> None:
    """Replace the content of an existing file, which must still be `expected`.

    Raises PathError if it has changed or cannot be written.
    """
    try:
        info = check_writable(target)
        if info is None or read_bytes(target, FILE_LIMIT + 1) != expected:
            raise PathError(f"{target.label} changed just now; nothing was written. Read it again.")
        # Links outside the workspace (a package manager's store) keep their content.
        linked = info.st_nlink > 1
        inside = linked and _names_below(target.root, info) == info.st_nlink
        if inside or not _rename_over(target, data, info):
            if linked and not inside:
                raise PathError(
                    f"{target.label} has other names outside the workspace and cannot be replaced."
                )
            _write_in_place(context, target, expected, data)
    except OSError as error:
        raise PathError(explain(error, target.label)) from None


def _names_below(root: Path, info: os.stat_result) -> int:
    """How many names a file has below `root`, as far as that can be found out quickly."""
    names, looked, waiting = 0, 0, [os.fspath(root)]
    while waiting and looked < _MOST_NAMES:
        with contextlib.suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                looked += 1
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                elif entry.inode() == info.st_ino:
                    names += entry.stat(follow_symlinks=False).st_dev == info.st_dev
    return names


def create_file(target: WorkspacePath, data: bytes) -> None:
    """Create a file and its directories. Raises PathError if it exists."""
    try:
        with parent_directory(target, create=True) as (directory, name):
            temporary = _temporary_name(name)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(temporary, flags, 0o666, dir_fd=directory)
            try:
                _fill(descriptor, data)
                _link_new(temporary, name, directory)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=directory)
    except FileExistsError:
        raise PathError(f"{target.label} already exists; nothing was written.") from None
    except OSError as error:
        raise PathError(explain(error, target.label)) from None


def _link_new(temporary: str, name: str, directory: int) -> None:
    """Give the finished file its name, never replacing another file."""
    try:
        os.link(temporary, name, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)
    except OSError as error:
        unsupported = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
        if error.errno not in unsupported:
            raise
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)


def _temporary_name(name: str) -> str:
    return f".{name[:80]}.{secrets.token_hex(6)}.tmp"


def _fill(descriptor: int, data: bytes) -> None:
    """Write all data, sync it to disk, and close."""
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _rename_over(target: WorkspacePath, data: bytes, info: os.stat_result) -> bool:
    """Replace the file; False, with nothing changed, if that is not possible."""
    with parent_directory(target) as (directory, name):
        temporary = _temporary_name(name)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(temporary, flags, 0o600, dir_fd=directory)
        except OSError as error:
            if error.errno in CANNOT_REPLACE:
                return False
            raise
        try:
            kept = _keep_attributes(target, descriptor, info)
            _fill(descriptor, data)
            if not kept:  # renaming would change the owner
                return False
            os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
            with contextlib.suppress(OSError):
                os.fsync(directory)
        except OSError as error:
            if error.errno in CANNOT_REPLACE:
                return False
            raise
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=directory)
    return True


def _keep_attributes(target: WorkspacePath, descriptor: int, info: os.stat_result) -> bool:
    """Copy owner, mode and attributes to the new file; False if that is not permitted."""
    new = os.fstat(descriptor)
    if (new.st_uid, new.st_gid) != (info.st_uid, info.st_gid):
        try:
            os.fchown(descriptor, info.st_uid, info.st_gid)
        except OSError:
            return False
    if hasattr(os, "listxattr"):
        source = open_beneath(target.root, target.relative, os.O_RDONLY | os.O_NONBLOCK)
        try:
            for attribute in os.listxattr(source):
                with contextlib.suppress(OSError):
                    os.setxattr(descriptor, attribute, os.getxattr(source, attribute))
        except OSError:  # the file system has none
            pass
        finally:
            os.close(source)
    os.fchmod(descriptor, stat.S_IMODE(info.st_mode))
    return True


def _overwrite(target: WorkspacePath, data: bytes, old: bytes | None = None) -> None:
    """Write in place. What does not fit on the disk fails before a byte is changed where the file
    system can tell, else `old` is put back if it is given."""
    descriptor = open_beneath(target.root, target.relative, os.O_WRONLY | os.O_NONBLOCK)
    with os.fdopen(descriptor, "wb", buffering=0) as stream:
        try:
            _reserve(descriptor, len(data))
            _put(stream, data)
        except OSError:
            if old is not None:
                _put(stream, old)
            raise


def _reserve(descriptor: int, size: int) -> None:
    if size and hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(descriptor, 0, size)
        except OSError as error:  # not every file system has it
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise


def _put(stream: FileIO, data: bytes) -> None:
    stream.seek(0)
    view = memoryview(data)
    while view:
        view = view[stream.write(view) :]
    stream.truncate(len(data))
    os.fsync(stream.fileno())


def _write_in_place(context: ToolContext, target: WorkspacePath, old: bytes, new: bytes) -> None:
    journal = _journal(context)
    journal.mkdir(mode=0o700, parents=True, exist_ok=True)
    entry = journal / secrets.token_hex(8)
    header = {
        "root": str(target.root),
        "relative": target.relative,
        "old": len(old),
        "hash": digest(old + new),
    }
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    _fill(os.open(entry, flags, 0o600), json.dumps(header).encode() + b"\n" + old + new)
    try:
        _overwrite(target, new, old)
    finally:
        # Also after a failure that could not be taken back: `recover` knows a torn file by both.
        with contextlib.suppress(PathError):
            if read_bytes(target, FILE_LIMIT + 1) in (old, new):
                entry.unlink(missing_ok=True)


def _journal(context: ToolContext) -> Path:
    return (context.cache_dir or context.state_dir) / _JOURNAL


def recover(context: ToolContext) -> list[str]:
    """Finish in-place writes that a crash interrupted; returns the labels of the files.

    Changes only files that begin with their new content and end with their old: anything else was
    written since. Runs once per session.
    """
    if context.state.setdefault("files.recovered", False):
        return []
    context.state["files.recovered"] = True
    done = []
    journal = _journal(context)
    for entry in sorted(journal.iterdir()) if journal.is_dir() else []:
        header_line, _, data = entry.read_bytes().partition(b"\n")
        with contextlib.suppress(ValueError, KeyError, TypeError, OSError, PathError):
            header = json.loads(header_line)
            old, new = data[: header["old"]], data[header["old"] :]
            target = WorkspacePath(Path(header["root"]), header["relative"], header["relative"])
            if (
                digest(data) == header["hash"]
                and target.root == Path(os.path.realpath(context.workspace))
                and check_writable(target) is not None
                and _is_torn(read_bytes(target, FILE_LIMIT + 1), old, new)
            ):
                try:
                    _overwrite(target, new)
                except OSError:
                    continue  # for the next session
                done.append(target.label)
        entry.unlink(missing_ok=True)
    return done


def _is_torn(current: bytes, old: bytes, new: bytes) -> bool:
    if current in (old, new):
        return False
    pairs = enumerate(zip(current, new, strict=False))
    written = next((i for i, (a, b) in pairs if a != b), min(len(current), len(new)))
    rest, kept = current[written:], old[written:]
    return rest.startswith(kept) and not rest[len(kept) :].strip(b"\0")  # zeros: room made for it
