"""Searches without ripgrep: walks, decodes and matches, in a worker process.

A regular expression in Python can run forever and cannot be interrupted; a process can. This also
handles expressions that ripgrep does not support (lookaround, back references).

Run as `python -I -m laguna_agent.tools.files.text_scan` with a `ScanJob` as JSON on standard input;
prints one JSON list `[path, line, column, text]` per matching line.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

from laguna_agent.tools.files.encoding import decode, printable
from laguna_agent.tools.files.walk import walk
from laguna_agent.tools.json_lines import print_lines

FILE_LIMIT = 16 << 20
TEXT_LIMIT = 500


class ScanJob(TypedDict):
    """What to search for, in a file or directory `start` below `root`."""

    root: str
    start: str
    pattern: str
    literal: bool
    ignore_case: bool
    limit: int


def compiled(pattern: str, *, literal: bool, ignore_case: bool) -> re.Pattern[str]:
    """The expression. Raises re.error."""
    flags = re.MULTILINE | (re.IGNORECASE if ignore_case else 0)
    return re.compile(re.escape(pattern) if literal else pattern, flags)


def scan_text(text: str, expression: re.Pattern[str]) -> Iterator[tuple[int, int, str]]:
    """The 1-based line, 1-based column and text of each matching line."""
    for number, line in enumerate(text.split("\n"), 1):
        match = expression.search(line)
        if match is not None:
            yield number, match.start() + 1, line[:TEXT_LIMIT]


def _read(root: Path, relative: str) -> bytes | None:
    from laguna_agent.tools.files.workspace import PathError, WorkspacePath, read_bytes

    try:
        data = read_bytes(WorkspacePath(root, relative, relative), FILE_LIMIT + 1)
    except PathError:
        return None
    return data if len(data) <= FILE_LIMIT else None


def scan(job: ScanJob) -> Iterator[tuple[str, int, int, str]]:
    """Path, line, column and text of at most `limit` matching lines."""
    expression = compiled(job["pattern"], literal=job["literal"], ignore_case=job["ignore_case"])
    root, start = Path(job["root"]), job["start"]
    if (root / start).is_dir():
        paths = [entry.relative for entry in walk(root, start) if entry.size <= FILE_LIMIT]
    else:
        paths = [start]
    found = 0
    for path in paths:
        data = _read(root, path)
        document = decode(data) if data else None
        if document is None:
            continue
        for number, column, text in scan_text(document.text, expression):
            yield path, number, column, printable(text)
            found += 1
            if found >= job["limit"]:
                return


def main() -> None:
    """Run the job on standard input."""
    job: ScanJob = json.load(sys.stdin)
    print_lines(scan(job))


if __name__ == "__main__":
    main()
