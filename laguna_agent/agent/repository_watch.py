"""Watches the workspace's repositories while commands run, and as long as their shell lives.

What a command plants there is moved away within a moment, so that the person's own git, prompt or
editor does not run it. A command that plants it again is ended with its whole shell. What changes
while nothing runs is the person's own.
"""

from __future__ import annotations

import asyncio
import contextlib

from laguna_agent.log import log_error
from laguna_agent.policy.gate import Gate
from laguna_agent.tools.shell import commands_if_quiet, end_shell
from laguna_agent.tools.tool import ToolContext

_PERIOD_S = 0.1


class RepositoryWatch:
    """One watch for a session; `start` when something may run."""

    def __init__(self, gate: Gate, context: ToolContext) -> None:
        self._gate = gate
        self._context = context
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Watch from now on; what is there now is the person's own."""
        if self._task is None and self._gate.sandboxed:
            self._gate.begin()
            self._task = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_PERIOD_S)
            try:
                quiet = commands_if_quiet(self._context)
                found = await asyncio.to_thread(self._gate.sweep, thorough=False, quiet=quiet)
            except Exception as error:  # the watch must not end
                log_error("looking through repositories failed", error)
                continue
            if found and self._gate.planted_again:
                end_shell(self._context)

    async def aclose(self) -> list[str]:
        """Look once more, when the shell has ended; returns what `Gate.sweep` does."""
        if self._task is None:
            return []
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        return await asyncio.to_thread(self._gate.sweep)
