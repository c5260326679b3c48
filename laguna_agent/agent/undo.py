"""Going back on a person's word: the files, and what the model believes of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress

from laguna_agent.agent.state import Agent
from laguna_agent.events import Notice, SystemNote
from laguna_agent.models.conversation import Message
from laguna_agent.tools.checkpoints.checkpoints import RestoreReport
from laguna_agent.tools.files import read_state
from laguna_agent.tools.files.workspace import PathError, resolve_path
from laguna_agent.tools.tool import ToolContext

_NAMED = 40
"""Files that the model is told of by name."""


async def restore_files(agent: Agent, checkpoint: str) -> RestoreReport:
    """Put the files back to a checkpoint. Raises LagunaError."""
    if agent.checkpoints is None:
        return RestoreReport()
    return await asyncio.to_thread(agent.checkpoints.restore, checkpoint)


async def undo_files(agent: Agent, checkpoint: str) -> tuple[RestoreReport, list[SystemNote]]:
    """Put the files back while the conversation stays, and have the model told of it with what is
    said next. Returns what was done, and the notes, which the caller records.

    What the model knew of these files is forgotten: an edit of what it saw before holds, and no
    file is overwritten that it has not seen as it is.
    """
    report = await restore_files(agent, checkpoint)
    _forget(agent.context, [*report.written, *report.removed])
    agent.left = checkpoint
    paths = sorted([*report.written, *(f"{path} (gone again)" for path in report.removed)])
    if not paths or not agent.opened:
        return report, []
    more = [f"and {len(paths) - _NAMED} more"] if len(paths) > _NAMED else []
    text = agent.pack.text("undone.md", files="\n".join([*paths[:_NAMED], *more]))
    agent.unsaid.append(Message(role="user", content=text))
    return report, [SystemNote(text=text, reason="undone")]


def not_restored(report: RestoreReport) -> list[Notice]:
    """What to show of files that are not as they were."""
    return [
        Notice(level="error", text=f"{path} is not as it was: {why}")
        for path, why in report.failed.items()
    ]


def _forget(context: ToolContext, paths: Iterable[str]) -> None:
    for path in paths:
        with suppress(PathError):
            read_state.forget(context, resolve_path(context, path))
