"""The status line shows the branch as git does, and keeps the most important in little room."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

import pytest

from laguna_agent.events import PlanStep, PlanUpdated, Reply
from laguna_agent.interfaces.tui.widgets.choice_row import Choice
from laguna_agent.interfaces.tui.widgets.status_line import current_branch
from support.scenes import SceneApp
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


@pytest.mark.slow
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


async def test_the_parts_stand_in_the_order_of_their_importance_and_give_way_from_the_right():
    app = SceneApp()
    async with app.run_test(size=(130, 20)):
        app.prepare()
        app.status.change(
            mode="auto", model="office/qwen3-coder-30b-a3b-instruct", used=30_000,
            check="make test", check_passed=False, jobs=2,
        )  # fmt: skip

        def shown(width: int) -> str:
            return str(app.status.line(width))

        full = "office/qwen3-coder-30b-a3b-instruct  92% of 32k context  check: make test ✗  2 jobs"
        assert f" auto   {full}  " in shown(130)
        assert shown(130).endswith("~/shop  vouchers  f1 help")
        assert shown(102).endswith("2 jobs   f1 help")
        assert shown(92).endswith(full)
        assert shown(82).endswith("b-instruct  92% of 32k context  check ✗  2 jobs")
        assert shown(72).endswith("30b-a3b-instruct  92%  check ✗  2 jobs")
        assert shown(56).endswith("  qwen3-cod…b-instruct  92%  check ✗  2 jobs")
        assert shown(46).endswith("92%  check ✗")
        assert shown(38).endswith("92%")
        assert shown(30).count("…") == 1
        for width in range(20, 131):
            assert len(shown(width)) <= width
        app.status.change(plan=True)
        assert shown(130).startswith(f" plan   {full}  ")


@pytest.mark.slow
async def test_the_check_and_background_commands_are_shown(drive, tmp_path):
    script = [
        call("shell", command="sleep 300 &"),
        Reply(text="It runs."),
        call("shell", command="kill %1; wait"),
        Reply(text="It ended."),
    ]
    async with drive(script, size=(120, 24), mode="allow-all") as ui:
        await ui.idle()
        await ui.command("/check true")
        await ui.shows("  check: true")
        await ui.send("start it")
        await ui.shows("1 job")
        await ui.idle()
        await ui.send("end it")
        await ui.shows("It ended.")
        await ui.until(lambda: "1 job" not in ui.shown, "the job has ended")
        pidfile = tmp_path / "pid"
        await ui.send(f"!sleep 300 & echo $! > {pidfile}")
        await ui.shows("1 job")
        await ui.send(f"!kill $(cat {pidfile})")
        await ui.until(lambda: "1 job" not in ui.shown, "what the user started has ended")
        await ui.command("/check off")
        await ui.until(lambda: "check: true  " not in ui.shown.splitlines()[-1], "no check")


PLAN_STEPS = [PlanStep(text=f"step {n}", status="done" if n < 6 else "pending") for n in range(12)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (
            (100, 30),
            ["Plan  6 of 12 done", "step 4", "step 5", "step 6", "step 7", "step 8  … 3 more"],
        ),
        ((60, 18), ["Plan  6 of 12 done", "step 5", "step 6", "step 7  … 4 more"]),
        ((40, 12), ["Plan  6 of 12 done  ○ step 6"]),
        ((30, 6), []),
        ((130, 30), []),  # the side panel has it
    ],
)
async def test_the_plan_is_above_the_composer_where_there_is_no_side_panel(size, expected):
    app = SceneApp()
    async with app.run_test(size=size) as pilot:
        app.prepare()
        app.activity.begin("working")
        app.happen(PlanUpdated(steps=PLAN_STEPS))
        await pilot.pause(0.1)
        shown = str(app.inline_plan.render()).splitlines() if app.inline_plan.display else []
        visible = [] if not app.inline_plan.size.height else shown
        assert [line.removeprefix("✓ ").removeprefix("○ ") for line in visible] == expected
        assert len(expected) == app.inline_plan.size.height
        await pilot.resize_terminal(20, 5)
        await pilot.pause(0.1)
        assert not app.inline_plan.display
        await pilot.resize_terminal(*size)
        await pilot.pause(0.1)
        app.happen(PlanUpdated(steps=[PlanStep(text="a", status="done")]))
        await pilot.pause(0.1)
        assert not app.inline_plan.display, "a plan without open steps takes no room"


async def test_a_plan_is_one_line_while_nothing_runs_and_none_beside_a_proposed_plan():
    app = SceneApp()
    async with app.run_test(size=(100, 30)) as pilot:
        app.prepare()
        app.activity.begin("working")
        app.happen(PlanUpdated(steps=PLAN_STEPS))
        await pilot.pause(0.1)
        assert app.inline_plan.size.height == 6
        app.activity.end()
        await pilot.pause(0.1)
        assert str(app.inline_plan.render()) == "Plan  6 of 12 done  ○ step 6"
        app.plan_card.open("Plan", "1. Rest.", [Choice("keep", "keep planning")], focus=True)
        await pilot.pause(0.1)
        assert not app.inline_plan.display
        app.plan_card.close()
        await pilot.pause(0.1)
        assert app.inline_plan.size.height == 1
