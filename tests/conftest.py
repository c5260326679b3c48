"""What all tests share: nothing of the person who runs them, and the starter model."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import support  # noqa: F401 - before `laguna_agent.cli`, which drops the repository from sys.path

KEPT = {"LAGUNA_TEST_CACHE"}


def pytest_configure(config: pytest.Config) -> None:
    # Before anything is imported or collected: not even a module's import sees the user's laguna.
    for name in list(os.environ):
        if name.startswith("LAGUNA_") and name not in KEPT:
            del os.environ[name]
    # Rewriting the tests' assertions and compiling laguna again in each of hundreds of processes
    # takes longer than running the tests.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    # Sockets lie here, and a socket's path may only be about 100 bytes long.
    scratch = tempfile.mkdtemp(prefix="laguna-test-")
    config.add_cleanup(lambda: shutil.rmtree(scratch, ignore_errors=True))
    runtime = Path(scratch, "run")
    runtime.mkdir(mode=0o700)
    os.environ["XDG_RUNTIME_DIR"] = str(runtime)
    os.environ["LAGUNA_HOME"] = str(Path(scratch, "home"))
    # Of what commands do not get, a session tells once; pip may need some of it.
    from laguna_agent.policy.environment import BUILT_IN, held_back

    for name in held_back(BUILT_IN):
        if not name.upper().startswith(("PIP_", "HTTP")):
            del os.environ[name]


@pytest.fixture(autouse=True)
def laguna_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of laguna for each test, and none of the user's settings."""
    home = tmp_path_factory.mktemp("laguna")
    for name in list(os.environ):
        if name.startswith("LAGUNA_") and name not in KEPT:
            monkeypatch.delenv(name)
    monkeypatch.setenv("LAGUNA_HOME", str(home))
    monkeypatch.setattr("laguna_agent.programs._distrusted", set())
    return home


@pytest.fixture(scope="session")
def starter_model() -> Path:
    """The starter (1.1 GB), fetched once into the cache of test models, its digest checked."""
    from support.starter import fetch_starter

    return fetch_starter()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "starter_model" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.starter)
        # Against hanging only: a busy machine may be many times slower than an idle one.
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(1200))


@pytest.fixture
def root(tmp_path: Path, laguna_home: Path) -> Path:
    """A repository's root, without git."""
    directory = tmp_path / "project"
    directory.mkdir()
    return directory


@pytest.fixture
async def opened(workspace: Path) -> AsyncIterator[Any]:
    """Opens sessions in the module's `workspace` whose replies are written beforehand."""
    from support.scripted import open_scripted

    sessions = []

    async def make(script: list[Any], **more: Any) -> tuple[Any, Any]:
        session, conversation = await open_scripted(workspace, script, **more)
        sessions.append(session)
        return session, conversation

    yield make
    for session in sessions:
        await session.aclose()
