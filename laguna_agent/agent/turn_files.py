"""The files of one turn: recorded at its start and its end, compared, put back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from laguna_agent.agent.services import Services
from laguna_agent.agent.state import SessionState
from laguna_agent.errors import LagunaError
from laguna_agent.events import Checkpointed, Notice
from laguna_agent.tools.checkpoints.checkpoints import RestoreReport


class TurnFiles:
    """Checkpoints of one turn. Where none could be made, nothing counts as changed."""

    def __init__(self, services: Services, state: SessionState) -> None:
        self._services = services
        self._state = state
        self._checkpoints = services.checkpoints
        self.checkpoint: str | None = None
        """The files at the turn's start."""

    async def record_start(self) -> None:
        """Record the files before the turn; not while planning, which changes nothing."""
        if self._services.gate.plan:
            return
        try:
            event = await asyncio.to_thread(self._record, f"turn {self._state.turns}")
        except LagunaError as error:
            self._services.emit(
                Notice(level="warning", text=f"No checkpoint of the files: {error}")
            )
            return
        self.checkpoint = event.id
        self._services.emit(event)

    def _record(self, label: str) -> Checkpointed:
        checkpoint = self._checkpoints.record(label)
        return Checkpointed(id=checkpoint, files=self._checkpoints.info(checkpoint).files)

    async def record_end(self) -> None:
        """Record the files after the turn, so that the next one can tell what a person changed."""
        services, state = self._services, self._state
        state.last_checkpoint = None
        if services.approver is None or services.gate.plan:
            return  # no person who could go on, or nothing changed
        with suppress(LagunaError):
            label = f"after turn {state.turns}"
            state.last_checkpoint = await asyncio.to_thread(self._checkpoints.record, label)

    async def changed(self) -> list[str]:
        """Paths that differ from the turn's start, whatever changed them."""
        return await self._changed_since(self.checkpoint)

    async def changed_between_turns(self) -> list[str]:
        """Paths that differ from the end of the last turn."""
        return await self._changed_since(self._state.last_checkpoint)

    async def _changed_since(self, checkpoint: str | None) -> list[str]:
        if checkpoint is None:
            return []
        try:
            return await asyncio.to_thread(self._checkpoints.changed_since, checkpoint)
        except LagunaError:
            return []

    async def restore(self) -> RestoreReport | None:
        """Put the files back as they were at the turn's start; None without a checkpoint."""
        if self.checkpoint is None:
            return None
        return await asyncio.to_thread(self._checkpoints.restore, self.checkpoint)

    async def restore_where(self, matches: Callable[[str], bool]) -> list[str]:
        """Put back changed files whose path matches; returns their paths."""
        if self.checkpoint is None:
            return []
        return await asyncio.to_thread(self._restore_where, self.checkpoint, matches)

    def _restore_where(self, checkpoint: str, matches: Callable[[str], bool]) -> list[str]:
        try:
            changed = self._checkpoints.changed_since(checkpoint)
            paths = [path for path in changed if matches(path)]
            if paths:
                self._checkpoints.restore(checkpoint, only=paths)
            return paths
        except LagunaError:
            return []
