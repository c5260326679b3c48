"""Searches without ripgrep: walks, decodes and matches, in a worker process.

A regular expression in Python can run forever and cannot be interrupted; a process can. This also
handles what ripgrep does not: lookaround, back references, and showing a match that spans lines
or is far inside a long one.

Run as `python -I -m laguna_agent.tools.files.text_scan` with a `ScanJob` as JSON on standard input;
prints a JSON list of the fields of `SearchHit` per match.
"""

from __future__ import annotations

import itertools
import json
import re
import sys
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, TypedDict

from laguna_agent.tools.files.encoding import decode, printable
from laguna_agent.tools.files.file_names import Globs
from laguna_agent.tools.files.walk import walk
from laguna_agent.tools.json_lines import print_lines

FILE_LIMIT = 16 << 20
TEXT_LIMIT = 500
"""Characters of a matching line that are kept."""
_BEFORE = 100
"""Characters kept before a match in a longer line."""
_PER_LINE = 20
"""Matches shown of a longer line."""
_LINES = 12
"""Lines kept of a match that spans lines."""
_SPANNING = re.compile(r"\n|(?<!\\)(?:\\\\)*\\n|\(\?[aimux]*s")
_WALK_LIMIT = 100_000


class ScanJob(TypedDict):
    """What to search for, in a file or directory `start` below `root`, or in `paths` if given."""

    root: str
    start: str
    paths: list[str] | None
    globs: list[str]
    pattern: str
    literal: bool
    ignore_case: bool
    limit: int


class SearchHit(NamedTuple):
    """A match: its 1-based line and column, and the line's text from column `start` on.

    A match that spans lines has all of them. An empty path says that not all files were searched.
    """

    path: str
    line: int
    column: int
    text: str
    start: int = 1


def compiled(pattern: str, *, literal: bool, ignore_case: bool) -> re.Pattern[str]:
    """The expression. Raises re.error."""
    flags = re.MULTILINE | (re.IGNORECASE if ignore_case else 0)
    warnings.simplefilter("ignore", FutureWarning)  # `[[:alpha:]]` means something to ripgrep
    return re.compile(re.escape(pattern) if literal else pattern, flags)


def spans_lines(pattern: str, *, literal: bool) -> bool:
    """Whether a pattern is meant to match across the ends of lines."""
    return "\n" in pattern if literal else _SPANNING.search(pattern) is not None


def scan_text(path: str, text: str, expression: re.Pattern[str]) -> Iterator[SearchHit]:
    """The first match of each line; of a long line several, each with the text around it."""
    for number, line in enumerate(text.split("\n"), 1):
        if len(line) <= TEXT_LIMIT:
            match = expression.search(line)
            if match is not None:
                yield SearchHit(path, number, match.start() + 1, line)
            continue
        for match in itertools.islice(expression.finditer(line), _PER_LINE):
            start = max(0, min(match.start() - _BEFORE, len(line) - TEXT_LIMIT))
            yield SearchHit(
                path, number, match.start() + 1, line[start : start + TEXT_LIMIT], start + 1
            )


def scan_across_lines(path: str, text: str, expression: re.Pattern[str]) -> Iterator[SearchHit]:
    """The first match that begins in each line of a whole text, with the lines that it spans."""
    number, counted, done = 1, 0, 0
    for match in expression.finditer(text):
        begin = text.rfind("\n", 0, match.start()) + 1
        if begin < done:
            continue
        number += text.count("\n", counted, begin)
        counted = begin
        end = text.find("\n", max(match.start(), match.end() - 1))
        first, *more = text[begin : end if end >= 0 else len(text)].split("\n")
        done = begin + len(first) + 1
        start = max(0, match.start() - begin - _BEFORE) if len(first) > TEXT_LIMIT else 0
        kept = [first[start:], *more[: _LINES - 1], *(["…"] if len(more) >= _LINES else [])]
        shown = "\n".join(line[:TEXT_LIMIT] for line in kept)
        yield SearchHit(path, number, match.start() - begin + 1, shown, start + 1)


def _read(root: Path, relative: str) -> bytes | None:
    from laguna_agent.tools.files.workspace import PathError, WorkspacePath, read_bytes

    try:
        data = read_bytes(WorkspacePath(root, relative, relative), FILE_LIMIT + 1)
    except PathError:
        return None
    return data if len(data) <= FILE_LIMIT else None


def scan(job: ScanJob) -> Iterator[SearchHit]:
    """At most `limit` matches."""
    expression = compiled(job["pattern"], literal=job["literal"], ignore_case=job["ignore_case"])
    across = spans_lines(job["pattern"], literal=job["literal"])
    scan_one = scan_across_lines if across else scan_text
    root, start = Path(job["root"]), job["start"]
    globs = Globs(job["globs"], root=job["root"], folder=start)
    paths: Iterable[str] = [start]
    if job["paths"] is not None:
        paths = job["paths"]
    elif (root / start).is_dir():
        entries = walk(root, start, limit=_WALK_LIMIT + 1)
        paths = (entry.relative for entry in entries if entry.size <= FILE_LIMIT)
    found = 0
    for count, path in enumerate(paths):
        if count == _WALK_LIMIT:
            yield SearchHit("", 0, 0, f"only {_WALK_LIMIT:,} files were searched, to {path}")
            return
        if not globs.match(path):
            continue
        data = _read(root, path)
        document = decode(data) if data else None
        if document is None:
            continue
        for hit in scan_one(path, document.text, expression):
            yield hit._replace(text=printable(hit.text))
            found += 1
            if found >= job["limit"]:
                return


def main() -> None:
    """Run the job on standard input."""
    job: ScanJob = json.load(sys.stdin)
    try:
        print_lines(scan(job))
    except re.error as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)  # 1 is how ripgrep says that there is no match


if __name__ == "__main__":
    main()
