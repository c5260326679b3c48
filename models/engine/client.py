"""The client's side of an engine: requests over one connection, and recovery when it dies.

The protocol carries whole prompts, so an engine that is killed loses nothing but its cache: the
client starts another, sends the prompt and the tokens generated so far, and the reply continues.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from laguna_agent.config import EngineConfig
from laguna_agent.errors import ContextFullError, ModelError
from laguna_agent.events import (
    EngineRestarted,
    ModelLoading,
)
from laguna_agent.log import logger
from laguna_agent.models.chat.chat_format import Segment
from laguna_agent.models.conversation import Sampling
from laguna_agent.models.engine import wire
from laguna_agent.models.engine.connection import EngineConnection, EngineLostError, Frame
from laguna_agent.models.engine.frames import event_of, joined
from laguna_agent.models.engine.interface import (
    EngineEvent,
    EngineModel,
    EngineRequest,
    Examined,
    Finished,
    Score,
    Tokens,
)
from laguna_agent.models.engine.registry import evict_idle
from laguna_agent.models.engine.requests import encode_request
from laguna_agent.models.engine.spawn import (
    EngineSpec,
    Started,
    find_or_start,
    last_log_line,
    socket_path,
    start_lock,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

RESTARTS = 3
"""How often an engine that dies is restarted for one request."""
_CANCEL_S = 60.0
_LIMIT = 1 << 26

OnEvent = Callable[[ModelLoading | EngineRestarted], None]


class EngineClient:
    """An `Engine` in another process. Create with `open_engine`."""

    def __init__(self, spec: EngineSpec) -> None:
        self.spec = spec
        self.model: EngineModel
        self._connection: EngineConnection | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._connecting = asyncio.Lock()

    # --- connecting -------------------------------------------------------------------------

    async def connect(self, on_event: OnEvent | None = None) -> None:
        """Find or start the engine and wait until its model is loaded.

        An engine that dies while it loads is restarted, `RESTARTS` times; then raises ModelError.
        """
        async with self._connecting:
            if self._connection is not None and not self._connection.lost:
                return
            for attempt in range(RESTARTS + 1):
                try:
                    await self._open(on_event)
                    return
                except EngineLostError as error:
                    logger.warning("engine %s lost: %s", self.spec.key, error)
                    if attempt == RESTARTS:
                        raise self._gave_up(error) from error
                    if on_event:
                        on_event(EngineRestarted(reason=str(error), attempt=attempt + 1))

    def _gave_up(self, error: Exception) -> ModelError:
        line = last_log_line(self.spec.key)
        return ModelError(
            f"{error}, also after {RESTARTS} restarts" + (f": {line}" if line else ""),
            hint="Try a smaller context or model, or run `laguna doctor`.",
        )

    async def _open(self, on_event: OnEvent | None) -> None:
        started = await asyncio.to_thread(_find_or_start, self.spec)
        started.connection.setblocking(False)
        reader, writer = await asyncio.open_unix_connection(sock=started.connection, limit=_LIMIT)
        connection = EngineConnection(reader, writer, started)
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

    async def _handshake(self, connection: EngineConnection, on_event: OnEvent | None) -> None:
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
                    # An engine with another protocol but our key: leave it to its clients.
                    with start_lock(self.spec.key):
                        socket_path(self.spec.key).unlink(missing_ok=True)
                    raise EngineLostError("the running engine is from another version of laguna")
                case "ready":
                    self.model = EngineModel(**header["model"])
                    return

    async def _connected(self) -> EngineConnection:
        if self._connection is None or self._connection.lost:
            await self.connect()
        assert self._connection is not None
        return self._connection

    # --- requests ---------------------------------------------------------------------------

    async def _call(self, header: wire.Header, payload: bytes = b"") -> Frame:
        """Send a request that has one answer; again when the engine dies."""
        for _ in range(RESTARTS + 1):
            connection = await self._connected()
            with connection.request() as (number, queue):
                try:
                    await connection.send({**header, "id": number}, payload)
                except EngineLostError:
                    continue
                frame = await queue.get()
                if frame is not None:
                    return frame
        raise self._gave_up(EngineLostError("the engine process crashes on every request"))

    async def tokenize(self, segments: Sequence[Segment]) -> list[int]:
        """Token ids of the segments in order, without added special tokens."""
        parts = [[segment.text, segment.special] for segment in segments if segment.text]
        if not parts:
            return []
        frame = await self._call({"type": "tokenize", "segments": parts})
        return wire.unpack_tokens(frame.payload).tolist()

    async def detokenize(self, ids: Sequence[int]) -> str:
        """Text of the ids, special tokens spelled out, invalid UTF-8 replaced."""
        frame = await self._call({"type": "detokenize"}, wire.pack_tokens(ids))
        return str(frame.header["text"])

    async def status(self) -> dict[str, Any]:
        """The status that the engine reports."""
        frame = await self._call({"type": "status"})
        return dict(frame.header["status"])

    @property
    def process(self) -> subprocess.Popen[bytes] | None:
        """The engine process; None when another process started it."""
        return self._connection.started.process if self._connection else self._process

    async def stop(self) -> None:
        """End the engine, even while others use it."""
        await self._call({"type": "stop"})

    async def generate(self, request: EngineRequest) -> AsyncGenerator[EngineEvent, None]:
        """Yield progress and tokens, and last a `Finished`. Closing the iterator cancels.

        An engine that dies is restarted, `RESTARTS` times at most, and the reply continues; with
        `others`, it begins again.
        Raises ContextFullError before anything is decoded, ModelError when generation fails.
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
                logger.warning("engine %s lost: %s", self.spec.key, error)
                if attempt == RESTARTS:
                    raise self._gave_up(error) from error
                yield EngineRestarted(reason=str(error), attempt=attempt + 1)
                if request.others:
                    ids.clear()  # those of the other replies are lost: all begin again
                loading: list[EngineEvent] = []
                await self.connect(loading.append)
                for event in loading:
                    yield event

    async def _attempt(
        self, request: EngineRequest, ids: Sequence[int]
    ) -> AsyncGenerator[EngineEvent, None]:
        connection = self._connection
        if connection is None or connection.lost:
            raise EngineLostError(await connection.reason() if connection else "it was closed")
        finished = halted = False
        with connection.request() as (number, queue):
            try:
                await self._send(connection, number, request, ids)
                while not finished:
                    frame = await queue.get()
                    if frame is None:
                        finished = True
                        raise EngineLostError(await connection.reason())
                    event = event_of(frame)
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

    async def _send(
        self,
        connection: EngineConnection,
        number: int,
        request: EngineRequest,
        reply: Sequence[int],
    ) -> None:
        """Send a request with the tokens of its reply so far."""
        config = self.spec.config
        header, payload = encode_request(
            replace(
                request,
                tokens=[*request.tokens, *reply],
                resume=request.resume + len(reply),
                snapshot=request.snapshot and config.snapshots,
                speculate=config.speculation,
            )
        )
        await connection.send({**header, "id": number}, payload)

    async def _cancel(
        self, connection: EngineConnection, number: int, queue: asyncio.Queue[Frame | None]
    ) -> None:
        """Cancel a generation and wait until the engine has stopped it."""
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
        found: list[Score] = []
        with connection.request() as (number, queue):
            await self._send(connection, number, replace(request, task="score"), wanted)
            while (frame := await queue.get()) is not None:
                event = event_of(frame)
                if isinstance(event, Finished):
                    return found
                if isinstance(event, Tokens):
                    found.append(Score(wanted[len(found)], event.ids[0], event.logprobs[0]))
        raise self._gave_up(EngineLostError(await connection.reason()))

    async def examine(
        self, request: EngineRequest, *, on_progress: Callable[[int], None] | None = None
    ) -> Examined:
        """See Engine. Raises ContextFullError and ModelError like `generate`."""
        limit = self.model.context
        if len(request.tokens) > limit:
            raise ContextFullError(len(request.tokens), 0, limit)
        connection = await self._connected()
        layers: tuple[int, ...] = ()
        parts: list[dict[str, NDArray[Any]]] = []
        finished = False
        with connection.request() as (number, queue):
            try:
                header, payload = encode_request(replace(request, task="examine"))
                await connection.send({**header, "id": number}, payload)
                while (frame := await queue.get()) is not None:
                    if frame.header["type"] != "examined":
                        finished = True
                        event_of(frame)  # raises when it failed
                        return Examined(layers, joined(parts))
                    layers = tuple(frame.header["layers"])
                    parts.append(wire.unpack_arrays(frame.header, frame.payload))
                    if on_progress:
                        on_progress(frame.header["done"])
                finished = True
            finally:
                if not finished:
                    await self._cancel(connection, number, queue)
        raise self._gave_up(EngineLostError(await connection.reason()))

    async def baseline(
        self, tokens: Sequence[int], count: int, *, kept: int = 0, time_states: bool = False
    ) -> Finished:
        """Time llama.cpp alone on a prompt and `count` tokens, for `bench`.

        The first `kept` tokens are taken from the cache; without them it is empty before and
        afterwards. With `time_states`, also time saving the state after them and restoring it:
        with llama.cpp's own functions (`baseline_save`, `baseline_restore`) and through the
        snapshot store (`save`, `restore`).
        """
        header, payload = encode_request(
            EngineRequest(
                tokens,
                Sampling(temperature=0),
                count,
                session="baseline",
                task="baseline",
                kept=kept,
                time_states=time_states,
            )
        )
        event = event_of(await self._call(header, payload))
        assert isinstance(event, Finished)
        return event

    async def aclose(self) -> None:
        """Disconnect. The engine process stays for its keep-alive time."""
        if self._connection is not None:
            self._process = self._connection.started.process
            await self._connection.close()
            self._connection = None


def _find_or_start(spec: EngineSpec) -> Started:
    """Like `spawn.find_or_start`, but end idle engines first when memory is short."""
    try:
        needed = int(spec.path.stat().st_size * 1.1)
        if not socket_path(spec.key).exists():
            evict_idle(spec.key, needed)
    except OSError:
        pass
    return find_or_start(spec)


async def open_engine(
    path: Path,
    *,
    config: EngineConfig,
    sha256: str | None = None,
    on_event: OnEvent | None = None,
) -> EngineClient:
    """An engine for a model file: a running one with the same settings, else a new one.

    `on_event` gets `ModelLoading` while the model loads, and `EngineRestarted` when loading is
    retried. Raises ModelError when the model cannot be used.
    """
    client = EngineClient(EngineSpec(path, config, sha256))
    await client.connect(on_event)
    return client
