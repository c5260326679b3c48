"""Notices that the files of the prompt pack in use were edited, and offers to begin anew with them.

The prompt of the present conversation cannot change: what was edited counts from the next one on.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from laguna_agent.errors import UsageError

if TYPE_CHECKING:
    from laguna_agent.interfaces.tui.app import LagunaApp
    from laguna_agent.interfaces.tui.transcript.transcript_model import State
    from laguna_agent.prompts.loader.pack import Pack

PERIOD_S = 2.0
_OFFER = "/prompts reload begins a new conversation with it"


class PackWatch:
    """Looks now and then; says each change once."""

    def __init__(self, app: LagunaApp) -> None:
        self._app = app
        self._pack: Pack | None = None
        self._stamp: object = None
        self._said = ""

    async def look(self) -> None:
        """Compare the files with the pack that the session loaded."""
        session = self._app.agent.session
        if session is None:
            return
        if session.pack is not self._pack:
            self._pack, self._stamp, self._said = session.pack, None, ""
        pack = session.pack
        stamp = await asyncio.to_thread(pack.stamp)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        change = await asyncio.to_thread(_change, pack)
        if change is not None and change.key != self._said and pack is self._pack:
            self._app.transcript_model.note(change.text, change.level)
        self._said = change.key if change is not None else ""


class _Change(NamedTuple):
    key: str
    """Tells one change from the next, also when they are of one file."""
    text: str
    level: State


def _change(pack: Pack) -> _Change | None:
    """What is to be said of the files as they are now; None when they are what was loaded."""
    try:
        now = pack.reload()
    except (UsageError, OSError) as error:
        text = f"the prompt pack was edited and cannot be used like this: {error}"
        return _Change(text, text, "error")
    names = pack.changed_files(now)
    if now.name != pack.name:
        return _Change(now.name, f"the prompt pack would now be {now.name}; {_OFFER}", "")
    if not names:
        return None
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    files = ", ".join(names[:3]) + more
    return _Change(now.sha256, f"the prompt pack {pack.name} was edited ({files}); {_OFFER}", "")
