"""What a sandboxed child may plant where nothing was, and how it is taken away again.

A mount cannot stand on a path that does not exist without creating it in the repository. So the
few names that would decide what git runs (`.git/commondir`, a missing `.git/hooks`) are noted
before, and moved out of the repository when they turn up.
"""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path

from laguna_agent.policy.git_layout import git_layout


class Quarantine:
    """The names that were absent in one workspace when the session began."""

    def __init__(self, workspace: Path, quarantine: Path) -> None:
        self._quarantine = quarantine
        self._absent = [path for path in git_layout(workspace).absent if path.name != ".git"]

    def clear(self) -> list[str]:
        """Move away what was planted; one line for a person for each."""
        said = []
        for path in self._absent:
            if not os.path.lexists(path):
                continue
            self._quarantine.mkdir(parents=True, exist_ok=True, mode=0o700)
            target = self._quarantine / f"{path.name}-{secrets.token_hex(4)}"
            try:
                shutil.move(path, target)
            except OSError as error:
                said.append(f"{path} was made by a command and could not be moved away: {error}")
            else:
                said.append(f"{path} was made by a command and would run programs; now {target}")
        return said
