"""The done tool and the check, on real bash."""

from __future__ import annotations

from pathlib import Path

import pytest

from laguna_agent.actions import RunCommand
from laguna_agent.tools.done import DoneArguments, DoneTool, run_check
from support.shells import Shell, make_context, processes_with, unique, until

ARGUMENTS = DoneArguments(summary="Fixed it.")


async def test_without_a_check_the_turn_ends(tmp_path: Path) -> None:
    context = make_context(tmp_path, False)
    result = await DoneTool().run(ARGUMENTS, context)
    assert result.ok
    assert result.content == "Fixed it."
    assert DoneTool().actions(ARGUMENTS, context) == []
    assert await run_check(context) is None


@pytest.mark.parametrize("confined", [False, True], ids=["bare", "bubblewrap"])
async def test_a_failing_check_goes_back_to_the_model(tmp_path: Path, confined: bool) -> None:
    context = make_context(tmp_path, confined, check="cat expected")
    result = await DoneTool().run(ARGUMENTS, context)
    assert not result.ok
    assert result.exit_code == 1
    assert "No such file" in result.content
    assert "the check `cat expected` failed, exit 1" in result.content
    (context.workspace / "expected").write_text("there\n")
    result = await DoneTool().run(ARGUMENTS, context)
    assert result.ok
    assert (result.summary, result.exit_code) == ("check passed", 0)
    ran = await run_check(context)
    assert ran is not None
    assert (ran.command, ran.exit_code, ran.output) == ("cat expected", 0, "there")


async def test_the_policy_decides_about_the_check(tmp_path: Path) -> None:
    context = make_context(tmp_path, False, check="make test")
    assert DoneTool().actions(ARGUMENTS, context) == [
        RunCommand(command="make test", cwd=str(context.workspace))
    ]


async def test_the_models_shell_does_not_affect_the_check(tmp_path: Path) -> None:
    context = make_context(tmp_path, False, check="false; exit $?")
    shell = Shell(context)
    await shell("cd /usr; false() { true; }; exit() { builtin exit 0; }; PATH=/nowhere")
    ran = await run_check(context)
    assert ran is not None
    assert ran.exit_code == 1
    assert (await shell("pwd")).content == "/usr"
    await shell.close()


async def test_a_check_that_hangs_is_stopped(tmp_path: Path) -> None:
    number = unique()
    context = make_context(tmp_path, False, check=f"echo begun; sleep {number}")
    ran = await run_check(context, timeout=0.3)
    assert ran is not None
    assert ran.exit_code == 124
    assert ran.output.startswith("begun\n")
    assert await until(lambda: not processes_with(number))


async def test_a_check_leaves_nothing_running(tmp_path: Path) -> None:
    number = unique()
    context = make_context(tmp_path, False, check=f"sleep {number} & true")
    ran = await run_check(context)
    assert ran is not None
    assert ran.exit_code == 0
    assert await until(lambda: not processes_with(number))


async def test_the_output_of_a_check_is_bounded(tmp_path: Path) -> None:
    context = make_context(tmp_path, False, check="seq 1 100000; false")
    ran = await run_check(context)
    assert ran is not None
    assert len(ran.output) < context.max_output_chars + 200
    assert ran.output.endswith("100000")


async def test_a_check_without_a_shell_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = make_context(tmp_path, False, check="true")
    monkeypatch.setenv("PATH", str(tmp_path))
    ran = await run_check(context)
    assert ran is not None
    assert ran.exit_code == 126
    assert "bash" in ran.output
