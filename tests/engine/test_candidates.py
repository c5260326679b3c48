"""Candidates for a grammar: each once, the likeliest first."""

from __future__ import annotations

import numpy as np
import pytest

from laguna_agent.models.engine.sampler import _likeliest


@pytest.mark.parametrize("count", [1, 63, 64, 65, 5000])
@pytest.mark.parametrize("distinct", [3, 10**6])
def test_candidates_come_once_each_and_the_likeliest_first(count: int, distinct: int) -> None:
    values = np.random.default_rng(count).integers(0, distinct, count)
    logits = values.astype(np.float32)
    pieces = list(_likeliest(logits, pieces=True))
    assert all(len(piece) for piece in pieces)
    order = np.concatenate(pieces)
    assert sorted(order) == list(range(count))
    assert (np.diff(logits[order]) <= 0).all()
    assert len(pieces[0]) == min(count, 64)
