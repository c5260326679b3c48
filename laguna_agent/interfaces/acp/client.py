"""The editor at the other end: what it can do, updates to it, and requests that it answers."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

from acp import schema
from acp.connection import Connection
from pydantic import BaseModel

from laguna_agent.interfaces.acp.stdio import StdioTransport

Answer = TypeVar("Answer", bound=BaseModel)


class Client(Protocol):
    """What a session needs of the editor."""

    capabilities: schema.ClientCapabilities

    def update(self, session_id: str, update: BaseModel) -> None:
        """Send an update of a session, after those before it."""

    async def request(self, method: str, params: BaseModel, answer: type[Answer]) -> Answer:
        """Ask the editor. Raises RequestError, ConnectionError."""


class StdioClient:
    """The editor that started this process."""

    def __init__(self, transport: StdioTransport) -> None:
        self.capabilities = schema.ClientCapabilities()
        self.connection: Connection | None = None
        self._transport = transport

    def update(self, session_id: str, update: BaseModel) -> None:
        """Send an update of a session, after those before it."""
        params = {"sessionId": session_id, "update": dumped(update)}
        self._transport.post({"jsonrpc": "2.0", "method": "session/update", "params": params})

    async def request(self, method: str, params: BaseModel, answer: type[Answer]) -> Answer:
        """Ask the editor. Raises RequestError, ConnectionError."""
        assert self.connection is not None
        result = await self.connection.send_request(method, dumped(params))
        return answer.model_validate(result if isinstance(result, dict) else {})


def shows_terminal_output(capabilities: schema.ClientCapabilities) -> bool:
    """Whether the editor shows output of our commands in terminals of its own, as Zed does."""
    return bool((capabilities.field_meta or {}).get("terminal_output"))


def dumped(model: BaseModel) -> dict[str, Any]:
    """A model as it goes over the wire."""
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)
