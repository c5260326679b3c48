"""Memory files: what they say, where it comes from, and that people own them."""

from __future__ import annotations

import os
import subprocess
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from laguna_agent.errors import LagunaError, UsageError
from laguna_agent.events import CheckRan, Rewound, TurnFinished, UserMessage
from laguna_agent.front_matter import join_front_matter, split_front_matter
from laguna_agent.memory import memory_store, summaries
from laguna_agent.memory.memory_store import Memory, MemoryStore, read_memory
from laguna_agent.memory.summaries import remember
from laguna_agent.memory.weekly_digest import WEEK_CHARS, condense, week_of
from laguna_agent.trajectory.store import Trajectory
from support import sessions as samples
from support.sessions import call, reply, result


@pytest.fixture
def store(root: Path) -> MemoryStore:
    return MemoryStore(root)


def worked(root: Path, session_id: str = "261124-173708-x7qd") -> Trajectory:
    trajectory = Trajectory.create(root, session_id=session_id)
    for event in samples.session():
        trajectory.append(event)
    return trajectory


def test_a_task_becomes_a_file_that_says_what_happened(root: Path, store: MemoryStore) -> None:
    with worked(root) as trajectory:
        path = remember(store, trajectory)
    assert path is not None
    memory = read_memory(path)
    assert memory is not None
    assert memory.outcome == "done"
    assert memory.model == "tiny"
    assert memory.files == ["calc.py"]
    assert memory.events == [(1, 19)]
    assert [(c.run, c.exit, c.events) for c in memory.commands] == [("pytest -q", 0, [11, 17])]
    summary = memory.summary
    assert summary.claims("Goal")[0].events == ((4, 4),)
    assert summary.claims("Constraints")[0].text == "never touch the tests." or (
        "never touch the tests" in summary.claims("Constraints")[0].text
    )
    assert any("because it subtracts" in claim.text for claim in summary.claims("Decisions"))
    assert summary.claims("Files")[0].text == "calc.py: changed (+1 -1)"
    assert [claim.text for claim in summary.claims("Open")] == ["fix"]


def test_every_claim_points_to_events_that_exist(root: Path, store: MemoryStore) -> None:
    with worked(root) as trajectory:
        text = "Goal:\n- make add right\nDecisions:\n- calc.add subtracted\n- nothing known of this"
        path = remember(store, trajectory, text=text)
        assert path is not None
        memory = read_memory(path)
        assert memory is not None
        claims = [claim for part in memory.summary.sections.values() for claim in part]
        assert claims
        for claim in claims:
            assert claim.events, claim
            assert all(1 <= first <= last <= 19 for first, last in claim.events)
    decided = memory.summary.claims("Decisions")
    assert decided[0].events == ((15, 15),)
    assert decided[1].events == ((4, 18),)  # no event fits better, so all of them


def test_the_front_matter_is_toml(root: Path, store: MemoryStore) -> None:
    with worked(root) as trajectory:
        path = remember(store, trajectory)
    assert path is not None
    text = path.read_text()
    assert text.startswith("+++\n")
    data = tomllib.loads(text.split("+++\n")[1])
    assert data["session"] == trajectory.id
    assert data["commands"][0] == {"run": "pytest -q", "exit": 0, "events": [11, 17]}


def test_strange_values_survive_the_front_matter() -> None:
    data = {"a": 'quote " \\ \x7f \x00 \u2028 é 😀', "n": 3, "b": True, "l": ["x", "y"]}
    front, body, _ = split_front_matter(join_front_matter(data, "# body\n\n+++\nnot a fence"))
    assert tomllib.loads(front) == data
    assert body == "# body\n\n+++\nnot a fence\n"


def test_a_second_task_makes_a_second_segment_and_the_session(
    root: Path, store: MemoryStore
) -> None:
    with worked(root) as trajectory:
        remember(store, trajectory)
        assert remember(store, trajectory) is None  # nothing happened since
        trajectory.append(UserMessage(text="Now mul: always keep ints."))
        trajectory.append(reply(call("m", command="make"), prompt=[1], ids=[2]))
        trajectory.append(result("m", "ok", exit_code=0, title="make"))
        trajectory.append(TurnFinished(status="failed", error="out of ideas"))
        second = remember(store, trajectory)
    assert second is not None
    assert second.name == f"{trajectory.id}-2.md"
    whole = store.get(trajectory.id)
    assert whole.level == "session"
    assert whole.sources == [f"{trajectory.id}-1", f"{trajectory.id}-2"]
    assert whole.outcome == "failed"
    assert [claim.events for claim in whole.summary.claims("Goal")] == [((4, 4),), ((20, 20),)]
    assert {command.run for command in whole.commands} == {"pytest -q", "make"}


def test_many_segments_are_condensed_without_being_read_again(
    root: Path, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []

    def counting(path: Path) -> Memory | None:
        read.append(path)
        return read_memory(path)

    with worked(root) as trajectory:
        remember(store, trajectory)
        for number in range(12):
            trajectory.append(UserMessage(text=f"Task {number}: always keep rule{number}."))
            trajectory.append(TurnFinished(status="done"))
            if number == 11:
                for module in (summaries, memory_store):
                    monkeypatch.setattr(module, "read_memory", counting)
            remember(store, trajectory)
    assert {path.parent.name for path in read} == {"sessions"}
    whole = store.get(trajectory.id)
    assert whole.sources == [f"{trajectory.id}-{number}" for number in range(1, 14)]
    assert whole.events == [(1, trajectory.last_seq)]
    kept = [claim.text for claim in whole.summary.claims("Constraints")]
    assert "Task 11: always keep rule11." in kept
    assert any("never touch the tests" in text for text in kept)


@pytest.mark.parametrize("change", ["edit", "delete"])
def test_edited_and_deleted_segments_change_the_session_memory(
    root: Path, store: MemoryStore, change: str
) -> None:
    with worked(root) as trajectory:
        remember(store, trajectory)
        for text in ("Keep rule2.", "Keep rule3.", "Keep rule4."):
            trajectory.append(UserMessage(text=text))
            trajectory.append(TurnFinished(status="done"))
            remember(store, trajectory)
            segment = store.path_of(f"{trajectory.id}-2", "segment")
            if text == "Keep rule3." and change == "edit":
                segment.write_text(segment.read_text().replace("Keep rule2", "Keep the zebra"))
            elif text == "Keep rule3.":
                segment.unlink()
    body = store.get(trajectory.id).body
    assert "rule2" not in body
    assert ("the zebra" in body) == (change == "edit")
    assert "rule4" in body


def test_a_deleted_memory_is_not_written_again(root: Path, store: MemoryStore) -> None:
    with worked(root) as trajectory:
        path = remember(store, trajectory)
        assert path is not None
        path.unlink()
        trajectory.append(UserMessage(text="next"))
        trajectory.append(TurnFinished(status="done"))
        again = remember(store, trajectory)
    assert again is not None
    memory = read_memory(again)
    assert memory is not None
    assert memory.events == [(20, 21)]


def test_an_edited_session_is_left_as_it_is(root: Path, store: MemoryStore) -> None:
    with worked(root) as trajectory:
        remember(store, trajectory)
        for text in ("two", "three"):
            trajectory.append(UserMessage(text=text))
            trajectory.append(TurnFinished(status="done"))
            remember(store, trajectory)
            path = store.path_of(trajectory.id, "session")
            if text == "two":
                assert not store.get(trajectory.id).edited
                path.write_text(path.read_text() + "\nA person was here.\n")
                assert store.get(trajectory.id).edited
        assert "A person was here." in path.read_text()
        assert "three" not in path.read_text()


def test_a_broken_file_is_all_body(root: Path, store: MemoryStore) -> None:
    path = store.path_of("mine-1", "segment")
    path.parent.mkdir(parents=True)
    for text in (
        "just text",
        "+++\nbroken = [\n+++\nbody",
        "+++\nlevel = 7\n+++\nbody",
        "\ufeff+++\n",
    ):
        path.write_text(text)
        memory = read_memory(path)
        assert memory is not None
        assert memory.id == "mine-1"
        assert memory.edited


def test_of_rewound_events_only_failures_count(root: Path, store: MemoryStore) -> None:
    with Trajectory.create(root) as trajectory:
        for event in (
            UserMessage(text="go"),
            reply(call("a", "write", path="bad.py"), prompt=[1], ids=[2]),
            result("a", name="write", files_changed=["bad.py"], diff="+x"),
            CheckRan(command="make check", exit_code=2, output="boom"),
            Rewound(to_seq=1),
            reply(call("b", "write", path="good.py"), prompt=[1], ids=[2]),
            result("b", name="write", files_changed=["good.py"], diff="+y"),
            TurnFinished(status="done", files_changed=["good.py"]),
        ):
            trajectory.append(event)
        path = remember(store, trajectory)
    assert path is not None
    memory = read_memory(path)
    assert memory is not None
    assert memory.files == ["good.py"]
    assert [c.text for c in memory.summary.claims("Failed")] == ["`make check` (exit 2): boom"]


def test_commits_of_the_session_are_listed(root: Path, store: MemoryStore) -> None:
    roles, parts = ("AUTHOR", "COMMITTER"), ("NAME", "EMAIL")
    who = {f"GIT_{role}_{part}": "x" for role in roles for part in parts}

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, **who},
        )
        return done.stdout.strip()

    git("init", "-q", "-b", "main")
    git("commit", "-q", "--allow-empty", "-m", "before")
    with worked(root) as trajectory:
        git("commit", "-q", "--allow-empty", "-m", "during")
        path = remember(store, trajectory)
    assert path is not None
    memory = read_memory(path)
    assert memory is not None
    assert memory.commits == [git("rev-parse", "HEAD")[:12]]
    assert memory.branch == "main"


def test_a_directory_that_cannot_be_written_is_a_clear_error(
    root: Path, store: MemoryStore
) -> None:
    with worked(root) as trajectory:
        store.directory.parent.mkdir(parents=True, exist_ok=True)
        store.directory.write_text("in the way")
        with pytest.raises(LagunaError, match="cannot write the memory"):
            remember(store, trajectory)


def test_get_finds_a_memory_by_the_prefix_of_its_id(root: Path, store: MemoryStore) -> None:
    for session in ("261124-173708-x7qd", "261125-080000-aaaa"):
        with worked(root, session) as trajectory:
            remember(store, trajectory)
    assert store.get("261124").session == "261124-173708-x7qd"
    with pytest.raises(UsageError, match="2 memories"):
        store.get("2611")
    with pytest.raises(UsageError, match="no memory"):
        store.get("zzz")


# --- levels ---------------------------------------------------------------------------------

MONDAY = datetime(2026, 1, 5, 9, tzinfo=UTC)


def backdated(store: MemoryStore, root: Path, session: str, when: datetime) -> Path:
    with worked(root, session) as trajectory:
        path = remember(store, trajectory)
    assert path is not None
    memory = read_memory(path)
    assert memory is not None
    memory.started = memory.ended = when.isoformat().replace("+00:00", "Z")
    return store.write(memory)


def test_a_past_week_becomes_one_file(root: Path, store: MemoryStore) -> None:
    backdated(store, root, "one", MONDAY)
    backdated(store, root, "two", MONDAY + timedelta(days=2))
    backdated(store, root, "now", MONDAY + timedelta(days=8))
    (path,) = condense(store, MONDAY + timedelta(days=8))
    week = store.get("2026-W02")
    assert path == week.path
    assert week.sources == ["one", "two"]
    assert "[one e4]" in week.body
    assert "[two e15]" in week.body
    assert condense(store, MONDAY + timedelta(days=8)) == []
    assert len(list(store.paths("segment"))) == 3


def test_after_some_weeks_all_but_edited_details_are_removed(
    root: Path, store: MemoryStore
) -> None:
    backdated(store, root, "one", MONDAY)
    edited = backdated(store, root, "two", MONDAY)
    edited.write_text(edited.read_text() + "\nmine\n")
    condense(store, MONDAY + timedelta(weeks=6))
    assert list(store.paths("segment")) == [edited]
    assert store.get("2026-W02").sources == ["one", "two"]


def test_past_weeks_are_condensed_automatically(root: Path, store: MemoryStore) -> None:
    backdated(store, root, "old", MONDAY)
    (store.directory / "condensed").unlink()
    with worked(root, "new") as trajectory:
        remember(store, trajectory)
    assert store.get("2026-W02").sources == ["old"]
    assert [path.stem for path in store.paths("segment")] == ["new-1"]


def test_an_edited_week_keeps_the_edit_and_gets_new_sessions(
    root: Path, store: MemoryStore
) -> None:
    backdated(store, root, "one", MONDAY)
    later = MONDAY + timedelta(days=8)
    (path,) = condense(store, later)
    path.write_text(path.read_text().replace("## one", "My words.\n\n## one"))
    backdated(store, root, "two", MONDAY)
    condense(store, later)
    text = path.read_text()
    assert "My words." in text
    assert "## two" in text
    assert text.count("## one") == 1
    assert store.get("2026-W02").edited


@pytest.mark.slow
def test_many_weeks_of_work_stay_small(root: Path, store: MemoryStore) -> None:
    template = backdated(store, root, "template", MONDAY)
    text, written = template.read_text(), f"{MONDAY:%Y-%m-%dT%H:%M:%S}"
    assert text.count(written) == 2
    template.unlink()
    for day in range(13 * 7):
        for hour in range(6):
            when = MONDAY + timedelta(days=day, hours=hour)
            session = f"{when:%y%m%d-%H%M%S}-aaaa"
            segment = text.replace("template", session)
            segment = segment.replace(written, f"{when:%Y-%m-%dT%H:%M:%S}")
            (template.parent / f"{session}-1.md").write_text(segment)
        if day % 7 == 6:
            condense(store, MONDAY + timedelta(days=day + 1))
    condense(store, MONDAY + timedelta(days=13 * 7 + 42))
    files = list(store.paths())
    assert [path.stem for path in files][:1] == ["2026-W02"]
    assert len(files) == 13
    assert all(path.stat().st_size < WEEK_CHARS * 1.3 for path in files)


def test_weeks_are_iso_weeks() -> None:
    assert week_of(datetime(2027, 1, 1, tzinfo=UTC)) == "2026-W53"
