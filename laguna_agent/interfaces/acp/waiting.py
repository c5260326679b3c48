"""Shows an editor what it waits for: the model loads, or reads a prompt, which can take minutes.

It is a tool call of kind `think` whose title says how far it is, since editors show titles as they
change. What takes less than a moment is not shown.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from acp import schema

from laguna_agent.byte_sizes import gigabytes
from laguna_agent.events import ModelLoading, PrefillProgress, RetryWait
from laguna_agent.interfaces.progress import retry_line

WORTH_S = 1.0
"""Seconds after which waiting is shown."""
_CHANGE_S = 0.5


class WaitingCard:
    """One card at a time; each wait has an id of its own."""

    def __init__(self, send: Callable[[Any], None], clock: Callable[[], float] = time.monotonic):
        self._send = send
        self._clock = clock
        self._number = 0
        self._what = ""
        self._since = 0.0
        self._shown = False
        self._changed = 0.0
        self._title = ""

    def show(self, event: ModelLoading | PrefillProgress | RetryWait) -> None:
        """Show how far it is, if it takes long enough."""
        now = self._clock()
        if event.type != self._what:
            self.end()
            self._what, self._since = event.type, now
        self._title = waiting_title(event)
        lasts = isinstance(event, PrefillProgress) and event.eta_s > 2 * WORTH_S
        if not self._shown:
            if now - self._since < WORTH_S and not lasts:
                return
            self._number += 1
            self._shown, self._changed = True, now
            self._send(
                schema.ToolCallStart(
                    session_update="tool_call",
                    tool_call_id=self._id,
                    title=self._title,
                    kind="think",
                    status="in_progress",
                )
            )
        elif now - self._changed >= _CHANGE_S:
            self._changed = now
            self._update()

    def end(self) -> None:
        """What was waited for is there, or was given up."""
        if self._shown:
            self._update(status="completed")
        self._what, self._shown = "", False

    @property
    def _id(self) -> str:
        return f"waiting-{self._number}"

    def _update(self, **fields: Any) -> None:
        self._send(
            schema.ToolCallProgress(
                session_update="tool_call_update",
                tool_call_id=self._id,
                title=self._title,
                **fields,
            )
        )


def waiting_title(event: ModelLoading | PrefillProgress | RetryWait) -> str:
    """What is waited for and how far it is: `Reading the prompt: 1,200 of 8,000 tokens, 40 s`."""
    match event:
        case ModelLoading(measuring=True):
            return "Measuring the best settings for this machine (once per model)"
        case ModelLoading(done=done, total=total):
            return f"Loading the model: {gigabytes(done)} of {gigabytes(total)}"
        case PrefillProgress(done=done, total=total, eta_s=eta):
            left = f", {eta:.0f} s left" if eta else ""
            return f"Reading the prompt: {done:,} of {total:,} tokens{left}"
        case RetryWait():
            line = retry_line(event)
            return line[:1].upper() + line[1:]
