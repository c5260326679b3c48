"""Comparing greedy replies of two decodings that batched the same tokens differently."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from laguna_agent.models.engine.llama import Context

NOISE = 0.05
"""Logits that other batch sizes alone move each other by, on the smooth tiny Laguna, at most."""


def logits(context: Context) -> NDArray[np.float32]:
    """Those of the last row, to keep."""
    return np.ctypeslib.as_array(context.logits(), (context.model.vocabulary,)).copy()


def same_choices(
    context: Context, prompt: Sequence[int], left: Sequence[int], right: Sequence[int]
) -> bool:
    """True when both replies make the same choices. They may part only where two tokens are
    closer to each other than the noise, which is no choice of the model's."""
    for at, (one, other) in enumerate(zip(left, right, strict=False)):
        if one != other:
            context.clear()
            for position, token in enumerate([*prompt, *left[:at]]):
                context.decode([token], position)
            found = logits(context)
            return bool(abs(found[one] - found[other]) < NOISE)
    return len(left) == len(right)
