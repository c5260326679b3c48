"""The templates a pack may hold, the variables each may use, and how they are rendered.

Every template is Jinja2 in a sandbox with strict undefined. Those of the static prefix see only
what stays the same from run to run, since a changed prefix has to be processed again from its
first token. `{{ super() }}` puts in the file that this one overrides.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jinja2 import (
    Environment,
    StrictUndefined,
    TemplateError,
    TemplateNotFound,
    TemplateRuntimeError,
    Undefined,
    nodes,
    pass_context,
)
from jinja2.exceptions import SecurityError
from jinja2.loaders import BaseLoader
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from laguna_agent.prompts.loader.problems import PackError, Problem, near

SYSTEM = "system.md"


@dataclass(frozen=True)
class StaticVariables:
    """What the static prefix may say; none of it changes between two runs of the same set-up."""

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
"""Static variables and an example of each, with which lint renders."""

_FIRST: dict[str, Any] = {
    "date": "",
    "cwd": "",
    "git": "",
    "files": [],
    "tree": "",
    "check": "",
    "check_output": "",
    "memory": "",
    "instructions": "",
    "skills": "",
}

DYNAMIC: dict[str, dict[str, Any]] = {
    "first.md": _FIRST,
    "turn.md": {"date": "", "changes": "", "check": "", "check_output": ""},
    "steer.md": {"text": ""},
    "plan.md": {},
    "act.md": {"plan": ""},
    "compact.md": {"guidance": "", "plan": "", "known": ""},
    "epoch.md": {**_FIRST, "summary": "", "messages": [], "plan": ""},
    "check_failed.md": {"command": "", "exit_code": 0, "output": "", "tests_changed": []},
    "again.md": {"tries": 1},
    "check_passed.md": {"command": ""},
    "denied.md": {"tool": "", "reason": ""},
    "bad_call.md": {"error": ""},
    "no_call.md": {},
    "cut.md": {"limit": 0},
    "repeated.md": {"circle": "", "tool": ""},
    "interrupted.md": {},
    "undone.md": {"files": ""},
    "limit.md": {"steps_left": 0},
    "hook.md": {"text": ""},
}
"""Templates of messages that are appended, with the value of each variable that is not given.

In `first.md` and `epoch.md`, `files` is a list of objects with `path` and `text`; in `epoch.md`,
`messages` is a list of texts.
"""

REMINDER: dict[str, Any] = {"step": 0, "steps_left": 0, "tool": ""}
RESULT: dict[str, Any] = {"output": "", "exit_code": 0, "command": "", "arguments": {}}


def variables_of(name: str) -> Mapping[str, Any]:
    """Variables that the template called `name` may use, with their defaults."""
    if name in DYNAMIC:
        return DYNAMIC[name]
    if name == SYSTEM or name.startswith("tools/"):
        return STATIC
    # Any other file is a part that some template includes, or the text of a reminder.
    return {**STATIC, **REMINDER, **{k: v for d in DYNAMIC.values() for k, v in d.items()}}


def is_static(name: str) -> bool:
    """True for a template whose text stands in the static prefix."""
    return name == SYSTEM or name.startswith("tools/")


class _Loader(BaseLoader):
    """Finds `name` or `name@depth`, the version that lies `depth` layers down."""

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
        # Front matter is gone from the text; blank lines keep jinja's line numbers true.
        return "{#" + "\n" * offset + "#}" + text if offset else text, str(path), lambda: True


def _plain(value: Any) -> Any:
    """What `{{ }}` puts in. A function or object would show its address, which is another in each
    process."""
    if isinstance(value, list | tuple | dict):
        for item in value.items() if isinstance(value, dict) else value:
            _plain(item)
    elif value is not None and not isinstance(value, str | int | float | Undefined):
        message = f"a {type(value).__name__} is put in, whose text changes between runs"
        raise TemplateRuntimeError(message)
    return value


@pass_context
def _super(context: Context) -> str:
    name, _, depth = str(context.name).partition("@")
    above = f"{name}@{int(depth or 0) + 1}"
    return context.environment.get_template(above).render(context.get_all())


class Renderer:
    """Renders the templates of one pack.

    `versions(name)` gives every version of a file, nearest first, each as path, text and the
    number of lines that were taken off its top.
    """

    def __init__(self, versions: Callable[[str], list[tuple[Path, str, int]]]) -> None:
        self.versions = versions
        self.environment = ImmutableSandboxedEnvironment(
            undefined=StrictUndefined,
            loader=_Loader(versions),
            trim_blocks=True,
            lstrip_blocks=True,
            autoescape=False,
            finalize=_plain,
        )
        # Both give another text each time they are asked.
        del self.environment.globals["lipsum"]
        del self.environment.filters["random"]
        self.environment.globals["super"] = _super

    def render(self, name: str, values: Mapping[str, Any]) -> str:
        """The text of the file `name`. Raises PackError with file and line."""
        try:
            return self.environment.get_template(name).render(values)
        except (TemplateError, SecurityError, TypeError, ValueError, ArithmeticError) as error:
            raise PackError([self._problem(name, error)]) from error

    def render_text(self, text: str, values: Mapping[str, Any], *, path: Path, line: int) -> str:
        """The text of a template that stands inside another file, at `line` of `path`."""
        try:
            return self.environment.from_string(text).render(values)
        except (TemplateError, SecurityError, TypeError, ValueError, ArithmeticError) as error:
            raise PackError([Problem(path, line, str(error))]) from error

    def check(self, name: str, *, static: bool | None = None) -> list[Problem]:
        """Syntax, unknown variables and includes of every version of a file that is reached.

        What a static template includes is checked as static too.
        """
        static = is_static(name) if static is None else static
        variables = STATIC if static else variables_of(name)
        versions = self.versions(name)
        problems: list[Problem] = []
        for depth, (path, text, offset) in enumerate(versions):
            problems += check_template(
                self.environment, text, path, variables, first=offset + 1, static=static
            )
            for target, line in includes(self.environment, text):
                if not self.versions(target):
                    message = f"includes `{target}`, which is not in the pack"
                    problems.append(Problem(path, line + offset, message))
                elif target != name:
                    problems += self.check(target, static=static)
            if not reaches_super(text):
                break
            if depth + 1 >= len(versions):
                line = next(i for i, t in enumerate(text.split("\n"), 1) if reaches_super(t))
                message = "super() stands for the file that this one overrides, and there is none"
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
            # Jinja rewrites tracebacks: the last frame inside a template is the place.
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
        return Problem(path, line, str(error), "`laguna prompts lint` shows every such place.")


def reaches_super(text: str) -> bool:
    """True when a file puts in the one that it overrides."""
    return re.search(r"\bsuper\s*\(", text) is not None


def includes(environment: Environment, text: str) -> Iterator[tuple[str, int]]:
    """What a template includes or imports by a fixed name, with the line."""
    try:
        tree = environment.parse(text)
    except TemplateError:
        return
    for node in tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)):
        target = getattr(node, "template", None)
        if isinstance(target, nodes.Const):
            yield str(target.value), node.lineno


def check_template(
    environment: Environment,
    text: str,
    path: Path,
    variables: Mapping[str, Any],
    *,
    first: int,
    static: bool,
) -> list[Problem]:
    """Syntax errors and unknown variables of one text whose first line is line `first`."""
    try:
        tree = environment.parse(text)
        environment.compile(text)
    except TemplateError as error:
        line = getattr(error, "lineno", None) or 1
        return [Problem(path, line + first - 1, f"template: {error}", _syntax_mend(str(error)))]
    bound = {n.name for n in tree.find_all(nodes.Name) if n.ctx in ("store", "param")}
    bound |= {"loop", "caller", "varargs", "kwargs", "self", *environment.globals}
    bound |= {macro.name for macro in tree.find_all(nodes.Macro)}
    problems = []
    for node in tree.find_all(nodes.Name):
        if node.ctx != "load" or node.name in variables or node.name in bound:
            continue
        line = node.lineno + first - 1
        if static and any(node.name in names for names in DYNAMIC.values()):
            where = [n for n, names in DYNAMIC.items() if node.name in names]
            problems.append(
                Problem(
                    path,
                    line,
                    f"`{node.name}` changes between runs, and this text is in the static prefix",
                    f"Say it in a message that is appended: {', '.join(where[:3])}.",
                )
            )
        else:
            message = f"unknown variable `{node.name}`"
            problems.append(Problem(path, line, message, near(node.name, variables)))
    return problems


def _syntax_mend(message: str) -> str:
    if "'random'" in message:
        return "Nothing random may stand in a prompt."
    if "unknown tag" in message:
        return 'Write {{ "{%" }} where the text itself holds {%.'
    return ""


def values_of(static: StaticVariables) -> dict[str, Any]:
    """The static variables as a template sees them."""
    return asdict(static)
