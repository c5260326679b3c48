"""Functions that are still to be written: those whose body only says so."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import NamedTuple

from laguna_agent.tools.code.examples import only_defines
from laguna_agent.tools.code.languages import language_of

_SAYS_SO = {
    "javascript": r"throw new Error\(.*(?:implement|todo).*\)",
    "typescript": r"throw new Error\(.*(?:implement|todo).*\)",
    "rust": r"(?:todo|unimplemented)!\(.*\)",
    "go": r"panic\(.*(?:implement|todo).*\)",
    "java": r"throw new UnsupportedOperationException\(.*\)",
}
"""Statements that stand for a body, by language."""
_ABSTRACT = re.compile(r"\b(?:abc|abstractmethod|Protocol|ABC|overload)\b")
_Function = ast.FunctionDef | ast.AsyncFunctionDef


class Stub(NamedTuple):
    """A function that is to be written."""

    name: str
    """Empty where the language is not parsed for it."""
    head: str
    """The text of its file up to its body, which begins on a line of its own."""
    only_defines: bool = False
    """Whether its file is a Python module that only defines things."""


def stubs_in(path: str, text: str) -> list[Stub]:
    """The stubs of a file in order; none where a part of it does not parse."""
    language = language_of(path) or ""
    lines = text.splitlines(keepends=True)
    if language == "python":
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return []
        plain = only_defines(tree.body)
        return [Stub(name, "".join(lines[: line - 1]), plain) for name, line in _python(tree)]
    if (says_so := _SAYS_SO.get(language)) is None:
        return []
    pattern = re.compile(rf"[ \t]+{says_so};?\s*", re.IGNORECASE)
    found = [number for number, line in enumerate(lines) if pattern.fullmatch(line)]
    return [Stub("", "".join(lines[:number])) for number in found]


def ignores_arguments(text: str, name: str) -> bool:
    """Whether a Python function with arguments uses none of them: what it gives is then made up
    after an example."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    for node in ast.walk(tree):
        if isinstance(node, _Function) and node.name == name:
            arguments = node.args
            all_of = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
            names = {argument.arg for argument in all_of} - {"self", "cls"}
            used = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
            return bool(names) and not names & used
    return False


def _python(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """The stubs of a module, and the lines on which their bodies begin, from 1."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef) and any(map(_is_abstract, node.bases)):
            continue
        if isinstance(node, _Function) and not any(map(_is_abstract, node.decorator_list)):
            documented = ast.get_docstring(node) is not None
            body = node.body[1:] if documented else node.body
            before = node.body[0].end_lineno if documented else node.lineno
            if len(body) == 1 and _stands_for_body(body[0]) and body[0].lineno > (before or 0):
                yield node.name, body[0].lineno
                continue
        yield from _python(node)


def _is_abstract(node: ast.expr) -> bool:
    return _ABSTRACT.search(ast.unparse(node)) is not None


def _stands_for_body(node: ast.stmt) -> bool:
    if isinstance(node, ast.Raise):
        return node.exc is not None and "NotImplementedError" in ast.unparse(node.exc)
    return isinstance(node, ast.Pass) or ast.unparse(node) == "..."
