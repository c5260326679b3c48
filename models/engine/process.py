"""The engine process: loads one model and serves it until no client needs it any more.

Started by `spawn`, with the listening socket as its first argument and a JSON object as its second.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import sys
import time
from pathlib import Path

from laguna_agent.config import EngineConfig
from laguna_agent.errors import LagunaError
from laguna_agent.models.engine.llama import redirect_log
from laguna_agent.models.engine.model_runner import ModelRunner
from laguna_agent.models.engine.server import EngineServer
from laguna_agent.models.engine.spawn import engine_log_path, socket_path, start_lock

_PROGRESS_S = 0.1


def main(arguments: list[str]) -> int:
    """Serve; returns the exit code."""
    spec = json.loads(arguments[1])
    key = spec["key"]
    redirect_log(engine_log_path(key))
    logging.basicConfig(level=logging.INFO, format="laguna: %(message)s")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    listener = socket.socket(fileno=int(arguments[0]))
    inode = socket_path(key).stat().st_ino
    config = EngineConfig.model_validate(spec["config"])
    server = EngineServer(listener, keep_alive=config.keep_alive)
    signal.signal(signal.SIGTERM, lambda *_: server.stop_soon())
    path = Path(spec["path"])
    total = path.stat().st_size
    reported = 0.0

    def report(done: int, *, measuring: bool = False) -> None:
        server.broadcast({"type": "loading", "done": done, "total": total, "measuring": measuring})

    def progress(fraction: float) -> None:
        nonlocal reported
        now = time.monotonic()
        if fraction >= 1 or now - reported > _PROGRESS_S:
            reported = now
            report(int(fraction * total))

    def remove_socket() -> None:
        try:
            if socket_path(key).stat().st_ino == inode:
                socket_path(key).unlink()
        except OSError:
            pass

    def may_end() -> bool:
        with start_lock(key, wait=False) as alone:
            if alone:
                remove_socket()
                listener.close()
            return alone

    try:
        runner = ModelRunner(
            path, config, spec["sha256"], progress, lambda: report(0, measuring=True)
        )
    except LagunaError as error:
        server.broadcast({"type": "unusable", "message": error.message, "hint": error.hint})
        remove_socket()
        time.sleep(0.2)
        return int(error.exit_code)
    server.ready(runner)
    server.run(may_end)
    remove_socket()
    runner.close()
    # Skips freeing gigabytes page by page: the system does it faster.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
