"""Paths: none leads out of the workspace, and files of laguna and git are protected."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import pytest

from laguna_agent.actions import ReadPath, WritePath
from laguna_agent.tools.files import workspace
from laguna_agent.tools.files.workspace import WorkspacePath, open_beneath, protected_name
from support.toolbox import Toolbox


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    directory = tmp_path / "workspace-evil"
    directory.mkdir()
    (directory / "canary").write_text("untouched\n")
    return directory


OUT = (
    "../workspace-evil/canary",
    "link/canary",
    "file-link",
    "{outside}/canary",
    "sub/../../workspace-evil/canary",
)


@pytest.mark.parametrize("path", OUT)
async def test_no_path_leads_out(box: Toolbox, outside: Path, path: str) -> None:
    (box.workspace / "sub").mkdir()
    (box.workspace / "link").symlink_to(outside)
    (box.workspace / "file-link").symlink_to(outside / "canary")
    path = path.format(outside=outside)
    for tool, arguments in (
        ("read", {}),
        ("edit", {"old": "untouched", "new": "changed"}),
        ("write", {"content": "changed"}),
        ("search", {"pattern": "untouched"}),
        ("symbols", {"action": "outline"}),
    ):
        result = await box.call(tool, path=path, **arguments)
        assert not result.ok, tool
        assert "outside the workspace" in result.content
        assert "untouched" not in result.content
        assert box.actions(tool, path=path, **arguments) == []
    new = await box.call("write", path="link/new", content="x")
    assert not new.ok
    assert sorted(p.name for p in outside.iterdir()) == ["canary"]
    assert (outside / "canary").read_text() == "untouched\n"


async def test_link_inside_the_workspace_is_followed_and_named_by_its_target(box: Toolbox) -> None:
    box.add({"real.txt": "one\n"})
    (box.workspace / "alias").symlink_to("real.txt")
    assert box.actions("read", path="alias") == [ReadPath(path=str(box.workspace / "real.txt"))]
    result = await box.call("edit", path="alias", old="one", new="two")
    assert result.ok
    assert result.files_changed == ["real.txt"]
    assert (box.workspace / "alias").is_symlink()
    assert box.text("real.txt") == "two\n"


@pytest.mark.parametrize("kernel", [True, False], ids=["openat2", "walk"])
def test_link_put_in_after_resolving_is_refused(
    box: Toolbox, outside: Path, kernel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not kernel:
        monkeypatch.setattr(workspace, "_openat2", lambda *a: None)
    box.add({"d/canary": "inside\n"})
    place = WorkspacePath(box.workspace, "d/canary", "d/canary")
    os.rename(box.workspace / "d", box.workspace / "old")
    (box.workspace / "d").symlink_to(outside)
    with pytest.raises(workspace.PathError):
        workspace.read_bytes(place, 100)
    with pytest.raises(OSError, match=r"."):
        open_beneath(box.workspace, "d/new", os.O_WRONLY | os.O_CREAT)
    with pytest.raises(OSError, match=r"."):
        open_beneath(box.workspace, "../workspace-evil/canary", os.O_RDONLY)
    assert not (outside / "new").exists()


async def test_directory_swapped_for_a_link_again_and_again_never_leads_out(
    box: Toolbox, outside: Path
) -> None:
    box.add({"real/canary": "inside\n"})
    (outside / "canary").write_text("SECRET\n")
    stop = threading.Event()

    def swap() -> None:
        link, directory = box.workspace / "d", box.workspace / "real"
        while not stop.is_set():
            try:
                link.symlink_to(outside)
                link.unlink()
                os.rename(directory, link)
                os.rename(link, directory)
            except OSError:  # a write made the directory just now
                shutil.rmtree(link, ignore_errors=True)
                directory.mkdir(exist_ok=True)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for n in range(60):
            result = await box.call("read", path="d/canary")
            assert "SECRET" not in result.content
            await box.call("write", path="d/canary", content=f"written {n}")
    finally:
        stop.set()
        thread.join()
    assert (outside / "canary").read_text() == "SECRET\n"


@pytest.mark.parametrize(
    "path",
    [
        ".git/hooks/pre-commit",
        ".GIT/config",
        "sub/.git/config",
        ".laguna/config.toml",
        ".Laguna/x",
        ".git",
        ".g\u200cit/config",
        "git~1/config",
    ],
)
async def test_files_of_git_and_laguna_are_not_written(box: Toolbox, path: str) -> None:
    (box.workspace / "sub").mkdir()
    result = await box.call("write", path=path, content="x")
    assert not result.ok
    assert "tools do not write it" in result.content
    assert not any(isinstance(a, WritePath) for a in box.actions("write", path=path, content="x"))
    assert not (box.workspace / path).exists()


@pytest.mark.parametrize("path", [".github/workflows/ci.yml", ".gitignore", "a/.gitattributes"])
def test_names_that_only_look_like_git_are_not_protected(path: str) -> None:
    assert protected_name(path) is None


async def test_link_to_the_git_directory_is_protected_too(box: Toolbox) -> None:
    (box.workspace / ".git/hooks").mkdir(parents=True)
    (box.workspace / "hooks").symlink_to(".git/hooks")
    result = await box.call("write", path="hooks/pre-commit", content="x")
    assert not result.ok
    assert list((box.workspace / ".git/hooks").iterdir()) == []


async def test_a_loop_of_links_is_explained_in_a_line(box: Toolbox) -> None:
    (box.workspace / "a").symlink_to("b")
    (box.workspace / "b").symlink_to("a")
    for tool, arguments in (("read", {}), ("write", {"content": "x"})):
        result = await box.call(tool, path="a", **arguments)
        assert not result.ok
        assert "\n" not in result.content


@pytest.mark.parametrize("path", ["a\0b", "x" * 300, "f/g"])
async def test_impossible_path_is_explained_in_a_line(box: Toolbox, path: str) -> None:
    box.add({"f": "a file\n"})
    for tool, arguments in (
        ("read", {}),
        ("write", {"content": "x"}),
        ("search", {"pattern": "x"}),
    ):
        result = await box.call(tool, path=path, **arguments)
        assert not result.ok
        assert "\n" not in result.content


STRANGE = [
    "",
    " ",
    "\0",
    "\ud800",
    "\n",
    "..",
    "/",
    "~",
    "-",
    "--",
    "*",
    "[",
    "output:",
    "output:../x",
    "a" * 5000,
    "\u202e",
    "é\u0301",
    "%s",
    "$(touch x)",
    "'",
    "./.",
    "a/./b/../c",
]


@pytest.mark.parametrize("text", STRANGE)
async def test_no_argument_makes_a_tool_raise(box: Toolbox, text: str) -> None:
    box.add({"a.py": "x = 1\n"})
    calls: list[tuple[str, dict[str, object]]] = [
        ("read", {"path": text}),
        ("edit", {"path": text, "old": "x", "new": text}),
        ("edit", {"path": "a.py", "old": text, "new": "y"}),
        ("write", {"path": f"new/{text}", "content": text}),
        ("search", {"pattern": text or "x", "path": text}),
        ("search", {"pattern": text or "x", "glob": text}),
        ("search", {"pattern": text or "x", "mode": "files"}),
        ("symbols", {"action": "source", "name": text, "path": text}),
        ("symbols", {"action": "references", "name": text}),
    ]
    for tool, arguments in calls:
        result = await box.call(tool, **arguments)
        assert result.content
        assert len(result.content) < 20_000
    assert box.text("a.py").encode("utf-8", "strict")


async def test_missing_workspace_is_explained(box: Toolbox) -> None:
    box.workspace.rmdir()
    for tool, arguments in (
        ("read", {"path": "."}),
        ("search", {"pattern": "x"}),
        ("write", {"path": "a", "content": "x"}),
        ("symbols", {"action": "map"}),
    ):
        result = await box.call(tool, **arguments)
        assert not result.ok
        assert "\n" not in result.content
