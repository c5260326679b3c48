"""Commits that were made while something was done."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def commits_between(root: Path, first: str, last: str) -> list[str]:
    """Commits made since `first`, newest first, at most 20."""
    if not last or first == last:
        return []
    wanted = f"{first}..{last}" if first else last
    try:
        done = subprocess.run(
            [
                *("git", "--git-dir", str(root / ".git"), "-c", "core.fsmonitor=false"),
                *("rev-list", "--max-count=20", "--end-of-options", wanted, "--"),
            ],
            # A partial clone fetches what is missing, through a program that it names itself.
            env={**os.environ, "GIT_NO_LAZY_FETCH": "1", "GIT_ALLOW_PROTOCOL": "none"},
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return [line[:12] for line in done.stdout.split() if line]
