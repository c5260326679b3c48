"""The report of `laguna models compare` as text."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from laguna_agent.byte_sizes import gib, gigabytes
from laguna_agent.policy.sanitize import visible

Figure = dict[str, float]


def report_lines(report: dict[str, Any]) -> list[str]:
    """Lines for a terminal: a table of all variants, then each against the reference."""
    width = shutil.get_terminal_size((80, 24)).columns
    how = (
        "measured in turns"
        if report["alternated"]
        else "measured one after the other, since they do not fit in memory together"
    )
    lines = textwrap.wrap(visible(f"Reference: {report['reference']}; {how}."), width)
    lines += ["", *_table(list(_rows(report["models"])), width)]
    for quality in report["quality"]:
        lines += _against(quality, report["reference"], width)
    note = (
        "In brackets: 95 % intervals, from 1,000 draws of blocks of 32 tokens (of continuations, "
        "from draws of those); of speeds the slowest and the fastest round."
    )
    return [*lines, "", *textwrap.wrap(note, width)]


def _rows(models: Sequence[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    def row(name: str, text: Callable[[dict[str, Any]], str]) -> tuple[str, ...]:
        return (name, *(text(model) for model in models))

    yield row("", lambda model: visible(model["name"], single_line=True))
    yield row("file", lambda model: f"{gigabytes(model['size_bytes'])} {model['quantization']}")
    yield row("KV cache", lambda model: f"{gib(model['kv_bytes'])} {model['kv_type']}")
    yield row("memory", lambda model: gib(model["memory_bytes"]))
    yield row("load", lambda model: f"{model['load_s']:.1f} s")
    yield row("first token", lambda model: _figure(model["first_token_s"], 2) + " s")
    for at, speed in enumerate(models[0]["speed"]):
        for kind in ("prefill", "decode"):
            rates = [_figure(model["speed"][at][kind]) + "/s" for model in models]
            yield (f"{kind} at {speed['depth']:,}", *rates)
    for text in models[0]["perplexity"]:
        found = [_figure(model["perplexity"][text]) for model in models]
        yield (f"perplexity, {visible(text, single_line=True)}", *found)


def _table(rows: Sequence[tuple[str, ...]], width: int) -> list[str]:
    """The rows side by side, or one variant below the other where the terminal is too narrow."""
    sizes = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    if sum(sizes) + 2 * len(sizes) - 2 <= width:
        return [
            "  ".join(cell.ljust(size) for cell, size in zip(row, sizes, strict=True)).rstrip()
            for row in rows
        ]
    lines = []
    for column in range(1, len(rows[0])):
        lines += textwrap.wrap(rows[0][column], width)
        for row in rows[1:]:
            lines += textwrap.wrap(f"{row[0]}: {row[column]}", width, initial_indent="  ",
                                   subsequent_indent="    ")  # fmt: skip
    return lines


def _against(quality: dict[str, Any], reference: str, width: int) -> list[str]:
    lines = []
    name = quality["name"]
    if "why" in quality:
        lines += [
            "",
            *textwrap.wrap(visible(f"{name} cannot be compared: {quality['why']}."), width),
        ]
    for text, found in quality["texts"].items():
        heading = f"{name} against {reference}, {text} ({found['tokens']:,} tokens)"
        lines += ["", *textwrap.wrap(visible(heading, single_line=True), width)]
        for line in _text_lines(found):
            lines += textwrap.wrap(line, width, initial_indent="  ", subsequent_indent="    ")
    return lines


def _text_lines(found: dict[str, Any]) -> Iterator[str]:
    yield f"KL divergence {_figure(found['divergence_mean'])} nats a token"
    yield f"  its 99th percentile {_figure(found['divergence_p99'])}"
    yield f"same likeliest token {_percent(found['same_top'])}"
    yield f"perplexity × {_figure(found['perplexity_ratio'], 4)}"
    if "continuations" in found:
        yield f"greedy continuations the same for {_percent(found['continuations'])} of them"
    routing = found["routing"]
    if routing is None:
        return
    layers = routing["layers"]
    least = min(layers, key=lambda layer: layers[layer]["value"])
    yield (
        f"same experts {_percent(routing['mean'])}; least in layer {least}: "
        f"{_percent(layers[least])}"
    )
    if (number := routing["strays_from_layer"]) is not None:
        before = [layer for layer in layers if int(layer) < number]
        after = cause = ""
        if before:
            after = f", after {_percent(layers[before[-1]])} in layer {before[-1]}"
            cause = f"the experts of layer {before[-1]} or "
        yield (
            f"ROUTING STRAYS from layer {number} on: {_percent(layers[str(number)])}{after}. "
            f"Suspect {cause}the router of layer {number}."
        )


def _figure(found: Figure, digits: int | None = None) -> str:
    value, low, high = (_number(found[key], digits) for key in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def _number(value: float, digits: int | None) -> str:
    if digits is not None:
        return f"{value:.{digits}f}"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _percent(found: Figure) -> str:
    value, low, high = (f"{100 * found[key]:.1f}" for key in ("value", "low", "high"))
    return f"{value} % ({low} to {high})"
