"""Corrects what tests expect, where a task asks for them and they fail for the code as it is.

A small model writes good tests with wrong values: it works out wrongly what the code gives, and
does so again when it is told. Where a comparison with a literal failed, the runner has printed what
the code gives, and that takes the literal's place. The person is told, since the code may be wrong.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from laguna_agent.tools.code.python_syntax import module_of
from laguna_agent.tools.literals import literal

_FRAME = re.compile(r"\s*File \"(?:[^\"]*/)?([^/\"]+)\", line (\d+)")
_PLACE = re.compile(r"(?:\S*/)?([^/\s:]+):(\d+): (?:AssertionError|Failed)\s*$")
_SAYS = re.compile(
    r"(E\s+)?(?:AssertionError: |Failed: )?(?:assert |\w+ differ: )?"
    r"(.+ [!=]= .+|\w+ not raised.*|DID NOT RAISE.*)$"
)
_NOT_RAISED = re.compile(r"\w+ not raised|DID NOT RAISE")
_METHODS = ("assertEqual", "assertEquals")


class _Failure(NamedTuple):
    line: int
    said: str
    """`1 != 2`"""


class _Comparison(NamedTuple):
    first: ast.expr
    second: ast.expr
    lines: range


def with_given_values(text: str, name: str, output: str) -> tuple[str, list[int]] | None:
    """The text of the Python test file `name` with the values that the code gives, and the lines
    that were changed; None where the output has no failed comparison with a literal, and no
    exception that was expected in vain. Understands what unittest and pytest print."""
    tree = module_of(text)
    if tree is None:
        return None
    compared = [found for node in ast.walk(tree) if (found := _comparison(node)) is not None]
    failures = list(_failures(output, name))
    if (made := _without_raises(text, tree, failures)) is not None:
        return made
    lines = text.encode().split(b"\n")
    changed: dict[tuple[int, int], tuple[ast.expr, str]] = {}
    for line, said in failures:
        for one in compared:
            corrected = _corrected(one, said) if line in one.lines else None
            if corrected is not None and corrected[0].lineno == corrected[0].end_lineno:
                changed[corrected[0].lineno, corrected[0].col_offset] = corrected
    for (row, column), (node, value) in sorted(changed.items(), reverse=True):
        old = lines[row - 1]
        lines[row - 1] = old[:column] + value.encode() + old[node.end_col_offset :]
    return (b"\n".join(lines).decode(), sorted({row for row, _ in changed})) if changed else None


def _without_raises(
    text: str, tree: ast.Module, failures: Sequence[_Failure]
) -> tuple[str, list[int]] | None:
    """The text with comparisons in the place of exceptions that the code does not raise, and their
    lines. What it gives is not known yet, so they fail the next time."""
    lines, changed = text.split("\n"), list[int]()
    at = {failure.line for failure in failures if _NOT_RAISED.match(failure.said)}
    for node in ast.walk(tree) if at else ():
        match node:
            case ast.With(
                items=[
                    ast.withitem(
                        context_expr=ast.Call(func=ast.Attribute(owner, "assertRaises" | "raises")),
                        optional_vars=None,
                    )
                ],
                body=[ast.Expr(ast.Call() as call)],
            ) if at & {node.lineno, call.lineno} and call.end_lineno == node.lineno + 1:
                own = ast.unparse(owner)
                compared = "assert given == None" if own == "pytest" else None
                compared = compared or f"{own}.assertEqual(given, None)"
                indent = lines[node.lineno - 1][: node.col_offset]
                lines[node.lineno - 1] = f"{indent}given = {ast.unparse(call)}"
                lines[node.lineno] = indent + compared
                changed.append(node.lineno + 1)
    return ("\n".join(lines), sorted(changed)) if changed else None


def _failures(output: str, name: str) -> Iterator[_Failure]:
    at, said = 0, ""
    for line in output.split("\n"):
        if match := _FRAME.match(line):
            at = int(match[2]) if match[1] == name else at
        elif match := _PLACE.match(line):
            if match[1] == name and said:
                yield _Failure(int(match[2]), said)
            at, said = 0, ""
        elif match := _SAYS.match(line):
            if match[1]:  # pytest says where after what
                said = said or match[2]
            elif at and line.startswith("AssertionError"):
                yield _Failure(at, match[2])
                at = 0


def _comparison(node: ast.AST) -> _Comparison | None:
    """The two sides that an assertion compares."""
    match node:
        case ast.Call(func=ast.Attribute(attr=method), args=[first, second, *_]):
            sides = (first, second) if method in _METHODS else None
        case ast.Assert(test=ast.Compare(left=first, ops=[ast.Eq()], comparators=[second])):
            sides = (first, second)
        case _:
            sides = None
    if sides is None or not isinstance(node, ast.Call | ast.Assert):
        return None
    return _Comparison(*sides, range(node.lineno, (node.end_lineno or node.lineno) + 1))


def _corrected(compared: _Comparison, said: str) -> tuple[ast.expr, str] | None:
    """The literal side of a comparison and what the other side gives, as source."""
    first, second = (literal(ast.unparse(side)) for side in compared[:2])
    if (first is None) == (second is None):
        return None
    for match in re.finditer(r" [!=]= ", said):
        left, right = literal(said[: match.start()]), literal(said[match.end() :])
        if left is None or right is None:
            continue
        if second is not None and right[0] == second[0]:
            return compared.second, repr(left[0])
        if first is not None and left[0] == first[0]:
            return compared.first, repr(right[0])
    return None
