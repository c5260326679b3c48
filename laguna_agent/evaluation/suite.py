"""Suites of tasks: a folder for each task, with what the agent is told and how its work is judged.

    SUITE/NAME/task.toml     the prompt, limits, tags, and the cases of the verification
    SUITE/NAME/files/        the workspace at the start, committed to a new git repository
    SUITE/NAME/hidden/       files that are added for the verification only
    SUITE/NAME/solution/     files that solve the task, to check the suite itself (`--check-suite`)

docs/evaluation.md describes `task.toml`.
"""

from __future__ import annotations

import hashlib
import os
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from laguna_agent.errors import UsageError, did_you_mean
from laguna_agent.programs import find_program

TASK_FILE = "task.toml"


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Case(_Table):
    """One condition of a verification: a command, Python code, a file, or files left unchanged.

    Commands and code run in the sandbox, in a copy of the workspace. What they print is compared
    outside it, so the work that is judged never sees what is expected.
    """

    run: str | None = None
    """A shell command."""
    python: str | None = None
    """Python code, the workspace on its path, that must run to its end."""
    file: str | None = None
    """A path, relative to the workspace, whose text is compared."""
    unchanged: tuple[str, ...] = ()
    """Patterns of paths that must be as they were after the set-up."""
    stdin: str = ""
    exit: int | Literal["any", "not 0"] = 0
    text: str | None = None
    """What is printed or stands in the file, without white space at its ends."""
    contains: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    exists: bool = True
    """Whether `file` exists at the end."""
    with_files: dict[str, str] = {}
    """Files of the task, by where to put them before this case: good and bad variants."""
    timeout: Annotated[float, Field(gt=0, le=600)] = 30.0

    @model_validator(mode="after")
    def _one_kind(self) -> Case:
        kinds = [self.run is not None, self.python is not None, self.file is not None]
        if sum([*kinds, bool(self.unchanged)]) != 1:
            raise ValueError("a case has exactly one of: run, python, file, unchanged")
        return self

    def describe(self) -> str:
        """The case in a line."""
        if self.file is not None:
            return f"file {self.file}"
        if self.unchanged:
            return f"unchanged {' '.join(self.unchanged)}"
        lines = (self.run or self.python or "").strip().split("\n")
        return lines[0] if len(lines) == 1 else f"{lines[0]} …"


class TaskFile(_Table):
    """`task.toml`."""

    prompt: Annotated[str, Field(min_length=1)]
    tags: tuple[str, ...] = ()
    check: str | None = None
    """Given to laguna as `--check`; other agents read the prompt alone."""
    setup: str | None = None
    """A shell command that runs in the sandbox before the agent; it may commit."""
    bundle: str | None = None
    """A git bundle in the task's folder, in place of `files/`."""
    needs: tuple[str, ...] = ()
    """Programs without which the task is left out."""
    timeout: Annotated[float, Field(gt=0)] = 300.0
    steps: Annotated[int, Field(gt=0)] = 50
    tries: Annotated[int, Field(ge=1, le=5)] = 1
    """With more than one, a failed verification is shown to the agent, which goes on."""
    solution: str | None = None
    """A shell command that solves the task, after the files of `solution/` are in place."""
    verify: Annotated[tuple[Case, ...], Field(min_length=1)]


@dataclass(frozen=True)
class Task:
    """One task of a suite."""

    name: str
    folder: Path
    file: TaskFile

    @property
    def missing(self) -> list[str]:
        """Programs that it needs and this machine lacks."""
        return [name for name in self.file.needs if find_program(name) is None]

    def digest(self) -> str:
        """SHA-256 of all that makes up the task, its path aside."""
        whole = hashlib.sha256()
        for path in sorted(p for p in self.folder.rglob("*") if p.is_file()):
            for part in (os.fsencode(path.relative_to(self.folder)), path.read_bytes()):
                whole.update(len(part).to_bytes(8, "big") + part)
        return whole.hexdigest()


@dataclass(frozen=True)
class Suite:
    """The tasks of a folder, in the order of their names."""

    name: str
    tasks: Sequence[Task]

    def digest(self) -> str:
        """SHA-256 of the tasks."""
        text = "\n".join(f"{task.name} {task.digest()}" for task in self.tasks)
        return hashlib.sha256(text.encode()).hexdigest()

    def chosen(self, names: Sequence[str], tags: Sequence[str]) -> Suite:
        """The tasks of these names that have one of these tags; empty sequences choose all.

        Raises UsageError if a name or tag is unknown, or nothing is left.
        """
        known = [task.name for task in self.tasks]
        for name in names:
            if name not in known:
                raise UsageError(
                    f"the suite {self.name} has no task {name}", hint=did_you_mean(name, known)
                )
        every = sorted({tag for task in self.tasks for tag in task.file.tags})
        for tag in tags:
            if tag not in every:
                raise UsageError(f"the suite {self.name} has no tag {tag}",
                                 hint=f"Tags: {', '.join(every)}.")  # fmt: skip
        left = [
            task
            for task in self.tasks
            if (not names or task.name in names) and (not tags or {*tags} & {*task.file.tags})
        ]
        if not left:
            raise UsageError(f"no task of the suite {self.name} has all that was asked for")
        return Suite(self.name, left)


def read_suite(folder: Path) -> Suite:
    """The suite in a folder. Raises UsageError."""
    tasks = [load_task(path.parent) for path in sorted(folder.glob(f"*/{TASK_FILE}"))]
    if not tasks:
        raise UsageError(f"{folder} holds no task", hint=f"A task is a folder with a {TASK_FILE}.")
    return Suite(folder.resolve().name, tasks)


def load_task(folder: Path) -> Task:
    """The task in a folder. Raises UsageError, which names the file and the key."""
    path = folder / TASK_FILE
    if not path.is_file():
        raise UsageError(f"{path} is not a plain file")
    try:
        file = TaskFile.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        what = first["msg"].removeprefix("Value error, ")
        raise UsageError(f"{path}: {key + ': ' if key else ''}{what}") from None
    named = [file.bundle] if file.bundle else []
    for case in file.verify:
        named += case.with_files.values()
    for name in named:
        inside = (folder / name).resolve().is_relative_to(folder.resolve())
        if not inside or not (folder / name).is_file():
            raise UsageError(f"{path}: there is no file {name} in the task's folder")
    for name in (name for case in file.verify for name in case.with_files):
        if os.path.isabs(name) or os.path.normpath(name).split("/")[0] in ("..", "."):
            raise UsageError(f"{path}: with_files puts {name} outside the workspace")
    for part in ("files", "hidden", "solution"):
        if (folder / part).is_symlink():
            raise UsageError(f"{folder / part} is a link", hint="Replace it by a plain folder.")
    for found in (folder / "files").rglob("*"):
        if found.name.casefold() == ".git":  # git would run what its settings name
            raise UsageError(f"{found}: the files of a task hold no repository",
                             hint="Give one as a `bundle`, or make it in `setup`.")  # fmt: skip
    return Task(folder.name, folder, file)
