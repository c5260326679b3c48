"""What the router of a mixture-of-experts model chose, and what that says.

A load is an array of layers x experts: the share of a layer's choices that went to each expert, so
that a layer's shares sum to 1. The even share is 1 divided by the number of experts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Shares = NDArray[np.float64]


@dataclass(frozen=True)
class Routing:
    """The experts that a text chose."""

    name: str
    layers: tuple[int, ...]
    """The layers with experts, as the file numbers them."""
    chosen: NDArray[np.uint16]
    """Tokens x layers x chosen experts."""
    weights: NDArray[np.float16]
    """How much each chosen expert counted, of the same shape; a token's sum to 1 in each layer."""
    experts: int
    """Experts of a layer, chosen or not."""
    file: str = ""
    """The model's file."""

    @property
    def tokens(self) -> int:
        """Tokens of the text."""
        return len(self.chosen)

    @property
    def used(self) -> int:
        """Experts that a token chooses in each layer."""
        return int(self.chosen.shape[2])

    def load(self) -> Shares:
        """Share of the choices, layers x experts."""
        return self._summed(np.full(self.chosen.shape, 1 / (self.tokens * self.used)))

    def weight(self) -> Shares:
        """Share of the weight that the router gave, layers x experts."""
        return self._summed(self.weights / self.tokens)

    def half(self, number: int) -> Routing:
        """The first (0) or second (1) half of the text."""
        part = slice(0, self.tokens // 2) if number == 0 else slice(self.tokens // 2, None)
        return replace(self, chosen=self.chosen[part], weights=self.weights[part])

    def _summed(self, amounts: NDArray[np.floating]) -> Shares:
        result = np.zeros((len(self.layers), self.experts))
        for layer in range(len(self.layers)):
            chosen = self.chosen[:, layer].ravel()
            result[layer] = np.bincount(chosen, amounts[:, layer].ravel(), self.experts)
        return result


def entropy(load: Shares) -> Shares:
    """Entropy of each layer's load in bits; at most log2 of the number of experts."""
    logs = np.log2(load, out=np.zeros_like(load), where=load > 0)
    result: Shares = -(load * logs).sum(axis=1)
    return result


def busiest_tenth(load: Shares) -> Shares:
    """Share of each layer's choices that its busiest tenth of experts (rounded up) takes."""
    count = math.ceil(load.shape[1] / 10)
    result: Shares = np.sort(load, axis=1)[:, -count:].sum(axis=1)
    return result


def unused(load: Shares) -> NDArray[np.int64]:
    """Number of experts in each layer that no token chose."""
    result: NDArray[np.int64] = np.count_nonzero(load == 0, axis=1)
    return result


def overlap(one: Shares, other: Shares) -> Shares:
    """What two loads have in common in each layer: 1 when they are the same, 0 when no expert
    serves both."""
    result: Shares = np.minimum(one, other).sum(axis=1)
    return result


def same_experts(one: Routing, other: Routing) -> Shares:
    """Share of chosen experts that two models of a kind have in common, tokens x layers, for the
    same tokens."""
    both = (one.chosen[..., :, None] == other.chosen[..., None, :]).any(axis=3)
    result: Shares = both.mean(axis=2)
    return result
