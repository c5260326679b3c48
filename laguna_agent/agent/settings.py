"""The settings of a session: the configuration and the flags it starts with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from laguna_agent.actions import Mode
from laguna_agent.config import Config


@dataclass
class Settings:
    """What a session starts with. `check` is the command of `--check` or `/check`."""

    cwd: Path
    config: Config
    mode: Mode
    plan: bool = False
    interactive: bool = False
    trusted: bool = False
    check: str | None = None
    resume: str | None = None
    """Id of the session to resume."""
    fork: str | None = None
    """Id of the session to fork: a copy of it is resumed."""
    continue_last: bool = False
    """Resume this repository's latest session."""
    given: frozenset[str] = frozenset()
    """Names of settings that were given for this run. Of the others, a session that goes on keeps
    those on its record; see `kept_settings`."""
