"""The memory that a plan predicts is what an engine has resident, within a twentieth."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from laguna_agent.config import EngineConfig
from laguna_agent.models.conversation import Sampling
from laguna_agent.models.engine.client import open_engine
from laguna_agent.models.engine.interface import EngineRequest
from laguna_agent.models.gguf import read_header
from laguna_agent.models.sizing import fit
from support.synthetic import tiny_laguna

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]


async def used(path: Path, config: EngineConfig, length: int) -> int:
    """Resident bytes of an engine process that has read `length` tokens and written a few."""
    client = await open_engine(path, config=config)
    try:
        tokens = [300 + 37 * index % 1500 for index in range(length)]
        async for _ in client.generate(EngineRequest(tokens, Sampling(temperature=0), 8)):
            pass
        assert client.process is not None
        rollup = Path(f"/proc/{client.process.pid}/smaps_rollup").read_text()
    finally:
        await client.aclose()
    resident = re.search(r"^Rss:\s+(\d+)", rollup, re.MULTILINE)
    assert resident is not None
    return 1024 * int(resident[1])


def settings(context: int, kv_type: str) -> EngineConfig:
    return EngineConfig(
        context=context,
        kv_type=kv_type,
        flash_attention=True,
        micro_batch=fit.MICRO_BATCH,
        keep_alive=0,
        threads=2,
        speculation=False,
        snapshots=False,
    )


@pytest.mark.parametrize("kv_type", ["f16", "q8_0"])
@pytest.mark.parametrize("context", [4096, 16384, 32768])
async def test_memory_of_a_tiny_model(context, kv_type):
    path, config = tiny_laguna(), settings(context, kv_type)
    plan = fit.plan(read_header(path), context, config)
    assert plan.total == pytest.approx(await used(path, config, context - 64), rel=0.05)


@pytest.mark.parametrize(("context", "kv_type"), [(4096, "f16"), (16384, "q8_0"), (32768, "f16")])
async def test_memory_of_the_starter(starter_model, context, kv_type):
    config = settings(context, kv_type)
    plan = fit.plan(read_header(starter_model), context, config)
    assert plan.total == pytest.approx(await used(starter_model, config, 600), rel=0.05)
