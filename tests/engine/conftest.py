from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from laguna_agent.config import EngineConfig
from laguna_agent.models.engine import registry
from laguna_agent.models.engine.client import EngineClient, open_engine
from laguna_agent.paths import runtime_dir
from support.synthetic import tiny_laguna

CONTEXT = 2048


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give every test its own engines, logs and snapshots."""
    monkeypatch.setenv("LAGUNA_HOME", str(tmp_path / "home"))
    runtime = runtime_dir()
    yield tmp_path / "home"
    shutil.rmtree(runtime, ignore_errors=True)


@pytest.fixture
def config() -> EngineConfig:
    # One layout on all processors: in another one, equally good tokens are chosen otherwise.
    return EngineConfig(context=CONTEXT, micro_batch=64, keep_alive=0, threads=1, repack=True)


@pytest.fixture
async def engine(home: Path, config: EngineConfig) -> AsyncIterator[EngineClient]:
    client = await open_engine(tiny_laguna(), config=config)
    yield client
    await client.aclose()


@pytest.fixture(scope="session")
def warm_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The directory of engines that outlive a test."""
    path = tmp_path_factory.mktemp("warm")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAGUNA_HOME", str(path))
        runtime = runtime_dir()
    yield path
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAGUNA_HOME", str(path))
        for key in registry.running_keys():
            registry.stop(key)
    shutil.rmtree(runtime, ignore_errors=True)


@pytest.fixture
async def warm_engine(
    home: Path, warm_home: Path, config: EngineConfig, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[EngineClient]:
    """An engine that tests share, with what earlier tests left in its cache."""
    monkeypatch.setenv("LAGUNA_HOME", str(warm_home))
    warm = config.model_copy(update={"keep_alive": 600})
    client = await open_engine(tiny_laguna(), config=warm)
    yield client
    await client.aclose()
