"""Writing files: mode, owner and links are kept; a crash leaves the old or new content."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest

from laguna_agent.tools.files import storage
from laguna_agent.tools.tool import ToolContext
from support.toolbox import Toolbox


@pytest.mark.parametrize("mode", [0o755, 0o600, 0o664, 0o4711])
async def test_mode_is_kept(box: Toolbox, mode: int) -> None:
    box.add({"run.sh": "echo 1\n"})
    (box.workspace / "run.sh").chmod(mode)
    assert (await box.call("edit", path="run.sh", old="1", new="2")).ok
    assert (box.workspace / "run.sh").stat().st_mode & 0o7777 == mode
    assert box.text("run.sh") == "echo 2\n"


async def test_owner_is_kept(box: Toolbox) -> None:
    box.add({"a.txt": "1\n"})
    # Root gives it to somebody; anybody else gives it to another of their groups, if any.
    group = 54321 if os.geteuid() == 0 else os.getgroups()[-1]
    owner = 12345 if os.geteuid() == 0 else os.geteuid()
    os.chown(box.workspace / "a.txt", owner, group)
    assert (await box.call("edit", path="a.txt", old="1", new="2")).ok
    info = (box.workspace / "a.txt").stat()
    assert (info.st_uid, info.st_gid) == (owner, group)


async def test_owner_that_cannot_be_set_is_kept_by_writing_in_place(
    box: Toolbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.add({"a.txt": "1\n"})
    inode = (box.workspace / "a.txt").stat().st_ino
    monkeypatch.setattr(storage, "_keep_attributes", lambda *a: False)
    assert (await box.call("edit", path="a.txt", old="1", new="2")).ok
    assert (box.workspace / "a.txt").stat().st_ino == inode
    assert box.text("a.txt") == "2\n"


async def test_hard_links_stay_links(box: Toolbox) -> None:
    box.add({"a.txt": "one\ntwo\n"})
    os.link(box.workspace / "a.txt", box.workspace / "b.txt")
    assert (await box.call("edit", path="a.txt", old="one\ntwo", new="1")).ok
    assert box.text("b.txt") == "1\n"
    assert (box.workspace / "a.txt").samefile(box.workspace / "b.txt")


@pytest.mark.parametrize("others_inside", [0, 1])
async def test_a_hard_link_outside_keeps_its_content(box: Toolbox, others_inside: int) -> None:
    store = box.workspace.parent / "store"
    store.write_text("one\n")
    os.link(store, box.workspace / "a.txt")
    for number in range(others_inside):
        os.link(store, box.workspace / f"{number}.txt")
    assert (await box.call("edit", path="a.txt", old="one", new="1")).ok
    assert box.text("a.txt") == "1\n"
    assert store.read_text() == "one\n"


async def test_a_hard_link_outside_is_not_written_in_place(
    box: Toolbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = box.workspace.parent / "store"
    store.write_text("one\n")
    os.link(store, box.workspace / "a.txt")
    monkeypatch.setattr(storage, "_keep_attributes", lambda *a: False)
    result = await box.call("edit", path="a.txt", old="one", new="1")
    assert not result.ok
    assert "outside the workspace" in result.content
    assert store.read_text() == box.text("a.txt") == "one\n"


async def test_symbolic_link_stays_a_link(box: Toolbox) -> None:
    box.add({"d/a.txt": "one\n"})
    (box.workspace / "link").symlink_to("d/a.txt")
    assert (await box.call("write", path="link", content="x\n")).ok is False
    assert (await box.call("write", path="link", content="x\n")).ok
    assert os.readlink(box.workspace / "link") == "d/a.txt"
    assert box.text("d/a.txt") == "x\n"


async def test_extended_attributes_are_kept(box: Toolbox) -> None:
    box.add({"a.txt": "1\n"})
    path = box.workspace / "a.txt"
    os.setxattr(path, "user.laguna.test", b"kept")
    assert (await box.call("edit", path="a.txt", old="1", new="2")).ok
    assert os.getxattr(path, "user.laguna.test") == b"kept"


async def test_no_temporary_file_is_left(box: Toolbox) -> None:
    box.add({"a.txt": "1\n"})
    assert (await box.call("edit", path="a.txt", old="1", new="2")).ok
    assert (await box.call("write", path="b.txt", content="1\n")).ok
    assert sorted(p.name for p in box.workspace.iterdir()) == ["a.txt", "b.txt"]


async def test_new_file_honours_the_umask(box: Toolbox) -> None:
    old = os.umask(0o027)
    try:
        assert (await box.call("write", path="b.txt", content="1\n")).ok
    finally:
        os.umask(old)
    assert (box.workspace / "b.txt").stat().st_mode & 0o777 == 0o640


async def test_change_between_planning_and_writing_is_not_lost(
    box: Toolbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.add({"a.txt": "1\n"})
    real = storage.check_writable
    calls = []

    def meddle(target: object) -> object:
        calls.append(target)
        if len(calls) == 2:  # planned by now
            box.add({"a.txt": "3\n"})
        return real(target)  # type: ignore[arg-type] # passed through as it came

    monkeypatch.setattr(storage, "check_writable", meddle)
    tool = box.tools["edit"]
    arguments = tool.arguments.model_validate({"path": "a.txt", "old": "1", "new": "2"})
    result = await tool.run(arguments, box.context)
    assert not result.ok
    assert "changed just now" in result.content
    assert box.text("a.txt") == "3\n"


CHILD = """
    import os, signal, sys
    from pathlib import Path
    from laguna_agent.tools.files import storage
    from laguna_agent.tools.tool import ToolContext
    from laguna_agent.tools.files.workspace import WorkspacePath

    workspace, state, when = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    context = ToolContext(workspace=workspace, state_dir=state)
    target = WorkspacePath(workspace, "a.txt", "a.txt")
    old = (workspace / "a.txt").read_bytes()

    def die(*args, **kwargs):
        os.kill(os.getpid(), signal.SIGKILL)

    class Dying:
        def __init__(self, stream):
            self.stream = stream
        def __enter__(self):
            return self
        def __exit__(self, *args):
            pass
        def write(self, data):
            os.write(self.stream.fileno(), data[: len(data) // 2])
            die()

    if when == "before rename":
        os.rename = die
    elif when == "within the write":
        fdopen = os.fdopen
        def dying(fd, mode="r"):
            stream = fdopen(fd, mode)
            return Dying(stream) if mode == "wb" else stream
        os.fdopen = dying
    elif when == "within the overwrite":
        real = storage._overwrite
        def torn(target, data, old=None):
            fd = os.open(target.path, os.O_WRONLY)
            os.write(fd, data[: len(data) // 2])
            die()
        storage._overwrite = torn
    storage.replace_file(context, target, b"new content, " * 2000, expected=old)
"""


def crash(box: Toolbox, when: str) -> None:
    command = [sys.executable, "-c", textwrap.dedent(CHILD)]
    where = [str(box.workspace), str(box.context.state_dir)]
    process = subprocess.run([*command, *where, when], check=False, timeout=60)
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("when", ["before rename", "within the write"])
def test_crash_leaves_the_old_content(box: Toolbox, when: str) -> None:
    old = b"old content\n" * 1000
    box.add({"a.txt": old})
    crash(box, when)
    assert box.data("a.txt") == old


def fresh(box: Toolbox) -> ToolContext:
    return ToolContext(workspace=box.workspace, state_dir=box.context.state_dir)


def test_crash_within_a_hard_linked_file_is_finished_by_the_next_session(box: Toolbox) -> None:
    box.add({"a.txt": b"old content\n" * 5000})
    os.link(box.workspace / "a.txt", box.workspace / "b.txt")
    crash(box, "within the overwrite")
    assert b"old" in box.data("a.txt")  # torn by now
    assert b"new" in box.data("a.txt")
    assert storage.recover(fresh(box)) == ["a.txt"]
    assert box.data("a.txt") == b"new content, " * 2000
    assert box.data("b.txt") == b"new content, " * 2000
    assert storage.recover(fresh(box)) == []


def test_recovery_leaves_a_file_alone_that_was_written_since(box: Toolbox) -> None:
    box.add({"a.txt": b"old content\n" * 5000})
    os.link(box.workspace / "a.txt", box.workspace / "b.txt")
    crash(box, "within the overwrite")
    (box.workspace / "a.txt").write_text("mine\n")
    assert storage.recover(fresh(box)) == []
    assert box.text("a.txt") == "mine\n"


async def test_special_and_huge_files_are_not_written(box: Toolbox) -> None:
    os.mkfifo(box.workspace / "pipe")
    with (box.workspace / "huge").open("wb") as stream:
        stream.truncate(5 << 30)
    for name, why in (("pipe", "a named pipe"), ("huge", "too large")):
        for tool, arguments in (("edit", {"old": "x", "new": "y"}), ("write", {"content": "x"})):
            result = await box.call(tool, path=name, **arguments)
            assert not result.ok
            assert why in result.content


EDITOR = """
    import asyncio, json, os, sys
    from pathlib import Path
    from laguna_agent.tools.registry import builtin_tools
    from laguna_agent.tools.tool import ToolContext

    workspace, state, user, path, size = sys.argv[1:]
    tool = builtin_tools()["edit"]

    def edit(**call):
        context = ToolContext(workspace=Path(workspace), state_dir=Path(state))
        return asyncio.run(tool.run(tool.arguments.model_validate(call), context))

    edit(path="none", old="1", new="2")  # imports what another user may not read
    if int(user) and os.geteuid() == 0:
        os.setgroups([])
        os.setgid(int(user))
        os.setuid(int(user))
    result = edit(path=path, old="1", new="2" * int(size))
    print(json.dumps([result.ok, result.content]))
"""
NOBODY = 65534


def edit_apart(
    box: Toolbox, *wrapper: str, path: str = "d/a.txt", user: int = 0, size: int = 1
) -> tuple[bool, str]:
    """The result of an edit by another process: as another user, or in other mounts."""
    where = [str(box.workspace), str(box.context.state_dir), str(user), path, str(size)]
    command = [*wrapper, sys.executable, "-c", textwrap.dedent(EDITOR), *where]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    ok, content = json.loads(done.stdout)
    return ok, content


def mounts(*options: str) -> list[str]:
    return ["bwrap", "--dev-bind", "/", "/", *options, "--"]


def test_a_file_that_is_a_mount_is_edited(box: Toolbox, tmp_path: Path) -> None:
    outside = tmp_path / "volume.txt"
    outside.write_text("1 and the rest\n")
    box.add({"d/a.txt": ""})
    mounted = mounts("--bind", str(outside), str(box.workspace / "d/a.txt"))
    ok, content = edit_apart(box, *mounted)
    assert ok, content
    assert outside.read_text() == "2 and the rest\n"
    assert not list((box.context.state_dir / "unfinished-writes").iterdir())


@pytest.mark.slow
def test_a_writable_file_in_a_read_only_folder_is_edited(box: Toolbox) -> None:
    box.add({"d/a.txt": "1\n", "d/b.txt": "1\n"})
    folder, file = str(box.workspace / "d"), str(box.workspace / "d/a.txt")
    mounted = mounts("--ro-bind", folder, folder, "--bind", file, file)
    assert edit_apart(box, *mounted)[0]
    assert box.text("d/a.txt") == "2\n"
    ok, content = edit_apart(box, *mounted, path="d/b.txt")
    assert (ok, content) == (False, "d/b.txt is read-only.")


@pytest.mark.parametrize("mode", [0o555, 0o1777], ids=["not writable", "sticky"])
def test_a_file_whose_folder_forbids_to_replace_it_is_edited(mode: int) -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own is closed to other users
        Path(name).chmod(0o755)
        box = Toolbox.at(Path(name))
        box.add({"d/a.txt": "1\n"})
        file = box.workspace / "d/a.txt"
        file.chmod(0o666)
        file.parent.chmod(mode)
        box.context.state_dir.chmod(0o777)
        inode = file.stat().st_ino
        ok, content = edit_apart(box, user=NOBODY)
        assert ok, content
        assert file.read_text() == "2\n"
        assert os.geteuid() or file.stat().st_ino == inode
        assert [path.name for path in file.parent.iterdir()] == ["a.txt"]
        file.parent.chmod(0o755)


@pytest.mark.parametrize("linked", [False, True])
def test_a_full_disk_leaves_the_old_content(box: Toolbox, linked: bool) -> None:
    (box.workspace / "d").mkdir()
    (box.workspace / "old").write_text("1 old\n" + "x" * 60_000)
    disk = str(box.workspace / "d")
    prepare = f"cp {disk}/../old {disk}/a.txt" + (f" && ln {disk}/a.txt {disk}/b.txt" * linked)
    after = f"cmp {disk}/a.txt {disk}/../old && ls -A {disk}"
    script = f'{prepare} && "$@" && {after}'
    wrapper = [*mounts("--size", "131072", "--tmpfs", disk), "sh", "-c", script, "sh"]
    where = [str(box.workspace), str(box.context.state_dir), "0", "d/a.txt", "400000"]
    command = [*wrapper, sys.executable, "-c", textwrap.dedent(EDITOR), *where]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    result, *names = done.stdout.decode().splitlines()
    assert json.loads(result) == [False, "d/a.txt was not written: the disk is full."]
    assert names == ["a.txt", "b.txt"][: 1 + linked]


async def test_a_write_in_place_that_fails_is_taken_back(
    box: Toolbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.add({"a.txt": "1 old content\n"})
    os.link(box.workspace / "a.txt", box.workspace / "b.txt")
    real = os.fsync
    failures = [OSError(errno.EIO, "Input/output error")]

    def failing(descriptor: int) -> None:
        if failures and os.fstat(descriptor).st_nlink > 1:
            raise failures.pop()
        real(descriptor)

    monkeypatch.setattr(os, "fsync", failing)
    result = await box.call("edit", path="a.txt", old="1 old", new="2" * 50)
    assert not result.ok
    assert box.text("a.txt") == "1 old content\n"
