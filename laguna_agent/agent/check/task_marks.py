"""Puts marks in place of the commands, calls and literals in a task, so that patterns can match
the words around them.

«c0» stands for a command in back-ticks, «f1» for a call of a function with literal arguments, «x2»
for other code with a call, «o3» for another text in back-ticks, «q4» for one in quotes, «v5» for
a list or the like that stands bare, «b6» for a fenced block.
"""

from __future__ import annotations

import re
from pathlib import Path

from laguna_agent.agent.check.plain_runs import is_plain_run
from laguna_agent.tools.code.examples import end_of_call
from laguna_agent.tools.literals import literal

_LITERAL = re.compile(
    r"^[ \t]*(?P<fence>`{3,}|~{3,})[^\n`]*\n(?P<block>.*?)^[ \t]*(?P=fence)[`~]*[ \t]*$"
    r"|(?P<ticks>`{1,2})(?!`)(?P<code>[^\n]+?)(?<!`)(?P=ticks)(?!`)"
    r"|(?<![\w`])(?:\"(?P<double>[^\"\n]+)\"|“(?P<curly>[^”\n]+)”|'(?P<single>[^'\n]+)')(?!\w)"
    r"|(?P<call>(?<![\w.@$/\\-])[A-Za-z_]\w*\()"
    r"|(?P<bracket>(?<![\w)\]])[\[{(])",
    re.MULTILINE | re.DOTALL,
)
OPEN_ENDED = re.compile(r"\.\.\.|…|\\[nt]|<\w+>(?!.*</)|\{\w+\}")
"""Texts that may stand for others."""
_QUOTED_LINES = re.compile(
    r"^(?: {4,}|\t| {0,3}>)[^\n]*$|\n\nI ran `[^\n]*` \([^\n]*\):\n.*", re.MULTILINE | re.DOTALL
)
_LEADS_TO_BLOCK = re.compile(r"(\w[^\S\n]*:?)[^\S\n]*\n+[^\S\n]*(?=«b)")
_INNER = re.compile(
    r"'(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\"|(?P<open>[(\[{])|(?P<close>[)\]}])|\n|['\"]"
)
_LONGEST_CODE = 250
_GOES_ON = re.compile(r"[\[(]|\.\w")
_EQUATION = re.compile(r"\s*(==|->|→|=>|⇒)\s*(\S.*)")


def marked(task: str, start: Path) -> tuple[str, dict[str, str]]:
    """The text with marks in place of literals, and the literal for each mark. `start` is where
    commands run."""
    literals: dict[str, str] = {}

    def mark(kind: str, content: str) -> str:
        name = f"«{kind}{len(literals)}»"
        literals[name] = content
        return name

    def in_place(match: re.Match[str]) -> tuple[str, int]:
        """What takes the place of a literal, and where the literal ends."""
        if match["block"] is not None:
            return mark("b", match["block"].strip("\n")), match.end()
        if match["code"] is not None:
            content = match["code"].strip() if match["ticks"] == "``" else match["code"]
            if is_plain_run(content, start):
                return mark("c", content), match.end()
            end = end_of_code(content, 0)
            equation = _EQUATION.fullmatch(content, end or 0)
            if end and equation and is_call(content[:end]):
                marks = mark("f", content[:end]), mark("o", equation[2])
                return f"{marks[0]} {equation[1]} {marks[1]}", match.end()
            kind = "f" if end == len(content) and is_call(content) else "o"
            kind = "x" if kind == "o" and re.search(r"\w\(", content) else kind
            return mark(kind, content), match.end()
        if match["call"] or match["bracket"]:
            return bare(match)
        return mark("q", match["double"] or match["curly"] or match["single"]), match.end()

    def bare(match: re.Match[str]) -> tuple[str, int]:
        end = end_of_code(text, match.start())
        if end is None:
            return match[0], match.end()
        code = text[match.start() : end]
        if match["call"]:
            alone = is_call(code) and not _GOES_ON.match(text, end)
            return mark("f" if alone else "x", code), end
        value = literal(code)
        if value is not None and isinstance(value[0], list | tuple | dict | set):
            return mark("v", code), end
        return match[0], match.end()

    text = re.sub(r"[«»]", '"', task.replace("\r\n", "\n"))
    parts, position = [], 0
    while match := _LITERAL.search(text, position):
        replaced, end = in_place(match)
        parts += [text[position : match.start()], replaced]
        position = end
    text = "".join([*parts, text[position:]])
    text = re.sub(r"(«b\d+»)[^\S\n]*", r"\1\n", _LEADS_TO_BLOCK.sub(r"\1 ", text))
    text = _QUOTED_LINES.sub("", text)
    text = re.sub(r"^[ \t]*(?:[*•-]|\d+[.)])[ \t]+", "", text, flags=re.MULTILINE)
    return re.sub(r"[ \t]+", " ", re.sub(r"\*\*|__", "", text)), literals


def sentences_of(text: str) -> list[str]:
    """The sentences of a marked text."""
    parts = (part.strip() for part in re.split(r"(?<=[.!?])\s+|\n+", text))
    return [part for part in parts if part]


def is_call(code: str) -> bool:
    """Whether this is a call of a function with literal arguments, and no more."""
    return "..." not in code and end_of_call(code, 0) == len(code)


def end_of_code(text: str, start: int) -> int | None:
    """Where the first brackets from `start` on close again, in the same line; None where they do
    not, or only far away."""
    depth = 0
    for match in _INNER.finditer(text, start, start + _LONGEST_CODE):
        depth += (match["open"] is not None) - (match["close"] is not None)
        if match["close"] and depth == 0:
            return match.end()
        if depth < 0 or match[0] in ("\n", "'", '"'):
            return None
    return None
