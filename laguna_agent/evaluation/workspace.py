"""The workspace of a task: made fresh for each run, and copied for its verification.

What an agent leaves behind is not trusted, nor is a suite: links are never followed, and only plain
files, folders and links are copied.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path

from laguna_agent.config import load_config
from laguna_agent.errors import UsageError
from laguna_agent.evaluation.processes import run_process
from laguna_agent.evaluation.suite import Task
from laguna_agent.policy.environment import Inheritance
from laguna_agent.policy.sandbox import Bubblewrap, NoSandbox, SandboxExec, make_sandbox
from laguna_agent.tools.repository.git_command import GitError, git_environment, run_git

_AUTHOR = {
    "GIT_AUTHOR_NAME": "laguna eval",
    "GIT_AUTHOR_EMAIL": "eval@localhost",
    "GIT_AUTHOR_DATE": "2026-01-01T00:00:00Z",
    "GIT_COMMITTER_NAME": "laguna eval",
    "GIT_COMMITTER_EMAIL": "eval@localhost",
    "GIT_COMMITTER_DATE": "2026-01-01T00:00:00Z",
}
_COMMAND_SECONDS = 120.0
_CHUNK = 1 << 20


def sandbox_for(
    workspace: Path,
    *,
    network: bool = False,
    writable: Sequence[Path] = (),
    hidden: Sequence[Path] = (),
) -> Bubblewrap | SandboxExec:
    """The sandbox of commands in a workspace. Raises UsageError if this machine has none."""
    state = workspace.parent / f".{workspace.name}-sandbox"
    state.mkdir(exist_ok=True)
    choice = make_sandbox(
        workspace=workspace, enabled=True, network=network, writable=writable, state_dir=state,
        hidden=hidden, inheritance=Inheritance.of(load_config()),
    )  # fmt: skip
    if isinstance(choice.sandbox, NoSandbox):
        raise UsageError(f"an evaluation needs a sandbox: {choice.reason}")
    return choice.sandbox


async def make_workspace(task: Task, folder: Path) -> None:
    """Fill an empty folder with a task's files, as a git repository with a commit; run the set-up.

    Raises UsageError when git or the set-up fails.
    """
    environment = git_environment(_AUTHOR)
    try:
        if task.file.bundle:
            bundle = task.folder / task.file.bundle
            run_git(["clone", "-q", str(bundle), "."], cwd=folder, environment=environment)
            run_git(["remote", "remove", "origin"], cwd=folder, environment=environment)
        else:
            if (task.folder / "files").is_dir():
                _copy(task.folder / "files", folder)
            run_git(["init", "-q", "-b", "main"], cwd=folder, environment=environment)
            run_git(["add", "-A"], cwd=folder, environment=environment)
            command = ["commit", "-q", "--allow-empty", "-m", "Start"]
            run_git(command, cwd=folder, environment=environment)
        for key, value in (("user.name", "Dev"), ("user.email", "dev@localhost")):
            run_git(["config", key, value], cwd=folder, environment=environment)
    except GitError as error:
        raise UsageError(f"the workspace of {task.name} cannot be made: {error}") from None
    if task.file.setup:
        await _run_command(task, "set-up", task.file.setup, folder)


async def solve(task: Task, folder: Path) -> None:
    """Do a task as its own solution does. Raises UsageError if its command fails."""
    if (task.folder / "solution").is_dir():
        place_folder(folder, task.folder / "solution")
    if task.file.solution:
        await _run_command(task, "solution", task.file.solution, folder)


async def _run_command(task: Task, what: str, command: str, folder: Path) -> None:
    sandbox = sandbox_for(folder)
    done = await run_process(
        sandbox.wrap(["/bin/sh", "-c", command], cwd=folder),
        cwd=folder,
        environment=sandbox.environment(),
        timeout=_COMMAND_SECONDS,
    )
    if done.code != 0:
        raise UsageError(
            f"the {what} of {task.name} failed (exit {done.code})",
            hint=(done.err or done.out).strip()[-300:] or None,
        )


def contents(folder: Path) -> dict[str, str]:
    """A digest of each file below a folder, `.git` aside, by its relative path."""
    return {str(path.relative_to(folder)): _digest(path) for path in _files(folder)}


def changed(before: Mapping[str, str], after: Mapping[str, str], patterns: list[str]) -> list[str]:
    """Paths that match one of the patterns and are not as they were, also new and removed ones."""
    return sorted(
        path
        for path in {*before, *after}
        if before.get(path) != after.get(path) and any(fnmatch(path, p) for p in patterns)
    )


def copy_workspace(source: Path, target: Path) -> None:
    """Copy plain files, folders and links, links as links. Makes the source readable first."""
    for path, folders, names in os.walk(source):
        for name in (*folders, *names):
            entry = Path(path, name)
            if not entry.is_symlink() and not os.access(entry, os.R_OK | os.W_OK):
                entry.chmod(0o700)
    _copy(source, target)


def _copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target, symlinks=True, ignore=_special, dirs_exist_ok=True)


def place(root: Path, relative: str, source: Path) -> None:
    """Put a copy of `source` at a path below `root`, replacing links and files on the way."""
    target = root
    parts = Path(relative).parts
    for part in parts[:-1]:
        target /= part
        if target.is_symlink() or (target.exists() and not target.is_dir()):
            target.unlink()
        target.mkdir(exist_ok=True)
    target /= parts[-1]
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    target.unlink(missing_ok=True)
    shutil.copy(source, target, follow_symlinks=False)


def place_folder(root: Path, folder: Path) -> None:
    """Put all files of a folder below `root`, as `place` does."""
    for path in sorted(folder.rglob("*")):
        if stat.S_ISREG(path.lstat().st_mode) or path.is_symlink():
            place(root, str(path.relative_to(folder)), path)


def read_text(root: Path, relative: str) -> str | None:
    """The text of a plain file that no link leads to; None if there is none."""
    path = root / relative
    if path.resolve() != root.resolve() / relative or not path.is_file():
        return None
    with path.open("rb") as file:
        return file.read(_CHUNK).decode("utf-8", "replace")


def _special(folder: str, names: list[str]) -> set[str]:
    dropped = set()
    for name in names:
        mode = os.lstat(os.path.join(folder, name)).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)):
            dropped.add(name)
    return dropped


def _files(folder: Path) -> Iterator[Path]:
    for path, folders, names in os.walk(folder):
        if Path(path) == folder and ".git" in folders:
            folders.remove(".git")
        yield from (Path(path, name) for name in names)
        yield from (Path(path, name) for name in folders if Path(path, name).is_symlink())


def _digest(path: Path) -> str:
    info = path.lstat()
    if stat.S_ISLNK(info.st_mode):
        return f"link {os.readlink(path)}"
    if not stat.S_ISREG(info.st_mode):
        return "special"
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
