"""The client's side of an engine: one connection, many requests, and what to do when it dies.

The protocol carries whole prompts, so an engine that was killed loses nothing but its cache: the
client starts another, sends the prompt and what had been generated, and the reply goes on.

Over 400 lines because connecting, asking and recovering share the state of one connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from laguna_agent.config import EngineConfig
from laguna_agent.errors import ContextFullError, ModelError
from laguna_agent.events import (
    CacheMiss,
    EngineRestarted,
    ModelLoading,
    PrefillProgress,
    Timings,
    Usage,
)
from laguna_agent.models.chat.chat_format import Segment
from laguna_agent.models.conversation import Sampling
from laguna_agent.models.engine import wire
from laguna_agent.models.engine.interface import (
    EngineEvent,
    EngineModel,
    EngineRequest,
    Finished,
    Score,
    Tokens,
)
from laguna_agent.models.engine.registry import make_room
from laguna_agent.models.engine.spawn import (
    EngineSpec,
    Started,
    find_or_start,
    last_log_line,
    socket_path,
    start_lock,
)

RESTARTS = 3
"""How often an engine that dies is started again for one request."""
_CANCEL_S = 60.0
_LIMIT = 1 << 26
_DEATH_CHECKS = 25
"""How often, 20 ms apart, it is looked for what a process died of."""

OnEvent = Callable[[ModelLoading | EngineRestarted], None]


class EngineLostError(Exception):
    """The connection to the engine is gone; the text says what is known of the reason."""


@dataclass
class _Frame:
    header: wire.Header
    payload: bytes = b""


class _Connection:
    """A connection with its reader task. Frames go to the queue of the request they belong to."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, started: Started
    ) -> None:
        self.reader, self.writer, self.started = reader, writer, started
        self.queues: dict[int, asyncio.Queue[_Frame | None]] = {}
        self.lost = False
        self.task: asyncio.Task[None] | None = None

    def listen(self) -> None:
        self.task = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        try:
            while True:
                header, payload = await wire.read_frame(self.reader)
                queue = self.queues.get(header.get("id", -1))
                if queue is not None:
                    queue.put_nowait(_Frame(header, payload))
        except wire.WireError:
            pass
        finally:
            self.lost = True
            for queue in self.queues.values():
                queue.put_nowait(None)

    async def send(self, header: wire.Header, payload: bytes = b"") -> None:
        if self.lost:
            raise EngineLostError(await self.reason())
        try:
            self.writer.write(wire.pack(header, payload))
            await self.writer.drain()
        except OSError as error:
            raise EngineLostError(await self.reason()) from error

    async def reason(self) -> str:
        """Why the engine is gone, as far as it can be known from here."""
        process = self.started.process
        for _ in range(_DEATH_CHECKS):
            if process is None or process.returncode is not None:
                break
            await asyncio.sleep(0.02)
        if process is not None and process.returncode is not None:
            code = process.returncode
            if code == -signal.SIGILL:
                return (
                    "the engine process met an instruction that this processor does not have"
                    " (./install.sh builds llama.cpp for it)"
                )
            if code < 0:
                return f"the engine process was killed by signal {-code}"
            return f"the engine process ended with code {code}"
        return "the engine process is gone"

    async def close(self) -> None:
        self.lost = True
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


class EngineClient:
    """An engine in another process; see `base.Engine`. Made by `open_engine`."""

    def __init__(self, spec: EngineSpec) -> None:
        self.spec = spec
        self.model: EngineModel
        self._connection: _Connection | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._next = 0
        self._opening = asyncio.Lock()

    # --- connecting -------------------------------------------------------------------------

    async def connect(self, on_event: OnEvent | None = None) -> None:
        """Find or start the engine and wait until its model is loaded.

        An engine that dies while it loads is started again; raises ModelError for good.
        """
        async with self._opening:
            if self._connection is not None and not self._connection.lost:
                return
            for attempt in range(RESTARTS + 1):
                try:
                    await self._open(on_event)
                    return
                except EngineLostError as error:
                    if attempt == RESTARTS:
                        raise self._gave_up(error) from error
                    if on_event:
                        on_event(EngineRestarted(reason=str(error), attempt=attempt + 1))

    def _gave_up(self, error: Exception) -> ModelError:
        line = last_log_line(self.spec.key)
        return ModelError(
            f"{error}, again after {RESTARTS} restarts" + (f": {line}" if line else ""),
            hint="Try a smaller context or model, and look at `laguna doctor`.",
        )

    async def _open(self, on_event: OnEvent | None) -> None:
        started = await asyncio.to_thread(_find_or_start, self.spec)
        started.connection.setblocking(False)
        reader, writer = await asyncio.open_unix_connection(sock=started.connection, limit=_LIMIT)
        connection = _Connection(reader, writer, started)
        try:
            await connection.send(
                {
                    "type": "hello",
                    "version": wire.VERSION,
                    "keep_alive": self.spec.config.keep_alive,
                }
            )
            await self._handshake(connection, on_event)
        except wire.WireError as error:
            reason = await connection.reason()
            await connection.close()
            raise EngineLostError(f"{reason} while it was loading") from error
        except BaseException:
            await connection.close()
            raise
        connection.listen()
        self._connection = connection

    async def _handshake(self, connection: _Connection, on_event: OnEvent | None) -> None:
        while True:
            header, _ = await wire.read_frame(connection.reader)
            match header["type"]:
                case "loading":
                    if on_event:
                        on_event(
                            ModelLoading(
                                done=header["done"],
                                total=header["total"],
                                measuring=header.get("measuring", False),
                            )
                        )
                case "unusable":
                    raise ModelError(header["message"], hint=header["hint"])
                case "refused":
                    # An engine of another protocol under our key: leave it its clients.
                    with start_lock(self.spec.key):
                        socket_path(self.spec.key).unlink(missing_ok=True)
                    raise EngineLostError("the running engine speaks another protocol")
                case "ready":
                    self.model = EngineModel(**header["model"])
                    return

    async def _connected(self) -> _Connection:
        if self._connection is None or self._connection.lost:
            await self.connect()
        assert self._connection is not None
        return self._connection

    # --- requests ---------------------------------------------------------------------------

    async def _ask(self, header: wire.Header, payload: bytes = b"") -> _Frame:
        """One question, one answer; asked again when the engine dies."""
        for _ in range(RESTARTS + 1):
            connection = await self._connected()
            number, queue = self._register(connection)
            try:
                await connection.send({**header, "id": number}, payload)
                frame = await queue.get()
                if frame is not None:
                    return frame
            except EngineLostError:
                pass
            finally:
                connection.queues.pop(number, None)
        raise self._gave_up(EngineLostError("the engine process dies at every request"))

    def _register(self, connection: _Connection) -> tuple[int, asyncio.Queue[_Frame | None]]:
        self._next += 1
        queue: asyncio.Queue[_Frame | None] = asyncio.Queue()
        connection.queues[self._next] = queue
        if connection.lost:
            queue.put_nowait(None)
        return self._next, queue

    async def tokenize(self, segments: Sequence[Segment]) -> list[int]:
        """Token ids of the segments, one after the other, without added specials."""
        parts = [[segment.text, segment.special] for segment in segments if segment.text]
        if not parts:
            return []
        frame = await self._ask({"type": "tokenize", "segments": parts})
        return wire.unpack_tokens(frame.payload).tolist()

    async def detokenize(self, ids: Sequence[int]) -> str:
        """Text of the ids, specials spelled out, invalid UTF-8 replaced."""
        frame = await self._ask({"type": "detokenize"}, wire.pack_tokens(ids))
        return str(frame.header["text"])

    async def status(self) -> dict[str, Any]:
        """What the engine says of itself."""
        frame = await self._ask({"type": "status"})
        return dict(frame.header["status"])

    @property
    def process(self) -> subprocess.Popen[bytes] | None:
        """The engine process, if it was started from here."""
        return self._connection.started.process if self._connection else self._process

    async def stop(self) -> None:
        """End the engine, whoever else uses it."""
        await self._ask({"type": "stop"})

    async def generate(self, request: EngineRequest) -> AsyncIterator[EngineEvent]:
        """Yield progress and tokens, and last a `Finished`. Closing the iterator cancels.

        An engine that dies is started again, three times at most, and the reply goes on.
        Raises ContextFullError before anything is decoded, ModelError when it fails for good.
        """
        limit = self.model.context
        if len(request.tokens) + 1 > limit:
            raise ContextFullError(len(request.tokens), 1, limit)
        ids: list[int] = []
        for attempt in range(RESTARTS + 1):
            try:
                # Closed here and not by the garbage collector, so that a cancelled reply has ended
                # when the caller's `aclose` returns.
                async with contextlib.aclosing(self._attempt(request, ids)) as events:
                    async for event in events:
                        if isinstance(event, Tokens):
                            ids += event.ids
                        yield event
                return
            except EngineLostError as error:
                if attempt == RESTARTS:
                    raise self._gave_up(error) from error
                yield EngineRestarted(reason=str(error), attempt=attempt + 1)
                told: list[EngineEvent] = []
                await self.connect(told.append)
                for event in told:
                    yield event

    async def _attempt(
        self, request: EngineRequest, ids: Sequence[int]
    ) -> AsyncGenerator[EngineEvent, None]:
        connection = self._connection
        if connection is None or connection.lost:
            raise EngineLostError(await connection.reason() if connection else "it was closed")
        number, queue = self._register(connection)
        finished = halted = False
        try:
            tokens = [*request.tokens, *ids]
            await connection.send(
                {"id": number, "resume": len(ids), **_request(request, self.spec.config)},
                wire.pack_tokens(tokens),
            )
            while not finished:
                frame = await queue.get()
                if frame is None:
                    finished = True
                    raise EngineLostError(await connection.reason())
                event = _event(frame)
                finished = isinstance(event, Finished)
                yield event
                if request.halt and not halted and not finished:
                    halted = True
                    await connection.send({"type": "cancel", "id": number})
        except ModelError:
            finished = True
            raise
        finally:
            if not finished:
                await self._cancel(connection, number, queue)
            connection.queues.pop(number, None)

    async def _cancel(
        self, connection: _Connection, number: int, queue: asyncio.Queue[_Frame | None]
    ) -> None:
        """Stop a generation and wait until the engine has let go of it."""
        try:
            async with asyncio.timeout(_CANCEL_S):
                await connection.send({"type": "cancel", "id": number})
                while (frame := await queue.get()) is not None:
                    if frame.header["type"] in ("finished", "failed"):
                        return
        except (EngineLostError, TimeoutError):
            pass

    async def score(self, request: EngineRequest, wanted: Sequence[int]) -> list[Score]:
        """See Engine."""
        connection = await self._connected()
        number, queue = self._register(connection)
        found: list[Score] = []
        try:
            header = {**_request(request, self.spec.config), "score": True, "id": number}
            await connection.send(
                {**header, "resume": len(wanted)}, wire.pack_tokens([*request.tokens, *wanted])
            )
            while (frame := await queue.get()) is not None:
                event = _event(frame)
                if isinstance(event, Finished):
                    return found
                if isinstance(event, Tokens):
                    found.append(Score(wanted[len(found)], event.ids[0], event.logprobs[0]))
        finally:
            connection.queues.pop(number, None)
        raise self._gave_up(EngineLostError(await connection.reason()))

    async def bare(
        self, tokens: Sequence[int], count: int, *, kept: int = 0, states: bool = False
    ) -> Finished:
        """Time llama.cpp alone on a prompt and `count` tokens. For `bench`.

        The first `kept` tokens are taken from the cache; without them it is empty before and
        afterwards. With `states`, also what saving the state after them and restoring it takes,
        llama.cpp's own way (`bare_save`, `bare_restore`) and through the snapshot store (`save`,
        `restore`).
        """
        request = EngineRequest(tokens, Sampling(temperature=0), count, session="bare")
        frame = await self._ask(
            {
                **_request(request, self.spec.config),
                "bare": True, "kept": kept, "states": states, "resume": 0,
            },
            wire.pack_tokens(tokens),
        )  # fmt: skip
        event = _event(frame)
        assert isinstance(event, Finished)
        return event

    async def aclose(self) -> None:
        """Let go of the engine; it lives on for its keep-alive time."""
        if self._connection is not None:
            self._process = self._connection.started.process
            await self._connection.close()
            self._connection = None


def _find_or_start(spec: EngineSpec) -> Started:
    """As `spawn.find_or_start`, after idle engines have made room for a new one."""
    try:
        needed = int(spec.path.stat().st_size * 1.1)
        if not socket_path(spec.key).exists():
            make_room(spec.key, needed)
    except OSError:
        pass
    return find_or_start(spec)


def _request(request: EngineRequest, config: EngineConfig) -> wire.Header:
    return {
        "type": "generate",
        "sampling": request.sampling.model_dump(),
        "max_tokens": request.max_tokens,
        "grammar": asdict(request.grammar) if request.grammar else None,
        "stops": list(request.stops),
        "marks": list(request.marks),
        "static": request.static,
        "think_close": list(request.think_close),
        "thinking_budget": request.thinking_budget,
        "logprobs": request.logprobs,
        "session": request.session,
        "snapshot": request.snapshot and config.snapshots,
        "speculate": config.speculation,
    }


def _event(frame: _Frame) -> EngineEvent:
    header = frame.header
    match header["type"]:
        case "progress":
            rate = header["rate"]
            left = header["total"] - header["done"]
            return PrefillProgress(
                done=header["done"],
                total=header["total"],
                reused=header["reused"],
                rate=rate,
                eta_s=left / rate if rate else 0.0,
            )
        case "tokens":
            return Tokens(tuple(header["ids"]), header["text"], tuple(header["logprobs"]))
        case "failed":
            raise ModelError(header["message"], hint=header["hint"])
    miss = header.get("miss")
    return Finished(
        reason=header["reason"],
        usage=Usage(**header.get("usage", {})),
        timings=Timings(**header.get("timings", {})),
        ids=tuple(wire.unpack_tokens(frame.payload)),
        ended=header.get("ended", False),
        miss=CacheMiss(**miss) if miss else None,
        counters=header.get("counters", {}),
        measured=header.get("measured", {}),
    )


async def open_engine(
    path: Path,
    *,
    config: EngineConfig,
    sha256: str | None = None,
    on_event: OnEvent | None = None,
) -> EngineClient:
    """An engine for a model file: a running one with the same settings, else a new one.

    `on_event` sees `ModelLoading` while it loads and `EngineRestarted` when that had to be tried
    again. Raises ModelError when the model cannot be used.
    """
    client = EngineClient(EngineSpec(path, config, sha256))
    await client.connect(on_event)
    return client
