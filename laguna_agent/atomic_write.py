"""Writes files whole or not at all: a private temporary file beside the target, then a rename.

The temporary file has a random name and is only ever used through its descriptor, so that nobody
who can write to the directory can redirect it.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO


def atomic_write(path: Path, data: str | bytes, *, mode: int = 0o600, sync: bool = False) -> None:
    """Replace `path`, or create it, with `data`. Its directory must exist. Raises OSError.

    Text is written as UTF-8, what that cannot hold as backslash escapes. With `sync` the data is
    on disk when this returns.
    """
    with atomic_stream(path, mode=mode, sync=sync) as file:
        if isinstance(data, str):
            file.write(data)
        else:
            file.buffer.write(data)


@contextlib.contextmanager
def atomic_stream(path: Path, *, mode: int = 0o600, sync: bool = False) -> Iterator[TextIO]:
    """A stream whose content replaces `path` when the block ends, and is dropped if it raises.

    Bytes go to its `buffer`. Otherwise like `atomic_write`.
    """
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:80]}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            os.fchmod(file.fileno(), mode)
            yield file
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
