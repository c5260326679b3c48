"""Model files on disk: the files of a split model, digests, and names from file names."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel

from laguna_agent.errors import ModelError

OnHashed = Callable[[int, int], None]
"""Called with the bytes hashed so far and the total."""


class Identity(BaseModel):
    """Identifies a file, to tell whether it is still the one whose digest was computed."""

    size: int
    mtime_ns: int
    inode: int
    device: int
    sha256: str


def slug(text: str) -> str:
    """A model's name derived from the name of a file."""
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._")[:100] or "model"


def split_files(path: Path) -> list[Path]:
    """All files of the model whose first file is `path`; only itself unless it is split."""
    match = re.fullmatch(r"(.*)-00001-of-(\d{5})\.gguf", path.name)
    if match is None or not 1 < int(match[2]) < 1000:
        return [path]
    count = int(match[2])
    return [path.with_name(f"{match[1]}-{n:05d}-of-{match[2]}.gguf") for n in range(1, count + 1)]


def first_part(name: str) -> str:
    """The name of the first file of a split model, of which `name` is any; else `name`."""
    return re.sub(r"-\d{5}(-of-\d{5}\.gguf)$", r"-00001\1", name)


def hash_file(path: Path, on_progress: OnHashed | None = None) -> str:
    """sha256 of a file, in hexadecimal."""
    sha = hashlib.sha256()
    done = 0
    try:
        with path.open("rb", buffering=0) as file:
            total = os.fstat(file.fileno()).st_size
            buffer = memoryview(bytearray(4 << 20))
            while count := file.readinto(buffer):
                sha.update(buffer[:count])
                done += count
                if on_progress:
                    on_progress(done, total)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from None
    return sha.hexdigest()


def identity(path: Path, sha256: str) -> Identity:
    """The current identity of the file, with its known digest."""
    try:
        info = path.stat()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from None
    return Identity(
        size=info.st_size,
        mtime_ns=info.st_mtime_ns,
        inode=info.st_ino,
        device=info.st_dev,
        sha256=sha256,
    )
