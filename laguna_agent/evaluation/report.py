"""The report of one run or two, as figures and as one self-contained HTML page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from laguna_agent.evaluation.failures import CLASSES
from laguna_agent.evaluation.results import Result, RunFile
from laguna_agent.evaluation.statistics import mcnemar, median, wilson

_BUDGETS = (5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 600, 1200, 3600)
"""Seconds at which a report says how many attempts had passed."""


@dataclass(frozen=True)
class Rate:
    """How many of a group of attempts passed, and what they cost."""

    name: str
    passed: int
    total: int
    seconds_passed: float | None
    """Median seconds of the attempts that passed."""
    seconds_failed: float | None
    tokens: int
    """Tokens written."""
    discarded: int
    reused: int
    prompt: int

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the rate."""
        return wilson(self.passed, self.total)

    @property
    def waste(self) -> float | None:
        """The part of the tokens written that was discarded; None if none were written."""
        return self.discarded / self.tokens if self.tokens else None

    @property
    def reuse(self) -> float | None:
        """The part of the prompts' tokens that was not processed again."""
        return self.reused / self.prompt if self.prompt else None


@dataclass(frozen=True)
class Pairing:
    """Two variants on the same attempts."""

    first: str
    second: str
    both: int
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    neither: int

    @property
    def p(self) -> float:
        """The p-value of McNemar's exact test."""
        return mcnemar(len(self.only_first), len(self.only_second))


def rate(name: str, results: Sequence[Result]) -> Rate:
    """The figures of a group of results."""
    passed = [r for r in results if r.passed]
    return Rate(
        name=name,
        passed=len(passed),
        total=len(results),
        seconds_passed=median([r.duration_s for r in passed]),
        seconds_failed=median([r.duration_s for r in results if not r.passed]),
        tokens=sum(r.usage.completion_tokens for r in results),
        discarded=sum(r.discarded_tokens for r in results),
        reused=sum(r.usage.reused_tokens for r in results),
        prompt=sum(r.usage.prompt_tokens for r in results),
    )


def rates(results: Sequence[Result]) -> list[Rate]:
    """All results, and those of each tag."""
    tags = sorted({tag for result in results for tag in result.tags})
    groups = [rate(tag, [r for r in results if tag in r.tags]) for tag in tags]
    return [rate("all", results), *groups]


def failure_counts(results: Sequence[Result]) -> list[tuple[str, int]]:
    """How many failures there are of each class that occurs."""
    counts = Counter(r.failure for r in results if r.failure)
    return [(name, counts[name]) for name in CLASSES if counts[name]]


def within(results: Sequence[Result]) -> list[tuple[int, int]]:
    """Seconds, and how many attempts had passed by then: what a smaller limit would have given.
    Up to the first that all attempts had ended by."""
    longest = max((r.duration_s for r in results), default=0.0)
    last = next((n for n, seconds in enumerate(_BUDGETS) if seconds >= longest), len(_BUDGETS))
    passed = [r.duration_s for r in results if r.passed]
    return [(s, sum(took <= s for took in passed)) for s in _BUDGETS[: last + 1]]


def variants(results: Sequence[Result]) -> list[str]:
    """The variants in the order of their first results."""
    return list(dict.fromkeys(r.variant for r in results))


def pair(first: str, ones: Sequence[Result], second: str, others: Sequence[Result]) -> Pairing:
    """Compare two sets of results on the tasks and repeats that both have."""
    left = {(r.task, r.repeat): r.passed for r in ones}
    right = {(r.task, r.repeat): r.passed for r in others}
    shared = sorted({*left} & {*right})
    return Pairing(
        first,
        second,
        both=sum(left[key] and right[key] for key in shared),
        only_first=tuple(key[0] for key in shared if left[key] and not right[key]),
        only_second=tuple(key[0] for key in shared if right[key] and not left[key]),
        neither=sum(not left[key] and not right[key] for key in shared),
    )


def pairings(results: Sequence[Result]) -> list[Pairing]:
    """The first variant of a run against each of the others."""
    first, *others = variants(results) or [""]
    of = {name: [r for r in results if r.variant == name] for name in (first, *others)}
    return [pair(first, of[first], name, of[name]) for name in others]


def render(run: RunFile, results: Sequence[Result], pairs: Sequence[Pairing]) -> str:
    """The report as an HTML page without any reference to another file but the trajectories."""
    from jinja2 import Environment, StrictUndefined

    source = (files("laguna_agent.evaluation") / "report.html").read_text(encoding="utf-8")
    template = Environment(autoescape=True, undefined=StrictUndefined).from_string(source)
    named = variants(results)
    return template.render(
        run=run,
        variants=[
            {
                "name": name,
                "rates": rates([r for r in results if r.variant == name]),
                "failures": failure_counts([r for r in results if r.variant == name]),
            }
            for name in named
        ],
        tasks=sorted({r.task for r in results}),
        results=results,
        names=named,
        pairs=pairs,
        budgets=[s for s, _ in within(results)],
        passed_within={
            name: dict(within([r for r in results if r.variant == name])) for name in named
        },
    )


def write_report(folder: Path, run: RunFile, results: Sequence[Result]) -> Path:
    """Write `report.html` beside the results; returns its path."""
    path = folder / "report.html"
    path.write_text(render(run, results, pairings(results)), encoding="utf-8")
    return path
