"""Chooses the quantisation of a catalogue's model that suits this machine, and says why.

The largest whose weights, cache and work space fit with a useful context is taken, as it loses
least. Unquantised files are never chosen: they double what a token reads and bring what
measurements hardly show.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from laguna_agent.byte_sizes import gib, gigabytes
from laguna_agent.errors import ModelError
from laguna_agent.models.catalogue import (
    DEFAULT,
    STARTER,
    Catalogued,
    ModelEntry,
    load_catalogue,
)
from laguna_agent.models.sizing.fit import (
    CARD_RUNTIME,
    SMALLEST_CONTEXT,
    USUAL_CONTEXT,
    estimate,
)
from laguna_agent.models.sizing.hardware import gpus, machine_memory

USEFUL_CONTEXT = USUAL_CONTEXT // 2
"""Tokens that a task of several files takes: a larger quantisation is not worth less context."""
_UNQUANTISED = ("BF16", "F16", "F32")
_SUGGESTED = 3


class QuantChoice(NamedTuple):
    """The quantisation that suits `room` bytes of memory, and the next larger one."""

    chosen: Catalogued
    context: int
    """Tokens that fit besides, at most USUAL_CONTEXT."""
    room: int
    larger: Catalogued | None
    """None when the largest is chosen."""

    def reasons(self) -> list[str]:
        """Lines for people: why this one, and what the next larger needs and brings."""
        name, size = exact_name(self.chosen), gigabytes(self.chosen.file.size)
        what = f"the largest that fits {gib(self.room)} of memory"
        if self.larger is None:
            what = f"its largest quantisation, and fits {gib(self.room)} of memory"
        lines = [f"{name} ({size}) is {what} with {self.context:,} tokens of context"]
        if self.larger is not None:
            kind, bytes_ = self.larger.file.quantization, self.larger.file.size
            needs = estimate(self.larger, self._least).total
            lines.append(
                f"the next larger, {kind.lower()} ({gigabytes(bytes_)}), needs {gib(needs)}: "
                + _gain(self.chosen, self.larger)
            )
        return lines

    @property
    def _least(self) -> int:
        return min(self.context, USEFUL_CONTEXT)


def machine_room() -> int:
    """Bytes that a model may take here: main memory but for a tenth, which the rest of the machine
    needs, and the graphics cards."""
    cards = sum(max(0, card.total - CARD_RUNTIME) for card in gpus() if not card.shared)
    return machine_memory().total * 9 // 10 + cards


def choose_quant(
    entry: ModelEntry, room: int, offered: Sequence[Catalogued] = ()
) -> QuantChoice | None:
    """The quantisation of `entry`, or of those `offered`, that suits `room` bytes; None if none
    fits even with the smallest context that an agent can use."""
    files = list(offered) or load_catalogue().variants(entry.name)
    files.sort(key=lambda one: one.file.size)
    quantised = [one for one in files if one.file.quantization not in _UNQUANTISED] or files
    for least in (USEFUL_CONTEXT, USEFUL_CONTEXT // 2, SMALLEST_CONTEXT):
        fitting = [one for one in quantised if _needs(one, least) <= room]
        if fitting:
            chosen, context = fitting[-1], USUAL_CONTEXT
            while _needs(chosen, context) > room:
                context //= 2
            larger = quantised[len(fitting)] if len(fitting) < len(quantised) else None
            return QuantChoice(chosen, min(context, entry.context), room, larger)
    return None


def require_quant(entry: ModelEntry, room: int, offered: Sequence[Catalogued] = ()) -> QuantChoice:
    """Like `choose_quant`, but raises a ModelError that names what fits."""
    choice = choose_quant(entry, room, offered)
    if choice is not None:
        return choice
    files = list(offered) or load_catalogue().variants(entry.name)
    smallest = min(files, key=lambda one: one.file.size)
    needs = _needs(smallest, SMALLEST_CONTEXT)
    others = [one for one in load_catalogue().models if one.name != entry.name]
    others.sort(key=lambda one: -one.parameters)
    found = [choice for one in others if (choice := choose_quant(one, room))]
    fits = ", ".join(
        f"{one.chosen.entry.name} ({gigabytes(one.chosen.file.size)})" for one in found[:_SUGGESTED]
    )
    raise ModelError(
        f"{entry.name} does not fit this machine: its smallest quantisation "
        f"({smallest.file.quantization.lower()}) needs {gib(needs)}, and a model can take "
        f"{gib(room)}; nothing was fetched",
        hint=f"What fits: {fits or 'no model of the catalogue'}. To fetch it all the same, name "
        f"the quantisation: laguna models pull {exact_name(smallest)}",
    )


def recommended(room: int) -> QuantChoice | None:
    """The model that suits `room` bytes: the one laguna is made for if it fits, else the starter;
    None if neither fits."""
    catalogue = load_catalogue()
    best, starter = catalogue.get(DEFAULT).entry, catalogue.get(STARTER).entry
    return choose_quant(best, room) or choose_quant(starter, room)


def exact_name(known: Catalogued) -> str:
    """The name that means this file and no other quantisation of the model."""
    return f"{known.entry.name}:{known.file.quantization.lower()}"


def _needs(known: Catalogued, context: int) -> int:
    return estimate(known, min(context, known.entry.context)).total


def _gain(chosen: Catalogued, larger: Catalogued) -> str:
    """What a larger quantisation brings, by published measurements where there are some."""
    loss = load_catalogue().loss
    kinds = [one.file.quantization for one in (chosen, larger)]
    if loss and all(kind in loss.divergence for kind in kinds):
        now, then = (loss.divergence[kind] for kind in kinds)
        return (
            f"in llama.cpp's measurement of {loss.model} its predictions stray by {then:g} from "
            f"the full model's, not {now:g} (KL divergence); untried on this model"
        )
    bits = [8 * one.file.size / one.entry.parameters for one in (chosen, larger)]
    return f"{bits[1]:.1f} bits a weight, not {bits[0]:.1f}; what that brings is untried"
