"""What a model reads of a failing check: the first failure whole, a line for each other one.

Several failures mostly have one cause, and a small model that reads all of them loses the thread.
Understood are pytest, unittest, go test and cargo test; other output stays as it is.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from laguna_agent.agent.check.detection import is_test_file

_FRAME = re.compile(r"\s*File \"([^\"]+)\", line \d+")
_AT = re.compile(r">\s+(\S.*)")
_RAISED = re.compile(r"(?:E\s+)?(\w*(?:Error|Exception))\b(?::\s*(?:assert\s+)?(.*))?$")
_NOT_THERE = ("AttributeError", "ImportError", "ModuleNotFoundError", "NameError")
"""What tests raise of code that is not there: they are not wrong for it."""
OTHERS = 8
"""Most of the other failures that are named."""
_LINE = 160


class _Style(NamedTuple):
    """How a runner prints failures: the line that begins each, what ends the last, and lines of a
    failure that say best what is wrong (else its last one does)."""

    begins: re.Pattern[str]
    ends: re.Pattern[str]
    says: re.Pattern[str] | None = None
    rule: re.Pattern[str] | None = None
    """Lines that only separate failures."""


_STYLES = (
    _Style(
        re.compile(r"_{3,} (?P<name>.+?) _{3,}"),
        re.compile(r"={3,} .*={3,}"),
        re.compile(r"E\s+(?P<what>.+)"),
    ),
    _Style(
        re.compile(r"(?:FAIL|ERROR): (?P<name>.+)"),
        re.compile(r"Ran \d+ tests? in .*"),
        rule=re.compile(r"[=-]{20,}"),
    ),
    _Style(re.compile(r"\s*--- FAIL: (?P<name>\S+).*"), re.compile(r"(?:FAIL|ok|exit status)\b.*")),
    _Style(re.compile(r"---- (?P<name>.+) stdout ----"), re.compile(r"failures:")),
)


def first_failure(output: str) -> str:
    """The output of a check with its first failure whole and the others as a line each."""
    lines = output.rstrip("\n").split("\n")
    for style in _STYLES:
        starts = [n for n, line in enumerate(lines) if style.begins.fullmatch(line.rstrip())]
        if len(starts) > 1:
            return _shortened(lines, starts, style)
    return output


def wrong_assertions(output: str) -> list[str]:
    """The lines of Python tests that failed, each with what was found: `CODE: 1 != 2`. Of what
    unittest and pytest print."""
    found: list[str] = []
    code, frame = "", False
    for line in output.split("\n"):
        if frame:
            code, frame = line.strip(), False
        elif match := _FRAME.match(line):
            frame = not code and is_test_file(match[1].rpartition("/")[2])
        elif not code and (match := _AT.match(line)):
            code = match[1]
        elif code and (match := _RAISED.match(line)):
            what = match[2] if match[1] == "AssertionError" and match[2] else line.removeprefix("E")
            if match[1] not in _NOT_THERE:
                found.append(f"{code} fails: {what.strip()}"[:_LINE])
            code = ""
    return list(dict.fromkeys(found))


def _shortened(lines: list[str], starts: list[int], style: _Style) -> str:
    end = next(
        (n for n in range(starts[-1] + 1, len(lines)) if style.ends.fullmatch(lines[n].rstrip())),
        len(lines),
    )
    blocks = [lines[a:b] for a, b in zip(starts, [*starts[1:], end], strict=True)]
    first, *others = blocks
    told = [_told(block, style) for block in others[:OTHERS]]
    if len(others) > OTHERS:
        told.append(f"and {len(others) - OTHERS} more")
    while first and (not first[-1].strip() or (style.rule and style.rule.fullmatch(first[-1]))):
        first.pop()
    return "\n".join([*first, "", "Also failing:", *told])


def _told(block: list[str], style: _Style) -> str:
    """A failure in one line."""
    begin = style.begins.fullmatch(block[0].rstrip())
    name = begin["name"] if begin else block[0].strip()
    rest = [line.rstrip() for line in block[1:] if line.strip()]
    rest = [line for line in rest if not (style.rule and style.rule.fullmatch(line))]
    said = [match["what"] for line in rest if style.says and (match := style.says.match(line))]
    what = said[0] if said else rest[-1].strip() if rest else ""
    text = f"{name}: {what}" if what else name
    return text if len(text) <= _LINE else text[: _LINE - 1] + "…"
