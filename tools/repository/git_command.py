"""Runs git without running anything that a repository configures.

Hooks, filters, the file-system monitor, external diffs, text conversions, pagers, editors, signing
programs and transport commands all come from configuration and attributes that the author of the
repository wrote.

Checkpoints and the first message use these functions. The git tool uses `git_repository`, which
adds GitPython: importing that takes 0.2 s, too long before the first request.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from laguna_agent.programs import find_program, search_path

TIMEOUT = 120.0

SAFE_OPTIONS: tuple[str, ...] = (
    "core.fsmonitor=false",
    "core.hooksPath=/dev/null",
    "core.pager=cat",
    "core.editor=true",
    "core.sshCommand=false",
    "core.askPass=true",
    "core.gitProxy=false",
    "core.alternateRefsCommand=false",
    "core.quotePath=false",
    "credential.helper=",
    "diff.trustExitCode=false",
    "interactive.diffFilter=cat",
    "commit.gpgSign=false",
    "tag.gpgSign=false",
    "log.showSignature=false",
    "gpg.program=false",
    "gpg.ssh.program=false",
    "gpg.x509.program=false",
    "protocol.allow=never",
    "submodule.recurse=false",
    "diff.submodule=short",
    "status.submoduleSummary=false",
    "fetch.recurseSubmodules=false",
    "maintenance.auto=false",
    "gc.auto=0",
    "uploadpack.packObjectsHook=",
    "safe.bareRepository=explicit",
    "blame.ignoreRevsFile=",
    "diff.orderFile=/dev/null",
    "core.safecrlf=false",
    "color.ui=false",
    "column.ui=never",
    "advice.addEmbeddedRepo=false",
)
"""Configuration that overrides the repository's own, as `name=value`."""

_DROPPED = re.compile(r"^(GIT_.*|SSH_ASKPASS|PAGER|LESS|EDITOR|VISUAL)$")
_PROGRAMS = re.compile(
    rb"^(filter\..*\.(?:clean|smudge|process|required)|merge\..*\.driver|hook\..*\.command"
    rb"|lfs\.extension\..*\.(?:clean|smudge)|lfs\.customtransfer\..*\.path)$",
    re.DOTALL | re.IGNORECASE,
)
_PLAIN_MERGE = "git merge-file --marker-size=%L %A %O %B"
LIST_CONFIGURATION = ("config", "--list", "--includes", "--show-scope", "-z")
_KEPT = re.compile(
    r"^GIT_((AUTHOR|COMMITTER)_(NAME|EMAIL|DATE)|CONFIG_(GLOBAL|SYSTEM|NOSYSTEM)|ATTR_NOSYSTEM)$"
)
_LFS = re.compile(rb"git-lfs (clean|smudge|filter-process)( --skip)?( -- %f)?|true|false")


class GitError(Exception):
    """git failed; the message is its error output."""


class GitTimeoutError(GitError):
    """git took too long."""


def is_dropped(name: str) -> bool:
    """Whether git must not inherit this variable."""
    return bool(_DROPPED.match(name)) and not _KEPT.match(name)


def git_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment for git: no git variables of the user, no prompts, English messages."""
    environment = {k: v for k, v in os.environ.items() if not is_dropped(k)}
    environment |= {
        "PATH": search_path(),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_PAGER": "cat",
        "GIT_EDITOR": "true",
        "GIT_ASKPASS": "true",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_LITERAL_PATHSPECS": "1",
        # A partial clone fetches missing objects, by a program that its configuration names.
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_ALLOW_PROTOCOL": "none",
        "GIT_SSH_COMMAND": "false",
        "LC_ALL": "C.UTF-8",
        "TERM": "dumb",
    }
    return environment | dict(extra or {})


def run_git(
    arguments: Sequence[str | bytes],
    *,
    cwd: Path,
    environment: Mapping[str, str],
    options: Sequence[str] = SAFE_OPTIONS,
    data: bytes = b"",
    accepted: Sequence[int] = (0,),
    timeout: float = TIMEOUT,
) -> bytes:
    """Run git and return its standard output. Raises GitError."""
    try:
        done = subprocess.run(
            _command(arguments, options),
            cwd=cwd,
            env=dict(environment),
            input=data,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise GitTimeoutError(f"git took longer than {timeout:.0f} s") from None
    except OSError as error:
        raise GitError(str(error)) from None
    if done.returncode not in accepted:
        message = done.stderr.decode("utf-8", "replace").strip()
        raise GitError(message or f"git exited with status {done.returncode}")
    return done.stdout


def git_program() -> str:
    """The git that laguna runs. Raises GitError."""
    program = find_program("git")
    if program is None:
        raise GitError("git is not installed, or only where commands can write")
    return program


def _command(arguments: Sequence[str | bytes], options: Sequence[str]) -> list[str | bytes]:
    settings = [part for option in options for part in ("-c", option)]
    return [git_program(), *settings, *arguments]


def neutralised_configuration(listing: bytes) -> dict[str, str]:
    """Environment variables that override programs in a repository's configuration.

    `listing` is the output of `git config` with `LIST_CONFIGURATION`. The user's own setting of
    the same name replaces the repository's.
    """
    overrides: dict[str, str] = {}
    users: dict[str, str] = {}
    fields = listing.split(b"\0")
    for scope, entry in zip(fields[::2], fields[1::2], strict=False):
        key, _, value = entry.partition(b"\n")
        if not _PROGRAMS.match(key):
            continue
        name = os.fsdecode(key)
        if name.startswith("filter.lfs.") and _LFS.fullmatch(value):
            continue  # as `git lfs install` writes it, in whatever file
        if scope in (b"local", b"worktree"):
            overrides[name] = _neutral_value(name)
            if name.startswith("filter."):
                stem = name.rpartition(".")[0]
                overrides.setdefault(f"{stem}.required", "false")
            if name.startswith("hook."):
                overrides[f"{name.rpartition('.')[0]}.enabled"] = "false"
        elif scope in (b"global", b"system"):
            users[name] = os.fsdecode(value)
    environment = {"GIT_CONFIG_COUNT": str(len(overrides))}
    for index, (name, neutral) in enumerate(overrides.items()):
        environment[f"GIT_CONFIG_KEY_{index}"] = name
        environment[f"GIT_CONFIG_VALUE_{index}"] = users.get(name, neutral)
    return environment


def own_filters(listing: bytes) -> set[str]:
    """Filters that store content and that only the repository's configuration defines."""
    found: dict[str, set[bytes]] = {}
    fields = listing.split(b"\0")
    for scope, entry in zip(fields[::2], fields[1::2], strict=False):
        key, _, value = entry.partition(b"\n")
        stored = re.fullmatch(rb"filter\.(.*)\.(?:clean|process)", key, re.DOTALL | re.IGNORECASE)
        if stored and value:
            usual = stored[1] == b"lfs" and _LFS.fullmatch(value)
            found.setdefault(os.fsdecode(stored[1]), set()).add(b"usual" if usual else scope)
    return {name for name, scopes in found.items() if scopes <= {b"local", b"worktree"}}


def _neutral_value(name: str) -> str:
    if name.startswith("merge."):
        return _PLAIN_MERGE
    return "false" if name.endswith(".required") else ""


def git_output(workspace: Path, *arguments: str, timeout: float = TIMEOUT) -> bytes:
    """Run a read-only git command in the repository of `workspace` and return its output.

    Nothing that the repository configures is run. Raises GitError, also if `workspace` itself is
    not the root of a repository.
    """
    environment = _environment_for(workspace, timeout)
    command = ["--no-pager", *arguments]
    return run_git(command, cwd=workspace, environment=environment, timeout=timeout)


def git_process(workspace: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """Start a read-only git command whose output is read as it comes. Raises GitError."""
    environment = _environment_for(workspace, TIMEOUT)
    try:
        return subprocess.Popen(
            _command(["--no-pager", *arguments], SAFE_OPTIONS),
            cwd=workspace,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    except OSError as error:
        raise GitError(str(error)) from None


def _environment_for(workspace: Path, timeout: float) -> dict[str, str]:
    git_dir = workspace / ".git"
    if not os.path.exists(git_dir / "HEAD") and not os.path.isfile(git_dir):
        raise GitError("there is no git repository here")
    environment = git_environment({"GIT_DIR": str(git_dir), "GIT_WORK_TREE": str(workspace)})
    listing = run_git(LIST_CONFIGURATION, cwd=workspace, environment=environment, timeout=timeout)
    return environment | neutralised_configuration(listing)
