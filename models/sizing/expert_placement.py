"""What graphics cards of common sizes would hold of a mixture of experts, and what that brings.

Writing a token reads all weights outside the experts and the chosen experts of each layer, and is
bound by the memory that they are read from. What is on the card counts as read in no time, so the
gain is the most that can be expected.
"""

from __future__ import annotations

from typing import NamedTuple

from laguna_agent.config import EngineConfig
from laguna_agent.models.gguf import GgufHeader
from laguna_agent.models.sizing.fit import plan
from laguna_agent.models.sizing.hardware import Gpu

CARDS = (4, 6, 8, 12, 16, 24, 32)
"""GiB of common cards."""


class Placement(NamedTuple):
    """What a card of `card` bytes holds, all of which are free."""

    card: int
    layers: int
    """Layers whose experts are on the card; 0 where it does not hold what must be there first."""
    read: int
    """Bytes read from main memory for each token."""
    gain: float
    """Most that writing gets faster by, against everything in main memory; infinite when all of the
    model is on the card."""


def read_per_token(header: GgufHeader, layers: int | None = None) -> int:
    """Bytes that writing a token reads: all weights outside experts, and the chosen experts.

    With `layers`, only the experts of as many.
    """
    routed = header.expert_bytes
    share = header.integer("expert_used_count") / max(1, header.integer("expert_count"))
    some = sorted(routed.items())[: len(routed) if layers is None else layers]
    outside = header.weights - sum(routed.values()) if layers is None else 0
    return int(outside + share * sum(size for _, size in some))


def placements(header: GgufHeader, engine: EngineConfig, context: int) -> list[Placement]:
    """What cards hold, from the smallest up to the first that holds all of the model."""
    whole = read_per_token(header)
    chosen = engine.model_copy(
        update={"gpu_layers": None, "cpu_experts": None, "micro_batch": None}
    )
    found = []
    for size in CARDS:
        card = size << 30
        planned = plan(header, context, chosen, [Gpu("", card, card)])
        if planned.gpu_layers is not None:
            left = 1 - planned.gpu_layers / max(1, header.layers)
            layers, read = 0, int(whole * left)
        else:
            layers = len(header.expert_bytes) - planned.cpu_experts
            read = read_per_token(header, planned.cpu_experts)
        found.append(Placement(card, layers, read, whole / read if read else float("inf")))
        if not read:
            break
    return found
