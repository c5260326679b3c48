"""The installed models: files, names, and the choice of one.

Model files are in one directory, with an index. The index adds what a file does not say (its name,
digest and origin); files put there by hand are found as well.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from laguna_agent.atomic_write import atomic_write
from laguna_agent.byte_sizes import gigabytes
from laguna_agent.config import Config
from laguna_agent.errors import ModelError
from laguna_agent.file_lock import locked
from laguna_agent.models.catalogue import (
    DEFAULT,
    STARTER,
    Catalogued,
    ModelEntry,
    load_catalogue,
)
from laguna_agent.models.gguf import GgufHeader, read_header, require_supported
from laguna_agent.models.model_files import (
    Identity,
    OnHashed,
    hash_file,
    identity,
    slug,
    split_files,
)
from laguna_agent.models.sizing.fit import require_fit
from laguna_agent.paths import models_dir

_MOST_DIGESTS = 500


class IndexEntry(BaseModel):
    """The index's entry of a file. `linked` is the original path of an imported file."""

    file: str
    sha256: str | None = None
    source: str = ""
    linked: str | None = None
    added: str = ""


class _Index(BaseModel):
    version: int = 1
    default: str | None = None
    models: dict[str, IndexEntry] = {}
    recorded: dict[str, str] = {}
    """Digests of first downloads by name, for files that the catalogue does not pin."""
    digests: dict[str, Identity] = {}
    """Computed digests by path, valid while the file is unchanged."""


@dataclass(frozen=True)
class Installed:
    """An installed model file. `size` is in bytes, 0 when the file is gone."""

    name: str
    path: Path
    size: int
    sha256: str | None
    source: str
    linked: str | None
    known: Catalogued | None

    @property
    def present(self) -> bool:
        """False when an imported file was removed."""
        return self.size > 0


@dataclass(frozen=True)
class ResolvedModel:
    """An installed model that can be loaded."""

    path: Path
    name: str
    sha256: str
    entry: ModelEntry | None
    header: GgufHeader


class Store:
    """The directory of model files. Every change is atomic and made under a lock."""

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = directory or models_dir()

    def installed(self) -> list[Installed]:
        """All installed models, sorted by name."""
        index = self._read()
        found = {name: self._installed(name, entry) for name, entry in index.models.items()}
        files = [self.directory / entry.file for entry in index.models.values()]
        listed = {part for file in files for part in split_files(file)}
        for path in sorted(self.directory.glob("*.gguf")):
            listed.update(split_files(path)[1:])
            if path not in listed and path.is_file():
                name = catalogue_name(path.name) or slug(path.stem)
                found.setdefault(name, self._installed(name, IndexEntry(file=path.name)))
        return [found[name] for name in sorted(found)]

    def find(self, name: str) -> Installed | None:
        """The installed model with this name or alias.

        The name of a catalogue's model without a quantisation also finds its other ones.
        """
        installed = {one.name: one for one in self.installed()}
        if name in installed:
            return installed[name]
        known = load_catalogue().find(name)
        if known is None:
            return installed.get(name.lower())
        if known.name in installed or ":" in name:
            return installed.get(known.name)
        same = (one for one in installed.values() if one.known and one.known.entry == known.entry)
        return next(same, None)

    def add(self, name: str, entry: IndexEntry) -> Installed:
        """Add a file of the directory to the index."""
        stamped = entry.model_copy(update={"added": time.strftime("%Y-%m-%d", time.gmtime())})
        with self._changing() as index:
            index.models[name] = stamped
            if entry.sha256 and len(split_files(self.directory / entry.file)) == 1:
                known = identity(self.directory / entry.file, entry.sha256)
                index.digests[str(self.directory / entry.file)] = known
        return self._installed(name, stamped)

    def remove(self, name: str) -> Installed:
        """Remove a model's file (only the link if it was imported) and partial downloads of it."""
        found = self.find(name)
        if found is None:
            raise ModelError(
                f"{name} is not installed", hint="`laguna models list --installed` shows what is."
            )
        for path in split_files(found.path):
            for end in ("", ".part", ".part.json"):
                path.with_name(path.name + end).unlink(missing_ok=True)
        with self._changing() as index:
            index.models.pop(found.name, None)
            index.digests.pop(str(found.path), None)
            if index.default == found.name:
                index.default = None
        return found

    @property
    def default(self) -> str | None:
        """Name of the model chosen as the default."""
        return self._read().default

    def set_default(self, name: str | None) -> None:
        """Set the default; None lets laguna choose."""
        with self._changing() as index:
            index.default = name

    def preferred(self) -> str | None:
        """The model that laguna chooses when there is no default: the best one installed."""
        best = _best(self)
        return best.name if best else None

    def recorded(self, name: str) -> str | None:
        """The digest of the first download of `name`."""
        return self._read().recorded.get(name)

    def record(self, name: str, sha256: str) -> None:
        """Record the digest of a first download."""
        with self._changing() as index:
            index.recorded[name] = sha256

    def know_digest(self, path: Path, sha256: str) -> None:
        """Keep the digest that a file had when it was fetched."""
        with self._changing() as index:
            index.digests[str(path.resolve())] = identity(path, sha256)

    def digest(self, path: Path, on_progress: OnHashed | None = None) -> str:
        """sha256 of a model file, computed once while the file is unchanged.

        For a split model it is the sha256 of the joined hexadecimal digests of its files.
        """
        parts = split_files(path)
        if len(parts) == 1:
            return self._digest_one(path, on_progress)
        joined = "".join(self._digest_one(part, on_progress) for part in parts)
        return hashlib.sha256(joined.encode()).hexdigest()

    def _digest_one(self, path: Path, on_progress: OnHashed | None) -> str:
        key = str(path.resolve())
        before = identity(path, "")
        for known in (key, str(path)):
            cached = self._read().digests.get(known)
            if cached and cached.model_copy(update={"sha256": ""}) == before:
                return cached.sha256
        sha256 = hash_file(path, on_progress)
        if identity(path, "") != before:
            raise ModelError(f"{path} changed while it was read", hint="Try again.")
        with self._changing() as index:
            index.digests[key] = before.model_copy(update={"sha256": sha256})
        return sha256

    def _installed(self, name: str, entry: IndexEntry) -> Installed:
        path = self.directory / entry.file
        parts = split_files(path)
        size = sum(part.stat().st_size for part in parts) if all(p.exists() for p in parts) else 0
        known = load_catalogue().find(name)
        return Installed(name, path, size, entry.sha256, entry.source, entry.linked, known)

    def _read(self) -> _Index:
        path = self.directory / "index.json"
        try:
            index = _Index.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return _Index()
        except OSError as error:
            raise ModelError(f"{path} cannot be read: {error.strerror}") from None
        except ValidationError:
            # Everything in it can be recomputed, so a damaged index is no reason to stop.
            return _Index()
        if index.version > 1:
            raise ModelError(f"{path} was written by a newer laguna", hint="Update laguna.")
        inside = {n: e for n, e in index.models.items() if Path(e.file).name == e.file}
        return index.model_copy(update={"models": inside})

    @contextmanager
    def _changing(self) -> Iterator[_Index]:
        path = self.directory / "index.json"
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            with locked(self.directory / ".index.lock"):
                index = self._read()
                yield index
                while len(index.digests) > _MOST_DIGESTS:
                    index.digests.pop(next(iter(index.digests)))
                atomic_write(path, _dump(index.model_dump()))
        except OSError as error:
            raise ModelError(f"{path} cannot be written: {error.strerror}") from None


def resolve(
    name_or_path: str | None,
    config: Config,
    *,
    store: Store | None = None,
    on_progress: OnHashed | None = None,
) -> ResolvedModel:
    """The model to use: the given one, else the configured, the default, or the best installed.

    Checks that the file is a complete GGUF of a known architecture that fits this machine
    (`require_fit` checks the free memory when it is about to be loaded). The digest is computed at
    the first use. Raises ModelError of one or two lines.
    """
    from laguna_agent.models.servers.providers import provider_of

    store = store or Store()
    wanted = name_or_path or config.model or store.default
    if wanted and provider_of(wanted, config.providers):
        raise ModelError(
            f"{wanted} is on a server, and this needs a model file",
            hint="`laguna models list --installed` lists those here.",
        )
    provider, slash, _ = (wanted or "").partition("/")
    if wanted and slash and not is_path(wanted) and store.find(wanted) is None:
        known_ones = ", ".join(sorted(config.providers)) or "none"
        raise ModelError(
            f"{wanted}: there is no provider `{provider}` in config.toml (there: {known_ones})",
            hint="laguna config edit  adds [providers.NAME] with its url.",
        )
    path, name, known = _locate(wanted, store)
    header = read_header(path)
    require_supported(header, path)
    require_fit(name, header, config.engine, free=False)
    sha256 = store.digest(path, on_progress)
    known = load_catalogue().by_digest(sha256) or known
    return ResolvedModel(path, name, sha256, known.entry if known else None, header)


def _locate(wanted: str | None, store: Store) -> tuple[Path, str, Catalogued | None]:
    if wanted is None:
        found = _best(store)
        if found is None:
            raise _none_installed()
    elif is_path(wanted):
        path = Path(wanted).expanduser().absolute()
        return path, catalogue_name(path.name) or slug(path.stem), None
    else:
        found = store.find(wanted)
    if found is None:
        known = load_catalogue().get(wanted or "")
        quantisation = f":{known.file.quantization.lower()}" if ":" in (wanted or "") else ""
        raise ModelError(
            f"{known.name} is not installed",
            hint=f"Fetch it: laguna models pull {known.entry.name}{quantisation}",
        )
    parts = split_files(found.path)
    there = sum(part.exists() for part in parts)
    if 0 < there < len(parts):
        raise ModelError(
            f"{found.name} is not complete: {there} of its {len(parts)} files are there",
            hint="Run the same `laguna models pull` again to fetch the rest.",
        )
    if not found.present:
        raise ModelError(
            f"{found.name} is missing: its file was {found.linked or found.path}",
            hint=f"Import it again, or remove it: laguna models remove {found.name}",
        )
    return found.path, found.name, found.known


def _best(store: Store) -> Installed | None:
    installed = [one for one in store.installed() if one.present]
    order = {DEFAULT: 0, STARTER: 2}

    def rank(one: Installed) -> tuple[int, str]:
        return order.get(one.known.entry.name if one.known else one.name, 1), one.name

    return min(installed, key=rank, default=None)


def _none_installed() -> ModelError:
    starter = load_catalogue().get(STARTER)
    return ModelError(
        "no model is installed",
        hint=f"laguna models pull {DEFAULT} (recommended; fetches the quantisation that fits)  or  "
        f"laguna models pull starter ({gigabytes(starter.file.size)}, for a first try)",
    )


def is_path(text: str) -> bool:
    """Whether a model is given as a path rather than by name."""
    return text.endswith(".gguf") or text.startswith(("/", "./", "../", "~"))


def catalogue_name(file: str) -> str | None:
    """Name of the catalogue's model with this file name; None if there is none."""
    names = {one.file.file.lower(): one.name for one in load_catalogue().all_files()}
    return names.get(file.lower())


def _dump(data: dict[str, Any]) -> str:
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"
