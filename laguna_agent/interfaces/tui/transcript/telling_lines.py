"""Chooses the lines of a command's output that tell most: what failed, errors, totals, the end."""

from __future__ import annotations

import re

_SCANNED = 4_000
"""Lines looked at, from the end."""
_NOTHING_WRONG = re.compile(
    r"\b(?:0|no|without) (?:errors?|failures?|failed|warnings?)\b", re.IGNORECASE
)
_FAILED_TEST = re.compile(
    r"^\s*(?:FAIL(?:ED)?\b|ERROR [^:\s]+::|--- FAIL|not ok\b|[✗✘✕×] )"
    r"|\.\.\. (?:FAILED|FAIL|ERROR)\b"
)
_ERROR = re.compile(
    r"^E  |\b\w*(?:error|exception)\b|\b(?:fatal|panicked|failed|failure|undefined|unresolved)\b"
    r"|\b(?:cannot|can't|could not|no such file|not found|denied|refused|segmentation|killed)\b",
    re.IGNORECASE,
)
_TOTAL = re.compile(
    r"\b\d[\d,]* (?:passed|failed|tests?|errors?|warnings?|skipped|files? changed|packages?)\b"
    r"|^\s*(?:OK|PASS|ok|Ran \d+|test result:|Tests?:|BUILD |Finished|Successfully)\b"
)
_WARNING = re.compile(r"\bwarn(?:ing)?\b", re.IGNORECASE)
_BANNER = re.compile(r"^\s*(?:[=_*#~-]{3,}\s*)(?:[A-Za-z ]*)(?:\s*[=_*#~-]{3,})?\s*$")
_TRACEBACK = "Traceback (most recent call last)"


def telling_lines(lines: list[str], most: int) -> list[int]:
    """The numbers of at most `most` lines, in order: the last one, those with the highest score,
    and where there are too few of them, the lines before the last."""
    first = max(0, len(lines) - _SCANNED)
    content = [n for n in range(first, len(lines)) if any(map(str.isalnum, lines[n]))]
    content = content or [n for n in range(first, len(lines)) if lines[n].strip()]
    if len(content) <= most:
        return content
    scored = [(score, n) for n in content if (score := _score(lines[n]))]
    scored.sort(key=lambda item: (-item[0], item[1]))
    # Most of the room for what scores, the rest for how the output ends.
    chosen = {content[-1], *(n for _, n in scored[: most - max(1, most // 3)])}
    for n in reversed(content):
        if len(chosen) >= most:
            break
        chosen.add(n)
    return sorted(chosen)


def _score(line: str) -> int:
    """How much a line tells: 4 a failed test, 3 an error, 2 a total, 1 a warning."""
    if _BANNER.match(line) or _TRACEBACK in line:
        return 0
    if _FAILED_TEST.search(line):
        return 4
    if _ERROR.search(line) and not _NOTHING_WRONG.search(line):
        return 3
    if _TOTAL.search(line):
        return 2
    return 1 if _WARNING.search(line) else 0
