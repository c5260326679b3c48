"""Changes of turns on real trees: taken back by merging, so that what others wrote stays."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from laguna_agent.tools.checkpoints.change import Change, Origin, Step, net, new_turn
from laguna_agent.tools.checkpoints.changes import Changes
from laguna_agent.tools.checkpoints.checkpoints import Checkpoints

Did = Callable[..., Step]
TEXT = "one\ntwo\nthree\nfour\nfive\n"


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    root = tmp_path / "workspace"
    root.mkdir()
    return root


@pytest.fixture
def changes(workspace: Path, tmp_path: Path) -> Changes:
    return Checkpoints(workspace, tmp_path / "state").changes


@pytest.fixture
def did(changes: Changes) -> Did:
    """Records what a function does as a turn."""

    def record(action: Callable[[], object], session: str = "s") -> Step:
        origin = Origin(session, new_turn())
        before = changes.state()
        action()
        changes.record(origin, before)
        return next(step for step in changes.steps() if step.origin.turn == origin.turn)

    return record


def undo(changes: Changes, *steps: Step, kind: str = "undo") -> dict[str, str]:
    """Take steps back; returns the files that were left, and why."""
    of = [t for step in steps for t in (step.origin.of or (step.origin.turn,))]
    origin = Origin("s", new_turn(), kind=kind, of=tuple(of))  # type: ignore[arg-type]  # it is one
    return changes.take_back(steps, origin).left


@pytest.mark.parametrize(
    ("before", "after", "now", "wanted"),
    [
        (TEXT, TEXT.replace("two", "2"), None, TEXT),
        (TEXT, TEXT.replace("two", "2"), TEXT.replace("two", "2") + "six\n", TEXT + "six\n"),
        (TEXT, "", None, TEXT),
        (TEXT, TEXT.replace("two", "2"), TEXT, TEXT),
        ("a\r\nb\r\nc\r\nd\r\n", "A\r\nb\r\nc\r\nd\r\n", "A\r\nb\r\nc\r\nD\r\n",
         "a\r\nb\r\nc\r\nD\r\n"),
        ("é\nb\nc\nd\n", "e\nb\nc\nd\n", "e\nb\nc\nd", "é\nb\nc\nd"),
    ],
    ids=["untouched since", "changed elsewhere", "emptied", "put back by hand", "CRLF", "no end"],
)  # fmt: skip
def test_a_change_is_taken_back_and_what_was_written_since_stays(
    workspace: Path, changes: Changes, did: Did, before: str, after: str, now: str | None,
    wanted: str,
) -> None:  # fmt: skip
    path = workspace / "a"
    path.write_bytes(before.encode())
    step = did(lambda: path.write_bytes(after.encode()))
    if now is not None:
        path.write_bytes(now.encode())
    assert undo(changes, step) == {}
    assert path.read_bytes() == wanted.encode()


def _edit_same_line(root: Path) -> None:
    (root / "a").write_text(TEXT.replace("two", "mine"))


def _edit_new(root: Path) -> None:
    (root / "new").write_text("laguna's\nand mine\n")


def _remove(root: Path) -> None:
    (root / "a").unlink()


def _make_again(root: Path) -> None:
    (root / "gone").write_text("mine\n")


def _folder(root: Path) -> None:
    (root / "a").unlink()
    (root / "a").mkdir()
    (root / "a" / "mine").touch()


def _link(root: Path) -> None:
    (root / "a").unlink()
    (root / "a").symlink_to("/etc/passwd")


def _bytes(root: Path) -> None:
    (root / "a").write_bytes(b"\0mine")


@pytest.mark.parametrize(
    ("since", "left"),
    [
        (_edit_same_line, "a"),
        (_edit_new, "new"),
        (_remove, "a"),
        (_make_again, "gone"),
        (_folder, "a"),
        (_link, "a"),
        (_bytes, "a"),
    ],
)
def test_what_cannot_be_merged_is_left_and_named(
    workspace: Path, changes: Changes, did: Did, since: Callable[[Path], None], left: str
) -> None:
    (workspace / "a").write_text(TEXT)
    (workspace / "gone").write_text("laguna removes it\n")

    def turn() -> None:
        (workspace / "a").write_text(TEXT.replace("two", "2"))
        (workspace / "new").write_text("laguna's\n")
        (workspace / "gone").unlink()

    step = did(turn)
    since(workspace)
    kept = {p: p.read_bytes() for p in workspace.rglob(f"{left}*") if p.is_file()}
    assert list(undo(changes, step)) == [left]
    assert {p: p.read_bytes() for p in workspace.rglob(f"{left}*") if p.is_file()} == kept
    others = {"a", "new", "gone"} - {left}
    for name in others:
        assert (workspace / name).exists() is (name != "new")


def test_files_that_a_person_made_are_never_removed(
    workspace: Path, changes: Changes, did: Did
) -> None:
    step = did(lambda: (workspace / "made").write_text("x"))
    (workspace / "mine").write_text("m")
    (workspace / "empty").touch()
    undo(changes, step)
    assert sorted(path.name for path in workspace.iterdir()) == ["empty", "mine"]


def test_several_turns_go_back_one_by_one_or_together_and_come_again(
    workspace: Path, changes: Changes, did: Did
) -> None:
    path = workspace / "a"
    path.write_text("0\n")
    for number in "123":
        did(lambda n=number: path.write_text(f"{n}\n"))

    def turns() -> list[Step]:
        return [s for s in changes.steps() if s.origin.kind == "turn" and not s.undone]

    undo(changes, turns()[0])
    assert path.read_text() == "2\n"
    undo(changes, *turns()[:2])
    assert path.read_text() == "0\n"
    assert turns() == []
    for wanted in ("2\n", "3\n"):
        undone = [s for s in changes.steps() if s.origin.kind == "undo" and not s.undone]
        undo(changes, undone[0], kind="redo")
        assert path.read_text() == wanted
    assert len(turns()) == 3


def test_a_turn_in_the_middle_goes_back_alone(workspace: Path, changes: Changes, did: Did) -> None:
    path = workspace / "a"
    path.write_text(TEXT)
    first = did(lambda: path.write_text(path.read_text().replace("one", "1")))
    did(lambda: path.write_text(path.read_text().replace("five", "5")))
    assert undo(changes, first) == {}
    assert path.read_text() == TEXT.replace("five", "5")


def test_what_another_session_recorded_meanwhile_is_not_this_ones(
    workspace: Path, changes: Changes, did: Did
) -> None:
    origin = Origin("slow", new_turn())
    before = changes.state()
    (workspace / "slow").write_text("s")
    did(lambda: (workspace / "quick").write_text("q"), session="quick")
    change, _ = changes.record(origin, before)
    assert change is not None
    assert list(change.files) == ["slow"]


def test_of_two_commands_at_the_same_time_each_has_the_files_that_it_names(
    workspace: Path, changes: Changes
) -> None:
    started = {
        name: (Origin(name, new_turn()), *changes.begin(Origin(name, new_turn()), f"make {name}.o"))
        for name in ("a", "b", "c")
    }
    for name in started:
        (workspace / f"{name}.o").write_text(name)
    found = {}
    for name, (origin, before, mark) in started.items():
        change, _ = changes.record(origin, before, about=f"make {name}.o")
        mark.end()
        found[name] = list(change.files) if change else []
    assert found == {name: [f"{name}.o"] for name in "abc"}


def test_a_file_that_is_in_the_end_as_before_is_no_change(
    workspace: Path, changes: Changes, did: Did
) -> None:
    recorded: list[Change] = []
    for action in (
        lambda: (workspace / "a").write_text("x"),
        lambda: (workspace / "b").write_text("x"),
        lambda: (workspace / "a").unlink(),
    ):
        recorded += did(action).changes
    assert list(net(recorded)) == ["b"]


def test_only_the_given_paths_are_looked_at_ignored_ones_too(
    workspace: Path, changes: Changes
) -> None:
    (workspace / ".gitignore").write_text("*.env\n")
    (workspace / "a.env").write_text("one")
    before = changes.state(["a.env"])
    (workspace / "a.env").write_text("two")
    (workspace / "b").write_text("mine")
    origin = Origin("s", new_turn())
    change, _ = changes.record(origin, before, paths=["a.env"])
    assert change is not None
    assert list(change.files) == ["a.env"]
    undo(changes, Step(origin, [change]))
    assert (workspace / "a.env").read_text() == "one"
    assert (workspace / "b").exists()


def test_names_and_permissions_of_every_kind_go_back(
    workspace: Path, changes: Changes, did: Did
) -> None:
    names = [b"latin-\xe9", b"line\nbreak", b"-x", b'quo"te', "ünï".encode()]
    for name in names:
        path = workspace / os.fsdecode(name)
        path.write_text("one")
        path.chmod(0o640)
    (workspace / "link").symlink_to("a")

    def turn() -> None:
        for name in names:
            path = workspace / os.fsdecode(name)
            path.write_text("two")
            path.chmod(0o755)
        (workspace / "link").unlink()
        (workspace / "link").write_text("file")

    step = did(turn)
    assert len(step.files) == len(names) + 1
    assert undo(changes, step) == {}
    for name in names:
        path = workspace / os.fsdecode(name)
        assert (path.read_text(), path.stat().st_mode & 0o777) == ("one", 0o640)
    assert os.readlink(workspace / "link") == "a"


def test_a_file_becomes_a_folder_and_goes_back(workspace: Path, changes: Changes, did: Did) -> None:
    (workspace / "a").write_text("file")

    def turn() -> None:
        (workspace / "a").unlink()
        (workspace / "a").mkdir()
        (workspace / "a" / "b").write_text("inside")

    step = did(turn)
    assert undo(changes, step) == {}
    assert (workspace / "a").read_text() == "file"


def test_what_was_left_out_before_is_never_a_new_file_of_a_turn(
    workspace: Path, tmp_path: Path
) -> None:
    changes = Checkpoints(workspace, tmp_path / "state", max_bytes=200_000).changes
    for name in ("data1", "data2", "data3"):
        (workspace / name).write_bytes(b"x" * 90_000)
    (workspace / "small").write_text("s")
    before = changes.state()
    assert len(before.skipped) == 1
    (workspace / "data1").unlink()
    (workspace / "data2").unlink()
    (workspace / "data3").write_bytes(b"y" * 10)
    origin = Origin("s", new_turn())
    change, now = changes.record(origin, before)
    assert change is not None
    assert now.skipped == frozenset()
    assert not set(change.files) & before.skipped


def test_what_a_killed_process_had_changed_is_recorded_and_nothing_later(
    workspace: Path, changes: Changes, tmp_path: Path
) -> None:
    for name in ("kept", "goes", "mine"):
        (workspace / name).write_text("one\n")
    child = os.fork()
    if not child:
        _, mark = changes.begin(Origin("killed", "t" * 12))
        (workspace / "made").write_text("x\n")
        (workspace / "goes").unlink()
        mark.beat()
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    [mark] = (tmp_path / "state" / "checkpoints" / "unfinished").iterdir()
    while (workspace / "mine").stat().st_ctime <= mark.stat().st_mtime:
        (workspace / "mine").write_text("two\n")
    (workspace / "kept").write_text("two\n")
    [step] = changes.steps()
    assert (step.origin.session, step.files) == ("killed", ["goes", "made"])
    assert not mark.exists()
    assert undo(changes, step) == {}
    assert sorted(os.listdir(workspace)) == ["goes", "kept", "mine"]
    assert (workspace / "mine").read_text() == "two\n"


def test_a_change_that_is_being_made_is_nobody_elses(workspace: Path, changes: Changes) -> None:
    origin = Origin("s", new_turn())
    before, mark = changes.begin(origin)
    (workspace / "made").write_text("x\n")
    assert changes.steps() == []
    changes.record(origin, before)
    mark.end()
    assert [step.files for step in changes.steps()] == [["made"]]


def test_a_preview_counts_lines_and_says_whose_they_are(
    workspace: Path, changes: Changes, did: Did
) -> None:
    (workspace / "a").write_text(TEXT)
    (workspace / "b").write_text(TEXT)

    def turn() -> None:
        (workspace / "a").write_text(TEXT.replace("two", "2"))
        (workspace / "b").write_text(TEXT.replace("two", "2"))
        (workspace / "c").write_text("1\n2\n")

    step = did(turn)
    (workspace / "a").write_text(TEXT.replace("two", "2") + "mine\nmine\n")
    (workspace / "b").write_text(TEXT.replace("two", "mine"))
    plan = {p.path: (p.outcome, p.added, p.removed, p.yours) for p in changes.plan([step])}
    assert plan == {
        "a": ("merged", 1, 1, 2),
        "b": ("conflict", 0, 0, 2),
        "c": ("removed", 0, 2, 0),
    }
