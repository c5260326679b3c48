"""The files of a git repository that decide what git runs, found without running git.

File tools do not write them, a sandboxed child sees them read-only, and the gate reads them before
it allows a read-only git command.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from laguna_agent.policy import sensitive_paths
from laguna_agent.policy.git_references import referenced_paths


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
    """Existing paths that a child must not change."""
    absent: list[Path] = field(default_factory=list)
    """Missing paths that would decide what git runs if a child created them."""

    def mounts(self) -> Iterator[tuple[Path, Literal["read-only", "writable"]]]:
        """Mounts that protect `fixed`; parents are mounts too, so they cannot be renamed."""
        for path in self.writable:
            yield path, "writable"
        for path in self.fixed:
            for parent in path.parents:
                if parent != self.worktree and parent.is_relative_to(self.worktree):
                    yield parent, "writable"
        for path in self.fixed:
            yield path, "read-only"


def git_layout(worktree: Path) -> GitLayout:
    """The layout of the repository of `worktree`, which may have none."""
    layout = GitLayout(worktree)
    dot_git = worktree / ".git"
    if dot_git.is_symlink() or not dot_git.exists():
        if not dot_git.is_symlink():
            layout.absent.append(dot_git)
            return layout
        dot_git = Path(sensitive_paths.real(dot_git))
    if dot_git.is_file():
        layout.fixed.append(dot_git)
        linked = _linked_directory(dot_git)
        if linked is None:
            return layout
        layout.directory, layout.common = linked
        _protect_linked(layout)
    elif dot_git.is_dir():
        layout.directory = layout.common = dot_git
        if sensitive_paths.is_under(dot_git, worktree):
            layout.writable.append(dot_git)
        _protect(layout, dot_git)
    for text in referenced_paths(os.fspath(worktree)):
        if sensitive_paths.real(text) == text:  # a mount cannot cover a link
            path = Path(text)
            (layout.fixed if path.exists() else layout.absent).append(path)
    return layout


def _protect(layout: GitLayout, directory: Path) -> None:
    """Protect the files of one git directory and of its submodules' directories."""
    for name in ("hooks", "config", "config.worktree", "commondir", "gitdir"):
        path = directory / name
        if path.exists():
            layout.fixed.append(path)
        else:
            layout.absent.append(path)
    modules = directory / "modules"
    if modules.is_dir() and not modules.is_symlink():
        _protect_modules(layout, modules)


def _protect_modules(layout: GitLayout, folder: Path, depth: int = 0) -> None:
    """Protect submodules, whose git directories are under `modules`, named by path."""
    layout.writable.append(folder)
    try:
        children = sorted(p for p in folder.iterdir() if p.is_dir() and not p.is_symlink())
    except OSError:
        return
    for child in children:
        if (child / "HEAD").exists():
            layout.writable.append(child)
            _protect(layout, child)
        elif depth < 6:
            _protect_modules(layout, child, depth + 1)


def _protect_linked(layout: GitLayout) -> None:
    """Protect a linked worktree, which commits to the common directory of another checkout."""
    assert layout.directory is not None
    assert layout.common is not None
    layout.writable.append(layout.directory)
    for name in ("objects", "refs", "logs"):
        if (layout.common / name).is_dir():
            layout.writable.append(layout.common / name)
    for name in ("commondir", "gitdir", "config.worktree"):
        path = layout.directory / name
        (layout.fixed if path.exists() else layout.absent).append(path)


def _linked_directory(dot_git: Path) -> tuple[Path, Path] | None:
    """Git and common directory of a linked worktree, if that repository points back here.

    Without the pointer back, a crafted `.git` file could name any directory of the machine.
    """
    try:
        text = dot_git.read_text(encoding="utf-8", errors="surrogateescape")
        if not text.startswith("gitdir:"):
            return None
        directory = Path(sensitive_paths.real(dot_git.parent / text[len("gitdir:") :].strip()))
        back = (directory / "gitdir").read_text(encoding="utf-8").strip()
        if sensitive_paths.real(directory / back) != sensitive_paths.real(dot_git):
            return None
        common = (directory / "commondir").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError, ValueError):
        return None
    shared = Path(sensitive_paths.real(directory / common))
    return (directory, shared) if (shared / "objects").is_dir() else None
