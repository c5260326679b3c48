"""The report of `laguna models fit`: whether each model fits, and with how much context.

For one model also every way to place it, with the speed to expect of each.
"""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from laguna_agent.byte_sizes import gib
from laguna_agent.config import EngineConfig
from laguna_agent.models.catalogue import Catalogued, load_catalogue
from laguna_agent.models.gguf import GgufHeader, read_header, require_supported
from laguna_agent.models.sizing import fit
from laguna_agent.models.sizing.hardware import Gpu, MemorySize, physical_cores
from laguna_agent.models.sizing.placement import (
    Placement,
    Predictor,
    Speeds,
    machines,
    placements,
)
from laguna_agent.models.sizing.quant_choice import choose_quant, machine_room
from laguna_agent.models.store import Store, is_path

_WIDTH, _NARROW = 80, 72
_UNQUANTISED = (":bf16", ":f16", ":f32")


class Candidate(NamedTuple):
    """A model to judge: by its file's header, or by the catalogue if it is not installed."""

    name: str
    header: GgufHeader | None
    known: Catalogued | None
    identity: str = ""
    """The digest or fingerprint of the file, by which engines keep what they measure."""


@dataclass(frozen=True)
class FitRow:
    """The verdict on one model. Sizes are bytes, contexts tokens."""

    name: str
    fits: bool
    context: int
    largest_context: int
    weights: int
    kv: int
    compute: int
    total: int
    gpu: int
    cpu_expert_layers: int
    estimated: bool
    placements: list[Placement] = field(default_factory=list)
    machines: list[tuple[str, Speeds]] = field(default_factory=list)
    """Machines that would hold it, and their speeds; only where this one does not."""
    engine_rate: float = 0.0
    """Tokens per second that the engine wrote when it measured the chosen placement; 0 unknown."""


@dataclass(frozen=True)
class FitReport:
    """The machine and the verdicts."""

    memory: MemorySize
    cards: list[Gpu]
    rows: list[FitRow]
    notes: list[str] = field(default_factory=list)
    """What the speeds are based on."""

    def as_json(self) -> dict[str, Any]:
        """One object for scripts."""
        return {
            "memory": self.memory._asdict(),
            "gpus": [card._asdict() for card in self.cards],
            "models": [
                asdict(row)
                | {
                    "placements": [one.as_json() for one in row.placements],
                    "machines": [
                        {"machine": name, **speeds.as_json()} for name, speeds in row.machines
                    ],
                }
                for row in self.rows
            ],
            "notes": self.notes,
        }

    def heading(self) -> list[str]:
        """Lines that say how much memory is free."""
        pools = [("memory", self.memory.available, self.memory.total)]
        pools += [(card.name, card.free, card.total) for card in self.cards]
        lines = [f"{name}: {gib(free)} of {gib(total)} free" for name, free, total in pools]
        if any(card.shared for card in self.cards):
            lines.append("The card's memory is main memory.")
        return lines

    def table(self) -> list[tuple[str, ...]]:
        """Rows of a table, its heading first."""
        table: list[tuple[str, ...]] = [("NAME", "FITS", "WEIGHTS", "CONTEXT", "TOTAL", "MOST")]
        for row in self.rows:
            sizes = [gib(size) for size in (row.weights, row.kv, row.total)]
            most = f"{row.largest_context:,}" if row.largest_context else "-"
            table.append((row.name, "yes" if row.fits else "no", *sizes, most))
        return table

    def explanation(self) -> list[str]:
        """Lines that say what the columns are."""
        usual = max((row.context for row in self.rows), default=0)
        return _filled(
            f"CONTEXT is the memory of {usual:,} tokens of context, or of as many as a model is "
            "trained for, and part of TOTAL; MOST is how many tokens fit."
        )

    def remarks(self) -> list[str]:
        """Lines about placement: what goes where in short, or all ways for one model."""
        lines = []
        for row in self.rows:
            if row.placements:
                lines += ["", *placement_lines(row), *_machine_lines(row)]
            elif row.gpu:
                experts = f", the experts of {row.cpu_expert_layers} layers in main memory"
                where = f"{row.name}: {gib(row.gpu)} on the graphics card"
                lines += _filled(where + (experts if row.cpu_expert_layers else ""))
        if self.notes:
            lines += ["", *_filled(" ".join(self.notes))]
        return lines


def fit_report(
    models: Sequence[Candidate],
    engine: EngineConfig,
    memory: MemorySize,
    cards: list[Gpu],
    predictor: Predictor | None = None,
) -> FitReport:
    """Judge the candidates on a machine. With `predictor`, give all placements of the one model, or
    of the quantisation that suits the machine."""
    rows, headers = [], {}
    for model in models:
        header = model.header or (model.known.header if model.known else None)
        if header is not None:
            if predictor and not cards:
                context = _context(header, engine)
                engine = predictor.attention(header, context, engine, memory)
            rows.append(_judge(model, header, engine, memory, cards))
            headers[model.name] = header
        elif model.known is not None:
            rows.append(_estimate(model.known, engine, memory, cards))
    row = _shown([row for row in rows if row.name in headers])
    if predictor and row is not None:
        header = headers[row.name]
        row.placements.extend(placements(header, row.context, engine, memory, cards, predictor))
        identity = next(model.identity for model in models if model.name == row.name)
        if identity and not predictor.imagined:
            rate = _measured(identity, engine, row.placements)
            rows[rows.index(row)] = replace(row, engine_rate=rate)
        if not row.fits:
            row.machines.extend(machines(header, row.context, engine, predictor))
    return FitReport(memory, cards, rows, predictor.notes(cards) if predictor else [])


def _shown(rows: Sequence[FitRow]) -> FitRow | None:
    """The one whose placements are given: the largest quantised that fits, else the smallest."""
    by_size = sorted(rows, key=lambda row: row.weights)
    fitting = [row for row in by_size if row.fits and not row.name.endswith(_UNQUANTISED)]
    return (fitting or by_size[:1])[-1] if rows else None


def _context(header: GgufHeader, engine: EngineConfig) -> int:
    return engine.context or min(fit.USUAL_CONTEXT, header.context_length or fit.USUAL_CONTEXT)


def _judge(
    model: Candidate,
    header: GgufHeader,
    engine: EngineConfig,
    memory: MemorySize,
    cards: Sequence[Gpu],
) -> FitRow:
    largest = fit.largest_context(header, memory, engine, cards)
    context = _context(header, engine)
    plan = fit.plan(header, context, engine, cards, memory.available)
    fits = plan.host <= memory.available
    return _row(model.name, plan, largest, fits, estimated=model.header is None)


def _estimate(
    known: Catalogued, engine: EngineConfig, memory: MemorySize, cards: Sequence[Gpu]
) -> FitRow:
    """For a model of which neither a file nor a geometry is there."""
    room = memory.available + sum(card.free for card in cards if not card.shared)
    spare = room - fit.estimate(known, 0).total
    token = max(1, fit.estimate(known, 1).total - fit.estimate(known, 0).total)
    largest = min(spare // token, known.entry.context) // 256 * 256
    context = engine.context or min(fit.USUAL_CONTEXT, known.entry.context)
    plan = fit.estimate(known, context)
    return _row(known.name, plan, max(0, largest), plan.total <= room, estimated=True)


def _row(name: str, plan: fit.MemoryPlan, largest: int, fits: bool, *, estimated: bool) -> FitRow:
    return FitRow(
        name=name,
        fits=fits,
        context=plan.context,
        largest_context=largest,
        weights=plan.weights,
        kv=plan.kv,
        compute=plan.compute,
        total=plan.total,
        gpu=plan.gpu,
        cpu_expert_layers=plan.cpu_experts,
        estimated=estimated,
    )


# --- placements ---------------------------------------------------------------------------------


def placement_lines(row: FitRow, width: int | None = None) -> list[str]:
    """The placements of a model: a table, or on a narrow terminal a few lines each."""
    width = width or shutil.get_terminal_size((_WIDTH, 24)).columns
    title = f"{row.name} at {row.context:,} tokens of context, tokens/s:"
    if width < _NARROW:
        lines = _filled(title, width)
        for one in row.placements:
            mark = "*" if one.chosen else "-"
            parts = [f"{gib(one.gpu)} on cards"] if one.gpu else []
            parts += [f"{gib(one.host)} of main memory", one.reason]
            if one.speeds:
                parts.append(
                    f"reads {_rate(one.speeds.prompt)}, writes {_rate(one.speeds.writing)}"
                )
            lines += _filled(f"{mark} {one.name}: {'; '.join(parts)}", width, "  ")
        return lines + _filled(_deep(row), width)
    table = [("", "PLACEMENT", "CARDS", "MEMORY", "READS", "WRITES", "")]
    for one in row.placements:
        speeds = (one.speeds.prompt, one.speeds.writing) if one.speeds else (0.0, 0.0)
        reads, writes = (_rate(rate) for rate in speeds)
        card = gib(one.gpu) if one.gpu else "-"
        mark = "*" if one.chosen else ""
        table.append((mark, one.name, card, gib(one.host), reads, writes, one.reason))
    sizes = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = _filled(title, width)
    for line in table:
        cells = [
            cell.rjust(size) if 2 <= index <= 5 else cell.ljust(size)
            for index, (cell, size) in enumerate(zip(line, sizes, strict=True))
        ]
        lines.append(" ".join(cells).rstrip())
    return lines + _filled(_deep(row), width)


def _measured(identity: str, engine: EngineConfig, placed: Sequence[Placement]) -> float:
    """What an engine has measured of the chosen placement, in tokens written per second."""
    from laguna_agent.models.engine.tuning_store import layout, measured_rate

    chosen = next((one.plan for one in placed if one.chosen), None)
    if chosen is None or not identity:
        return 0.0
    cores = engine.threads or physical_cores()
    experts = chosen.cpu_experts if engine.cpu_experts is None else engine.cpu_experts
    way = layout(cores, chosen.micro_batch, chosen.gpu_layers, experts, engine.kv_type)
    return measured_rate(identity, way)


def _deep(row: FitRow) -> str:
    """What becomes of the chosen speeds when the context is full."""
    chosen = next((one for one in row.placements if one.chosen), None)
    if chosen is None or chosen.speeds is None or chosen.speeds.full is None:
        return ""
    prompt, writing = chosen.speeds.full
    text = (
        f"* is what the engine does. With a full context it reads {_rate(prompt)} and writes "
        f"{_rate(writing)}."
    )
    if row.engine_rate:
        text += f" The engine itself measured {_rate(row.engine_rate)} for writing."
    return text


def _machine_lines(row: FitRow) -> list[str]:
    if not row.machines:
        return []
    lines = ["", "A machine that holds it, and the speed to expect (reads, writes):"]
    for name, speeds in row.machines:
        lines += _filled(f"- {name}: {_rate(speeds.prompt)}, {_rate(speeds.writing)}", None, "  ")
    return [*lines, *_filled("Or use a server that runs it: docs/servers.md.")]


def _rate(rate: float) -> str:
    if not rate:
        return "-"
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"


def _filled(text: str, width: int | None = None, indent: str = "") -> list[str]:
    width = width or shutil.get_terminal_size((_WIDTH, 24)).columns
    return textwrap.wrap(text, max(20, min(width, 100)), subsequent_indent=indent)


def candidates(wanted: str | None, store: Store) -> list[Candidate]:
    """The model called `wanted`, with each of its quantisations if it is not installed and no one
    is named; without `wanted`, all that are installed, and those of the catalogue by the
    quantisation that suits this machine, or else the smallest."""
    if wanted is not None:
        installed = None if is_path(wanted) else store.find(wanted)
        if installed is None and not is_path(wanted):
            known = load_catalogue().get(wanted)
            variants = load_catalogue().variants(wanted) or [known]
            return [Candidate(one.name, None, one) for one in variants]
        path = installed.path if installed else Path(wanted).expanduser()
        header = read_header(path)
        require_supported(header, path)
        from laguna_agent.models.engine.tuning_store import fingerprint

        identity = (installed.sha256 if installed else None) or fingerprint(path)
        return [Candidate(installed.name if installed else path.name, header, None, identity)]
    present = [one for one in store.installed() if one.present]
    have = {one.known.entry.name for one in present if one.known}
    found = [Candidate(one.name, read_header(one.path), one.known) for one in present]
    room = machine_room()
    for entry in load_catalogue().models:
        if entry.name not in have:
            choice = choose_quant(entry, room)
            variants = load_catalogue().variants(entry.name)
            one = choice.chosen if choice else min(variants, key=lambda one: one.file.size)
            found.append(Candidate(one.name, None, one))
    return found


def headers_of(models: Iterable[Candidate]) -> list[GgufHeader]:
    """The headers of the candidates that have one."""
    found = [one.header or (one.known.header if one.known else None) for one in models]
    return [header for header in found if header is not None]
