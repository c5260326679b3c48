"""What cards of common sizes would hold of a mixture of experts."""

from __future__ import annotations

import math
from types import MappingProxyType

from laguna_agent.config import EngineConfig
from laguna_agent.models.gguf import GgufHeader
from laguna_agent.models.sizing.placement import card_gains, read_per_token

GIB = 1 << 30
METADATA = {
    "general.architecture": "laguna",
    "laguna.block_count": 11,
    "laguna.embedding_length": 2048,
    "laguna.attention.head_count": 16,
    "laguna.attention.head_count_kv": 8,
    "laguna.attention.key_length": 128,
    "laguna.attention.value_length": 128,
    "laguna.expert_count": 64,
    "laguna.expert_used_count": 8,
}
HEADER = GgufHeader(
    MappingProxyType(METADATA), 1, 1, 12 * GIB, dict.fromkeys(range(1, 11), GIB), {"Q4_K": 1}, 0
)
"""Ten layers with 1 GiB of experts each, and 2 GiB of other weights."""


def test_a_token_reads_what_it_uses() -> None:
    assert read_per_token(HEADER) == 2 * GIB + 10 * GIB // 8
    assert read_per_token(HEADER, range(5)) == 4 * GIB // 8


def test_larger_cards_hold_more_layers_and_read_less_from_main_memory() -> None:
    found = card_gains(HEADER, EngineConfig(gpu_layers=0, cpu_experts=3), 4096)
    assert [one.card // GIB for one in found] == [4, 6, 8, 12, 16], "up to the first that holds all"
    assert [one.layers for one in found] == sorted(one.layers for one in found)
    assert [one.gain for one in found] == sorted(one.gain for one in found)
    middle = found[2]
    assert 0 < middle.layers < 10
    assert middle.read == (10 - middle.layers) * GIB // 8
    assert found[-1].layers == 10
    assert math.isinf(found[-1].gain)


def test_a_card_that_does_not_hold_the_rest_takes_whole_layers_or_nothing() -> None:
    metadata = MappingProxyType(METADATA)
    routed = dict.fromkeys(range(1, 11), GIB)
    large = GgufHeader(metadata, 1, 1, 30 * GIB, routed, {"Q4_K": 1}, 0)
    smallest = card_gains(large, EngineConfig(), 4096)[0]
    assert smallest.layers == 0
    assert 1 <= smallest.gain < 1.3
