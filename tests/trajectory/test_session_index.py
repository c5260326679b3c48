"""The index of sessions is a cache: it is right, and it can be thrown away."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from laguna_agent.errors import UsageError
from laguna_agent.events import TurnFinished, UserMessage
from laguna_agent.paths import repository_state_dir
from laguna_agent.trajectory.index import SessionIndex
from laguna_agent.trajectory.store import Trajectory


def make(root: Path, session_id: str, text: str) -> Path:
    with Trajectory.create(root, session_id=session_id) as trajectory:
        trajectory.append(UserMessage(text=text))
        return trajectory.directory


def titles(root: Path) -> list[str]:
    with SessionIndex(root) as index:
        return [meta.title for meta in index.sessions()]


def test_the_most_recently_used_session_comes_first(root: Path) -> None:
    first = make(root, "one", "first")
    make(root, "two", "second")
    assert titles(root) == ["second", "first"]
    with Trajectory.open(first) as trajectory:
        trajectory.append(TurnFinished(status="done"))
    with SessionIndex(root) as index:
        assert [(meta.id, meta.status) for meta in index.sessions()] == [
            ("one", "done"),
            ("two", "open"),
        ]
        assert index.latest() == first


def test_a_repository_without_sessions_has_an_empty_index(root: Path) -> None:
    assert titles(root) == []
    with SessionIndex(root) as index:
        assert index.latest() is None
        assert index.count() == 0


def test_new_and_deleted_sessions_are_noticed(root: Path) -> None:
    first = make(root, "one", "first")
    assert titles(root) == ["first"]
    make(root, "two", "second")
    shutil.rmtree(first)
    assert titles(root) == ["second"]


@pytest.mark.parametrize("damage", [b"", b"not a database" * 100, None])
def test_a_deleted_or_damaged_index_is_rebuilt(root: Path, damage: bytes | None) -> None:
    make(root, "one", "first")
    before = titles(root)
    path = repository_state_dir(root) / "sessions.sqlite"
    assert path.exists()
    for side in path.parent.glob("sessions.sqlite*"):
        side.unlink()
    if damage is not None:
        path.write_bytes(damage)
    assert titles(root) == before == ["first"]


def test_a_session_without_meta_is_listed_from_its_first_events(root: Path) -> None:
    directory = make(root, "one", "first")
    (directory / "meta.json").unlink()
    assert titles(root) == ["first"]


def test_listing_reads_no_events(root: Path) -> None:
    directory = make(root, "one", "first")
    (directory / "events.jsonl").write_bytes(b"\xff" * 5_000)
    assert titles(root) == ["first"]


def test_repositories_do_not_see_each_other(root: Path, tmp_path: Path) -> None:
    make(root, "one", "first")
    other = tmp_path / "elsewhere" / root.name
    other.mkdir(parents=True)
    assert titles(other) == []


def test_a_session_is_found_by_a_part_of_its_id(root: Path) -> None:
    directory = make(root, "261124-173708-x7qd", "a")
    make(root, "261125-080000-aaaa", "b")
    with SessionIndex(root) as index:
        for name in ("261124-173708-x7qd", "261124", "x7qd", str(directory)):
            assert index.resolve(name) == directory
        assert index.resolve(str(directory / "events.jsonl")) == directory
        with pytest.raises(UsageError, match="2 sessions"):
            index.resolve("2611")
        for name in ("nothing", ""):
            with pytest.raises(UsageError, match="no session"):
                index.resolve(name)
