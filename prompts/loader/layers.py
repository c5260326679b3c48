"""Resolves the files of a pack: project and user folders override the built-in ones.

A pack is a stack of folders, nearest first. For pack `laguna`, which extends `base`, these are
the project's `laguna/`, the user's `laguna/`, the built-in `laguna/`, then the three of `base`.
A file is taken from the first folder that has it; `pack.toml` files are merged key by key.
"""

from __future__ import annotations

import contextlib
import fnmatch
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from laguna_agent.errors import UsageError, did_you_mean
from laguna_agent.prompts.loader.manifest import (
    AUTO,
    OWN,
    Manifest,
    check_manifest,
    read_manifest,
)
from laguna_agent.prompts.loader.problems import PackError, Problem
from laguna_agent.toml_errors import key_line

BUILT_IN = Path(__file__).resolve().parents[1]
MANIFEST = "pack.toml"
TOOLS = "tools"
DEFAULT = "laguna"
ROOT = "base"
_SIZE_WEIGHT = 3
"""What a fitting size counts, as characters of a pattern."""


@dataclass(frozen=True)
class Layer:
    """One folder of the stack."""

    pack: str
    directory: Path

    @property
    def built_in(self) -> bool:
        """True for a folder that is part of laguna."""
        return self.directory.parent == BUILT_IN

    def files(self) -> Iterator[str]:
        """Names of the pack's files, relative to this folder, sorted."""
        for path in sorted(self.directory.glob("*")):
            if path.is_file() and path.suffix in (".md", ".toml"):
                yield path.name
        for path in sorted((self.directory / TOOLS).glob("*.md")):
            if path.is_file():
                yield f"{TOOLS}/{path.name}"


@dataclass(frozen=True)
class Stack:
    """The folders of one pack, nearest first, and their merged `pack.toml`."""

    name: str
    layers: tuple[Layer, ...]
    manifest: Manifest
    tree: Mapping[str, Any]

    def find(self, name: str) -> list[Path]:
        """Every version of a file, nearest first."""
        paths = (layer.directory / name for layer in self.layers)
        return [path for path in paths if path.is_file()]

    def position(self, *location: str) -> tuple[Path, int | None]:
        """The nearest `pack.toml` that sets the key at `location`, and the key's line."""
        paths = self.find(MANIFEST)
        for path in paths:
            if _has_key(read_manifest(path), location):
                text = path.read_text(encoding="utf-8-sig")
                return path, key_line(text, location)
        return (paths[0] if paths else self.layers[0].directory), None

    def names(self) -> list[str]:
        """The names of all files in any folder, except `pack.toml`."""
        found = {name for layer in self.layers for name in layer.files()}
        return sorted(found - {MANIFEST})


def _has_key(node: object, location: Sequence[str]) -> bool:
    for key in location:
        if not isinstance(node, Mapping) or key not in node:
            return False
        node = node[key]
    return True


def stamp(directories: Sequence[Path], folders: Sequence[Path]) -> tuple[tuple[str, int, int], ...]:
    """Name, modification time and size of the files of all packs in `directories`, of the built-in
    packs and of the pack `folders`. Cheap, for polling."""
    found = set()
    for directory in (*directories, BUILT_IN):
        with contextlib.suppress(OSError):
            folders = [*folders, *directory.iterdir()]
    for folder in folders:
        for pattern in ("*.md", MANIFEST, f"{TOOLS}/*.md"):
            for path in folder.glob(pattern):
                with contextlib.suppress(OSError):
                    info = path.stat()
                    found.add((str(path), info.st_mtime_ns, info.st_size))
    return tuple(sorted(found))


def pack_names(directories: Sequence[Path]) -> list[str]:
    """Names of all available packs."""
    names: set[str] = set()
    for directory in (*directories, BUILT_IN):
        if directory.is_dir():
            names.update(p.name for p in directory.iterdir() if _is_pack(p))
    return sorted(names)


def _is_pack(path: Path) -> bool:
    if not path.is_dir() or path.name.startswith((".", "_")):
        return False
    return (path / MANIFEST).is_file() or any(path.glob("*.md")) or any(path.glob("tools/*.md"))


def choose_pack(model_name: str, directories: Sequence[Path], *, parameters: int = 0) -> str:
    """The pack with the longest `models` pattern that matches the model's name.

    A pack with `models_below` for models of its size counts like one with a short pattern.
    `parameters` is the model's number of them, from its metadata; 0: its name may tell.
    """
    size = parameters / 1e9 or _size_in(model_name)
    best: tuple[int, str] | None = None
    for name in pack_names(directories):
        own = _own(name, directories)
        below = own.get("models_below")
        if isinstance(below, int | float) and 0 < size < below:
            best = max(best or (0, DEFAULT), (_SIZE_WEIGHT, name))
        patterns = own.get("models", [])
        for pattern in patterns if isinstance(patterns, list) else []:
            if fnmatch.fnmatchcase(model_name.lower(), str(pattern).lower()):
                weight = len(re.sub(r"\[[^]]*\]", "x", str(pattern)).replace("*", ""))
                if best is None or weight > best[0]:
                    best = (weight, name)
    return best[1] if best else DEFAULT


def _size_in(model_name: str) -> float:
    """Billions of parameters that a name tells of (`-1.5b`, `_360m`); 0 where it does not.

    Bits are no parameters (`3bit`, `3.0bpw`), nor are the active ones of a mixture (`30b-a3b`).
    """
    found = re.findall(r"(?<![a-z0-9.])(\d+(?:\.\d+)?)([bm])(?![a-z0-9])", model_name.lower())
    sizes = [float(n) if unit == "b" else float(n) / 1e3 for n, unit in found]
    return max((size for size in sizes if size >= 0.01), default=0.0)


def _own(name: str, directories: Sequence[Path]) -> dict[str, Any]:
    own: dict[str, Any] = {}
    for layer in reversed(_layers(name, directories)):
        path = layer.directory / MANIFEST
        if path.is_file():
            own.update({k: v for k, v in read_manifest(path).items() if k in OWN})
    return own


def _layers(name: str, directories: Sequence[Path]) -> list[Layer]:
    folders = [directory / name for directory in (*directories, BUILT_IN)]
    return [Layer(name, folder) for folder in folders if _is_pack(folder)]


def build_stack(
    name: str,
    directories: Sequence[Path],
    *,
    model_name: str,
    parameters: int = 0,
    folder: Path | None = None,
) -> Stack:
    """Build the stack of a pack by following `extends` from `name` to the root.

    `folder` is a pack outside `directories` (`--pack DIR`). Raises PackError, or UsageError when
    there is no pack of that name.
    """
    layers: list[Layer] = []
    trees: list[tuple[Path, dict[str, Any]]] = []
    own: set[Path] = set()
    seen: list[str] = []
    current: str | None = name
    extended_at: tuple[Path, int | None] | None = None
    while current is not None:
        here = [Layer(name, folder)] if folder else _layers(current, directories)
        label = str(folder) if folder else current
        folder = None
        if not here:
            raise _unknown(current, extended_at, directories)
        if label in seen:
            path, line = extended_at or (here[0].directory / MANIFEST, None)
            cycle = " → ".join([*seen, label])
            raise PackError([Problem(path, line, f"packs extend each other in a cycle: {cycle}")])
        seen.append(label)
        layers += here
        own = own or {layer.directory for layer in here}
        parent: str | None = None
        for layer in here:
            path = layer.directory / MANIFEST
            if not path.is_file():
                continue
            tree = read_manifest(path)
            trees.append((path, tree))
            if parent is None and tree.get("extends"):
                parent = str(tree["extends"])
                extended_at = (path, key_line(path.read_text(encoding="utf-8-sig"), ["extends"]))
        if parent == AUTO:
            parent = choose_pack(model_name, directories, parameters=parameters)
            parent = DEFAULT if parent in seen else parent
        current = parent or (None if current == ROOT else ROOT)
    total: dict[str, Any] = {}
    manifest = Manifest()
    for path, tree in reversed(trees):
        merge_tables(total, {k: v for k, v in tree.items() if path.parent in own or k not in OWN})
        manifest = check_manifest(total, path)
    return Stack(name, tuple(layers), manifest, total)


def merge_tables(base: dict[str, Any], over: Mapping[str, Any]) -> None:
    """Merge `over` into `base` in place, table by table; lists and values are replaced."""
    for key, value in over.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), dict):
            merge_tables(base[key], value)
        elif isinstance(value, Mapping):
            base[key] = {}
            merge_tables(base[key], value)
        else:
            base[key] = value


def _unknown(
    name: str, extended_at: tuple[Path, int | None] | None, directories: Sequence[Path]
) -> UsageError:
    fix = did_you_mean(name, pack_names(directories))
    if extended_at:
        return PackError(
            [Problem(extended_at[0], extended_at[1], f"extends an unknown pack `{name}`", fix)]
        )
    return UsageError(f"there is no prompt pack `{name}`", hint=fix)
