"""Runs the commands of an evaluation: bounded in time and output, nothing left running."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MOST_BYTES = 4 << 20
"""Bytes of each output stream that are kept; the rest is read and dropped."""
_GRACE = 10.0
"""Seconds from SIGTERM to SIGKILL."""


@dataclass(frozen=True)
class Ended:
    """How a process ended. `code` is negative for a signal, as in `subprocess`."""

    code: int
    out: str
    err: str
    timed_out: bool = False


async def run_process(
    argv: Sequence[str],
    *,
    cwd: Path,
    timeout: float,
    environment: Mapping[str, str] | None = None,
    stdin: str = "",
    grace: float = _GRACE,
) -> Ended:
    """Run a program to its end, or to `timeout` seconds.

    It has a process group of its own, which is killed with it. Raises OSError if it cannot start.
    """
    process = await asyncio.create_subprocess_exec(
        *argv,
        cwd=cwd,
        env=environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    streams = asyncio.gather(
        _feed(process.stdin, stdin.encode("utf-8", "surrogateescape")),
        _read(process.stdout),
        _read(process.stderr),
    )
    timed_out = False
    try:
        async with asyncio.timeout(timeout):
            await process.wait()
    except TimeoutError:
        timed_out = True
        _signal(process.pid, signal.SIGTERM)
        with suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await process.wait()
    finally:
        _signal(process.pid, signal.SIGKILL)
        await process.wait()
        _, out, err = await streams
    return Ended(process.returncode or 0, out, err, timed_out)


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


async def _feed(stream: asyncio.StreamWriter, data: bytes) -> None:
    with suppress(BrokenPipeError, ConnectionResetError):
        stream.write(data)
        await stream.drain()
    stream.close()


async def _read(stream: asyncio.StreamReader) -> str:
    kept = bytearray()
    while block := await stream.read(1 << 16):
        kept += block[: MOST_BYTES - len(kept)]
    return kept.decode("utf-8", "replace")
