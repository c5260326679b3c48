"""The engines that run now: what they say of themselves, and how to end them. Blocking."""

from __future__ import annotations

import socket
from typing import Any

from laguna_agent.errors import ModelError
from laguna_agent.models.engine import wire
from laguna_agent.models.engine.spawn import connect
from laguna_agent.models.sizing.hardware import machine_memory
from laguna_agent.paths import runtime_dir

_PATIENCE_S = 10.0


def running_keys() -> list[str]:
    """Keys of all sockets there are, of engines that run or once did."""
    return sorted(path.stem.removeprefix("engine-") for path in runtime_dir().glob("engine-*.sock"))


def status(key: str) -> dict[str, Any] | None:
    """What the engine says of itself; None when there is none. Its key is added."""
    answer = _ask(key, {"type": "status", "id": 1})
    if answer is None or "status" not in answer:
        return None
    return {"key": key, **answer["status"]}


def stop(key: str) -> bool:
    """End an engine and wait until it is gone; False when there was none."""
    return _ask(key, {"type": "stop", "id": 1}, until_gone=True) is not None


def make_room(key: str, needed: int) -> list[str]:
    """End engines that nobody uses when fewer than `needed` bytes are free for the engine of
    `key`; returns the keys of those that ended."""
    ended: list[str] = []
    for other in running_keys():
        if other == key or machine_memory().available >= needed:
            continue
        state = status(other)
        if state is not None and not state["clients"] and not state["busy"] and stop(other):
            ended.append(other)
    return ended


def _ask(key: str, header: wire.Header, *, until_gone: bool = False) -> wire.Header | None:
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
            raise ModelError("the engine does not end; it may still be decoding") from error
