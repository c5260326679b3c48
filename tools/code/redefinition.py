"""Replaces definitions of a source file by name: functions, methods, classes, constants.

The new code holds each definition whole. Whatever else the file has stays as it is, so a model
writes the function that it changes and not the file. Works in every language that is indexed.
What could be meant in two ways is refused, for a guess would lose code. The module is long because
each rule reads the same two indexes.
"""

from __future__ import annotations

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from typing import NamedTuple

from laguna_agent.tools.code.index import Definition, index_source
from laguna_agent.tools.code.languages import language_of, parse
from laguna_agent.tools.code.python_syntax import (
    first_line,
    last_line,
    module_named,
    module_of,
    name_of,
)

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
_OPENINGS = ("<?php", "package ", "namespace ", "'use ", '"use ')
"""Lines that a part of a file has too."""
_MAIN = "if __name__"
_WORD = re.compile(r"\w+")
_DECLARED = re.compile(r"^[ \t]*(?:[a-z]+ ){0,4}(?:def|class|func|function|fn) (\w+)", re.MULTILINE)
_ROLE = re.compile(r"@(?:\w+\.)*(?:\w+\.(?:setter|getter|deleter)|overload)\b")


Defines = Callable[[str, str], bool]
"""Whether a module, as an import names it, defines a name."""


def _nowhere(module: str, name: str) -> bool:
    return False


_SPACES = ("namespace", "module")
"""Definitions that only hold others."""


class RedefinitionError(Exception):
    """The code cannot be placed; the message is for the model."""


class _StatementError(RedefinitionError):
    """The code holds more than definitions."""


@dataclass
class Redefined:
    """The file with its new definitions, and their names."""

    text: str
    replaced: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    """Those that are imported now."""

    @property
    def notes(self) -> list[str]:
        """What was done, for the model."""
        parts = [
            ("Replaced", self.replaced),
            ("Added", self.added),
            ("Removed what is imported now:", self.removed),
        ]
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
    RedefinitionError for code that holds no definition, or something besides, or a name that the
    file has several times and the code does not tell apart.
    """
    language = language_of(path, source[:200].encode("utf-8", "replace"))
    code = _dedented(code)
    if language is None or language not in _IMPORTS:
        raise RedefinitionError(f"functions of {path} cannot be found by their names")
    return _Redefinition(language, path, source, code).result()


def redefined(
    path: str, source: str, content: str, defines: Defines = _nowhere
) -> Redefined | None:
    """The file with new definitions, where `content` is some of its definitions and not all of the
    file; None where it is to replace the whole file. Raises RedefinitionError for a part whose
    place cannot be told. What it imports from a module that `defines` it was moved, and goes."""
    language = language_of(path, source[:200].encode("utf-8", "replace"))
    if language not in _IMPORTS:
        return None
    one = _Redefinition(language, path, source, _dedented(content), defines)
    try:
        made = one.result() if one.is_part else None
    except _StatementError:
        made = None
    marks = _IMPORTS[language]
    begins = {line.strip() for line in one.lines if line.startswith(marks)}
    if made is None and 2 * len(begins & {line.strip() for line in one.code}) >= len(begins) > 0:
        return None
    if parse(language, source.encode("utf-8", "replace")).root_node.has_error:
        # What a broken file defines is a guess: a definition may have swallowed the next ones.
        declared = set(_DECLARED.findall(source))
        after = set(_WORD.findall(content if made is None else made.text))
        if declared - after or (made is not None and declared & set(made.added)):
            raise RedefinitionError(
                f"{path} has a syntax error, so its functions cannot be told by name: use edit, "
                "or write all of it with the lines that it begins with"
            )
    return made


class _Redefinition:
    def __init__(
        self, language: str, path: str, source: str, code: str, defines: Defines = _nowhere
    ) -> None:
        self.path, self.language, self.defines = path, language, defines
        self.lines, self.code = source.split("\n"), code.rstrip("\n").split("\n")
        self.known = _definitions(language, source)
        self.given = _definitions(language, code)
        self.named = defaultdict[str, list[Definition]](list)
        self.ends = defaultdict[int, list[Definition]](list)
        for one in self.known:
            self.named[one.name].append(one)
            for row in {one.first, one.last}:
                self.ends[row].append(one)
        self.given_named = defaultdict[str, list[Definition]](list)
        for one in self.given:
            self.given_named[one.name].append(one)
        self.spaces = {d.qualified for d in self.known if d.kind in _SPACES}
        self.verbatim = _verbatim(language, code)
        self.changes: list[_Change] = []
        self.made = Redefined("")

    @property
    def is_part(self) -> bool:
        """Whether the code leaves out definitions of the file, and what the file begins with."""
        given = [d for d in self.given if not d.parent]
        new = {d.name for d in given} - {d.name for d in self.known if not d.parent}
        runs = self._leaves_out_main()
        if not given or not (runs or self._left_out()):
            return False
        if new and all(d.kind == "constant" for d in given):
            words = {word for line in self.lines for word in _WORD.findall(line)}
            if not new & words:
                return False
        outer = runs or self._left_out(outer=True)
        if not outer and not any(map(self._adds_members, given)):
            return False
        inside = {n for d in self.known for n in range(d.first, d.last + 1)}
        around = {
            line.strip() for n, line in enumerate(self.lines, 1)
            if n not in inside and line.strip()
            and not line.strip().startswith((*_COMMENTS[:3], *_OPENINGS))
        }  # fmt: skip
        there = around & {line.strip() for line in self.code}
        return 2 * len(there) < max(1, len(around))

    def _leaves_out_main(self) -> bool:
        """Whether the file does something when it is run, and the code lacks that."""
        files = (self.lines, self.code)
        there, given = (any(line.startswith(_MAIN) for line in lines) for lines in files)
        return self.language == "python" and there and not given

    def _left_out(self, *, outer: bool = False) -> bool:
        """Whether the file has a definition that the code lacks."""
        parts = [
            Counter(
                (d.qualified, self._role(d, lines))
                for d in definitions
                if not d.parent or not (outer or d.kind == "constant")
            )
            for definitions, lines in ((self.known, self.lines), (self.given, self.code))
        ]
        return bool(parts[0] - parts[1])

    def _adds_members(self, given: Definition) -> bool:
        """Whether a class of the code has a member of the file, or nothing but members."""
        members = _members(given, self.given)
        if any(self._twins(d, self.named[d.name]) for d in members):
            return True
        held = {given.line, *(n for d in members for n in range(d.first, d.last + 1))}
        return bool(members) and not self._stray(range(given.first, given.last + 1), held)

    def result(self) -> Redefined:
        if not any(not d.parent for d in self.given):
            raise _StatementError("code holds no function, class or constant with a name")
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
        members, there = _members(given, self.given), _members(old, self.known)
        kept = Counter((d.name, self._role(d, self.lines)) for d in there) - Counter(
            (d.name, self._role(d, self.code)) for d in members
        )
        if members and kept:
            return self._merge(given, old, members, there)
        self._replace(given, old)
        return old.last

    def _same(self, given: Definition) -> Definition | None:
        """The definition of the file that has the name of one of the code."""
        same = self.named[given.name]
        outer = [d for d in same if not d.parent or d.parent in self.spaces]
        inner = [d for d in same if d not in outer]
        if self.language == "python":
            inner = [d for d in inner if self._takes_self(d) == self._takes_self(given)]
        if given.signature.startswith("function "):
            inner = []
        method = inner and given.kind in ("function", "method") and self._takes_self(given)
        if outer and not (method and len(inner) == 1):
            return self._one(given, self.given_named[given.name], outer)
        if len(inner) > 1 or (inner and given.kind not in ("function", "method")):
            owners = " and ".join(sorted({d.parent for d in inner}))
            owner = inner[0].parent
            raise RedefinitionError(
                f"{given.name} is defined in {owners}: write it inside its class, such as {owner}"
            )
        return self._one(given, self.given_named[given.name], inner)

    def _one(
        self, given: Definition, beside: list[Definition], known: list[Definition]
    ) -> Definition | None:
        """The one of several definitions with one name that is meant: by its first lines, or in
        their order where the code has as many."""
        found = self._twins(given, known)
        if not found:
            return None
        role = self._role(given, self.code)
        also = [
            d for d in beside
            if (d.name, d.parent, self._role(d, self.code)) == (given.name, given.parent, role)
        ]  # fmt: skip
        if len(also) == len(found):
            return found[also.index(given)]
        if len(also) == 1:
            head = self._head_of(given, self.code)
            exact = [d for d in found if self._head_of(d, self.lines) == head]
            if len(exact) == 1:
                return exact[0]
        where = ", ".join(str(d.line) for d in found[:8])
        raise RedefinitionError(
            f"{self.path} defines {given.name} in lines {where} and code does not say which is "
            "meant: use edit for the lines that change"
            if len(found) > 1
            else f"code defines {given.name} {len(also)} times"
        )

    def _twins(self, given: Definition, known: list[Definition]) -> list[Definition]:
        """Definitions with the name and the role of one of the code."""
        role = self._role(given, self.code)
        return [d for d in known if d.name == given.name and self._role(d, self.lines) == role]

    def _head_of(self, one: Definition, lines: list[str]) -> tuple[str, ...]:
        above = (line.strip() for line in lines[one.first - 1 : one.line - 1])
        return (*(line for line in above if line.startswith("@")), one.signature)

    def _role(self, one: Definition, lines: list[str]) -> str:
        """What tells apart definitions that share a name on purpose: a setter from its getter, a
        declaration from the definition, the methods of two types."""
        decorators = [line for line in self._head_of(one, lines)[:-1] if _ROLE.match(line)]
        if decorators:
            return decorators[-1]
        if one.kind == "impl" or one.signature.startswith(("get ", "set ")):
            return one.signature.partition("(")[0]
        if self.language == "go" and one.kind == "method":
            receiver = one.signature.partition("(")[2].partition(")")[0]
            return receiver.rpartition(" ")[2].strip("*")
        if one.kind in ("declaration", "macro"):
            return one.kind
        function = one.kind in ("function", "method")
        return "declaration" if function and one.signature.endswith(";") else ""

    def _takes_self(self, given: Definition) -> bool:
        arguments = given.signature.partition("(")[2].lstrip("&")
        return arguments.startswith(("self", "cls", "mut self"))

    def _replace(self, given: Definition, old: Definition) -> None:
        """Replace a definition, with the indentation of the old one; comments and decorators above
        it stay where the new code has none."""
        line = self.lines[old.line - 1]
        shared = [
            d.name for d in (*self.ends[old.first], *self.ends[old.last])
            if d is not old and d.last >= old.first and d.first <= old.last
            and not f"{old.parent}.".startswith(f"{d.qualified}.")
            and not f"{d.parent}.".startswith(f"{old.qualified}.")
        ]  # fmt: skip
        grouped = self.language == "go" and _indent(line) and self.code[given.line - 1][:1].strip()
        if shared or grouped:
            raise RedefinitionError(
                f"{given.name} shares a line or a group with other code in line {old.line} of "
                f"{self.path}: use edit for it"
            )
        head = self.lines[old.first - 1 : old.line - 1]
        new = self.code[given.first - 1 : given.last]
        above = self.code[given.first - 1 : given.line - 1]
        first = old.first
        if not any(line.strip() for line in above):
            first = old.line - _signature_lines_above(head)
        elif not any(line.strip().startswith(_COMMENTS) for line in above):
            first = old.first + sum(1 for line in head if line.strip().startswith(_COMMENTS))
        indent = _indent(line)
        fixed = {n - given.first for n in self.verbatim}
        self.changes.append(_Change(first, old.last, _indented(new, indent, fixed)))
        self.made.replaced.append(old.qualified)

    def _merge(
        self,
        given: Definition,
        old: Definition,
        members: list[Definition],
        there: list[Definition],
    ) -> int:
        """Replace the members of a class that the code has; the others stay."""
        last = max((d.last for d in there), default=old.last)
        held: set[int] = set()
        if given.signature in old.signature:
            held.add(given.line)
        for member in members:
            held |= set(range(member.first, member.last + 1))
            known = self._one(member, members, there)
            if known is not None:
                self._replace(member, known)
                last = known.last
            else:
                new = _dedented_lines(self.code[member.first - 1 : member.last])
                lines = _indented(new, _indent(self.lines[there[0].line - 1]))
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
        if given.kind == "constant" and any(given.name in _WORD.findall(x) for x in self.lines):
            raise RedefinitionError(
                f"{self.path} has {given.name}, but not as a constant of its own: use edit for it"
            )
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
        through = 0
        for number, line in enumerate(self.code, 1):
            text = line.strip()
            end = _end_of_import(self.code, number) if line.startswith(marks) else number
            old = all(row.strip() in there for row in self.code[number - 1 : end])
            if number <= through or number in held or not text or old:
                continue
            if not line.startswith(marks):
                if text.startswith(_COMMENTS[:3]):
                    continue
                raise _StatementError(
                    f"`{text[:60]}` is no function, class, constant or import: only those can be "
                    "replaced by name"
                )
            missing += self.code[number - 1 : end]
            through = end
        if missing:
            self._make_way(missing)
            known = {n for d in self.known for n in range(d.first, d.last + 1)}
            rows = [
                n for n, line in enumerate(self.lines, 1)
                if line.startswith(marks) and n not in known
            ]  # fmt: skip
            row = _end_of_import(self.lines, rows[-1]) if rows else self._head()
            future = [line for line in missing if line.startswith("from __future__")]
            missing = [line for line in missing if line not in future]
            for at, lines in ((row, missing), (self._head(), future)):
                if lines:
                    self.changes.append(_Change(at + 1, at, lines))

    def _make_way(self, imports: list[str]) -> None:
        """Remove functions, classes and constants whose names are imported now from a module that
        defines them: they were moved."""
        tree, own = module_of("\n".join(imports)), module_of("\n".join(self.lines))
        if self.language != "python" or tree is None or own is None:
            return
        moved = {
            alias.name
            for node in tree.body
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
            if alias.asname is None and self.defines(module_named(node), alias.name)
        } - {*self.given_named}
        rows = Counter(n for node in own.body for n in range(node.lineno, last_line(node) + 1))
        for node in own.body:
            name = name_of(node)
            first, last = first_line(node), last_line(node)
            if name not in moved or any(rows[n] > 1 for n in range(first, last + 1)):
                continue
            while last < len(self.lines) and not self.lines[last].strip():
                last += 1
            self.changes.append(_Change(first, last, []))
            self.made.removed.append(name)

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
    """Definitions in order, without those inside functions."""
    found = index_source(language, text.encode("utf-8", "replace")).definitions
    functions = {d.qualified for d in found if d.kind in ("function", "method")}
    return [d for d in found if not d.parent or d.parent not in functions]


def _members(outer: Definition, definitions: list[Definition]) -> list[Definition]:
    """Definitions directly in another one."""
    return [
        d for d in definitions
        if d.parent == outer.qualified and outer.first <= d.first and d.last <= outer.last
    ]  # fmt: skip


def _end_of_import(lines: list[str], row: int) -> int:
    """The last line of an import that may go on in parentheses."""
    depth = 0
    for number in range(row, len(lines) + 1):
        line = lines[number - 1]
        depth += sum(map(line.count, "({[")) - sum(map(line.count, ")}]"))
        if depth <= 0:
            return number
    return row


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


def _indented(lines: list[str], indent: str, verbatim: Container[int] = ()) -> list[str]:
    """Lines at another indentation, by their first one; those `verbatim`, counted from 0, stay."""
    own = _indent(lines[0])
    if own == indent:
        return lines
    return [
        line if n in verbatim else indent + line.removeprefix(own) if line.strip() else ""
        for n, line in enumerate(lines)
    ]


def _verbatim(language: str, code: str) -> set[int]:
    """Lines, counted from 1, that begin inside a string other than a docstring."""
    rows: set[int] = set()
    nodes = [parse(language, code.encode("utf-8", "replace")).root_node]
    while nodes:
        node = nodes.pop()
        (first, _), (last, _) = node.start_point, node.end_point
        if first == last:
            continue
        if any(word in node.type for word in ("string", "heredoc", "template_literal")):
            if node.parent is None or node.parent.type != "expression_statement":
                rows |= set(range(first + 2, last + 2))
        else:
            nodes += node.children
    return rows
