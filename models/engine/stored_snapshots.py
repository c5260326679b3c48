"""What snapshots there are on disk, without reading them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

SUFFIX = ".kv"


def snapshot_files(root: Path) -> Iterator[tuple[Path, float, int]]:
    """Path, time of last use, and bytes of every snapshot of every model."""
    for path in root.glob(f"*/*{SUFFIX}"):
        try:
            info = path.stat()
        except OSError:
            continue
        yield path, info.st_mtime, info.st_size


def stored_snapshots(root: Path) -> tuple[int, int]:
    """Their number and bytes."""
    sizes = [size for _, _, size in snapshot_files(root)]
    return len(sizes), sum(sizes)
