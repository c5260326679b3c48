"""What a sandboxed child sees of the machine, as a plan of mounts.

The nearest mount at or above a path decides: mounts are ordered from the root down, so a directory
can be hidden and one path below it shown again. Nothing is created on the machine: a mount needs
an existing mount point. A new `.laguna` is not trusted, and `quarantine` handles the rest.
When somebody outside replaces a mounted file, its mount is gone: see `Bubblewrap.protected`.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from laguna_agent.policy import sensitive_paths
from laguna_agent.policy.git_directories import Found
from laguna_agent.policy.git_layout import git_layout
from laguna_agent.policy.mount_check import inode_without_links

Kind = Literal["read-only", "writable", "hidden", "tmpfs", "dev", "proc"]

SCRATCH: tuple[str, ...] = ("/tmp", "/var/tmp", "/run")
"""Directories that all processes share; a child gets empty ones of its own."""

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
"""Caches that a child can read but not change; others start empty and private."""

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
_PREFIX_MARKS = ("pyvenv.cfg", "conda-meta", "lib")
_SAMPLE = 200
"""Files of a folder of packages that are looked at."""
_SHOWN_IN_RUN = ("/run/current-system", "/run/booted-system", "/run/opengl-driver")


@dataclass
class MountPlan:
    """Mounts by destination. Paths are absolute and free of symbolic links."""

    mounts: dict[str, tuple[Kind, str]] = field(default_factory=dict)
    empty: str = "/dev/null"
    """The empty file that is mounted over a hidden file."""
    masked: set[object] = field(default_factory=set)
    """The sockets that are hidden, and folders of them."""
    inside: dict[str, str] = field(default_factory=dict)
    """The mounts below what a child can write, with their inodes; none for what hides a path."""

    def add(self, kind: Kind, path: str | Path, source: str | Path | None = None) -> None:
        """Mount `source` (by default the path itself) at `path`; a later call replaces it."""
        self.mounts[os.fspath(path)] = (kind, os.fspath(source or path))

    def hide(self, path: str | Path) -> None:
        """Hide the resolved `path`, if it exists."""
        place = sensitive_paths.real(path)
        if os.path.lexists(path) and not sensitive_paths.is_under(place, "/proc"):
            self.add("hidden", place)

    def kind_at(self, path: str | Path) -> Kind:
        """The kind of the nearest mount at or above `path`."""
        text = os.fspath(path)
        while text not in self.mounts and text != "/":
            text = os.path.dirname(text)
        return self.mounts[text][0] if text in self.mounts else "read-only"

    def ordered(self) -> list[tuple[str, Kind, str]]:
        """Destination, kind and source, parents before children."""

        def depth(path: str) -> tuple[int, str]:
            return (0 if path == "/" else path.count("/"), path)

        return [(path, *self.mounts[path]) for path in sorted(self.mounts, key=depth)]

    def arguments(self) -> list[str]:
        """The plan as bubblewrap options."""
        options: list[str] = []
        for path, kind, source in self.ordered():
            match kind:
                case "dev":
                    options += ["--dev", path]
                case "proc":
                    options += ["--proc", path]
                case "tmpfs":
                    options += ["--tmpfs", path]
                case "read-only":
                    options += ["--ro-bind", source, path]
                case "writable":
                    options += ["--bind", source, path]
                case "hidden":
                    if os.path.isdir(path):
                        options += ["--tmpfs", path]
                    else:
                        options += ["--ro-bind", self.empty, path]
        return options


def plan_mounts(
    *,
    workspace: Path,
    writable: Sequence[Path] = (),
    hidden: Sequence[Path] = (),
    read_only: Sequence[Path] = (),
    shown: Sequence[Path] = (),
    network: bool = False,
    cache: Path | None = None,
    empty: Path | None = None,
    environment: Mapping[str, str] | None = None,
    repositories: Found | None = None,
) -> MountPlan:
    """The plan for one child.

    `workspace` and `writable` are writable, except for the protected parts of `.git` and
    `.laguna`; `hidden` and `read_only` come from rules; `shown` are directories of laguna's
    own that the child uses; `cache` replaces the user's cache directory, and `empty` hidden files.
    `repositories` are those in the workspace.
    """
    environment = os.environ if environment is None else environment
    root = Path(sensitive_paths.real(workspace))
    plan = MountPlan(empty=os.fspath(empty or "/dev/null"))
    plan.add("read-only", "/")
    plan.add("dev", "/dev")
    plan.add("proc", "/proc")
    for place in kernel_settings():
        plan.add("read-only", place)
    for place in SCRATCH:
        if os.path.isdir(place) and not os.path.islink(place):
            plan.add("tmpfs", place)
    for place in _SHOWN_IN_RUN:
        if os.path.exists(place):
            plan.add("read-only", place, sensitive_paths.real(place))
    # A Python environment in a temporary directory is a tool like any other.
    environments = dict.fromkeys(
        [sensitive_paths.real(sys.prefix), sensitive_paths.real(sys.base_prefix)]
    )
    for place in (sensitive_paths.real(sensitive_paths.home()), *environments):
        if plan.kind_at(place) == "tmpfs" and os.path.isdir(place):
            plan.add("read-only", place)
    if network:
        _show_resolver(plan)
    _mask_home(plan, cache, environment)
    for secret in sensitive_paths.SYSTEM_SECRETS:
        plan.hide(secret)
    for own in sensitive_paths.laguna_directories():
        if sensitive_paths.is_under(own, root):
            own.mkdir(parents=True, exist_ok=True, mode=0o700)
        plan.hide(own)
    _show_tools(plan, environment)
    for path in writable:
        # A child that can write the folder above may have put a link in its place.
        is_own = os.path.exists(path) and sensitive_paths.real(path) == os.fspath(path)
        if is_own and not _is_laguna_s(os.fspath(path)):
            plan.add("writable", path)
    plan.add("writable", root)
    for path, kind in git_layout(root, repositories).mounts():
        plan.add(kind, path)
    for base in (root, *writable):
        own_settings = Path(sensitive_paths.real(base)) / ".laguna"
        if not own_settings.is_symlink() and own_settings.exists():
            plan.add("read-only", own_settings)
    for folder in linked_packages(root):
        if not any(sensitive_paths.is_under(folder, sensitive_paths.real(w)) for w in writable):
            plan.add("read-only", folder)
    for path in read_only:
        place = sensitive_paths.real(path)
        if os.path.exists(path) and plan.kind_at(place) == "writable":  # and not what is hidden
            plan.add("read-only", place)
    for path in hidden:
        plan.hide(path)
    for path in shown:
        plan.add("read-only", sensitive_paths.real(path))
    _mask_sockets(plan, [root, *map(Path, writable)])
    _leave_out_links(plan, [root, *writable])
    return plan


def _leave_out_links(plan: MountPlan, writable: Iterable[Path]) -> None:
    """Leave out what a child may have led elsewhere: a mount would follow."""
    tops = [sensitive_paths.real(path) for path in writable]
    for path, (kind, source) in list(plan.mounts.items()):
        if any(path != top and sensitive_paths.is_under(path, top) for top in tops):
            inode = inode_without_links(path)
            if inode is None:
                del plan.mounts[path]
            else:
                plan.inside[path] = inode if kind != "hidden" and source == path else ""


def kernel_settings(proc: str = "/proc") -> list[str]:
    """What is in `/proc` and not about processes: written by root, it changes the whole machine.

    Dropped capabilities do not protect it, since many of these files ask only who the writer is.
    """
    try:
        with os.scandir(proc) as entries:
            return sorted(
                entry.path
                for entry in entries
                if not entry.name.isdecimal()
                and not entry.is_symlink()
                and (entry.is_dir() or entry.stat().st_mode & 0o222)
            )
    except OSError:
        return []


def linked_packages(root: Path) -> list[str]:
    """Folders of installed packages whose files are hard links into a store that all projects share
    (uv's, pnpm's, bun's): writing such a file changes it for all of them."""
    installed = [
        *root.glob(".venv/lib/python*/site-packages"),
        *root.glob("venv/lib/python*/site-packages"),
        root / "node_modules" / ".pnpm",
        root / "node_modules",
    ]
    found: list[str] = []
    for folder in map(os.fspath, installed):
        is_own = os.path.isdir(folder) and sensitive_paths.real(folder) == folder
        if is_own and not any(inner.startswith(folder) for inner in found):
            found += [folder] if _has_linked_files(folder) else []
    return found


def _has_linked_files(folder: str) -> bool:
    """Whether some of the first files in a folder have other names too."""
    looked = 0
    for _, _, names, descriptor in os.fwalk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                info = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                if stat.S_ISREG(info.st_mode) and info.st_nlink > 1:
                    return True
            looked += 1
            if looked >= _SAMPLE:
                return False
    return False


def _is_laguna_s(path: str) -> bool:
    """Whether a path lies in a directory of laguna's own, where no child may write."""
    return any(sensitive_paths.is_under(path, own) for own in sensitive_paths.laguna_directories())


def _mask_home(plan: MountPlan, cache: Path | None, environment: Mapping[str, str]) -> None:
    base = Path(sensitive_paths.real(sensitive_paths.home()))
    if base == Path("/") or not base.is_dir():
        return
    settings = base / ".config"
    if settings.is_dir():
        plan.add("hidden", sensitive_paths.real(settings))
        for name in sensitive_paths.CONFIG_SHOWN:
            if (settings / name).exists():
                plan.add(
                    "read-only", os.path.join(sensitive_paths.real(settings), name), settings / name
                )
    caches = Path(sensitive_paths.real(environment.get("XDG_CACHE_HOME") or base / ".cache"))
    if cache is not None and caches.is_dir():
        plan.add("writable", caches, cache)
        for name in READ_MOSTLY_CACHES:
            if (caches / name).is_dir():
                plan.add("read-only", caches / name)
    for name in sensitive_paths.HOME_SECRETS:
        path = base / name
        if sensitive_paths.is_under(path, base / ".config"):
            continue  # hidden with ~/.config
        is_cache = cache is not None and sensitive_paths.is_under(path, caches)
        if is_cache and not {*path.relative_to(caches).parts[:1]} & {*READ_MOSTLY_CACHES}:
            continue  # the child has its own cache
        plan.hide(path)


def _show_resolver(plan: MountPlan) -> None:
    target = sensitive_paths.real("/etc/resolv.conf")
    if os.path.exists(target) and plan.kind_at(target) != "read-only":
        plan.add("read-only", target)


def _show_tools(plan: MountPlan, environment: Mapping[str, str]) -> None:
    """Show the directories of the search path and of tool homes again, unless they are secret."""
    wanted = [p for p in environment.get("PATH", "").split(os.pathsep) if os.path.isabs(p)]
    wanted += [environment[name] for name in _TOOL_HOMES if environment.get(name)]
    for text in wanted:
        path = sensitive_paths.real(text)
        if os.path.basename(path) in ("bin", "sbin", "Scripts"):
            prefix = os.path.dirname(path)
            if any(os.path.exists(os.path.join(prefix, mark)) for mark in _PREFIX_MARKS):
                path = prefix
        shadowed = plan.kind_at(path) in ("tmpfs", "writable")
        if shadowed and path.count("/") > 1 and os.path.isdir(path):
            plan.add("read-only", path)


def _mask_sockets(plan: MountPlan, writable: Iterable[Path]) -> None:
    """Hide sockets of other programs: a read-only mount does not stop connections.

    A folder that holds nothing but sockets is hidden whole, with those that come later.
    """
    roots = [sensitive_paths.real(path) for path in writable]
    for path in bound_sockets():
        resolved = sensitive_paths.real(path)
        if any(sensitive_paths.is_under(resolved, root) for root in roots):
            continue
        with contextlib.suppress(OSError):
            info = os.lstat(resolved)
            if not stat.S_ISSOCK(info.st_mode) or plan.kind_at(resolved) != "read-only":
                continue
            folder = os.path.dirname(resolved)
            whole = _holds_only_sockets(folder)
            plan.add("hidden", folder if whole else resolved)
            plan.masked.add(folder if whole else (resolved, info.st_ino, info.st_ctime_ns))


def _holds_only_sockets(folder: str) -> bool:
    """Whether a folder holds sockets, their locks and process ids, and nothing else."""
    try:
        with os.scandir(folder) as entries:
            return all(
                stat.S_ISSOCK(entry.stat(follow_symlinks=False).st_mode)
                or entry.name.endswith((".lock", ".pid", ".log"))
                for entry in entries
            )
    except OSError:
        return False


def bound_sockets(table: str = "/proc/net/unix") -> list[str]:
    """Paths of the Unix sockets of all kinds in this network namespace."""
    try:
        with open(table, encoding="utf-8", errors="surrogateescape") as lines:
            text = lines.read()
    except OSError:
        return []
    # Num RefCount Protocol Flags Type St Inode Path; abstract ones begin with @.
    names = dict.fromkeys(re.findall(r"^(?:\S+ ){6} *\d+ ([^@\n].*)$", text, re.MULTILINE))
    found = [name for name in names if name.startswith("/")]
    relative = [name for name in names if not name.startswith("/")]
    # Where that is, only the program knows that made it: it is most likely still there.
    places = _working_directories() if relative else ()
    return found + [os.path.join(place, name) for place in places for name in relative]


def _working_directories() -> set[str]:
    """The working directories of all processes that can be seen."""
    places = set()
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            with contextlib.suppress(OSError):
                places.add(os.readlink(f"/proc/{entry}/cwd"))
    return places
