"""Three things to try in a repository, from what it has: tests, changes, a README."""

from __future__ import annotations

import os
import re
from pathlib import Path

from laguna_agent.agent.check.test_command import test_command
from laguna_agent.paths import holds_home
from laguna_agent.plurals import counted
from laguna_agent.policy.sanitize import visible
from laguna_agent.tools.repository.git_command import GitError, git_output
from laguna_agent.trajectory.meta import git_head

_COUNT = 3
_GIT_S = 3.0
_MOST_NAMES = 2_000
_README = re.compile(r"readme(?:\.\w+)?", re.IGNORECASE)


def suggestions(root: Path, cwd: Path) -> list[str]:
    """Up to three first messages for a person who works at `cwd` in the repository at `root`.

    Reads files and runs git, which takes a while in a large repository.
    """
    if holds_home(root):
        return ["What can you do?", "/help"]
    names = _names(root)
    if not names - {".git", ".gitignore"}:
        return [
            "Write a command-line tool in Python that renames photos by their date, with tests",
            "Set up a Python project here: pyproject.toml, a package, a first test",
        ]
    found = []
    changed, conflicts = _changes(root)
    if conflicts:
        found.append(f"Resolve the merge conflicts in {counted(conflicts, 'file')}")
    if command := test_command(root):
        found.append(f"Fix what fails until `{visible(command, single_line=True)}` passes")
    if changed and not conflicts:
        found.append(f"Review my uncommitted changes ({counted(changed, 'file')})")
    readme = next((name for name in sorted(names) if _README.fullmatch(name)), None)
    if readme:
        at = visible(os.path.relpath(root / readme, cwd), single_line=True)
        found.append(f"Explain this project to me: read @{at}, then the code")
    else:
        found.append("Explain this project to me, and write a README.md for it")
    if not changed and git_head(root)[1]:
        found.append("What does the last commit change, and is it right?")
    if "AGENTS.md" not in names:
        found.append("/init")
    return found[:_COUNT]


def _names(root: Path) -> set[str]:
    try:
        return {entry.name for _, entry in zip(range(_MOST_NAMES), os.scandir(root), strict=False)}
    except OSError:
        return set()


def _changes(root: Path) -> tuple[int, int]:
    """(files changed since the last commit, files with merge conflicts)."""
    try:
        out = git_output(
            root, "status", "--porcelain=v1", "-z", "--untracked-files=normal", "--no-renames",
            "--ignore-submodules=all", timeout=_GIT_S,
        )  # fmt: skip
    except GitError:
        return 0, 0
    codes = [entry[:2] for entry in out.split(b"\0") if entry]
    return len(codes), sum(code in (b"DD", b"AA") or b"U" in code for code in codes)
