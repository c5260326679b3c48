"""Runs the examples in the docstrings of Python functions that calls changed.

A failing example is told to the model. It is weaker than a check: documentation may be out of date,
and passing examples do not mean that the task is done.
"""

from __future__ import annotations

import json
import os
import secrets
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from laguna_agent.actions import RunCommand
from laguna_agent.agent.check.detection import is_test_file
from laguna_agent.agent.services import Services
from laguna_agent.clip import clip
from laguna_agent.events import ToolFinished
from laguna_agent.tools.code import examples
from laguna_agent.tools.code.examples import Examples, changed_examples
from laguna_agent.tools.files.encoding import decode
from laguna_agent.tools.files.workspace import PathError, read_bytes, resolve_path
from laguna_agent.tools.shell import new_session
from laguna_agent.tools.terminal.bash import ShellError

RUNNER = Path(examples.__file__).with_name("example_runner.py")
"""Read as text, never imported: `doctest`, which it needs, takes long to import."""
_TIMEOUT = 10.0
_SECONDS = 3
"""For the examples alone, once the module is imported."""
_LARGEST = 200_000
_EXAMPLE, _VALUE = 140, 70
"""Characters of an example, and of what it gives, that are told."""


class FailedExample(NamedTuple):
    """The first example that fails in a file that was changed."""

    path: str
    """As the model names it."""
    function: str
    example: str
    expected: str
    got: str

    @property
    def told(self) -> str:
        """In one line, for a person."""
        gives = f"`{self.example}` should give {self.expected} but gives {self.got}"
        return f"an example in the documentation of `{self.function}` fails: {gives}"


class ChangedExamples(NamedTuple):
    """A Python file, relative to the workspace, and the examples of its changed functions."""

    path: str
    functions: list[Examples]


def examples_of(services: Services, results: Sequence[ToolFinished]) -> list[ChangedExamples]:
    """The examples that edits concern, in files that may be run without asking."""
    found = []
    for result in results:
        path = result.files_changed[0] if len(result.files_changed) == 1 else ""
        if not result.diff or not path.endswith(".py") or is_test_file(path):
            continue
        if functions := changed_examples(_text(services, path), result.diff):
            shown = shlex.quote(services.tool_context.shown(path))
            start = str(services.tool_context.start)
            action = RunCommand(command=f"python3 -m doctest {shown}", cwd=start)
            if services.gate.decide(action, tool="done").verdict == "allow":
                found.append(ChangedExamples(path, functions))
    return found


def _text(services: Services, path: str) -> str:
    context = services.tool_context
    try:
        target = resolve_path(context, os.path.join(context.workspace, path))
        document = decode(read_bytes(target, _LARGEST))
    except (PathError, OSError):
        return ""
    return document.text if document else ""


async def first_failure(
    services: Services, changed: Sequence[ChangedExamples]
) -> FailedExample | None:
    """Run examples in a new shell; the first that fails, None too where they cannot be run."""
    for path, functions in changed:
        told = await _run(services, path, functions)
        if told is not None:
            name, example, expected, got = map(services.without_keys, told)
            return FailedExample(
                services.tool_context.shown(path),
                clip(name, _VALUE),
                clip(example, _EXAMPLE),
                clip(expected, _VALUE),
                clip(got, _VALUE),
            )
    return None


async def _run(services: Services, path: str, functions: Sequence[Examples]) -> list[str] | None:
    mark = secrets.token_hex(8)
    root, module = importable(services.tool_context.workspace, path)
    task = {
        "root": str(root),
        "module": module,
        "functions": [function._asdict() for function in functions],
        "seconds": _SECONDS,
        "mark": mark,
    }
    runner = RUNNER.read_text(encoding="utf-8")
    command = f"python3 -B -c {shlex.quote(runner)} {shlex.quote(json.dumps(task))} < /dev/null"
    session = new_session(services.tool_context)
    try:
        ran = await session.run(command, timeout=_TIMEOUT, on_output=lambda text: None)
    except ShellError:
        return None
    finally:
        await session.aclose()
    line = next((line for line in ran.text.split("\n") if line.startswith(mark)), "")
    try:
        told = json.loads(line.removeprefix(mark) or "null")
    except ValueError:
        return None
    is_told = isinstance(told, list) and len(told) == 4 and all(isinstance(t, str) for t in told)
    return told if is_told else None


def importable(workspace: Path, path: str) -> tuple[Path, str]:
    """The folder that a module is imported from, and its name there."""
    file = workspace / path
    parts = [file.stem]
    folder = file.parent
    while folder != workspace and (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    if file.stem == "__init__" and len(parts) > 1:
        parts.pop()
    return folder, ".".join(parts)
