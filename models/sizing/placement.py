"""Every way to place a model on a machine: what each device holds, how fast it is, and why one is
chosen.

The plans are those of `fit`, of which the engine takes the first that the machine holds; the speeds
are those of `speed`. The machine may be this one, or one that somebody thinks of buying.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from laguna_agent.byte_sizes import gib
from laguna_agent.config import EngineConfig
from laguna_agent.models.gguf import GgufHeader
from laguna_agent.models.sizing import fit
from laguna_agent.models.sizing.hardware import Gpu, MemorySize
from laguna_agent.models.sizing.speed import (
    DEPTH,
    Rates,
    Speed,
    assumed,
    attention_kind,
    bandwidth_of,
    predict,
)

COMMON_CARDS = (4, 6, 8, 12, 16, 24, 32)
"""GiB of common cards."""
_COMMON_MEMORY = (8, 16, 32, 64, 96, 128, 192, 256, 384, 512)
_BESIDES = 2 << 30
"""Main memory that the rest of a machine takes."""
_SERVER_CARD = 80
_UNIFIED = 0.75
"""Share of a Mac's memory that its card may use."""
_UNIFIED_WIDTH = 400e9


class Speeds(NamedTuple):
    """Tokens per second at a shallow depth, and with a full context."""

    prompt: float
    writing: float
    full: Speed | None = None

    def as_json(self) -> dict[str, Any]:
        """For scripts; rounded, since these are predictions."""
        full = self.full or Speed(0.0, 0.0)
        names = ("prompt", "writing", "prompt_full", "writing_full")
        return {
            name: round(rate, 2)
            for name, rate in zip(names, (self.prompt, self.writing, *full), strict=True)
        }


@dataclass(frozen=True)
class Placement:
    """One way to place a model. Sizes are bytes."""

    name: str
    plan: fit.MemoryPlan
    fits: bool
    chosen: bool
    reason: str
    speeds: Speeds | None

    @property
    def gpu(self) -> int:
        """Bytes on cards."""
        return self.plan.gpu

    @property
    def host(self) -> int:
        """Bytes in main memory; all of them where cards share it."""
        return self.plan.host

    def as_json(self) -> dict[str, Any]:
        """One object for scripts."""
        plan = self.plan
        return {
            "placement": plan.kind,
            "cards": list(plan.cards),
            "main_memory": plan.host,
            "cpu_experts": plan.cpu_experts if plan.kind == "experts" else 0,
            "gpu_layers": plan.gpu_layers,
            "fits": self.fits,
            "chosen": self.chosen,
            "reason": self.reason,
            "speed": self.speeds.as_json() if self.speeds else None,
        }


class Predictor:
    """Predicts speeds from the rates of a processor and of cards."""

    def __init__(self, rates: Sequence[Rates], *, imagined: bool = False) -> None:
        self.processor = rates[0]
        self.imagined = imagined
        self._cards = [] if imagined else list(rates[1:])

    def attention(
        self, header: GgufHeader, context: int, engine: EngineConfig, memory: MemorySize
    ) -> EngineConfig:
        """The settings with the attention that the engine will choose on the processor."""
        if engine.flash_attention is not None:
            return engine
        flash = attention_kind(self.processor, engine.kv_type, None).startswith("flash")
        batch = engine.micro_batch or fit.MICRO_BATCH
        flash = flash or not fit.affords_plain_attention(header, context, batch, memory)
        return engine.model_copy(update={"flash_attention": flash})

    def speeds(
        self, header: GgufHeader, plan: fit.MemoryPlan, engine: EngineConfig, cards: Sequence[Gpu]
    ) -> Speeds:
        """The speeds of a plan on a machine with these cards."""
        rates = self._rates(cards)
        flash = engine.flash_attention
        kind = engine.kv_type
        shallow, deep = (
            predict(header, plan, self.processor, rates, kv_type=kind, flash=flash, depth=depth)
            for depth in (min(DEPTH, plan.context), plan.context)
        )
        return Speeds(*shallow, deep)

    def _rates(self, cards: Sequence[Gpu]) -> list[Rates]:
        if len(self._cards) == len(cards):
            return self._cards
        return [assumed(card) for card in cards]

    def notes(self, cards: Sequence[Gpu]) -> list[str]:
        """Sentences about what the speeds are based on."""
        lines = ["Speeds are predicted from the rates of llama.cpp's kernels on this machine."]
        if not self.processor.measured:
            lines.append(
                "Other programs kept it busy, so they may be too low: run this again when it is "
                "quiet."
            )
        if cards and len(self._cards) != len(cards):
            widths = ", ".join(
                dict.fromkeys(f"{bandwidth_of(card) / 1e9:.0f} GB/s" for card in cards)
            )
            source = "as given" if all(card.bandwidth for card in cards) else "usual for the size"
            lines.append(
                f"Cards are not measured: each is assumed to read {widths} ({source}), and to get "
                "prompts over PCIe 4.0 with 8 lanes. Processor and main memory are assumed to be "
                "as fast as here."
            )
        return lines


def placements(
    header: GgufHeader,
    context: int,
    engine: EngineConfig,
    memory: MemorySize,
    cards: Sequence[Gpu],
    predictor: Predictor | None = None,
) -> list[Placement]:
    """All ways to place a model, the one that the engine takes marked as chosen."""
    plans = list(fit.placements(header, context, engine, cards))
    fitting = [plan for plan in plans if not plan.missing and plan.host <= memory.available]
    taken = fit.plan(header, context, engine, cards, memory.available)
    found = []
    for plan in plans:
        speeds = predictor.speeds(header, plan, engine, cards) if predictor else None
        found.append(
            Placement(_name(header, plan), plan, plan in fitting, plan == taken, "", speeds)
        )
    rates = [one.speeds.writing for one in found if one.fits and one.speeds]
    best = max(rates, default=0.0)
    return [_reasoned(one, memory, cards, best, several=len(rates) > 1) for one in found]


def _reasoned(
    placement: Placement,
    memory: MemorySize,
    cards: Sequence[Gpu],
    best: float,
    *,
    several: bool,
) -> Placement:
    plan = placement.plan
    if plan.missing:
        word = "card" if len(cards) == 1 else "cards"
        reason = f"{word} {_short(plan.missing)} short"
    elif not placement.fits:
        reason = f"memory {_short(plan.host - memory.available)} short"
    elif placement.speeds and several and placement.speeds.writing >= best:
        reason = "fits; fastest"
    else:
        reason = "fits"
    return Placement(
        placement.name, plan, placement.fits, placement.chosen and placement.fits, reason,
        placement.speeds,
    )  # fmt: skip


def _short(size: int) -> str:
    return f"{size >> 30} GiB" if size >= 10 << 30 else gib(size)


def _name(header: GgufHeader, plan: fit.MemoryPlan) -> str:
    match plan.kind:
        case "card":
            return "all on the card" if len(plan.cards) == 1 else "all on the cards"
        case "experts":
            kept = sum(1 for layer in header.expert_bytes if layer < plan.cpu_experts)
            return f"all but {kept} layers' experts" if kept > 1 else "all but 1 layer's experts"
        case "layers":
            return f"{plan.gpu_layers} of {header.layers} layers"
        case _:
            return "processor only"


# --- machines that one does not have ------------------------------------------------------------


def machines(
    header: GgufHeader, context: int, engine: EngineConfig, predictor: Predictor
) -> list[tuple[str, Speeds]]:
    """The smallest machines of common kinds that hold a model, and their speeds."""
    found = []
    imagined = Predictor([predictor.processor], imagined=True)
    for machine in (_plain, _with_card, _unified, _server):
        for name, total, cards in machine():
            plan = fit.plan(header, context, engine, cards, total - _BESIDES)
            wanted = not cards or plan.kind in ("experts", "card")
            if machine is _server or machine is _unified:
                wanted = plan.kind == "card"
            if wanted and plan.host + _BESIDES <= total:
                found.append((name, imagined.speeds(header, plan, engine, cards)))
                break
    return found


def _plain() -> Iterator[tuple[str, int, list[Gpu]]]:
    for size in _COMMON_MEMORY:
        yield f"{size} GiB of memory as fast as here, no card", size << 30, []


def _with_card() -> Iterator[tuple[str, int, list[Gpu]]]:
    card = _card(24)
    for size in _COMMON_MEMORY:
        yield f"{size} GiB of memory and a card of 24 GiB", size << 30, [card]


def _unified() -> Iterator[tuple[str, int, list[Gpu]]]:
    for size in _COMMON_MEMORY:
        room = int(_UNIFIED * (size << 30))
        card = Gpu("unified", room, room, shared=True, bandwidth=_UNIFIED_WIDTH)
        yield (
            f"a Mac or the like with {size} GiB at {_UNIFIED_WIDTH / 1e9:.0f} GB/s",
            size << 30,
            [card],
        )


def _server() -> Iterator[tuple[str, int, list[Gpu]]]:
    for count in (1, 2, 4, 8):
        cards = [_card(_SERVER_CARD)] * count
        yield f"{count} × {_SERVER_CARD} GiB of cards", 64 << 30, cards


def _card(size: int) -> Gpu:
    return Gpu(f"{size} GiB", size << 30, size << 30)


# --- what common cards would hold of a mixture of experts ---------------------------------------


class CardGain(NamedTuple):
    """What a card of `card` bytes holds, all of which are free.

    Writing is bound by the memory that weights are read from. What is on the card counts as read in
    no time, so the gain is the most that can be expected.
    """

    card: int
    layers: int
    """Layers whose experts are on the card; 0 where it does not hold what must be there first."""
    read: int
    """Bytes read from main memory for each token."""
    gain: float
    """Most that writing gets faster by, against everything in main memory; infinite when all of the
    model is on the card."""


def read_per_token(header: GgufHeader, layers: range | None = None) -> int:
    """Bytes that writing a token reads: all weights outside experts, and the chosen experts.

    With `layers`, only the experts of those.
    """
    share = header.integer("expert_used_count") / max(1, header.integer("expert_count"))
    routed = header.expert_bytes
    outside = header.weights - sum(routed.values()) if layers is None else 0
    some = [size for layer, size in routed.items() if layers is None or layer in layers]
    return int(outside + share * sum(some))


def card_gains(header: GgufHeader, engine: EngineConfig, context: int) -> list[CardGain]:
    """What cards hold, from the smallest up to the first that holds all of the model."""
    whole = read_per_token(header)
    chosen = engine.model_copy(
        update={"gpu_layers": None, "cpu_experts": None, "micro_batch": None}
    )
    found = []
    for size in COMMON_CARDS:
        planned = fit.plan(header, context, chosen, [_card(size)])
        if planned.gpu_layers is not None:
            left = 1 - planned.gpu_layers / max(1, header.layers)
            layers, read = 0, int(whole * left)
        else:
            kept = range(planned.cpu_experts)
            layers = sum(1 for layer in header.expert_bytes if layer not in kept)
            read = read_per_token(header, kept)
        found.append(CardGain(size << 30, layers, read, whole / read if read else float("inf")))
        if not read:
            break
    return found
