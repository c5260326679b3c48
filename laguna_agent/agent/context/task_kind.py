"""What kind of work a task is, told from its words alone: a hint in the prompt of small models."""

from __future__ import annotations

import re
import sys
from typing import Literal, NamedTuple

from laguna_agent.agent.check.detection import is_question
from laguna_agent.agent.context.git_task import (
    branch_command,
    commit_command,
    merge_command,
)

TaskKind = Literal["fix", "rename", "git", "answer", "write", "change"]

_FIX = re.compile(
    r"\b(?:fix(?:es|ed)?|bugs?|broken|breaks?|fails?|failing|failure|crash(?:es|ed)?|wrong(?:ly)?|"
    r"incorrect(?:ly)?|raises?\b.{0,200}\binstead|"
    r"should (?:be|return|give|print)\b.{0,200}\bbut)\b",
    re.IGNORECASE,
)
_RENAME = re.compile(
    r"\brename (?:the )?(?:(?:function|method|class|constant|exception) `?|`)"
    r"([A-Za-z_]\w+)(?:\(\))?`?(?: everywhere)? (?:in)?to `?([A-Za-z_]\w*)\b(?![/.-]\w)",
    re.IGNORECASE,
)
_KIND = r"(?:function|method|class|constant|variable|exception)"
_RENAME_BARE = re.compile(
    r"\brename ([a-z]\w*_\w+|[A-Z]\w*_\w+|[a-z]+[A-Z]\w*)(?:\(\))?(?: everywhere)? (?:in)?to "
    r"`?([A-Za-z_]\w*)\b(?![/.-]\w)",
)
_RENAME_IT = re.compile(
    rf"\brename (?:it|this|that|(?:the|this|that) {_KIND})(?: everywhere)? (?:in)?to "
    r"`?([A-Za-z_]\w*)\b(?![/.-]\w)",
    re.IGNORECASE,
)
_CODE_WORD = re.compile(
    r"(?<![\w./-])(?:\w+_\w+|[a-z]+[A-Z]\w*)(?![\w/-]|\.\w)|`([A-Za-z_]\w*)(?:\(\))?`"
)
_GIT = re.compile(
    r"\b(?:commit|branch|merge|rebase|revert|stash|tag|cherry-pick|unstage|check ?out)\b",
    re.IGNORECASE,
)
_CODE = re.compile(r"\b(?:function|method|class|option|flag|rename|refactor|replace|implement)\b")
_ANSWER = re.compile(
    r"^\W*(?:(?:please|i (?:need|want|would like) to know|i'd like to know|can you|could you)\W+)*"
    r"(?:which|what|where|who|when|why|how|find|count|list|tell|explain|say|show|name|look)\b",
    re.IGNORECASE,
)
_QUESTION = re.compile(r"[?？][)\"'*]*(?:\s|$)")
_WRITE = re.compile(
    r"^\W*(?:write|create|make|generate|add a (?:new )?(?:file|test))\b", re.IGNORECASE
)
_BESIDE = re.compile(
    r"please|everywhere|in|all|of|the|this|files?|project|repo(?:sitory)?|code|tests?|docs?"
    r"|documentation|readme|including|and|too|also|as|well|now|whole|entire|no|alias(?:es)?"
    r"|i|do|don|t|not|like|name|is|was|a|an|bad|badly|misleading|wrong|confusing|unclear|named"
    rf"|{_KIND}|could|can|you|both|its|callers?|uses?|usages?|references?|for|me|over|at|once",
    re.IGNORECASE,
)
"""Words beside the renaming that ask for nothing else: "please", "in all files of the project"."""
_LIMITS = re.compile(r"\b(?:do not|don['’]t|not)\s+rename\b|\?\s*$", re.IGNORECASE)
_NOT_OURS = (".git", "node_modules", ".venv", "venv", ".tox", "vendor", "target", "__pycache__")
"""Folders whose files are not the project's."""
_RUN = re.compile(
    r"^\W*(?:please\s+)?(?:run|execute)\s+`([^`<>\n]+)`(?=\s*(?:$|[.;]|,?\s+(?:and|then)\b))"
    r"(?!.*\b(?:first|before|after|once|background|each|every)\b)",
    re.IGNORECASE | re.DOTALL,
)
_ANSWER_FILE = re.compile(
    r"\b(?:write|put|save|store|note)\b[^.\n]{0,80}?\b(?:to|into|in|as)\s+"
    r"(?:the file\s+|a file\s+)?`?((?:[\w-]+/)*[\w-]+\.(?:txt|md|json|csv|log))\b",
    re.IGNORECASE,
)


def task_kind(task: str, *, check_fails: bool = False) -> TaskKind:
    """The kind of a task; `check_fails` says that its check fails now."""
    if check_fails or (_FIX.search(task) and not _WRITE.match(task)):
        return "fix"
    if renamed(task):
        return "rename"
    if _GIT.search(task) and not _CODE.search(task):
        return "git"
    asks = _QUESTION.search(task) is not None and answer_file(task) is not None
    if asks or is_question(task) or _ANSWER.match(task) or _RUN.match(task):
        return "answer"
    return "write" if _WRITE.match(task) else "change"


def renamed(task: str) -> tuple[str, str] | None:
    """The old and the new name, where a task is to rename something in code."""
    found = _renaming(task)
    return (found.old, found.new) if found else None


def only_renames(task: str) -> bool:
    """Whether a task is to rename something, and nothing else."""
    found = _renaming(task)
    if found is None or _LIMITS.search(task):
        return False
    words = re.findall(r"\w+", found.rest)
    return all(word == found.old or _BESIDE.fullmatch(word) for word in words)


class _Renaming(NamedTuple):
    old: str
    new: str
    rest: str
    """What the task says besides."""


def _renaming(task: str) -> _Renaming | None:
    if found := _RENAME.search(task) or _RENAME_BARE.search(task):
        return _Renaming(found[1], found[2], task[: found.start()] + task[found.end() :])
    if found := _RENAME_IT.search(task):
        before = {match[1] or match[0] for match in _CODE_WORD.finditer(task[: found.start()])}
        if len(before) == 1:  # "I do not like the name calc_tot."
            rest = task[: found.start()] + task[found.end() :]
            return _Renaming(before.pop(), found[1], rest)
    return None


def rename_command(task: str) -> str:
    """A command that renames it in all files; empty where the task is none to rename, or says
    anything besides: where, or what is to stay."""
    names = renamed(task)
    if names is None or not only_renames(task):
        return ""
    old, new = names
    mac = sys.platform == "darwin"
    edit, run = ("sed -i ''", "xargs -0") if mac else ("sed -i", "xargs -0 -r")
    word = ("[[:<:]]", "[[:>:]]") if mac else (r"\b", r"\b")
    skipped = " ".join(f"--exclude-dir={name}" for name in _NOT_OURS)
    return f"grep -rlwI --null {skipped} {old} . | {run} {edit} 's/{word[0]}{old}{word[1]}/{new}/g'"


def first_command(task: str, kind: TaskKind) -> str:
    """The command with which a task begins: what it asks to run, what renames something in all
    files, or what git does first; else empty."""
    if kind == "rename":
        return rename_command(task)
    if kind not in ("answer", "git"):
        return ""
    if found := _RUN.search(task):
        return found[1].strip()
    return branch_command(task) or commit_command(task) or merge_command(task)


def answer_file(task: str) -> str | None:
    """The file that an answer is to be written to, as the task names it."""
    found = _ANSWER_FILE.search(task)
    return found[1] if found else None
