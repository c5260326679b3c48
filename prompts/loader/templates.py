"""The templates of a pack: their names, their variables, rendering and checks.

Every template is Jinja2 in a sandbox with strict undefined. Templates of the static prefix get
only variables that stay the same from run to run, because the model has to process a changed
prefix again from the first difference. `{{ super() }}` inserts the file that this one overrides.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from types import CodeType
from typing import Any

from jinja2 import (
    BytecodeCache,
    Environment,
    StrictUndefined,
    TemplateError,
    TemplateNotFound,
    TemplateRuntimeError,
    Undefined,
    nodes,
    pass_context,
)
from jinja2.bccache import Bucket
from jinja2.exceptions import SecurityError
from jinja2.loaders import BaseLoader
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from laguna_agent.errors import did_you_mean
from laguna_agent.prompts.loader.problems import PackError, Problem

SYSTEM = "system.md"


@dataclass(frozen=True)
class StaticVariables:
    """Variables of the static prefix. They stay the same in every run with the same settings."""

    model: str
    format: str
    tools: tuple[str, ...] = ()
    """Names of the declared tools, in order."""
    thinking: bool = False
    platform: str = {"linux": "Linux", "darwin": "macOS"}.get(sys.platform, sys.platform)


STATIC: dict[str, Any] = {
    "model": "laguna-xs-2.1",
    "format": "laguna",
    "tools": ("read", "edit", "shell", "done"),
    "thinking": False,
    "platform": "Linux",
}
"""Example values of the static variables, with which lint renders."""

_FIRST: dict[str, Any] = {
    "date": "",
    "cwd": "",
    "git": "",
    "files": [],
    "parts": [],
    "tree": "",
    "check": "",
    "check_output": "",
    "memory": "",
    "instructions": "",
    "skills": "",
}

DYNAMIC: dict[str, dict[str, Any]] = {
    "first.md": _FIRST,
    "turn.md": {
        "date": "",
        "cwd": "",
        "new_shell": False,
        "changes": "",
        "check": "",
        "check_output": "",
    },
    "kind.md": {"kind": "change", "answer_file": "", "mentions": []},
    "steer.md": {"text": ""},
    "plan.md": {},
    "act.md": {"plan": ""},
    "plan_ended.md": {},
    "compact.md": {"guidance": "", "plan": "", "known": ""},
    "epoch.md": {**_FIRST, "summary": "", "messages": [], "plan": ""},
    "check_failed.md": {"command": "", "exit_code": 0, "output": "", "tests_changed": []},
    "complete.md": {"task": "Write f.", "code": "```python\ndef f():\n```", "language": "Python"},
    "script.md": {"task": "Add up a.csv.", "data": "a.csv begins so:"},
    "again.md": {"tries": 1, "wrong_tests": []},
    "example_failed.md": {
        "function": "",
        "path": "",
        "example": "",
        "expected": "",
        "got": "",
        "taken_back": False,
    },
    "check_passed.md": {"command": ""},
    "denied.md": {"tool": "", "reason": ""},
    "bad_call.md": {"error": ""},
    "no_call.md": {},
    "cut.md": {"limit": 0, "thought": False},
    "repeated.md": {"circle": "", "tool": ""},
    "interrupted.md": {},
    "undone.md": {"files": ""},
    "limit.md": {"steps_left": 0},
    "hook.md": {"text": ""},
}
"""Templates of appended messages, with the default of each variable.

In `first.md` and `epoch.md`, `files` is a list of objects with `path` and `text`, `parts` one of
objects with `first` and `last` too; in `epoch.md`, `messages` is a list of texts. `kind` is one of
fix, git, answer, write and change.
"""

REMINDER: dict[str, Any] = {
    "step": 0,
    "steps_left": 0,
    "tool": "",
    "tests": "",
    "output": "",
    "missing": [],
    "unchanged": [],
    "git": [],
}
RESULT: dict[str, Any] = {"output": "", "exit_code": 0, "command": "", "arguments": {}}


def variables_of(name: str) -> Mapping[str, Any]:
    """Variables of the template `name`, with their defaults."""
    if name in DYNAMIC:
        return DYNAMIC[name]
    if name == SYSTEM or name.startswith("tools/"):
        return STATIC
    # Any other file is included by a template, or the text of a reminder.
    return {**STATIC, **REMINDER, **{k: v for d in DYNAMIC.values() for k, v in d.items()}}


def is_static(name: str) -> bool:
    """Whether a template is part of the static prefix."""
    return name == SYSTEM or name.startswith("tools/")


class _Loader(BaseLoader):
    """Finds `name`, or `name@depth` for the version that is `depth` layers below."""

    def __init__(self, versions: Callable[[str], list[tuple[Path, str, int]]]) -> None:
        self.versions = versions

    def get_source(
        self, environment: Environment, template: str
    ) -> tuple[str, str, Callable[[], bool]]:
        name, _, depth = template.partition("@")
        found = self.versions(name)
        if int(depth or 0) >= len(found):
            raise TemplateNotFound(template)
        path, text, offset = found[int(depth or 0)]
        # Blank lines in place of the front matter keep Jinja's line numbers right.
        return "{#" + "\n" * offset + "#}" + text if offset else text, str(path), lambda: True


def _plain(value: Any) -> Any:
    """Check a value that `{{ }}` inserts. The text of a function or object has its address, which
    differs in each process."""
    if isinstance(value, list | tuple | dict):
        for item in value.items() if isinstance(value, dict) else value:
            _plain(item)
    elif value is not None and not isinstance(value, str | int | float | Undefined):
        message = f"a {type(value).__name__} is inserted, whose text changes between runs"
        raise TemplateRuntimeError(message)
    return value


@pass_context
def _super(context: Context) -> str:
    name, _, depth = str(context.name).partition("@")
    above = f"{name}@{int(depth or 0) + 1}"
    return context.environment.get_template(above).render(context.get_all())


class _CompiledTemplates(BytecodeCache):
    """Keeps the last compiled version of each file, so that a pack that is loaded again compiles
    only what changed."""

    def __init__(self) -> None:
        self._code: dict[str, tuple[str, CodeType | None]] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        checksum, code = self._code.get(bucket.key, ("", None))
        if checksum == bucket.checksum:
            bucket.code = code

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._code[bucket.key] = (bucket.checksum, bucket.code)


_COMPILED = _CompiledTemplates()


def _environment(loader: BaseLoader | None = None) -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined,
        loader=loader,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
        finalize=_plain,
        bytecode_cache=_COMPILED,
    )
    # Both are random.
    del environment.globals["lipsum"]
    del environment.filters["random"]
    environment.globals["super"] = _super
    return environment


_CHECKING = _environment()


class TemplateRenderer:
    """Renders the templates of one pack.

    `versions(name)` returns every version of a file, nearest first, as path, text and number of
    lines above the text.
    """

    def __init__(self, versions: Callable[[str], list[tuple[Path, str, int]]]) -> None:
        self.versions = versions
        self.environment = _environment(_Loader(versions))

    def render(self, name: str, values: Mapping[str, Any]) -> str:
        """Render the file `name`. Raises PackError with file and line."""
        try:
            return self.environment.get_template(name).render(values)
        except (TemplateError, SecurityError, TypeError, ValueError, ArithmeticError) as error:
            raise PackError([self._problem(name, error)]) from error

    def render_text(self, text: str, values: Mapping[str, Any], *, path: Path, line: int) -> str:
        """Render a template that is part of another file, at `line` of `path`."""
        try:
            return self.environment.from_string(text).render(values)
        except (TemplateError, SecurityError, TypeError, ValueError, ArithmeticError) as error:
            raise PackError([Problem(path, line, str(error))]) from error

    def check(self, name: str, *, static: bool | None = None) -> list[Problem]:
        """Check syntax, variables and includes of every version of a file that is rendered.

        Templates that a static template includes count as static.
        """
        static = is_static(name) if static is None else static
        variables = STATIC if static else variables_of(name)
        versions = self.versions(name)
        problems: list[Problem] = []
        for depth, (path, text, offset) in enumerate(versions):
            problems += check_template(text, path, variables, first=offset + 1, static=static)
            for target, line in _syntax(text).includes:
                if not self.versions(target):
                    message = f"includes `{target}`, which is not in the pack"
                    problems.append(Problem(path, line + offset, message))
                elif target != name:
                    problems += self.check(target, static=static)
            if not reaches_super(text):
                break
            if depth + 1 >= len(versions):
                line = next(i for i, t in enumerate(text.split("\n"), 1) if reaches_super(t))
                message = "super() inserts the overridden file, and this file overrides none"
                problems.append(Problem(path, line + offset, message))
        return problems

    def _problem(self, name: str, error: Exception) -> Problem:
        versions = self.versions(name)
        path = versions[0][0] if versions else Path(name)
        line = getattr(error, "lineno", None)
        filename = getattr(error, "filename", None)
        if filename and filename != "<unknown>":
            path = Path(filename)
        if line is None:
            # Jinja rewrites tracebacks: the last frame in a template has the line.
            known = {str(v[0]): v[0] for v in versions}
            trace = error.__traceback__
            while trace is not None:
                code = trace.tb_frame.f_code.co_filename
                if code in known or code.endswith((".md",)):
                    path, line = Path(code), trace.tb_lineno
                trace = trace.tb_next
        if isinstance(error, TemplateNotFound):
            missing = str(error.name).partition("@")[0]
            return Problem(path, line, f"`{missing}` is not in the pack")
        return Problem(path, line, str(error), "`laguna prompts lint` lists all problems.")


def reaches_super(text: str) -> bool:
    """Whether a file inserts the one that it overrides."""
    return re.search(r"\bsuper\s*\(", text) is not None


@dataclass(frozen=True)
class _Syntax:
    """What there is to check about one text. Lines count from 1."""

    error: tuple[str, int] | None = None
    """Message and line of a syntax error; then nothing else is known."""
    loads: tuple[tuple[str, int], ...] = ()
    """Names that the text reads."""
    binds: frozenset[str] = frozenset()
    """Names that it sets itself, and those that Jinja provides."""
    includes: tuple[tuple[str, int], ...] = ()
    """Files that it includes or imports by a fixed name."""


@lru_cache(maxsize=1024)
def _syntax(text: str) -> _Syntax:
    try:
        tree = _CHECKING.parse(text)
        _CHECKING.compile(text, raw=True)  # finds unknown filters and tests
    except TemplateError as error:
        return _Syntax(error=(str(error), getattr(error, "lineno", None) or 1))
    names = list(tree.find_all(nodes.Name))
    binds = {n.name for n in names if n.ctx in ("store", "param")}
    binds |= {"loop", "caller", "varargs", "kwargs", "self", *_CHECKING.globals}
    binds |= {macro.name for macro in tree.find_all(nodes.Macro)}
    kinds = (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)
    targets = [(getattr(node, "template", None), node.lineno) for node in tree.find_all(kinds)]
    return _Syntax(
        loads=tuple((n.name, n.lineno) for n in names if n.ctx == "load"),
        binds=frozenset(binds),
        includes=tuple((str(t.value), line) for t, line in targets if isinstance(t, nodes.Const)),
    )


def check_template(
    text: str,
    path: Path,
    variables: Mapping[str, Any],
    *,
    first: int,
    static: bool,
) -> list[Problem]:
    """Syntax errors and unknown variables of a text whose first line is line `first`."""
    syntax = _syntax(text)
    if syntax.error is not None:
        message, line = syntax.error
        return [Problem(path, line + first - 1, f"template: {message}", _syntax_fix(message))]
    problems = []
    for name, at in syntax.loads:
        if name in variables or name in syntax.binds:
            continue
        line = at + first - 1
        if static and any(name in names for names in DYNAMIC.values()):
            where = [n for n, names in DYNAMIC.items() if name in names]
            problems.append(
                Problem(
                    path,
                    line,
                    f"`{name}` changes between runs, and this text is in the static prefix",
                    f"Put it into an appended message: {', '.join(where[:3])}.",
                )
            )
        else:
            message = f"unknown variable `{name}`"
            problems.append(Problem(path, line, message, did_you_mean(name, variables)))
    return problems


def _syntax_fix(message: str) -> str:
    if "'random'" in message:
        return "Prompts must not be random."
    if "unknown tag" in message:
        return 'Write {{ "{%" }} where the text itself holds {%.'
    return ""


def values_of(static: StaticVariables) -> dict[str, Any]:
    """The static variables as a mapping for templates."""
    return asdict(static)
