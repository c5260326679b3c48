"""Finds what a task says that commands print: "`python3 tool.py 45m` should print 2700".

A command and a literal output must both be plainly stated: the command in back-ticks, the output a
number, a text in quotes or back-ticks, or a fenced block. What a task says of before the change
("prints 12 instead of 3") is told from what it says of after it. Conditions, negations, questions,
and what documents say state nothing. In doubt there is nothing: a wrong check is worse than none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from laguna_agent.agent.check.plain_runs import is_plain_run
from laguna_agent.clip import clip_middle
from laguna_agent.tools.stated_output import StatedOutput, same_text

MOST = 6
"""Stated outputs of a task that are used; a task that has more is a document."""
_MOST_READ = 20_000
_LONGEST = 2_000
"""Characters of an output."""

_LITERAL = re.compile(
    r"^[ \t]*(?P<fence>`{3,}|~{3,})[^\n`]*\n(?P<block>.*?)^[ \t]*(?P=fence)[`~]*[ \t]*$"
    r"|(?P<ticks>`{1,2})(?!`)(?P<code>[^\n]+?)(?<!`)(?P=ticks)(?!`)"
    r"|(?<![\w`])(?:\"(?P<double>[^\"\n]+)\"|“(?P<curly>[^”\n]+)”|'(?P<single>[^'\n]+)')(?!\w)",
    re.MULTILINE | re.DOTALL,
)
_QUOTED_LINES = re.compile(
    r"^(?: {4,}|\t| {0,3}>)[^\n]*$|\n\nI ran `[^\n]*` \([^\n]*\):\n.*", re.MULTILINE | re.DOTALL
)
_LEADS_TO_BLOCK = re.compile(r"(\w[^\S\n]*:?)[^\S\n]*\n+[^\S\n]*(?=«b)")
_OPEN_ENDED = re.compile(r"\.\.\.|…|\\[nt]|<\w+>(?!.*</)|\{\w+\}")
"""Texts that may stand for others."""

# «c0» stands for a command, «o1» for another literal in a line, «b2» for a fenced block.
_C = r"«c(?P<command>\d+)»"
_V = (
    r"(?:(?:exactly|just|only|the (?:text|number|line|value|word|string|result)):? )*"
    r"(?P<value>«[ocb]\d+»|[-+]?\d+(?:\.\d+)?(?![\w%/:-]|[.,]\d))"
)
_SURE = (
    r"(?:as (?:it should|it must|expected|required|before)|correctly|which is (?:right|correct))"
)
_CONTRAST = r"(?:instead|but|not|rather than|yet|while|whereas|because|since|again|too|as well)\b"
_STREAM = r"(?: (?:to|on) (?:stdout|(?:the )?standard output|the (?:terminal|console|screen)))?"
_NEXT = r"«c\d+» (?:should|must|print|output|give|fail|crash)"
_MORE = rf",? ?and (?:(?:also|then) )?(?:{_NEXT}|exit|not )"
_END = (
    rf"{_STREAM}(?=\)?(?:[.;!:]*$|[.;!:)] |,? ?(?:[–—-] )?{_CONTRAST}|,? {_SURE}|{_MORE}"
    rf"|[,;] {_NEXT}| \((?:not|instead|it|now|currently)\b))"
)
_ADVERB = r"(?: (?:then|now|also|still|just|always|again|simply|instead|correctly))*"
_MODAL = (
    r"(?:should|must|shall|ought to|has to|have to|needs? to"
    r"|(?:is|was|are) (?:supposed|expected|meant) to)"
)
_VERB = r"(?:print|output|give|echo)"
_SHOULD_PRINT = rf"{_MODAL}{_ADVERB} (?:have )?{_VERB}(?:ed)?{_ADVERB}:?"
_PRINTS = rf"{_VERB}s"
_SO = r"(?:so that|such that|until|till|(?:make|be) sure(?: that)?|ensure(?: that)?)"
_RUN = r"(?:(?:running|calling|executing|the command) )?"
_IT = r"(?:(?:it|this|that|the command|the program|the script) )"

_ASKED = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"{_C}{_ADVERB} {_SHOULD_PRINT} {_V}{_END}",
        rf"\b(?:make|have|get|let|want|need|expect|like) {_C} (?:to )?{_VERB}:? {_V}{_END}",
        rf"\b(?:output|result) of {_RUN}{_C} {_MODAL} (?:then )?be:? {_V}{_END}",
        rf"\b{_SO} {_RUN}{_C}{_ADVERB} {_PRINTS}:? {_V}{_END}",
        rf"{_C} {_PRINTS} {_V}(?=,? {_SURE})",
    )
)
_INSTEAD = re.compile(
    rf"{_C} {_PRINTS} (?:«[ocb]\d+»|[-+\w.]+)(?: now)? instead of {_V}{_END}", re.IGNORECASE
)
"""What is printed now, and then what should be."""
_OF_LAST = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"(?:^|[,;:–—-] ?|\b(?:but|and|yet) ){_IT}{_SHOULD_PRINT} {_V}{_END}",
        rf"(?:[,;] ?|\b(?:but|and|yet) ){_SHOULD_PRINT} {_V}{_END}",
        rf"^(?:the )?(?:expected|correct|right) (?:output|result)(?: is:?|:) ?{_V}{_END}",
    )
)
"""Of the command that was last named."""
_PLAIN = re.compile(rf"{_C}(?: {_PRINTS}:? | ?(?:->|→|=>|⇒) ?){_V}{_END}", re.IGNORECASE)
"""An example, in a task to write something that says nothing of before."""

_BEFORE = re.compile(
    r"\b(?:fix\w*|repair\w*|bugs?|wrong\w*|but|errors?|fail\w*|broken|breaks?|instead|crash\w*"
    r"|current\w*|now|today|at the moment|still|so far|was|were|used to|problems?|issues?"
    r"|incorrect\w*|unexpected\w*|although|though|however)\b",
    re.IGNORECASE,
)
_WRITES = re.compile(
    r"\W*(?:please )?(?:write|create|add|implement|build|extend|support|develop)\b", re.IGNORECASE
)
_CONDITION = re.compile(
    r"\b(?:if|unless|when|whenever|without|once|before|after|suppose|assum\w+|given|except|until"
    r"|(?:for|with|on) (?:an?|each|every|any|no))\b"
    r"(?! (?:(?:it|that|this|you|the|your|all|is|are) )*"
    r"(?:done|finished|fixed|works?|change|changes|fix|«c))",
    re.IGNORECASE,
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
_CHANGES_NOTHING = re.compile(
    r"\b(?:do not|don['’]?t|without) (?:run|runn?ing|execut\w+|chang\w+|edit\w*|modify\w*|touch\w*"
    r"|fix\w*) (?:it|anything|any(?: (?:code|files?|commands?))?|the (?:code|program|script)|them"
    r"|«c\d+»)",
    re.IGNORECASE,
)
_POLITE = re.compile(r"(?:\w+,? )?(?:can|could|would|will) you\b", re.IGNORECASE)
_NOT_BEFORE = re.compile(r"\b(?:not|never|n['’]t|avoid|stop)\W+(?:\w+\W+){0,2}$", re.IGNORECASE)


def stated_outputs(task: str, start: Path) -> list[StatedOutput]:
    """The commands whose outputs a task states, with these; empty where any of it is doubtful.

    `start` is where commands run.
    """
    text, literals = _marked(clip_middle(task, _MOST_READ), start)
    if "«c" not in text or _ABOUT_DOCUMENTS.search(text) or _CHANGES_NOTHING.search(text):
        return []
    sentences = [part for part in re.split(r"(?<=[.!?])\s+|\n+", text) if part.strip()]
    if any(s.rstrip(")\"'* ").endswith(("?", "？")) and not _POLITE.match(s) for s in sentences):
        return []
    examples = any(map(_WRITES.match, sentences)) and not _BEFORE.search(text)
    pairs = sorted(_pairs(sentences, examples=examples), key=lambda pair: int(pair[0]))
    found = [
        StatedOutput(literals[f"«c{command}»"], literals.get(value, value), sure)
        for command, value, sure in pairs
    ]
    return _agreeing([item for item in dict.fromkeys(found) if _is_definite(item.output)])


def _marked(task: str, start: Path) -> tuple[str, dict[str, str]]:
    """The text with marks in place of literals, and the literal for each mark."""
    literals: dict[str, str] = {}

    def mark(match: re.Match[str]) -> str:
        if match["block"] is not None:
            kind, content = "b", match["block"].strip("\n")
        elif match["code"] is not None:
            content = match["code"].strip() if match["ticks"] == "``" else match["code"]
            kind = "c" if is_plain_run(content, start) else "o"
        else:
            kind, content = "o", match["double"] or match["curly"] or match["single"]
        name = f"«{kind}{len(literals)}»"
        literals[name] = content
        return name

    text = re.sub(r"[«»]", '"', task.replace("\r\n", "\n"))
    text = _LITERAL.sub(mark, text)
    text = re.sub(r"(«b\d+»)[^\S\n]*", r"\1\n", _LEADS_TO_BLOCK.sub(r"\1 ", text))
    text = _QUOTED_LINES.sub("", text)
    text = re.sub(r"^[ \t]*(?:[*•-]|\d+[.)])[ \t]+", "", text, flags=re.MULTILINE)
    return re.sub(r"[ \t]+", " ", re.sub(r"\*\*|__", "", text)), literals


def _pairs(sentences: list[str], *, examples: bool) -> Iterator[tuple[str, str, bool]]:
    """Commands and values, as marks, and whether each is sure to be what should be printed.
    `examples`: a plain statement counts too."""
    last: str | None = None
    for sentence in (sentence.strip() for sentence in sentences):
        if _OTHER_MATTER.search(sentence):
            last = _last_command(sentence, len(sentence)) or None
            continue
        taken: set[str] = set()
        for pattern in (*_ASKED, _INSTEAD):
            for match in pattern.finditer(sentence):
                before = sentence[: match.start()]
                hoped = pattern is _INSTEAD and re.search(rf"\b{_SO}|\bso\b", sentence)
                if hoped or _CONDITION.search(before) or _NOT_BEFORE.search(before):
                    continue
                taken.add(match["command"])
                yield match["command"], match["value"], True
        for pattern in _OF_LAST:
            for match in pattern.finditer(sentence):
                named = _last_command(sentence, match.start())
                command = last if named is None else named
                if command and not _CONDITION.search(sentence[: match.start()]):
                    yield command, match["value"], True
        for match in _PLAIN.finditer(sentence) if examples else ():
            if match["command"] not in taken and not _CONDITION.search(sentence[: match.start()]):
                yield match["command"], match["value"], False
        last = _last_command(sentence, len(sentence))


def _last_command(sentence: str, end: int) -> str | None:
    """The number of the command that "it" stands for after a sentence up to `end`; None where it
    names none, empty where it could be one of several."""
    marks = list(re.finditer(r"«c(\d+)»", sentence[:end]))
    if len(marks) > 1:
        between = sentence[marks[-2].end() : marks[-1].start()]
        if not re.search(r"\b(?:but|while|whereas|however|yet)\b|;", between):
            return ""
    return marks[-1][1] if marks else None


def _is_definite(output: str) -> bool:
    return bool(output.strip()) and len(output) <= _LONGEST and not _OPEN_ENDED.search(output)


def _agreeing(found: list[StatedOutput]) -> list[StatedOutput]:
    """The statements, unless a command has two outputs."""
    outputs: dict[str, str] = {}
    for item in sorted(found, key=lambda item: not item.sure):
        if not same_text(outputs.setdefault(item.command, item.output), item.output):
            if not item.sure:
                continue
            return []
    kept = [item for item in found if same_text(outputs[item.command], item.output)]
    unique = list({item.command: item for item in kept}.values())
    return unique if len(unique) <= MOST else []
