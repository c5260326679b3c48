"""Runs git in the workspace's repository through GitPython, with the hardening of `git_command`.

Only the repository at the root of the workspace is used, named explicitly, so that a git directory
planted in a subfolder is never found. Filters, merge drivers and hooks that the repository sets
are disabled, or replaced by the user's own of the same name.

Of GitPython this uses the command layer, not the objects (`Repo`, `Commit`, `IndexFile`). Those
read refs, index and objects in Python: tried with 3.2.1, an index of version 4 and a SHA-256
repository raise, and `index.add` stages files without filters and line-ending conversion. What git
prints for status, log, diff and blame is also what the model has learnt to read.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, cast

from laguna_agent.tools.repository.git_command import (
    LIST_CONFIGURATION,
    SAFE_OPTIONS,
    TIMEOUT,
    GitError,
    git_environment,
    git_program,
    is_dropped,
    neutralised_configuration,
    own_filters,
)
from laguna_agent.tools.tool import Sandbox

OUTPUT_LIMIT = 4 << 20
"""Largest output of git that is read, in bytes."""


class GitRepository:
    """git in one workspace."""

    def __init__(
        self, workspace: Path, *, sandbox: Sandbox | None = None, trusted: bool = False
    ) -> None:
        """`sandbox` is None where there is none; `trusted` says that the user trusts the
        repository. Raises GitError if the workspace is not a repository or git is missing."""
        self.workspace = workspace
        self._sandbox, self._trusted = sandbox, trusted
        git_dir = workspace / ".git"
        if not (git_dir / "HEAD").exists() and not git_dir.is_file():
            raise GitError("there is no git repository here")
        self._environment = git_environment(
            {"GIT_DIR": str(git_dir), "GIT_WORK_TREE": str(workspace)}
        )
        for name in ("GIT_CONFIG_NOSYSTEM", "GIT_ATTR_NOSYSTEM"):  # the user's, as on a terminal
            del self._environment[name]
        listing = self.bytes(*LIST_CONFIGURATION)
        self.own_filters = own_filters(listing)
        """Filters that only the repository defines, which `bytes` does not run."""
        self._environment |= neutralised_configuration(listing)

    @property
    def may_confine(self) -> bool:
        """Whether `confined` may run what the repository configures."""
        return self._sandbox is not None and self._trusted

    @property
    def why_not_confined(self) -> str:
        """Why it may not."""
        if self._sandbox is None:
            return "there is no sandbox"
        return "laguna runs it in a trusted repository only, in the sandbox (`laguna trust`)"

    def setting(self, key: str) -> str:
        """A setting as the user and the repository have it, empty if there is none."""
        try:
            return self.text("config", "--includes", "--get", key, options=()).rstrip("\n")
        except GitError:
            return ""

    def confined(
        self, *arguments: str, data: Sequence[str] | None = None, hooks: bool = True
    ) -> str:
        """Run git in the sandbox with the filters and hooks of the repository. Raises GitError.

        It is for a repository that `may_confine`. Paths in `data` are pathspecs.
        """
        assert self._sandbox is not None
        options = [o for o in SAFE_OPTIONS if not (hooks and o.startswith("core.hooksPath="))]
        options = [o for o in options if hooks or not o.startswith("gpg.")]
        settings = [part for option in options for part in ("-c", option)]
        command = [git_program(), "--no-pager", *settings, *arguments]
        given = "".join(f"{path}\0" for path in data or ())
        try:
            done = subprocess.run(
                self._sandbox.wrap(command, cwd=self.workspace),
                cwd=self.workspace,
                env={**self._sandbox.environment(), "LC_ALL": "C.UTF-8"},
                input=given.encode("utf-8", "surrogateescape"),
                capture_output=True,
                timeout=TIMEOUT,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise GitError(str(error)) from None
        if done.returncode != 0:
            message = (done.stderr or done.stdout)[-OUTPUT_LIMIT:].decode("utf-8", "replace")
            raise GitError(message.strip() or f"git exited with status {done.returncode}")
        return done.stdout[-OUTPUT_LIMIT:].decode("utf-8", "replace")

    def text(
        self,
        *arguments: str,
        data: Sequence[str] | None = None,
        accepted: Sequence[int] = (0,),
        options: Sequence[str] = SAFE_OPTIONS,
    ) -> str:
        """Run git and return its output as text; `data` are paths for its standard input."""
        out = self.bytes(*arguments, data=data, accepted=accepted, options=options)
        return out.decode("utf-8", "replace")

    def bytes(
        self,
        *arguments: str,
        data: Sequence[str] | None = None,
        accepted: Sequence[int] = (0,),
        options: Sequence[str] = SAFE_OPTIONS,
        literal: bool = True,
    ) -> bytes:
        """Run git and return at most `OUTPUT_LIMIT` bytes of its output. Raises GitError.

        Without `literal`, patterns in paths count: some commands refuse the variable against it.
        """
        removed = [n for n in os.environ if is_dropped(n) and n not in self._environment]
        prefix = ["/usr/bin/env", *(part for name in removed for part in ("-u", name))]
        settings = [part for option in options for part in ("-c", option)]
        command = [*prefix, git_program(), "--no-pager", *settings, *arguments]
        with _input(data) as stream:
            # GitPython kills the process when its wrapper is collected: keep a reference.
            environment = {**self._environment, "GIT_LITERAL_PATHSPECS": "1" if literal else "0"}
            running = _start(command, self.workspace, environment, stream)
        process = running.proc
        errors: list[bytes] = []
        reader = threading.Thread(target=lambda: errors.append(process.stderr.read()))
        reader.start()
        timer = threading.Timer(TIMEOUT, process.kill)
        timer.start()
        try:
            out: bytes = process.stdout.read(OUTPUT_LIMIT)
            cut = bool(process.stdout.read(1))
            if cut:
                process.kill()
            status = process.wait()
        finally:
            timer.cancel()
            reader.join(5)
            process.stdout.close()
            process.stderr.close()
        if not cut and status not in accepted:
            message = b"".join(errors).decode("utf-8", "replace").strip()
            raise GitError(message or f"git {arguments[0]} exited with status {status}")
        return out

    def is_revision(self, word: str) -> bool:
        """Whether a word is a revision or a range of revisions."""
        if word.startswith("-"):
            return False
        parts = [part for part in re.split(r"\.{2,3}", word) if part] or [word]
        try:
            for part in parts:
                name = part.partition(":")[0] or "HEAD"
                self.bytes("rev-parse", "--verify", "--quiet", "--end-of-options", name)
        except GitError:
            return False
        return True

    def has_commits(self) -> bool:
        """Whether there is a commit yet."""
        return self.is_revision("HEAD")

    def is_committed(self, path: str) -> bool:
        """Whether the last commit has this path."""
        return self.has_commits() and bool(self.bytes("ls-tree", "-z", "HEAD", "--", path))

    def submodule_paths(self) -> set[str]:
        """Paths of submodules, which git must not enter: they have configurations of their own."""
        lines = self.bytes("ls-files", "-s", "-z").split(b"\0")
        return {
            os.fsdecode(line.partition(b"\t")[2]) for line in lines if line.startswith(b"160000 ")
        }


def _input(data: Sequence[str] | None) -> BinaryIO:
    """The paths as a file for git's standard input."""
    stream = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115 - closed by the caller
    if data is not None:
        stream.write(b"".join(os.fsencode(path) + b"\0" for path in data))
        stream.seek(0)
    return stream


def _start(command: list[str], workspace: Path, environment: dict[str, str], data: BinaryIO) -> Any:
    """Start git with GitPython, which is imported on first use."""
    command_class, not_found = _gitpython()
    try:
        return command_class(str(workspace)).execute(
            command, as_process=True, istream=data, env=environment, start_new_session=True
        )
    except not_found:
        raise GitError("git is not installed") from None


@cache
def _gitpython() -> tuple[Any, type[Exception]]:
    # GitPython runs git when it is imported: by this name, or the first on the search path.
    given = {"GIT_PYTHON_REFRESH": "quiet", "GIT_PYTHON_GIT_EXECUTABLE": git_program()}
    before = {name: os.environ.get(name) for name in given}
    os.environ |= given
    try:
        from git.cmd import Git
        from git.exc import GitCommandNotFound
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
    return Git, GitCommandNotFound
