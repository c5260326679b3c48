"""Reads `events.jsonl`, whatever a crash, a full disk or an editor did to it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from laguna_agent.trajectory import codec
from laguna_agent.trajectory.codec import DamagedLineError, StoredEvent

_BLOCK = 65_536
_SCAN_BYTES = 1_048_576
"""Smaller files are read from their beginning; in larger ones bisection finds `start`."""


@dataclass(frozen=True)
class Tail:
    """How a file of events ends. `torn` is the number of bytes of an unfinished last event."""

    size: int
    last_seq: int
    torn: int = 0
    whole_without_newline: bool = False

    def describe(self) -> str:
        """What was lost, for the user."""
        after = f"after event {self.last_seq}" if self.last_seq else "at the beginning"
        return (
            f"the record was cut off {after} ({self.torn} bytes of an unfinished event); "
            "new events continue from there"
        )


def read_tail(path: Path) -> Tail:
    """Read how a file ends, from its end: the cost does not depend on its length.

    Raises UsageError when the last event was written by a newer laguna.
    """
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        first = _first_header(file)
        if first is not None:
            codec.refuse_newer(first.version)
        rest = _last_line(file, size)
        if not rest:
            return Tail(size, _last_seq_before(file, size))
        seq = _seq_of(rest)
        if seq is not None:
            return Tail(size, seq, whole_without_newline=True)
        return Tail(size, _last_seq_before(file, size - len(rest)), torn=len(rest))


def read_events(
    directory: Path, start: int, *, whole: bool, problems: list[str], kind: str | None = None
) -> Iterator[StoredEvent]:
    """The events of a session directory from number `start` on, of one type if `kind` is given.

    Damaged lines are skipped and described in `problems`.
    """
    blobs = directory / "blobs"
    with (directory / "events.jsonl").open("rb") as file:
        if start > 1 and os.fstat(file.fileno()).st_size > _SCAN_BYTES:
            file.seek(find_offset(file, start))
        while line := file.readline():
            if start > 1 or kind:
                known = codec.header(line)
                if known is not None and (known.seq < start or (kind and known.type != kind)):
                    continue
            offset = file.tell() - len(line)
            try:
                stored, missing = codec.decode(line, blobs, whole=whole)
            except DamagedLineError as error:
                if line.strip(b"\0 \r\n"):
                    problems.append(f"a damaged line at byte {offset} was skipped: {error}")
                elif line.strip(b"\r\n"):
                    problems.append(f"{len(line)} blank bytes at byte {offset} were skipped")
                continue
            problems.extend(missing)
            if stored.seq >= start and kind in (None, stored.event.type):
                yield stored


def find_offset(file: BinaryIO, start: int) -> int:
    """An offset from which reading misses no event numbered `start` or higher."""
    low, high = 0, file.seek(0, os.SEEK_END)
    while high - low > _BLOCK:
        middle = (low + high) // 2
        file.seek(middle)
        file.readline()  # the rest of the line at this offset
        position, known = file.tell(), None
        while position < high and (line := file.readline()):
            known = codec.header(line)
            if known is not None:
                break
            position = file.tell()
        if known is not None and position < high and known.seq < start:
            low = position
        else:
            high = middle
    # `low` is the beginning of the file or of a line whose number is below `start`.
    return low


def _first_header(file: BinaryIO) -> codec.Header | None:
    file.seek(0)
    return codec.header(file.read(256))


def _last_line(file: BinaryIO, end: int) -> bytes:
    """The bytes between the last newline before `end` and `end`."""
    pieces: list[bytes] = []
    position = end
    while position > 0:
        begin = max(0, position - _BLOCK)
        file.seek(begin)
        block = file.read(position - begin)
        cut = block.rfind(b"\n")
        if cut >= 0:
            pieces.append(block[cut + 1 :])
            break
        pieces.append(block)
        position = begin
    return b"".join(reversed(pieces))


def _last_seq_before(file: BinaryIO, end: int) -> int:
    """Number of the last whole event before `end`, which follows a newline; 0 if none."""
    while end > 0:
        line = _last_line(file, end - 1)
        seq = _seq_of(line)
        if seq is not None:
            return seq
        end -= len(line) + 1
    return 0


def _seq_of(line: bytes) -> int | None:
    try:
        # Blobs do not matter here: the event is whole if its line is.
        return codec.decode(line, Path(), whole=False)[0].seq
    except DamagedLineError:
        return None
