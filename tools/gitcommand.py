"""Running git so that nothing which a repository configures is run with it.

Hooks, filters, the file-system monitor, external diffs, text conversions, pagers, editors, signing
programs and transport commands all come from configuration and attributes that whoever made the
repository wrote.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

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
"""Configuration that goes before the repository's own, as `name=value`."""

_DROPPED = re.compile(r"^(GIT_.*|SSH_ASKPASS|PAGER|LESS|EDITOR|VISUAL)$")
_KEPT = re.compile(r"^GIT_(AUTHOR|COMMITTER)_(NAME|EMAIL|DATE)$")


class GitError(Exception):
    """git ended with an error; the message is what it said."""


def dropped(name: str) -> bool:
    """Whether git must not inherit this variable."""
    return bool(_DROPPED.match(name)) and not _KEPT.match(name)


def git_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment for git: none of the user's git variables, no prompt, plain English."""
    environment = {k: v for k, v in os.environ.items() if not dropped(k)}
    environment |= {
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_PAGER": "cat",
        "GIT_EDITOR": "true",
        "GIT_ASKPASS": "true",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_LITERAL_PATHSPECS": "1",
        # A partial clone fetches what is missing, through whatever its configuration names.
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
) -> bytes:
    """Standard output of git. Raises GitError."""
    settings = [part for option in options for part in ("-c", option)]
    try:
        done = subprocess.run(
            ["git", *settings, *arguments],
            cwd=cwd,
            env=dict(environment),
            input=data,
            capture_output=True,
            timeout=TIMEOUT,
            check=False,
        )
    except FileNotFoundError:
        raise GitError("git is not installed") from None
    except subprocess.TimeoutExpired:
        raise GitError(f"git took longer than {TIMEOUT:.0f} s") from None
    except OSError as error:
        raise GitError(str(error)) from None
    if done.returncode not in accepted:
        said = done.stderr.decode("utf-8", "replace").strip()
        raise GitError(said or f"git ended with {done.returncode}")
    return done.stdout
