"""Examples in the documentation of Python functions: which an edit concerns, and what they say.

Two forms are understood: doctests (`>>> f(1)`), and a call of the documented function beside a
literal (`f([1, 2]) == 3`, `f(1) ➞ 2`, `f(1) returns 2`). Everything else is prose.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import NamedTuple

from laguna_agent.tools.code.python_syntax import Function, first_line, module_of, parameters
from laguna_agent.tools.literals import groups_digits, without_quoted

_LONGEST = 4_000
"""Characters of a docstring that is looked at."""
_MOST_VALUES = 20
_BOOLEANS = {"true": "True", "false": "False"}
_HUNK = re.compile(r"^@@ -\d+(?:,\d+)? \+(\d+)(?:,\d+)? @@")
_GIVES = re.compile(
    r"[`'\"]?\s*(?:#\s*)?(?:={2,3}>?|=>|-{1,2}>|[➞→⇒➔]|=(?!=)"
    r"|(?:(?:should|must|will) )?(?:returns?|be|equals?|is)\b)\s*:?\s*`?"
)
_ARROW = re.compile(r"[`'\"]?\s*(?:#\s*)?(?:={2,3}>|=>|-{1,2}>|[➞→⇒➔])")
_DESCRIBED = re.compile(
    r"\bfor\s+(?P<given>\w+\s*=[^\n]+?),?\s+(?:the\s+)?(?:output|result)\s+"
    r"(?:should|must|will)\s+be:?\s+(?P<gives>[^\n]+)"
    r"|^[ \t]*input:[ \t]*(?P<input>[^\n]+)\n\s*output:[ \t]*(?P<output>[^\n]+)",
    re.IGNORECASE | re.MULTILINE,
)
_AFTER_VALUE = re.compile(r"\s+#|\s{2,}|;|`|\s+\(|\s+//|,\s+(?=[A-Za-z_]\w*\()")
_HEDGED = re.compile(
    r"\b(?:when|if|unless|where|while|until|random\w*|e\.g|approx\w*|about|roughly|around|nearly"
    r"|almost|currently|now|today|depend\w*|may|might|could|can|usually|often|typically|normally"
    r"|sometimes|possibly|probably|likely|var(?:y|ies)|at (?:least|most)|or|except|assum\w+"
    r"|provided|given|(?:for|with|in|on|under) (?!(?:total|all|order)\b)(?!(?:an?|the) "
    r"(?:list|tuple|dict|set|string)\b)\w+|unset|as of)\b|[~≈…]|\.\.\.",
    re.IGNORECASE,
)
"""Behind a value that need not come out each time."""
_LIMITED = re.compile(
    r"\b(?:if|when|unless|usually|sometimes|often|typically|may|might|could|random\w*|approx\w*"
    r"|roughly|currently|depend\w*|assum\w+|(?:in|with|under|on|for) [^,:]*\b(?:modes?|locales?"
    r"|enabled|disabled|set|unset|users?|Windows|Linux))\b",
    re.IGNORECASE,
)
"""Before a call that does not always give a value."""


class Examples(NamedTuple):
    """The examples of one function."""

    name: str
    """As in `Class.method`."""
    docstring: str
    """The documentation, where it has doctests; else empty."""
    values: list[tuple[str, str]]
    """Calls and the literals that they should give."""


def changed_examples(source: str, diff: str) -> list[Examples]:
    """The examples of the functions that a unified diff changed or added in a Python module.

    None for source that does not parse, and for a module that does more than define when it is
    imported.
    """
    tree = module_of(source)
    if tree is None or not only_defines(tree.body):
        return []
    lines = _changed_lines(diff)
    found = []
    for name, function in _functions(tree.body):
        first = first_line(function)
        if lines.isdisjoint(range(first, (function.end_lineno or first) + 1)):
            continue
        documentation = ast.get_docstring(function) or ""
        if not documentation or len(documentation) > _LONGEST:
            continue
        if isinstance(function, ast.AsyncFunctionDef):
            continue
        doctests = documentation if re.search(r"^\s*>>> ", documentation, re.MULTILINE) else ""
        values = [] if doctests else stated_values(function.name, documentation)
        if not (doctests or values):
            values = described_values(function, documentation)
        if doctests or (values and "." not in name):
            found.append(Examples(name, doctests, values))
    return found


def stated_values(name: str, documentation: str) -> list[tuple[str, str]]:
    """Calls of the function `name` in its documentation, and the literals said to be the result.

    None where these disagree, or, but for arrows, are of several types: that is a definition, or
    prose.
    """
    found: list[tuple[str, str]] = []
    plain = True
    for line in documentation.split("\n"):
        for match in re.finditer(rf"(?<![\w.]){re.escape(name)}\(", line):
            end = end_of_call(line, match.start())
            gives = _GIVES.match(line, end) if end else None
            if _LIMITED.search(line[: match.start()]):
                continue
            if gives and (value := _literal(line[gives.end() :])):
                found.append((line[match.start() : end], value))
                plain = plain and _ARROW.match(line, end or 0) is not None
    kinds = {_kind(value) for _, value in found} - {"NoneType"}
    fit = (plain or len(kinds) < 2) and len(dict(found)) == len(set(found))
    return found[:_MOST_VALUES] if fit else []


def described_values(function: Function, documentation: str) -> list[tuple[str, str]]:
    """Calls and literals as `stated_values`, where what is given is described: `For n = 3 the
    output should be 4`, or a line `Input: 3` and a line `Output: 4`."""
    names = parameters(function)
    found = []
    for match in _DESCRIBED.finditer(documentation):
        call = f"{function.name}({(match['given'] or match['input']).strip().rstrip(',')})"
        value = _literal(match["gives"] or match["output"])
        if value is None or end_of_call(call, 0) != len(call):
            continue
        keywords = {keyword.arg for keyword in _call(call).keywords}
        if keywords <= names:
            found.append((call, value))
    return found[:_MOST_VALUES] if len(dict(found)) == len(set(found)) else []


def _call(source: str) -> ast.Call:
    call = ast.parse(source, mode="eval").body
    assert isinstance(call, ast.Call)
    return call


def _kind(value: str) -> str:
    """The type of a literal; numbers are of one type, and lists of that of tuples."""
    kind = type(ast.literal_eval(value)).__name__
    return {"bool": "int", "float": "int", "tuple": "list"}.get(kind, kind)


def end_of_call(line: str, start: int) -> int | None:
    """Where a call that begins at `start` ends; None for one whose arguments are no literals."""
    for match in re.finditer(r"\)", line[start:]):
        end = start + match.end()
        try:
            call = ast.parse(line[start:end], mode="eval").body
        except (SyntaxError, ValueError, RecursionError):
            continue
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
            return None
        arguments = [*call.args, *(keyword.value for keyword in call.keywords)]
        if groups_digits(f"({line[start:end].partition('(')[2]}"):
            return None
        return end if all(map(_is_literal, arguments)) else None
    return None


def _is_literal(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError):
        return False
    return True


def _literal(text: str) -> str | None:
    """The Python literal that a text is, or begins with; None where more is said of it."""
    if groups_digits(text):
        return None
    ends = [len(text), *(match.start() for match in _AFTER_VALUE.finditer(text))]
    for end in ends:
        part = text[:end].strip()
        for candidate in (part, part.rstrip(".,;:!"), part.rstrip(".,;:!`'\"")):
            candidate = _BOOLEANS.get(candidate, candidate)
            try:
                ast.literal_eval(candidate)
            except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
                continue
            more = f"{without_quoted(candidate)} {text[end:]}"  # it may hold a comment
            return None if _HEDGED.search(more) else candidate
    return None


def _functions(body: list[ast.stmt], prefix: str = "") -> Iterator[tuple[str, Function]]:
    for node in body:
        if isinstance(node, Function):
            yield prefix + node.name, node
        elif isinstance(node, ast.ClassDef):
            yield from _functions(node.body, f"{prefix}{node.name}.")


def only_defines(body: list[ast.stmt]) -> bool:
    """Whether importing a module does no more than define things."""
    for node in body:
        if isinstance(node, ast.If):
            guard = isinstance(node.test, ast.Compare) and "__name__" in ast.dump(node.test)
            if not guard and not only_defines([*node.body, *node.orelse]):
                return False
        elif isinstance(node, ast.Try):
            handlers = [statement for handler in node.handlers for statement in handler.body]
            if not only_defines([*node.body, *handlers, *node.orelse, *node.finalbody]):
                return False
        elif isinstance(node, ast.Expr):
            if not isinstance(node.value, ast.Constant):
                return False
        elif not isinstance(
            node,
            ast.Import | ast.ImportFrom | ast.ClassDef | Function | ast.Assign | ast.AnnAssign
            | ast.Pass,
        ):  # fmt: skip
            return False
    return True


def _changed_lines(diff: str) -> set[int]:
    """The lines of the new text, from 1, that a unified diff adds, or behind which it removes part
    of a block."""
    changed: set[int] = set()
    number = 0
    for line in diff.split("\n"):
        if hunk := _HUNK.match(line):
            number = int(hunk[1])
        elif number and line.startswith("+"):
            changed.add(number)
            number += 1
        elif number and line.startswith("-"):
            if line[1:2].isspace():
                changed.add(number - 1)
        elif number and not line.startswith("\\"):
            number += 1
    return changed
