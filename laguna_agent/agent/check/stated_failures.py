"""Finds commands that crash by what a task says, and that it asks to repair.

"`python3 report.py data.csv` crashes. Fix it." Such a command is to exit with 0. Where the task
speaks of errors, messages or statuses besides, it may be right that the command fails, and nothing
is found.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from laguna_agent.agent.check.statement_patterns import is_conditional
from laguna_agent.tools.stated_output import StatedOutput

_C = r"«c(?P<command>\d+)»"
_FILE = r"(?:«o\d+»|[\w./-]+\.[A-Za-z]\w*)"
_WHAT = (
    r"(?:an? |the )?(?:(?:unhandled|uncaught|long|strange|unexpected|python) )*"
    r"(?:«[oqx]\d+»|[\w.]*(?:Error|Exception)|traceback|stack ?trace|exception|panic|segfault"
    r"|segmentation fault)"
)
_WITH = rf"(?: (?:with|in|by raising) {_WHAT})"
_FIX = r"(?:fix|repair|debug|solve|resolve|correct)"
_WORK = (
    r"(?:print|list|show|write|work|run|succeed|read|skip|accept|count)"
    r"(?! (?:an? |the )?(?:error|message|usage|warning))"
)
_CRASHES = re.compile(
    rf"{_C}(?: (?:now|still|always|currently|just|simply|then))*"
    rf" (?:(?:crashes|fails|dies|aborts|breaks){_WITH}?|(?:ends|exits|stops|terminates){_WITH}"
    rf"|(?:raises|throws|gives|prints|shows) (?!«){_WHAT})"
    rf"(?: (?:on|for|with) (?:the )?(?:file )?{_FILE})?"
    rf"(?=\)?(?:[.;!:]*$|[.;!)] |,? (?:and|so|please) (?:please )?{_FIX}|,? ?(?:[–—-] )?(?:because"
    rf"|since|again|now|here|too|at once|immediately|in {_FILE}|which is|{_FIX} )|, «c"
    rf"|,? but (?:it )?should {_WORK}|,? (?:but|while|and) «c))",
    re.IGNORECASE,
)
_IS_RIGHT = re.compile(
    r"\b(?:as it (?:should|must)|as (?:expected|intended|designed|before)|rightly|correctly"
    r"|expected|on purpose|deliberate\w*|intend\w*|intentional\w*|by design"
    r"|(?:that|which|this) is (?:right|correct|fine|ok(?:ay)?|good|known|wanted))\b",
    re.IGNORECASE,
)
_IT = rf"(?:it|this|that|them|«[cofx]\d+»|{_FILE}|the (?:program|script|code|command))"
_ASKS = re.compile(
    rf"(?:^|[,;:–—-] ?|\b(?:and|please|then|to|so|you) )(?:please )?{_FIX}"
    rf"(?: {_IT}|(?: the| this| that)? (?:bug|crash|error|problem|failure|issue|cause)"
    rf"(?: (?:in|of) {_IT})?)?(?=$|[,;.!:)]|,? (?:and|so|in)\b)"
    rf"|^(?:please )?(?:make|get|let|have) {_IT} (?:to )?{_WORK}\b"
    rf"|\bshould {_WORK}\b",
    re.IGNORECASE,
)
_MAY_FAIL = re.compile(
    r"\b(?:errors?|messages?|exit\w*|status\w*|codes? \d|stderr|refus\w+|reject\w*|rais\w+|throw\w*"
    r"|warn\w*|usage|complain\w*|invalid|abort\w*|non-?zero|fail(?:ure|ed|ing)?|gracefully"
    r"|cleanly|handl\w+|catch\w*|missing|unknown|not (?:exist|found|there)|no such"
    r"|without (?:an?y? )?(?:\w+ )?arg\w*|(?:no|few\w*|many|empty|more) (?:\w+ )?arg\w*"
    r"|(?:no|nothing|without) (?:\w+ ){0,2}(?:given|passed|supplied|specified)"
    r"|ignore (?:it|that)|never mind|later|known|leave (?:it|that|this)|separate\w*|unrelated"
    r"|anyway)\b",
    re.IGNORECASE,
)
"""What a task may say where it is right that a command fails, or where that is not its matter."""
_TRACE = re.compile(r"Traceback \(|[\w.]*(?:Error|Exception)(?::|$)")
"""The lines of a traceback that no one indented."""
_NEGATED = re.compile(
    r"\b(?:not|never|n['’]t|without|no|should|must|until|that|sure|ensure)\W+(?:\w+\W+){0,2}$",
    re.IGNORECASE,
)
_NOT = re.compile(r"\b(?:not|never|n['’]t|without),? (?:\w+ ){0,2}$", re.IGNORECASE)
_CONDITION = re.compile(
    r"\b(?:if|unless|when(?:ever)?|without|once|before|after|suppose|assum\w+|except|sometimes)\b",
    re.IGNORECASE,
)
_TEST = re.compile(r"(?<![a-z])tests?(?![a-z])|(?<![a-z])spec", re.IGNORECASE)
_RUNS_ON = re.compile(
    r"serve_forever|\.listen\(|\bapp\.run\(|mainloop\(|createServer|http\.server|uvicorn"
    r"|start_server|setInterval|\binput\(|readline\.createInterface"
)
"""In programs that wait for something, and do not end."""
_READS_ARGUMENTS = re.compile(
    r"argv|\bargparse\b|\boptparse\b|\bgetopt|\b(?:click|typer|docopt|fire|yargs|commander)\b"
    r"|parseArgs|\bARGV\b|os\.Args|(?:Deno|Bun)\.args|commandArgs|\$[@*1-9]|\$\{[@*1-9]|\$argc"
)
"""In programs that read the arguments of their command."""
_IMPORTED = re.compile(r"^\s*(?:from\s+(\.*[\w.]+)|import\s+([\w.]+))", re.MULTILINE)
_MOST_READ = 100_000
_NEAR = 80
"""Characters before an ask in which it may be negated."""


def stated_failures(
    sentences: Sequence[str], literals: dict[str, str], start: Path
) -> list[StatedOutput]:
    """The commands that should no longer fail. `sentences` are those of the task, with marks for
    `literals`."""
    told = [sentence for sentence in sentences if not _TRACE.match(sentence)]
    crashes = [
        match
        for sentence in told
        if not _CONDITION.search(sentence)
        for match in _CRASHES.finditer(sentence)
        if not _NEGATED.search(sentence[: match.start()][-_NEAR:])
        and not is_conditional(sentence[: match.start()], "c")
    ]
    is_asked = any(
        not _NOT.search(sentence[: match.start()][-_NEAR:])
        for sentence in told
        for match in _ASKS.finditer(sentence)
    )
    rest = "\n".join(_ASKS.sub("", _CRASHES.sub("", sentence)) for sentence in told)
    if not crashes or not is_asked or _MAY_FAIL.search(rest) or any(map(_IS_RIGHT.search, told)):
        return []
    commands = dict.fromkeys(literals[f"«c{match['command']}»"] for match in crashes)
    return [
        StatedOutput(command, None, sure=False, status=0)
        for command in commands
        if _should_end(command, start)
    ]


def _should_end(command: str, start: Path) -> bool:
    """Whether a command runs no tests, its files are there, and it does not wait for something."""
    if _TEST.search(command):
        return False
    try:
        words = shlex.split(command)
    except ValueError:
        return False
    files = [start / word for word in words if re.fullmatch(r"[\w./-]+\.[A-Za-z]\w*", word)]
    if not all(file.is_file() for file in files):
        return False
    if any(_RUNS_ON.search(_head(file)) for file in files):
        return False
    return not any(_reads_arguments(program, start) for program in _bare_programs(words, start))


def _bare_programs(words: Sequence[str], start: Path) -> list[Path]:
    """The programs of a command that get no arguments."""
    found = []
    for place, word in enumerate(words):
        file = start / word
        if place and words[place - 1] == "-m":
            module = start / word.replace(".", "/")
            file = module / "__main__.py" if module.is_dir() else module.with_suffix(".py")
        is_last = place + 1 == len(words) or re.match(r"[|&;<>]", words[place + 1])
        if is_last and file.is_file():
            found.append(file)
    return found


def _reads_arguments(program: Path, start: Path) -> bool:
    """Whether a program, or a module beside it that it imports, reads the command's arguments."""
    text = _head(program)
    names = {(one or other).lstrip(".") for one, other in _IMPORTED.findall(text)}
    modules = [
        (folder / name.replace(".", "/")).with_suffix(".py")
        for name in names
        if name
        for folder in (program.parent, start)
    ]
    texts = [text, *(_head(module) for module in modules if module.is_file())]
    return any(map(_READS_ARGUMENTS.search, texts))


def _head(file: Path) -> str:
    try:
        with file.open(encoding="utf-8", errors="replace") as stream:
            return stream.read(_MOST_READ)
    except OSError:
        return ""
