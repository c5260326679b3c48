"""Draws `docs/pictures/architecture.svg` from the imports of the package: `make architecture`.

Boxes are packages, placed by layer; arrows are imports between them, and their width is a class of
how many there are. Exact counts are left out on purpose: the picture changes when the structure
does, not with every import.
"""

from __future__ import annotations

from collections import Counter
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import grimp

ROOT = Path(__file__).resolve().parents[2]
PICTURE = ROOT / "docs" / "pictures" / "architecture.svg"
WIDTH, MARGIN, GAP = 900, 34, 20
INNER = WIDTH - 2 * MARGIN

ABOUT = {
    "cli": ("cli", "commands and flags; imports only what the command line asks for"),
    "interfaces": ("headless", "--task: text, JSON, exit codes"),
    "interfaces.commands": ("commands", "laguna models, sessions, doctor, …"),
    "interfaces.tui": ("tui", "the terminal interface"),
    "evaluation": ("evaluation", "suites of tasks, verified"),
    "agent": ("agent", "one turn: generate a reply, run its tool calls, decide what is next"),
    "models": ("models", "model files, the engine process, chat formats"),
    "prompts": ("prompts", "packs: all the text that a model reads"),
    "tools": ("tools", "what a model can do in the workspace"),
    "policy": ("policy", "the gate: allow, ask or deny; the sandbox"),
    "memory": ("memory", "summaries of past work, and recall"),
    "trajectory": ("trajectory", "the append-only record of a session"),
}
"""Title and description of each box. The names are those of packages below `laguna_agent`."""

FACES = ("evaluation", "interfaces.commands", "interfaces", "interfaces.tui")
PARTS = ("models", "prompts", "tools", "policy", "memory", "trajectory")
"""The packages that the agent puts together, ordered so that those that import each other touch."""

CLASSES = (
    (25, 5.0, "25 or more imports"),
    (10, 3.4, "10 to 24"),
    (3, 2.2, "3 to 9"),
    (1, 1.2, "1 or 2"),
)

STYLE = """
  text { font-family: system-ui, -apple-system, 'Segoe UI', 'Helvetica Neue', Arial, sans-serif;
         font-size: 12px; fill: #57606a; }
  .name { font-size: 15px; font-weight: 600; fill: #1f2328; }
  .code { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace;
          font-size: 10.5px; }
  .small { font-size: 11px; }
  .page { fill: #ffffff; stroke: #d0d7de; }
  .box { stroke-width: 1.2; }
  .faces { fill: #eef4ff; stroke: #7aa2e3; }
  .agent { fill: #fff1e0; stroke: #dd9a45; }
  .parts { fill: #ecf8ef; stroke: #6bb182; }
  .base { fill: #f3f1fb; stroke: #9d8fd1; }
  .chip { fill: #ffffff; stroke: #c9c0e8; }
  .line { fill: none; }
  .l-faces { stroke: #7aa2e3; } .l-agent { stroke: #dd9a45; }
  .l-parts { stroke: #6bb182; } .l-base { stroke: #8c959f; }
  .h-faces { fill: #7aa2e3; } .h-agent { fill: #dd9a45; } .h-parts { fill: #6bb182; }
  @media (prefers-color-scheme: dark) {
    text { fill: #9da7b3; }
    .name { fill: #e6edf3; }
    .page { fill: #0d1117; stroke: #30363d; }
    .faces { fill: #16243c; stroke: #4a76bd; }
    .agent { fill: #33230f; stroke: #b57a2c; }
    .parts { fill: #12291a; stroke: #418458; }
    .base { fill: #211c35; stroke: #7463b3; }
    .chip { fill: #0d1117; stroke: #5a4d8f; }
    .l-faces { stroke: #4a76bd; } .l-agent { stroke: #b57a2c; } .l-parts { stroke: #418458; }
    .h-faces { fill: #4a76bd; } .h-agent { fill: #b57a2c; } .h-parts { fill: #418458; }
  }
"""


class Structure(NamedTuple):
    """What the picture shows of the package."""

    imports: Counter[tuple[str, str]]
    """Pairs of boxes to the number of imports between their modules; the target may be `base`."""
    folders: dict[str, list[str]]
    """Boxes to the packages in them."""
    base: list[str]
    """Modules at the top of the package, which all the others share."""


def structure() -> Structure:
    """Read the imports, those for type checking and within functions included."""
    graph = grimp.build_graph("laguna_agent", cache_dir=None)
    base = sorted(
        name
        for module in graph.find_children("laguna_agent")
        if (name := module.rpartition(".")[2]) not in ABOUT and not graph.find_children(module)
    )
    imports: Counter[tuple[str, str]] = Counter()
    for module in graph.modules:
        for target in graph.find_modules_directly_imported_by(module):
            pair = _box(module, base), _box(target, base)
            if pair[0] != pair[1] and "" not in pair:
                imports[pair] += 1
    imports["cli", "interfaces.commands"] += 1  # by name, which the graph cannot see
    folders = {
        box: sorted(
            child.rpartition(".")[2]
            for child in graph.find_children(f"laguna_agent.{box}")
            if graph.find_children(child) and child.removeprefix("laguna_agent.") not in ABOUT
        )
        for box in ABOUT
    }
    return Structure(imports, folders, base)


def _box(module: str, base: list[str]) -> str:
    """The box that a module is drawn in; nothing for the package itself. Raises LookupError."""
    parts = module.split(".")[1:]
    if not parts:
        return ""
    if parts[0] in base:
        return "base"
    inner = ".".join(parts[:2])
    if inner in ABOUT:
        return inner
    if parts[0] not in ABOUT:
        raise LookupError(f"{module} has no place in the picture: give it one in {__file__}")
    return parts[0]


def svg() -> str:
    """The picture, the same text for the same imports."""
    found = structure()
    drawing = _Drawing(found.imports)
    faces_top, agent_top, parts_top, base_top = 24, 224, 354, 540
    width = (INNER - (len(FACES) - 1) * GAP) / len(FACES)
    drawing.box("cli", "faces", MARGIN, faces_top, INNER, 50)
    for at, name in enumerate(FACES):
        left = MARGIN + at * (width + GAP)
        drawing.box(name, "faces", left, faces_top + 84, width, 76, found.folders[name])
    drawing.box("agent", "agent", MARGIN, agent_top, INNER, 74, found.folders["agent"])
    width = (INNER - 5 * GAP) / 6
    for at, name in enumerate(PARTS):
        left = MARGIN + at * (width + GAP)
        drawing.box(name, "parts", left, parts_top, width, 132, found.folders[name])
    bottom = drawing.base(found.base, base_top)

    for name in FACES:
        drawing.fall("cli", name, drawing.middle(name))
    for left, right in pairwise(FACES):
        drawing.across(left, right)
    drawing.under(FACES[3], FACES[1])
    drawing.under(FACES[1], FACES[3])
    drawing.fall(("cli", *FACES), "agent", WIDTH / 2)
    for name in PARTS:
        drawing.fall("agent", name, drawing.middle(name) - 22)
        drawing.fall(("cli", *FACES), name, drawing.middle(name) + 22, below="agent")
        drawing.fall(name, "base", drawing.middle(name))
    for left, right in pairwise(PARTS):
        drawing.across(left, right)
    drawing.rail("agent", MARGIN / 2, base_top + 26)
    drawing.rail(("cli", *FACES), WIDTH - MARGIN / 2, base_top + 26)
    drawing.check()
    return drawing.text(bottom + 36)


class _Rectangle(NamedTuple):
    left: float
    top: float
    width: float
    height: float

    @property
    def bottom(self) -> float:
        return self.top + self.height

    @property
    def right(self) -> float:
        return self.left + self.width


class _Drawing:
    """Collects boxes and arrows; arrows are drawn first, so that they pass behind boxes."""

    def __init__(self, imports: Counter[tuple[str, str]]) -> None:
        self._imports = imports
        self._drawn: set[tuple[str, str]] = set()
        self._places: dict[str, _Rectangle] = {}
        self._style: dict[str, str] = {"base": "base"}
        self._boxes: list[str] = []
        self._arrows: list[str] = []

    def middle(self, name: str) -> float:
        """The middle of a box, from left to right."""
        place = self._places[name]
        return place.left + place.width / 2

    def box(self, name: str, style: str, left: float, top: float, width: float, height: float,
            folders: list[str] | None = None) -> None:  # fmt: skip
        """A package: its name, what it is, and the folders in it."""
        place = _Rectangle(left, top, width, height)
        self._places[name], self._style[name] = place, style
        title, about = ABOUT[name]
        self._rectangle(place, style)
        x = place.left + place.width / 2
        rows = _wrapped(about, int(width / 6.8))
        y = place.top + 22
        self._text(x, y, title, "name")
        for row in rows:
            y += 16
            self._text(x, y, row, "small")
        y += 2
        for row in _wrapped("  ".join(folders or ()), int(width / 7.2)):
            y += 15
            self._text(x, y, row, "code")

    def base(self, names: list[str], top: float) -> float:
        """The modules that everything above may use, in as many rows as they need."""
        rows: list[list[tuple[str, float]]] = [[]]
        for name in names:
            width = len(name) * 7.4 + 20
            if sum(taken + 10 for _, taken in rows[-1]) + width > INNER - 20:
                rows.append([])
            rows[-1].append((name, width))
        place = _Rectangle(MARGIN, top, INNER, 42 + 34 * len(rows))
        self._places["base"] = place
        self._rectangle(place, "base")
        title = "shared modules: one idea each, used by all of the above"
        self._text(WIDTH / 2, top + 22, title, "small")
        for at, row in enumerate(rows):
            x = WIDTH / 2 - (sum(width + 10 for _, width in row) - 10) / 2
            y = top + 36 + 34 * at
            for name, width in row:
                self._boxes.append(
                    f'<rect class="box chip" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" '
                    'height="26" rx="6"/>'
                )
                self._text(x + width / 2, y + 17, name, "code")
                x += width + 10
        return place.bottom

    def fall(self, sources: str | tuple[str, ...], target: str, x: float, below: str = "") -> None:
        """An arrow down to `target`; from several sources it starts at the lowest of them."""
        names = (sources,) if isinstance(sources, str) else sources
        count = self._count(names, target)
        if not count:
            return
        start = self._places[below] if below else self._places[names[-1]]
        top = start.bottom if not below else self._places[FACES[-1]].bottom
        end = self._places[target].top
        style = self._style[names[0]]
        self._arrows.append(_line(f"M{x:.1f} {top:.1f} V{end - 9:.1f}", style, count))
        self._arrows.append(_head(x, end, style, "down"))

    def across(self, left: str, right: str) -> None:
        """Arrows between two boxes side by side."""
        for source, target, direction in ((left, right, 1), (right, left, -1)):
            count = self._count((source,), target)
            if not count:
                continue
            a, b = self._places[left], self._places[right]
            y = a.top + a.height / 2 + 8 * direction
            start, end = (a.right, b.left) if direction == 1 else (b.left, a.right)
            style = self._style[source]
            self._arrows.append(
                _line(f"M{start:.1f} {y:.1f} H{end - 8 * direction:.1f}", style, count)
            )
            self._arrows.append(_head(end, y, style, "right" if direction == 1 else "left"))

    def under(self, source: str, target: str) -> None:
        """An arrow that passes below the boxes between two in one row."""
        count = self._count((source,), target)
        if not count:
            return
        a, b, style = self._places[source], self._places[target], self._style[source]
        toward = 1 if a.left < b.left else -1
        start, end = self.middle(source) + 60 * toward, self.middle(target) - 60 * toward
        path = f"M{start:.1f} {a.bottom:.1f} v16 H{end:.1f} V{b.bottom + 9:.1f}"
        self._arrows.append(_line(path, style, count))
        self._arrows.append(_head(end, b.bottom, style, "up"))

    def rail(self, sources: str | tuple[str, ...], x: float, y: float) -> None:
        """An arrow along the edge of the picture, to the shared modules."""
        names = (sources,) if isinstance(sources, str) else sources
        count = self._count(names, "base")
        if not count:
            return
        start, base, style = self._places[names[-1]], self._places["base"], self._style[names[0]]
        from_left = x < WIDTH / 2
        edge = start.left if from_left else start.right
        end = base.left if from_left else base.right
        sign = 1 if from_left else -1
        middle = start.top + start.height / 2
        path = f"M{edge:.1f} {middle:.1f} H{x:.1f} V{y:.1f} H{end - 8 * sign:.1f}"
        self._arrows.append(_line(path, style, count))
        self._arrows.append(_head(end, y, style, "right" if from_left else "left"))

    def check(self) -> None:
        """Every import is on the picture. Raises LookupError."""
        missing = sorted(set(self._imports) - self._drawn)
        if missing:
            raise LookupError(f"imports that the picture has no arrow for: {missing}")

    def text(self, height: float) -> str:
        """The document."""
        legend = [f'<text class="small" x="{MARGIN}" y="{height - 14:.0f}">arrow: imports</text>']
        x = MARGIN + 96.0
        for _, width, about in reversed(CLASSES):
            y = height - 18
            legend.append(
                f'<path class="line l-base" stroke-width="{width}" d="M{x:.0f} {y:.0f} h28"/>'
                f'<text class="small" x="{x + 35:.0f}" y="{height - 14:.0f}">{about}</text>'
            )
            x += 62 + 6.2 * len(about)
        about = "behind the agent: all interfaces together"
        legend.append(f'<text class="small" x="{x:.0f}" y="{height - 14:.0f}">{about}</text>')
        body = "\n".join((*self._arrows, *self._boxes, *legend))
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" '
            f'width="{WIDTH}" height="{height:.0f}" role="img" '
            'aria-label="The packages of laguna by layer, and the imports between them">\n'
            f"<style>{STYLE}</style>\n"
            f'<rect class="page" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1:.0f}" '
            f'rx="10"/>\n{body}\n</svg>\n'
        )

    def _count(self, sources: tuple[str, ...], target: str) -> int:
        pairs = [(source, target) for source in sources]
        self._drawn.update(pairs)
        return sum(self._imports[pair] for pair in pairs)

    def _rectangle(self, place: _Rectangle, style: str) -> None:
        self._boxes.append(
            f'<rect class="box {style}" x="{place.left:.1f}" y="{place.top:.1f}" '
            f'width="{place.width:.1f}" height="{place.height:.1f}" rx="8"/>'
        )

    def _text(self, x: float, y: float, text: str, style: str) -> None:
        self._boxes.append(
            f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="middle">'
            f"{escape(text)}</text>"
        )


def _line(path: str, style: str, count: int) -> str:
    width = next(width for least, width, _ in CLASSES if count >= least)
    return f'<path class="line l-{style}" stroke-width="{width}" d="{path}"/>'


def _head(x: float, y: float, style: str, direction: str) -> str:
    points = {
        "down": ((x, y - 1), (x - 6, y - 11), (x + 6, y - 11)),
        "up": ((x, y + 1), (x - 6, y + 11), (x + 6, y + 11)),
        "right": ((x - 1, y), (x - 10, y - 5), (x - 10, y + 5)),
        "left": ((x + 1, y), (x + 10, y - 5), (x + 10, y + 5)),
    }[direction]
    return (
        f'<polygon class="h-{style}" points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in points)}"/>'
    )


def _wrapped(text: str, width: int) -> list[str]:
    rows: list[str] = []
    for word in text.split():
        if rows and len(rows[-1]) + 1 + len(word) <= width:
            rows[-1] += f" {word}"
        else:
            rows.append(word)
    return rows


if __name__ == "__main__":
    PICTURE.write_text(svg(), encoding="utf-8")
