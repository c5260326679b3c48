"""The library: `from laguna_agent import Laguna` runs tasks from a Python program.

`AsyncLaguna` works in the caller's event loop. `Laguna` has the same methods without `await`, over
a thread with an event loop of its own, so it can also be used where a loop runs already. Neither
handles signals nor prints.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
import weakref
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple, Self, TypedDict, Unpack

from laguna_agent.actions import Mode
from laguna_agent.agent.approval import Approval
from laguna_agent.agent.session import Session
from laguna_agent.agent.settings import make_settings
from laguna_agent.errors import UsageError
from laguna_agent.events import ApprovalRequested, Event, TurnFinished

Approve = Callable[[ApprovalRequested], Approval | Awaitable[Approval]]
"""Answers a request for approval. It may wait for a person."""
_CLOSING_S = 10.0


class Options(TypedDict, total=False):
    """What a conversation starts with: the flags of `laguna --task`, and who approves."""

    model: str | None
    """A model's name, a GGUF file or `PROVIDER/NAME`."""
    mode: Mode | None
    """What runs without asking. By default `auto`, or `ask` with `approve`."""
    approve: Approve | None
    """Without it, what needs approval is denied."""
    check: str | None
    """A command that succeeds once the task is done."""
    plan: bool
    """Plan, and change nothing, until `AcceptPlan`."""
    resume: str | None
    """Id of a session to continue."""
    fork: str | None
    """Id of a session to continue in a copy."""
    trust: bool
    """Trust the repository's `.laguna/` for this session."""
    config: Mapping[str, Any] | None
    """Overrides the configuration file, in its shape: `{"limits": {"steps": 20}}`."""


@dataclass(frozen=True)
class AcceptPlan:
    """A task: end planning, and carry out the plan that the last task proposed."""

    plan: str = ""
    """The plan to carry out; by default `proposed_plan` as it is."""
    mode: Mode | None = None
    """What runs without asking from then on; by default the mode of the conversation."""


class AsyncLaguna:
    """A conversation with the agent in one repository. A context manager that closes it."""

    def __init__(self, directory: str | Path | None = None, **options: Unpack[Options]) -> None:
        """Read the settings for `directory`, by default the current one. Raises UsageError.

        The model is loaded by `open()` or by the first task.
        """
        self._approve = options.get("approve")
        flags = dict(options.get("config") or {})
        given = {"model": options.get("model"), "mode": options.get("mode")}
        flags |= {name: value for name, value in given.items() if value is not None}
        settings = make_settings(
            directory,
            flags=flags,
            interactive=self._approve is not None,
            trust_now=options.get("trust", False),
            plan=options.get("plan", False),
            check=options.get("check"),
            resume=options.get("resume"),
            fork=options.get("fork"),
        )
        # Whoever calls may end planning, which takes all tools.
        self._settings = replace(settings, interactive=True)
        self._session: Session | None = None
        self._opening: asyncio.Task[Session] | None = None
        self._running: asyncio.Task[TurnFinished] | None = None
        self._listener: Callable[[Event], None] = lambda event: None
        self._closed = False

    @property
    def session_id(self) -> str | None:
        """The session's id, for `resume` and `laguna sessions`; None before it is open."""
        return self._session.trajectory.id if self._session is not None else None

    @property
    def proposed_plan(self) -> str:
        """The plan that the last task proposed in plan mode, which `AcceptPlan` carries out; empty
        when there is none."""
        return self._session.proposed_plan if self._session is not None else ""

    async def open(self) -> None:
        """Load the model and open the session, if that has not happened. Raises LagunaError."""
        await self._open()

    async def run(self, task: str | AcceptPlan) -> TurnFinished:
        """Run a task to its end and return how it ended: `status`, `summary`, `files_changed`, ….

        A task that fails raises nothing, see `status`. Raises LagunaError when it cannot begin,
        UsageError while another one runs, or when there is no plan to accept. Cancelling stops it
        and keeps what was done.
        """
        async with self.stream(task) as events:
            last: Event | None = None
            async for event in events:
                last = event
            return _ended(last)

    @asynccontextmanager
    async def stream(self, task: str | AcceptPlan) -> AsyncIterator[AsyncIterator[Event]]:
        """Run a task and iterate over its events, which end with a `TurnFinished`.

        The iterator raises what `run` raises. Leaving the block stops a task that still runs.
        """
        if self._running is not None and not self._running.done():
            raise UsageError("a task is running", hint="Wait for its end, or cancel() it.")
        events = asyncio.Queue[Event | None]()
        running = self._running = asyncio.create_task(self._run(task, events.put_nowait))
        running.add_done_callback(lambda _: events.put_nowait(None))

        async def arriving() -> AsyncIterator[Event]:
            while (event := await events.get()) is not None:
                yield event
            if running.cancelled():  # before the session was open
                yield TurnFinished(status="interrupted", error="interrupted")
            else:
                running.result()

        try:
            yield arriving()
        finally:
            if not running.done():
                running.cancel()
                await asyncio.wait([running])
            if not running.cancelled():
                running.exception()  # was raised where it was iterated, or nobody cares

    def cancel(self) -> None:
        """Stop the task that runs, which then ends as `interrupted`; nothing without one."""
        if self._session is not None and self._session.busy:
            self._session.cancel()
        elif self._running is not None:
            self._running.cancel()

    async def aclose(self) -> None:
        """Stop the task, end what it started, and close the session, which can be resumed."""
        self._closed = True
        for task in (self._running, self._opening):
            if task is not None and not task.done():
                task.cancel()
                await asyncio.wait([task])
        session, self._session = self._session, None
        if session is not None:
            await session.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _run(self, task: str | AcceptPlan, listener: Callable[[Event], None]) -> TurnFinished:
        self._listener = listener
        session = await self._open()
        if isinstance(task, AcceptPlan):
            plan = task.plan or session.proposed_plan
            return await session.accept_plan(plan, task.mode or session.gate.mode)
        return await session.turn(task)

    async def _open(self) -> Session:
        if self._closed:
            raise UsageError("this Laguna is closed", hint="`resume` continues its session.")
        if self._session is None:
            if self._opening is None or self._opening.done():
                approver = self._ask if self._approve is not None else None
                opening = Session.open(self._settings, on_event=self._show, approver=approver)
                self._opening = asyncio.create_task(opening)
            self._session = await self._opening
        return self._session

    def _show(self, event: Event) -> None:
        self._listener(event)

    async def _ask(self, request: ApprovalRequested) -> Approval:
        approve = self._approve
        assert approve is not None
        asynchronous = inspect.iscoroutinefunction(approve)
        answer = approve(request) if asynchronous else await asyncio.to_thread(approve, request)
        return await _awaited(answer) if inspect.isawaitable(answer) else answer


class _Question(NamedTuple):
    request: ApprovalRequested
    answer: Future[Approval]


class Laguna:
    """The same as `AsyncLaguna`, without `await`. One task runs at a time.

    `approve` is called in the thread that runs the task, while it waits for the next event.
    """

    def __init__(self, directory: str | Path | None = None, **options: Unpack[Options]) -> None:
        """Take what `AsyncLaguna` takes. Raises UsageError."""
        self._approve = options.get("approve")
        if self._approve is not None:
            options["approve"] = self._ask
        self._laguna = AsyncLaguna(directory, **options)
        self._arrived = SimpleQueue[Event | _Question | None]()
        self._running = threading.Lock()
        self._loop = loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, name="laguna", daemon=True)
        thread.start()
        self._closer = weakref.finalize(self, _close, self._laguna, loop, thread)

    @property
    def session_id(self) -> str | None:
        """The session's id, for `resume` and `laguna sessions`; None before it is open."""
        return self._laguna.session_id

    @property
    def proposed_plan(self) -> str:
        """The plan that the last task proposed; see `AsyncLaguna.proposed_plan`."""
        return self._laguna.proposed_plan

    def open(self) -> None:
        """Load the model and open the session, if that has not happened. Raises LagunaError."""
        self._must_be_open()
        future = asyncio.run_coroutine_threadsafe(self._laguna.open(), self._loop)
        try:
            future.result()
        except BaseException:
            future.cancel()
            raise

    def run(self, task: str | AcceptPlan) -> TurnFinished:
        """Run a task to its end and return how it ended; see `AsyncLaguna.run`."""
        with self.stream(task) as events:
            return _ended(deque(events, maxlen=1).pop())

    @contextmanager
    def stream(self, task: str | AcceptPlan) -> Iterator[Iterator[Event]]:
        """Run a task and iterate over its events; see `AsyncLaguna.stream`."""
        self._must_be_open()
        if not self._running.acquire(blocking=False):
            raise UsageError("a task is running", hint="Wait for its end, or cancel() it.")
        arrived = self._arrived = SimpleQueue()

        async def work() -> None:
            async with self._laguna.stream(task) as events:
                async for event in events:
                    arrived.put(event)

        async def start() -> asyncio.Task[None]:
            working = asyncio.create_task(work())
            working.add_done_callback(lambda _: arrived.put(None))
            return working

        working = asyncio.run_coroutine_threadsafe(start(), self._loop).result()

        def arriving() -> Iterator[Event]:
            while (item := arrived.get()) is not None:
                if isinstance(item, _Question):
                    self._answer(item)
                else:
                    yield item
            arrived.put(None)  # for whoever waits for the end once more
            if not working.cancelled():
                working.result()

        try:
            yield arriving()
        finally:
            self._loop.call_soon_threadsafe(working.cancel)
            while arrived.get() is not None:
                pass
            if not working.cancelled():
                working.exception()  # was raised where it was iterated, or nobody cares
            self._running.release()

    def cancel(self) -> None:
        """Stop the task that runs, which then ends as `interrupted`. From any thread."""
        if self._closer.alive:
            self._loop.call_soon_threadsafe(self._laguna.cancel)

    def close(self) -> None:
        """Stop the task, end what it started, and close the session, which can be resumed."""
        self._closer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _must_be_open(self) -> None:
        if not self._closer.alive:
            raise UsageError("this Laguna is closed", hint="`resume` continues its session.")

    async def _ask(self, request: ApprovalRequested) -> Approval:
        question = _Question(request, Future())
        self._arrived.put(question)
        return await asyncio.wrap_future(question.answer)

    def _answer(self, question: _Question) -> None:
        assert self._approve is not None
        if not question.answer.set_running_or_notify_cancel():
            return  # the task was stopped meanwhile
        answer = self._approve(question.request)
        if inspect.isawaitable(answer):
            waiting = _awaited(answer)
            answer = asyncio.run_coroutine_threadsafe(waiting, self._loop).result()
        question.answer.set_result(answer)


async def _awaited(answer: Awaitable[Approval]) -> Approval:
    return await answer


def _ended(last: Event | None) -> TurnFinished:
    assert isinstance(last, TurnFinished)
    return last


def _close(laguna: AsyncLaguna, loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    """Close what a `Laguna` holds: when it is closed, collected, or the program ends."""
    if threading.current_thread() is thread:  # the collector runs in any thread
        closing = loop.create_task(laguna.aclose())
        closing.add_done_callback(lambda _: loop.stop())
        return
    with suppress(Exception):
        asyncio.run_coroutine_threadsafe(laguna.aclose(), loop).result(_CLOSING_S)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(_CLOSING_S)
    if not thread.is_alive():
        loop.close()
