"""Finds what a task says that commands print or that calls give: "`python3 tool.py 45m` should
print 2700", "rank([3, 1]) should return [0, 1]", and which commands crash that it asks to repair.

A command or call and a literal must both be plainly stated: the command in back-ticks, the output
a number, a text in quotes or back-ticks, a fenced block, or a literal of Python. What a task says
of before the change ("prints 12 instead of 3") is told from what it says of after it. Conditions,
negations, questions, and what documents say state nothing. In doubt there is nothing: a wrong check
is worse than none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from laguna_agent.agent.check.detection import tests_are_the_task
from laguna_agent.agent.check.stated_calls import StatedResult, of_other_form, stated_results
from laguna_agent.agent.check.stated_failures import stated_failures
from laguna_agent.agent.check.statement_patterns import (
    EXITS,
    OF_CALLS,
    OF_COMMANDS,
    SO,
    Patterns,
    heads_condition,
    is_conditional,
)
from laguna_agent.agent.check.task_marks import OPEN_ENDED, marked, sentences_of
from laguna_agent.clip import clip_middle
from laguna_agent.tools.stated_output import StatedOutput, same_text

MOST = 6
"""Stated outputs of a task that are used; a task that has more is a document."""
_MOST_READ = 20_000
_LONGEST = 2_000
"""Characters of an output."""

_BEFORE = re.compile(
    r"\b(?:fix\w*|repair\w*|bugs?|wrong\w*|but|errors?|fail\w*|broken|breaks?|instead|crash\w*"
    r"|current\w*|now|today|at the moment|still|so far|was|were|used to|problems?|issues?"
    r"|incorrect\w*|unexpected\w*|although|though|however)\b",
    re.IGNORECASE,
)
_WRITES = re.compile(
    r"\W*(?:please )?(?:write|create|add|implement|build|extend|support|develop)\b", re.IGNORECASE
)
_OTHER_MATTER = re.compile(
    r"^(?:please )?(?:explain|describe|tell|suppose|assume|imagine|say|show)\b"
    r"|\b(?:says?|saying|said|claims?|document\w*|readme|docs|docstring|comments?|notes?|mention\w*"
    r"|changelog|example in|tests? (?:that|which|for|case)|assert\w*|first line|last line|line \d+"
    r"|part of|lines? of|somewhere|nobody|no longer|used to)\b",
    re.IGNORECASE,
)
_ABOUT_DOCUMENTS = re.compile(
    r"\b(?:correct|fix|update|rewrite|change|adapt)\b[^.\n]{0,40}"
    r"\b(?:readme|docs?|documentation|docstrings?|comments?)\b",
    re.IGNORECASE,
)
_WRITE = r"write|create|draft|prepare|compose|add|publish|produce|generate"
_DOCUMENT = r"\w\.(?:md|rst|adoc|tex|docx?|org|markdown)\b"
_SAME_SENTENCE = r"(?:[^.\n]|\.(?=\w))*"
_WRITES_DOCUMENT = re.compile(
    rf"\b(?:{_WRITE}|make|open|file|start)\b[^.\n:]{{0,40}}\b(?:plan|template|issue|ticket|proposal|document|guide|tutorial"
    r"|article|blog post|e-?mail|letter|spec(?:ification)?|rfc|adr|faq|wiki page|slides?"
    r"|presentation|commit message|pull request|release notes?|bug report|memo|outline|essay"
    r"|checklist|roadmap|diagram|todo list)s?"
    r"(?=[,:;]|\.?\s|\.?$)(?! (?!(?:in|for|with|of|about|on|that|to|which|named|called|as|and|from"
    r"|describ\w+|explain\w+|list\w+)\b)\w)"
    rf"|\b(?:{_WRITE}|put|note|record|describe|document|list|save|explain)\b"
    rf"{_SAME_SENTENCE}{_DOCUMENT}|{_DOCUMENT}{_SAME_SENTENCE}\b(?:{_WRITE})\b",
    re.IGNORECASE,
)
_CHANGES_NOTHING = re.compile(
    r"\b(?:do not|don['’]?t|without) (?:run|runn?ing|execut\w+|chang\w+|edit\w*|modify\w*|touch\w*"
    r"|fix\w*) (?:it|anything|any(?: (?:code|files?|commands?))?|the (?:code|program|script)|them"
    r"|«c\d+»)",
    re.IGNORECASE,
)
_MOVES = re.compile(
    r"\b(?:mov(?:e|es|ed|ing)|renam\w+|splits?|extract\w*|merge\w*"
    r"|into an? (?:\w+ )?(?:class|method|module|package|script))\b"
    r"|\b(?:replac\w+|substitut\w+) (?:\w+ ){0,4}«[fx]\d+»|\bchang\w+ «[fx]\d+» (?:to|into|in)\b",
    re.IGNORECASE,
)
"""In tasks after which a function or a program may stand elsewhere, or a call may be another."""
_POLITE = re.compile(r"(?:\w+,? )?(?:can|could|would|will) you\b", re.IGNORECASE)
_NOT_BEFORE = re.compile(
    r"\b(?:not|never|n['’]t|avoid|stop|neither|nor|whether|or|one of)\W+(?:\w+\W+){0,2}$"
    r"|\b(?:perhaps|maybe|possibly|probably)\W+$",
    re.IGNORECASE,
)
_IN_CODE = re.compile(
    r"\bthe (?!call|result|value|output|function|change|fix|repair)\w+ $", re.IGNORECASE
)
"""Before a call that stands for a place in the code: "the default f(2) should be 4"."""


class _Statement(NamedTuple):
    """A command or call and a value, as marks."""

    subject: str
    value: str
    sure: bool
    """Whether that is sure to be what should come of it."""
    status: int | None = None
    to_errors: bool = False


def stated_outputs(task: str, start: Path) -> list[StatedOutput]:
    """The commands whose outputs a task states, with these; empty where any of it is doubtful.

    `start` is where commands run.
    """
    task = clip_middle(task, _MOST_READ)
    text, literals = marked(task, start)
    if not re.search("«[cf]", text):
        return []
    if _ABOUT_DOCUMENTS.search(text) or _CHANGES_NOTHING.search(text):
        return []
    if _WRITES_DOCUMENT.search(re.sub(r"«o\d+»", lambda mark: literals[mark[0]], text)):
        return []
    sentences = sentences_of(text)
    if any(s.rstrip(")\"'* ").endswith(("?", "？")) and not _POLITE.match(s) for s in sentences):
        return []
    examples = any(map(_WRITES.match, sentences)) and not _BEFORE.search(text)
    found = [
        StatedOutput(
            literals[said.subject],
            literals.get(said.value, said.value),
            said.sure,
            status=said.status,
            to_errors=said.to_errors,
        )
        for said in _statements(sentences, "c", OF_COMMANDS, examples=examples)
    ]
    found = [item for item in dict.fromkeys(found) if _is_definite(item.output or "")]
    if tests_are_the_task(task) or _MOVES.search(text) or of_other_form(text, literals):
        return _agreeing(found)
    results = [
        StatedResult(
            literals[said.subject],
            literals.get(said.value, said.value),
            said.value[1] if said.value in literals else "",
            said.sure,
        )
        for said in _statements(sentences, "f", OF_CALLS, examples=examples)
    ]
    printed = {item.command for item in found}
    failures = stated_failures(sentences, literals, start)
    return _agreeing(
        [
            *found,
            *stated_results(results, task, start),
            *(item for item in failures if item.command not in printed),
        ]
    )


def _statements(
    sentences: Sequence[str], kind: str, patterns: Patterns, *, examples: bool
) -> list[_Statement]:
    """What the sentences state of subjects of a kind, in the order in which these are named.
    `examples`: a plain statement counts too."""
    found = _in_sentences(sentences, kind, patterns, examples=examples)
    return sorted(found, key=lambda said: int(said.subject[2:-1]))


def _in_sentences(
    sentences: Sequence[str], kind: str, patterns: Patterns, *, examples: bool
) -> Iterator[_Statement]:
    last: str | None = None
    limited = False
    for sentence in sentences:
        if sentence.endswith(":"):
            limited = heads_condition(sentence)
        if limited:
            last = ""
            continue
        if _OTHER_MATTER.search(sentence):
            last = _last_subject(sentence, len(sentence), kind) or None
            continue
        taken: set[str] = set()
        for pattern in (*patterns.asked, patterns.instead):
            for match in pattern.finditer(sentence):
                before = sentence[: match.start()]
                hoped = pattern is patterns.instead and re.search(rf"\b{SO}|\bso\b", sentence)
                if hoped or is_conditional(before, kind) or _NOT_BEFORE.search(before):
                    continue
                if kind == "f" and _IN_CODE.search(before):
                    continue
                subject = f"«{kind}{match['subject']}»"
                taken.add(subject)
                yield _statement(subject, match, sure=True)
        for pattern in patterns.of_last:
            for match in pattern.finditer(sentence):
                named = _last_subject(sentence, match.start(), kind)
                subject = (last if named is None else named) or ""
                if subject and not is_conditional(sentence[: match.start()], kind):
                    yield _statement(subject, match, sure=True)
        for match in patterns.plain.finditer(sentence) if examples else ():
            subject = f"«{kind}{match['subject']}»"
            if subject not in taken and not is_conditional(sentence[: match.start()], kind):
                yield _statement(subject, match, sure=False)
        last = _last_subject(sentence, len(sentence), kind)
        if last and is_conditional(sentence[: sentence.rindex(last)], kind):
            last = ""


def _statement(subject: str, match: re.Match[str], *, sure: bool) -> _Statement:
    exits = EXITS.match(match.string, match.end())
    status = int(exits[1]) if exits else None
    to_errors = match.groupdict().get("errors") is not None
    return _Statement(subject, match["value"], sure, status, to_errors)


def _last_subject(sentence: str, end: int, kind: str) -> str | None:
    """The mark that "it" stands for after a sentence up to `end`; None where it names none, empty
    where it could be one of several, or is of another kind."""
    marks = list(re.finditer(r"«[cf]\d+»" if kind == "c" else r"«[cfx]\d+»", sentence[:end]))
    if len(marks) > 1:
        between = sentence[marks[-2].end() : marks[-1].start()]
        if not re.search(r"\b(?:but|while|whereas|however|yet)\b|;", between):
            return ""
    if not marks:
        return None
    return marks[-1][0] if marks[-1][0][1] == kind else ""


def _is_definite(output: str) -> bool:
    return bool(output.strip()) and len(output) <= _LONGEST and not OPEN_ENDED.search(output)


def _agreeing(found: list[StatedOutput]) -> list[StatedOutput]:
    """The statements, unless a command has two outputs."""
    outputs: dict[str, str] = {}
    for item in sorted(found, key=lambda item: not item.sure):
        output = item.output or ""
        if not same_text(outputs.setdefault(item.command, output), output):
            if not item.sure:
                continue
            return []
    kept = [item for item in found if same_text(outputs[item.command], item.output or "")]
    unique = list({item.command: item for item in kept}.values())
    return unique if len(unique) <= MOST else []
