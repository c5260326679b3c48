"""Functions that are still to be written: those whose body only says so."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import NamedTuple

from laguna_agent.tools.code.examples import only_defines
from laguna_agent.tools.code.languages import language_of
from laguna_agent.tools.code.python_syntax import Function, module_of, parameters

_SAYS_SO = {
    "javascript": r"throw new Error\(.*(?:implement|todo).*\)",
    "typescript": r"throw new Error\(.*(?:implement|todo).*\)",
    "rust": r"(?:todo|unimplemented)!\(.*\)",
    "go": r"panic\(.*(?:implement|todo).*\)",
    "java": r"throw new UnsupportedOperationException\(.*(?:implement|todo).*\)",
}
"""Statements that stand for a body, by language."""
_HEAD = re.compile(r"^[ \t]*(?!.*=>)[^\n]*?(\w+)\s*(?:<[^>\n]*>)?\([^\n]*\{\s*$")
"""The last line of the head of a function in these languages, and its name."""
_CONTROL = {"if", "for", "while", "switch", "match", "catch", "select", "loop", "else"}
_ABSTRACT = re.compile(r"\b(?:abc|ABCMeta|abstractmethod|Protocol|ABC|overload)\b")


class Stub(NamedTuple):
    """A function that is to be written, in a file that is `head`, its body, and `tail`."""

    name: str
    owner: str
    """The class that it is defined in, if there is one."""
    head: str
    tail: str
    only_defines: bool = False
    """Whether its file is a Python module that only defines things."""

    def with_body(self, path: str, answer: str) -> str | None:
        """The text of the file with the body that an answer gives, which begins with `head`, and
        with what that defines anew beside it. None where it has no such body."""
        lines = answer.splitlines(keepends=True)
        first = self.head.count("\n")
        if language_of(path) == "python":
            return self._with_python(answer, lines, first)
        indentation = re.match(r"[ \t]*", self.head.splitlines()[-1])
        closing = f"{indentation[0] if indentation else ''}}}"
        end = next((n for n in range(first, len(lines)) if lines[n].startswith(closing)), None)
        body = "".join(lines[first:end]) if end is not None else ""
        return self.head + body + self.tail if body.strip() else None

    def _with_python(self, answer: str, lines: list[str], first: int) -> str | None:
        tree = module_of(answer)
        found = [
            node
            for node in (ast.walk(tree) if tree is not None else ())
            if isinstance(node, Function) and node.name == self.name and node.lineno <= first
        ]
        function = max(found, key=lambda node: node.lineno, default=None)
        if tree is None or function is None or (function.end_lineno or 0) <= first:
            return None
        text = self.head + "".join(lines[first : function.end_lineno])
        text = text if text.endswith("\n") else f"{text}\n"
        if function in tree.body:
            there = _top_level(self.head + self.tail)
            for node in tree.body[tree.body.index(function) + 1 :]:
                names = _names(node)
                if names and not names & there:
                    text += "\n\n" + "".join(lines[node.lineno - 1 : node.end_lineno])
                    text = text if text.endswith("\n") else f"{text}\n"
        return text + self.tail


def _top_level(text: str) -> set[str]:
    """Names that the lines of a module define or import, at its top level."""
    defined = re.findall(r"^(?:async def|def|class)\s+(\w+)|^(\w+)\s*[:=]", text, re.MULTILINE)
    imports = re.findall(r"^(?:from\s+\S+\s+)?import\s+([^\n]+)", text, re.MULTILINE)
    return {name for pair in defined for name in pair} | set(re.findall(r"\w+", " ".join(imports)))


def _names(node: ast.stmt) -> set[str]:
    """The names that a statement at the top level defines."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return {node.name}
        case ast.Import() | ast.ImportFrom():
            return {alias.asname or alias.name.partition(".")[0] for alias in node.names}
        case ast.Assign():
            return {target.id for target in node.targets if isinstance(target, ast.Name)}
    return set()


def stubs_in(path: str, text: str) -> list[Stub]:
    """The stubs of a file in order; none where a part of it does not parse."""
    language = language_of(path) or ""
    lines = text.splitlines(keepends=True)
    if language == "python":
        tree = module_of(text)
        if tree is None:
            return []
        plain = only_defines(tree.body)
        return [
            Stub(name, owner, "".join(lines[: first - 1]), "".join(lines[last:]), plain)
            for name, owner, first, last in _python(tree, _bases(tree))
        ]
    if (says_so := _SAYS_SO.get(language)) is None:
        return []
    pattern = re.compile(rf"[ \t]+{says_so};?\s*", re.IGNORECASE)
    found = []
    for number, line in enumerate(lines):
        head = _HEAD.match(lines[number - 1]) if number and pattern.fullmatch(line) else None
        closes = number + 1 < len(lines) and lines[number + 1].strip().startswith("}")
        if head and closes and head[1] not in _CONTROL:
            before, after = "".join(lines[:number]), "".join(lines[number + 1 :])
            found.append(Stub(head[1], "", before, after))
    return found


def ignores_arguments(text: str, name: str) -> bool:
    """Whether a Python function with arguments uses none of them: what it gives is then made up
    after an example."""
    tree = module_of(text)
    for node in ast.walk(tree) if tree is not None else ():
        if isinstance(node, Function) and node.name == name:
            names = parameters(node)
            used = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
            return bool(names) and not names & used
    return False


def _bases(tree: ast.Module) -> set[str]:
    """The classes of a module that others in it derive from."""
    classes = (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    return {base.id for node in classes for base in node.bases if isinstance(base, ast.Name)}


def _python(tree: ast.AST, bases: set[str], owner: str = "") -> Iterator[tuple[str, str, int, int]]:
    """The stubs of a module, and the first and last line of their bodies, from 1."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef):
            parents = [*node.bases, *(keyword.value for keyword in node.keywords)]
            if node.name not in bases and not any(map(_is_abstract, parents)):
                yield from _python(node, bases, node.name)
        elif isinstance(node, Function):
            if any(map(_is_abstract, node.decorator_list)):
                continue
            documented = ast.get_docstring(node) is not None
            body = node.body[1:] if documented else node.body
            before = node.body[0].end_lineno if documented else node.lineno
            if len(body) == 1 and _stands_for_body(body[0]) and body[0].lineno > (before or 0):
                yield node.name, owner, body[0].lineno, body[0].end_lineno or body[0].lineno


def _is_abstract(node: ast.expr) -> bool:
    return _ABSTRACT.search(ast.unparse(node)) is not None


def _stands_for_body(node: ast.stmt) -> bool:
    if isinstance(node, ast.Raise):
        return node.exc is not None and "NotImplementedError" in ast.unparse(node.exc)
    return isinstance(node, ast.Pass) or ast.unparse(node) == "..."
