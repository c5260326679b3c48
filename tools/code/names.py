"""Names in Python code that are undefined or unused, by pyflakes."""

from __future__ import annotations

import ast
import warnings
from collections import Counter

from laguna_agent.tools.code.languages import PARSE_LIMIT, language_of

MOST = 5
"""Problems that are told of one change."""
_TOLD = ("UndefinedName", "UndefinedLocal", "UndefinedExport", "UnusedImport", "UnusedVariable")


def new_problems(path: str, before: str, after: str) -> list[str]:
    """What a change brought to a Python file, as `line 3: undefined name 'x'`, at most `MOST`.

    Nothing for other languages, and where either text does not parse."""
    if language_of(path, after[:200].encode("utf-8", "replace")) != "python":
        return []
    old, new = _problems(path, before), _problems(path, after)
    if old is None or new is None:
        return []
    known = Counter(text for _, text in old)
    found = []
    for line, text in new:
        if known[text]:
            known[text] -= 1
        else:
            found.append(f"line {line}: {text}")
    return found[:MOST]


def _problems(path: str, text: str) -> list[tuple[int, str]] | None:
    if len(text) > PARSE_LIMIT:
        return None
    from pyflakes.checker import Checker

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            messages = Checker(ast.parse(text), path).messages
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return [
        (message.lineno, message.message % message.message_args)
        for message in sorted(messages, key=lambda message: message.lineno)
        if type(message).__name__ in _TOLD
    ]
