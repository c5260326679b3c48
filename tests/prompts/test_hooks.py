"""Hooks: real commands, what they may say, and what becomes of those that fail."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from laguna_agent.actions import ReadPath, WritePath
from laguna_agent.agent.hooks import MAX_CONTINUES, Hooks, unknown_tools
from laguna_agent.config import HookConfig, load_config
from laguna_agent.errors import UsageError
from laguna_agent.events import ToolCall, ToolFinished
from laguna_agent.policy import trust
from laguna_agent.policy.sandbox import Bubblewrap
from laguna_agent.programs import find_program
from support.packs import write_files
from support.scripted import call, results_of, take

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
        "paths": [],
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
        environment={"MY_API_KEY": "k", "NAME": "n", "BASH_ENV": "./planted", "ENV": "planted"},
    )
    (tmp_path / "planted").write_text("touch planted-ran\n")
    await runner.before_tool(CALL)
    assert not (tmp_path / "planted-ran").exists()
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
    with pytest.raises(UsageError, match=r"hooks\.\d\.on"):
        load_config(user=path, environment={})


# --- where hooks run, and what --------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace with a script that a hook runs, and a sandbox around it."""
    root = tmp_path / "project"
    (root / "scripts").mkdir(parents=True)
    (root / "scripts" / "h.sh").write_text('echo \'{"add": "trusted"}\'\n')
    (root / "scripts" / "h.sh").chmod(0o755)
    return root


def sandbox_of(root: Path) -> Bubblewrap:
    return Bubblewrap(root, program=find_program("bwrap") or "")


def digests(root: Path) -> dict[str, bytes]:
    data = (root / "scripts" / "h.sh").read_bytes()
    return {"scripts/h.sh": hashlib.sha256(data).digest()}


@pytest.mark.parametrize(
    "command", ["touch {out}", "make -s lint", "bash -c 'touch {out}'", "sh x.sh", "./x.sh"]
)
@pytest.mark.parametrize("outside", [False, True])
async def test_a_hook_runs_in_the_sandbox_unless_its_user_says_otherwise(
    command: str, outside: bool, project: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    (project / "Makefile").write_text(f"lint:\n\ttouch {out}\n")
    (project / "x.sh").write_text(f"#!/bin/sh\ntouch {out}\n")
    (project / "x.sh").chmod(0o755)
    spec = {"on": "before_tool", "command": command.format(out=out), "sandbox": not outside}
    await hooks(project, spec, sandbox=sandbox_of(project)).before_tool(CALL)
    assert out.exists() is outside


async def test_a_hook_that_fails_in_the_sandbox_says_how_to_run_it_outside(project: Path) -> None:
    spec = {"on": "before_tool", "command": "exit 3"}
    for sandbox in (sandbox_of(project), None):
        [notice] = (await hooks(project, spec, sandbox=sandbox).before_tool(CALL)).notices
        assert ("sandbox = false" in notice.text) is (sandbox is not None)


@pytest.mark.parametrize(
    "command",
    [
        "scripts/h.sh",
        "./scripts/h.sh --quick",
        "bash scripts/h.sh; true",
        "true && sh -eu scripts/h.sh",
        "env A=1 bash -o pipefail scripts/h.sh",
        "if true; then scripts/h.sh; fi",
        "bash -c 'scripts/h.sh -v'",
        "$PWD/scripts/h.sh",
        "bash '{root}/scripts/h.sh'",
        ". scripts/h.sh",
    ],
)
@pytest.mark.parametrize("confined", [False, True], ids=["outside", "sandbox"])
async def test_a_script_that_changed_since_it_was_trusted_does_not_run(
    command: str, confined: bool, project: Path, tmp_path: Path
) -> None:
    sandbox = sandbox_of(project) if confined else None
    spec = {"on": "before_tool", "command": command.format(root=project), "required": True}
    runner = hooks(project, spec, sandbox=sandbox, trusted=digests(project))
    assert (await runner.before_tool(CALL)).add == ["trusted"]
    (project / "scripts" / "h.sh").write_text(f"touch {project}/ran; touch {tmp_path}/ran\n")
    outcome = await runner.before_tool(CALL)
    assert outcome.deny
    assert "scripts/h.sh changed since it was trusted" in outcome.notices[0].text
    assert not (project / "ran").exists()
    assert not (tmp_path / "ran").exists()
    (project / "scripts" / "h.sh").unlink()
    (project / "scripts" / "h.sh").symlink_to("/bin/true")
    assert (await runner.before_tool(CALL)).deny


async def test_outside_the_sandbox_what_runs_is_a_copy_of_what_was_checked(project: Path) -> None:
    script = project / "scripts" / "h.sh"
    script.write_text('touch scripts/h.sh-ran; echo "{\\"add\\": \\"$0\\"}"\n')
    runner = hooks(project, {"on": "before_tool", "command": "bash scripts/h.sh"})
    [said] = (await runner.before_tool(CALL)).add
    assert not said.startswith("scripts/")
    assert str(project) not in said
    assert not Path(said).exists()
    assert (project / "scripts" / "h.sh-ran").exists()


async def test_files_that_a_hook_only_reads_may_change(project: Path) -> None:
    (project / "a.py").write_text("x = 1\n")
    command = "bash scripts/h.sh a.py > out; grep -q 'x = 2' a.py && exit 2"
    runner = hooks(project, {"on": "before_tool", "command": command}, trusted=digests(project))
    (project / "a.py").write_text("x = 2\n")
    assert (await runner.before_tool(CALL)).deny
    assert trust.run_files(command, project) == {"scripts/h.sh"}
    assert trust.named_files(command, project) == {"scripts/h.sh", "a.py", "out"}


async def test_programs_of_the_workspace_are_not_found_by_a_hook_outside(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "bin").mkdir()
    (project / "bin" / "make").write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    (project / "bin" / "make").chmod(0o755)
    monkeypatch.chdir(project)
    monkeypatch.setenv("PATH", f"{project}/bin:{os.environ['PATH']}")
    spec = {"on": "before_tool", "command": "make lint", "sandbox": False}
    await hooks(project, spec, sandbox=sandbox_of(project)).before_tool(CALL)
    assert not (tmp_path / "ran").exists()


def test_a_project_cannot_take_its_hooks_out_of_the_sandbox(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    hook = '[[hooks]]\non = "turn_end"\ncommand = "make"\nsandbox = '
    path.write_text(hook + "true\n")
    assert load_config(project=path, user=tmp_path / "none", environment={}).hooks[0].sandbox
    path.write_text(hook + "false\n")
    assert not load_config(user=path, environment={}).hooks[0].sandbox
    for value in ("false", "0", '"no"'):
        path.write_text(hook + f"{value}\n")
        with pytest.raises(UsageError, match="hooks of a project run in the sandbox"):
            load_config(project=path, user=tmp_path / "none", environment={})


# --- what a hook reads of paths, and what it may answer -------------------------------------------

SPELLINGS = ["vendor/a.txt", "./vendor/a.txt", "sub/../vendor/a.txt", "vendor//a.txt", "link/a.txt"]


@pytest.mark.parametrize(
    "spelling", [*SPELLINGS, "{root}/vendor/a.txt", "{root}/sub/../link/a.txt"]
)
async def test_paths_are_those_of_the_files_however_they_are_spelled(
    tmp_path: Path, spelling: str
) -> None:
    for name in ("vendor", "sub"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to("vendor")
    path = spelling.format(root=tmp_path)
    call = ToolCall(id="1", name="write", arguments={"path": path, "content": "vendor/b.txt"})
    action = WritePath(path=os.path.join(tmp_path, path))
    seen = {"on": "before_tool", "command": "cat > before.json"}
    runner = hooks(tmp_path, seen, {"on": "after_tool", "command": "cat > after.json"})
    await runner.before_tool(call, [action])
    await runner.after_tool(call, DONE, [action])
    for name in ("before.json", "after.json"):
        payload = json.loads((tmp_path / name).read_text())
        assert payload["paths"] == ["vendor/a.txt"]
        assert payload["arguments"] == {"path": "vendor/a.txt", "content": "vendor/b.txt"}


async def test_a_path_outside_the_repository_is_absolute(tmp_path: Path) -> None:
    root = tmp_path / "repo"
    root.mkdir()
    runner = hooks(root, {"on": "before_tool", "command": "cat > seen.json"})
    call = ToolCall(id="1", name="read", arguments={"path": "../repo-evil/a\0.txt", "start": 1})
    await runner.before_tool(call, [ReadPath(path=str(tmp_path / "repo-evil/a.txt"))])
    seen = json.loads((root / "seen.json").read_text())
    assert seen["paths"] == [os.path.realpath(tmp_path / "repo-evil/a.txt")]
    assert seen["arguments"]["start"] == 1


@pytest.mark.parametrize(
    ("event", "answer", "said"),
    [
        ("after_tool", '{"continue": "go on"}', "`continue` means nothing here, which takes `add`"),
        ("after_tool", '{"deny": "no"}', "`deny` means nothing here"),
        ("turn_end", '{"add": "text"}', "`add` means nothing here, which takes `continue`"),
        ("turn_end", '{"continue": "go on", "deny": "no"}', "`deny` means nothing here"),
        (
            "before_tool",
            '{"continue": "x"}',
            "`continue` means nothing here, which takes `add` and",
        ),
        ("on_prompt", '{"continue": "x"}', "`continue` means nothing here"),
    ],
)
async def test_an_answer_that_the_event_does_not_take_is_shown(
    tmp_path: Path, event: str, answer: str, said: str
) -> None:
    runner = hooks(tmp_path, {"on": event, "command": f"echo '{answer}'"})
    run = {
        "before_tool": lambda: runner.before_tool(CALL),
        "after_tool": lambda: runner.after_tool(CALL, DONE),
        "on_prompt": lambda: runner.on_prompt("x"),
        "turn_end": lambda: runner.turn_end(status="done"),
    }
    outcome = await run[event]()
    assert (outcome.deny, outcome.add, outcome.continue_with) == (None, [], None)
    [notice] = outcome.notices
    assert said in notice.text


def test_the_name_of_a_tool_that_is_misspelt_is_an_error() -> None:
    known = ["read", "write", "edit", "shell", "git"]

    def notices(*tools: str) -> list[str]:
        hook = HookConfig(on="before_tool", command="true", tools=list(tools))
        return [notice.text for notice in unknown_tools([hook], known)]

    assert notices("write", "git*", "*", "[er]*") == []
    for wrong, right in (
        ("wirte", "write"),
        ("Edit", "edit"),
        ("shel", "shell"),
        ("writ?x", "write"),
    ):
        with pytest.raises(UsageError, match=f"hooks.1.tools: .*`{re.escape(wrong)}`\n.*`{right}`"):
            notices("read", wrong)
    [text] = notices("pytest_all")
    assert "there is no tool `pytest_all` here, so `true` does not run for it" in text


def test_tools_go_with_the_events_of_tools(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('[[hooks]]\non = "turn_end"\ncommand = "x"\ntools = ["write"]\n')
    with pytest.raises(UsageError, match="`tools` goes with before_tool and after_tool"):
        load_config(user=path, environment={})


async def test_a_guard_stops_a_write_by_any_spelling(
    tmp_path: Path, opened: Any, workspace: Path
) -> None:
    guard = 'grep -q \'"paths": .*"vendor/\' && echo \'{"deny": "not ours"}\' || true'
    spellings = [path.format(root=workspace) for path in (*SPELLINGS, "{root}/vendor/a.txt")]
    writes = [call("write", path=path, content=f"{n}\n") for n, path in enumerate(spellings)]
    flags = {"hooks": [{"on": "before_tool", "tools": ["write"], "command": guard}]}
    session, _ = await opened([*writes, call("done", summary="x")], flags=flags, mode="allow-all")
    results = results_of(await take(session, "Change it"))
    assert not any(result.ok for result in results[:-1])
    assert (workspace / "vendor/a.txt").read_text() == "ours\n"


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    root = write_files(tmp_path / "repo", {"vendor/a.txt": "ours\n", "sub/b.txt": ""})
    (root / "link").symlink_to("vendor")
    return root


async def test_a_session_with_a_misspelt_tool_does_not_open(opened: Any) -> None:
    flags = {"hooks": [{"on": "before_tool", "tools": ["wirte"], "command": "exit 2"}]}
    with pytest.raises(UsageError, match="Did you mean `write`"):
        await opened([], flags=flags)
