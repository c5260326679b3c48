"""What a task asks of git, told from its words: the first command, and when git has done it all.

Only what is clear counts. A small model that is held to the wrong thing cannot do its task, and one
that is not held may still do it.
"""

from __future__ import annotations

import re
import shlex
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
    rf"{_ACT}merge\b(?!\s+(?:conflicts?|commits?|requests?)\b)": rf"{_GIT}merge\b(?!\s+--abort)",
}
"""What a task may ask of git, and the command that does it."""
_NAMES = dict(zip(_ACTS.values(), ("commit", "branch", "tag", "revert", "merge"), strict=True))
_MORE = re.compile(
    r"(?:[.;:,]\s+|\b(?:and|then)\s+)"
    r"(?!(?:the|it|its|leave|keep|do not|don't|as|no|not|nothing|so|but|with|without)\b|…)\w"
    r"|\b(?:writ\w+|not(?:e|ed)|record\w*|push\w*|merg\w+|runs?|add\w*|creat\w+|updat\w+|delet\w+|"
    r"remov\w+|switch\w*|print\w*|tell|report\w*)\b",
    re.IGNORECASE,
)
"""Where a task goes on to ask for something else."""
_SEVERAL = re.compile(r"\b(?:each|every|separate\w*|two|three|both|several|own)\b", re.IGNORECASE)
_QUOTED = re.compile(r"`[^`\n]*`|\"[^\"\n]*\"|(?<!\w)'[^'\n]*'(?!\w)")
_MESSAGE = re.compile(
    r"\bmessage(?:\s*:\s*|\s+(?=[A-Z]))(?P<text>[^…\n\"'`][^…\n]*?)\.?\s*$", re.MULTILINE
)
"""The message of a commit, without quotes, at the end of a line."""
_COMMIT_ALL = re.compile(
    r"\W*(?:please\s+)?commit\s+(?:everything|all(?:\s+(?:of\s+)?(?:the|my|our|these))?"
    r"(?:\s+(?:files?|changes?|work|edits?))?|(?:the|my|our|these)\s+(?:changes?|work|edits?)"
    r"|what(?:'s|\s+is|\s+i\s+have)\s+(?:here|there|changed|done)(?:\s+here)?)"
    r"(?:\s*\((?:(?:including|with|the|an?|new|untracked|files?|ones?|too|also|and|as|well)\b\s*)+\))?"
    r",?\s+(?:with|using)\s+(?:the\s+|a\s+)?(?:commit\s+)?message\s*:?\s*"
    r"(?:(?P<quote>[`\"'])(?P<quoted>[^\n]+?)(?P=quote)|(?P<plain>[A-Z][^\n\"`]*?))\.?\s*",
    re.IGNORECASE,
)
"""A task to commit everything, with its message, and nothing else."""
_NO_BRANCH = (
    r"(?!(?:this|that|current|it|them|these|changes?|one|two|a|an|the|my|our|your|both|all|another"
    r"|each|after|something|with|like|for|as|by|whatever|from|so|to)\b)"
)
_REF = r"\w(?:[\w./-]*\w)?"
_MERGE = re.compile(
    rf"\W*(?:please\s+)?merge\s+(?:the\s+)?(?:branch\s+)?[`'\"]?{_NO_BRANCH}(?P<name>{_REF})[`'\"]?"
    rf"(?:\s+branch)?\s+(?:back\s+)?into\s+(?:the\s+)?(?:branch\s+)?[`'\"]?{_NO_BRANCH}"
    rf"(?P<into>{_REF})[`'\"]?(?:\s+branch)?\s*",
    re.IGNORECASE,
)
_FILE = re.compile(r"\.[a-z]\w{0,4}$", re.IGNORECASE)
_OTHER_MERGE = re.compile(
    r"--|[?]|\b(?:squash\w*|rebas\w+|fast|ff|only|but|except|without|if|unless|after|before|once|not"
    r"|never|first|dry)\b|n['’]t\b",
    re.IGNORECASE,
)
_BRANCH = re.compile(
    r"^\W*(?:please\s+)?(?:create|make|start|open)\s+(?:a|the)\s+(?:new\s+)?(?:git\s+)?branch\s+"
    rf"(?:(?:named|called)\s+{_NO_BRANCH}({_REF})|[`'\"]({_REF})[`'\"])"
    r"(?=\s*(?:$|[.;]|,?\s+(?:and|then|,)|,\s+(?!(?:starting|based|from|off|at|as|which|that)\b)))"
    r"(?!.*\bworktree\b)",
    re.IGNORECASE | re.DOTALL,
)
_EDIT = re.compile(
    r"\b(?:correct|fix|change|replace|update|edit|insert|append)\s+(?:the|a|an|all|every|…)"
    r"(?!\W*(?:\w+\W+){0,2}(?:commits?|branch|tags?|authors?|messages?|remotes?|upstream|"
    r"submodules?|modes?|history|default)\b)"
    r"|\badd\b[^.;\n]{1,60}\bto\b",
    re.IGNORECASE,
)


_PUSHES = re.compile(rf"{_GIT}push\b")
_ABOUT_PUSHING = re.compile(
    r"\b(?:push\w*|publish\w*|releas\w+|upload\w*|remote|origin|server|deploy\w*|upstream|sync\w*"
    r"|pull[ -]request|PR|git(?:hub|lab)|bitbucket|codeberg|send|share)\b",
    re.IGNORECASE,
)
_CHANGES = re.compile(rf"{_GIT}(?:add|commit|push|tag|stage)\b")
_HARMLESS = re.compile(rf"{_GIT}(?:status|log|diff|show)\b|^\s*cd\s|^\s*$")
_ABOUT_GIT = re.compile(
    r"\b(?:git\w*|commit\w*|push\w*|stag(?:e|ed|ing)|branch\w*|tags?|merg\w+|revert\w*|rebas\w+"
    r"|amend\w*|check\w*\b.{0,12}\bin|pull[ -]request|PR|releas\w+|ship\w*|checkpoint\w*"
    r"|version control|histor\w+|upstream|github|gitlab)\b",
    re.IGNORECASE,
)


def is_unasked(command: str, asked: str) -> bool:
    """Whether all that a command does is to add, commit or push, and nothing that was `asked`
    speaks of that. False for words that are not English."""
    parts = _parts([command])
    changes = [part for part in parts if _CHANGES.search(part)]
    others = [part for part in parts if part not in changes and not _HARMLESS.search(part)]
    if not changes or others or not asked.isascii():
        return False
    if any(map(_PUSHES.search, changes)) and not _ABOUT_PUSHING.search(asked):
        return True
    return _ABOUT_GIT.search(asked) is None


def git_is_done(task: str, commands: Sequence[str]) -> bool:
    """Whether these commands, which succeeded, did all that a task asks of git, and it asks for
    nothing after that. False where that is not clear."""
    words = _unquoted(task)
    acts = _acts(words)
    if not acts or _SEVERAL.search(words) or _MORE.search(words, acts[-1][0]):
        return False
    done = not git_left(task, commands)
    return done and re.search(acts[-1][1], _parts(commands)[-1]) is not None


def git_left(task: str, commands: Sequence[str]) -> list[str]:
    """What a task asks of git that none of these commands, which succeeded, did: `commit`,
    `branch`, `tag`, `revert` or `merge`, in the order of the task."""
    parts = _parts(commands)
    acts = [act for _, act in _acts(_unquoted(task))]
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
    return _EDIT.search(_unquoted(task)) is not None


def _unquoted(task: str) -> str:
    """A task without what is quoted, and without the message of a commit."""
    return _MESSAGE.sub("message …", _QUOTED.sub("…", task.strip()))


def commit_command(task: str) -> str:
    """The command that does all of a task to commit everything with a message; empty where the task
    says anything else."""
    found = _COMMIT_ALL.fullmatch(task)
    if found is None:
        return ""
    return f"git add -A && git commit -m {shlex.quote((found['quoted'] or found['plain']).strip())}"


def merge_command(task: str) -> str:
    """The command with which a task to merge one branch into another begins, else empty."""
    first, _, rest = re.sub(r"([.!])(\s|$)", r"\1\n", task.strip(), count=1).partition("\n")
    found = _MERGE.fullmatch(first.rstrip(".!"))
    if found is None or _OTHER_MERGE.search(rest):
        return ""
    if _FILE.search(found["name"]) or _FILE.search(found["into"]):
        return ""
    return f"git switch {found['into']} && git merge --no-edit {found['name']}"


def branch_command(task: str) -> str:
    """The command that makes the branch with which a task begins; empty where it does not."""
    found = _BRANCH.search(task)
    return f"git checkout -b {found[1] or found[2]}" if found else ""
