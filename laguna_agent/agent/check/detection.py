"""Finds the check of a task: the command whose success means that the task is done.

Only words that plainly ask for a command or a test file to pass name a check: "until `pytest -q`
passes", "make `npm test` pass", "`make lint` must succeed", "fix the failing test in test_a.py", or
a line "Check: make test". A question names none, and neither does what is pasted or quoted. In
doubt there is none, and the person is told.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from laguna_agent.clip import clip_middle

_RUNNERS = (
    r"(?:(?:python3?|uv run|poetry run) -m |uv run |poetry run )?(?:pytest|unittest)\b",
    r"python3? \S*test\S*\.py\b",
    r"make (?:test|check|lint|build)(?:[-:]\w+)*(?![\w-])",
    r"(?:npm|pnpm|yarn|bun) (?:run )?(?:test|lint|build|check|typecheck)(?:[-:]\w+)*(?![\w-])",
    r"npx (?:jest|vitest|mocha|tsc)\b",
    r"node --test\b",
    r"cargo (?:test|check|clippy|build)\b",
    r"go (?:test|vet|build)\b",
    r"(?:mvn|gradle|\./gradlew) \S*test\b",
    r"(?:bundle exec )?(?:rspec|rake test)\b",
    r"(?:mix|dotnet|swift|deno) test\b",
    r"(?:mypy|pyright|flake8|eslint|tsc|ctest|tox|nox|ruff check)\b",
    r"(?:bash|sh) \S*(?:test|check)[\w./-]*",
    r"\./\S*(?:test|check)[\w./-]*",
)
_VARIABLES = r"(?:[A-Z][A-Z0-9_]*=\S* )*"
_RUNNER = re.compile(rf"{_VARIABLES}(?:{'|'.join(_RUNNERS)})")
_IN_PROSE = re.compile(
    rf"(?<![\w./@«-]){_RUNNER.pattern}(?: (?:-[\w=./-]+"
    r"|[\w.*-]*/[\w./:*-]*|[\w:*-]*test[\w.:*-]*|[\w-]+\.\w[\w:-]*|\.(?= )))*"
)
_PROGRAM = re.compile(rf"{_VARIABLES}(?:[a-z][\w.+-]* +[^\s=(].*|\.{{0,2}}/[\w./+-]+.*)")
_CODE = re.compile(
    r"(?:def|class|import|from|return|if|for|while|let|const|var|func|fn|function|async|await|type"
    r"|struct|enum|select|public|private|static|new|raise|throw|int|void|the|an?|all|each)\b"
)
_TEST_FILE = re.compile(r"@?((?:[\w.-]+/)*(?:[\w-]*test[\w-]*|[\w-]+_spec)\.py)(?:::[\w:\[\]-]+)?")
_LABEL = re.compile(r"(?:check|verify|test with)\s*:\s*(\S.*)", re.IGNORECASE)
_PASTED = re.compile(
    r"^[ \t]*(`{3,}|~{3,})[^\n]*\n.*?(?:^[ \t]*\1[`~]*[ \t]*$|\Z)"  # a fence
    r"|^(?: {4,}|\t| {0,3}>)[^\n]*$"  # indented, quoted
    r"|\n\nI ran `[^\n]*` \([^\n]*\):\n.*",  # the output of the person's own `!` commands
    re.MULTILINE | re.DOTALL,
)
_LONG_WORD = re.compile(r"(?<!\S)\S{400,}")  # no command; the patterns are slow on it
_MOST_READ = 50_000
"""Characters of a task that are looked at."""

# In a sentence, «c0» stands for a test runner, «p1» for another program, «t2» for a test file.
_TESTS = r"(?:(?:the|all|every|both) )*(?:tests? (?:in|of|from) )?"
_IT = rf"{_TESTS}«[cpt]\d+»(?:(?:,| and|, and) (?:also )?{_TESTS}«[cpt]\d+»)*"
_STILL = r"(?:(?:still|all|both|again|always|now|then|finally) )*"
_SUCCEED = r"(?:pass|succeed|(?:be |go |turn )?(?:green|clean)|exit (?:with )?(?:0|zero))\b"
_SUCCEEDS = (
    rf"(?:{_SUCCEED}|(?:passes|succeeds|passing|exits? (?:with )?(?:code |status )?(?:0|zero)"
    r"|(?:is|are|goes|go|turns|runs|run|comes back) (?:green|clean|passing))\b)"
)
_FIX = r"(?:fix|repair|resolve|solve|correct|debug)"
_FEW = r"(?:(?:[\w'’-]+|«») ){0,4}"
_AND = r"(?:^|[,;–—-] ?|\b(?:and|but|also|then|afterwards) )"
_DO = rf"(?:{_AND}|: ?|\b(?:please|now|just|finally|to|must|should) )(?<!(?:how|hat|ere) to )"
_UNTIL = r"(?:until|till|so that|such that|so|(?:done|finished) (?:when|once))"
_MAKE = r"(?:make|get|keep|make sure|ensure)(?: that)?"
_ALL = r"(?:\w+ ){0,2}(?:tests?|suite|build|lint|everything)"
_WITH = r"[:,]? ?\(?(?:with |using |via |by running |run )?"
_BUT = r"(?!,? (?:but|yet|though|because))"
_ASKS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"(?<!wait )\b{_UNTIL} {_IT} {_STILL}{_SUCCEEDS}",
        rf"(?:\b{_UNTIL}|{_DO}{_MAKE}) {_ALL} (?:to )?{_STILL}{_SUCCEEDS}{_WITH}«c\d+»",
        rf"{_DO}(?:run|rerun) «c\d+» until (?:it|they|everything|all tests?) {_SUCCEEDS}",
        rf"{_DO}(?:make|get|have|keep) {_IT} (?:to )?{_STILL}(?:{_SUCCEED}|passing)",
        rf"{_DO}(?:make sure|ensure|be sure|see to it) (?:that )?{_IT} {_STILL}{_SUCCEEDS}",
        rf"{_AND}{_IT} (?:must|should|(?:has|have|needs?) to) {_STILL}{_SUCCEED}{_BUT}",
        rf"{_DO}{_FIX} {_FEW}(?:failing|broken|failed|red) {_FEW}tests? {_FEW}«[ct]\d+»",
        rf"{_DO}{_FIX} {_FEW}(?:failure|error|warning|problem|issue|finding)s? {_FEW}«c\d+»",
        rf"{_DO}{_FIX} (?:the )?«c\d+»(?: (?:errors?|failures?))?(?=$|[,;.!]| and )",
        rf"{_DO}run (?:the )?(?:tests? in )?«[ct]\d+»,? (?:and|then) (?:then )?{_FIX}\b",
    )
)
_FAILS = re.compile(
    rf"«[ct]\d+» {_FEW}(?:fails?|failed|(?:is|are) {_FEW}(?:failing|broken|red)"
    r"|(?:does|do|is|are)(?: not|n['’]t) pass(?:ing)?)\b"
)
_FIX_IT = re.compile(
    rf"{_DO}(?:(?:find [^«»]*\band )?{_FIX}|(?:make|get) (?:it|them) (?:to )?{_SUCCEED})\b",
    re.IGNORECASE,
)
_POLITE = re.compile(r"(?:\w+,? )?(?:can|could|would|will) you\b", re.IGNORECASE)
_WORDS = re.compile(
    # a question
    r"(?:(?:so|and|but|ok|okay|hi|hello|hey),? )*(?:what|why|how|when|where|which|who|whose|does"
    r"|do(?! not\b)|did|is|are|was|were|am|has|can|could|would|will|should|shall|may|might)\b"
    # a request for words
    r"|(?:(?:please|also|just|then|first|now|only) )*(?:explain|describe|tell|show|say|summari[sz]e"
    r"|list|discuss|clarify|compare|review|translate|suppose|assume|if|once|when|wait)\b"
    # a report
    r"|(?:i|we|you|they|he|she|it|this|that|someone)\b"
    r"(?! (?:\w+ )?(?:want|need|must|should|have to|done|finished)\b| would like\b)",
    re.IGNORECASE,
)
"""Sentences that ask for words, or for nothing."""
_NO_ASK = re.compile(
    rf"{_WORDS.pattern}"
    # about what a text says
    r"|(?:write|add|document|note|mention|put|remind)\b[^«]* (?:that|saying|says|how|why)\b",
    re.IGNORECASE,
)
"""Sentences whose commands are not asked for."""
_NOT = r"\b(?:do not|don['’]?t|never|no need to|without|instead of|rather than|not)"
_NEGATED = re.compile(
    rf"{_NOT} (?:\w+ ){{0,2}}(?:mak|gett?|fix|repair|care|need|wait|commit|push|merg|try)\w*"
    r"|\b(?:must|should|need|does|do)(?: not|n['’]t) (?:need to |have to )?(?:pass|succeed)",
    re.IGNORECASE,
)
_NOT_TO_RUN = re.compile(
    rf"{_NOT} (?:\w+ )?(?:run|running|execute|executing|start)"
    r"(?: (?:«\w+»|it|them|this|that|anything|(?:any )?commands?"
    r"|(?:the )?(?:code|tests?|check|suite))\b|[\s.,;!]*$|[.,;!])",
    re.IGNORECASE | re.MULTILINE,
)
_LIKE_AN_ASK = re.compile(
    rf"\b(?:{_FIX}|make|get|ensure|verify|pass(?:es)?|green|fail(?:s|ing)?)\b", re.IGNORECASE
)
_ABOUT_TESTS = re.compile(
    r"\b(?:write|add|extend|update|create|improve|rewrite|change|correct|delete|remove)\b"
    r"[^.\n]{0,40}\btests?\b"
    r"|\b(?:conftest|pytest\.ini|tox\.ini|addopts|testpaths|(?:jest|vitest|karma|mocha)\.?(?:config|rc)"
    r"|test (?:runner|config\w*|settings?|set-?up))\b",
    re.IGNORECASE,
)


_WRITE_TESTS = re.compile(
    r"(?:^\W*|[.;!]\s+)(?:please\s+|can you\s+|could you\s+)?"
    r"(?:write|add|create|extend|improve)\b[^.\n]{0,40}(?:\btests?\b|\btest_\w+\.py\b)",
    re.IGNORECASE,
)
_ALSO = re.compile(
    r"\b(?:fail\w*|bugs?|broken|wrong|regressions?|shows?|reproduc\w*|issues?|first|before|until|"
    r"implement\w*|chang(?:e|es|ing)|refactor\w*|renam\w*|remov\w*|fix\w*"
    r"|must|shall|raises?|according|spec\w*|report\w*|deviat\w*|differ\w*|expect\w*"
    r"|should(?!\s+(?:also\s+)?(?:check|cover|test|verify|include|use)\b))\b"
    r"|\band (?:then |also )?(?:add|create|make|write|update|let)\b(?![^.\n]{0,40}\btests?\b)",
    re.IGNORECASE,
)
"""Words of tasks in which tests are not all, or are to fail."""
_LEFT_ALONE = re.compile(
    r"\b(?:don['’]t|do not|without|never)\s+(?:chang|edit|touch|modify|fix)\w*", re.IGNORECASE
)


class NamedCheck(NamedTuple):
    """What a task says of its check."""

    command: str | None = None
    doubt: str | None = None
    """Without a check: a command that the person may have meant as one."""


def named_check(task: str, workspace: Path) -> NamedCheck:
    """The command that the task names as its check, or one that is too doubtful to be it."""
    typed = _typed(task)
    for line in typed.split("\n"):
        label = _LABEL.match(line.strip()) or _LABEL.match(re.split(r"[.;!?]\s", line)[-1].strip())
        if label and (command := _labelled(label[1].strip())):
            return NamedCheck(command)
    text, commands = _marked(typed, workspace)
    if not commands or _NOT_TO_RUN.search(text):
        return NamedCheck()
    stated = [sentence for sentence in _sentences(text) if not _is_question(sentence)]
    asks = [sentence for sentence in stated if not _NO_ASK.match(sentence)]
    asked: list[str] = []
    for sentence in asks:
        if not _NEGATED.search(sentence):
            asked += [m[0] for pattern in _ASKS if (m := pattern.search(sentence))]
    told = [m[0] for s in stated if (m := _FAILS.search(s))]
    if not asked and told and any(_FIX_IT.search(s) and not _NEGATED.search(s) for s in asks):
        asked = told
    names = dict.fromkeys(mark for ask in asked for mark in re.findall(r"«\w(\d+)»", ask))
    if names:
        return NamedCheck(" && ".join(dict.fromkeys(commands[int(name)] for name in names)))
    asks += [sentence for sentence in _sentences(text) if _POLITE.match(sentence)]
    doubtful = any(_LIKE_AN_ASK.search(sentence) for sentence in asks)
    return NamedCheck(doubt=commands[0] if doubtful else None)


def is_question(task: str) -> bool:
    """Whether a task only asks for words."""
    sentences = _sentences(_typed(task))
    return all(_is_question(sentence) or _WORDS.match(sentence) for sentence in sentences)


def _typed(task: str) -> str:
    """What a person wrote of a task, without what is pasted."""
    return _PASTED.sub("", _LONG_WORD.sub("…", clip_middle(task, _MOST_READ)))


def _sentences(text: str) -> list[str]:
    parts = (part.strip(" \t*•-") for part in re.split(r"(?<=[.!?])\s+|\n+", text))
    return [part for part in parts if part]


def _is_question(sentence: str) -> bool:
    return sentence.rstrip(")\"'* ").endswith(("?", "？"))


def _labelled(text: str) -> str | None:
    """The command after "Check:", unless it is prose."""
    quoted = re.fullmatch(r"`([^`]+)`\.?", text)
    if quoted:
        return quoted[1].strip() if _kind(quoted[1].strip()) else None
    begin = _RUNNER.match(text) or re.match(r"(?:\.|~)?/[\w./-]+\w(?=\s|$)", text)
    if begin is None:
        return None
    before = ""
    for word in text[begin.end() :].split():  # options and what follows them, paths, operators
        if not (word.startswith("-") or before.startswith("-") or re.search(r"[./:=*|&;>]", word)):
            return None
        before = word
    return text


def _kind(command: str) -> str:
    """Whether a text in back-ticks is a test runner (c), another program (p), or neither."""
    if _RUNNER.match(command):
        return "c"
    return "p" if _PROGRAM.fullmatch(command) and not _CODE.match(command) else ""


def _marked(text: str, workspace: Path) -> tuple[str, list[str]]:
    """The text with marks in place of commands and test files, and the command for each mark."""
    commands: list[str] = []

    def mark(kind: str, command: str) -> str:
        commands.append(command)
        return f"«{kind}{len(commands) - 1}»"

    def quoted(match: re.Match[str]) -> str:
        content = match[1].strip()
        if _TEST_FILE.fullmatch(content) and (command := test_file_command(workspace, content)):
            return mark("t", command)
        kind = _kind(content)
        return mark(kind, content) if kind else "«»"

    def prose(match: re.Match[str]) -> str:
        command = re.sub(r"(?<!\.)[.,:]$", "", match[0])
        return mark("c", command) + match[0][len(command) :]

    def file(match: re.Match[str]) -> str:
        command = test_file_command(workspace, match[0].removeprefix("@"))
        return mark("t", command) if command else match[0]

    text = re.sub(r"[«»]", '"', text)
    text = re.sub(r"`([^`\n]+)`", quoted, text)
    text = re.sub(r"[ \t]+", " ", text)
    return _TEST_FILE.sub(file, _IN_PROSE.sub(prose, text)), commands


def test_file_command(folder: Path, name: str) -> str | None:
    """The command that runs a test file below `folder`; `name` may name one test in it."""
    path = PurePosixPath(name.partition("::")[0])
    if path.is_absolute() or ".." in path.parts:
        return None
    try:
        if (folder / path).is_symlink() or not (folder / path).is_file():
            return None
        text = (folder / path).read_text(encoding="utf-8", errors="replace")
    except (OSError, ValueError):
        return None
    if re.search(r"^\s*(?:import|from) unittest\b", text, re.MULTILINE):
        return f"python3 -m unittest -q {path}"
    if "pytest" in text or re.search(r"^(?:async )?def test_", text, re.MULTILINE):
        return f"python3 -m pytest -q {name}"
    return None


def is_test_file(path: str) -> bool:
    """Whether a path is a test, by the conventions of common languages."""
    pure = PurePosixPath(path)
    name = pure.name.lower()
    if any(part.lower() in {"tests", "test", "__tests__", "spec"} for part in pure.parts[:-1]):
        return True
    stem = name.split(".")[0]
    return (
        stem.startswith("test_")
        or stem.endswith(("_test", "_spec"))
        or ".test." in name
        or ".spec." in name
        or name == "conftest.py"
    )


def tests_are_the_task(task: str) -> bool:
    """Whether the task asks to change tests, which are then not protected."""
    return bool(_ABOUT_TESTS.search(task))


def only_tests_are_asked_for(task: str) -> bool:
    """Whether a task asks for tests of code that is there and is right, and for nothing else."""
    return (
        tests_are_the_task(task)
        and _WRITE_TESTS.search(task) is not None
        and _ALSO.search(_LEFT_ALONE.sub("…", re.sub(r"`[^`\n]*`", "…", task))) is None
    )
