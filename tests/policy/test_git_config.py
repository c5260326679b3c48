"""A repository's configuration, read as git reads it: nothing that it names runs unasked."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from laguna_agent.actions import RunCommand
from laguna_agent.policy import git_config
from laguna_agent.policy.environment import child_environment
from laguna_agent.policy.gate import Gate

MakeGate = Callable[..., Gate]


@pytest.fixture
def evil(tmp_path: Path) -> Path:
    """A program that leaves a marker beside it."""
    program = tmp_path / "evil"
    program.write_text('#!/bin/sh\ntouch "$0-ran"\n')
    program.chmod(0o755)
    return program


def git(cwd: Path, *words: str) -> None:
    environment = {**child_environment(), "GIT_CONFIG_NOSYSTEM": "1"}
    command = ["git", "-c", "protocol.file.allow=always", *words]
    subprocess.run(command, cwd=cwd, env=environment, capture_output=True, check=False)


def verdict(gate: Gate, command: str, cwd: Path) -> str:
    return gate.decide(RunCommand(command=command, cwd=str(cwd)), tool="shell").verdict


CONFIGURATIONS = {
    "plain": "[core]\n\tfsmonitor = {evil}\n",
    "comment-ends-in-backslash": "[core]\n# harmless \\\n\tfsmonitor = {evil}\n",
    "semicolon-comment": "[core]\n\tbare = false ; x \\\n\tfsmonitor = {evil}\n",
    "newline-in-quotes": '[core]\n\tabbrev = "\\\n7" # \\\n\tfsmonitor = {evil}\n',
    "quoted-comment": '[a]\n\tb = "# \\\n[x]"\n[core]\n\tfsmonitor = {evil}\n',
    "continued-value": "[core]\n\tfsmon\\\n[core]\n\tfsmonitor = {evil}\n",
    "continued": "[core]\n\tfsmonitor = \\\n{evil}\n",
    "on-the-line-of-the-section": "[core] fsmonitor = {evil}\n",
    "second-on-one-line": "[a][core] fsmonitor = {evil}\n",
    "capitals": "[CORE]\n\tFsMonitor={evil}\n",
    "quoted": '[core]\n\tfsmonitor = "{evil}"\n',
    "partly-quoted": '[core]\n\tfsmonitor = ""{evil}\n',
    "carriage-returns": "[core]\r\n\tfsmonitor = {evil}\r\n",
    "byte-order-mark": "\ufeff[core]\n\tfsmonitor = {evil}\n",
    "vertical-space": "[core]\n\x0bfsmonitor = {evil}\n",
    "included": "[include]\n\tpath = ../more\n",
    "included-if": '[includeIf "gitdir:**"]\n\tpath = ../more\n',
    "included-in-quotes": '[include]\n\tpath = "..\\\n/more"\n',
    "worktree": "[extensions]\n\tworktreeConfig = true\n",
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_what_git_would_run_is_asked_about(
    name: str, workspace: Path, evil: Path, make_gate: MakeGate
) -> None:
    hostile = f"[core]\n\tfsmonitor = {evil}\n"
    text = CONFIGURATIONS[name].format(evil=evil)
    (workspace / "more").write_text(hostile)
    (workspace / ".git" / "config.worktree").write_text(hostile)
    own = "[core]\n\trepositoryformatversion = 1\n"
    (workspace / ".git" / "config").write_bytes(
        (text + own if name == "byte-order-mark" else own + text).encode()
    )
    asked = verdict(make_gate("ask"), "git status", workspace) == "ask"
    git(workspace, "status")
    assert asked or not evil.with_name("evil-ran").exists()
    assert asked or name in ("continued-value", "second-on-one-line", "vertical-space")


def test_a_broken_repository_below_hides_nothing(
    workspace: Path, evil: Path, make_gate: MakeGate
) -> None:
    (workspace / ".git" / "config").write_text(f"[core]\n\tfsmonitor = {evil}\n")
    for number, head in enumerate(["", "nonsense\n", "ref: ../../x\n"]):
        below = workspace / f"sub{number}"
        for name in ("objects", "refs"):
            (below / ".git" / name).mkdir(parents=True)
        (below / ".git" / "HEAD").write_text(head)
        (below / ".git" / "config").write_text("[core]\n\tbare = false\n")
        git(below, "status")
        assert verdict(make_gate("ask"), "git status", below) == "ask", head
        assert verdict(make_gate("ask"), f"git -C sub{number} status", workspace) == "ask"
    assert evil.with_name("evil-ran").exists()  # each was really hostile


def test_other_git_directories_are_followed(
    workspace: Path, evil: Path, make_gate: MakeGate, home: Path
) -> None:
    hostile = f"[core]\n\tfsmonitor = {evil}\n"
    moved = workspace / "moved"
    (workspace / ".git").rename(moved)
    (moved / "config").write_text("[core]\n\tbare = false\n")
    (workspace / ".git").write_text("gitdir: moved\n")
    assert verdict(make_gate("ask"), "git status", workspace) == "allow"
    (moved / "config").write_text(hostile)
    assert verdict(make_gate("ask"), "git status", workspace) == "ask"
    (moved / "config").write_text("[core]\n\tbare = false\n")
    (workspace / "shared").write_text(hostile)
    with (home / ".gitconfig").open("a") as file:
        file.write(f"[include]\n\tpath = {workspace}/shared\n")
    assert verdict(make_gate("ask"), "git status", workspace) == "ask"


def test_submodules_in_a_shared_index_are_seen(workspace: Path, make_gate: MakeGate) -> None:
    git(workspace, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},sub")
    git(workspace, "-c", "splitIndex.maxPercentChange=100", "update-index", "--split-index")
    assert any((workspace / ".git").glob("sharedindex.*"))
    assert verdict(make_gate("ask"), "git status", workspace) == "ask"


def test_a_configuration_that_git_cannot_read_is_asked_about(
    workspace: Path, make_gate: MakeGate
) -> None:
    config = workspace / ".git" / "config"
    config.write_text("[core\n\tbare = false\n")
    assert verdict(make_gate("ask"), "git log", workspace) == "ask"
    config.unlink()
    config.symlink_to(workspace)
    assert verdict(make_gate("ask"), "git log", workspace) == "ask"


@pytest.mark.parametrize("key", ["blame.ignoreRevsFile", "mailmap.file", "core.excludesFile"])
def test_files_that_git_would_show_are_read_like_any_other(
    key: str, workspace: Path, home: Path, make_gate: MakeGate
) -> None:
    def asked(value: str, cwd: Path = workspace) -> bool:
        git(workspace, "config", key, value)
        return verdict(make_gate("ask", sandboxed=True), "git blame README.md", cwd) == "ask"

    (workspace / ".git-blame-ignore-revs").write_text("# none\n")
    (workspace / "link").symlink_to(home / ".ssh" / "id_ed25519")
    assert not asked(".git-blame-ignore-revs")
    assert not asked(".git-blame-ignore-revs", workspace / "src")
    for secret in (
        f"{home}/.ssh/id_ed25519",
        "~/.ssh/id_ed25519",
        "link",
        "../../home/.ssh/id",
        ".env",
    ):
        assert asked(secret), secret


@pytest.mark.parametrize(
    "program",
    [
        'BEGIN { ARGV[1] = "/etc/hosts"; ARGC = 2 } { print }',
        'BEGIN { ARGV[ARGC++] = "x" } 1',
        'BEGIN { split("a b", ARGV) } 1',
        'function f(a) { a[1] = "x" } BEGIN { f(ARGV) } 1',
        'BEGIN { SYMTAB["AR" "GV"][1] = "x" } 1',
        "BEGIN { for (i in PROCINFO) print i }",
    ],
)
def test_awk_does_not_choose_its_files(program: str, workspace: Path, make_gate: MakeGate) -> None:
    for name in ("awk", "gawk", "mawk"):
        assert verdict(make_gate("ask"), f"{name} '{program}' README.md", workspace) == "ask"
    assert verdict(make_gate("ask"), "awk '{ print NR, $1 }' README.md", workspace) == "allow"


def test_usual_settings_do_not_ask(workspace: Path, make_gate: MakeGate) -> None:
    for key, value in {
        "user.name": "a", "color.ui": "auto", "remote.origin.url": "git@example.org:a/b.git",
        "branch.main.remote": "origin", "branch.main.vscode-merge-base": "origin/main",
        "diff.algorithm": "histogram", "pull.rebase": "true", "core.autocrlf": "input",
        "filter.lfs.clean": "git-lfs clean -- %f", "core.fsmonitor": "false", "gui.wmstate": "n",
        "remote.origin.gh-resolved": "base", "maintenance.repo": "/x", "http.postBuffer": "1000",
    }.items():  # fmt: skip
        git(workspace, "config", key, value)
    assert git_config.risk(str(workspace), str(workspace)) is None
    for command in ("git status", "git -C src log -p", "git diff --stat", "git branch -a"):
        assert verdict(make_gate("ask"), command, workspace) == "allow", command
    assert git_config.risk(os.sep, str(workspace)) is None
