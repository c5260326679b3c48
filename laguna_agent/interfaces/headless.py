"""`laguna --task`: runs one task from start to end, for scripts.

Standard output holds the answer (`text`), one object (`json`) or one event a line with the object
last (`stream-json`), and nothing else. Progress goes to standard error: one live line on a
terminal, plain lines elsewhere.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import IO, Literal

from laguna_agent.agent.session import Session
from laguna_agent.agent.settings import Settings
from laguna_agent.clip import clip_lines
from laguna_agent.encodable import json_text
from laguna_agent.errors import ExitCode, LagunaError, UsageError
from laguna_agent.events import Event, ModelLoading, SessionStarted, Status, TurnFinished
from laguna_agent.interfaces.progress import ProgressPrinter
from laguna_agent.policy.sanitize import visible

Output = Literal["text", "json", "stream-json"]
SCHEMA = "laguna.result/1"

_EXIT = {
    "done": ExitCode.DONE,
    "failed": ExitCode.FAILED,
    "denied": ExitCode.DENIED,
    "limit": ExitCode.LIMIT,
    "error": ExitCode.MODEL,
    "interrupted": ExitCode.INTERRUPTED,
}


async def run_task(
    task: str,
    settings: Settings,
    output: Output,
    *,
    open_session: Callable[..., Awaitable[Session]] = Session.open,
    watch: Callable[[Event], None] | None = None,
) -> ExitCode:
    """Run one task to its end and print the outcome; returns the exit code."""
    progress = ProgressPrinter(sys.stderr, quiet=output == "stream-json")
    finished = TurnFinished(status="error", error="nothing happened")
    session: Session | None = None
    started: SessionStarted | None = None
    code: ExitCode | None = None
    loop, main = asyncio.get_running_loop(), asyncio.current_task()

    def stop() -> None:
        if session is not None and session.busy:
            session.cancel()
        elif main is not None:
            main.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        with suppress(NotImplementedError, RuntimeError):
            loop.add_signal_handler(number, stop)

    def show(event: Event) -> None:
        nonlocal started, finished
        if session is None:  # the model is loading
            if isinstance(event, ModelLoading):
                progress.show(event)
            return
        if isinstance(event, SessionStarted):
            started = event
        if isinstance(event, TurnFinished):
            finished = event
        if watch is not None:
            watch(event)
        progress.show(event)
        if output == "stream-json":
            _print(json_text(event.model_dump(mode="json", exclude_none=True)))

    try:
        session = await open_session(settings, on_event=show)
        await session.turn(task)
    except asyncio.CancelledError:
        finished = TurnFinished(status="interrupted", error="interrupted")
    except LagunaError as error:
        finished = TurnFinished(status="error", error=str(error))
        code = error.exit_code
    finally:
        progress.close()
        if session is not None:
            await session.aclose()
    code = _EXIT[finished.status] if code is None else code
    _report(finished, session, started, output)
    return code


def report_failure(error: str, status: Status = "error") -> None:
    """Print the object of a run that ended before it could begin."""
    _report(TurnFinished(status=status, error=error), None, None, "json")


def _report(
    finished: TurnFinished,
    session: Session | None,
    started: SessionStarted | None,
    output: Output,
) -> None:
    if output == "text":
        if finished.summary:
            _print(visible(finished.summary))
        if finished.status != "done":
            reason = "" if finished.error in (None, finished.status) else f": {finished.error}"
            sys.stderr.write(f"laguna: {finished.status}{visible(clip_lines(reason))}\n")
        return
    model = started.model if started is not None else {}
    _print(
        json_text(
            {
                "schema": SCHEMA,
                "session": session.trajectory.id if session is not None else None,
                "status": finished.status,
                "summary": finished.summary,
                "error": finished.error,
                "steps": finished.steps,
                "duration_s": finished.duration_s,
                "files_changed": finished.files_changed,
                "check": finished.check.model_dump() if finished.check else None,
                "denied": [denied.model_dump() for denied in finished.denied],
                "usage": finished.usage.model_dump(),
                "model": {key: model.get(key) for key in ("name", "sha256", "format")},
                "trajectory": str(session.trajectory.path) if session is not None else None,
            }
        )
    )


def _print(line: str) -> None:
    try:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader is gone (`| head -1`): discard the rest.
        sys.stdout = _null()


def _null() -> IO[str]:
    stream = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (lives as long as the process)
    with suppress(OSError, ValueError):
        os.dup2(stream.fileno(), 1)
    return stream


def read_task(argument: str) -> str:
    """The task's text: the argument, or standard input for `-`. Raises UsageError if empty."""
    raw = sys.stdin.buffer.read() if argument == "-" else os.fsencode(argument)
    text = raw.decode("utf-8-sig", "replace")
    if not text.strip():
        raise UsageError("the task is empty", hint='Give it as text: laguna --task "..."')
    return text.strip()
