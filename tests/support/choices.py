"""Comparing greedy replies of two decodings that batched the same tokens differently."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from laguna_agent.models.engine.llama import Context

NOISE = 0.05
"""Most that other batch sizes alone move two logits apart, on the smooth tiny Laguna."""


def logits(context: Context) -> NDArray[np.float32]:
    """A copy of the logits of the last row."""
    return np.ctypeslib.as_array(context.logits(), (context.model.vocabulary,)).copy()


def same_choices(
    context: Context, prompt: Sequence[int], left: Sequence[int], right: Sequence[int]
) -> bool:
    """True when both replies make the same choices. They may diverge only at a tie: where two
    tokens are closer than the noise."""
    for at, (one, other) in enumerate(zip(left, right, strict=False)):
        if one != other:
            context.clear()
            for position, token in enumerate([*prompt, *left[:at]]):
                context.decode([token], position)
            found = logits(context)
            return bool(abs(found[one] - found[other]) < NOISE)
    return len(left) == len(right)
