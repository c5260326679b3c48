"""Whether a repository's own configuration makes read-only git commands run programs.

`git status`, `log` and `diff` run programs that the repository names: a monitor, a pager, filters,
text converters, hooks. Read-only commands are allowed without asking, so git is asked first which
settings it would use in that directory: only git reads its files as git does, includes, quotes and
broken repositories among them. Listing settings runs nothing.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

from laguna_agent.git_places import git_places
from laguna_agent.policy import sensitive_paths
from laguna_agent.policy.environment import child_environment
from laguna_agent.policy.git_layout import is_of_linked_repository
from laguna_agent.programs import find_program, search_path

_GITLINK = b"\x00\x00\xe0\x00"
_MAX_INDEX = 64 << 20
_TIMEOUT = 5.0
_LIST = ("config", "--list", "--null", "--show-scope", "--show-origin", "--includes")

_RUNS = re.compile(
    r"""^(
    core\.(fsmonitor|hookspath|pager|editor|sshcommand|gitproxy|askpass|worktree)
  | core\.alternaterefscommand
  | sequence\.editor | pager\..* | gpg\..* | log\.showsignature
  | diff\.external | diff\..*\.(command|textconv|cachetextconv)
  | filter\..*\.(clean|smudge|process)
  | merge\..*\.driver | mergetool\..* | difftool\..* | guitool\..* | hook\..*
  | credential(\..*)?\.helper | remote\..*\.(uploadpack|receivepack|vcs|promisor|partialclonefilter)
  | extensions\.partialclone | protocol\..* | url\..*
  | alias\..* | submodule\..*\.update
  | uploadpack\..* | receive\..* | tar\..*\.command | interactive\.difffilter
  | trace2\..* | browser\..* | man\..* | web\..* | help\..* | instaweb\..* | sendemail\..*
  | trailer\..*\.(cmd|command) | status\.submodulesummary | diff\.submodule
  | pretty\..* | format\.pretty
    )$""",
    re.VERBOSE | re.DOTALL,
)
_SAFE_VALUES = {
    "core.fsmonitor": {"false", "no", "off", "0", ""},
    "log.showsignature": {"false", "no", "off", "0"},
    "core.pager": {"cat", "less"},
    "gpg.format": {"openpgp", "x509", "ssh"},
    "credential.helper": {""},
}
_LFS = re.compile(r"git-lfs (clean|smudge|filter-process)( --skip)?( -- %f)?")
_READS = frozenset(
    {
        "blame.ignorerevsfile",
        "core.attributesfile",
        "core.excludesfile",
        "diff.orderfile",
        "format.signaturefile",
        "gpg.ssh.allowedsignersfile",
        "gpg.ssh.revocationfile",
        "mailmap.file",
    }
)
"""Settings that name a file of which git may show something."""


ReadObjection = Callable[[str], str | None]
"""Says why a path must not be read, or None."""


class _UnknownError(Exception):
    """git did not tell; the message says why."""


def risk(start: str, root: str, read_objection: ReadObjection = lambda path: None) -> str | None:
    """Why a read-only git command in `start` might run a program or read what it must not, or None.

    Settings of the repository count, and those in a file below the workspace `root` that the
    user's own configuration includes.
    """
    try:
        for key, value, inside, place in _settings(start, root):
            if not inside:
                continue
            if reason := _objection(start, place, read_objection):
                return f"the repository's configuration includes a file: {reason}"
            if _may_run(key, value):
                return f"the repository's configuration sets {key}"
            if key in _READS and value:
                place = os.path.join(_top(start), os.path.expanduser(value))
                if reason := read_objection(place):
                    return f"the repository's configuration sets {key}: {reason}"
        return _directory_risk(start, read_objection)
    except _UnknownError as error:
        return f"git does not tell its configuration here: {error}"


def _may_run(key: str, value: str) -> bool:
    if key in _SAFE_VALUES and value.lower() in _SAFE_VALUES[key]:
        return False
    if key.startswith("filter.lfs.") and _LFS.fullmatch(value):
        return False
    return bool(_RUNS.match(key.lower()))


def _settings(start: str, root: str) -> Iterator[tuple[str, str, bool, str]]:
    """Keys, values, whether the setting is the repository's or in a file of the workspace, and that
    file."""
    fields = _git(start, *_LIST).split("\0")
    for scope, origin, setting in zip(fields[::3], fields[1::3], fields[2::3], strict=False):
        key, _, value = setting.partition("\n")
        kind, _, file = origin.partition(":")
        place = sensitive_paths.real(os.path.join(start, file)) if kind == "file" else ""
        inside = scope not in ("system", "global") or sensitive_paths.is_under(place, root)
        yield key, value, inside, place


def _objection(start: str, place: str, read_objection: ReadObjection) -> str | None:
    """Why a file of the repository's, which git reads, must not be read, or None."""
    reason = read_objection(place) if place else None
    return reason if reason and not is_of_linked_repository(place, Path(_top(start))) else None


def _directory_risk(start: str, read_objection: ReadObjection) -> str | None:
    """What git runs, follows or shows because of files in the git directory."""
    asked = ("--git-path", "index", "--git-path", "hooks", "--absolute-git-dir")
    try:
        places = _git(start, "rev-parse", *asked).split("\n")
    except _UnknownError:
        return None  # no repository, or one that git refuses for every command
    if len(places) != 4:
        return "the path of the repository is not a plain line"
    for place in git_places(places[2]):
        if reason := _objection(start, place, read_objection):
            return f"the repository leads elsewhere: {reason}"
    index, hooks = (os.path.join(start, place) for place in places[:2])
    if os.path.lexists(os.path.join(hooks, "post-index-change")):
        return "the repository has a hook that `git status` may run"
    if any(_has_submodules(path, _stamp(path)) for path in _indexes(index)):
        return "the repository has submodules, whose own configuration git follows"
    return None


def _indexes(index: str) -> Iterator[str]:
    """The index, and those that it shares entries with."""
    yield index
    folder = os.path.dirname(index)
    try:
        names = os.listdir(folder)
    except OSError:
        return
    yield from (os.path.join(folder, name) for name in names if name.startswith("sharedindex."))


def _top(start: str) -> str:
    """The top of the working tree, which relative file names begin at."""
    prefix = _git(start, "rev-parse", "--show-prefix").rstrip("\n").rstrip("/")
    real = sensitive_paths.real(start)
    return real.removesuffix(f"/{prefix}") if prefix else real


def _git(start: str, *arguments: str) -> str:
    """The output of git in `start`, with the environment that commands get."""
    program = find_program("git")
    if program is None:
        raise _UnknownError("git is not found")
    try:
        done = subprocess.run(
            [program, "--no-pager", *arguments],
            cwd=start,
            env={**child_environment(), "PATH": search_path(), "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT,
            check=False,
        )
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise _UnknownError(str(error)) from None
    if done.returncode != 0:
        raise _UnknownError(done.stderr.decode("utf-8", "replace").strip().split("\n")[0])
    return done.stdout.decode("utf-8", "surrogateescape")


def _stamp(path: str) -> tuple[int, int, int]:
    try:
        info = os.stat(path)
    except OSError:
        return (0, 0, 0)
    return (info.st_ino, info.st_size, info.st_ctime_ns)


@lru_cache(maxsize=64)
def _has_submodules(index: str, stamp: tuple[int, int, int]) -> bool:
    """Whether the index may contain a submodule."""
    if stamp[1] > _MAX_INDEX:
        return True
    try:
        return _GITLINK in Path(index).read_bytes()
    except OSError:
        return False
