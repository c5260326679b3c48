"""Checkpoints of real trees: restored exactly, leaving the user's repository alone."""

from __future__ import annotations

import hashlib
import os
import random
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from laguna_agent.tools.checkpoints.checkpoints import Checkpoints
from laguna_agent.tools.checkpoints.tree_state import CheckpointError


def snapshot(root: Path, *, git: bool = False) -> dict[str, tuple[object, ...]]:
    """All files and links below, with type, permissions and content."""
    found: dict[str, tuple[object, ...]] = {}
    for directory, folders, files in os.walk(root):
        if not git and ".git" in folders:
            folders.remove(".git")
        for name in [*files, *(f for f in folders if Path(directory, f).is_symlink())]:
            path = Path(directory, name)
            info = path.lstat()
            if stat.S_ISLNK(info.st_mode):
                found[str(path.relative_to(root))] = ("link", os.readlink(path))
            elif stat.S_ISREG(info.st_mode):
                content = hashlib.sha256(path.read_bytes()).hexdigest()
                found[str(path.relative_to(root))] = (oct(info.st_mode), content)
    return found


def git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=root, check=True, capture_output=True, text=True
    )
    return done.stdout


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    root = tmp_path / "workspace"
    root.mkdir()
    return root


@pytest.fixture
def checkpoints(workspace: Path, tmp_path: Path) -> Checkpoints:
    return Checkpoints(workspace, tmp_path / "state")


RESTORING = """
import sys
from pathlib import Path
from laguna_agent.tools.checkpoints.restore import Restorer
restorer = Restorer(Path(sys.argv[1]), recorded=set())
print(restorer.write("d/a.txt", 0o100644, b"old\\n"))
"""


@pytest.mark.parametrize("read_only", [False, True], ids=["a mount", "in a read-only folder"])
def test_a_file_that_cannot_be_replaced_is_restored_in_place(
    workspace: Path, tmp_path: Path, read_only: bool
) -> None:
    folder, volume = workspace / "d", tmp_path / "volume"
    folder.mkdir()
    (folder / "a.txt").touch()
    volume.write_text("new and longer\n")
    mounts = ["--ro-bind", str(folder), str(folder)] * read_only
    mounts += ["--bind", str(volume), str(folder / "a.txt")]
    argv = ["bwrap", "--dev-bind", "/", "/", *mounts, "--", sys.executable, "-c", RESTORING]
    done = subprocess.run([*argv, str(workspace)], check=True, capture_output=True, text=True)
    assert done.stdout == "None\n"
    assert volume.read_text() == "old\n"


def test_contents_modes_links_and_missing_files_are_restored(
    workspace: Path, checkpoints: Checkpoints
) -> None:
    (workspace / "text.txt").write_bytes(b"one\r\ntwo\nthree")
    (workspace / "binary").write_bytes(bytes(range(256)) * 100)
    (workspace / "empty").touch()
    (workspace / "tool.sh").write_text("#!/bin/sh\n")
    (workspace / "tool.sh").chmod(0o755)
    (workspace / "private").write_text("x")
    (workspace / "private").chmod(0o600)
    (workspace / "read-only").write_text("x")
    (workspace / "read-only").chmod(0o444)
    (workspace / "link").symlink_to("text.txt")
    (workspace / "dangling").symlink_to("/no/where")
    (workspace / "deep" / "er").mkdir(parents=True)
    (workspace / "deep" / "er" / "ünï cöde \n name").write_text("x")
    (workspace / os.fsdecode(b"latin-\xe9")).write_text("x")
    before = snapshot(workspace)
    checkpoint = checkpoints.record("before")

    (workspace / "text.txt").write_text("changed")
    (workspace / "binary").unlink()
    (workspace / "empty").write_text("not empty")
    (workspace / "tool.sh").chmod(0o644)
    (workspace / "private").chmod(0o666)
    (workspace / "read-only").unlink()
    (workspace / "link").unlink()
    (workspace / "link").write_text("a file now")
    (workspace / "dangling").unlink()
    (workspace / "dangling").mkdir()
    (workspace / "dangling" / "inside").write_text("x")
    for path in sorted((workspace / "deep").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (workspace / "deep").rmdir()
    (workspace / "deep").write_text("a file where a folder was")
    (workspace / "new" / "folder").mkdir(parents=True)
    (workspace / "new" / "folder" / "file").write_text("new")

    changed = checkpoints.changed_since(checkpoint)
    assert set(changed) >= {"text.txt", "private", "tool.sh", "new/folder/file", "link", "deep"}
    report = checkpoints.restore(checkpoint)
    assert report.failed == {}
    assert snapshot(workspace) == before
    assert not (workspace / "new").exists()
    assert checkpoints.changed_since(checkpoint) == []


def test_a_restore_can_be_undone(workspace: Path, checkpoints: Checkpoints) -> None:
    (workspace / "a").write_text("one")
    first = checkpoints.record("first")
    (workspace / "a").write_text("two")
    (workspace / "b").write_text("new")
    later = snapshot(workspace)
    report = checkpoints.restore(first)
    assert report.written == ["a"]
    assert report.removed == ["b"]
    checkpoints.restore(report.before)
    assert snapshot(workspace) == later


def test_only_the_given_paths_are_restored(workspace: Path, checkpoints: Checkpoints) -> None:
    for name in ("a", "b"):
        (workspace / name).write_text("one")
    checkpoint = checkpoints.record("x")
    for name in ("a", "b", "c", "d"):
        (workspace / name).write_text("two")
    report = checkpoints.restore(checkpoint, only=["a", "c"])
    assert (report.written, report.removed) == (["a"], ["c"])
    assert {p.name: p.read_text() for p in workspace.iterdir()} == {
        "a": "one",
        "b": "two",
        "d": "two",
    }


def test_ignored_files_are_neither_recorded_nor_removed(
    workspace: Path, checkpoints: Checkpoints
) -> None:
    (workspace / ".gitignore").write_text("*.log\n.env\nbuild/\n")
    (workspace / ".env").write_text("SECRET")
    (workspace / "build").mkdir()
    (workspace / "build" / "out").write_text("built")
    (workspace / "a.log").write_text("log")
    checkpoint = checkpoints.record("x")
    assert checkpoints.info(checkpoint).files == 1
    # Even if the ignore file itself is restored: the files existed and were ignored then.
    (workspace / ".gitignore").unlink()
    (workspace / ".env").write_text("CHANGED")
    report = checkpoints.restore(checkpoint)
    assert report.removed == []
    assert (workspace / ".env").read_text() == "CHANGED"
    assert (workspace / "build" / "out").exists()
    assert (workspace / ".gitignore").exists()


def test_tracked_files_are_recorded_even_if_ignored(
    workspace: Path, checkpoints: Checkpoints
) -> None:
    git(workspace, "init", "-q")
    (workspace / "kept.log").write_text("one")
    git(workspace, "add", "-f", "kept.log")
    (workspace / ".gitignore").write_text("*.log\n")
    checkpoint = checkpoints.record("x")
    (workspace / "kept.log").write_text("two")
    assert checkpoints.changed_since(checkpoint) == ["kept.log"]
    checkpoints.restore(checkpoint)
    assert (workspace / "kept.log").read_text() == "one"


def test_the_users_own_excludes_are_honoured(
    workspace: Path,
    checkpoints: Checkpoints,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "ignore").write_text("*.mine\n")
    (home / ".gitconfig").write_text(f"[core]\n\texcludesFile = {home}/ignore\n")
    monkeypatch.setenv("HOME", str(home))
    git(workspace, "init", "-q")
    (workspace / ".git" / "info").mkdir(exist_ok=True)
    (workspace / ".git" / "info" / "exclude").write_text("*.here\n")
    for name in ("a.mine", "a.here", "a.txt"):
        (workspace / name).write_text("x")
    assert checkpoints.info(checkpoints.record("x")).files == 1


def test_compiled_modules_are_no_change(workspace: Path, checkpoints: Checkpoints) -> None:
    (workspace / "calc.py").write_text("x = 1\n")
    checkpoint = checkpoints.record("before")
    (workspace / "__pycache__").mkdir()
    (workspace / "__pycache__" / "calc.cpython-311.pyc").write_bytes(b"compiled")
    (workspace / "new.py").write_text("y = 2\n")
    assert checkpoints.changed_since(checkpoint) == ["new.py"]


def test_the_users_repository_is_not_touched(workspace: Path, checkpoints: Checkpoints) -> None:
    git(workspace, "init", "-q")
    (workspace / "a").write_text("committed")
    git(workspace, "add", ".")
    git(workspace, "commit", "-qm", "x")
    (workspace / "a").write_text("staged")
    git(workspace, "add", "a")
    (workspace / "a").write_text("not staged")
    (workspace / "b").write_text("untracked")

    def of_git() -> dict[str, tuple[object, ...]]:
        return snapshot(workspace / ".git", git=True)

    before = of_git()
    checkpoint = checkpoints.record("x")
    (workspace / "a").write_text("broken")
    (workspace / "b").unlink()
    checkpoints.diff(checkpoint)
    checkpoints.restore(checkpoint)
    assert of_git() == before
    assert (workspace / "a").read_text() == "not staged"
    assert (workspace / "b").read_text() == "untracked"


def test_nested_repositories_are_recorded(workspace: Path, checkpoints: Checkpoints) -> None:
    git(workspace, "init", "-q")
    for name, commits in (("empty", False), ("full", True), ("full/inner", True)):
        sub = workspace / name
        sub.mkdir()
        git(sub, "init", "-q")
        (sub / "f").write_text("one")
        (sub / ".gitignore").write_text("ignored\n")
        (sub / "ignored").write_text("i")
        if commits:
            git(sub, "add", "f")
            git(sub, "commit", "-qm", "x")
    git(workspace, "add", "full")
    before = snapshot(workspace, git=True)
    checkpoint = checkpoints.record("x")
    assert checkpoints.info(checkpoint).files == 6
    for name in ("empty", "full", "full/inner"):
        (workspace / name / "f").write_text("two")
        (workspace / name / "new").write_text("new")
    assert checkpoints.changed_since(checkpoint) == sorted(
        f"{name}/{file}" for name in ("empty", "full", "full/inner") for file in ("f", "new")
    )
    checkpoints.restore(checkpoint)
    assert snapshot(workspace, git=True) == before


def test_attributes_and_filters_do_not_change_bytes(
    workspace: Path, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    git(workspace, "init", "-q")
    git(workspace, "config", "filter.evil.clean", f"touch {tmp_path}/pwned; cat")
    git(workspace, "config", "filter.evil.smudge", f"touch {tmp_path}/pwned; cat")
    git(workspace, "config", "core.autocrlf", "true")
    git(workspace, "config", "core.fsmonitor", f"touch {tmp_path}/pwned; false")
    (workspace / ".gitattributes").write_text(
        "*.crlf text eol=crlf\n*.auto text=auto\n*.id ident\n*.evil filter=evil\n"
        "*.utf16 text working-tree-encoding=UTF-16LE\n"
    )
    contents = {
        "a.crlf": b"one\ntwo\r\n",
        "a.auto": b"one\r\ntwo\n",
        "a.id": b"$Id: mine $\n",
        "a.evil": b"x\n",
        "a.utf16": "x\ny\n".encode("utf-16-le"),
    }
    for name, content in contents.items():
        (workspace / name).write_bytes(content)
    checkpoint = checkpoints.record("x")
    for name in contents:
        (workspace / name).write_bytes(b"broken\r\n\n")
    checkpoints.restore(checkpoint)
    assert {name: (workspace / name).read_bytes() for name in contents} == contents
    assert not (tmp_path / "pwned").exists()


def test_a_link_is_never_written_through(
    workspace: Path, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "f").write_text("mine")
    (workspace / "d").mkdir()
    (workspace / "d" / "f").write_text("one")
    (workspace / "g").write_text("one")
    checkpoint = checkpoints.record("x")
    (workspace / "d" / "f").unlink()
    (workspace / "d").rmdir()
    (workspace / "d").symlink_to(outside)
    (workspace / "g").unlink()
    (workspace / "g").symlink_to(outside / "f")
    report = checkpoints.restore(checkpoint)
    assert report.failed == {}
    assert (outside / "f").read_text() == "mine"
    assert [p.name for p in outside.iterdir()] == ["f"]
    assert (workspace / "d" / "f").read_text() == "one"
    assert not (workspace / "d").is_symlink()
    assert not (workspace / "g").is_symlink()


def test_ignored_files_in_the_way_are_not_removed(
    workspace: Path, checkpoints: Checkpoints
) -> None:
    (workspace / "d").write_text("a file")
    checkpoint = checkpoints.record("x")
    (workspace / "d").unlink()
    (workspace / "d").mkdir()
    (workspace / "d" / "precious").write_text("p")
    (workspace / "d" / ".gitignore").write_text("precious\n")
    report = checkpoints.restore(checkpoint)
    assert list(report.failed) == ["d"]
    assert (workspace / "d" / "precious").read_text() == "p"


def test_hard_links_stay_linked(workspace: Path, checkpoints: Checkpoints) -> None:
    (workspace / "a").write_text("one")
    os.link(workspace / "a", workspace / "b")
    checkpoint = checkpoints.record("x")
    (workspace / "a").write_text("two")
    checkpoints.restore(checkpoint)
    assert (workspace / "b").read_text() == "one"
    assert (workspace / "a").stat().st_ino == (workspace / "b").stat().st_ino


def test_special_files_are_left_alone(workspace: Path, checkpoints: Checkpoints) -> None:
    os.mkfifo(workspace / "pipe")
    (workspace / "a").write_text("x")
    checkpoint = checkpoints.record("x")
    assert checkpoints.info(checkpoint).files == 1
    checkpoints.restore(checkpoint)
    assert stat.S_ISFIFO((workspace / "pipe").lstat().st_mode)


def test_too_large_files_are_reported_and_left_alone(workspace: Path, tmp_path: Path) -> None:
    checkpoints = Checkpoints(workspace, tmp_path / "state", max_file_bytes=1000)
    (workspace / "large").write_bytes(b"x" * 1001)
    (workspace / "grows").write_bytes(b"x")
    checkpoint = checkpoints.record("x")
    assert checkpoints.info(checkpoint).skipped == ("large",)
    (workspace / "grows").write_bytes(b"y" * 5000)
    (workspace / "new-large").write_bytes(b"z" * 5000)
    report = checkpoints.restore(checkpoint)
    assert (workspace / "grows").read_bytes() == b"x"
    assert (workspace / "large").exists()
    assert (workspace / "new-large").exists()
    assert report.removed == []


def test_a_change_with_the_same_size_and_time_is_detected(
    workspace: Path, checkpoints: Checkpoints
) -> None:
    path = workspace / "a"
    path.write_text("one")
    checkpoint = checkpoints.record("x")
    times = path.stat()
    path.write_text("two")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert checkpoints.changed_since(checkpoint) == ["a"]
    checkpoints.restore(checkpoint)
    assert path.read_text() == "one"


def test_a_damaged_index_and_a_stale_lock_are_recovered_from(
    workspace: Path, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    (workspace / "a").write_text("one")
    first = checkpoints.record("x")
    store = tmp_path / "state" / "checkpoints" / "git"
    (store / "index").write_bytes(b"rubbish")
    (store / "index.lock").touch()
    (workspace / "a").write_text("two")
    second = checkpoints.record("y")
    checkpoints.restore(first)
    assert (workspace / "a").read_text() == "one"
    checkpoints.restore(second)
    assert (workspace / "a").read_text() == "two"


def test_state_inside_the_workspace_is_not_recorded(workspace: Path) -> None:
    checkpoints = Checkpoints(workspace, workspace / ".state")
    (workspace / "a").write_text("x")
    assert checkpoints.info(checkpoints.record("x")).files == 1
    assert checkpoints.info(checkpoints.record("y")).files == 1


def test_an_empty_workspace_has_checkpoints_too(workspace: Path, checkpoints: Checkpoints) -> None:
    checkpoint = checkpoints.record("nothing")
    (workspace / "a").write_text("x")
    assert checkpoints.restore(checkpoint).removed == ["a"]


def test_history_and_diff(workspace: Path, checkpoints: Checkpoints) -> None:
    ids = []
    for number in range(5):
        (workspace / "a").write_text(f"line {number}\n")
        ids.append(checkpoints.record(f"turn {number}"))
    assert [c.label for c in checkpoints.history()] == [f"turn {n}" for n in (4, 3, 2, 1, 0)]
    diff = checkpoints.diff(ids[0])
    assert "-line 0" in diff
    assert "+line 4" in diff
    checkpoints.restore(ids[3])
    assert (workspace / "a").read_text() == "line 3\n"


def test_old_checkpoints_are_pruned(workspace: Path, tmp_path: Path) -> None:
    checkpoints = Checkpoints(workspace, tmp_path / "state", keep=4)
    (workspace / "a").write_text("kept")
    ids = []
    for number in range(7):
        (workspace / "b").write_text(str(number))
        ids.append(checkpoints.record(str(number)))
    labels = [checkpoint.label for checkpoint in checkpoints.history()]
    assert labels[0] == "6"
    assert 4 <= len(labels) <= 5
    with pytest.raises(CheckpointError, match="no checkpoint"):
        checkpoints.restore(ids[0])
    (workspace / "a").unlink()
    checkpoints.restore(ids[-1])
    assert (workspace / "a").read_text() == "kept"


@pytest.mark.parametrize("name", ["--help", "HEAD", "../x", "abc", "a" * 12])
def test_an_unknown_checkpoint_is_refused(
    workspace: Path, checkpoints: Checkpoints, name: str
) -> None:
    checkpoints.record("x")
    with pytest.raises(CheckpointError):
        checkpoints.restore(name)


def test_many_threads_can_record_at_once(workspace: Path, checkpoints: Checkpoints) -> None:
    (workspace / "a").write_text("x")
    ids: list[str] = []
    threads = [
        threading.Thread(target=lambda n=n: ids.append(checkpoints.record(str(n))))
        for n in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(ids)) == 6
    assert len(checkpoints.history()) == 6


def test_the_users_git_variables_are_ignored(
    workspace: Path, checkpoints: Checkpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
    monkeypatch.setenv("GIT_OBJECT_DIRECTORY", str(tmp_path / "objects"))
    (workspace / "a").write_text("x")
    checkpoints.restore(checkpoints.record("x"))
    assert not (tmp_path / "index").exists()
    assert not (tmp_path / "objects").exists()


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=st.integers(0, 2**32))
def test_any_change_of_a_tree_is_restored(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    root = tmp_path / str(seed)
    workspace = root / "w"
    workspace.mkdir(parents=True, exist_ok=True)
    checkpoints = Checkpoints(workspace, root / "state")
    names = ["a", "b", "d", "d/a", "d/b", "d/e/a", "e/a", "e"]
    contents = [b"", b"one", b"two\n", b"\x00\xff" * 50]

    def change() -> None:
        import shutil

        for _ in range(chance.randint(1, 8)):
            path = workspace / chance.choice(names)
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.is_symlink() or path.exists():
                path.unlink()
            what = chance.choice(["file", "file", "link", "nothing"])
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError:  # a file or a loop of links is in the way
                continue
            if path.parent.resolve() != path.parent:
                continue
            if what == "file":
                path.write_bytes(chance.choice(contents))
                path.chmod(chance.choice([0o644, 0o755, 0o600, 0o640]))
            elif what == "link":
                path.symlink_to(chance.choice(["a", "d", "/no/where"]))

    states = []
    for number in range(3):
        change()
        states.append((checkpoints.record(str(number)), snapshot(workspace)))
    for checkpoint, state in chance.sample(states, 3):
        change()
        report = checkpoints.restore(checkpoint)
        assert report.failed == {}
        assert snapshot(workspace) == state
