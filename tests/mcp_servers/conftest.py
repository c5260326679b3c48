"""Connections to the test server, without a sandbox, whose faults a test chooses."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from laguna_agent.config import McpServerConfig
from laguna_agent.tools.mcp.connection import Connection
from laguna_agent.tools.mcp.launch import Address, Launch

SERVER = Path(__file__).parents[1] / "support" / "mcp_server.py"


def command(*faults: str) -> list[str]:
    """The command line of the test server."""
    return [sys.executable, "-I", "-S", str(SERVER), *faults]


@pytest.fixture
async def connect(tmp_path: Path) -> AsyncIterator[Callable[..., Connection]]:
    """Makes connections, and closes them."""
    made: list[Connection] = []

    def make(*faults: str, **settings: float) -> Connection:
        config = McpServerConfig(command="test", **settings)

        async def reach() -> Launch:
            environment = {"PATH": os.environ["PATH"], "MCP_LOG": str(tmp_path / "log")}
            return Launch(command(*faults), tmp_path, environment, confined=True)

        made.append(Connection("test", config, reach))
        return made[-1]

    yield make
    for connection in made:
        await connection.stop()


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[Any], Awaitable[str]]]:
    """Serves ASGI applications on loopback; returns the address of each."""
    running: list[tuple[uvicorn.Server, asyncio.Task[None]]] = []

    async def start(app: Any) -> str:
        quiet = {"log_level": "critical", "lifespan": "on", "timeout_graceful_shutdown": 1}
        listener = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, **quiet))
        task = asyncio.create_task(server.serve(sockets=[listener]))
        running.append((server, task))
        while not server.started:
            await asyncio.sleep(0.005)
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for server, task in running:
        server.should_exit = server.force_exit = True
        await task


@pytest.fixture
async def reach_url() -> AsyncIterator[Callable[..., Connection]]:
    """Makes connections to addresses, and closes them."""
    made: list[Connection] = []

    def make(url: str, *, login: Any = None, headers: Any = (), **settings: float) -> Connection:
        config = McpServerConfig(url=url, **settings)

        async def reach() -> Address:
            return Address(url, dict(headers))

        made.append(Connection("test", config, reach, login))
        return made[-1]

    yield make
    for connection in made:
        await connection.stop()
