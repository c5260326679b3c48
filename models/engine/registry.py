"""The running engines: their status, and how to end them. Blocking."""

from __future__ import annotations

import socket
from typing import Any

from laguna_agent.errors import ModelError
from laguna_agent.log import logger
from laguna_agent.models.engine import wire
from laguna_agent.models.engine.spawn import connect
from laguna_agent.models.sizing.hardware import machine_memory
from laguna_agent.paths import runtime_dir

_PATIENCE_S = 10.0


def running_keys() -> list[str]:
    """Keys of all engine sockets; an engine that crashed may have left one."""
    return sorted(path.stem.removeprefix("engine-") for path in runtime_dir().glob("engine-*.sock"))


def status(key: str) -> dict[str, Any] | None:
    """The status that an engine reports, with its key; None when there is no such engine."""
    answer = _call(key, {"type": "status", "id": 1})
    if answer is None or "status" not in answer:
        return None
    return {"key": key, **answer["status"]}


def stop(key: str) -> bool:
    """End an engine and wait until it is gone; False when there is none."""
    stopped = _call(key, {"type": "stop", "id": 1}, until_gone=True) is not None
    if stopped:
        logger.info("engine %s stopped", key)
    return stopped


def evict_idle(key: str, needed: int) -> list[str]:
    """End idle engines until `needed` bytes are free for the engine of `key`.

    Returns the keys of the engines that were ended.
    """
    ended: list[str] = []
    for other in running_keys():
        if other == key or machine_memory().available >= needed:
            continue
        state = status(other)
        if state is not None and not state["clients"] and not state["busy"] and stop(other):
            ended.append(other)
    return ended


def _call(key: str, header: wire.Header, *, until_gone: bool = False) -> wire.Header | None:
    connection = connect(key)
    if connection is None:
        return None
    with connection:
        connection.settimeout(_PATIENCE_S)
        try:
            connection.sendall(wire.pack(header))
            answer, _ = wire.receive_frame(connection)
            if until_gone:
                _wait_until_gone(connection)
        except (wire.WireError, OSError):
            return None
    return answer


def _wait_until_gone(connection: socket.socket) -> None:
    try:
        while True:
            wire.receive_frame(connection)
    except wire.WireError as error:
        if isinstance(error.__cause__, TimeoutError):
            raise ModelError("the engine did not stop; it may still be decoding") from error
