"""Repositories that came as an archive: what `.git` is or holds leads to somewhere else."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from laguna_agent.actions import RunCommand
from laguna_agent.policy import trust
from laguna_agent.policy.gate import Gate
from support.scripted import call, open_scripted, results_of, take

from .conftest import GIT

Opened = Callable[..., Any]
MakeGate = Callable[..., Gate]
DONE = call("done", summary="done")
HEAD = "ref: refs/heads/main\n"


@pytest.fixture
def victim(home: Path) -> Path:
    """The git directory of another repository, with a private file."""
    root = home / "private"
    root.mkdir()
    (root / "plan.txt").write_text("hunter2\n")
    for words in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "hunter2"]):
        subprocess.run([*GIT, *words], cwd=root, check=True, capture_output=True)
    return root / ".git"


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def a_worktree(root: Path, victim: Path) -> None:
    files = {"HEAD": HEAD, "gitdir": f"{root}/.git\n", "commondir": f"{victim}\n"}
    (root / "w").mkdir()
    for name, text in files.items():
        (root / "w" / name).write_text(text)
    (root / ".git").write_text("gitdir: w\n")


def a_file(root: Path, victim: Path) -> None:
    (root / ".git").write_text(f"gitdir: {victim}\n")


def a_link(root: Path, victim: Path) -> None:
    (root / ".git").symlink_to(victim)


def a_common_directory(root: Path, victim: Path) -> None:
    (root / ".git").mkdir()
    (root / ".git/HEAD").write_text(HEAD)
    (root / ".git/commondir").write_text(f"{victim}\n")


def linked_folders(root: Path, victim: Path) -> None:
    (root / ".git").mkdir()
    (root / ".git/HEAD").write_text(HEAD)
    (root / ".git/config").write_text("")
    for name in ("objects", "refs", "logs"):
        (root / ".git" / name).symlink_to(victim / name)


@pytest.mark.parametrize("made", [a_worktree, a_file, a_link, a_common_directory, linked_folders])
async def test_another_repository_is_neither_changed_nor_shown(
    made: Callable[[Path, Path], None], opened: Opened, workspace: Path, victim: Path
) -> None:
    shutil.rmtree(workspace / ".git")
    made(workspace, victim)
    before = content(victim)
    plant = f"cd {victim} && touch objects/CANARY refs/heads/CANARY logs/CANARY"
    session, conversation = await opened(
        [
            call("shell", command=plant),
            call("git", action="log"),
            call("git", action="show", target="HEAD:plan.txt"),
            call("git", action="commit", target=".", message="evil"),
            DONE,
        ]
    )
    results = results_of(await take(session, "Go"))
    assert content(victim) == before
    assert "hunter2" not in "".join(result.content for result in results)
    assert "hunter2" not in conversation.prompt


@pytest.mark.parametrize("name", ["shallow", "packed-refs", "objects/info/alternates"])
@pytest.mark.parametrize("place", [".ssh/id_ed25519", "../t/repo/.env"])
async def test_git_shows_no_secret_that_it_takes_for_a_file_of_its_own(
    name: str, place: str, opened: Opened, workspace: Path, home: Path
) -> None:
    link = workspace / ".git" / name
    link.symlink_to(home / place)
    shown = subprocess.run([*GIT, "log", "--all"], cwd=workspace, capture_output=True, check=False)
    assert b"hunter2" in shown.stderr
    session, _ = await opened(
        [call("git", action=action, target="") for action in ("status", "log", "stash")] + [DONE]
    )
    results = results_of(await take(session, "Go"))
    assert "hunter2" not in "".join(result.content for result in results)


@pytest.mark.parametrize("folder", [".", "src"])
@pytest.mark.parametrize("command", ["git config --list", "git status", "git log --oneline"])
def test_a_command_that_only_reads_asks_where_git_reads_a_secret(
    command: str, folder: str, workspace: Path, home: Path, make_gate: MakeGate
) -> None:
    def verdict() -> str:
        action = RunCommand(command=command, cwd=os.fspath(workspace / folder))
        return make_gate("ask").decide(action, tool="shell").verdict

    assert verdict() == "allow"
    with (workspace / ".git/config").open("a") as config:
        config.write("[include]\n\tpath = ../.env\n")
    (workspace / ".env").write_text("[a]\n\tpassword = hunter2\n")
    assert verdict() == "ask"
    (workspace / ".env").write_text("")
    (workspace / ".git/shallow").symlink_to(home / ".ssh/id_ed25519")
    assert verdict() == "ask"


async def test_a_linked_worktree_works_as_ever(workspace: Path, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    add = [*GIT, "worktree", "add", "-q", "-b", "other", os.fspath(linked)]
    subprocess.run(add, cwd=workspace, check=True, capture_output=True)
    (linked / "README.md").write_text("changed\n")
    session, _ = await open_scripted(
        linked,
        [
            call("git", action="commit", target="README.md", message="by the tool"),
            call("shell", command="echo more >> README.md; git commit -qam 'by a command'"),
            call("git", action="log"),
            DONE,
        ],
    )
    try:
        *_, log, _ = results_of(await take(session, "Go"))
    finally:
        await session.aclose()
    assert "by the tool" in log.content
    assert "by a command" in log.content


@pytest.mark.parametrize("place", [".env", ".git/config", "sub/key.pem"])
def test_an_instruction_file_that_leads_to_a_secret_is_none(place: str, workspace: Path) -> None:
    (workspace / place).parent.mkdir(exist_ok=True)
    (workspace / place).touch()
    (workspace / "AGENTS.md").symlink_to(place)
    assert trust.content(workspace).empty
