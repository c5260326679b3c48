"""Commits that were made during a stretch of work."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from laguna_agent.programs import find_program


def commits_between(root: Path, first: str, last: str) -> list[str]:
    """Commits after `first` up to `last`, newest first, at most 20; empty when git fails."""
    git = find_program("git")
    if git is None or not last or first == last:
        return []
    wanted = f"{first}..{last}" if first else last
    try:
        done = subprocess.run(
            [
                *(git, "--git-dir", str(root / ".git"), "-c", "core.fsmonitor=false"),
                *("rev-list", "--max-count=20", "--end-of-options", wanted, "--"),
            ],
            # A partial clone would fetch missing objects through a program that it configures.
            env={**os.environ, "GIT_NO_LAZY_FETCH": "1", "GIT_ALLOW_PROTOCOL": "none"},
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return [line[:12] for line in done.stdout.split() if line]
