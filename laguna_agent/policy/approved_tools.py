"""What a person has approved of MCP servers: what each says about its tools, word by word.

Kept in laguna's own state, one file for each server as it is defined: another command, address or
project under the same name has approvals of its own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from laguna_agent.atomic_write import atomic_write
from laguna_agent.config import McpServerConfig
from laguna_agent.paths import make_private, state_dir

_MOST_BYTES = 16 << 20


class ApprovedToolsFile:
    """The approvals of one server. `root` is the repository that defines or starts it."""

    def __init__(self, name: str, config: McpServerConfig, root: Path) -> None:
        what: list[Any] = [name, config.command, config.args, config.cwd, config.url]
        if config.origin == "project":
            what.append(str(root))
        digest = hashlib.sha256(json.dumps(what).encode("utf-8", "surrogatepass")).hexdigest()
        self.path = state_dir() / "mcp" / f"{digest[:24]}.json"

    def tools(self) -> Mapping[str, Mapping[str, Any]]:
        """The approved tools by name, as plain data; none if the file cannot be read."""
        try:
            if self.path.stat().st_size > _MOST_BYTES:
                return {}
            data = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        tools = data.get("tools") if isinstance(data, dict) else None
        return (
            {k: v for k, v in tools.items() if isinstance(v, dict)}
            if isinstance(tools, dict)
            else {}
        )

    def approve(self, offers: Mapping[str, Mapping[str, Any]]) -> None:
        """Add approved tools, in place of earlier ones of the same names.

        Where the file cannot be written, the approval holds for the session.
        """
        tools = {**self.tools(), **offers}
        try:
            make_private(self.path.parent)
            atomic_write(self.path, json.dumps({"schema": "laguna.mcp/1", "tools": tools}))
        except OSError:
            return

    def forget(self) -> None:
        """Forget what was approved."""
        self.path.unlink(missing_ok=True)
