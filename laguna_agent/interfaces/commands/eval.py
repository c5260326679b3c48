"""`laguna eval`: run a suite of tasks and report how many were solved, at what cost."""

from __future__ import annotations

import itertools
import os
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from laguna_agent.errors import ExitCode, UsageError
from laguna_agent.interfaces.commands.command_line import (
    Parser,
    run_async,
    whole_number,
    write_json,
    write_line,
)
from laguna_agent.policy.sanitize import visible

if TYPE_CHECKING:
    import argparse

    from laguna_agent.evaluation.agents import Variant
    from laguna_agent.evaluation.report import Pairing, Rate
    from laguna_agent.evaluation.results import Result
    from laguna_agent.evaluation.suite import Suite


def make_parser() -> Parser:
    """The command line of `laguna eval`."""
    parser = Parser(
        prog="laguna eval",
        description="Run a suite of tasks, verify each outside the agent's reach, and report.",
        examples=("laguna eval smoke", "laguna eval smoke --model starter --repeats 3"),
    )
    add = parser.add_argument
    add(
        "suite", nargs="?", metavar="SUITE", help="a name (docs/evaluation.md) or a folder of tasks"
    )
    add("--data", metavar="DIR", help="for polyglot: a clone of Aider's benchmark")
    add("--task", action="append", default=[], metavar="NAME", help="only this task")
    add("--tag", action="append", default=[], metavar="TAG", help="only tasks with this tag")
    add("--model", action="append", default=[], metavar="NAME", help="as for --task of laguna")
    add("--pack", action="append", default=[], metavar="NAME", help="as for --task of laguna")
    add("--agent-command", action="append", default=[], metavar="COMMAND",
        help="evaluate another agent; {prompt} stands for the prompt")  # fmt: skip
    add(
        "--repeats",
        type=whole_number(1),
        default=1,
        metavar="N",
        help="attempts at each task (default: 1)",
    )
    add("--seed", type=int, default=0, metavar="N", help="seed of the first repeat (default: 0)")
    add("--temperature", type=float, metavar="T", help="default: the model's own")
    add("--timeout", type=float, metavar="SECONDS", help="for each task (default: the task's own)")
    add(
        "--jobs",
        type=whole_number(1),
        default=1,
        metavar="N",
        help="tasks at a time, with servers only",
    )
    add("--out", metavar="DIR", help="folder of the results; a run that is there goes on")
    add("--compare", nargs=2, metavar="DIR", help="compare two runs on the tasks they share")
    add("--check-suite", action="store_true", help="check the suite by its own solutions")
    parser.add_json()
    return parser


def main(argv: Sequence[str]) -> int:
    """Run `laguna eval ARGV`; 0 when the run ended, whatever was solved."""
    options = make_parser().parse_args(argv)
    if options.compare:
        return _compare(Path(options.compare[0]), Path(options.compare[1]), json=options.json)
    if options.suite is None:
        raise UsageError("a suite is missing", hint="`laguna eval smoke` runs the short one.")
    if options.timeout is not None and options.timeout <= 0:
        raise UsageError("--timeout must be above 0")
    from laguna_agent.config import load_config
    from laguna_agent.evaluation.suite_source import open_suite

    data = Path(options.data) if options.data else None
    with open_suite(options.suite, data=data, offline=load_config().offline) as whole:
        suite = whole.chosen(options.task, options.tag)
        if options.check_suite:
            return _check_suite(suite)
        return _run(options, suite)


def _run(options: argparse.Namespace, suite: Suite) -> int:
    from laguna_agent import __version__
    from laguna_agent.evaluation import report, results
    from laguna_agent.evaluation.runner import Plan, run_suite

    variants = _variants(options)
    if options.jobs > 1:
        _refuse_local(variants)
    plan = Plan(
        suite, variants, options.repeats, options.seed, options.temperature, options.timeout,
        options.jobs,
    )  # fmt: skip
    folder = Path(options.out).expanduser().resolve() if options.out else _new_folder(suite.name)
    run = results.RunFile(
        suite=suite.name,
        suite_sha256=suite.digest(),
        tasks=tuple(task.name for task in suite.tasks),
        variants=tuple(vars(variant) for variant in variants),
        repeats=plan.repeats,
        seed=plan.seed,
        temperature=plan.temperature,
        timeout=plan.timeout,
        laguna=__version__,
        machine={"cores": os.cpu_count(), "processor": platform.machine()},
    )
    done = results.begin(folder, run)
    _say(f"results in {folder}")
    for task in suite.tasks:
        if task.missing:
            _say(f"{task.name} is left out: {', '.join(task.missing)} is missing")
    progress = _Progress(total=len(plan.attempts()), done=list(done), jobs=plan.jobs)
    try:
        run_async(run_suite(plan, folder, done, progress.show))
    except KeyboardInterrupt:
        _say(f"interrupted; the same command with --out {folder} goes on")
        return ExitCode.INTERRUPTED
    found = results.load_results(folder)
    page = report.write_report(folder, run, found)
    if options.json:
        write_json(_figures(found))
        return ExitCode.DONE
    for name in report.variants(found):
        own = [r for r in found if r.variant == name]
        write_line(f"\n{visible(name)}")
        for rate in report.rates(own):
            write_line(_rate_line(rate))
        for failure, count in report.failure_counts(own):
            write_line(f"  {count:3} × {failure}")
    for pairing in report.pairings(found):
        write_line(_pair_line(pairing))
    write_line(f"\nReport: {page}")
    return ExitCode.DONE


def _variants(options: argparse.Namespace) -> list[Variant]:
    from laguna_agent.evaluation.agents import Variant

    own = itertools.product(options.model or [None], options.pack or [None])
    variants = [Variant(model=model, pack=pack) for model, pack in own]
    if options.agent_command and not (options.model or options.pack):
        variants = []
    variants += [Variant(command=command) for command in options.agent_command]
    labels = [variant.label for variant in variants]
    if len(set(labels)) < len(labels):
        raise UsageError("two of the variants have the same name", hint=", ".join(labels))
    return variants


def _refuse_local(variants: Sequence[Variant]) -> None:
    from laguna_agent.config import load_config
    from laguna_agent.models.servers.providers import provider_of

    config = load_config()
    for variant in variants:
        model = variant.model or config.model or ""
        if not variant.command and provider_of(model, config.providers) is None:
            raise UsageError("--jobs is for models on a server: a local model uses all cores")


def _new_folder(suite: str) -> Path:
    from laguna_agent.paths import state_dir

    folder = state_dir() / "evaluations"
    for number in itertools.count(1):
        path = folder / f"{suite}-{number}"
        if not path.exists():
            break
    return path


class _Progress:
    """Prints a line for each result, with the time that is left."""

    def __init__(self, *, total: int, done: list[Result], jobs: int) -> None:
        self._total, self._done, self._jobs = total, done, jobs
        self._own = 0
        self._began = time.monotonic()
        if done:
            _say(f"{len(done)} of {total} attempts have a result already")

    def show(self, result: Result) -> None:
        """Print a result."""
        self._done.append(result)
        self._own += 1
        passed = sum(r.passed for r in self._done)
        left = self._total - len(self._done)
        seconds = (time.monotonic() - self._began) / self._own * left
        word = "passed" if result.passed else result.failure
        _say(
            f"[{len(self._done):3}/{self._total}] {result.task}  {word}  {result.duration_s:.0f} s"
            f"  ({passed} passed" + (f", {_duration(seconds)} left)" if left else ")")
        )


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _check_suite(suite: Suite) -> int:
    from laguna_agent.evaluation.runner import check_suite

    wrong: list[str] = []

    def on_problem(name: str, problem: str) -> None:
        if problem and not problem.startswith("left out"):
            wrong.append(name)
        write_line(f"{name}: {visible(problem) or 'fails at the start, passes when solved'}")

    run_async(check_suite(suite, on_problem))
    if wrong:
        _say(f"{len(wrong)} of {len(suite.tasks)} tasks are wrong: {', '.join(wrong)}")
        return ExitCode.FAILED
    return ExitCode.DONE


def _compare(first: Path, second: Path, *, json: bool) -> int:
    from laguna_agent.evaluation import report, results

    left, right = results.load_results(first), results.load_results(second)
    for folder, found in ((first, left), (second, right)):
        results.load_run(folder)
        if len(report.variants(found)) != 1:
            raise UsageError(f"{folder} does not hold the results of exactly one variant")
    pairing = report.pair(str(first), left, str(second), right)
    if json:
        write_json({**vars(pairing), "p": pairing.p})
    else:
        write_line(_pair_line(pairing))
    return ExitCode.DONE


def _figures(found: Sequence[Result]) -> list[dict[str, Any]]:
    from laguna_agent.evaluation import report

    return [
        {
            "variant": name,
            "rates": [
                {**vars(rate), "interval": rate.interval, "waste": rate.waste}
                for rate in report.rates([r for r in found if r.variant == name])
            ],
            "passed_within_s": report.within([r for r in found if r.variant == name]),
            "failures": dict(report.failure_counts([r for r in found if r.variant == name])),
        }
        for name in report.variants(found)
    ]


def _rate_line(rate: Rate) -> str:
    low, high = rate.interval
    line = f"  {rate.name:14} {rate.passed:3} of {rate.total:3}"
    line += f"  {100 * rate.passed / rate.total:3.0f}% ({100 * low:.0f} to {100 * high:.0f})"
    for word, value in (("passed", rate.seconds_passed), ("failed", rate.seconds_failed)):
        if value is not None:
            line += f"  {word} in {value:.0f} s"
    if rate.waste is not None:
        line += f"  {100 * rate.waste:.0f}% of {rate.tokens} tokens discarded"
    return line


def _pair_line(pairing: Pairing) -> str:
    return (
        f"{visible(pairing.first)} against {visible(pairing.second)}: both {pairing.both}, "
        f"only the first {len(pairing.only_first)}, only the second {len(pairing.only_second)}, "
        f"neither {pairing.neither}; p = {pairing.p:.3f}"
    )


def _say(text: str) -> None:
    sys.stderr.write(f"{visible(text)}\n")
    sys.stderr.flush()
