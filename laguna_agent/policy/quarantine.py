"""Quarantine for files that a sandboxed command plants where git would run them.

A mount cannot protect a path that does not exist without creating it in the repository. So the
few absent names that would decide what git runs (`.git/commondir`, `.git/hooks`) are noted when
the session begins, and moved out of the repository when a command creates them.
"""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path

from laguna_agent.policy.git_layout import git_layout


class Quarantine:
    """Watches the names that were absent in one workspace when the session began."""

    def __init__(self, workspace: Path, quarantine: Path) -> None:
        self._quarantine = quarantine
        self._absent = [path for path in git_layout(workspace).absent if path.name != ".git"]

    def sweep(self) -> list[str]:
        """Move planted files away; returns a line for the user about each."""
        notices = []
        for path in self._absent:
            if not os.path.lexists(path):
                continue
            self._quarantine.mkdir(parents=True, exist_ok=True, mode=0o700)
            target = self._quarantine / f"{path.name}-{secrets.token_hex(4)}"
            try:
                shutil.move(path, target)
            except OSError as error:
                notices.append(
                    f"A command created {path}, which could run programs; moving it away failed: "
                    f"{error}. Remove it before you use git here."
                )
            else:
                notices.append(
                    f"A command created {path}, which could run programs; moved to {target}"
                )
        return notices
