"""Names in Python code that are undefined or unused, by pyflakes."""

from __future__ import annotations

import ast
import re
import sys
import warnings
from collections import Counter

from laguna_agent.tools.code.languages import PARSE_LIMIT, language_of
from laguna_agent.tools.code.python_syntax import first_line

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


def with_imports(path: str, text: str) -> str:
    """The text of a Python module with imports of the modules of the standard library that it uses
    as `math.pi` and does not import."""
    problems = _problems(path, text) if language_of(path) == "python" else None
    undefined = re.findall(r"undefined name '(\w+)'", "\n".join(what for _, what in problems or ()))
    wanted = sorted(
        name
        for name in set(undefined)
        if name in sys.stdlib_module_names and re.search(rf"(?<![\w.]){name}\.\w", text)
    )
    if not wanted:
        return text
    first = 1
    for node in ast.parse(text).body:
        documents = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        future = isinstance(node, ast.ImportFrom) and node.module == "__future__"
        first = first_line(node)
        if not documents and not future:
            break
    lines = text.splitlines(keepends=True)
    follows = lines[first - 1].startswith(("import ", "from "))
    added = "".join(f"import {name}\n" for name in wanted) + ("" if follows else "\n\n")
    return "".join([*lines[: first - 1], added, *lines[first - 1 :]])


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
