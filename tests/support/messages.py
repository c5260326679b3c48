"""Prints each string of the source that a user may see, with its place: `make messages`.

A string counts when a user-visible call takes it (an error, a hint, help, output, a widget) or when
it reads as words. Docstrings, patterns, SQL and log records are left out. Arguments name
the folders to read.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("laguna_agent", "models", "prompts", "tools")

_WORDS = re.compile(r"[A-Za-z]{2,}[,;:.!?…)`”\"'}]* [`“(\"'{]*[A-Za-z{]")
_LETTERS = re.compile(r"[A-Za-z]{2}")
_SQL = re.compile(r"\s*(SELECT|INSERT|CREATE|DELETE|UPDATE|DROP|PRAGMA|BEGIN|ALTER|WITH|ATTACH)\b")
_OUTPUT = {"write", "write_line", "_say", "say", "print", "notice", "note", "notify", "on_notice"}
_WIDGETS = {"Static", "Label", "Button", "Input", "Option", "Binding", "Finding", "Notice"}
_KEYWORDS = {
    "hint", "help", "description", "epilog", "text", "title", "summary", "error", "reason",
    "placeholder", "label", "message", "usage",
}  # fmt: skip
_LEFT_OUT = {
    "AssertionError",
    "compile",
    "match",
    "search",
    "sub",
    "execute",
    "executescript",
    "fullmatch",
}
_LOGGING = {"debug", "info", "warning", "error", "log", "exception"}


class Message(NamedTuple):
    """One string: `kind` says what takes it; in `text`, `{…}` is filled in when it is shown."""

    path: str
    line: int
    kind: str
    text: str


def messages(folders: tuple[str, ...] = FOLDERS) -> Iterator[Message]:
    """The messages of the source, by file and line."""
    for folder in folders:
        top = ROOT / folder
        for path in sorted([top] if top.is_file() else top.rglob("*")):
            if "demo-repository" in path.parts or path.is_symlink():
                continue
            name = str(path.relative_to(ROOT))
            if path.suffix == ".py":
                tree = ast.parse(path.read_text(encoding="utf-8"))
                yield from sorted(set(_strings(tree, name, "", set(_docstrings(tree)))))
            elif path.suffix == ".toml":
                data = tomllib.loads(path.read_text(encoding="utf-8"))
                yield from (Message(name, 1, "data", text) for text in _described(data))


def _docstrings(tree: ast.AST) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield node.value


def _strings(node: ast.AST, path: str, kind: str, skipped: set[ast.expr]) -> Iterator[Message]:
    if isinstance(node, (ast.Constant, ast.JoinedStr)) and node not in skipped:
        text = _text(node)
        shown = _LETTERS.search(text) if kind else _WORDS.search(text)
        if shown and not _SQL.match(text):
            yield Message(path, node.lineno, kind or "text", text)
        if isinstance(node, ast.Constant):
            return
    if isinstance(node, ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
        if name in _LEFT_OUT or (name in _LOGGING and "logger" in ast.unparse(node.func)):
            return
        own = name if name.endswith("Error") or name in _OUTPUT | _WIDGETS else ""
        yield from _strings(node.func, path, "", skipped)
        for argument in node.args:
            yield from _strings(argument, path, own, skipped)
        for keyword in node.keywords:
            kept = keyword.arg if keyword.arg in _KEYWORDS else None
            taker = kept if kept == "hint" else own or kept or ""
            yield from _strings(keyword.value, path, taker, skipped)
        return
    if isinstance(node, ast.FormattedValue):
        kind = ""
    for child in ast.iter_child_nodes(node):
        if isinstance(node, ast.JoinedStr) and isinstance(child, ast.Constant):
            continue
        inner = kind if isinstance(node, (ast.JoinedStr, ast.BinOp, ast.IfExp)) else ""
        yield from _strings(child, path, inner, skipped)


def _text(node: ast.expr) -> str:
    match node:
        case ast.Constant(value=str(value)):
            return value
        case ast.JoinedStr(values=values):
            return "".join(_text(value) for value in values)
        case ast.FormattedValue(value=value):
            return "{" + ast.unparse(value) + "}"
        case _:
            return ""


def _described(data: object) -> Iterator[str]:
    if isinstance(data, dict):
        for key, value in data.items():
            if key in ("about", "description", "note", "title") and isinstance(value, str):
                yield value
            else:
                yield from _described(value)
    elif isinstance(data, list):
        for item in data:
            yield from _described(item)


if __name__ == "__main__":
    for found in messages(tuple(sys.argv[1:]) or FOLDERS):
        shown = found.text.replace("\n", "\\n")
        sys.stdout.write(f"{found.path}:{found.line}: {found.kind}: {shown}\n")
