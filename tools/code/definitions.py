"""Lists the definitions in a repository's files for completion, in a worker process.

Parsing many files takes a while and would delay keys in the interface's own process; a process of
low priority does not. Files are read in order of their last change, at most MAX_FILES of them.

Run as `python -I -m laguna_agent.tools.code.definitions ROOT CACHE SINCE`, with paths relative to
ROOT on standard input, one per line. Prints a `Batch` as JSON per line. Only files changed after
SINCE, in seconds since 1970, are read.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypedDict

from laguna_agent.tools.code.index import IndexCache, read_source
from laguna_agent.tools.code.languages import language_of
from laguna_agent.tools.json_lines import print_lines

MAX_FILES = 50_000
_BATCH = 100


class Batch(TypedDict):
    """The definitions in some of the files."""

    done: int
    """Files read so far."""
    total: int
    """Files to read in all."""
    left_out: int
    """Files beyond MAX_FILES, which are not read."""
    paths: list[str]
    """The files of this batch."""
    found: list[tuple[str, str]]
    """Name and `path:line` of each definition."""


def changed_last(root: Path, paths: Iterable[str], since: float) -> list[str]:
    """Paths of the source files changed after `since`, the latest first."""
    times: dict[str, float] = {}
    for path in paths:
        named = "." in path.rpartition("/")[2][1:]
        if named and language_of(path) is None:
            continue
        with contextlib.suppress(OSError, ValueError):
            info = os.stat(root / path, follow_symlinks=False)
            if stat.S_ISREG(info.st_mode) and info.st_mtime >= since:
                times[path] = info.st_mtime
    return sorted(times, key=lambda path: -times[path])


def batches(root: Path, cache: Path, paths: list[str]) -> Iterator[Batch]:
    """Read the files in batches; the first batch is empty and says how many there are."""
    chosen = paths[:MAX_FILES]
    left_out = len(paths) - len(chosen)
    yield Batch(done=0, total=len(chosen), left_out=left_out, paths=[], found=[])
    for at in range(0, len(chosen), _BATCH):
        some = chosen[at : at + _BATCH]
        source_files = [source for path in some if (source := read_source(root, path)) is not None]
        # A new cache per batch, to free the memory of the last one.
        indexes = IndexCache(cache).indexes(source_files)
        found = [
            (definition.name, f"{path}:{definition.line}")
            for path, index in indexes.items()
            for definition in index.definitions
        ]
        done = at + len(some)
        yield Batch(done=done, total=len(chosen), left_out=left_out, paths=some, found=found)


def main() -> None:
    """List the definitions of one repository."""
    root, cache, since = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
    os.nice(19)
    paths = os.fsdecode(sys.stdin.buffer.read()).split("\n")
    print_lines(batches(root, cache, changed_last(root, filter(None, paths), since)))


if __name__ == "__main__":
    main()
