"""The object that `--output json` prints: what a script reads of the check, of what was denied, and
of a run that could not begin."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from laguna_agent.agent.model_loading import LoadedModel
from laguna_agent.agent.session import Session
from laguna_agent.agent.settings import Settings
from laguna_agent.cli import main
from laguna_agent.config import load_config
from laguna_agent.events import Reply
from laguna_agent.interfaces.headless import run_task
from laguna_agent.prompts.loader.pack import load_pack
from support.packs import write_files
from support.scripted import Script, ScriptedConversation, call

Captured = pytest.CaptureFixture[str]
WRITE = call("write", path="a.txt", content="1\n")
LOOK = call("shell", command="ls")


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return write_files(tmp_path / "repo", {"a.txt": "0\n"})


async def run(
    capsys: Captured, workspace: Path, script: Script, *, task: str = "Do it", **more: Any
) -> tuple[int, dict[str, Any]]:
    async def load(config: Any, **_: Any) -> LoadedModel:
        conversation = ScriptedConversation(script, limit=32_768)
        return LoadedModel(
            conversation, conversation.info, load_pack("base", model_name="scripted")
        )

    flags = {"sampling": {"temperature": 0.0}, **more.pop("flags", {})}
    settings = Settings(cwd=workspace, config=load_config(flags=flags), mode="auto", **more)
    code = await run_task(task, settings, "json", open_session=partial(Session.open, load=load))
    return int(code), json.loads(capsys.readouterr().out)


async def test_a_model_that_goes_in_circles_while_the_check_fails_has_failed(
    capsys: Captured, workspace: Path
) -> None:
    code, result = await run(capsys, workspace, [lambda: LOOK], check="exit 3")
    assert (code, result["status"]) == (1, "failed")
    assert result["error"].startswith("the check `exit 3` failed when it last ran (exit 3): ")
    assert result["check"] == {"command": "exit 3", "exit_code": 3, "runs": 1}


async def test_a_model_that_goes_in_circles_after_its_work_is_done_when_the_check_passes(
    capsys: Captured, workspace: Path
) -> None:
    script: Script = [WRITE, *[LOOK] * 40]
    code, result = await run(capsys, workspace, script, check="grep -q 1 a.txt")
    assert (code, result["status"], result["error"]) == (0, "done", None)
    assert result["check"] == {"command": "grep -q 1 a.txt", "exit_code": 0, "runs": 2}
    assert result["files_changed"] == ["a.txt"]


async def test_a_model_that_gives_up_names_the_check(capsys: Captured, workspace: Path) -> None:
    script: Script = [call("done", summary="ok"), lambda: Reply(text="?")]
    code, result = await run(capsys, workspace, script, check="exit 3")
    assert (code, result["status"]) == (1, "failed")
    assert "`exit 3`" in result["error"]
    assert result["check"] == {"command": "exit 3", "exit_code": 3, "runs": 2}


async def test_a_limit_stays_a_limit_and_names_the_check(capsys: Captured, workspace: Path) -> None:
    code, result = await run(
        capsys, workspace, [WRITE, WRITE], check="exit 3", flags={"limits": {"steps": 1}}
    )
    assert (code, result["status"]) == (5, "limit")
    assert "`exit 3`" in result["error"]
    assert "--max-steps" in result["error"]


async def test_without_a_check_there_is_none_and_a_circle_is_a_limit(
    capsys: Captured, workspace: Path
) -> None:
    code, result = await run(capsys, workspace, [lambda: LOOK])
    assert (code, result["status"], result["check"], result["denied"]) == (5, "limit", None, [])


async def test_what_was_denied_is_listed_though_the_model_says_that_it_is_done(
    capsys: Captured, workspace: Path
) -> None:
    push = call("shell", command="git push origin main")
    rules = [{"verdict": "deny", "command": "git push *"}]
    hooks = [{"on": "before_tool", "tools": ["write"], "command": "echo Frozen. >&2; exit 2"}]
    code, result = await run(
        capsys,
        workspace,
        [push, WRITE, call("done", summary="Pushed.")],
        flags={"policy": {"rules": rules}, "hooks": hooks},
    )
    assert (code, result["status"]) == (0, "done")
    assert [denied["tool"] for denied in result["denied"]] == ["shell", "write"]
    assert result["denied"][0]["action"] == "git push origin main"
    assert "git push *" in result["denied"][0]["reason"]
    assert "Frozen" in result["denied"][1]["reason"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", " "], "the task is empty"),
        (["--task", "x", "--nonsense"], "--nonsense"),
        (["--task", "x", "--mode", "sometimes"], "sometimes"),
        (["--task", "x", "--max-steps", "0"], "`0` is not a whole number from 1 on"),
        (["--task", "x", "--timeout", "nan"], "`nan` is not a number of seconds above 0"),
        (["--task", "x", "--temperature", "-1"], "`-1` is not a number from 0 on"),
        (["--task", "x", "-C", "/nowhere/at/all"], "there is no directory /nowhere/at/all"),
        (["--task", "x", "--resume", "a", "--continue"], "not allowed with"),
        (["--task", "fix", "bug"], "--task takes one text, and `bug` is beside it"),
        (["--task", "fix", "bug", "in", "a.py"], "`bug in a.py` is beside it"),
        (["please", "--task", "fix"], "`please` is beside it"),
        (["fix", "it"], "--output is for --task"),
        (["--task"], "expected one argument"),
    ],
)
@pytest.mark.parametrize("output", [["--output", "json"], ["--output=stream-json"]])
def test_a_run_that_cannot_begin_prints_an_object_too(
    arguments: list[str], message: str, output: list[str], capsys: Captured
) -> None:
    assert main([*output, *arguments]) == 2
    out, err = capsys.readouterr()
    [line] = out.splitlines()
    result = json.loads(line)
    assert message in result["error"]
    assert message in err
    assert (result["schema"], result["status"]) == ("laguna.result/1", "error")
    assert result["session"] is None
    assert result["usage"]["completion_tokens"] == 0
    assert "_positive" not in err


def test_a_wrong_configuration_prints_an_object_too(capsys: Captured, laguna_home: Path) -> None:
    write_files(laguna_home / "config", {"config.toml": "[engine]\ncontexts = 3\n"})
    assert main(["--task", "x", "--output", "json"]) == 2
    assert "engine.contexts" in json.loads(capsys.readouterr().out)["error"]


@pytest.mark.parametrize("arguments", [["--task", "fix", "bug"], ["--task", " "]])
def test_without_json_nothing_is_on_standard_output(arguments: list[str], capsys: Captured) -> None:
    assert main(arguments) == 2
    assert main([*arguments, "--", "--output", "json"]) == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("empty", [Reply(text=""), Reply(text=" \n"), Reply(thinking="Hm.")])
async def test_a_reply_without_a_word_is_no_answer(
    capsys: Captured, workspace: Path, empty: Reply
) -> None:
    code, result = await run(capsys, workspace, [empty, Reply(text="It is 1.")])
    assert (code, result["summary"], result["steps"]) == (0, "It is 1.", 2)


@pytest.mark.parametrize("before", [[], [WRITE]])
async def test_a_model_that_says_nothing_has_failed(
    capsys: Captured, workspace: Path, before: Script
) -> None:
    code, result = await run(capsys, workspace, [*before, lambda: Reply(text="")])
    assert (code, result["status"]) == (1, "failed")
    assert result["error"] == "the model stopped without finishing the task"


@pytest.mark.parametrize("value", ["", "  "])
def test_an_empty_check_is_an_error(capsys: Captured, value: str) -> None:
    assert main(["--task", "Do it", "--check", value, "--output", "json"]) == 2
    assert "--check: the command is empty" in json.loads(capsys.readouterr().out)["error"]
