"""Runs the agent that is evaluated on one workspace: laguna, or another one by its command."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from laguna_agent.evaluation.processes import Ended, run_process
from laguna_agent.evaluation.suite import Task
from laguna_agent.evaluation.workspace import sandbox_for
from laguna_agent.paths import repository_state_dir
from laguna_agent.programs import python_command

_MARGIN = 60.0
"""Seconds that laguna gets to end by itself after its own time limit."""
_ARGUMENT = "{prompt}"


@dataclass(frozen=True)
class Variant:
    """What is compared: a model and a pack of laguna, or the command of another agent."""

    model: str | None = None
    pack: str | None = None
    command: str | None = None
    """A shell command; `{prompt}` stands for the quoted prompt."""

    @property
    def label(self) -> str:
        """A name for reports."""
        if self.command:
            return os.path.basename(shlex.split(self.command)[0])
        return " ".join(part for part in (self.model, self.pack) if part) or "laguna"


@dataclass(frozen=True)
class Run:
    """How an agent's run ended. `result` is laguna's `--output json` object, if it printed one."""

    ended: Ended
    result: dict[str, Any]


async def run_laguna(
    task: Task,
    variant: Variant,
    workspace: Path,
    *,
    prompt: str,
    seed: int,
    temperature: float | None,
    timeout: float,
    resume: str | None = None,
) -> Run:
    """Let laguna do a task, as `laguna --task` does it, without memory of earlier runs."""
    command = python_command("laguna_agent.cli", "--task", "-", "--output", "json", "--no-memory")
    command += ["-C", str(workspace), "--mode", "auto", "--seed", str(seed)]
    command += ["--timeout", f"{timeout:.0f}", "--max-steps", str(task.file.steps)]
    for flag, value in (
        ("--model", variant.model),
        ("--pack", variant.pack),
        ("--check", task.file.check),
        ("--temperature", None if temperature is None else str(temperature)),
        ("--resume", resume),
    ):
        if value is not None:
            command += [flag, value]
    ended = await run_process(command, cwd=workspace, stdin=prompt, timeout=timeout + _MARGIN)
    try:
        result = json.loads(ended.out.strip().rpartition("\n")[2])
    except ValueError:
        result = {}
    return Run(ended, result if isinstance(result, dict) else {})


async def run_other(
    task: Task, variant: Variant, workspace: Path, *, prompt: str, timeout: float
) -> Run:
    """Let another agent do a task, with a fresh home directory and the network in a sandbox, which
    hides the suite."""
    assert variant.command is not None
    home = workspace.parent / f".{workspace.name}-home"
    home.mkdir(exist_ok=True)
    sandbox = sandbox_for(
        workspace, network=True, writable=[home], hidden=[task.folder.resolve().parent]
    )
    command = variant.command.replace(_ARGUMENT, shlex.quote(prompt))
    stdin = "" if _ARGUMENT in variant.command else prompt
    ended = await run_process(
        sandbox.wrap(["/bin/sh", "-c", command], cwd=workspace),
        cwd=workspace,
        environment={**sandbox.environment(), "HOME": str(home)},
        stdin=stdin,
        timeout=timeout,
    )
    return Run(ended, {})


def take_trajectory(run: Run, workspace: Path, target: Path) -> bool:
    """Move the session that a run recorded to `target`, and remove laguna's state of the workspace.

    False if there is none.
    """
    path = run.result.get("trajectory")
    source = Path(path).parent if isinstance(path, str) else None
    shutil.rmtree(target, ignore_errors=True)
    found = source is not None and source.is_dir()
    if found:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source or target, target)
    shutil.rmtree(repository_state_dir(workspace.resolve()), ignore_errors=True)
    return found
