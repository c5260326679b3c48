"""Files planted by sandboxed commands, and the text of the macOS profile."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from laguna_agent import paths
from laguna_agent.policy.gate import Gate
from laguna_agent.policy.sandbox import make_sandbox
from laguna_agent.policy.seatbelt import seatbelt_profile
from support.shell_runs import run_in_bash

COMMON = (
    "cp -r .git evil; printf '[core]\\nrepositoryformatversion=0\\nfsmonitor=%s/x.sh\\n' $PWD > "
    "evil/config; echo ../evil > .git/commondir"
)


def boxed(workspace: Path, script: str) -> None:
    choice = make_sandbox(
        workspace=workspace,
        enabled=True,
        network=False,
        writable=[],
        state_dir=paths.state_dir() / "repo",
    )
    assert choice.confined
    argv = choice.sandbox.wrap(["bash", "-c", script], cwd=workspace)
    subprocess.run(argv, env=choice.sandbox.environment(), check=True, capture_output=True)


def test_a_planted_common_directory_is_moved_away(
    workspace: Path, make_gate: Callable[..., Gate]
) -> None:
    gate = make_gate("auto", sandboxed=True)
    boxed(workspace, COMMON)
    gate.command_ran(COMMON)
    run_in_bash(["git status"], workspace)
    assert not (workspace / "C").exists()
    assert "commondir" in gate.notices[0]


def test_a_planted_common_directory_would_run_a_program(workspace: Path) -> None:
    boxed(workspace, COMMON)
    run_in_bash(["git status"], workspace)
    assert (workspace / "C").exists(), "the attack does nothing"


def test_planted_hooks_are_moved_away(workspace: Path, make_gate: Callable[..., Gate]) -> None:
    shutil.rmtree(workspace / ".git" / "hooks")
    gate = make_gate("auto", sandboxed=True)
    script = "mkdir .git/hooks; cp x.sh .git/hooks/pre-commit"
    boxed(workspace, script)
    gate.command_ran(script)
    assert not (workspace / ".git" / "hooks").exists()


def test_existing_hooks_stay(workspace: Path, make_gate: Callable[..., Gate]) -> None:
    gate = make_gate("auto", sandboxed=True)
    gate.command_ran("ls")
    assert (workspace / ".git" / "hooks").is_dir()
    assert gate.notices == []


@pytest.mark.parametrize("network", [False, True])
def test_the_macos_profile_denies_before_and_after_it_allows(
    network: bool, workspace: Path, home: Path
) -> None:
    text = seatbelt_profile(workspace=workspace, network=network, hidden=[workspace / "private"])
    lines = text.splitlines()
    assert lines[:2] == ["(version 1)", "(deny default)"]
    writable = next(
        i for i, line in enumerate(lines) if line.startswith("(allow file-read* file-write*")
    )
    for place in (".git/hooks", ".git/config", ".laguna", ".git/commondir"):
        rule = f'(deny file-write* (subpath "{workspace / place}"))'
        assert lines.index(rule) > writable
    secret = f'(deny file-read* file-write* (subpath "{home}/.ssh"))'
    assert lines.index(secret) > lines.index("(allow file-read*)")
    private = f'(deny file-read* file-write* (subpath "{workspace}/private"))'
    assert lines[::-1].index(private) < len(lines) - writable
    assert f'(deny file-write-unlink (literal "{workspace}/.git"))' in lines
    assert ("(allow network*)" if network else "(deny network*)") in lines
    assert text.count("(") == text.count(")")


def test_a_quote_in_a_path_cannot_leave_its_string_in_the_profile(tmp_path: Path) -> None:
    odd = tmp_path / 'a" (allow default) \\'
    odd.mkdir()
    text = seatbelt_profile(workspace=odd, network=False)
    assert '"(allow default)' not in text
    assert 'a\\" (allow default) \\\\"' in text
