from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from laguna_agent.config import EngineConfig
from laguna_agent.models.engine.client import EngineClient, open_engine
from laguna_agent.paths import runtime_dir
from support.synthetic import tiny_laguna

CONTEXT = 2048


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Every test has engines, logs and snapshots of its own."""
    monkeypatch.setenv("LAGUNA_HOME", str(tmp_path / "home"))
    runtime = runtime_dir()
    yield tmp_path / "home"
    shutil.rmtree(runtime, ignore_errors=True)


@pytest.fixture
def config() -> EngineConfig:
    return EngineConfig(context=CONTEXT, micro_batch=64, keep_alive=0, threads=1)


@pytest.fixture
async def engine(home: Path, config: EngineConfig) -> AsyncIterator[EngineClient]:
    client = await open_engine(tiny_laguna(), config=config)
    yield client
    await client.aclose()
