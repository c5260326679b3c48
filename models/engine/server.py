"""The engine's side of the socket: clients, their requests, and whose turn it is.

Each client has a reader thread, which answers at once whatever needs no decoding. One thread
decodes, `EngineServer.run`; waiting requests take turns in it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import threading
import time
from array import array
from collections import deque
from collections.abc import Callable
from typing import Any, Literal

from laguna_agent.errors import LagunaError
from laguna_agent.log import logger
from laguna_agent.models.engine import wire
from laguna_agent.models.engine.interface import EngineRequest
from laguna_agent.models.engine.llama import DecodeAbortedError
from laguna_agent.models.engine.model_runner import ModelRunner, Running
from laguna_agent.models.engine.progress_frames import examined, sinks
from laguna_agent.models.engine.requests import decode_request
from laguna_agent.models.engine.spawn import peer_uid

TURN_S = 4.0
"""Seconds that a generation may continue while another one waits."""
_WATCH_S = 1.0
"""Seconds between checks of memory and of unsaved state while the engine is idle."""
_SHORT_S = 5.0
_FIRST_S = 10.0
"""Seconds that an engine waits for its first client."""


class Client:
    """One connection. Sending never blocks the decoding thread."""

    def __init__(self, connection: socket.socket, number: int) -> None:
        self.connection = connection
        self.number = number
        self.jobs: dict[int, Job] = {}
        self.closed = False
        self.greeted = False
        """True for clients that sent hello: they keep the engine alive, unlike those that only ask
        for its status."""
        self._lock = threading.Lock()
        self._backlog = bytearray()
        self._filled = threading.Condition(self._lock)
        self._writer: threading.Thread | None = None

    def send(self, header: wire.Header, payload: bytes = b"") -> None:
        """Send a frame at once if the socket has room for it, else from a thread."""
        data = wire.pack(header, payload)
        with self._lock:
            if self.closed:
                return
            if not self._backlog:
                try:
                    sent = self.connection.send(data, socket.MSG_DONTWAIT)
                except BlockingIOError:
                    sent = 0
                except OSError:
                    return
                data = data[sent:]
            if data:
                self._backlog += data
                if self._writer is None:
                    self._writer = threading.Thread(target=self._write, daemon=True)
                    self._writer.start()
                self._filled.notify()

    def _write(self) -> None:
        while True:
            with self._lock:
                while not self._backlog and not self.closed:
                    self._filled.wait()
                if self.closed:
                    return
                data = bytes(self._backlog[: 1 << 16])
            try:
                sent = self.connection.send(data)
            except OSError:
                return
            with self._lock:
                del self._backlog[:sent]

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self.closed = True
            self._filled.notify()
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
        self.connection.close()


@dataclasses.dataclass
class Job:
    """A client's request for a generation."""

    client: Client
    id: int
    request: EngineRequest
    generation: Running | None = None
    cancelled: bool = False
    queued: float = dataclasses.field(default_factory=time.perf_counter)
    waited_s: float = 0.0


class EngineServer:
    """Serves clients on a listening socket; `ready` hands it the loaded model."""

    def __init__(self, listener: socket.socket, *, keep_alive: float) -> None:
        self._listener = listener
        self.keep_alive = keep_alive
        self.runner: ModelRunner | None = None
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._clients: set[Client] = set()
        self._jobs: deque[Job] = deque()
        self._running: Job | None = None
        self._numbers = 0
        self._greeted = False
        self._stopping = self._measuring = False
        self._loading: wire.Header | None = None
        self._idle_since = time.monotonic()
        threading.Thread(target=self._accept, daemon=True).start()

    # --- clients ----------------------------------------------------------------------------

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            if peer_uid(connection) != os.getuid():
                connection.close()
                continue
            with self._lock:
                self._numbers += 1
                client = Client(connection, self._numbers)
                self._clients.add(client)
            threading.Thread(target=self._read, args=(client,), daemon=True).start()

    def _read(self, client: Client) -> None:
        try:
            while True:
                header, payload = wire.receive_frame(client.connection)
                self._handle(client, header, payload)
        except (wire.WireError, KeyError, TypeError, ValueError):
            pass
        finally:
            with self._lock:
                self._clients.discard(client)
                for job in client.jobs.values():
                    self._cancel(job)
                if client.greeted:
                    self._idle_since = time.monotonic()
                self._work.notify()
            client.close()

    def _handle(self, client: Client, header: wire.Header, payload: bytes) -> None:
        match header["type"]:
            case "hello":
                self._hello(client, header)
            case "tokenize":
                tokens: array[int] = array("i")
                with self._loaded.model_lock:
                    for text, special in header["segments"]:
                        tokens += self._loaded.model.tokenize(text, special=special)
                client.send({"type": "done", "id": header["id"]}, wire.pack_tokens(tokens))
            case "detokenize":
                with self._loaded.model_lock:
                    data = b"".join(map(self._loaded.model.piece, wire.unpack_tokens(payload)))
                text = data.decode("utf-8", "replace")
                client.send({"type": "done", "id": header["id"], "text": text})
            case "generate":
                request = decode_request(header, payload)
                request.session = request.session or f"client {client.number}"
                job = Job(client, header["id"], request)
                with self._lock:
                    client.jobs[job.id] = job
                    self._jobs.append(job)
                    if self._measuring:
                        self._loaded.abort()
                    self._work.notify()
            case "cancel":
                with self._lock:
                    if header["id"] in client.jobs:
                        self._cancel(client.jobs[header["id"]])
            case "status":
                client.send({"type": "done", "id": header["id"], "status": self.status()})
            case "stop":
                client.send({"type": "done", "id": header["id"]})
                self.stop()

    def _hello(self, client: Client, header: wire.Header) -> None:
        if header["version"] != wire.VERSION:
            client.send({"type": "refused", "version": wire.VERSION, "pid": os.getpid()})
            return
        with self._lock:
            client.greeted = self._greeted = True
            if header.get("keep_alive") is not None:
                self.keep_alive = float(header["keep_alive"])
            answer = self._loading if self.runner is None else self.runner.ready_message()
            client.send({"type": "welcome", "version": wire.VERSION, "pid": os.getpid()})
            if answer is not None:
                client.send(answer)

    def _cancel(self, job: Job) -> None:
        job.cancelled = True
        if job.generation is not None:
            job.generation.cancelled = True
            if job is self._running:
                self._loaded.abort(job.generation)

    def broadcast(self, header: wire.Header) -> None:
        """Send all clients the progress of loading; clients that connect later get it too."""
        with self._lock:
            self._loading = header
            for client in self._clients:
                client.send(header)

    def ready(self, runner: ModelRunner) -> None:
        """Start to serve the loaded model."""
        with self._lock:
            self.runner = runner
            for client in self._clients:
                client.send(runner.ready_message())
            self._idle_since = time.monotonic()

    def status(self) -> dict[str, Any]:
        """Fields for `laguna engine status`."""
        with self._lock:
            state = {
                "pid": os.getpid(),
                "clients": sum(client.greeted for client in self._clients),
                "waiting": len(self._jobs),
                "busy": self._running is not None,
                "keep_alive": self.keep_alive,
                "loading": self._loading if self.runner is None else None,
            }
        if self.runner is not None:
            state |= self.runner.status()
        return state

    def stop(self) -> None:
        """Stop as soon as the current step is over."""
        with self._lock:
            self._stopping = True
            if self._running is not None and self._running.generation is not None:
                self._running.generation.cancelled = True
                self._loaded.abort(self._running.generation)
            elif self._measuring:
                self._loaded.abort()
            self._work.notify()

    def stop_soon(self) -> None:
        """Like `stop`, for a signal handler, which must not wait for a lock."""
        self._stopping = True
        running = self._running
        if self.runner is not None:
            self.runner.abort(running.generation if running is not None else None)

    @property
    def _loaded(self) -> ModelRunner:
        if self.runner is None:
            raise ValueError("the model is not loaded yet")
        return self.runner

    # --- decoding ---------------------------------------------------------------------------

    def run(self, may_end: Callable[[], bool]) -> None:
        """Serve until the engine should end; `may_end` makes sure that no client is connecting."""
        while True:
            job = self._next(may_end)
            if job is None:
                return
            if job == "measure":
                try:
                    self._loaded.measure_again(lambda: bool(self._jobs) or self._stopping)
                except LagunaError as error:
                    logger.warning("measuring again: %s", error)
                continue
            try:
                self._advance(job)
            except LagunaError as error:
                self._fail(job, error.message, error.hint)
            except DecodeAbortedError:
                if not self._is_cut_off(job):
                    self._fail(job, "the request was cancelled", None)
            with self._lock:
                self._running = None
                self._idle_since = time.monotonic()

    def _next(self, may_end: Callable[[], bool]) -> Job | Literal["measure"] | None:
        """The next job; "measure" at a quiet moment, None when the engine is to end."""
        with self._lock:
            self._measuring = False
            while True:
                if self._stopping:
                    return None
                if self._jobs:
                    self._running = self._jobs.popleft()
                    self._loaded.cache.context.clear_abort()
                    return self._running
                used = any(client.greeted for client in self._clients)
                self._loaded.idle(alone=not used)
                self._measuring = self._loaded.wants_measuring()
                if self._measuring:
                    return "measure"
                self._work.wait(min(_WATCH_S, max(0.02, self.keep_alive)))
                if self._jobs or any(client.greeted for client in self._clients):
                    continue
                idle = time.monotonic() - self._idle_since
                keep = self.keep_alive if self._greeted else max(self.keep_alive, _FIRST_S)
                if idle >= keep or (idle >= _SHORT_S and self._loaded.short_of_memory()):
                    # Unsaved state is written first: a client that connects now waits for that, and
                    # starts another engine only when this one is about to end.
                    self._loaded.close()
                    if may_end():
                        return None

    def _advance(self, job: Job) -> None:
        if job.generation is None:
            if job.cancelled:
                self._finish_unstarted(job)
                return
            job.waited_s = time.perf_counter() - job.queued
            job.generation = self._loaded.start(
                job.request, sinks(job.client.send, job.id), examined(job.client.send, job.id)
            )
        generation = job.generation
        generation.cancelled = job.cancelled or self._stopping
        until = time.perf_counter() + TURN_S
        for _ in generation.steps:
            if self._jobs and time.perf_counter() > until:
                with self._lock:
                    self._jobs.append(job)
                return
        self._finish(job)

    def _is_cut_off(self, job: Job) -> bool:
        """Whether the engine's end cuts a reply off: its client goes on with another engine."""
        return self._stopping and not job.cancelled

    def _finish_unstarted(self, job: Job) -> None:
        self._forget(job)
        job.client.send({"type": "finished", "id": job.id, "reason": "cancelled"})

    def _finish(self, job: Job) -> None:
        assert job.generation is not None
        result = job.generation.result
        assert result is not None
        if self._is_cut_off(job) and result.reason == "cancelled":
            return
        self._forget(job)
        prepared = result.prepared
        job.client.send(
            {
                "type": "finished",
                "id": job.id,
                "reason": result.reason,
                "ended": result.ended,
                "usage": {
                    "prompt_tokens": result.prompt,
                    "reused_tokens": prepared.reused,
                    "restored_tokens": prepared.restored,
                    "prefilled_tokens": result.prefilled,
                    "completion_tokens": result.generated,
                },
                "timings": {
                    "queued_s": job.waited_s,
                    "prefill_s": result.prefill_s,
                    "decode_s": result.decode_s,
                    "first_token_s": result.first_token_s,
                },
                "source": prepared.source,
                "miss": prepared.miss.model_dump() if prepared.miss else None,
                "counters": dataclasses.asdict(self._loaded.cache.counters),
                "measured": result.measured,
                "others": [dataclasses.asdict(other) for other in result.others],
            },
            wire.pack_tokens(result.ids),
        )
        # Off the critical path: the client has its answer.
        self._loaded.finish(job.request)

    def _fail(self, job: Job, message: str, hint: str | None) -> None:
        self._forget(job)
        job.client.send({"type": "failed", "id": job.id, "message": message, "hint": hint})

    def _forget(self, job: Job) -> None:
        with self._lock:
            job.client.jobs.pop(job.id, None)
