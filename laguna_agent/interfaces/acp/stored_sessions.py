"""The sessions on disk, as an editor lists, finds and replays them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from acp import RequestError, schema

from laguna_agent.events import (
    Event,
    KeptSettings,
    PlanUpdated,
    SettingsChanged,
    TurnFinished,
    TurnStarted,
)
from laguna_agent.paths import repository_root, repository_state_dir, state_dir
from laguna_agent.trajectory.index import SessionIndex
from laguna_agent.trajectory.meta import Meta, read_meta
from laguna_agent.trajectory.replay import active_events
from laguna_agent.trajectory.store import Trajectory

PAGE = 50
"""Sessions of one answer."""


def list_sessions(cwd: str | None, cursor: str | None) -> schema.ListSessionsResponse:
    """The sessions of one repository or of all, latest first. `cursor` is where to go on.

    Raises RequestError for a cursor that is none.
    """
    after = None
    if cursor:
        updated, separator, name = cursor.partition(" ")
        if not separator:
            raise RequestError(-32602, "this cursor is not from an earlier answer")
        after = (updated, name)
    roots = [repository_root(Path(cwd))] if cwd else list(_repositories())
    metas = [meta for root in roots for meta in _sessions(root)]
    metas.sort(key=lambda meta: (meta.updated, meta.id), reverse=True)
    rest = [meta for meta in metas if after is None or (meta.updated, meta.id) < after]
    page = rest[:PAGE]
    following = f"{page[-1].updated} {page[-1].id}" if len(rest) > len(page) else None
    return schema.ListSessionsResponse(
        sessions=[
            schema.SessionInfo(
                session_id=meta.id,
                cwd=meta.cwd or meta.repository,
                title=meta.title or None,
                updated_at=meta.updated or None,
            )
            for meta in page
        ],
        next_cursor=following,
    )


def _sessions(root: Path) -> list[Meta]:
    with SessionIndex(root) as index:
        return [meta for meta in index.sessions() if meta.turns and meta.repository]


def _repositories() -> Iterator[Path]:
    """The repositories that have sessions."""
    for sessions in sorted(state_dir().glob("*/sessions")):
        for directory in sorted(sessions.iterdir(), reverse=True):
            meta = read_meta(directory)
            if meta is not None and meta.repository:
                root = Path(meta.repository)
                if repository_state_dir(root) == sessions.parent:
                    yield root
                break


def find_session(session_id: str, cwd: str | None = None) -> Path | None:
    """The directory of a session by its whole id, in the repository of `cwd` or in any."""
    if not session_id or "/" in session_id or session_id.startswith("."):
        return None
    if cwd is not None:
        places = [repository_state_dir(repository_root(Path(cwd))) / "sessions"]
    else:
        places = sorted(state_dir().glob("*/sessions"))
    found = (place / session_id for place in places)
    return next((path for path in found if os.path.isfile(path / "events.jsonl")), None)


def replay(directory: Path, show: Callable[[Event], None] | None) -> KeptSettings | None:
    """Show the events of a session that are part of its conversation; returns its settings.

    Of plans only the last is shown. Raises LagunaError.
    """
    show = show if show is not None else lambda event: None
    settings: KeptSettings | None = None
    plan: PlanUpdated | None = None
    ended = True
    for stored in active_events(Trajectory.open(directory, for_append=False), whole=True):
        match stored.event:
            case TurnStarted(settings=given):
                settings, ended = given or settings, False
            case SettingsChanged(settings=settings):
                continue
            case PlanUpdated():
                plan = stored.event
                continue
            case TurnFinished():
                ended = True
            case _:
                pass
        show(stored.event)
    if not ended:
        show(TurnFinished(status="interrupted"))
    if plan is not None:
        show(plan)
    return settings
