"""Whether a repository's own configuration makes read-only git commands run programs.

`git status`, `log` and `diff` run programs that the repository names: a monitor, a pager, filters,
text converters, hooks. Read-only commands are allowed without asking, so the repository's
configuration is checked first. Only files are read; git is not run.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

_SECTION = re.compile(r'^\s*\[\s*([A-Za-z0-9.-]+)\s*(?:"((?:[^"\\]|\\.)*)")?\s*\]')
_SETTING = re.compile(r"^\s*([A-Za-z][A-Za-z0-9-]*)\s*(?:=\s*(.*?))?\s*$")
_GITLINK = b"\x00\x00\xe0\x00"
_MAX_CONFIG = 1 << 20
_MAX_INDEX = 64 << 20

_RUNS = re.compile(
    r"""^(
    core\.(fsmonitor|hookspath|pager|editor|sshcommand|gitproxy|askpass|worktree)
  | core\.alternaterefscommand
  | sequence\.editor | pager\..* | gpg\..* | log\.showsignature
  | diff\.external | diff\..*\.(command|textconv|cachetextconv)
  | filter\..*\.(clean|smudge|process)
  | merge\..*\.driver | mergetool\..* | difftool\..* | guitool\..*
  | credential(\..*)?\.helper | remote\..*\.(uploadpack|receivepack|vcs|promisor|partialclonefilter)
  | extensions\.(partialclone|worktreeconfig) | protocol\..* | url\..*
  | include\.path | includeif\..* | alias\..* | submodule\..*\.update
  | uploadpack\..* | receive\..* | tar\..*\.command | interactive\.difffilter
  | trace2\..* | browser\..* | man\..* | web\..* | help\..* | instaweb\..* | sendemail\..*
  | trailer\..*\.(cmd|command) | status\.submodulesummary | diff\.submodule
  | pretty\..* | format\.pretty
    )$""",
    re.VERBOSE,
)
_SAFE_VALUES = {
    "core.fsmonitor": {"false", "no", "off", "0", ""},
    "log.showsignature": {"false", "no", "off", "0"},
    "core.pager": {"cat", "less"},
    "gpg.format": {"openpgp", "x509", "ssh"},
    "credential.helper": {""},
}
_LFS = re.compile(r"^git-lfs (clean|smudge|filter-process)( --skip)?( -- %f)?$")


@dataclass(frozen=True)
class GitConfiguration:
    """The git directories that git uses from some working directory."""

    directory: str
    common: str


def find_repository(start: str) -> GitConfiguration | None:
    """The repository that git finds at or above `start`, bare ones included."""
    current = os.path.realpath(start)
    while True:
        dot_git = os.path.join(current, ".git")
        if os.path.isfile(dot_git):
            linked = _follow(dot_git)
            if linked:
                return _with_common(linked)
        elif os.path.isdir(dot_git) and _is_repository(dot_git):
            return _with_common(dot_git)
        if _is_repository(current):
            return _with_common(current)
        parent = os.path.dirname(current)
        if parent == current:
            return None
        current = parent


def _is_repository(path: str) -> bool:
    has_head = os.path.lexists(os.path.join(path, "HEAD"))
    return has_head and (
        os.path.isfile(os.path.join(path, "commondir"))
        or (
            os.path.isdir(os.path.join(path, "objects"))
            and os.path.isdir(os.path.join(path, "refs"))
        )
    )


def _follow(dot_git: str) -> str | None:
    text = _read(dot_git)
    if text is None or not text.startswith("gitdir:"):
        return None
    return os.path.realpath(os.path.join(os.path.dirname(dot_git), text[7:].strip()))


def _with_common(directory: str) -> GitConfiguration:
    text = _read(os.path.join(directory, "commondir"))
    common = os.path.realpath(os.path.join(directory, text.strip())) if text else directory
    return GitConfiguration(directory, common)


def _read(path: str) -> str | None:
    try:
        with open(path, "rb") as file:
            return file.read(_MAX_CONFIG + 1).decode("utf-8", "surrogateescape")
    except OSError:
        return None


def settings(path: str) -> list[tuple[str, str]] | None:
    """Keys (`section.sub.name`, section and name in lower case) and values; None if unparsable."""
    text = _read(path)
    if text is None:
        return [] if not os.path.lexists(path) else None
    if len(text) > _MAX_CONFIG:
        return None
    found: list[tuple[str, str]] = []
    prefix = ""
    for line in re.sub(r"\\\r?\n", "", text).split("\n"):
        line = line.strip("\r\ufeff")
        if match := _SECTION.match(line):
            prefix = match.group(1).lower() + (f".{match.group(2)}" if match.group(2) else "")
            line = line[match.end() :]
        line = line.strip()
        if not line or line[0] in "#;":
            continue
        setting = _SETTING.match(line)
        if setting is None:
            return None
        value = setting.group(2)
        found.append((f"{prefix}.{setting.group(1).lower()}", _plain_value(value)))
    return found


def _plain_value(value: str | None) -> str:
    if value is None:
        return "true"
    return value.split(" #")[0].split(" ;")[0].strip().strip('"')


def risk(start: str) -> str | None:
    """Why a read-only git command in `start` might run a program, or None."""
    repository = find_repository(start)
    if repository is None:
        return None
    return _repository_risk(repository)


def _repository_risk(repository: GitConfiguration) -> str | None:
    files = [
        os.path.join(repository.common, "config"),
        os.path.join(repository.common, "config.worktree"),
        os.path.join(repository.directory, "config.worktree"),
    ]
    for path in files:
        if reason := _config_risk(path, _stamp(path)):
            return reason
    hook = os.path.join(repository.common, "hooks", "post-index-change")
    if os.path.lexists(hook):
        return "the repository has a hook that `git status` may run"
    index = os.path.join(repository.directory, "index")
    if _has_submodules(index, _stamp(index)):
        return "the repository has submodules, whose own configuration git follows"
    return None


def _stamp(path: str) -> tuple[int, int, int]:
    try:
        info = os.stat(path)
    except OSError:
        return (0, 0, 0)
    return (info.st_ino, info.st_size, info.st_ctime_ns)


@lru_cache(maxsize=64)
def _config_risk(path: str, stamp: tuple[int, int, int]) -> str | None:
    found = settings(path)
    if found is None:
        return f"{path} is not a plain git configuration"
    for key, value in found:
        lower = key.lower()
        if lower in _SAFE_VALUES and value.lower() in _SAFE_VALUES[lower]:
            continue
        if lower.startswith("filter.lfs.") and _LFS.match(value):
            continue
        if _RUNS.match(lower):
            return f"the repository's configuration sets {key}"
    return None


@lru_cache(maxsize=64)
def _has_submodules(index: str, stamp: tuple[int, int, int]) -> bool:
    """Whether the index may contain a submodule."""
    if stamp[1] > _MAX_INDEX:
        return True
    try:
        return _GITLINK in Path(index).read_bytes()
    except OSError:
        return False
