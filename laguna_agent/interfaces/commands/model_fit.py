"""`laguna models fit`: which models fit, and of one every way to place it, with its speed."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from laguna_agent.errors import ExitCode, UsageError
from laguna_agent.interfaces.commands import what_if
from laguna_agent.interfaces.commands.command_line import (
    Actions,
    write_json,
    write_line,
    write_progress,
    write_table,
)
from laguna_agent.interfaces.commands.fit_report import (
    Candidate,
    candidates,
    fit_report,
    headers_of,
)
from laguna_agent.models.sizing.hardware import gpus, machine_memory
from laguna_agent.models.sizing.placement import Predictor

if TYPE_CHECKING:
    from laguna_agent.config import Config
    from laguna_agent.models.store import Store


def declare(actions: Actions) -> None:
    """Add the action to `laguna models`."""
    action = actions.add(
        "fit", _run, "Show which models fit, and of one all placements with their speed."
    )
    action.add_argument("model", metavar="NAME|PATH", nargs="?", help="default: all")
    action.add_argument("--context", type=int, metavar="N", help="tokens of context")
    action.add_argument(
        "--what-if", metavar="MACHINE", help=f"judge a machine you do not have: {what_if.FORM}"
    )
    action.add_json()


def _run(options: argparse.Namespace, config: Config, store: Store) -> int:
    if options.context is not None and options.context < 256:
        raise UsageError("--context must be 256 or more")
    engine = config.engine
    if options.context:
        engine = engine.model_copy(update={"context": options.context})
    memory, cards = machine_memory(), []
    if options.what_if is None:
        cards = gpus()
    else:
        memory, cards = what_if.parse(options.what_if, memory)
    models = candidates(options.model, store)
    predictor = _predictor(models, options) if options.model else None
    report = fit_report(models, engine, memory, cards, predictor)
    if options.json:
        write_json(report.as_json())
        return ExitCode.DONE
    write_line("\n".join([*report.heading(), ""]))
    write_table(report.table())
    for line in [*report.explanation(), *report.remarks()]:
        write_line(line)
    return ExitCode.DONE


def _predictor(models: Sequence[Candidate], options: argparse.Namespace) -> Predictor | None:
    """Predicts the speed of these models, by rates that are measured now unless they are known."""
    from laguna_agent.models.sizing.speed import machine_rates, types_of

    headers = headers_of(models)
    if not headers:
        return None
    rates = machine_rates(types_of(headers), lambda: write_progress("measuring this machine"))
    return Predictor(rates, imagined=options.what_if is not None) if rates else None
