"""What a repository's configuration includes or runs is protected like the configuration itself."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from laguna_agent import paths
from laguna_agent.actions import ReadPath, WritePath
from laguna_agent.config import RuleConfig
from laguna_agent.policy.gate import Gate
from laguna_agent.policy.git_references import reference_reason
from laguna_agent.policy.sandbox import make_sandbox

# A configuration, and a file of the working tree that decides what git runs.
REFERENCES = [
    ("[core]\n\thooksPath = hk\n", "hk/pre-commit"),
    ("[core] hooksPath=hk\n", "hk/pre-commit"),
    ("[CORE]\n  HooksPath = hk/in # here\n", "hk/in/post-checkout"),
    ('[core]\n\thooksPath = "hk;a"\n', "hk;a/pre-commit"),
    ("[core]\n\thooksPath = h\\\nk\n", "hk/pre-commit"),
    ("[core]\n\t# one \\\n\thooksPath = hk\n", "hk/pre-commit"),
    ("[core]\n\thooksPath = .husky/_\n", ".husky/pre-commit"),
    ("[core]\n\thooksPath = absent\n", "absent/pre-commit"),
    ("[include]\n\tpath = ../shared.cfg\n", "shared.cfg"),
    ("[include] path = ../shared.cfg\n", "shared.cfg"),
    ('[includeIf "onbranch:main"]\n\tpath = ../shared.cfg\n', "shared.cfg"),
    ("[include]\n\tpath = ../outer.cfg\n", "inner.cfg"),
    ("[include]\n\tpath = ../outer.cfg\n", "deep/hooks/pre-push"),
    ("[include]\n\tpath = ../link.cfg\n", "shared.cfg"),
    ("[include]\n\tpath = ../link.cfg\n", "link.cfg"),
    ("[core]\n\thooksPath = linked\n", "real/pre-commit"),
    ("[core]\n\tfsmonitor = tools/watch.sh\n", "tools/watch.sh"),
    ('[filter "f"]\n\tclean = sh tools/watch.sh %f\n', "tools/watch.sh"),
    ('[diff "d"]\n\ttextconv = tools/watch.sh\n', "tools/watch.sh"),
    ("[alias]\n\tst = !./tools/watch.sh; git status\n", "tools/watch.sh"),
    ("[credential]\n\thelper = !'tools/watch.sh' x\n", "tools/watch.sh"),
]


def fill(root: Path, config: str) -> None:
    with (root / ".git" / "config").open("a") as file:
        file.write(config)
    for name in ("hk/in", "real", "tools", "deep/hooks", ".husky/_", "hk;a"):
        (root / name).mkdir(parents=True)
    (root / "outer.cfg").write_text("[include]\n\tpath = inner.cfg\n[core]\n")
    (root / "inner.cfg").write_text("[core]\n\thooksPath = deep/hooks\n")
    (root / "shared.cfg").write_text("[user]\n\tname = t\n")
    (root / "link.cfg").symlink_to("shared.cfg")
    (root / "linked").symlink_to("real")
    (root / "tools" / "watch.sh").write_text("#!/bin/sh\n")


@pytest.mark.parametrize(("config", "name"), REFERENCES)
def test_a_file_that_git_takes_programs_from_is_not_changed_without_asking(
    config: str, name: str, make_gate: Callable[..., Gate], workspace: Path
) -> None:
    fill(workspace, config)
    action = WritePath(path=str(workspace / name))
    everything = RuleConfig(verdict="allow", path="**", write=True)
    for mode in ("accept-edits", "auto"):
        gate = make_gate(mode, sandboxed=True, rules=(everything,))
        decision = gate.decide(action, tool="edit")
        assert (decision.verdict, decision.rule) == ("ask", "built-in: protected")
        assert "git takes" in decision.reason
        assert gate.suggest_rule(action, "edit") is None
        read = gate.decide(ReadPath(path=str(workspace / name)), tool="read")
        assert read.verdict == "allow"
        assert gate.decide(WritePath(path=str(workspace / "src/a.py")), tool="edit").verdict == (
            "allow"
        )


def test_a_repository_below_and_a_person_s_own_configuration_count_too(
    workspace: Path, home: Path
) -> None:
    nested = workspace / "vendor" / "x"
    nested.mkdir(parents=True)
    subprocess.run(["git", "init", "-q", str(nested)], check=True)
    subprocess.run(["git", "-C", str(nested), "config", "core.hooksPath", "hk"], check=True)
    with (home / ".gitconfig").open("a") as file:
        file.write("[core]\n\thooksPath = .githooks\n")
    for name in ("vendor/x/hk/pre-commit", ".githooks/pre-commit", "vendor/x/.githooks/update"):
        assert reference_reason(str(workspace / name), str(workspace)), name
    assert reference_reason(str(workspace / "hk" / "pre-commit"), str(workspace)) is None


def test_a_submodule_and_a_linked_worktree_count_too(workspace: Path) -> None:
    modules = workspace / ".git" / "modules" / "sub"
    modules.mkdir(parents=True)
    (modules / "config").write_text("[core]\n\thooksPath = hk\n")
    (workspace / "sub").mkdir()
    (workspace / "sub" / ".git").write_text("gitdir: ../.git/modules/sub\n")
    assert reference_reason(str(workspace / "sub/hk/x"), str(workspace))
    linked = workspace.parent / "linked"
    git = ["git", "-C", str(workspace)]
    subprocess.run([*git, "worktree", "add", "-q", str(linked)], check=True, capture_output=True)
    subprocess.run([*git, "config", "core.hooksPath", "hk"], check=True)
    assert reference_reason(str(linked / "hk" / "pre-commit"), str(linked))


def test_a_pipe_or_a_circle_in_place_of_a_configuration_ends(workspace: Path) -> None:
    os.mkfifo(workspace / "pipe")
    (workspace / "a.cfg").write_text("[include]\n\tpath = a.cfg\n\tpath = pipe\n")
    with (workspace / ".git" / "config").open("a") as file:
        file.write("[include]\n\tpath = ../a.cfg\n")
    assert reference_reason(str(workspace / "pipe"), str(workspace))


def test_a_sandboxed_command_plants_nothing_that_the_next_commit_runs(workspace: Path) -> None:
    """By effect: `C` beside the workspace appears when a planted program ran outside."""
    fill(workspace, "[include]\n\tpath = ../outer.cfg\n")
    git = ["git", "-C", str(workspace), "-c", "core.logAllRefUpdates=true"]
    subprocess.run([*git, "config", "core.editor", "true"], check=True)
    marker = workspace.parent / "C"
    hook = f"#!/bin/sh\\ntouch {marker}\\n"
    plant = f"printf '{hook}' > deep/hooks/pre-commit; chmod +x deep/hooks/pre-commit"
    attacks = [
        plant,
        f"mv deep aside; mkdir -p deep/hooks; {plant}",
        "printf '[core]\\n\\thooksPath = evil\\n' > inner.cfg",
        "rm -f inner.cfg; printf '[core]\\n\\thooksPath = evil\\n' > inner.cfg",
        "printf '[core]\\n\\thooksPath = evil\\n' >> outer.cfg",
        "ln -sf evil.cfg outer.cfg; printf '[core]\\n\\thooksPath = evil\\n' > evil.cfg",
    ]
    script = f"mkdir evil; printf '{hook}' > evil/pre-commit; chmod +x evil/pre-commit\n"
    script += "\n".join(f"({attack}) 2> /dev/null" for attack in attacks)
    sandbox = make_sandbox(
        workspace=workspace,
        enabled=True,
        network=False,
        writable=[],
        state_dir=paths.state_dir() / "repo",
    ).sandbox
    subprocess.run(
        sandbox.wrap(["bash", "-c", script], cwd=workspace),
        env=sandbox.environment(),
        cwd=workspace,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (workspace / "evil" / "pre-commit").exists()
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    assert not marker.exists()
