"""The results of an evaluation: a folder with `run.json`, `results.jsonl` and the trajectories.

run.json         what was run: suite, its digest, variants, seed, limits, machine
results.jsonl    one attempt a line, appended when it is verified
trajectories/    the session of each attempt
report.html      made from the two by `laguna eval`
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from laguna_agent.atomic_write import atomic_write
from laguna_agent.errors import UsageError
from laguna_agent.events import Usage

SCHEMA: Literal["laguna.eval/1"] = "laguna.eval/1"
RESULTS, RUN = "results.jsonl", "run.json"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class CaseResult(_Record):
    """How one case of the verification went."""

    case: str
    passed: bool
    detail: str = ""


class Result(_Record):
    """One attempt at a task."""

    schema_: Literal["laguna.eval/1"] = SCHEMA
    task: str
    variant: str
    repeat: int
    seed: int
    tags: tuple[str, ...] = ()
    passed: bool
    failure: str | None = None
    """The class of the failure; None when it passed."""
    cases: tuple[CaseResult, ...] = ()
    status: str = ""
    """laguna's own status: done, failed, denied, limit, error, interrupted."""
    exit_code: int = 0
    error: str | None = None
    check: dict[str, Any] | None = None
    duration_s: float = 0.0
    tries: int = 1
    steps: int = 0
    usage: Usage = Usage()
    discarded_tokens: int = 0
    """Tokens of replies that were discarded; `usage.completion_tokens` includes them."""
    calls: dict[str, int] = {}
    """Tool calls by name."""
    files_changed: tuple[str, ...] = ()
    trajectory: str | None = None
    """Path of the events, relative to the folder of the results."""

    @property
    def key(self) -> tuple[str, str, int]:
        """What no two results of a run share."""
        return self.task, self.variant, self.repeat


class RunFile(_Record):
    """`run.json`."""

    schema_: Literal["laguna.eval/1"] = SCHEMA
    suite: str
    suite_sha256: str
    tasks: tuple[str, ...]
    variants: tuple[dict[str, str | None], ...]
    repeats: int
    seed: int
    temperature: float | None
    timeout: float | None
    laguna: str
    machine: dict[str, Any] = {}


def begin(folder: Path, run: RunFile) -> list[Result]:
    """Make the folder of a run, or find the results of the same run in it.

    Raises UsageError if the folder holds another run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / RUN).exists():
        before = load_run(folder)
        differing = [
            name
            for name in RunFile.model_fields
            if name not in ("machine", "laguna") and getattr(run, name) != getattr(before, name)
        ]
        if differing:
            raise UsageError(
                f"{folder} holds another run ({', '.join(differing)} differ)",
                hint="Choose another folder with --out.",
            )
        _drop_torn_line(folder / RESULTS)
        return load_results(folder)
    if any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty and holds no run", hint="Choose another --out.")
    atomic_write(folder / RUN, run.model_dump_json(indent=2) + "\n", mode=0o644)
    return []


def append(folder: Path, result: Result) -> None:
    """Add a result, on disk when this returns."""
    with (folder / RESULTS).open("a", encoding="utf-8") as file:
        file.write(result.model_dump_json() + "\n")
        file.flush()
        os.fsync(file.fileno())


def load_run(folder: Path) -> RunFile:
    """What was run in a folder. Raises UsageError."""
    try:
        return RunFile.model_validate_json((folder / RUN).read_bytes())
    except OSError:
        raise UsageError(f"{folder} holds no evaluation: there is no {RUN}") from None
    except ValidationError:
        raise UsageError(f"{folder / RUN} cannot be read; it may be of a newer laguna") from None


def load_results(folder: Path) -> list[Result]:
    """The results in a folder, the last one of each attempt. Raises UsageError."""
    try:
        lines = (folder / RESULTS).read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    return list(_parsed(folder, lines))


def _parsed(folder: Path, lines: Iterable[bytes]) -> Iterable[Result]:
    found: dict[tuple[str, str, int], Result] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            result = Result.model_validate(json.loads(line))
        except ValueError:
            raise UsageError(f"line {number} of {folder / RESULTS} is damaged") from None
        found[result.key] = result
    return found.values()


def _drop_torn_line(path: Path) -> None:
    """Remove what a run that was killed left behind its last whole line."""
    if path.exists():
        data = path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if whole != data:
            atomic_write(path, whole, mode=0o644)
