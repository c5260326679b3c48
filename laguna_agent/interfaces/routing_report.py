"""What `laguna models experts` and `/experts` show of the routing: its figures and its map."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from itertools import combinations
from math import log2
from typing import TYPE_CHECKING, Any

from laguna_agent.interfaces.heat_map import HeatMap, heat_map
from laguna_agent.plurals import counted
from laguna_agent.policy.sanitize import visible

if TYPE_CHECKING:
    from laguna_agent.models.routing import Routing

_COLOURS = ("", "38;5;240", "38;5;67", "38;5;179", "38;5;208", "38;5;196")
"""A colour for each shade of a heat map."""


def make_report(model: str, routings: Sequence[Routing]) -> dict[str, Any]:
    """All figures as JSON has them. Shares are fractions, of layers x experts where nested."""
    from laguna_agent.models.routing import busiest_tenth, entropy, overlap, unused

    texts, loads = [], []
    for routing in routings:
        load = routing.load()
        loads.append(load)
        one = {
            "name": routing.name,
            "tokens": routing.tokens,
            "load": load.round(6).tolist(),
            "weight": routing.weight().round(6).tolist(),
            "entropy_bits": entropy(load).round(4).tolist(),
            "busiest_tenth": busiest_tenth(load).round(4).tolist(),
            "unused": unused(load).tolist(),
        }
        if routing.tokens > 1:
            halves = overlap(routing.half(0).load(), routing.half(1).load())
            one["halves_agree"] = round(float(halves.mean()), 4)
        texts.append(one)
    agreement = []
    for (one, other), (left, right) in zip(
        combinations(texts, 2), combinations(loads, 2), strict=True
    ):
        layers = overlap(left, right)
        agreement.append(
            {
                "texts": [one["name"], other["name"]],
                "mean": round(float(layers.mean()), 4),
                "layers": layers.round(4).tolist(),
            }
        )
    return {
        "model": model,
        "experts": routings[0].experts,
        "experts_used": routings[0].used,
        "layers": list(routings[0].layers),
        "texts": texts,
        "agreement": agreement,
    }


def report_lines(report: dict[str, Any], width: int, *, colour: bool) -> list[str]:
    """The report for a terminal."""
    layers = report["layers"]
    about = (
        f"{report['model']}: {counted(len(layers), 'layer')} of {report['experts']} experts, "
        f"{report['experts_used']} for each token"
    )
    lines = textwrap.wrap(visible(about), width)
    for text in report["texts"]:
        about = f"{text['name']}, {summary(text, report['experts'])}"
        lines += ["", *textwrap.wrap(visible(about), width)]
        drawn = map_of(text, layers, width)
        lines += [drawn.heading.rstrip(), *_drawn(drawn, colour=colour)]
        lines += [drawn.legend(), *textwrap.wrap(drawn.note(), width)]
    if report["agreement"]:
        lines += ["", "How much the texts' routing agrees:"]
    for pair in report["agreement"]:
        worst = min(range(len(layers)), key=pair["layers"].__getitem__)
        lines += textwrap.wrap(
            visible(
                f"{' – '.join(pair['texts'])}: {pair['mean']:.2f} "
                f"(least in layer {layers[worst]}: {pair['layers'][worst]:.2f})"
            ),
            width,
        )
    halves = [f"{text['name']} {text['halves_agree']:.2f}" for text in report["texts"]
              if "halves_agree" in text]  # fmt: skip
    if halves and report["agreement"]:
        note = f"To compare with: the two halves of {', of '.join(halves)}."
        lines += textwrap.wrap(visible(note), width)
    return lines


def summary(text: dict[str, Any], experts: int) -> str:
    """A text's figures over all layers, in a sentence."""
    tenth, bits, unused = text["busiest_tenth"], text["entropy_bits"], text["unused"]
    return (
        f"{counted(text['tokens'], 'token')}: the busiest tenth of a layer's "
        f"experts takes {_percent(sum(tenth) / len(tenth))} of the choices "
        f"({_percent(min(tenth))} to {_percent(max(tenth))}), entropy "
        f"{sum(bits) / len(bits):.1f} of {log2(experts):.1f} bits, "
        f"{sum(unused) / len(unused):.1f} of {experts} experts unused"
    )


def map_of(text: dict[str, Any], layers: Sequence[int], width: int) -> HeatMap:
    """The heat map of a text, with its figures by layer."""
    columns = zip(text["busiest_tenth"], text["unused"], text["entropy_bits"], strict=True)
    figures = [(_percent(tenth), str(unused), f"{bits:.2f}") for tenth, unused, bits in columns]
    return heat_map(layers, text["load"], figures, ("tenth", "unused", "bits"), width)


def _drawn(drawn: HeatMap, *, colour: bool) -> list[str]:
    label = max(2, *(len(str(row.layer)) for row in drawn.rows))
    lines = []
    for row in drawn.rows:
        cells = row.cells
        if colour:
            cells = "".join(
                f"\x1b[{_COLOURS[shade]}m{cell}\x1b[0m" if shade else cell
                for shade, cell in zip(row.shades, row.cells, strict=True)
            )
        lines.append(f"{row.layer:>{label}} {cells}{row.figures}".rstrip())
    return lines


def _percent(share: float) -> str:
    return f"{100 * share:.0f}%"
