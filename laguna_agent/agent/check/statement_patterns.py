"""How tasks say what a command prints or a call gives, and on what condition, as patterns for
marked sentences (see `task_marks`)."""

from __future__ import annotations

import re
from typing import NamedTuple

SURE = r"(?:as (?:it should|it must|expected|required|before)|correctly|which is (?:right|correct))"
SO = r"(?:so that|such that|until|till|(?:make|be) sure(?: that)?|ensure(?: that)?)"
EXITS = re.compile(
    r"(?: instead)?,? ?and (?:then )?exits? with (?:(?:exit )?(?:code|status) )?(\d+)(?: instead)?"
    r"(?=\)?(?:[.;!]|$))",
    re.IGNORECASE,
)
"""What may follow a statement: the status."""

_IF = re.compile(
    r"\b(?:if|unless|when|whenever|without|once|before|after|suppose|assum\w+|given|except|until"
    r"|provided|as (?:long|soon) as|in case|(?:for|with|on) (?:an?|each|every|any|no))\b"
    r"(?! (?:(?:it|that|this|you|the|your|all|is|are) )*"
    r"(?:done|finished|fixed|works?|change|changes|fix|«c))",
    re.IGNORECASE,
)
_FILE = r"(?:«o\d+»|[\w./-]*\w\.[A-Za-z]\w*\b)"
_IN_ALL_CASES = (
    rf"in (?:the )?(?:(?:file|module|program|script|function) )?{_FILE}"
    r"|in (?:the )?(?:file|module|program|script|function) \w+"
    r"|in (?:this|the|my|our) (?:repo\w*|project|code|program|script|module|file|library)\b"
    r"|in (?:other words|short|particular|addition|fact|all cases|the end)\b"
    r"|for (?:example|instance)\b|as an example\b|at (?:the moment|present)\b|from now on\b"
    r"|(?:in|on|for|from|with) «[cfx]\d+»"
    r"|with (?:this|that|the|your) (?:change|fix|repair|correction)s?\b"
)
_UNDER = re.compile(
    r"(?:^|[,;:(] ?| [–—-] |\b(?:that|so|and|but|because|only|even|also|then|make|let|have|want"
    rf"|expect) )(?:please |only |even )*(?!{_IN_ALL_CASES})"
    r"(?:in|on|under|with|from|for|at|during|inside|outside|within|through|via|using|per|upon"
    r"|where|as an?|(?<!, )while|called|started|invoked|executed|used) ",
    re.IGNORECASE,
)
"""A clause that begins with where, when or for whom it holds: "In debug mode f(1) should ..."."""
_STATES = (
    r"(?:modes?|settings?|enabled|disabled|environments?|locales?|platforms?|users?|python ?\d"
    r"|(?-i:Windows|Linux|[Mm]ac ?OS))"
)
_IN_STATE = re.compile(
    rf"\b(?:in|on|under|with|from|for|at|by) [^,;:.]{{0,40}}\b{_STATES}(?!\.?\w)"
    r"|\b(?:in|on|under|with|from|for|at|by|during) (?:which|whom)\b|\bwhere «"
    r"|\b(?:first|second|third|next|later|last|subsequent|repeated) (?:\w+ )?"
    r"(?:calls?|times?|runs?)\b",
    re.IGNORECASE,
)
_NEW_STATE = re.compile(
    r"\b(?:add|introduce|implement|support|offer|create|for|with|by|under|in|on) (?:\S+ ){0,3}"
    r"(?:modes?|flags?|options?|switch|settings?)\b",
    re.IGNORECASE,
)
"""What a call may need besides its arguments. A command has it among them."""


def is_conditional(before: str, kind: str) -> bool:
    """Whether what a sentence says before a subject of this kind, «c» or «f», limits what it says
    of it."""
    return any(pattern.search(before) for pattern in (_IF, _UNDER, _IN_STATE)) or (
        kind == "f" and _NEW_STATE.search(before) is not None
    )


def heads_condition(sentence: str) -> bool:
    """Whether a line above others limits what they say: "In debug mode:"."""
    starts = _UNDER.match(sentence) or re.match(r"(?:if|unless|when)\b", sentence, re.IGNORECASE)
    return sentence.endswith(":") and bool(starts)


_EXACTLY = r"(?:(?:exactly|just|only|the (?:text|number|line|value|word|string|result|list)):? )*"
_NUMBER = r"[-+]?\d+(?:\.\d+)?(?![\w%/:-]|[.,]\d)"
_OUTPUT = rf"{_EXACTLY}(?P<value>«[ocbqfx]\d+»|{_NUMBER})"
_RESULT = rf"{_EXACTLY}(?P<value>«[oqbv]\d+»|(?-i:True|False|None)\b|{_NUMBER})"
_OTHER = r"(?:«\w+»|[-+\w.]+)"
_CONTRAST = r"(?:instead|but|not|rather than|yet|while|whereas|because|since|again|too|as well)\b"
_STREAM = (
    r"(?: (?:to|on) (?:stdout|(?:the )?standard output|the (?:terminal|console|screen)"
    r"|(?P<errors>stderr|(?:the )?standard error)))?"
)
_NEXT = r"«[cf]\d+» (?:should|must|print|output|give|return|yield|fail|crash|raise)"
_MORE = rf",? ?and (?:(?:also|then) )?(?:{_NEXT}|exit|not )"
_NOW = r"(?:(?:it|and) (?:gives|returns|prints)|currently|now|got)\b"
_END = (
    rf"{_STREAM}(?=\)?(?:[.;!:]*$|[.;!:)] |,? ?(?:[–—-] )?{_CONTRAST}|,? {SURE}|{_MORE}"
    rf"|[,;] (?:{_NEXT}|{_NOW})| \((?:not|instead|it|now|currently)\b))"
)
_ADVERB = r"(?: (?:then|now|also|still|just|always|again|simply|instead|correctly))*"
_MODAL = (
    r"(?:should|must|shall|ought to|has to|have to|needs? to"
    r"|(?:is|was|are) (?:supposed|expected|meant) to)"
)
_WANT = r"(?:make|have|get|let|want|need|expect|like)"
_RUN = r"(?:(?:running|calling|executing|the (?:command|call)) )?"


class Patterns(NamedTuple):
    """The ways to state what comes of a command, or of a call."""

    asked: tuple[re.Pattern[str], ...]
    instead: re.Pattern[str]
    """What comes of it now, and then what should."""
    of_last: tuple[re.Pattern[str], ...]
    """Of the one that was last named."""
    plain: re.Pattern[str]
    """An example, in a task to write something that says nothing of before."""


class _Words(NamedTuple):
    subject: str
    verb: str
    gives: str
    it: str
    value: str

    @property
    def should(self) -> str:
        return rf"{_MODAL}{_ADVERB} (?:have )?{self.verb}{_ADVERB}:?"


def _compiled(*patterns: str) -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(pattern, re.IGNORECASE) for pattern in patterns)


def _patterns(words: _Words) -> Patterns:
    subject, verb, gives, it, value = words
    should = words.should
    return Patterns(
        asked=_compiled(
            rf"{subject}{_ADVERB} {should} {value}{_END}",
            rf"\b{_WANT} {subject} (?:to )?{verb}:? {value}{_END}",
            rf"\b(?:output|result|value) of {_RUN}{subject} {_MODAL} (?:then )?be:? {value}{_END}",
            rf"\b{SO} {_RUN}{subject}{_ADVERB} {gives}:? {value}{_END}",
            rf"{subject} {gives} {value}(?=,? {SURE})",
        ),
        instead=re.compile(
            rf"{subject} (?:{gives} {_OTHER}(?: now)?|(?:raises|throws) (?:an? )?{_OTHER})"
            rf" instead of (?:(?:print|return|giv|yield)ing )?{value}{_END}",
            re.IGNORECASE,
        ),
        of_last=_compiled(
            rf"(?:^|[,;:–—-] ?|\b(?:but|and|yet) ){it}{should} {value}{_END}",
            rf"(?:[,;] ?|\b(?:but|and|yet) ){should} {value}{_END}",
            rf"^(?:the )?(?:expected|correct|right) (?:output|result)(?: is:?|:) ?{value}{_END}",
        ),
        plain=re.compile(
            rf"{subject}(?: {gives}:? | ?(?:->|→|=>|⇒) ?){value}{_END}", re.IGNORECASE
        ),
    )


_PRINT = r"(?:print|output|give|echo)"
_COMMANDS = _Words(
    subject=r"«c(?P<subject>\d+)»",
    verb=rf"{_PRINT}(?:ed)?",
    gives=rf"{_PRINT}s",
    it=r"(?:(?:it|this|that|the command|the program|the script) )",
    value=_OUTPUT,
)
_CALLS = _Words(
    subject=r"«f(?P<subject>\d+)»",
    verb=r"(?:give|given|return(?:ed)?|yield(?:ed)?|equal|be(?: equal to)?|been|evaluate to)",
    gives=r"(?:gives|returns|yields|equals|is|evaluates to|==)",
    it=r"(?:(?:it|this|that|the call|the function|the result) )",
    value=_RESULT,
)
_DESCRIPTION = (
    r"(?:the|an?|its|all|only)(?![^:]*\b(?:if|unless|not?|never|other|except|same|like|as|than|either"
    r"|errors?|or|any|examples?|messages?|when(?! \w+ed\b))\b) [^.;:()«»\d]{1,90}: "
)
_LET_IT = rf"^(?:please )?(?:let|make|have) {_COMMANDS.it}{_PRINT} {_OUTPUT}{_STREAM}(?= instead\b)"

OF_COMMANDS = _patterns(_COMMANDS)
"""What commands print."""
OF_COMMANDS = OF_COMMANDS._replace(of_last=OF_COMMANDS.of_last + _compiled(_LET_IT))
OF_CALLS = _patterns(_CALLS)
"""What calls give."""
OF_CALLS = OF_CALLS._replace(
    asked=OF_CALLS.asked
    + _compiled(
        rf"{_CALLS.subject}{_ADVERB} {_CALLS.should} {_DESCRIPTION}{_RESULT}{_END}",
        rf"{_CALLS.subject} == {_RESULT} {_MODAL}{_ADVERB} (?:hold|be true)\b(?=[.;!]|$)",
    )
)
