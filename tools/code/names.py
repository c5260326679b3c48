"""Names in Python code that are undefined or unused, by pyflakes."""

from __future__ import annotations

import ast
import re
import sys
import warnings
from collections import Counter
from collections.abc import Mapping

from laguna_agent.tools.code.languages import PARSE_LIMIT, language_of
from laguna_agent.tools.code.python_syntax import (
    defines,
    first_line,
    last_line,
    module_named,
    module_of,
)

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


def with_imports(
    path: str, text: str, before: str = "", modules: Mapping[str, str] | None = None
) -> str:
    """The text of a Python module with the imports that it lacks: those that it had `before`, of
    modules of the standard library that it uses as `math.pi`, and of what one of the other
    `modules`, by their names, defines."""
    problems = _problems(path, text) if language_of(path) == "python" else None
    undefined = re.findall(r"undefined name '(\w+)'", "\n".join(what for _, what in problems or ()))
    had = _imports(before) if undefined else {}
    wanted = []
    for name in sorted(set(undefined)):
        if defines(text, name):
            continue  # further down
        if name in had:
            wanted += had[name]
        elif name in sys.stdlib_module_names and re.search(rf"(?<![\w.]){name}\.\w", text):
            wanted.append(f"import {name}")
        else:
            homes = [home for home, source in (modules or {}).items() if defines(source, name)]
            wanted += [f"from {homes[0]} import {name}"] if len(homes) == 1 else []
    if not wanted:
        return text
    first = above = 0
    for node in ast.parse(text).body:
        documents = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        future = isinstance(node, ast.ImportFrom) and node.module == "__future__"
        first = first_line(node)
        if not documents and not future:
            break
        above = last_line(node)
    if first <= above:  # in one line with the documentation
        return text
    lines = text.split("\n")
    follows = lines[first - 1].startswith(("import ", "from "))
    added = [*dict.fromkeys(wanted), *([] if follows else ["", ""])]
    return "\n".join([*lines[: first - 1], *added, *lines[first - 1 :]])


def _imports(source: str) -> dict[str, list[str]]:
    """The names that a module imports, with the statements for each. Not those that it imports
    under a condition, or instead of others."""
    found = dict[str, list[str]]()
    tree = module_of(source)
    everywhere = Counter(
        alias.asname or alias.name.partition(".")[0]
        for node in (ast.walk(tree) if tree is not None else ())
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    )
    for node in tree.body if tree is not None else ():
        if isinstance(node, ast.Import | ast.ImportFrom):
            begin = "import"
            if isinstance(node, ast.ImportFrom):
                begin = f"from {module_named(node)} import"
            for alias in node.names:
                name = alias.asname or alias.name.partition(".")[0]
                renamed = f" as {alias.asname}" if alias.asname else ""
                found.setdefault(name, []).append(f"{begin} {alias.name}{renamed}")
    return {name: some if len(some) == everywhere[name] else [] for name, some in found.items()} | {
        name: [] for name in everywhere if name not in found
    }


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
