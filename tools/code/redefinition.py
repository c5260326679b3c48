"""Replaces definitions of a source file by name: functions, methods, classes, constants.

The new code holds each definition whole. Whatever else the file has stays as it is, so a model
writes the function that it changes and not the file. Works in every language that is indexed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from laguna_agent.tools.code.index import Definition, index_source
from laguna_agent.tools.code.languages import language_of

_COMMENTS = ("#", "//", "/*", "*", "--")
_IMPORTS = {
    "python": ("import ", "from "),
    "javascript": ("import ", "const {", "'use "),
    "typescript": ("import ",),
    "tsx": ("import ",),
    "go": ("import ", "package "),
    "rust": ("use ", "mod "),
    "c": ("#include ",),
    "cpp": ("#include ", "using "),
    "java": ("import ", "package "),
    "csharp": ("using ",),
    "ruby": ("require ", "require_relative "),
    "php": ("<?php", "use ", "require "),
    "bash": ("source ", "#!"),
}
_MAIN = "if __name__"


class RedefinitionError(Exception):
    """The code cannot be placed; the message is for the model."""


@dataclass
class Redefined:
    """The file with its new definitions, and their names."""

    text: str
    replaced: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)

    @property
    def notes(self) -> list[str]:
        """What was done, for the model."""
        parts = [("Replaced", self.replaced), ("Added", self.added)]
        notes = [f"{verb} {', '.join(names)}." for verb, names in parts if names]
        return [*notes, "The rest of the file stays as it was."]


class _Change(NamedTuple):
    """Lines `first` to `last` of the file, counted from 1, are replaced; inserted before `first`
    when `last` is `first - 1`."""

    first: int
    last: int
    lines: list[str]


def redefine(path: str, source: str, code: str) -> Redefined:
    """`source` with the definitions that `code` holds in the place of those with the same names.

    A name that the file does not define yet is added behind the definition that precedes it in
    `code`, else at the end. Imports that the file lacks are added to its imports. Raises
    RedefinitionError for code that holds no definition, or something besides, or a name that
    several classes define.
    """
    language = language_of(path, source[:200].encode("utf-8", "replace"))
    code = _dedented(code)
    if language is None or language not in _IMPORTS:
        raise RedefinitionError(f"functions of {path} cannot be found by their names")
    return _Redefinition(language, path, source, code).result()


def redefined(path: str, source: str, content: str) -> Redefined | None:
    """The file with new definitions, where `content` is some of its definitions and not all of the
    file; None where it is to replace the whole file."""
    language = language_of(path, source[:200].encode("utf-8", "replace"))
    if language not in _IMPORTS:
        return None
    try:
        one = _Redefinition(language, path, source, _dedented(content))
        return one.result() if one.is_part else None
    except RedefinitionError:
        return None


class _Redefinition:
    def __init__(self, language: str, path: str, source: str, code: str) -> None:
        self.path, self.language = path, language
        self.lines, self.code = source.split("\n"), code.rstrip("\n").split("\n")
        self.known = _definitions(language, source)
        self.given = _definitions(language, code)
        self.changes: list[_Change] = []
        self.made = Redefined("")

    @property
    def is_part(self) -> bool:
        """Whether the code leaves out definitions of the file, and what the file begins with."""
        given = {d.name for d in self.given if not d.parent}
        known = {d.name for d in self.known if not d.parent}
        if not given or not known - given:
            return False
        constants = all(d.kind == "constant" for d in self.given if not d.parent)
        if constants and given - known:
            return False
        inside = {n for d in self.known for n in range(d.first, d.last + 1)}
        around = {
            line.strip() for n, line in enumerate(self.lines, 1)
            if n not in inside and line.strip() and not line.strip().startswith(_COMMENTS[:3])
        }  # fmt: skip
        there = around & {line.strip() for line in self.code}
        return 2 * len(there) < max(1, len(around))

    def result(self) -> Redefined:
        if not any(not d.parent for d in self.given):
            raise RedefinitionError("code holds no function, class or constant with a name")
        self._import()
        behind: int | None = None
        for definition in self.given:
            if not definition.parent:
                behind = self._place(definition, behind)
        for change in sorted(self.changes, key=lambda c: (c.first, c.last), reverse=True):
            self.lines[change.first - 1 : change.last] = change.lines
        self.made.text = "\n".join(self.lines)
        return self.made

    # --- one definition ---------------------------------------------------------------------

    def _place(self, given: Definition, behind: int | None) -> int | None:
        """Replace or add one definition of the top level of the code; returns the line of the file
        behind which the next new one goes."""
        old = self._same(given)
        if old is None:
            return self._add(given, behind)
        members = [d for d in self.given if d.parent == given.name]
        kept = [
            d.name for d in self.known
            if d.parent == old.qualified and d.name not in {m.name for m in members}
        ]  # fmt: skip
        if members and kept and not old.parent:
            return self._merge(given, old, members)
        self._replace(given, old)
        return old.last

    def _same(self, given: Definition) -> Definition | None:
        """The definition of the file that has the name of one of the code."""
        same = [d for d in self.known if d.name == given.name]
        outer = [d for d in same if not d.parent]
        inner = [d for d in same if d.kind in ("method", "function") and d.parent]
        method = inner and given.kind in ("function", "method") and self._takes_self(given)
        if outer and not (method and len(inner) == 1):
            return outer[-1]
        if len(inner) > 1:
            owners = " and ".join(sorted({d.parent for d in inner}))
            owner = inner[0].parent
            raise RedefinitionError(
                f"{given.name} is defined in {owners}: write it inside its class, such as {owner}"
            )
        return inner[0] if inner else None

    def _takes_self(self, given: Definition) -> bool:
        arguments = given.signature.partition("(")[2].lstrip("&")
        return arguments.startswith(("self", "cls", "mut self"))

    def _replace(self, given: Definition, old: Definition) -> None:
        """Replace a definition, with the indentation of the old one; comments and decorators above
        it stay where the new code has none."""
        head = self.lines[old.first - 1 : old.line - 1]
        new = self.code[given.first - 1 : given.last]
        above = self.code[given.first - 1 : given.line - 1]
        first = old.first
        if not any(line.strip() for line in above):
            first = old.line - _signature_lines_above(head)
        elif not any(line.strip().startswith(_COMMENTS) for line in above):
            first = old.first + sum(1 for line in head if line.strip().startswith(_COMMENTS))
        indent = _indent(self.lines[old.line - 1])
        self.changes.append(_Change(first, old.last, _indented(new, indent)))
        self.made.replaced.append(old.qualified)

    def _merge(self, given: Definition, old: Definition, members: list[Definition]) -> int:
        """Replace the members of a class that the code has; the others stay."""
        known = {d.name: d for d in self.known if d.parent == old.qualified}
        last = max((d.last for d in known.values()), default=old.last)
        held: set[int] = set(range(given.first, given.line + 1))
        for member in members:
            held |= set(range(member.first, member.last + 1))
            if member.name in known:
                self._replace(member, known[member.name])
                last = known[member.name].last
            else:
                inside = next(iter(known.values()))
                new = _dedented_lines(self.code[member.first - 1 : member.last])
                lines = _indented(new, _indent(self.lines[inside.line - 1]))
                self.changes.append(_Change(last + 1, last, ["", *lines]))
                self.made.added.append(f"{old.qualified}.{member.name}")
        stray = self._stray(range(given.first, given.last + 1), held)
        if stray:
            raise RedefinitionError(
                f"`{stray}` stands in {given.name} beside methods, and code leaves others of "
                f"{given.name} out: write the methods that change, or all of {given.name}"
            )
        return old.last

    def _add(self, given: Definition, behind: int | None) -> int | None:
        new = self.code[given.first - 1 : given.last]
        space = [""] * (2 if self.language == "python" and given.kind != "constant" else 1)
        self.made.added.append(given.name)
        if behind is not None:
            self.changes.append(_Change(behind + 1, behind, [*space, *new]))
            return behind
        following = self.given[self.given.index(given) + 1 :]
        after = next((old for d in following if not d.parent and (old := self._same(d))), None)
        if after is not None and not after.parent:
            self.changes.append(_Change(after.first, after.first - 1, [*new, *space]))
            return None
        end = len(self.lines)
        while end and not self.lines[end - 1].strip():
            end -= 1
        main = next((n for n, line in enumerate(self.lines) if line.startswith(_MAIN)), None)
        if main is not None:
            self.changes.append(_Change(main + 1, main, [*new, *space]))
        else:
            self.changes.append(_Change(end + 1, end, [*(space if end else []), *new]))
        return None

    # --- what else the code holds -----------------------------------------------------------

    def _import(self) -> None:
        """Add the imports that the file lacks; anything else beside definitions is refused."""
        held = {n for d in self.given if not d.parent for n in range(d.first, d.last + 1)}
        missing, marks = list[str](), _IMPORTS[self.language]
        there = {line.strip() for line in self.lines}
        for number, line in enumerate(self.code, 1):
            text = line.strip()
            if number in held or not text or text in there:
                continue
            if not line.startswith(marks):
                if text.startswith(_COMMENTS[:3]):
                    continue
                raise RedefinitionError(
                    f"`{text[:60]}` is no function, class, constant or import: only those can be "
                    "replaced by name"
                )
            missing.append(line)
        if missing:
            known = {n for d in self.known for n in range(d.first, d.last + 1)}
            rows = [
                n for n, line in enumerate(self.lines, 1)
                if line.startswith(marks) and n not in known
            ]  # fmt: skip
            row = self._end_of_import(rows[-1]) if rows else self._head()
            self.changes.append(_Change(row + 1, row, missing))

    def _end_of_import(self, row: int) -> int:
        """The last line of an import that may go on in parentheses."""
        depth = 0
        for number in range(row, len(self.lines) + 1):
            line = self.lines[number - 1]
            depth += sum(map(line.count, "({[")) - sum(map(line.count, ")}]"))
            if depth <= 0:
                return number
        return row

    def _head(self) -> int:
        """The last line of the comments and the docstring that a file begins with."""
        row = 0
        while row < len(self.lines) and self.lines[row].startswith(("#", "//")):
            row += 1
        text = self.lines[row].strip() if row < len(self.lines) else ""
        if text[:3] in ('"""', "'''"):
            quote, row = text[:3], row + 1
            if text.count(quote) < 2:
                while row < len(self.lines) and quote not in self.lines[row]:
                    row += 1
                row += 1
        return row

    def _stray(self, span: range, held: set[int]) -> str | None:
        there = {line.strip() for line in self.lines}
        for number in span:
            text = self.code[number - 1].strip()
            if number not in held and text and text not in there and text != "}":
                return text[:60]
        return None


def _definitions(language: str, text: str) -> list[Definition]:
    """Definitions in order, without those inside functions, of which only the first line's is
    taken where several have one span."""
    found = index_source(language, text.encode("utf-8", "replace")).definitions
    functions = {d.qualified for d in found if d.kind in ("function", "method")}
    return [d for d in found if not d.parent or d.parent not in functions]


def _signature_lines_above(head: list[str]) -> int:
    """Lines above the one with the name that belong to the definition itself, such as a C return
    type: not comments, decorators or attributes."""
    count = 0
    for line in reversed(head):
        if line.strip().startswith((*_COMMENTS, "@", "[", "#[")) or not line.strip():
            break
        if line.rstrip().endswith((")", "]", "}", ";")):
            break
        count += 1
    return count


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _dedented_lines(lines: list[str]) -> list[str]:
    import textwrap

    return textwrap.dedent("\n".join(lines)).split("\n")


def _dedented(code: str) -> str:
    """Code whose first line is not indented; what follows loses as much."""
    lines = code.strip("\n").split("\n")
    indent = _indent(lines[0])
    return "\n".join(line.removeprefix(indent) for line in lines) if indent else "\n".join(lines)


def _indented(lines: list[str], indent: str) -> list[str]:
    """Lines at another indentation, by their first one."""
    own = _indent(lines[0])
    if own == indent:
        return lines
    return [indent + line.removeprefix(own) if line.strip() else "" for line in lines]
