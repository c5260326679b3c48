"""What was decided about is what happens: a file that is swapped meanwhile is left alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from laguna_agent.actions import ReadPath, WritePath
from support.toolbox import Toolbox

SWAPS: dict[str, Callable[[Path], object]] = {
    "a link to another file": lambda w: (
        (w / "notes.txt").unlink(),
        (w / "notes.txt").symlink_to("Makefile"),
    ),
    "a hard link to another file": lambda w: (
        (w / "notes.txt").unlink(),
        (w / "notes.txt").hardlink_to(w / "Makefile"),
    ),
    "the other file itself": lambda w: (w / "Makefile").rename(w / "notes.txt"),
    "other content": lambda w: (w / "notes.txt").write_text("all: evil\n"),
    "a link out of the workspace": lambda w: (
        (w / "notes.txt").unlink(),
        (w / "notes.txt").symlink_to(w.parent / "outside"),
    ),
    "nothing": lambda w: (w / "notes.txt").unlink(),
    "a folder": lambda w: ((w / "notes.txt").unlink(), (w / "notes.txt").mkdir()),
}


@pytest.mark.parametrize("how", SWAPS)
@pytest.mark.parametrize("tool", ["edit", "write"])
async def test_an_approved_change_is_made_as_shown_or_not_at_all(
    box: Toolbox, tool: str, how: str
) -> None:
    box.add({"notes.txt": "x = 1\n", "Makefile": "x = 1\nall:\n", "../outside": "x = 1\n"})
    await box.call("read", path="notes.txt")
    await box.call("read", path="Makefile")
    arguments: dict[str, Any] = {"path": "notes.txt"}
    arguments |= {"content": "x = 2\n"} if tool == "write" else {"old": "x = 1", "new": "x = 2"}
    checked = box.tools[tool].arguments.model_validate(arguments)
    shown = box.tools[tool].actions(checked, box.context)
    assert [a.path for a in shown if isinstance(a, WritePath)] == [f"{box.workspace}/notes.txt"]
    SWAPS[how](box.workspace)
    before = {p.name: p.read_bytes() for p in box.workspace.iterdir() if p.is_file()}
    result = await box.tools[tool].run(checked, box.context)
    assert not result.ok
    assert {p.name: p.read_bytes() for p in box.workspace.iterdir() if p.is_file()} == before
    assert (box.workspace.parent / "outside").read_text() == "x = 1\n"


async def test_a_new_file_goes_where_it_was_shown(box: Toolbox) -> None:
    box.add({"d/a": "", "other/a": ""})
    checked = box.tools["write"].arguments.model_validate({"path": "d/new", "content": "x\n"})
    box.tools["write"].actions(checked, box.context)
    (box.workspace / "d").rename(box.workspace / "e")
    (box.workspace / "d").symlink_to("other")
    assert not (await box.tools["write"].run(checked, box.context)).ok
    assert not (box.workspace / "other" / "new").exists()


@pytest.mark.parametrize(("tool", "more"), [("read", {}), ("search", {"pattern": "hunter"})])
@pytest.mark.parametrize("existed", [True, False])
async def test_a_file_is_read_as_decided_or_not_at_all(
    box: Toolbox, tool: str, more: dict[str, str], existed: bool
) -> None:
    box.add({".env": "KEY=hunter2\n"} | ({"notes.txt": "hunter\n"} if existed else {}))
    checked = box.tools[tool].arguments.model_validate({"path": "notes.txt", **more})
    decided = box.tools[tool].actions(checked, box.context)
    assert ReadPath(path=f"{box.workspace}/.env") not in decided
    (box.workspace / "notes.txt").unlink(missing_ok=True)
    (box.workspace / "notes.txt").symlink_to(".env")
    result = await box.tools[tool].run(checked, box.context)
    assert "hunter2" not in result.content


async def test_a_swap_in_the_background_never_gets_through(box: Toolbox) -> None:
    """A loop swaps while changes of notes.txt, and of nothing else, are approved."""
    box.add({"notes.txt": "x = 1\n", "Makefile": "x = 1\n"})
    loop = (
        "for i in $(seq 50); do ln -sf Makefile t; mv -T t notes.txt; "
        "printf 'x = 1\\n' > u; mv u notes.txt; done"
    )
    tool = box.tools["edit"]
    checked = tool.arguments.model_validate({"path": "notes.txt", "old": "x = 1", "new": "x = 2"})
    process = await asyncio.create_subprocess_exec("bash", "-c", loop, cwd=box.workspace)
    waiting = asyncio.create_task(process.wait())
    while not waiting.done():
        shown = [a.path for a in tool.actions(checked, box.context) if isinstance(a, WritePath)]
        if shown == [f"{box.workspace}/notes.txt"]:
            await tool.run(checked, box.context)
        assert box.text("Makefile") == "x = 1\n"
        await asyncio.sleep(0)
