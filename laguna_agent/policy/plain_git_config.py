"""Tells settings of git that run nothing from all others, which may run a program.

Only what git writes by itself when a repository is made, cloned or given a remote is plain. A line
that is not plainly understood is not.
"""

from __future__ import annotations

import os
import re

from laguna_agent.policy.sensitive_paths import is_under

_PLAIN = {
    "core": "repositoryformatversion filemode bare logallrefupdates ignorecase precomposeunicode "
    "symlinks autocrlf eol safecrlf quotepath abbrev sharedrepository compression preloadindex "
    "untrackedcache sparsecheckout sparsecheckoutcone longpaths",
    "extensions": "objectformat compatobjectformat refstorage worktreeconfig relativeworktrees",
    "user": "name email",
    "author": "name email",
    "committer": "name email",
    "init": "defaultbranch",
    "remote": "url pushurl fetch push tagopt prune mirror",
    "branch": "remote merge rebase pushremote description",
    "submodule": "url active branch ignore",
    "push": "default autosetupremote followtags",
    "pull": "rebase ff",
    "fetch": "prune",
    "merge": "ff conflictstyle",
    "lfs": "repositoryformatversion",
    "gc": "auto",
    "commit": "verbose",
    "advice": "detachedhead",
}
_ALLOWED = {(section, key) for section, keys in _PLAIN.items() for key in keys.split()}
_SECTION = re.compile(r'\[([A-Za-z0-9-]+)(?:[ \t]+"((?:[^"\\\n]|\\["\\])*)")?\]')
_SETTING = re.compile(r"([A-Za-z][A-Za-z0-9-]*)(?:[ \t]*=[ \t]*([^\"\\]*))?")
# `ext::sh -c …` runs a program; no other address does, but for those that git itself refuses.
_ADDRESS = re.compile(r"(?!ext::|-)[^\x00-\x1f]*")


def unsafe_settings(data: bytes, directory: str) -> set[str]:
    """The settings, as `section "subsection" line`, of a git directory that might run a program, or
    have git change files elsewhere."""
    found = set()
    header = section = ""
    for line in data.decode("utf-8", "surrogateescape").split("\n"):
        text = line.strip(" \t\r")
        if not text or text[0] in "#;":
            continue
        if match := _SECTION.fullmatch(text):
            header, section = text, match[1].lower()
            continue
        if text[0] == "[":
            header, section = text, ""
        match = _SETTING.fullmatch(text)
        plain = match is not None and (section, match[1].lower()) in _ALLOWED
        if plain and match is not None and match[1].lower() in ("url", "pushurl"):
            plain = _ADDRESS.fullmatch(match[2] or "") is not None
        if match is not None and (section, match[1].lower()) == ("core", "worktree"):
            plain = _is_around(directory, match[2] or "")
        if not plain:
            found.add(f"{header} {text}")
    return found


def _is_around(directory: str, worktree: str) -> bool:
    """Whether a working tree is that of the repository, or of a submodule of it."""
    above, modules, _ = directory.partition("/.git/modules/")
    if not modules:
        above = directory.removesuffix("/.git")
    return is_under(os.path.realpath(os.path.join(directory, worktree.strip())), above)
