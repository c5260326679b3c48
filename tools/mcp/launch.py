"""How a server is reached: a program to start, or an address."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from laguna_agent.actions import McpPlace

PLACES: Mapping[McpPlace, str] = {
    "sandbox": "in the sandbox",
    "network": "in the sandbox, with the network",
    "machine": "outside the sandbox",
    "remote": "at an address",
}
"""Where a server's tools act, in words."""


@dataclass(frozen=True)
class Launch:
    """A program to start, whose environment is exactly `environment`."""

    argv: list[str]
    cwd: Path
    environment: dict[str, str] = field(repr=False)
    confined: bool = True
    """Whether the program dies with all that it started, as in a sandbox."""


@dataclass(frozen=True)
class Address:
    """Where a server with streamable HTTP is. `headers` may hold secrets."""

    url: str
    headers: dict[str, str] = field(repr=False)


class ServerError(Exception):
    """A server cannot be used, or a call failed; the message is one line for the model."""


class Traces:
    """What a server left behind that explains why it failed."""

    _LINES, _WIDTH = 8, 300

    def __init__(self) -> None:
        self.lines: deque[str] = deque(maxlen=self._LINES)
        """The last lines on standard error, or on standard output what is not MCP."""
        self.problem = ""
        """Why laguna closed the connection."""
        self.status: int | None = None
        """The last HTTP status that was an error."""

    def add(self, line: bytes) -> None:
        """Keep a line."""
        if text := " ".join(line[: self._WIDTH * 4].decode("utf-8", "replace").split()):
            self.lines.append(text[: self._WIDTH])

    def reason(self) -> str:
        """The best explanation in a clause; empty if there is none."""
        if self.problem:
            return self.problem
        if self.status is not None:
            return f"HTTP status {self.status}"
        return f"it printed: {' / '.join(list(self.lines)[-3:])}" if self.lines else ""
