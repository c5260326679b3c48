"""`laguna undo`, after headless runs with a scripted model."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from laguna_agent.cli import main
from laguna_agent.events import Reply
from laguna_agent.interfaces.headless import Output
from support.packs import write_files
from support.scripted import Script, call, run_scripted

Captured = pytest.CaptureFixture[str]
OK = Reply(text="ok")
Run = Callable[..., Any]


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return write_files(tmp_path / "repo", {"calc.py": "a = 1\nb = 2\nc = 3\nd = 4\n"})


@pytest.fixture
def run(workspace: Path, capsys: Captured) -> Run:
    """Runs a task; returns what it printed."""

    async def task(
        script: Script, text: str = "Do it", output: Output = "json", **more: Any
    ) -> str:
        await run_scripted(workspace, script, text, output, **more)
        return capsys.readouterr().out

    return task


@pytest.fixture
def undo(workspace: Path, capsys: Captured) -> Callable[..., tuple[int, str, str]]:
    """Runs `laguna undo`; returns its exit code and what it printed."""

    def command(*arguments: str) -> tuple[int, str, str]:
        code = main(["undo", "-C", str(workspace), *arguments])
        return (code, *capsys.readouterr())

    return command


def edit(old: str, new: str) -> Reply:
    return call("edit", path="calc.py", old=old, new=new)


@pytest.mark.slow
async def test_turns_go_back_one_by_one_and_the_persons_lines_stay(
    run: Run, undo: Run, workspace: Path
) -> None:
    await run([edit("a = 1", "a = 10"), OK], "First")
    await run([call("shell", command="sed -i 's/d = 4/d = 40/' calc.py; touch made"), OK], "Second")
    path = workspace / "calc.py"
    path.write_text(path.read_text().replace("b = 2", "b = 2\nmine = 0"))
    (workspace / "mine").touch()
    code, out, err = undo("--list")
    first, second = [line for line in out.splitlines() if "turn 1" in line]
    assert first.endswith("Second")
    assert second.endswith("First")
    assert re.match(r"[0-9a-f]{12}  \d{4}-\d\d-\d\d \d\d:\d\d  \S+  turn 1  ", first)
    assert "    2 files: calc.py, made" in out
    code, out, err = undo("--diff")
    assert "-d = 40" in out
    assert "mine" not in [line[1:] for line in out.splitlines() if line.startswith(("+", "-"))]
    assert "d = 40" in path.read_text()
    code, out, err = undo()
    assert (code, err) == (0, "")
    assert "restored calc.py  +1 -1, kept 1 line of yours" in out
    assert "removed  made" in out
    assert undo()[0] == 0
    assert path.read_text() == "a = 1\nb = 2\nmine = 0\nc = 3\nd = 4\n"
    assert sorted(os.listdir(workspace)) == ["calc.py", "mine"]
    code, _, err = undo()
    assert code == 2
    assert "nothing to undo: no turn left that changed files" in err
    assert undo("--redo")[0] == 0
    assert "a = 10" in path.read_text()
    assert undo("--redo")[0] == 0
    assert "d = 40" in path.read_text()
    assert (workspace / "made").exists()


async def test_what_overlaps_is_left_and_named_and_the_rest_goes_back(
    run: Run, undo: Run, workspace: Path
) -> None:
    await run([edit("a = 1", "a = 10"), call("write", path="made.py", content="x = 1\n"), OK])
    path = workspace / "calc.py"
    path.write_text(path.read_text().replace("a = 10", "a = 11"))
    code, out, err = undo()
    assert code == 1
    assert "removed  made.py" in out
    assert err == (
        "laguna: calc.py stays as it is: it was changed since, in the same lines "
        "(2 lines of yours)\n"
    )
    assert "a = 11" in path.read_text()


@pytest.mark.slow
async def test_an_undo_takes_back_one_session_of_several(
    run: Run, undo: Run, workspace: Path
) -> None:
    ids = []
    for name in ("one", "two", "three"):
        out = await run([call("shell", command=f"echo {name} > {name}"), OK], name)
        ids.append(json.loads(out)["session"])
    undo("--session", ids[0])
    assert sorted(os.listdir(workspace)) == ["calc.py", "three", "two"]
    undo("--steps", "5")
    assert sorted(os.listdir(workspace)) == ["calc.py", "two"]
    chosen = undo("--list", "--session", ids[1])[1].split()[0]
    undo(chosen)
    assert os.listdir(workspace) == ["calc.py"]


async def test_what_a_person_changed_meanwhile_is_neither_named_nor_undone(
    run: Run, undo: Run, workspace: Path
) -> None:
    def thinking() -> Reply:
        (workspace / "mine").write_text("m")
        return edit("a = 1", "a = 10")

    out = json.loads(await run([thinking, OK]))
    assert out["files_changed"] == ["calc.py"]
    undo()
    assert (workspace / "mine").exists()


@pytest.mark.parametrize("name", [b"caf\xe9.txt", b"\xff", b"d\xe9/a\xe9.txt"])
async def test_a_repository_with_names_that_are_not_utf8_works(
    run: Run, undo: Run, workspace: Path, capsys: Captured, name: bytes
) -> None:
    path = workspace / os.fsdecode(name)
    path.parent.mkdir(exist_ok=True)
    path.write_text("needle\n")
    find = "find . -type f -not -name calc.py -exec"
    change = call("shell", command=f"{find} sh -c 'echo more >> \"$1\"' _ {{}} ';'")
    look = call("search", pattern="needle")
    out = json.loads((await run([look, change, OK], "Look")).encode())
    assert out["files_changed"] == [os.fsdecode(name)]
    lines = (await run([look, OK], "Again", "stream-json", continue_last=True)).encode()
    assert json.loads(lines.split(b"\n")[-2])["status"] == "done"
    for command in (
        ["memory", "search", "needle"], ["memory", "list"], ["sessions", "list"],
        ["sessions", "list", "--json"],
        ["sessions", "export", out["session"]], ["undo", "--list"], ["undo", "--diff"],
    ):  # fmt: skip
        assert main([*command, "-C", str(workspace)]) == 0, command
        capsys.readouterr().out.encode()
    assert undo()[0] == 0
    assert path.read_text() == "needle\n"


async def test_a_turn_that_runs_is_not_undone(run: Run, undo: Run, workspace: Path) -> None:
    tried: list[tuple[int, str, str]] = []

    def thinking() -> Reply:
        tried.append(undo("--yes"))
        return OK

    await run([edit("a = 1", "a = 10"), thinking])
    [(code, _, err)] = tried
    assert code == 2
    assert "is running" in err
    assert "a = 10" in (workspace / "calc.py").read_text()
    assert undo()[0] == 0
