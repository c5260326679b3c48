"""Notices edits to the files of the prompt pack in use.

The prompt of an open conversation cannot change, so an edited pack applies to the next one.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from laguna_agent.errors import UsageError

if TYPE_CHECKING:
    from laguna_agent.interfaces.tui.agent_thread import AgentThread
    from laguna_agent.interfaces.tui.transcript.transcript_model import State, TranscriptModel
    from laguna_agent.prompts.loader.pack import Pack

PERIOD_S = 2.0
_OFFER = "/prompts reload starts a new conversation with it"


class PackWatch:
    """Adds a notice once for each edit."""

    def __init__(self, agent: AgentThread, transcript_model: TranscriptModel) -> None:
        self._agent = agent
        self._transcript_model = transcript_model
        self._pack: Pack | None = None
        self._stamp: object = None
        self._noticed = ""

    async def check(self) -> None:
        """Compare the files with the pack that the session loaded."""
        session = self._agent.session
        if session is None:
            return
        if session.pack is not self._pack:
            self._pack, self._stamp, self._noticed = session.pack, None, ""
        pack = session.pack
        stamp = await asyncio.to_thread(pack.stamp)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        edit = await asyncio.to_thread(_edit_of, pack)
        if edit is not None and edit.key != self._noticed and pack is self._pack:
            self._transcript_model.add_notice(edit.text, edit.level)
        self._noticed = edit.key if edit is not None else ""


class _Edit(NamedTuple):
    key: str
    """Differs between two edits, also of the same file."""
    text: str
    level: State


def _edit_of(pack: Pack) -> _Edit | None:
    """The edit since the pack was loaded; None if its files are the same."""
    try:
        current = pack.reload()
    except (UsageError, OSError) as error:
        text = f"the edited prompt pack is not valid: {error}"
        return _Edit(text, text, "error")
    names = pack.changed_files(current)
    if current.name != pack.name:
        text = f"the prompt pack {current.name} replaces {pack.name}; {_OFFER}"
        return _Edit(current.name, text, "")
    if not names:
        return None
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    files = ", ".join(names[:3]) + more
    text = f"the prompt pack {pack.name} was edited ({files}); {_OFFER}"
    return _Edit(current.sha256, text, "")
