"""What Python's own parser tells of code, in a few words."""

from __future__ import annotations

import ast

Function = ast.FunctionDef | ast.AsyncFunctionDef


def module_of(source: str) -> ast.Module | None:
    """The syntax tree of a module; None where the source does not parse."""
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def first_line(node: ast.stmt) -> int:
    """The line that a statement begins on, its decorators included, from 1."""
    decorators = node.decorator_list if isinstance(node, Function | ast.ClassDef) else []
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])


def parameters(function: Function) -> set[str]:
    """The names of a function's parameters, but for `*args` and `**options`."""
    all_of = function.args
    return {a.arg for a in [*all_of.posonlyargs, *all_of.args, *all_of.kwonlyargs]}
