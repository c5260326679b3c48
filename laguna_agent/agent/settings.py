"""The settings of a session: the configuration and the flags it starts with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from laguna_agent.actions import Mode
from laguna_agent.config import Config, McpServerConfig


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
    mcp: Mapping[str, McpServerConfig] = field(default_factory=dict)
    """MCP servers that an editor hands over, by name, besides those of the configuration."""
    given: frozenset[str] = frozenset()
    """Names of settings that were given for this run. Of the others, a session that goes on keeps
    those on its record; see `kept_settings`."""
