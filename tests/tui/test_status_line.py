"""The status line shows the branch as git does, and keeps the most important in little room."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

import pytest

from laguna_agent.events import Reply
from laguna_agent.interfaces.tui.widgets.status_line import current_branch
from support.scripted import call


def git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "protocol.file.allow=always"]
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=root, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_a_branch_is_named_before_its_first_commit(tmp_path):
    git(tmp_path, "init", "-q", "-b", "work/one")
    assert current_branch(tmp_path) == "work/one"


def test_a_detached_head_is_its_short_commit(repository):
    git(repository, "switch", "-q", "--detach")
    assert current_branch(repository) == git(repository, "rev-parse", "--short=7", "HEAD")


def test_a_linked_worktree_and_a_submodule_have_branches_of_their_own(repository, tmp_path):
    git(repository, "worktree", "add", "-q", "-b", "beside", str(tmp_path / "linked"))
    git(repository, "submodule", "--quiet", "add", str(repository), "inner")
    git(repository / "inner", "switch", "-q", "-c", "within")
    assert (tmp_path / "linked" / ".git").is_file()
    assert (repository / "inner" / ".git").is_file()
    assert current_branch(tmp_path / "linked") == "beside"
    assert current_branch(repository / "inner") == "within"
    assert current_branch(repository) == "main"


def test_the_branch_stays_while_its_references_are_packed(repository):
    git(repository, "pack-refs", "--all")
    assert current_branch(repository) == "main"


@pytest.mark.parametrize("text", ["gitdir: nowhere", "gitdir: \0", "", "\xff"])
def test_a_directory_outside_git_has_no_branch(tmp_path, text):
    assert current_branch(tmp_path) == ""
    (tmp_path / ".git").write_bytes(text.encode("latin-1"))
    assert current_branch(tmp_path) == ""


def test_a_pipe_in_place_of_a_file_does_not_block(tmp_path):
    (tmp_path / ".git").mkdir()
    os.mkfifo(tmp_path / ".git" / "HEAD")
    assert current_branch(tmp_path) == ""


async def test_the_branch_follows_the_users_commands_and_the_models(drive):
    script = [call("shell", command="git checkout -q -b by-model"), Reply(text="Switched.")]
    async with drive(script, size=(110, 24), mode="allow-all") as ui:
        await ui.shows("main  f1 help")
        await ui.idle()
        await ui.command("!git checkout -q -b by-hand")
        await ui.shows("by-hand  f1 help")
        await ui.idle()
        await ui.send("another branch")
        await ui.shows("by-model  f1 help")


async def test_a_slow_disk_delays_no_key(drive, monkeypatch):
    release = asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(root: Path) -> str:
        asyncio.run_coroutine_threadsafe(release.wait(), loop).result()
        return "late"

    monkeypatch.setattr("laguna_agent.interfaces.tui.widgets.status_line.current_branch", slow)
    async with drive([Reply(text="hello")], size=(110, 24)) as ui:
        await ui.turn("hi", "hello")
        assert "late" not in ui.shown
        release.set()
        await ui.shows("late  f1 help")


async def test_in_a_narrow_terminal_the_path_goes_first_then_the_branch(drive):
    async with drive([], size=(110, 24)) as ui:
        await ui.shows("main  f1 help")
        await ui.idle()
        ui.app.status.change(directory="~/a/rather/long/path/of/a/workspace", branch="b" * 60)
        await ui.pilot.pause()
        assert "workspace" in ui.shown
        assert "b" * 23 + "…  f1 help" in ui.shown
        await ui.pilot.resize_terminal(80, 24)
        await ui.until(lambda: "workspace" not in ui.shown, "the path goes")
        assert "b" * 23 + "…  f1 help" in ui.shown
        await ui.pilot.resize_terminal(50, 24)
        await ui.until(lambda: "bbb" not in ui.shown, "the branch goes")
        assert "f1 help" in ui.shown
        ui.app.status.change(warning="certificate not checked")
        await ui.until(lambda: "certificate not checked" in ui.shown, "a warning stays")
