"""The engine's side of the socket: clients, their requests, and whose turn it is.

Readers run in threads of their own and answer what needs no decoding at once. Decoding is done by
one thread, `Service.run`, that gives every waiting client its turn.
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
from typing import Any

from laguna_agent.errors import LagunaError
from laguna_agent.models.engine import wire
from laguna_agent.models.engine.baseline import BareLoop
from laguna_agent.models.engine.generation import Generation, Order, Sinks
from laguna_agent.models.engine.llama import DecodeAbortedError
from laguna_agent.models.engine.requests import order_of
from laguna_agent.models.engine.spawn import peer_uid

TURN_S = 4.0
"""Seconds a generation may go on while another client waits."""
_WATCH_S = 1.0
"""Seconds between looks at memory and at what can be stored while there is nothing to do."""
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
        """True for those who came to work, not only to ask how things are."""
        self._lock = threading.Lock()
        self._backlog = bytearray()
        self._filled = threading.Condition(self._lock)
        self._writer: threading.Thread | None = None

    def send(self, header: wire.Header, payload: bytes = b"") -> None:
        """Send a frame now if the socket takes it, else from a thread."""
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
        """Let go of the connection."""
        with self._lock:
            self.closed = True
            self._filled.notify()
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
        self.connection.close()


@dataclasses.dataclass
class Job:
    """A request to generate."""

    client: Client
    id: int
    order: Order
    generation: Generation | BareLoop | None = None
    cancelled: bool = False
    queued: float = dataclasses.field(default_factory=time.perf_counter)
    waited_s: float = 0.0


class Service:
    """Serves clients on a listening socket. The engine is put in with `ready`."""

    def __init__(self, listener: socket.socket, *, keep_alive: float) -> None:
        self._listener = listener
        self.keep_alive = keep_alive
        self.engine: Any = None
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._clients: set[Client] = set()
        self._jobs: deque[Job] = deque()
        self._running: Job | None = None
        self._numbers = 0
        self._greeted = False
        self._stopping = False
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
                for text, special in header["segments"]:
                    tokens += self.engine.model.tokenize(text, special=special)
                client.send({"type": "done", "id": header["id"]}, wire.pack_tokens(tokens))
            case "detokenize":
                data = b"".join(map(self.engine.model.piece, wire.unpack_tokens(payload)))
                text = data.decode("utf-8", "replace")
                client.send({"type": "done", "id": header["id"], "text": text})
            case "generate":
                job = Job(
                    client, header["id"], order_of(header, payload, f"client {client.number}")
                )
                with self._lock:
                    client.jobs[job.id] = job
                    self._jobs.append(job)
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
            answer = self._loading if self.engine is None else self.engine.welcome()
            client.send({"type": "welcome", "version": wire.VERSION, "pid": os.getpid()})
            if answer is not None:
                client.send(answer)

    def _cancel(self, job: Job) -> None:
        job.cancelled = True
        if job.generation is not None:
            job.generation.cancelled = True
            if job is self._running:
                self.engine.cache.context.abort()

    def broadcast(self, header: wire.Header) -> None:
        """Tell all clients how far the loading is; those that come later are told too."""
        with self._lock:
            self._loading = header
            for client in self._clients:
                client.send(header)

    def ready(self, engine: Any) -> None:
        """The model is loaded."""
        with self._lock:
            self.engine = engine
            for client in self._clients:
                client.send(engine.welcome())
            self._idle_since = time.monotonic()

    def status(self) -> dict[str, Any]:
        """What `laguna engine status` shows."""
        with self._lock:
            state = {
                "pid": os.getpid(),
                "clients": sum(client.greeted for client in self._clients),
                "waiting": len(self._jobs),
                "busy": self._running is not None,
                "keep_alive": self.keep_alive,
                "loading": self._loading if self.engine is None else None,
            }
        if self.engine is not None:
            state |= self.engine.status()
        return state

    def stop(self) -> None:
        """End as soon as the running step is over."""
        with self._lock:
            self._stopping = True
            if self._running is not None:
                self._cancel(self._running)
            self._work.notify()

    def stop_soon(self) -> None:
        """The same from a signal handler, which must not wait for a lock."""
        self._stopping = True
        if self.engine is not None:
            self.engine.cache.context.abort()

    # --- decoding ---------------------------------------------------------------------------

    def run(self, may_end: Callable[[], bool]) -> None:
        """Work until it is time to end; `may_end` makes sure that nobody is just coming."""
        while True:
            job = self._next(may_end)
            if job is None:
                return
            try:
                self._advance(job)
            except LagunaError as error:
                self._fail(job, error.message, error.hint)
            except DecodeAbortedError:
                self._fail(job, "it was cancelled", None)
            with self._lock:
                self._running = None
                self._idle_since = time.monotonic()

    def _next(self, may_end: Callable[[], bool]) -> Job | None:
        with self._lock:
            while True:
                if self._stopping:
                    return None
                if self._jobs:
                    self._running = self._jobs.popleft()
                    self.engine.cache.context.clear_abort()
                    return self._running
                used = any(client.greeted for client in self._clients)
                self.engine.idle(alone=not used)
                self._work.wait(min(_WATCH_S, max(0.02, self.keep_alive)))
                if self._jobs or any(client.greeted for client in self._clients):
                    continue
                idle = time.monotonic() - self._idle_since
                keep = self.keep_alive if self._greeted else max(self.keep_alive, _FIRST_S)
                if idle >= keep or (idle >= _SHORT_S and self.engine.short()):
                    # What is unsaved is written first: whoever comes now waits for that, and
                    # starts another engine only when this one is about to be gone.
                    self.engine.close()
                    if may_end():
                        return None

    def _advance(self, job: Job) -> None:
        if job.generation is None:
            if job.cancelled:
                self._finish_unstarted(job)
                return
            job.waited_s = time.perf_counter() - job.queued
            job.generation = self.engine.generation(job.order, _sinks(job))
        generation = job.generation
        generation.cancelled = job.cancelled
        until = time.perf_counter() + TURN_S
        for _ in generation.steps:
            if self._jobs and time.perf_counter() > until:
                with self._lock:
                    self._jobs.append(job)
                return
        self._finish(job)

    def _finish_unstarted(self, job: Job) -> None:
        self._forget(job)
        job.client.send({"type": "finished", "id": job.id, "reason": "cancelled"})

    def _finish(self, job: Job) -> None:
        assert job.generation is not None
        outcome = job.generation.outcome
        assert outcome is not None
        self._forget(job)
        prepared = outcome.prepared
        job.client.send(
            {
                "type": "finished",
                "id": job.id,
                "reason": outcome.reason,
                "ended": outcome.ended,
                "usage": {
                    "prompt_tokens": outcome.prompt,
                    "reused_tokens": prepared.reused,
                    "restored_tokens": prepared.restored,
                    "prefilled_tokens": outcome.prefilled,
                    "completion_tokens": outcome.generated,
                },
                "timings": {
                    "queued_s": job.waited_s,
                    "prefill_s": outcome.prefill_s,
                    "decode_s": outcome.decode_s,
                    "first_token_s": outcome.first_token_s,
                },
                "source": prepared.source,
                "miss": prepared.miss.model_dump() if prepared.miss else None,
                "counters": dataclasses.asdict(self.engine.cache.counters),
                "measured": outcome.measured,
            },
            wire.pack_tokens(outcome.ids),
        )
        # Off the critical path: the client has its answer.
        self.engine.after(job.order, outcome)

    def _fail(self, job: Job, message: str, hint: str | None) -> None:
        self._forget(job)
        job.client.send({"type": "failed", "id": job.id, "message": message, "hint": hint})

    def _forget(self, job: Job) -> None:
        with self._lock:
            job.client.jobs.pop(job.id, None)


def _sinks(job: Job) -> Sinks:
    client, number = job.client, job.id

    def progress(done: int, total: int, reused: int, rate: float) -> None:
        client.send(
            {
                "type": "progress",
                "id": number,
                "done": done,
                "total": total,
                "reused": reused,
                "rate": round(rate, 3),
            }
        )

    def tokens(ids: list[int], text: str, logprobs: list[float]) -> None:
        client.send(
            {"type": "tokens", "id": number, "ids": ids, "text": text, "logprobs": logprobs}
        )

    return Sinks(progress, tokens)
