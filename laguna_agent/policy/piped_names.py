"""Which files a pipe such as `find … | xargs wc -l` gives to the program that reads them."""

from __future__ import annotations

import fnmatch
import os
import re

from laguna_agent.policy.analysed import AnalysedCommand, Walk

_MOST_ENTRIES = 20_000
_LISTERS = frozenset({"find", "ls", "fd", "rg", "git"})


def piped_walks(lister: AnalysedCommand, *, by_null: bool) -> list[Walk] | str:
    """The folders whose files a listing names, or why its output is not known to be their names.

    Without `by_null` (`-0`), xargs splits names at blanks and understands quotes. A name that looks
    like an option, or a link that leads elsewhere, could make a reading program do more.
    """
    words = [word.value or "" for word in lister.simple.words]
    name = os.path.basename(words[0]) if words else ""
    if name not in _LISTERS or lister.verdict != "read-only":
        return "what xargs reads is computed when it runs"
    if name == "git" and words[1:2] != ["ls-files"]:
        return "what xargs reads is computed when it runs"
    if name == "rg" and not {"-l", "--files", "--files-with-matches"} & set(words):
        return "what xargs reads is computed when it runs"
    if name == "find" and {"-printf", "-ls"} & set(words):
        return "what xargs reads is computed when it runs"
    names = tuple(words[i + 1] for i, w in enumerate(words[:-1]) if w in ("-name", "-iname"))
    negated = bool({"!", "-not", "-o", "-or"} & set(words))
    names = () if negated else names
    folders = [path for path in lister.reads if os.path.isdir(path)]
    for folder in folders:
        if reason := _odd_name(folder, names, by_null=by_null):
            return reason
    return [
        Walk(
            folder,
            tracked_only=name == "git",
            hidden=name in ("find", "git"),
            ignored=name in ("find", "git", "ls"),
            names=names,
        )
        for folder in folders
    ]


def _odd_name(folder: str, names: tuple[str, ...], *, by_null: bool) -> str | None:
    odd = re.compile(r"(^|/)-" if by_null else r"(^|/)-|[\s'\"\\]")
    left = _MOST_ENTRIES
    for current, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            left -= 1
            if names and not any(fnmatch.fnmatch(name.lower(), n.lower()) for n in names):
                continue
            path = os.path.join(current, name)
            if odd.search(os.path.relpath(path, folder)):
                return f"the name {name!r} could be taken for something else by xargs"
            if os.path.islink(path) and not os.path.realpath(path).startswith(
                os.path.realpath(folder) + "/"
            ):
                return f"{name} is a link that leads elsewhere"
        if left < 0:
            return "there are too many files to look at their names"
    return None
