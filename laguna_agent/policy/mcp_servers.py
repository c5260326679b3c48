"""What an MCP server gets of this machine: its sandbox, its variables, and where it may act."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace

from laguna_agent.actions import McpPlace
from laguna_agent.config import McpServerConfig
from laguna_agent.errors import UsageError
from laguna_agent.policy.environment import OFFLINE, Inheritance, is_inherited
from laguna_agent.policy.sandbox import NoSandbox, SandboxKind
from laguna_agent.programs import find_program, search_path

_BASE = frozenset(
    {"HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR"}
) | frozenset({"XDG_CACHE_HOME", "SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS"})
"""Variables that every server gets."""
_PROXIES = frozenset({"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"})
_WHO = {"project": "a project", "editor": "an editor"}
_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


def server_sandbox(
    sandbox: SandboxKind, config: McpServerConfig, inheritance: Inheritance, *, offline: bool
) -> SandboxKind:
    """The sandbox of a server, derived from that of the session's commands."""
    # What is given to it by name may look like a secret.
    inheritance = replace(inheritance, passed=(*inheritance.passed, *config.env))
    if isinstance(sandbox, NoSandbox) or not config.sandbox:
        return NoSandbox(network=not offline, inheritance=inheritance)
    network = (sandbox.network or config.network) and not offline
    return replace(sandbox, network=network, inheritance=inheritance)


def place_of(sandbox: SandboxKind, config: McpServerConfig) -> McpPlace:
    """Where the tools of a server in this sandbox act."""
    if config.url is not None:
        return "remote"
    if isinstance(sandbox, NoSandbox):
        return "machine"
    return "network" if sandbox.network else "sandbox"


def server_environment(sandbox: SandboxKind) -> dict[str, str]:
    """The variables that every server in this sandbox gets."""
    inherited = sandbox.environment()
    kept = {
        name: value
        for name, value in inherited.items()
        if name in _BASE or name.upper() in _PROXIES or OFFLINE.get(name) == value
    }
    kept["PATH"] = search_path() if isinstance(sandbox, NoSandbox) else inherited["PATH"]
    kept["TERM"], kept["NO_COLOR"] = "dumb", "1"
    if "XDG_CACHE_HOME" in kept or not isinstance(sandbox, NoSandbox):
        # npm has a cache of its own, where the sandbox lets nobody write.
        cache = kept.get("XDG_CACHE_HOME") or os.path.join(kept.get("HOME", "/tmp"), ".cache")
        kept["NPM_CONFIG_CACHE"] = os.path.join(cache, "npm")
    return kept


def given_variables(
    config: McpServerConfig, source: Mapping[str, str], inheritance: Inheritance
) -> dict[str, str]:
    """The variables that its definition gives a server. Raises UsageError for one that cannot be
    set or may not be passed on."""
    for name, value in config.env.items():
        if not name or "=" in name or "\0" in name + value:
            raise UsageError(f"its variable `{name[:40]}` cannot be set")
    return {name: filled(value, config, source, inheritance) for name, value in config.env.items()}


def set_inside(argv: Sequence[str], given: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """A command for the sandbox that sets the `given` variables and then runs `argv`, and the
    variables that carry them there.

    Under their own names, LD_PRELOAD and the like would have the programs that set the sandbox up
    load code outside of it.
    """
    if not given:
        return list(argv), {}
    carried = {f"LAGUNA_MCP_{number}": value for number, value in enumerate(given.values())}
    script = ["exec /usr/bin/env", *(f"-u {name}" for name in carried)]
    pairs = zip(given, carried, strict=True)
    script += [f'{shlex.quote(name)}="${carrier}"' for name, carrier in pairs]
    bash = find_program("bash") or "/bin/bash"
    return [bash, "-p", "-c", f'{" ".join(script)} "$@"', "bash", *argv], carried


def filled(
    text: str, config: McpServerConfig, source: Mapping[str, str], inheritance: Inheritance
) -> str:
    """A text with the variables that it names. Raises UsageError for one that is not set.

    What a project defines, or an editor, which may pass on a project's servers, does not get the
    person's secrets.
    """

    def value(match: re.Match[str]) -> str:
        name, default = match.group(1), match.group(2)
        found = source.get(name)
        if found is not None and config.origin != "user":
            secret = inheritance.is_secret(name, found, source) or not is_inherited(name, found)
            if secret and not inheritance.passes(name):
                raise UsageError(
                    f"{_WHO[config.origin]} may not read your variable {name}",
                    hint="Define the server in your own config.toml to give it that.",
                )
        if found is None and default is None:
            raise UsageError(f"the variable {name} is not set")
        return found if found is not None else default

    return _REFERENCE.sub(value, text)
