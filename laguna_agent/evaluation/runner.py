"""Runs a suite: every task with every variant, each in a fresh workspace, in a fixed order.

A run can be killed at any time and goes on from its last result. Workspaces have the same paths in
every run, since a path stands in the prompt and would change what a model draws.
"""

from __future__ import annotations

import asyncio
import fcntl
import itertools
import os
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from laguna_agent.errors import LagunaError
from laguna_agent.evaluation import failures
from laguna_agent.evaluation.agents import Run, Variant, run_laguna, run_other, take_trajectory
from laguna_agent.evaluation.results import CaseResult, Result, append
from laguna_agent.evaluation.suite import Suite, Task
from laguna_agent.evaluation.verification import Verdict, verify
from laguna_agent.evaluation.workspace import contents, make_workspace, solve

_MOST_RUNS = 64
"""Runs that one person may have at the same time."""


@dataclass(frozen=True)
class Plan:
    """What to run. `timeout` replaces the limits of the tasks, in seconds."""

    suite: Suite
    variants: Sequence[Variant]
    repeats: int = 1
    seed: int = 0
    temperature: float | None = None
    timeout: float | None = None
    jobs: int = 1

    def attempts(self) -> list[Attempt]:
        """All attempts, in the order in which they run."""
        return [
            Attempt(task, variant, repeat)
            for repeat, task, variant in itertools.product(
                range(self.repeats), self.suite.tasks, self.variants
            )
            if not task.missing
        ]


@dataclass(frozen=True)
class Attempt:
    """One task with one variant."""

    task: Task
    variant: Variant
    repeat: int

    @property
    def key(self) -> tuple[str, str, int]:
        """As `Result.key`."""
        return self.task.name, self.variant.label, self.repeat

    @property
    def name(self) -> str:
        """A name for files."""
        label = "".join(c if c.isalnum() or c in "-._" else "-" for c in self.variant.label)
        return f"{self.task.name}-{label}-{self.repeat}"


async def run_suite(
    plan: Plan, folder: Path, done: Sequence[Result], on_result: Callable[[Result], None]
) -> None:
    """Run the attempts that have no result yet, and append each result to the folder.

    Raises LagunaError when a workspace cannot be made.
    """
    finished = {result.key for result in done}
    left = [attempt for attempt in plan.attempts() if attempt.key not in finished]
    slots = asyncio.Semaphore(plan.jobs)
    places: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def run(attempt: Attempt, base: Path) -> None:
        place = base / f"{attempt.task.name}-{attempt.repeat}"
        async with places[place.name], slots:
            result = await attempt_task(plan, attempt, place, folder)
        append(folder, result)
        on_result(result)

    failed: Exception | None = None
    with _base() as base:
        try:
            async with asyncio.TaskGroup() as group:
                for attempt in left:
                    group.create_task(run(attempt, base))
        except* LagunaError as errors:
            failed = errors.exceptions[0]
    if failed is not None:  # raised above, older Pythons would put it into a group
        raise failed


async def attempt_task(plan: Plan, attempt: Attempt, place: Path, folder: Path) -> Result:
    """Make the workspace below `place`, let the agent work, and judge what it leaves."""
    task = attempt.task
    with _emptied(place):
        workspace = place / "repository"
        workspace.mkdir()
        await make_workspace(task, workspace)
        start = contents(workspace)
        deadline = plan.timeout or task.file.timeout
        began = time.monotonic()
        prompt, session, tries = task.file.prompt.strip(), None, 0
        while True:
            tries += 1
            left = max(1.0, deadline - (time.monotonic() - began))
            if attempt.variant.command:
                run = await run_other(task, attempt.variant, workspace, prompt=prompt, timeout=left)
            else:
                run = await run_laguna(
                    task, attempt.variant, workspace, prompt=prompt, timeout=left,
                    seed=plan.seed + attempt.repeat, temperature=plan.temperature, resume=session,
                )  # fmt: skip
            seconds = time.monotonic() - began
            verdicts = await verify(task, workspace, start, place)
            session = run.result.get("session")
            if all(v.passed for v in verdicts) or tries == task.file.tries or seconds >= deadline:
                break
            prompt = f"That is not right yet.\n{verdicts[-1].case}\n{verdicts[-1].detail}"
        trajectory = folder / "trajectories" / attempt.name
        recorded = take_trajectory(run, workspace, trajectory)
        effort = failures.read_effort(trajectory) if recorded else failures.Effort()
        (folder / "logs").mkdir(exist_ok=True)
        log = run.ended.err if run.result else f"{run.ended.out}\n{run.ended.err}"
        (folder / "logs" / f"{attempt.name}.txt").write_text(log, encoding="utf-8")
        after = contents(workspace)
    return _result(plan, attempt, run, verdicts, effort).model_copy(
        update={
            "duration_s": round(seconds, 2),
            "tries": tries,
            "files_changed": tuple(
                sorted(p for p in {*start, *after} if start.get(p) != after.get(p))
            ),
            "trajectory": f"trajectories/{attempt.name}/events.jsonl" if recorded else None,
        }
    )


def _result(
    plan: Plan, attempt: Attempt, run: Run, verdicts: Sequence[Verdict], effort: failures.Effort
) -> Result:
    passed = all(verdict.passed for verdict in verdicts)
    tests_changed = not passed and verdicts[-1].case.startswith("unchanged")
    failure = failures.classify(
        run.result, effort, timed_out=run.ended.timed_out, tests_changed=tests_changed
    )
    name, variant, repeat = attempt.key
    return Result(
        task=name,
        variant=variant,
        repeat=repeat,
        seed=plan.seed + repeat,
        tags=attempt.task.file.tags,
        passed=passed,
        failure=None if passed else failure,
        cases=tuple(CaseResult(case=v.case, passed=v.passed, detail=v.detail) for v in verdicts),
        status=str(run.result.get("status") or ""),
        exit_code=run.ended.code,
        error=run.result.get("error"),
        check=run.result.get("check"),
        steps=effort.steps,
        usage=effort.usage,
        discarded_tokens=effort.discarded_tokens,
        calls=dict(effort.calls),
    )


async def check_suite(suite: Suite, on_problem: Callable[[str, str], None]) -> None:
    """Check each task by itself: its verification fails at the start and passes once it is solved.

    `on_problem` gets the task's name and what is wrong, or an empty string.
    """
    with _base() as base:
        for task in suite.tasks:
            if task.missing:
                on_problem(task.name, f"left out: {', '.join(task.missing)} is missing")
                continue
            place = base / f"{task.name}-0"
            with _emptied(place):
                workspace = place / "repository"
                workspace.mkdir()
                await make_workspace(task, workspace)
                start = contents(workspace)
                problem = ""
                if all(v.passed for v in await verify(task, workspace, start, place)):
                    problem = "passes before anything is done"
                else:
                    await solve(task, workspace)
                    verdict = (await verify(task, workspace, start, place))[-1]
                    if not verdict.passed:
                        problem = f"fails when solved: {verdict.case}: {verdict.detail}"
            on_problem(task.name, problem)


@contextmanager
def _base() -> Iterator[Path]:
    """A private folder for workspaces, the same one in each run unless runs overlap."""
    for number in range(_MOST_RUNS):
        path = Path(tempfile.gettempdir()).resolve() / f"laguna-eval-{os.getuid()}-{number}"
        path.mkdir(mode=0o700, exist_ok=True)
        if path.is_symlink() or path.lstat().st_uid != os.getuid():
            continue
        lock = os.open(path / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield path
            return
        except BlockingIOError:
            continue
        finally:
            os.close(lock)
    raise LagunaError(f"{_MOST_RUNS} evaluations are running already")


@contextmanager
def _emptied(place: Path) -> Iterator[None]:
    """Empty a folder before and after."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    try:
        yield
    finally:
        shutil.rmtree(place, ignore_errors=True)
