"""The report of `laguna models experts` as one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from laguna_agent.interfaces.heat_map import shade
from laguna_agent.interfaces.routing_report import summary
from laguna_agent.plurals import counted
from laguna_agent.policy.sanitize import visible

_ROW, _MAP = 10, 1024
"""Height of a layer and width of a map, in units of the picture."""
_STYLE = """
  :root { color-scheme: light dark; --page: #ffffff; --text: #1f2328; --soft: #57606a;
    --line: #d0d7de; --s1: #eef2f7; --s2: #c6d9ee; --s3: #7fb0dc; --s4: #f0a23a; --s5: #c8321f; }
  @media (prefers-color-scheme: dark) { :root { --page: #0d1117; --text: #e6edf3; --soft: #9da7b3;
    --line: #30363d; --s1: #161d27; --s2: #1d3a5c; --s3: #2f74b5; --s4: #d98a1f; --s5: #ff5a45; } }
  body { background: var(--page); color: var(--text); margin: 2rem auto; max-width: 75rem;
    padding: 0 1rem; font: 15px/1.5 system-ui, sans-serif; }
  h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2.5rem; overflow-wrap: anywhere; }
  p { color: var(--soft); }
  svg { width: 100%; height: auto; border: 1px solid var(--line); display: block; }
  svg text { font: 8px ui-monospace, monospace; fill: var(--soft); }
  .s1 { fill: var(--s1); } .s2 { fill: var(--s2); } .s3 { fill: var(--s3); }
  .s4 { fill: var(--s4); } .s5 { fill: var(--s5); }
  .key { display: flex; flex-wrap: wrap; gap: 1rem; padding: 0; list-style: none; }
  .key svg { width: 1em; height: 1em; display: inline-block; vertical-align: -.1em; }
  .wide { overflow-x: auto; }
  table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
  th, td { padding: .15rem .8rem; text-align: right; border-bottom: 1px solid var(--line); }
  th { font-weight: 600; }
"""
_KEY = (
    "chosen by no token",
    "under half of the even share",
    "up to the even share",
    "up to twice",
    "up to three times",
    "more",
)


def page(report: dict[str, Any]) -> str:
    """The page, for what `make_report` returns."""
    layers, experts = report["layers"], report["experts"]
    about = (
        f"{counted(len(layers), 'layer')} of {experts} experts, {report['experts_used']} for each "
        "token. A row is a layer, a column an expert; the even share is what each would get if all "
        "were chosen equally often."
    )
    title = _text(f"Experts of {report['model']}")
    parts = [
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<style>{_STYLE}</style></head><body>\n<h1>{title}</h1>",
        f"<p>{about}</p>\n{_key()}",
    ]
    for text in report["texts"]:
        parts.append(f"<h2>{_text(text['name'])}</h2>\n<p>{_text(summary(text, experts))}.</p>")
        parts.append(_picture(text["load"], layers))
    parts.append(_table(report))
    parts.append("</body></html>\n")
    return "\n".join(parts)


def _key() -> str:
    items = [
        f'<li><svg viewBox="0 0 10 10"><path class="s{number}" d="M0 0h10v10h-10z"/></svg> '
        f"{meaning}</li>"
        for number, meaning in enumerate(_KEY)
    ]
    return f'<ul class="key">{"".join(items)}</ul>'.replace('class="s0"', 'fill="none"')


def _picture(load: Sequence[Sequence[float]], layers: Sequence[int]) -> str:
    """A map in SVG: one path for each shade, so that 10,000 cells take 150 kB."""
    experts, label = len(load[0]), 28
    cell = (_MAP - label) / experts
    paths: dict[int, list[str]] = {}
    for row, shares in enumerate(load):
        for expert, share in enumerate(shares):
            if number := shade(share, 1 / experts):
                at = f"M{label + expert * cell:.2f} {row * _ROW}h{cell:.2f}v{_ROW}h-{cell:.2f}z"
                paths.setdefault(number, []).append(at)
    names = "".join(
        f'<text x="{label - 4}" y="{row * _ROW + 8}" text-anchor="end">{layer}</text>'
        for row, layer in enumerate(layers)
    )
    drawn = "".join(
        f'<path class="s{number}" d="{"".join(path)}"/>' for number, path in sorted(paths.items())
    )
    height = _ROW * len(layers)
    return f'<svg viewBox="0 0 {_MAP} {height}" role="img">{names}{drawn}</svg>'


def _table(report: dict[str, Any]) -> str:
    headings = ["layer"]
    for number, text in enumerate(report["texts"], 1):
        which = f" {number}" if len(report["texts"]) > 1 else ""
        headings += [f"busiest tenth{which}", f"bits{which}", f"unused{which}"]
        del text
    names = [text["name"] for text in report["texts"]]
    pairs = report["agreement"]
    headings += [
        f"{names.index(pair['texts'][0]) + 1} and {names.index(pair['texts'][1]) + 1} agree"
        for pair in pairs
    ]
    rows = []
    for at, layer in enumerate(report["layers"]):
        cells = [str(layer)]
        for text in report["texts"]:
            cells += [f"{100 * text['busiest_tenth'][at]:.0f} %"]
            cells += [f"{text['entropy_bits'][at]:.2f}", str(text["unused"][at])]
        cells += [f"{pair['layers'][at]:.2f}" for pair in pairs]
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    numbered = "; ".join(f"{number}: {_text(name)}" for number, name in enumerate(names, 1))
    said = [f"{' and '.join(map(_text, pair['texts']))}: {pair['mean']:.2f}" for pair in pairs]
    halves = [f"{_text(text['name'])} {text['halves_agree']:.2f}" for text in report["texts"]
              if "halves_agree" in text]  # fmt: skip
    lines = [f"<h2>By layer</h2>\n<p>{numbered}.</p>"]
    if said:
        lines.append(
            f"<p>How much routing agrees, from 0 to 1: {'; '.join(said)}. To compare with: the "
            f"two halves of {', of '.join(halves)}.</p>"
        )
    head = "".join(f"<th>{heading}</th>" for heading in headings)
    lines.append(f'<div class="wide"><table><tr>{head}</tr>{"".join(rows)}</table></div>')
    return "\n".join(lines)


def _text(text: str) -> str:
    return escape(visible(text, single_line=True))
