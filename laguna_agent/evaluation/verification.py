"""Judges the work of an agent, out of its reach.

Every case runs in a copy of its own of the workspace, to which the hidden files are added last, in
the sandbox and without a network. Exit codes alone prove little where the judged code runs in the
judging process (`sys.exit(0)` at import passes any test runner), so a case compares what is
printed, and code that is given as `python` must reach its last line.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from laguna_agent.evaluation.processes import Ended, run_process
from laguna_agent.evaluation.suite import Case, Task
from laguna_agent.evaluation.workspace import (
    changed,
    contents,
    copy_workspace,
    place,
    place_folder,
    read_text,
    sandbox_for,
)

_BEGINNING = """\
import ast, asyncio, collections, contextlib, csv, datetime, functools, io, itertools, json, math
import os, pathlib, re, subprocess, sys, tempfile, time, typing, unittest
sys.dont_write_bytecode = True
sys.path.insert(0, os.getcwd())
"""
"""Modules of the standard library come first, so that the workspace cannot replace them."""
_DETAIL = 2000
"""Characters of a verdict's detail, which an agent sees before its second try."""


@dataclass(frozen=True)
class Verdict:
    """Whether a case holds, and what was wrong if it does not."""

    case: str
    passed: bool
    detail: str = ""


async def verify(
    task: Task, workspace: Path, start: Mapping[str, str], folder: Path
) -> list[Verdict]:
    """Judge a workspace by the cases of its task, in order, up to the first that fails.

    `start` are the contents after the set-up; `folder` takes the copies.
    """
    verdicts: list[Verdict] = []
    for number, case in enumerate(task.file.verify):
        copy = folder / f"case-{number}"
        copy_workspace(workspace, copy)
        if (task.folder / "hidden").is_dir():
            place_folder(copy, task.folder / "hidden")
        for path, source in case.with_files.items():
            place(copy, path, task.folder / source)
        problem = await _problem(case, copy, start)
        verdicts.append(Verdict(case.describe(), not problem, problem[:_DETAIL]))
        shutil.rmtree(copy, ignore_errors=True)
        if problem:
            break
    return verdicts


async def _problem(case: Case, copy: Path, start: Mapping[str, str]) -> str:
    """What is wrong, or an empty string."""
    if case.unchanged:
        paths = changed(start, contents(copy), list(case.unchanged))
        return f"changed: {', '.join(paths)}" if paths else ""
    if case.file is not None:
        text = read_text(copy, case.file)
        if text is None:
            return f"there is no file {case.file}" if case.exists else ""
        return _compared(case, text) if case.exists else f"{case.file} exists"
    if case.python is not None:
        return await _run_python(case, copy)
    done = await _run(case, copy, ["/bin/sh", "-c", case.run or ""], case.stdin)
    return _exit_problem(case, done) or _compared(case, done.out)


async def _run_python(case: Case, copy: Path) -> str:
    end = secrets.token_hex(16)
    code = f"{_BEGINNING}\n{case.python}\nsys.__stdout__.write({end!r})\n"
    # From standard input: a file in the copy could be read by the code that is judged.
    done = await _run(case, copy, ["python3", "-I", "-"], code)
    if problem := _exit_problem(case, done):
        return problem
    if not done.out.endswith(end):
        return "the code did not reach its end"
    return _compared(case, done.out.removesuffix(end))


async def _run(case: Case, copy: Path, argv: list[str], stdin: str) -> Ended:
    sandbox = sandbox_for(copy)
    return await run_process(
        sandbox.wrap(argv, cwd=copy),
        cwd=copy,
        environment=sandbox.environment(),
        stdin=stdin,
        timeout=case.timeout,
        grace=0,
    )


def _exit_problem(case: Case, done: Ended) -> str:
    if done.timed_out:
        return f"not done after {case.timeout:g} s"
    if case.exit == "any" or (case.exit == "not 0" and done.code != 0) or case.exit == done.code:
        return ""
    shown = f"{done.out.strip()}\n{done.err.strip()}".strip()
    return f"exit {done.code}: {shown[-_DETAIL + 20 :]}"


def _compared(case: Case, text: str) -> str:
    if case.text is not None and text.strip() != case.text.strip():
        return f"expected {_short(case.text)}, got {_short(text)}"
    for part in case.contains:
        if part not in text:
            return f"{_short(part)} is missing"
    for part in case.lacks:
        if part in text:
            return f"{_short(part)} is there"
    return ""


def _short(text: str) -> str:
    return repr(text.strip()[:150])
