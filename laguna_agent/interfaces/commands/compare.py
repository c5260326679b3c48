"""`laguna models compare`: two quantisations of a model, or types of its KV cache, side by side."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from laguna_agent.errors import ExitCode, UsageError
from laguna_agent.interfaces.commands.command_line import (
    Actions,
    run_async,
    whole_number,
    write_json,
    write_line,
    write_progress,
)
from laguna_agent.interfaces.commands.experts import read_text

if TYPE_CHECKING:
    from laguna_agent.config import Config
    from laguna_agent.models.comparison.comparison import Variant
    from laguna_agent.models.store import Store

_TOKENS = 1024
_KV_TYPES = ("f16", "q8_0", "q4_0")


def declare(actions: Actions) -> None:
    """Add the action to `laguna models`."""
    action = actions.add(
        "compare", _run, "Compare two quantisations of a model, or types of its KV cache, here."
    )
    action.add_argument("models", metavar="MODEL", nargs="+",
                        help="two names or paths; one with --kv")  # fmt: skip
    action.add_argument("--kv", metavar="TYPE,TYPE", type=_kv_types,
                        help=f"compare types of the KV cache: {', '.join(_KV_TYPES)}")  # fmt: skip
    action.add_argument("--reference", metavar="MODEL|TYPE",
                        help="what is taken to be right; default: the larger")  # fmt: skip
    action.add_argument("--text", metavar="FILE", action="append",
                        help="read this, not the built-in code and prose; repeatable")  # fmt: skip
    action.add_argument("--tokens", type=whole_number(2), default=_TOKENS, metavar="N",
                        help=f"of each text at most (default: {_TOKENS:,})")  # fmt: skip
    action.add_argument("--depths", metavar="N,N", type=_depths,
                        help="tokens in the context where speed is measured (default: 0; with "
                        "--kv 0,4096)")  # fmt: skip
    action.add_argument("--rounds", type=whole_number(1), default=3, metavar="N",
                        help="repetitions of each speed (default: 3)")  # fmt: skip
    action.add_json()


def _kv_types(text: str) -> list[str]:
    kinds = [kind.strip() for kind in text.split(",")]
    wrong = [kind for kind in kinds if kind not in _KV_TYPES]
    if wrong or len(set(kinds)) != len(kinds) or len(kinds) < 2:
        raise argparse.ArgumentTypeError(
            f"`{text}` is not two or more different ones of {', '.join(_KV_TYPES)}"
        )
    return kinds


def _depths(text: str) -> list[int]:
    return sorted({whole_number(0)(part.strip()) for part in text.split(",")})


def _run(options: argparse.Namespace, config: Config, store: Store) -> int:
    from laguna_agent.interfaces.commands.comparison_report import report_lines
    from laguna_agent.models.comparison.comparison import built_in_texts, compare

    if len(options.models) != (1 if options.kv else 2):
        raise UsageError(
            "give one model with --kv" if options.kv else "give two models, or one with --kv"
        )
    texts = built_in_texts()
    if options.text:
        texts = dict(read_text(given, number) for number, given in enumerate(options.text, 1))
    depths = options.depths or ([0, 4096] if options.kv else [0])
    variants = _variants(options, config, store, depths)
    report = run_async(
        compare(
            variants,
            _reference(options.reference, variants),
            texts,
            tokens=options.tokens,
            depths=depths,
            rounds=options.rounds,
            say=write_progress,
        )
    )
    if options.json:
        write_json(report)
    else:
        for line in report_lines(report):
            write_line(line)
    return ExitCode.DONE


def _variants(
    options: argparse.Namespace, config: Config, store: Store, depths: Sequence[int]
) -> list[Variant]:
    from laguna_agent.models.comparison.comparison import Variant, room_for
    from laguna_agent.models.gguf import read_header, require_supported
    from laguna_agent.models.store import resolve

    room = room_for(options.tokens, depths)
    found: list[Variant] = []
    for given in options.models:
        model = resolve(given, config, store=store)
        header = read_header(model.path)
        require_supported(header, model.path)
        if header.context_length and header.context_length < room:
            raise UsageError(
                f"{model.name} has a context of {header.context_length:,} tokens, and {room:,} "
                "are needed",
                hint="Give smaller --depths or fewer --tokens.",
            )
        settings: dict[str, Any] = {
            "context": room,
            "keep_alive": 0,
            "snapshots": False,
            "speculation": False,
        }
        for kind in options.kv or [config.engine.kv_type]:
            engine = config.engine.model_copy(update={**settings, "kv_type": kind})
            name = kind if options.kv else model.name
            found.append(Variant(name, Path(model.path), model.sha256, header, engine))
    if not options.kv:
        one, other = found
        if one.path.resolve() == other.path.resolve():
            raise UsageError("both are the same file", hint="Use --kv to compare KV cache types.")
        if one.name == other.name:
            from dataclasses import replace

            found = [replace(variant, name=str(variant.path)) for variant in found]
    return found


def _reference(wanted: str | None, variants: Sequence[Variant]) -> Variant:
    """The variant that is named, else the one with more bytes: of the file, or of the cache."""
    if wanted is not None:
        for variant in variants:
            if wanted in (variant.name, str(variant.path)) or (
                Path(wanted).expanduser().resolve() == variant.path.resolve()
                and len({one.path for one in variants}) > 1
            ):
                return variant
        names = ", ".join(variant.name for variant in variants)
        raise UsageError(f"--reference must be one of {names}")
    return min(variants, key=lambda one: (-one.header.size, _KV_TYPES.index(one.config.kv_type)))
