"""Reading `events.jsonl`, whatever a crash, a full disk or an editor did to it."""

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
"""Below this size a file is read from its beginning; above, `start` is found by bisection."""


@dataclass(frozen=True)
class Tail:
    """How a file of events ends. `torn` bytes at the end are no whole event."""

    size: int
    last_seq: int
    torn: int = 0
    whole_without_newline: bool = False

    def describe(self) -> str:
        """What was lost, for a person."""
        after = f"after event {self.last_seq}" if self.last_seq else "at the beginning"
        return (
            f"the record was cut off {after} ({self.torn} bytes of an unfinished event); "
            "it goes on from there"
        )


def read_tail(path: Path) -> Tail:
    """How the file ends, found from its end: the cost does not depend on its length.

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
    """The stored events of a session directory from number `start` on, of one `kind` if given."""
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


def read_headers(path: Path) -> Iterator[tuple[int, codec.Header]]:
    """Offset and header of each line that has one, without parsing the rest."""
    with path.open("rb") as file:
        offset = 0
        for line in file:
            known = codec.header(line)
            if known is not None:
                yield offset, known
            offset += len(line)


def find_offset(file: BinaryIO, start: int) -> int:
    """Where to begin reading so that no event numbered `start` or higher is missed."""
    low, high = 0, file.seek(0, os.SEEK_END)
    while high - low > _BLOCK:
        middle = (low + high) // 2
        file.seek(middle)
        file.readline()  # the rest of the line we landed in
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
    # `low` begins a line whose number is below `start`, or is the beginning.
    return low


def _first_header(file: BinaryIO) -> codec.Header | None:
    file.seek(0)
    return codec.header(file.read(256))


def _last_line(file: BinaryIO, end: int) -> bytes:
    """What stands between the last newline before `end` and `end`."""
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
    """Number of the last whole event that ends at or before `end`, which follows a newline."""
    while end > 0:
        line = _last_line(file, end - 1)
        seq = _seq_of(line)
        if seq is not None:
            return seq
        end -= len(line) + 1
    return 0


def _seq_of(line: bytes) -> int | None:
    try:
        # The side files do not matter here: the event is whole if its line is.
        return codec.decode(line, Path(), whole=False)[0].seq
    except DamagedLineError:
        return None
