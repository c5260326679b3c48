"""The settings of a session: the configuration and the flags it starts with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from laguna_agent.actions import Mode
from laguna_agent.config import Config, McpServerConfig, load_config
from laguna_agent.errors import UsageError
from laguna_agent.paths import workspace


@dataclass
class Settings:
    """What a session starts with. `check` is the command of `--check` or `/check`."""

    cwd: Path
    config: Config
    mode: Mode
    plan: bool = False
    interactive: bool = False
    """Whether the caller may end planning."""
    trusted: bool = False
    project_problem: str = ""
    """What to tell a person whose trusted repository has settings that cannot be read; else empty.
    The rest of the repository is read."""
    check: str | None = None
    session: str | None = None
    """Id for a new session; by default one is made."""
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


def make_settings(
    directory: str | Path | None,
    *,
    flags: Mapping[str, Any],
    interactive: bool,
    trust_now: bool = False,
    **options: Any,
) -> Settings:
    """The settings of a session, from flags, environment and files. Raises UsageError.

    `flags` is a tree like the configuration, with None for what was not given; `options` are other
    fields of `Settings`. `interactive`: a person can be asked. `trust_now` trusts the repository's
    own settings for this session; with a person, mistakes in them end up in `project_problem`.
    """
    from laguna_agent.policy import trust
    from laguna_agent.programs import distrust

    cwd, root = workspace(directory)
    distrust(root)
    if trust_now:
        trust.content(root)  # raises when something there cannot be trusted
    trusted = trust_now or trust.is_trusted(root)
    project = root / ".laguna" / "config.toml" if trusted else None
    problem = ""
    try:
        config = load_config(flags=flags, project=project)
    except UsageError as error:
        if project is None or not interactive:  # unattended, its rules must not be missing
            raise
        config = load_config(flags=flags)
        problem = f"The repository's own settings are not in force: {error}"
    sampling = flags.get("sampling") or {}
    named = {"model": flags.get("model") or os.environ.get("LAGUNA_MODEL"),
             "pack": flags.get("pack") or os.environ.get("LAGUNA_PACK"),
             "thinking": flags.get("thinking"), **sampling}  # fmt: skip
    return Settings(
        cwd=cwd,
        config=config,
        mode=config.mode or ("ask" if interactive else "auto"),
        interactive=interactive,
        trusted=trusted,
        project_problem=problem,
        given=frozenset(name for name, value in named.items() if value is not None),
        **options,
    )
