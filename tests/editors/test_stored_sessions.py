"""Listing of sessions by pages."""

from __future__ import annotations

from pathlib import Path

import pytest

from laguna_agent.events import TurnStarted
from laguna_agent.interfaces.acp import stored_sessions
from laguna_agent.interfaces.acp.stored_sessions import list_sessions
from laguna_agent.trajectory.store import Trajectory
from support.sessions import started


def test_pages_follow_each_other_without_gaps(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_sessions, "PAGE", 3)
    for number in range(7):
        with Trajectory.create(root, session_id=f"s{number}") as trajectory:
            trajectory.append(started(trajectory.id, str(root)))
            trajectory.append(TurnStarted(turn=1))
    seen: list[str] = []
    cursor: str | None = None
    for size in (3, 3, 1):
        page = list_sessions(str(root), cursor)
        assert len(page.sessions) == size
        seen += [one.session_id for one in page.sessions]
        cursor = page.next_cursor
    assert cursor is None
    assert sorted(seen) == [f"s{number}" for number in range(7)]
    assert len(set(seen)) == 7
