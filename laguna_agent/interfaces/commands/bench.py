"""`laguna bench`: measure the engine here, compared with llama.cpp alone, or a model server."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from laguna_agent.byte_sizes import gib
from laguna_agent.errors import ExitCode, UsageError
from laguna_agent.interfaces.commands.command_line import (
    Parser,
    run_async,
    write_json,
    write_line,
    write_progress,
)

if TYPE_CHECKING:
    from laguna_agent.config import Config, EngineConfig
    from laguna_agent.models.engine.bench import BenchReport, Figure

_NAME_WIDTH = 44
"""Columns of a figure's name."""
_LIMIT_S = 300
"""Seconds in which a run without --depths ends."""


def make_parser() -> Parser:
    """The command line of `laguna bench`."""
    parser = Parser(
        prog="laguna bench",
        description="Measure load, prefill, decode, snapshots and speculation of a model here, or "
        "reuse, first token and rates of a model server.",
        examples=(
            "laguna bench",
            "laguna bench --save",
            "laguna bench --against",
            "laguna bench --model starter --depths 0,4096 --json",
            "laguna bench --provider box/qwen3-coder",
        ),
    )
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--model", metavar="NAME|PATH", help="default: the configured model")
    group.add_argument(
        "--synthetic",
        choices=("tiny", "xs"),
        help="a made-up Laguna: tiny (8 MB), or with the geometry of XS (18.95 GB, written once)",
    )
    group.add_argument("--provider", metavar="NAME[/MODEL]",
                       help="a provider of config.toml; default: its first model")  # fmt: skip
    parser.add_argument("--depths", metavar="N,N",
                        help="tokens already in the context (default: of 0,1024,4096,16384 what "
                        "fits five minutes; of a server 1024,4096,16384)")  # fmt: skip
    parser.add_argument("--tokens", type=int, default=64, metavar="N",
                        help="tokens to decode at each depth (default: 64)")  # fmt: skip
    parser.add_argument("--rounds", type=int, default=3, metavar="N",
                        help="repetitions, of which the median counts (default: 3)")  # fmt: skip
    parser.add_argument("--no-speculation", action="store_true",
                        help="leave out the speculation figures")  # fmt: skip
    parser.add_argument("--save", action="store_true",
                        help="keep the result, one per model, machine and build")  # fmt: skip
    parser.add_argument("--against", nargs="?", const="", metavar="FILE",
                        help="compare with the result saved last, or with a file; exits with 1 "
                        "when something is slower by more than the spread")  # fmt: skip
    parser.add_json()
    return parser


def main(argv: Sequence[str]) -> int:
    """Run `laguna bench ARGV`; returns the exit code."""
    options = make_parser().parse_args(argv)
    try:
        given = options.depths or ("1024,4096,16384" if options.provider else "0,1024,4096,16384")
        depths = [int(part) for part in given.split(",")]
    except ValueError as error:
        raise UsageError("--depths must be numbers separated by commas") from error
    if options.tokens < 2 or options.rounds < 1:
        raise UsageError("--tokens must be at least 2 and --rounds at least 1")

    from laguna_agent.config import load_config

    config = load_config()
    if options.provider:
        if min(depths) < 1 or options.no_speculation:
            raise UsageError("--provider goes with depths from 1, and not with --no-speculation")
        if options.save or options.against is not None:
            raise UsageError("--save and --against are for models on this machine")
        from laguna_agent.interfaces.commands.bench_server import bench_server

        return run_async(
            bench_server(
                options.provider,
                config,
                depths=depths,
                tokens=options.tokens,
                rounds=options.rounds,
                as_json=options.json,
            )
        )

    from laguna_agent.models.engine import saved_bench
    from laguna_agent.models.engine.bench import measure

    path = _model(options.model, options.synthetic, config)
    before: dict[str, Any] | None = None
    if options.against is not None:
        against = Path(options.against) if options.against else saved_bench.last(path)
        before = saved_bench.load(against)
    engine = config.engine
    if engine.context is None:
        # Room for the deepest prompt, a reply and a rewritten file.
        engine = engine.model_copy(update={"context": max(max(depths) + 1024, 8192)})
    _report_plan(path, engine)

    def show(report: BenchReport, figure: Figure) -> None:
        """Print each figure at once: a run takes up to half an hour and may be interrupted."""
        if not options.json:
            if len(report.figures) == 1:
                write_line(_heading(report))
                if before is not None:
                    write_line(_compared(report, before))
            write_line(_line(figure, before))

    report = run_async(
        measure(
            path,
            config=engine,
            depths=depths,
            tokens=options.tokens,
            rounds=options.rounds,
            speculation=not options.no_speculation and options.synthetic is None,
            say=write_progress,
            show=show,
            limit_s=math.inf if options.depths else _LIMIT_S,
        )
    )
    slower = [figure.name for figure in report.figures if _change(figure, before)[1]]
    if options.json:
        write_json(saved_bench.content(report) | ({} if before is None else {"slower": slower}))
    else:
        if report.left_out:
            write_line(f"left out, to end within five minutes: {', '.join(report.left_out)}; "
                       "--depths measures what it names")  # fmt: skip
        if slower:
            write_line(f"slower by more than the spread: {', '.join(slower)}")
        elif before is not None:
            write_line("nothing is slower by more than the spread")
    if options.save:
        write_progress(f"saved as {saved_bench.save(report)}")
    return ExitCode.FAILED if slower else ExitCode.DONE


def _model(name: str | None, synthetic: str | None, config: Config) -> Path:
    if synthetic is not None:
        from laguna_agent.models.engine.synthetic import cached_model

        return cached_model(synthetic, on_write=write_progress)
    from laguna_agent.models.store import resolve

    return resolve(name, config).path


def _report_plan(path: Path, engine: EngineConfig) -> None:
    from laguna_agent.models.gguf import read_header
    from laguna_agent.models.sizing.fit import plan
    from laguna_agent.models.sizing.hardware import gpus

    assert engine.context is not None
    needed = plan(read_header(path), engine.context, engine, gpus())
    write_progress(
        f"memory plan: {gib(needed.total)} (weights {gib(needed.weights)}, "
        f"KV cache {gib(needed.kv)}, work space {gib(needed.compute)})"
        + (f", of which {gib(needed.gpu)} on the graphics card" if needed.gpu else "")
        + (f", plus up to {gib(needed.copies)} of cache checkpoints" if needed.copies else "")
    )


def _heading(report: BenchReport) -> str:
    model = report.model
    return (
        f"{model['architecture']} {model['quantization']}, {model['size_bytes'] / 1e9:.2f} GB, "
        f"context {model['context']}, {model['tuning']['threads']} threads"
    )


def _compared(report: BenchReport, before: dict[str, Any]) -> str:
    from laguna_agent.models.sizing.hardware import machine

    differs = []
    if before["build"] != report.model["build"]:
        differs.append(f"with {before['build'].split(' (')[0]}, other build")
    if (other := before.get("machine")) != machine():
        differs.append(f"on {other}, another machine")
    return ", ".join([f"before: {before.get('time', 'at an unknown time')}", *differs])


def _change(figure: Figure, before: dict[str, Any] | None) -> tuple[float, bool]:
    from laguna_agent.models.engine.saved_bench import change

    return (before and change(figure, before["figures"].get(figure.name))) or (0.0, False)


def _line(figure: Figure, before: dict[str, Any] | None) -> str:
    line = f"  {figure.name:<{_NAME_WIDTH}}  {figure.value:10.3f} {figure.unit:<9}"
    spread = ""
    if figure.low is not None and figure.high is not None and figure.value:
        spread = f"± {(figure.high - figure.low) / 2 / figure.value:.0%}"
    line += f" {spread:<6}"
    if figure.ratio is not None:
        line += f" {figure.ratio:6.3f} × {figure.against}"
    old = before["figures"].get(figure.name) if before else None
    if old is not None:
        relative, worse = _change(figure, before)
        line = f"{line:<98} was {old.value:.3f} ({relative:+.0%}{', slower' if worse else ''})"
    return line.rstrip()
