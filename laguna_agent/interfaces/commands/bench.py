"""`laguna bench`: what the engine makes of this machine, against llama.cpp alone."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from laguna_agent.errors import ExitCode, UsageError

_NAME = 44
"""Columns of a figure's name."""

if TYPE_CHECKING:
    from laguna_agent.config import Config, EngineConfig
    from laguna_agent.models.engine.bench import Figure, Report


def main(argv: list[str]) -> int:
    """Run `laguna bench ARGV`; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="laguna bench",
        description="Measure load, prefill, decode, snapshots and speculation of a model here.",
    )
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--model", metavar="NAME|PATH", help="default: the configured model")
    group.add_argument(
        "--synthetic",
        choices=("tiny", "xs"),
        help="a made-up Laguna: tiny (8 MB) or of full XS geometry (18.95 GB, written once)",
    )
    parser.add_argument("--depths", default="0,4096,16384", metavar="N,N", help="tokens before")
    parser.add_argument("--tokens", type=int, default=64, help="tokens to decode at each depth")
    parser.add_argument("--rounds", type=int, default=3, help="repetitions; the median counts")
    parser.add_argument("--no-speculation", action="store_true", help="leave the drafts out")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    arguments = parser.parse_args(argv)
    try:
        depths = [int(part) for part in arguments.depths.split(",")]
    except ValueError as error:
        raise UsageError("--depths takes numbers with commas between them") from error
    if arguments.tokens < 2 or arguments.rounds < 1:
        raise UsageError("--tokens must be at least 2 and --rounds at least 1")

    from laguna_agent.config import load_config
    from laguna_agent.models.engine.bench import measure

    config = load_config()
    path = _model(arguments.model, arguments.synthetic, config)
    engine = config.engine
    if engine.context is None:
        # What is asked for, and room for the reply and the rewriting of a file.
        engine = engine.model_copy(update={"context": max(max(depths) + 1024, 8192)})
    _plan(path, engine)

    def show(report: Report, figure: Figure) -> None:
        """A run may take half an hour: what is known by then is not lost when it is ended."""
        if not arguments.json:
            heading = [_heading(report)] if len(report.figures) == 1 else []
            sys.stdout.write("\n".join([*heading, _line(figure)]) + "\n")
            sys.stdout.flush()

    report = asyncio.run(
        measure(
            path,
            config=engine,
            depths=depths,
            tokens=arguments.tokens,
            rounds=arguments.rounds,
            speculation=not arguments.no_speculation and arguments.synthetic is None,
            say=_say,
            show=show,
        )
    )
    if arguments.json:
        figures = [asdict(figure) for figure in report.figures]
        json.dump({"model": report.model, "figures": figures}, sys.stdout, indent=2)
        sys.stdout.write("\n")
    return int(ExitCode.DONE)


def _say(text: str) -> None:
    sys.stderr.write(f"… {text}\n")


def _model(name: str | None, synthetic: str | None, config: Config) -> Path:
    if synthetic is not None:
        from laguna_agent.models.engine.synthetic import cached_model

        return cached_model(synthetic, on_write=_say)
    from laguna_agent.models.store import resolve

    return resolve(name, config).path


def _plan(path: Path, engine: EngineConfig) -> None:
    from laguna_agent.config import EngineConfig
    from laguna_agent.models.gguf import read_header
    from laguna_agent.models.sizing.fit import gib, plan
    from laguna_agent.models.sizing.hardware import gpus

    assert isinstance(engine, EngineConfig)
    assert engine.context is not None
    needed = plan(read_header(path), engine.context, engine, gpus())
    _say(
        f"memory plan: {gib(needed.total)} (weights {gib(needed.weights)}, "
        f"KV {gib(needed.kv)}, work space {gib(needed.compute)})"
        + (f", {gib(needed.gpu)} of it on the graphics card" if needed.gpu else "")
        + (f", and up to {gib(needed.copies)} of copies" if needed.copies else "")
    )


def _heading(report: Report) -> str:
    model = report.model
    return (
        f"{model['architecture']} {model['quantization']}, {model['size_bytes'] / 1e9:.2f} GB, "
        f"context {model['context']}, {model['tuning']['threads']} threads"
    )


def _line(figure: Figure) -> str:
    line = f"  {figure.name:<{_NAME}}  {figure.value:10.3f} {figure.unit:<9}"
    if figure.ratio is not None:
        line += f" {figure.ratio:6.3f} × {figure.against}"
    return line.rstrip()
