"""The view of the machine that a sandboxed child gets, as a plan of mounts.

The nearest mount above a path decides: the plan is laid from the root down, so a directory can be
hidden and one thing below it shown again. Nothing is created on the machine: a mount needs an
existing place to stand on, and what does not exist is left to `residue`.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from laguna_agent.policy import places
from laguna_agent.policy.repository import git_layout

Kind = Literal["read-only", "writable", "hidden", "tmpfs", "dev", "proc"]

SCRATCH: tuple[str, ...] = ("/tmp", "/var/tmp", "/run", "/dev/shm")
"""Places every process shares; a child gets its own, empty."""

READ_MOSTLY_CACHES: tuple[str, ...] = (
    "Cypress",
    "bazelisk",
    "electron",
    "huggingface",
    "ms-playwright",
    "ms-playwright-go",
    "nltk_data",
    "pre-commit",
    "prisma",
    "puppeteer",
    "selenium",
    "torch",
)
"""Caches a child may read but not change; the others start empty and are its own."""

_TOOL_HOMES = (
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "CARGO_HOME",
    "RUSTUP_HOME",
    "GOPATH",
    "GOROOT",
    "PYENV_ROOT",
    "NVM_DIR",
    "JAVA_HOME",
)
_SHOWN_IN_RUN = ("/run/current-system", "/run/booted-system", "/run/opengl-driver")
_PREFIX_MARKS = ("pyvenv.cfg", "conda-meta", "lib")
_MAX_SOCKETS = 64


@dataclass
class MountPlan:
    """Mounts by destination. Paths are absolute and free of symbolic links."""

    mounts: dict[str, tuple[Kind, str]] = field(default_factory=dict)
    empty: str = "/dev/null"
    """What stands in for a hidden file: an empty one."""

    def add(self, kind: Kind, path: str | Path, source: str | Path | None = None) -> None:
        """Put `source` (the path itself by default) at `path`; a later call replaces it."""
        self.mounts[os.fspath(path)] = (kind, os.fspath(source or path))

    def hide(self, path: str | Path) -> None:
        """Mask `path` where it really is, if it exists."""
        resolved = places.real(path)
        if os.path.lexists(resolved):
            self.add("hidden", resolved)

    def kind_at(self, path: str | Path) -> Kind:
        """What the nearest mount at or above `path` makes of it."""
        text = os.fspath(path)
        while text not in self.mounts and text != "/":
            text = os.path.dirname(text)
        return self.mounts[text][0] if text in self.mounts else "read-only"

    def ordered(self) -> list[tuple[str, Kind, str]]:
        """Destination, kind and source, parents before children."""

        def depth(path: str) -> tuple[int, str]:
            return (0 if path == "/" else path.count("/"), path)

        return [(path, *self.mounts[path]) for path in sorted(self.mounts, key=depth)]

    # Num RefCount Protocol Flags Type St Inode Path; the flag 0x10000 means listening.
    pattern = r"^\S+: \S+ \S+ 0001\d{4} \S+ \S+ +\d+ (/.*)$"
    return list(dict.fromkeys(re.findall(pattern, text, re.MULTILINE)))
