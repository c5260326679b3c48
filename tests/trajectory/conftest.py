"""A repository of its own for each test, and a session in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from laguna_agent.trajectory.store import Trajectory


@pytest.fixture
def root(tmp_path: Path, laguna_home: Path) -> Path:
    directory = tmp_path / "project"
    directory.mkdir()
    return directory


@pytest.fixture
def trajectory(root: Path) -> Iterator[Trajectory]:
    with Trajectory.create(root) as made:
        yield made
