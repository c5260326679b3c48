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


def module_named(node: ast.ImportFrom) -> str:
    """The module that an import is from, as it is written: with the dots of a relative one."""
    return "." * node.level + (node.module or "")


def last_line(node: ast.stmt) -> int:
    """The line that a statement ends on."""
    return node.end_lineno or node.lineno


def name_of(node: ast.stmt) -> str | None:
    """What a statement defines: a function, a class, or one name that it assigns; else None."""
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return name
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            return name
        case _:
            return None


def defines(source: str, name: str) -> bool:
    """Whether a module defines a function or class, or a constant in capitals, at its top level."""
    tree = module_of(source)
    variable = ast.Assign | ast.AnnAssign
    return any(
        name_of(node) == name and (name.isupper() or not isinstance(node, variable))
        for node in (tree.body if tree is not None else ())
    )
