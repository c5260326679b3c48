"""What the files of a repository define, for a person to choose from, in a process of its own.

Parsing many files takes a while; beside the interface it would delay keys, and a process of low
priority delays nothing. The files changed last come first, and at most MAX_FILES are read.

Run as `python -I -m laguna_agent.tools.code.definitions ROOT CACHE SINCE`, with paths relative to
ROOT on standard input, a line each. Prints a `Batch` as JSON on a line for some files at a time.
Only files that changed after SINCE, in seconds since 1970, are read.
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
    """What some files define."""

    done: int
    """Files that were read so far."""
    total: int
    """Files that are to be read."""
    left_out: int
    """Files beyond MAX_FILES, which are not."""
    paths: list[str]
    """The files of this batch."""
    found: list[tuple[str, str]]
    """Name and `path:line` of each definition."""


def changed_last(root: Path, paths: Iterable[str], since: float) -> list[str]:
    """The paths of source files changed after `since`, the newest first."""
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
    """Read files; the first batch comes before any of them was."""
    chosen = paths[:MAX_FILES]
    left_out = len(paths) - len(chosen)
    yield Batch(done=0, total=len(chosen), left_out=left_out, paths=[], found=[])
    for at in range(0, len(chosen), _BATCH):
        some = chosen[at : at + _BATCH]
        source_files = [source for path in some if (source := read_source(root, path)) is not None]
        # A cache of its own for each: what it holds in memory is of no use any more.
        indexes = IndexCache(cache).indexes(source_files)
        found = [
            (definition.name, f"{path}:{definition.line}")
            for path, index in indexes.items()
            for definition in index.definitions
        ]
        done = at + len(some)
        yield Batch(done=done, total=len(chosen), left_out=left_out, paths=some, found=found)


def main() -> None:
    """Serve one repository."""
    root, cache, since = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
    os.nice(19)
    paths = os.fsdecode(sys.stdin.buffer.read()).split("\n")
    print_lines(batches(root, cache, changed_last(root, filter(None, paths), since)))


if __name__ == "__main__":
    main()
