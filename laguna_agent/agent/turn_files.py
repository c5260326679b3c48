"""The files of one turn: what it changes is recorded as it happens, named, and taken back.

The working tree is compared before and after each thing that may write: a tool call, a check. What
the person or other sessions change in between is not the turn's. While a command that the turn
started in the background runs, everything that changes counts as the turn's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from laguna_agent.agent.services import Services
from laguna_agent.agent.state import SessionState
from laguna_agent.errors import LagunaError
from laguna_agent.events import Checkpointed, Notice
from laguna_agent.paths import holds_home
from laguna_agent.tools.checkpoints.change import Change, Origin, Step, Taken, net, new_turn
from laguna_agent.tools.checkpoints.tree_state import TreeState
from laguna_agent.tools.checkpoints.unfinished import BEAT_S, Mark
from laguna_agent.tools.shell import calls_made, running_calls, stopped
from laguna_agent.trajectory.meta import title_of

_Result = TypeVar("_Result")
_PATIENCE_S = 5.0
_NAMED = 3
"""Files that a notice names."""


class TurnFiles:
    """What one turn changes. Where nothing can be recorded, it is what the tools report."""

    def __init__(self, services: Services, state: SessionState, task: str = "") -> None:
        self._services = services
        self._state = state
        self._checkpoints = services.checkpoints
        trajectory = services.recorder.trajectory
        self.origin = Origin(
            session=trajectory.id,
            turn=new_turn(),
            number=state.turns,
            seq=trajectory.last_seq,
            title=title_of(task),
        )
        self._start: asyncio.Task[str | None] | None = None
        self._changes: list[Change] = []
        self._reported: set[str] = set()
        self._calls_before = calls_made(services.tool_context)
        self._recording = False
        self._background: TreeState | None = None
        """The files when the last recording ended, while a background command runs on."""

    # --- the start and the end ----------------------------------------------------------------

    def record_start(self) -> None:
        """Begin to record all files, beside what follows; not while planning, which changes none.

        `started` waits for it.
        """
        if holds_home(self._services.tool_context.workspace):
            self._fail(LagunaError("this is no project, but a folder that holds your home"))
        elif not self._services.gate.plan:
            self._start = asyncio.create_task(self._record_start())

    async def started(self) -> str | None:
        """The checkpoint of the files at the turn's start, when it is made; None without one."""
        return None if self._start is None else await asyncio.shield(self._start)

    async def _record_start(self) -> str | None:
        try:
            label = f"turn {self._state.turns}"
            event, left_out = await asyncio.to_thread(self._record, label)
        except LagunaError as error:
            self._fail(error)
            return None
        self._services.emit(event)
        if left_out:
            more = f" and {len(left_out) - _NAMED:,} more" if len(left_out) > _NAMED else ""
            text = f"Too large for undo: {', '.join(left_out[:_NAMED])}{more}"
            self._services.emit(Notice(text=f"{text}. `laguna undo` leaves them as they are."))
        return event.id

    def _record(self, label: str) -> tuple[Checkpointed, list[str]]:
        checkpoint = self._checkpoints.record(label)
        info = self._checkpoints.info(checkpoint)
        event = Checkpointed(id=checkpoint, files=info.files)
        return event, self._checkpoints.left_out_anew(info)

    def _fail(self, error: LagunaError) -> None:
        if not self._state.tree_fails:
            text = f"Undo covers only what edits change here: {error}"
            self._services.emit(Notice(level="warning", text=text))
        self._state.tree_fails = True

    async def record_end(self) -> None:
        """Record the files after the turn, so that the next one can tell what a person changed."""
        await _to_the_end(self._record_end())

    async def _record_end(self) -> None:
        services, state = self._services, self._state
        state.last_checkpoint = None
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await self.started()
        except TimeoutError:  # nothing was changed, or it had been waited for
            assert self._start is not None
            self._start.cancel()
            return
        if self._background is not None:
            await self._close(self._background, None)
        state.taken_back.clear()
        if services.approver is None or services.gate.plan or state.tree_fails:
            return  # no person who could go on, or nothing changed
        try:
            label = f"after turn {state.turns}"
            state.last_checkpoint = await asyncio.to_thread(self._checkpoints.record, label)
        except LagunaError as error:
            self._fail(error)

    # --- recording changes --------------------------------------------------------------------

    @asynccontextmanager
    async def recording(
        self, paths: Collection[str] | None = None, *, about: str = ""
    ) -> AsyncIterator[None]:
        """Record what changes inside. `paths`, relative to the workspace, are the only ones that
        can; None: any. `about` is what is run."""
        if self._services.gate.plan or self._recording:
            yield
            return
        await self.started()
        before, mark = self._background, None
        if before is None:
            before, mark = await self._begin(paths, about)
        else:
            paths = None
        beats = asyncio.create_task(_beat(mark)) if mark is not None else None
        self._recording = True
        try:
            yield
        finally:
            self._recording = False
            try:
                if before is not None:
                    await _to_the_end(self._close(before, paths, about))
            finally:
                if mark is not None and beats is not None:
                    beats.cancel()
                    mark.end()

    async def _begin(
        self, paths: Collection[str] | None, about: str
    ) -> tuple[TreeState | None, Mark | None]:
        changes = self._checkpoints.changes
        try:
            if paths is not None:
                return await asyncio.to_thread(changes.state, paths), None
            if not self._state.tree_fails:
                begun = asyncio.ensure_future(asyncio.to_thread(changes.begin, self.origin, about))
                try:
                    return await asyncio.shield(begun)
                except asyncio.CancelledError:
                    await asyncio.wait([begun])
                    if begun.exception() is None:
                        begun.result()[1].end()
                    raise
        except LagunaError as error:
            self._fail(error)
        return None, None

    async def _close(
        self, before: TreeState, paths: Collection[str] | None, about: str = ""
    ) -> None:
        """Record what differs from `before`."""
        context = self._services.tool_context
        with suppress(Exception):  # the next command says why there is no shell
            await stopped(context)
        try:
            change, now = await asyncio.to_thread(
                self._checkpoints.changes.record, self.origin, before, paths=paths, about=about
            )
        except LagunaError as error:
            self._fail(error)
            return
        if change is not None:
            self._changes.append(change)
        self._background = None
        if paths is None and calls_made(context) > self._calls_before:
            running = await asyncio.to_thread(running_calls, context)
            if any(call > self._calls_before for call in running):
                self._background = now

    def report(self, paths: Iterable[str]) -> None:
        """Add paths that a tool reports as changed."""
        self._reported.update(paths)

    @property
    def changed(self) -> list[str]:
        """Paths that this turn changed so far."""
        recorded = {path for change in self._changes for path in change.files}
        return sorted({*net(self._changes), *(self._reported - recorded)})

    async def changed_between_turns(self) -> list[str]:
        """Paths that differ from the end of the last turn."""
        last = self._state.last_checkpoint
        if last is None:
            return []
        told, checkpoints = self._state.taken_back, self._checkpoints
        try:
            async with asyncio.timeout(_PATIENCE_S):  # a reply is not delayed for longer
                start = await self.started()
        except TimeoutError:
            return []

        def changed() -> list[str]:
            if start is None:
                paths = checkpoints.changed_since(last)
            else:
                paths = checkpoints.difference(last, start)
            now = checkpoints.changes.state(told).entries if told else {}
            return [path for path in paths if path not in told or now.get(path) != told[path]]

        try:
            return await asyncio.to_thread(changed)
        except LagunaError:
            return []

    # --- taking back --------------------------------------------------------------------------

    async def take_back(self, matches: Callable[[str], bool] = lambda path: True) -> list[str]:
        """Take back what this turn changed in files whose path matches; returns their paths."""
        paths = [path for path in net(self._changes) if matches(path)]
        if not paths:
            return []
        try:
            taken = await _to_the_end(asyncio.to_thread(self._take_back, paths))
        except LagunaError:
            return []
        if taken.change is not None:
            self._changes.append(taken.change)
        return [item.path for item in taken.done]

    def _take_back(self, paths: list[str]) -> Taken:
        return self._checkpoints.changes.take_back(
            [Step(self.origin, self._changes)],
            self.origin,
            only=paths,
            record=not self._recording,  # what is being recorded includes this
        )


async def _beat(mark: Mark) -> None:
    while True:
        mark.beat()
        await asyncio.sleep(BEAT_S)


async def _to_the_end(work: Coroutine[Any, Any, _Result]) -> _Result:
    """Await work that a cancellation does not stop; it is raised afterwards."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
