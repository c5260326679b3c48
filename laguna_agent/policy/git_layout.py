"""The files of a git repository that decide what git runs, found without running git.

File tools do not write them, a sandboxed child sees them read-only, and the gate reads them before
it allows a read-only git command.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from laguna_agent.policy import sensitive_paths
from laguna_agent.policy.git_directories import Found, GitDirectories
from laguna_agent.policy.git_references import referenced_paths

_WORKTREE = re.compile(r"^\s*worktree\s*=\s*(\S.*?)\s*$", re.IGNORECASE | re.MULTILINE)


@dataclass
class GitLayout:
    """Where the repository of a working tree is. `directory` is None when there is none."""

    worktree: Path
    directory: Path | None = None
    """The git directory itself (`.git`, or `…/worktrees/name`)."""
    common: Path | None = None
    """Where hooks, config and objects are; differs from `directory` in linked worktrees only."""
    writable: list[Path] = field(default_factory=list)
    fixed: list[Path] = field(default_factory=list)
    """Existing paths of git's own that a child must not change."""
    absent: list[Path] = field(default_factory=list)
    """Missing paths that would decide what git runs if a child created them."""
    named: list[Path] = field(default_factory=list)
    """Existing paths of the working tree that the configuration names."""
    named_absent: list[Path] = field(default_factory=list)

    def mounts(self) -> Iterator[tuple[Path, Literal["read-only", "writable"]]]:
        """Mounts that protect `fixed` and `named`; parents are mounts too, so they cannot be
        renamed."""
        for path in self.writable:
            yield path, "writable"
        for path in self.named:
            for parent in path.parents:
                if parent != self.worktree and parent.is_relative_to(self.worktree):
                    yield parent, "writable"
        for path in (*self.fixed, *self.named):
            yield path, "read-only"

    def outer(self) -> list[Path]:
        """What is writable outside the working tree."""
        return [p for p in self.writable if not sensitive_paths.is_under(p, self.worktree)]


def git_layout(worktree: Path, found: Found | None = None) -> GitLayout:
    """The layout of the repository of `worktree`, which may have none, with the other repositories
    that were found in it."""
    layout = GitLayout(worktree)
    dot_git = worktree / ".git"
    if dot_git.is_symlink():
        dot_git = Path(sensitive_paths.real(dot_git))
    if os.path.isfile(dot_git):
        layout.fixed.append(dot_git)
        if linked := _linked_directories(worktree):
            layout.directory, layout.common = linked
            _protect_linked(layout)
    elif os.path.isdir(dot_git):
        layout.directory = layout.common = dot_git
        if sensitive_paths.is_under(dot_git, worktree):
            layout.writable.append(dot_git)
        _protect(layout, dot_git)
    elif dot_git == worktree / ".git":
        layout.absent.append(dot_git)
    for text in referenced_paths(os.fspath(worktree)):
        if sensitive_paths.real(text) == text:  # a mount cannot cover a link
            path = Path(text)
            (layout.named if path.exists() else layout.named_absent).append(path)
    if found is not None:
        for path in map(Path, found.directories):
            if path != layout.directory and path.is_dir():
                layout.writable.append(path)
                _protect(layout, path)
        for path in map(Path, found.files):
            if path not in layout.fixed and path.is_file() and not path.is_symlink():
                layout.fixed.append(path)
    return layout


def is_of_linked_repository(path: str, worktree: Path) -> bool:
    """Whether a path is in the git directory, elsewhere, of this linked worktree or submodule."""
    real = sensitive_paths.real(path)
    return any(
        sensitive_paths.is_under(real, place)
        and not sensitive_paths.secret_reason(real, os.fspath(place))
        for place in _linked_directories(worktree) or ()
    )


def git_directories(
    worktree: Path, writable: Sequence[Path] = (), unmounted: Sequence[Path] = ()
) -> GitDirectories:
    """The repositories in all that a child of the sandbox can write; `unmounted` is what it sees
    under another path."""
    root = Path(sensitive_paths.real(worktree))
    extra = [Path(sensitive_paths.real(path)) for path in writable]
    own = [Path(sensitive_paths.real(path)) for path in unmounted]
    return GitDirectories([root, *git_layout(root).outer(), *extra], own)


def _protect(layout: GitLayout, directory: Path) -> None:
    """Protect the files of one git directory."""
    for name in ("hooks", "config", "config.worktree", "commondir", "gitdir"):
        path = directory / name
        if path.is_symlink():  # a mount cannot cover a link, only where it leads
            target = Path(sensitive_paths.real(path))
            if sensitive_paths.is_under(target, layout.worktree) and target.exists():
                layout.named.append(target)
            continue
        (layout.fixed if path.exists() else layout.absent).append(path)


def _protect_linked(layout: GitLayout) -> None:
    """Protect a linked worktree, which commits to the common directory of another checkout, or a
    submodule, whose directory is in that of the repository above."""
    assert layout.directory is not None
    assert layout.common is not None
    layout.writable.append(layout.directory)
    if layout.directory == layout.common:
        _protect(layout, layout.directory)
        return
    for name in ("objects", "refs", "logs"):
        if (layout.common / name).is_dir():
            layout.writable.append(layout.common / name)
    for name in ("commondir", "gitdir", "config.worktree"):
        path = layout.directory / name
        (layout.fixed if path.exists() else layout.absent).append(path)


def _linked_directories(worktree: Path) -> tuple[Path, Path] | None:
    """Git and common directory of a linked worktree or a submodule, if they point back here.

    Without the pointers back, a crafted `.git` file, or the directory that it names, could name any
    directory of the machine.
    """
    dot_git = Path(sensitive_paths.real(worktree / ".git"))
    try:
        text = dot_git.read_text(encoding="utf-8", errors="surrogateescape")
        if not text.startswith("gitdir:"):
            return None
        directory = Path(sensitive_paths.real(dot_git.parent / text[len("gitdir:") :].strip()))
        if not (directory / "gitdir").exists():
            config = (directory / "config").read_text(encoding="utf-8", errors="surrogateescape")
            back = _WORKTREE.search(config)
            own = back and sensitive_paths.real(directory / back[1]) == os.fspath(dot_git.parent)
            return (directory, directory) if own else None
        back_text = (directory / "gitdir").read_text(encoding="utf-8").strip()
        if sensitive_paths.real(directory / back_text) != sensitive_paths.real(dot_git):
            return None
        common = (directory / "commondir").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError, ValueError):
        return None
    shared = Path(sensitive_paths.real(directory / common))
    own = directory.parent == shared / "worktrees"  # else a command could name any repository
    return (directory, shared) if own and (shared / "objects").is_dir() else None
