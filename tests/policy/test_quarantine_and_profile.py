"""Files planted by sandboxed commands, and the text of the macOS profile."""

from __future__ import annotations

import mmap
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from laguna_agent import paths
from laguna_agent.actions import RunCommand
from laguna_agent.policy.gate import Gate
from laguna_agent.policy.git_directories import GitDirectories
from laguna_agent.policy.plain_git_config import unsafe_settings
from laguna_agent.policy.sandbox import make_sandbox
from laguna_agent.policy.seatbelt import seatbelt_profile
from support.shell_runs import run_in_bash

EVIL = "core.fsmonitor $PWD/x.sh"
COPY = f"cp -r .git evil; git config -f evil/config {EVIL}"
NEW = "git init -q sub"
ATTACKS: dict[str, tuple[str, str, str]] = {
    # what is there before; what the command does; where the person's git runs
    "another common directory": ("", f"{COPY}; echo ../evil > .git/commondir", "."),
    "a linked common directory": ("", f"{COPY}; echo ../evil > f; ln -s ../f .git/commondir", "."),
    "hooks where there were none": (
        "rm -rf .git/hooks",
        "mkdir .git/hooks; cp x.sh .git/hooks/pre-commit",
        ".",
    ),
    "linked hooks": (
        "rm -rf .git/hooks",
        "mkdir h; cp x.sh h/pre-commit; ln -s ../h .git/hooks",
        ".",
    ),
    "hooks behind a link": (
        "rm -rf .git/hooks; mkdir .githooks; ln -s ../.githooks .git/hooks",
        "cp x.sh .githooks/pre-commit",
        ".",
    ),
    "hooks instead of a link": (
        "rm -rf .git/hooks; mkdir .githooks; ln -s ../.githooks .git/hooks",
        "rm .git/hooks; mkdir .git/hooks; cp x.sh .git/hooks/pre-commit",
        ".",
    ),
    "settings behind a link": (
        "mv .git/config conf; ln -s ../conf .git/config",
        f"git config -f conf {EVIL}",
        ".",
    ),
    "the working tree as a bare repository": (
        "",
        (
            f"cp -r .git/* .; rm .git/HEAD; git config -f config {EVIL}; "
            "git config -f config core.worktree .; git config -f config core.bare false"
        ),
        ".",
    ),
    "settings of a worktree": (
        "git config extensions.worktreeConfig true",
        f"git config -f .git/config.worktree {EVIL}",
        ".",
    ),
    "a hooks folder that the settings name": (
        "git config core.hooksPath conf/hooks",
        "mkdir -p conf/hooks; cp x.sh conf/hooks/pre-commit",
        ".",
    ),
    "a new repository": ("", f"{NEW}; git -C sub config {EVIL}", "sub"),
    "a new repository that is part of this one": (
        "",
        f"{NEW}; git -C sub commit -q --allow-empty -m x; git add sub; git -C sub config {EVIL}",
        ".",
    ),
    "a setting included by a new repository": (
        "",
        f"{NEW}; git config -f conf {EVIL}; git -C sub config include.path ../../conf",
        "sub",
    ),
    "hooks of a new repository": ("", f"{NEW}; cp x.sh sub/.git/hooks/pre-commit", "sub"),
    "a bare repository": (
        "",
        (
            f"git init -q --bare sub/b; git config -f sub/b/config {EVIL}; "
            "git -C sub/b config core.bare false; git -C sub/b config core.worktree $PWD"
        ),
        "sub/b",
    ),
    "a file that stands for a folder": (
        "",
        f"{COPY}; mkdir sub; echo gitdir: ../evil > sub/.git",
        "sub",
    ),
    "a link that stands for a folder": ("", f"{COPY}; mkdir sub; ln -s ../evil sub/.git", "sub"),
    "a folder among references": (
        "",
        f"git init -q --separate-git-dir .git/refs/evil sub; git -C sub config {EVIL}",
        "sub",
    ),
    "a folder among modules": (
        "",
        f"mkdir .git/modules; {NEW} --separate-git-dir .git/modules/evil; git -C sub config {EVIL}",
        "sub",
    ),
    "a worktree of something without HEAD": (
        "",
        (
            f"{COPY}; mkdir -p evil/worktrees/y sub; cp .git/HEAD .git/index evil/worktrees/y; "
            "rm evil/HEAD; echo ../.. > evil/worktrees/y/commondir; "
            "echo gitdir: ../evil/worktrees/y > sub/.git"
        ),
        "sub",
    ),
    "another copy of a repository below": (
        NEW,
        f"mv sub s; cp -r s sub; git -C sub config {EVIL}",
        "sub",
    ),
    "a repository below that a build made": (
        "git init -q build/sub",
        f"git -C build/sub config {EVIL}; cp x.sh build/sub/.git/hooks/pre-commit",
        "build/sub",
    ),
    "a folder for a submodule's file": (
        "git init -q --separate-git-dir .git/modules/sub sub",
        f"{COPY}; mv sub s; mkdir sub; mv evil sub/.git",
        "sub",
    ),
}


@pytest.fixture(params=list(ATTACKS))
def attack(request: pytest.FixtureRequest, workspace: Path) -> tuple[str, Path]:
    """The command of an attack, and where it takes effect, with everything in place for it."""
    before, command, place = ATTACKS[request.param]
    run_in_bash([before or "true"], workspace)
    return command, workspace / place


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
    subprocess.run(argv, env=choice.sandbox.environment(), check=False, capture_output=True)


def use_git(place: Path) -> None:
    run_in_bash(["git status; git commit --allow-empty -m x; true"], place)


def test_what_a_command_plants_runs_nothing_outside(
    attack: tuple[str, Path], workspace: Path, make_gate: Callable[..., Gate]
) -> None:
    command, place = attack
    gate = make_gate("auto", sandboxed=True)
    boxed(workspace, command)
    gate.command_ran(command)
    use_git(place)
    assert not list(workspace.rglob("C"))


def test_without_the_guard_it_would_run_a_program(
    attack: tuple[str, Path], workspace: Path
) -> None:
    command, place = attack
    run_in_bash([command], workspace)
    use_git(place)
    assert list(workspace.rglob("C")), "the attack does nothing"


@pytest.mark.parametrize(
    "command",
    [
        "git init -q sub; cd sub; git config user.email a@b; git remote add o ../x; git status",
        (
            "git clone -q . sub; cd sub; git checkout -qb topic; git commit -q --allow-empty -m x; "
            "git branch -q --set-upstream-to=origin/main; git gc -q"
        ),
        "git worktree add -q sub; cd sub; echo x > f; git add f; git commit -qm x; git status",
        "git init -q --bare sub; git push -q sub HEAD:main",
        "git -c protocol.file.allow=always submodule add -q ./ sub; git commit -qm sub",
        "git init -q; git stash -q -u; git stash pop -q; git tag t; git pack-refs --all",
        "cp -r .git copy; mv src/a.py b.py; git add -A . ':!copy'; git commit -qm moved",
    ],
)
def test_ordinary_repositories_stay_as_they_are(
    command: str, workspace: Path, make_gate: Callable[..., Gate]
) -> None:
    gate = make_gate("auto", sandboxed=True)
    boxed(workspace, command)
    gate.command_ran(command)
    assert gate.notices == []
    run_in_bash(["git status"], workspace)


def test_moving_away_follows_no_link(
    workspace: Path, home: Path, make_gate: Callable[..., Gate]
) -> None:
    (home / "mine" / "hooks").mkdir(parents=True)
    (home / "mine" / "hooks" / "pre-commit").write_text("mine")
    run_in_bash(["git config core.hooksPath conf/hooks"], workspace)
    gate = make_gate("auto", sandboxed=True)
    boxed(workspace, f"ln -s {home}/mine conf; git init -q sub; ln -sfn {home}/mine sub/.git")
    gate.command_ran("x")
    assert (home / "mine" / "hooks" / "pre-commit").read_text() == "mine"
    assert not (workspace / "conf").is_symlink()


def test_what_lies_in_the_cache_of_commands_runs_nothing_either(
    workspace: Path, make_gate: Callable[..., Gate]
) -> None:
    # The cache has a path outside, which a command can work out and lead to.
    cache = paths.state_dir() / "repo" / "cache"
    choice = make_sandbox(
        workspace=workspace,
        enabled=True,
        network=False,
        writable=[],
        state_dir=cache.parent,
    )
    gate = make_gate("auto")
    assert choice.repositories is not None
    gate.confine(choice.repositories).begin()
    boxed(
        workspace,
        f"git init -q ~/.cache/sub; git -C ~/.cache/sub config {EVIL}; ln -s {cache}/sub sub; "
        f"mkdir other; echo gitdir: {cache}/sub/.git > other/.git",
    )
    gate.command_ran("x")
    assert (cache / "sub").is_dir()
    use_git(workspace / "sub")
    use_git(workspace / "other")
    assert not list(cache.rglob("C"))
    assert not list(workspace.rglob("C"))


def test_a_repository_in_a_folder_that_cannot_be_listed_is_found(tmp_path: Path) -> None:
    inner = tmp_path / "t" / "closed" / "sub"
    inner.mkdir(parents=True)
    for name in ("HEAD", "objects", "refs"):
        (inner / name).mkdir()
    (tmp_path / "t" / "closed").chmod(0o311)
    found = GitDirectories([tmp_path / "t"]).latest()
    assert os.fspath(inner) in found.directories
    assert (tmp_path / "t" / "closed").stat().st_mode & 0o400


def test_content_that_changes_without_a_new_time_is_noticed(
    workspace: Path, make_gate: Callable[..., Gate]
) -> None:
    gate = make_gate("auto", sandboxed=True)
    run_in_bash([NEW], workspace)
    gate.command_ran("x")
    config = workspace / "sub/.git/config"
    with config.open("r+b") as stream, mmap.mmap(stream.fileno(), 0) as mapped:
        mapped[0:1] = b"["  # the first change through a mapping sets the time, later ones do not
        gate.command_ran("x")
        before = config.stat().st_ctime_ns
        mapped[:] = (f"[core]fsmonitor={workspace}/x.sh\n;" + ";" * len(mapped)).encode()[
            : len(mapped)
        ]
        assert config.stat().st_ctime_ns == before
        gate.command_ran("x")
    assert "fsmonitor" not in config.read_text()


def test_settings_that_were_there_are_put_back(
    workspace: Path, make_gate: Callable[..., Gate]
) -> None:
    run_in_bash(["git init -q build/sub; git -C build/sub config alias.x '!mine'"], workspace)
    config = workspace / "build/sub/.git/config"
    before = config.read_text()
    gate = make_gate("auto", sandboxed=True)
    boxed(workspace, f"git -C build/sub config user.name n; git -C build/sub config {EVIL}")
    gate.command_ran("x")
    assert config.read_text() == before
    assert "config" in gate.notices[0]
    boxed(workspace, "git -C build/sub config user.name n")
    gate.command_ran("x")
    assert "name = n" in config.read_text()
    assert len(gate.notices) == 1
    assert not gate.planted_again
    boxed(workspace, f"git -C build/sub config {EVIL}")
    gate.command_ran("x")
    assert gate.planted_again


def test_what_comes_while_nothing_runs_is_the_person_s_own(
    workspace: Path, make_gate: Callable[..., Gate]
) -> None:
    gate = make_gate("auto", sandboxed=True)
    run_in_bash(["git config alias.x '!mine'"], workspace)
    gate.decide(RunCommand(command="ls", cwd=str(workspace)), tool="shell")  # the first one
    gate.command_ran("ls")
    gate.sweep(quiet=1)
    run_in_bash([f"git config {EVIL}; {NEW}; git -C sub config core.hooksPath h"], workspace)
    assert gate.sweep(quiet=1) == []
    run_in_bash(["git -C sub config core.pager mine"], workspace)
    assert gate.sweep(thorough=False, quiet=1) == []
    assert gate.sweep(quiet=2) == []
    assert gate.sweep(quiet=None) == []
    run_in_bash(["git -C sub config core.pager other"], workspace)
    assert len(gate.sweep(quiet=None)) == 1
    assert "other" not in (workspace / "sub" / ".git" / "config").read_text()
    assert "mine" in (workspace / "sub" / ".git" / "config").read_text()


@pytest.mark.parametrize(
    "text",
    [
        "[core] fsmonitor = x",
        "[core]\n\tfsmonitor = x",
        '[core]\n\tbare = false \\\n[core]\n\tfsmonitor = x"',
        "[core.x]\n\turl = y",
        '[remote "o"]\n\turl = ext::sh -c x',
        '[remote "o"]\n\turl = "ext::sh -c x"',
        '[remote "o"]\n\tuploadpack = x',
        "[include]\n\tpath = x",
        '[filter "x"]\n\tclean = x',
        "\ufeff[core]\n\tfsmonitor = x",
        "[user]\n\tname = x\n[alias]\n\ts = !x",
    ],
)
def test_only_settings_that_run_nothing_are_plain(text: str) -> None:
    assert unsafe_settings(text.encode(), "/r/.git")


@pytest.mark.parametrize(
    ("directory", "worktree", "plain"),
    [
        ("sub/.git", "..", True),
        ("sub/.git", "../..", False),
        ("sub/.git", "{home}", False),
        ("sub/.git", "../out", False),
        ("sub.git", "../..", False),
        ("sub.git", ".", True),
        (".git/modules/lib/sub", "../../../../lib/sub", True),
        (".git/modules/lib", "../../..", True),
        (".git/modules/lib", "../../../..", False),
    ],
)
def test_git_is_led_to_no_working_tree_elsewhere(
    directory: str, worktree: str, plain: bool, workspace: Path, home: Path
) -> None:
    (workspace / "sub").mkdir()
    (workspace / "sub" / "out").symlink_to(home)
    text = f"[core]\n\tworktree = {worktree.format(home=home)}\n"
    assert (unsafe_settings(text.encode(), str(workspace / directory)) == set()) == plain


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
