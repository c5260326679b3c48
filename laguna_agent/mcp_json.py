"""Reads `.mcp.json`, in which repositories name MCP servers for any agent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from laguna_agent.errors import UsageError

MCP_JSON = ".mcp.json"
MOST_SERVERS = 100
_KEYS = ("command", "args", "env", "cwd", "url", "headers")
"""The keys that all agents share; what else they write into it is theirs."""


def read_mcp_json(path: Path) -> dict[str, dict[str, Any]]:
    """The servers by name, in the form of `[mcp.NAME]`; none where there is no file.

    Raises UsageError for a file that cannot be read.
    """
    try:
        data = json.loads(path.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not valid JSON: {error}") from error
    servers = data.get("mcpServers", {}) if isinstance(data, Mapping) else None
    if not isinstance(servers, Mapping):
        raise UsageError(f"{path}: `mcpServers` is not an object")
    if len(servers) > MOST_SERVERS:
        raise UsageError(f"{path} names more than {MOST_SERVERS} servers")
    found: dict[str, dict[str, Any]] = {}
    for name, given in servers.items():
        if not isinstance(given, Mapping):
            raise UsageError(f"{path}: `mcpServers.{name}` is not an object")
        found[str(name)] = {key: given[key] for key in _KEYS if given.get(key) is not None}
    return found
