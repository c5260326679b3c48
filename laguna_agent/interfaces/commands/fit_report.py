"""The report of `laguna models fit`: whether each model fits, and with how much context."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from laguna_agent.byte_sizes import gib
from laguna_agent.config import EngineConfig
from laguna_agent.models.catalogue import Catalogued, load_catalogue
from laguna_agent.models.gguf import GgufHeader, read_header, require_supported
from laguna_agent.models.sizing import fit
from laguna_agent.models.sizing.hardware import Gpu, MemorySize, gpus, machine_memory
from laguna_agent.models.sizing.quant_choice import choose_quant, machine_room
from laguna_agent.models.store import Store, is_path


class Candidate(NamedTuple):
    """A model to judge: by its file's header, or by the catalogue if it is not installed."""

    name: str
    header: GgufHeader | None
    known: Catalogued | None


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


@dataclass(frozen=True)
class FitReport:
    """The machine and the verdicts."""

    memory: MemorySize
    cards: list[Gpu]
    rows: list[FitRow]

    def as_json(self) -> dict[str, Any]:
        """One object for scripts."""
        return {
            "memory": self.memory._asdict(),
            "gpus": [card._asdict() for card in self.cards],
            "models": [asdict(row) for row in self.rows],
        }

    def heading(self) -> list[str]:
        """Lines that say how much memory is free."""
        pools = [("memory", self.memory.available, self.memory.total)]
        pools += [(card.name, card.free, card.total) for card in self.cards]
        return [f"{name}: {gib(free)} of {gib(total)} free" for name, free, total in pools]

    def table(self) -> list[tuple[str, ...]]:
        """Rows of a table, its heading first."""
        heading = (
            "NAME",
            "FITS",
            "CONTEXT",
            "WEIGHTS",
            "KV CACHE",
            "WORK",
            "TOTAL",
            "MAX CONTEXT",
        )
        table: list[tuple[str, ...]] = [heading]
        for row in self.rows:
            sizes = [gib(size) for size in (row.weights, row.kv, row.compute, row.total)]
            verdict = "yes" if row.fits else "no"
            largest = str(row.largest_context) if row.largest_context else "-"
            table.append((row.name, verdict, str(row.context), *sizes, largest))
        return table

    def remarks(self) -> list[str]:
        """Lines that say what goes where, for models that use a graphics card."""
        lines = []
        for row in self.rows:
            if not row.gpu:
                continue
            experts = f", the experts of {row.cpu_expert_layers} layers in main memory"
            where = f"{row.name}: {gib(row.gpu)} on the graphics card"
            lines.append(where + (experts if row.cpu_expert_layers else ""))
        return lines


def fit_report(models: Iterable[Candidate], engine: EngineConfig) -> FitReport:
    """Judge the candidates on this machine, with the memory that is free now."""
    memory, cards = machine_memory(), gpus()
    rows = []
    for model in models:
        if model.header is not None:
            rows.append(_judge(model.name, model.header, engine, memory, cards))
        elif model.known is not None:
            rows.append(_estimate(model.known, engine, memory, cards))
    return FitReport(memory, cards, rows)


def _judge(
    name: str, header: GgufHeader, engine: EngineConfig, memory: MemorySize, cards: list[Gpu]
) -> FitRow:
    largest = fit.largest_context(header, memory, engine, cards)
    context = engine.context or min(fit.USUAL_CONTEXT, header.context_length or fit.USUAL_CONTEXT)
    plan = fit.plan(header, context, engine, cards)
    return _row(name, plan, largest, plan.host <= memory.available, estimated=False)


def _estimate(
    known: Catalogued, engine: EngineConfig, memory: MemorySize, cards: list[Gpu]
) -> FitRow:
    room = memory.available + sum(card.free for card in cards)
    spare = room - fit.estimate(known, 0).total
    largest = min(spare // max(1, known.entry.memory.token), known.entry.context) // 256 * 256
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
        return [Candidate(installed.name if installed else path.name, header, None)]
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
