"""The engine process: loads one model and serves it until nobody needs it any more.

Started by `spawn`, with the listening socket as its first argument and a JSON object as its second.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from laguna_agent.config import EngineConfig
from laguna_agent.errors import LagunaError, ModelError
from laguna_agent.models.engine.cache import Cache, Limits
from laguna_agent.models.engine.generation import Generation, Order, Outcome, Sinks
from laguna_agent.models.engine.llama import (
    Context,
    ContextOptions,
    LoadOptions,
    Model,
    build_info,
    redirect_log,
)
from laguna_agent.models.engine.service import Service
from laguna_agent.models.engine.spawn import log_path, socket_path, start_lock
from laguna_agent.models.fit import MICRO_BATCH, choose_context
from laguna_agent.models.gguf import GgufHeader, read_header
from laguna_agent.models.memory import machine_memory

_PROGRESS_S = 0.1
_LEAST_FREE = 0.04
"""Share of main memory below which an idle engine gives way."""


class Engine:
    """A model, its context and what was saved of it."""

    def __init__(
        self,
        path: Path,
        config: EngineConfig,
        sha256: str | None,
        on_progress: Any = None,
    ) -> None:
        started = time.perf_counter()
        self.config = config
        self.sha256 = sha256
        header = read_header(path)
        self.header = header
        size = choose_context(header, config)
        self.model = Model(
            path,
            LoadOptions(
                gpu_layers=config.gpu_layers,
                cpu_experts=config.cpu_experts or 0,
                mmap=config.mmap,
                repack=config.repack is not False,
            ),
            on_progress,
        )
        _check_ends(self.model)
        threads = config.threads or physical_cores()
        micro = config.micro_batch or MICRO_BATCH
        self.options = ContextOptions(
            context=size,
            batch=config.batch or micro,
            micro_batch=micro,
            threads=threads,
            threads_batch=threads,
            flash_attention=config.flash_attention,
            kv_type=config.kv_type,
        )
        self.context = Context(self.model, self.options)
        self.cache = Cache(self.context, limits=_limits())
        self.load_s = time.perf_counter() - started

    def welcome(self) -> dict[str, Any]:
        """What a client is told of the model."""
        return {"type": "ready", "model": describe(self)}

    def generation(self, order: Order, sinks: Sinks) -> Generation:
        """A generation to advance."""
        return Generation(self.model, self.cache, order, sinks)

    def after(self, order: Order, outcome: Outcome) -> None:
        """What can wait until the client has its answer."""
        self.cache.checkpoint()

    def idle(self) -> None:
        """Called now and then while there is nothing to do."""

    def short(self) -> bool:
        """True when memory is short and an idle engine should give way."""
        memory = machine_memory()
        return memory.available < _LEAST_FREE * memory.total

    def status(self) -> dict[str, Any]:
        """What `laguna engine status` shows."""
        import dataclasses

        return {
            "model": describe(self),
            "context": dataclasses.asdict(self.options),
            "load_s": self.load_s,
            "cache": self.cache.describe(),
            "counters": dataclasses.asdict(self.cache.counters),
        }


def describe(engine: Engine) -> dict[str, Any]:
    """The fields of EngineModel."""
    model = engine.model
    header: GgufHeader = engine.header
    return {
        "path": str(model.path),
        "sha256": engine.sha256,
        "architecture": model.architecture,
        "quantization": header.quantization,
        "parameters": model.parameters,
        "size_bytes": header.size,
        "context": engine.context.size,
        "template": model.template,
        "metadata": model.metadata,
        "bos": model.bos,
        "eos": model.eos,
        "build": build_info(),
    }


def _check_ends(model: Model) -> None:
    """A Laguna whose `</assistant>` is not an end token would never stop."""
    if model.architecture != "laguna":
        return
    token = model.token_of("</assistant>")
    if token is None or not model.is_end(token):
        raise ModelError(
            f"{model.path} does not mark `</assistant>` as an end-of-generation token",
            hint="Its replies would never end. Take another file of this model.",
        )


def _limits() -> Limits:
    total = machine_memory().total
    return Limits(
        checkpoint_bytes=min(1 << 30, total // 24), parked_bytes=min(2 << 30, total // 16)
    )


def physical_cores() -> int:
    """Cores this process may use, not counting a second thread of the same core."""
    allowed = (
        os.sched_getaffinity(0)
        if hasattr(os, "sched_getaffinity")
        else set(range(os.cpu_count() or 1))
    )
    cores = set()
    for cpu in allowed:
        try:
            topology = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
            cores.add(topology.read_text())
        except OSError:
            cores.add(str(cpu))
    return max(1, len(cores))


def main(arguments: list[str]) -> int:
    """Serve; returns the exit code."""
    spec = json.loads(arguments[1])
    key = spec["key"]
    redirect_log(log_path(key))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    listener = socket.socket(fileno=int(arguments[0]))
    inode = socket_path(key).stat().st_ino
    config = EngineConfig.model_validate(spec["config"])
    service = Service(listener, keep_alive=config.keep_alive)
    signal.signal(signal.SIGTERM, lambda *_: service.stop_soon())
    path = Path(spec["path"])
    total = path.stat().st_size
    told = 0.0

    def progress(fraction: float) -> None:
        nonlocal told
        now = time.monotonic()
        if fraction >= 1 or now - told > _PROGRESS_S:
            told = now
            service.broadcast({"type": "loading", "done": int(fraction * total), "total": total})

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
        engine = Engine(path, config, spec["sha256"], progress)
    except LagunaError as error:
        service.broadcast({"type": "unusable", "message": error.message, "hint": error.hint})
        remove_socket()
        time.sleep(0.2)
        return int(error.exit_code)
    service.ready(engine)
    service.run(may_end)
    remove_socket()
    # Freeing gigabytes page by page takes time that the system does not need for it.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
