"""What a task asks of git, told from its words: the first command, and when git has done it all.

Only what is clear counts. A small model that is held to the wrong thing cannot do its task, and one
that is not held may still do it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_ACT = r"(?:^|[.;,:]\s+|\b(?:and|then|please)\s+)"
_GIT = r"^\s*git\b(?:\s+-\S+|\s+[\w.]+=\S+)*\s+"
_NO_NOUN = r"(?!\s+(?:hooks?|messages?|history|logs?|ids?|hash(?:es)?|dates?|graph|counts?)\b)"
_ACTS = {
    rf"{_ACT}commit\b{_NO_NOUN}": rf"{_GIT}commit\b(?!.*--dry-run)",
    rf"{_ACT}(?:create|make|start|open)\b[^.;,]{{0,40}}\bbranch\b": (
        rf"{_GIT}(?:branch\s+[^-\s]|checkout\s+-[bB]\s+\S|switch\s+(?:-c|-C|--create)\s+\S)"
    ),
    rf"{_ACT}(?:tag\b|(?:create|make|add|set)\b[^.;,]{{0,40}}\btag\b)": (
        rf"{_GIT}tag\s+(?!-[dln]|--(?:list|delete))\S"
    ),
    rf"{_ACT}revert\b": rf"{_GIT}revert\b",
}
"""What a task may ask of git, and the command that does it."""
_NAMES = dict(zip(_ACTS.values(), ("commit", "branch", "tag", "revert"), strict=True))
_MORE = re.compile(
    r"(?:[.;:,]\s+|\b(?:and|then)\s+)"
    r"(?!(?:the|it|its|leave|keep|do not|don't|as|no|not|nothing|so|but|with|without)\b|…)\w"
    r"|\b(?:writ\w+|not(?:e|ed)|record\w*|push\w*|merg\w+|runs?|add\w*|creat\w+|updat\w+|delet\w+|"
    r"remov\w+|switch\w*|print\w*|tell|report\w*)\b",
    re.IGNORECASE,
)
"""Where a task goes on to ask for something else."""
_SEVERAL = re.compile(r"\b(?:each|every|separate\w*|two|three|both|several|own)\b", re.IGNORECASE)
_QUOTED = re.compile(r"`[^`\n]*`|\"[^\"\n]*\"|'[^'\n]*'(?!\w)")
_BRANCH = re.compile(
    r"^\W*(?:please\s+)?(?:create|make|start|open)\s+(?:a|the)\s+(?:new\s+)?(?:git\s+)?branch\s+"
    r"(?:(?:named|called)\s+([\w][\w./-]*\w)(?![\w/-])|[`'\"]([\w][\w./-]*\w)[`'\"])"
    r"(?!\s+(?:from|off|at)\b)",
    re.IGNORECASE,
)
_EDIT = re.compile(
    r"\b(?:correct|fix|change|replace|update|edit|insert|append)\s+(?:the|a|an|all|every|…)"
    r"(?!\W*(?:\w+\W+){0,2}(?:commits?|branch|tags?|authors?|messages?|remotes?|upstream|"
    r"submodules?|modes?|history|default)\b)"
    r"|\badd\b[^.;\n]{1,60}\bto\b",
    re.IGNORECASE,
)


def git_is_done(task: str, commands: Sequence[str]) -> bool:
    """Whether these commands, which succeeded, did all that a task asks of git, and it asks for
    nothing after that. False where that is not clear."""
    words = _QUOTED.sub("…", task.strip())
    acts = _acts(words)
    if not acts or _SEVERAL.search(words) or _MORE.search(words, acts[-1][0]):
        return False
    done = not git_left(task, commands)
    return done and re.search(acts[-1][1], _parts(commands)[-1]) is not None


def git_left(task: str, commands: Sequence[str]) -> list[str]:
    """What a task asks of git that none of these commands, which succeeded, did: `commit`,
    `branch`, `tag` or `revert`, in the order of the task."""
    parts = _parts(commands)
    acts = [act for _, act in _acts(_QUOTED.sub("…", task.strip()))]
    left = [act for act in acts if not any(re.search(act, part) for part in parts)]
    return list(dict.fromkeys(_NAMES[act] for act in left))


def _parts(commands: Sequence[str]) -> list[str]:
    """The single commands of command lines."""
    return [part for command in commands for part in re.split(r"&&|\|\||[;\n]", command)]


def _acts(words: str) -> list[tuple[int, str]]:
    """Where a task asks something of git, and the commands that do it."""
    return sorted(
        (found.end(), command)
        for asked, command in _ACTS.items()
        for found in re.finditer(asked, words, re.IGNORECASE)
    )


def asks_for_edits(task: str) -> bool:
    """Whether a task for git asks to change files too."""
    return _EDIT.search(_QUOTED.sub("…", task)) is not None


def branch_command(task: str) -> str:
    """The command that makes the branch with which a task begins; empty where it does not."""
    found = _BRANCH.search(task)
    return f"git checkout -b {found[1] or found[2]}" if found else ""
