"""What kind of work a task is, told from its words alone: a hint in the prompt of small models."""

from __future__ import annotations

import re
import sys
from typing import Literal

from laguna_agent.agent.check.detection import is_question
from laguna_agent.agent.context.git_task import branch_command

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
_GIT = re.compile(
    r"\b(?:commit|branch|merge|rebase|revert|stash|tag|cherry-pick|unstage|check ?out)\b",
    re.IGNORECASE,
)
_CODE = re.compile(r"\b(?:function|method|class|option|flag|rename|refactor|replace|implement)\b")
_ANSWER = re.compile(
    r"^\W*(?:which|what|where|who|when|why|how|find|count|list|tell|explain|say|show|name|look)\b",
    re.IGNORECASE,
)
_WRITE = re.compile(
    r"^\W*(?:write|create|make|generate|add a (?:new )?(?:file|test))\b", re.IGNORECASE
)
_MORE_WORDS = 8
"""Words beside the renaming that ask for nothing else: "please", "in all files of the project"."""
_RUN = re.compile(r"^\W*(?:please\s+)?(?:run|execute)\s+`([^`\n]+)`", re.IGNORECASE)
_ANSWER_FILE = re.compile(
    r"\b(?:write|put|save|store|note)\b[^.\n]{0,80}?\b(?:to|into|in)\s+(?:the file\s+|a file\s+)?"
    r"`?((?:[\w-]+/)*[\w-]+\.(?:txt|md|json|csv|log))\b",
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
    if is_question(task) or _ANSWER.match(task) or _RUN.match(task):
        return "answer"
    return "write" if _WRITE.match(task) else "change"


def renamed(task: str) -> tuple[str, str] | None:
    """The old and the new name, where a task is to rename something in code."""
    found = _RENAME.search(task)
    return (found[1], found[2]) if found else None


def only_renames(task: str) -> bool:
    """Whether a task is to rename something, and nothing else."""
    found = _RENAME.search(task)
    rest = task[: found.start()] + task[found.end() :] if found else ""
    return found is not None and len(re.findall(r"\w+", rest)) <= _MORE_WORDS


def rename_command(task: str) -> str:
    """A command that renames it in all files; empty where the task is none to rename."""
    names = renamed(task)
    if names is None:
        return ""
    old, new = names
    edit = "sed -i ''" if sys.platform == "darwin" else "sed -i"
    word = ("[[:<:]]", "[[:>:]]") if sys.platform == "darwin" else (r"\b", r"\b")
    return (
        f"grep -rlwI --exclude-dir=.git {old} . | xargs {edit} 's/{word[0]}{old}{word[1]}/{new}/g'"
    )


def command_to_run(task: str) -> str:
    """The command with which a task begins: what it asks to run, or to make a branch with."""
    found = _RUN.search(task)
    return found[1].strip() if found else branch_command(task)


def answer_file(task: str) -> str | None:
    """The file that an answer is to be written to, as the task names it."""
    found = _ANSWER_FILE.search(task)
    return found[1] if found else None
