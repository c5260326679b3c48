"""What kind of work a task is, told from its words alone: a hint in the prompt of small models."""

from __future__ import annotations

import re
from typing import Literal

from laguna_agent.agent.check.detection import is_question

TaskKind = Literal["fix", "git", "answer", "write", "change"]

_FIX = re.compile(
    r"\b(?:fix(?:es|ed)?|bugs?|broken|breaks?|fails?|failing|failure|crash(?:es|ed)?|wrong(?:ly)?|"
    r"incorrect(?:ly)?|raises?\b.{0,200}\binstead|"
    r"should (?:be|return|give|print)\b.{0,200}\bbut)\b",
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


def task_kind(task: str, *, check_fails: bool = False) -> TaskKind:
    """The kind of a task; `check_fails` says that its check fails now."""
    if check_fails or (_FIX.search(task) and not _WRITE.match(task)):
        return "fix"
    if _GIT.search(task) and not _CODE.search(task):
        return "git"
    if is_question(task) or _ANSWER.match(task):
        return "answer"
    return "write" if _WRITE.match(task) else "change"
