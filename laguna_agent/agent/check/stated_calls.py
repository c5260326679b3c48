"""Makes commands of calls whose results a task states: "rank([30, 10, 20]) should give [0, 2, 1]".

The function stands at the top level of exactly one module, and the module only defines when it is
imported. In doubt there is nothing.
"""

from __future__ import annotations

import ast
import builtins
import keyword
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from laguna_agent.agent.check.detection import is_test_file
from laguna_agent.agent.check.examples import importable
from laguna_agent.agent.check.plain_runs import is_plain_run
from laguna_agent.agent.check.task_marks import OPEN_ENDED
from laguna_agent.tools.code.examples import only_defines
from laguna_agent.tools.code.python_syntax import module_of
from laguna_agent.tools.files.encoding import decode
from laguna_agent.tools.files.walk import walk
from laguna_agent.tools.files.workspace import PathError, WorkspacePath, read_bytes
from laguna_agent.tools.literals import groups_digits, literal
from laguna_agent.tools.stated_output import StatedOutput

_MOST_MODULES = 100
_MOST_FILES = 20_000
_LARGEST = 200_000
_OTHER_LANGUAGE = re.compile(
    r"\w\.(?:[cm]?[jt]s|[jt]sx|rb|php|go|rs|[ch]|[ch]pp|cc|java|kt|swift|cs|lua|p[lm]|sh|r|jl)\b",
    re.IGNORECASE,
)
_LANGUAGE = (
    r"(?:TypeScript|JavaScript|Node(?:\.js)?|Go(?:lang)?|Rust|Ruby|Java|Kotlin|Scala|Swift|Haskell"
    r"|Elixir|Erlang|Clojure|C\+\+|C#|F#|C|Zig|Nim|Dart|PHP|Lua|Perl|Julia|R|Bash|Cython|OCaml"
    r"|Fortran|WebAssembly)(?![\w.+#-]*\w)"
)
_OTHER_FORM = re.compile(
    r"\b(?:async\w*|await\w*|coroutines?|promises?|generators?|iterators?|iterables?|laz(?:y|ily)"
    r"|on demand|one (?:at a time|by one)|stream\w*|named ?tuples?|data ?class(?:es)?"
    r"|(?:int|str)?enums?|enumerations?|class(?:es)?|(?:static|class)?methods?|propert(?:y|ies)"
    r"|instances?|decorat\w+|curr(?:y|ied|ying)|closures?|callables?|callbacks?|pydantic|pandas"
    r"|tensors?|(?-i:Decimals?|Fractions?|Series|DataFrames?))\b"
    r"|\byield\w*\b(?! (?:(?:exactly|just|only|instead|the \w+):? )*(?:«|[-+\d]|True|False|None))"
    r"|\bport(?:s|ed|ing)? (?:\S+ ){1,5}?(?:to|into)\b"
    r"|\btranslat\w+ (?:\S+ ){1,5}?(?:to|into)\b"
    r"|\b(?:convert|rewrit|transpil|migrat|reimplement|re-implement|implement|writ|turn|chang)\w*"
    rf" (?:\S+ ){{1,8}}?(?:to|into|in|as) {_LANGUAGE}",
    re.IGNORECASE,
)
"""In tasks after which a call may give something that prints otherwise, or may be another."""
_IN_LANGUAGE = re.compile(
    rf"\b(?:to|into|in|using) {_LANGUAGE}"
    rf"|\b(?:an?|the) {_LANGUAGE} (?:version|port|program|module|package|library|translation|code)"
)
_OTHER_NAMES = {"true", "false", "null", "nil", "undefined", "void", "nothing", "empty", "nan"}
_CACHES = re.compile(r"(?:functools\.)?(?:lru_)?cache\b")


class StatedResult(NamedTuple):
    """A call, and what should come of it."""

    call: str
    expected: str
    form: str
    """The mark that the expected value has in the text (see `task_marks`); empty for a plain
    one."""
    sure: bool


class _Module(NamedTuple):
    path: str
    text: str


def of_other_form(text: str, literals: dict[str, str]) -> bool:
    """Whether a task may want functions that give their results otherwise than plain ones do, such
    as a generator or a method, or in another language. `text` has marks for `literals`."""
    texts = [text, *(literals[mark] for mark in re.findall(r"«[ox]\d+»", text))]
    return any(_OTHER_FORM.search(part) or _IN_LANGUAGE.search(part) for part in texts)


def stated_results(results: Sequence[StatedResult], task: str, start: Path) -> list[StatedOutput]:
    """The commands that print what these calls give, where that is plain. `start` is where
    commands run."""
    if not results:
        return []
    named, others = _modules(task, start)
    found = []
    for result in results:
        name = result.call.partition("(")[0]
        homes = _defining(name, named) or _defining(name, others)
        if len(homes) != 1:
            continue
        output = _as_printed(result, homes[0])
        command = _command(result.call, name, homes[0], start)
        if output is not None and command is not None:
            found.append(StatedOutput(command, output, result.sure, is_value=True))
    return found


def _modules(task: str, start: Path) -> tuple[list[_Module], list[_Module]]:
    """Python modules below a folder that are no tests: those that the task names, and the others
    unless they are many or the task names files in another language."""
    entries = [
        entry
        for entry in walk(start, limit=_MOST_FILES)
        if entry.name.endswith(".py") and entry.size <= _LARGEST
    ]
    paths = [entry.relative for entry in entries if not is_test_file(entry.relative)]
    named = [path for path in paths if _is_named(path, task)]
    others = [path for path in paths if path not in named]
    if len(others) > _MOST_MODULES or _OTHER_LANGUAGE.search(task):
        others = []
    return [_read(start, path) for path in named], [_read(start, path) for path in others]


def _read(start: Path, path: str) -> _Module:
    try:
        document = decode(read_bytes(WorkspacePath(start, path, path), _LARGEST))
    except PathError:
        document = None
    return _Module(path, document.text if document else "")


def _is_named(path: str, task: str) -> bool:
    """Whether a task names a file, by its path or its name."""
    name = re.escape(path.rpartition("/")[2])
    return re.search(rf"(?<![\w.-]){name}(?![\w-])", task) is not None


def _defining(name: str, modules: Sequence[_Module]) -> list[_Module]:
    return [
        module
        for module in modules
        if re.search(rf"^(?:async )?def {name}\b", module.text, re.MULTILINE)
    ]


def _as_printed(result: StatedResult, module: _Module) -> str | None:
    """What `print` shows of the value that is expected; None where that is doubtful."""
    text = result.expected
    value = literal(text)
    if result.form != "q" and groups_digits(text):
        return None
    if result.form == "q" or (value is None and result.form == "o"):
        doubtful = result.form == "o" and _is_code(text, module.text)
        return None if doubtful or not text.strip() or OPEN_ENDED.search(text) else text
    if value is None or isinstance(value[0], bytes | complex) or value[0] is Ellipsis:
        return None
    return value[0] if isinstance(value[0], str) else " ".join(text.split())


def _is_code(text: str, module: str) -> bool:
    """Whether a text in back-ticks may mean what a name stands for, and not these letters."""
    if keyword.iskeyword(text) or text.lower() in _OTHER_NAMES or "..." in text:
        return True
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    nodes = list(ast.walk(tree))
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    return any(isinstance(node, ast.Call) for node in nodes) or any(
        hasattr(builtins, name) or re.search(rf"\b{name}\b", module) for name in names
    )


def _command(call: str, name: str, module: _Module, start: Path) -> str | None:
    """The command that prints what a call gives; None where the function may not be made for
    that."""
    tree = module_of(module.text)
    body = tree.body if tree is not None else []
    functions = [node for node in body if isinstance(node, ast.FunctionDef) and node.name == name]
    if len(functions) != 1 or not only_defines(body) or not _gives_value(functions[0]):
        return None
    folder, dotted = importable(start, module.path)
    if not all(part.isidentifier() for part in dotted.split(".")):
        return None
    code = f"from {dotted} import {name}; print({call})"
    command = f"python3 -c {_quoted(code)}"
    if folder != start:
        command = f"cd {shlex.quote(folder.relative_to(start).as_posix())} && {command}"
    return command if is_plain_run(command, start) else None


def _gives_value(function: ast.FunctionDef) -> bool:
    """Whether a call of the function gives a value, or will when the function is written."""
    if not all(_CACHES.match(ast.unparse(node)) for node in function.decorator_list):
        return False
    nodes = list(ast.walk(function))
    if any(isinstance(node, ast.Yield | ast.YieldFrom) for node in nodes):
        return False
    if any(isinstance(node, ast.Return) and node.value is not None for node in nodes):
        return True
    return not any(isinstance(node, ast.Call) and "print" in ast.unparse(node) for node in nodes)


def _quoted(code: str) -> str:
    """The code as one word of a command, in quotes that it does not hold where there are such."""
    if "'" in code and not re.search(r'["$`\\!]', code):
        return f'"{code}"'
    return shlex.quote(code)
