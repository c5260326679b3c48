"""Runs the server on standard input and output until the editor closes them, or a signal."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Mapping
from typing import Any

from acp.connection import Connection

from laguna_agent.interfaces.acp.acp_session import CLOSING_S
from laguna_agent.interfaces.acp.client import StdioClient
from laguna_agent.interfaces.acp.server import AcpServer
from laguna_agent.interfaces.acp.stdio import StdioTransport


async def serve(flags: Mapping[str, Any]) -> None:
    """Serve one editor to its end. All children are gone when this returns."""
    logging.getLogger().addHandler(logging.NullHandler())  # or the package prints its errors
    transport = StdioTransport()
    client = StdioClient(transport)
    server = AcpServer(client, flags)
    client.connection = connection = Connection(server.handle, transport, listening=False)
    listening = asyncio.create_task(connection.main_loop())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, listening.cancel)
    try:
        await asyncio.wait([listening])
    finally:
        _exit_soon()
        await server.aclose()
        await connection.close()


def _exit_soon() -> None:
    """End the process in any case: a thread may be in the middle of something long."""
    timer = threading.Timer(3 * CLOSING_S, os._exit, args=(0,))
    timer.daemon = True
    timer.start()
