"""Hooks: real commands, what they may say, and what becomes of those that fail."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from laguna_agent.agent.hooks import MAX_CONTINUES, Hooks
from laguna_agent.config import HookConfig, load_config
from laguna_agent.errors import UsageError
from laguna_agent.events import ToolCall, ToolFinished

CALL = ToolCall(id="1", name="shell", arguments={"command": "rm -rf build"})
DONE = ToolFinished(call_id="1", name="shell", ok=False, content="no", exit_code=1)


def hooks(tmp_path: Path, *specs: dict[str, Any], **options: Any) -> Hooks:
    return Hooks([HookConfig(**spec) for spec in specs], cwd=tmp_path, session="s1", **options)


async def test_a_hook_reads_the_call_as_json_and_may_print_nothing(tmp_path: Path) -> None:
    runner = hooks(tmp_path, {"on": "before_tool", "command": "cat > seen.json"})
    outcome = await runner.before_tool(CALL)
    assert (outcome.deny, outcome.add, outcome.notices) == (None, [], [])
    assert json.loads((tmp_path / "seen.json").read_text()) == {
        "event": "before_tool",
        "session": "s1",
        "cwd": str(tmp_path),
        "tool": "shell",
        "arguments": {"command": "rm -rf build"},
    }


async def test_a_hook_may_deny_in_json_or_by_exit_status_two(tmp_path: Path) -> None:
    said = hooks(tmp_path, {"on": "before_tool", "command": """echo '{"deny": "not build"}'"""})
    assert (await said.before_tool(CALL)).deny == "not build"
    status = hooks(tmp_path, {"on": "before_tool", "command": "echo never >&2; exit 2"})
    assert (await status.before_tool(CALL)).deny == "never"


async def test_after_a_denial_later_hooks_do_not_run(tmp_path: Path) -> None:
    runner = hooks(
        tmp_path,
        {"on": "before_tool", "command": "exit 2"},
        {"on": "before_tool", "command": "touch ran"},
    )
    assert (await runner.before_tool(CALL)).deny
    assert not (tmp_path / "ran").exists()


async def test_hooks_are_for_their_event_and_their_tools(tmp_path: Path) -> None:
    runner = hooks(
        tmp_path,
        {"on": "before_tool", "command": "exit 2", "tools": ["git*", "write"]},
        {"on": "after_tool", "command": "exit 2", "tools": ["shell"]},
    )
    assert (await runner.before_tool(CALL)).deny is None
    assert (await runner.before_tool(CALL.model_copy(update={"name": "git"}))).deny


async def test_texts_of_several_hooks_add_up(tmp_path: Path) -> None:
    runner = hooks(
        tmp_path,
        {"on": "after_tool", "command": """echo '{"add": "one"}'"""},
        {"on": "after_tool", "command": """echo '{"add": "two"}'"""},
    )
    assert (await runner.after_tool(CALL, DONE)).add == ["one", "two"]


async def test_a_hook_may_deny_a_prompt_and_continue_a_turn(tmp_path: Path) -> None:
    runner = hooks(
        tmp_path,
        {"on": "on_prompt", "command": "grep -q secret && exit 2 || true"},
        {"on": "turn_end", "command": """echo '{"continue": "Run make lint."}'"""},
    )
    assert (await runner.on_prompt("tell the secret")).deny
    assert (await runner.on_prompt("fix it")).deny is None
    sent = [(await runner.turn_end(status="done")).continue_with for _ in range(MAX_CONTINUES + 1)]
    assert sent == ["Run make lint."] * MAX_CONTINUES + [None]
    await runner.on_prompt("and now")
    assert (await runner.turn_end(status="done")).continue_with == "Run make lint."


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("exit 3", "exit status 3"),
        ("echo oops >&2; exit 1", "exit status 1: oops"),
        ("echo nonsense", "not an answer"),
        ("echo '{\"allow\": true}'", "not an answer: allow"),
        ("no-such-program-here", "exit status 127"),
    ],
)
async def test_a_failure_is_shown_and_denies_only_when_required(
    tmp_path: Path, command: str, says: str
) -> None:
    outcome = await hooks(tmp_path, {"on": "before_tool", "command": command}).before_tool(CALL)
    assert outcome.deny is None
    assert [notice.level for notice in outcome.notices] == ["error"]
    assert says in outcome.notices[0].text
    strict = hooks(tmp_path, {"on": "before_tool", "command": command, "required": True})
    assert (await strict.before_tool(CALL)).deny


async def test_a_slow_hook_is_ended_with_all_it_started(tmp_path: Path) -> None:
    command = "(trap '' TERM; sleep 300) & echo $! > pid; sleep 300"
    runner = hooks(tmp_path, {"on": "before_tool", "command": command, "timeout": 0.5})
    outcome = await runner.before_tool(CALL)
    assert "took longer than 0.5 s" in outcome.notices[0].text
    pid = int((tmp_path / "pid").read_text())
    async with asyncio.timeout(10):
        while Path(f"/proc/{pid}").exists() and not _zombie(pid):
            await asyncio.sleep(0.01)


def _zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


async def test_what_a_hook_leaves_in_the_background_does_not_hold_it_open(tmp_path: Path) -> None:
    command = """sleep 300 & echo '{"add": "x"}'"""
    runner = hooks(tmp_path, {"on": "before_tool", "command": command, "timeout": 60})
    async with asyncio.timeout(30):
        assert (await runner.before_tool(CALL)).add == ["x"]


async def test_output_without_end_is_bounded(tmp_path: Path) -> None:
    runner = hooks(
        tmp_path, {"on": "before_tool", "command": "head -c 50000000 /dev/zero | tr '\\0' x"}
    )
    outcome = await runner.before_tool(CALL)
    assert "not an answer" in outcome.notices[0].text
    assert len(outcome.notices[0].text) < 1000


async def test_a_hook_gets_no_secrets(tmp_path: Path) -> None:
    runner = hooks(
        tmp_path,
        {"on": "before_tool", "command": "env > env.txt"},
        environment={"PATH": os.environ["PATH"], "MY_API_KEY": "k", "NAME": "n"},
    )
    await runner.before_tool(CALL)
    text = (tmp_path / "env.txt").read_text()
    assert "NAME=n" in text
    assert "MY_API_KEY" not in text


async def test_a_hook_that_does_not_read_its_input_is_no_failure(tmp_path: Path) -> None:
    big = CALL.model_copy(update={"arguments": {"command": "x" * 5_000_000}})
    runner = hooks(tmp_path, {"on": "before_tool", "command": "exec 0<&-; exit 0"})
    outcome = await runner.before_tool(big)
    assert (outcome.deny, outcome.notices) == (None, [])


def test_hooks_are_checked_with_the_configuration(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('[[hooks]]\non = "turn_end"\ncommand = "make lint"\ntimeout = 5\n')
    [hook] = load_config(user=path, environment={}).hooks
    assert (hook.on, hook.command, hook.timeout) == ("turn_end", "make lint", 5)
    path.write_text('[[hooks]]\non = "before_tols"\ncommand = "x"\n')
    with pytest.raises(UsageError, match=r"hooks\.0\.on"):
        load_config(user=path, environment={})
