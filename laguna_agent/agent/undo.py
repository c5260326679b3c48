"""Undo: restores files and forgets what the model has read of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress

from laguna_agent.agent.services import Services
from laguna_agent.agent.state import SessionState
from laguna_agent.events import Notice, SystemNote
from laguna_agent.tools.checkpoints.checkpoints import RestoreReport
from laguna_agent.tools.files import read_state
from laguna_agent.tools.files.workspace import PathError, resolve_path
from laguna_agent.tools.tool import ToolContext

_NAMED = 40
"""Files that the note to the model names."""


async def undo_files(
    services: Services, state: SessionState, checkpoint: str
) -> tuple[RestoreReport, SystemNote | None]:
    """Restore files to a checkpoint while the conversation stays. Raises LagunaError.

    Returns the report, and the note that tells the model, if it needs one. What the model knew of
    these files is forgotten: an edit of what it read before still applies, but it cannot overwrite
    a file that it has not read as it is now.
    """
    report = await asyncio.to_thread(services.checkpoints.restore, checkpoint)
    _forget(services.tool_context, [*report.written, *report.removed])
    state.last_checkpoint = checkpoint
    paths = sorted([*report.written, *(f"{path} (gone again)" for path in report.removed)])
    if not paths or not services.recorder.state.user_messages:
        return report, None
    more = [f"and {len(paths) - _NAMED} more"] if len(paths) > _NAMED else []
    text = services.pack.text("undone.md", files="\n".join([*paths[:_NAMED], *more]))
    return report, SystemNote(text=text, reason="undone")


def restore_errors(report: RestoreReport) -> list[Notice]:
    """Notices for files that could not be restored."""
    return [
        Notice(level="error", text=f"{path} is not as it was: {why}")
        for path, why in report.failed.items()
    ]


def _forget(context: ToolContext, paths: Iterable[str]) -> None:
    for path in paths:
        with suppress(PathError):
            read_state.forget(context, resolve_path(context, path))
