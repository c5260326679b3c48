"""A session's trajectory for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from laguna_agent.trajectory.store import Trajectory


@pytest.fixture
def trajectory(root: Path) -> Iterator[Trajectory]:
    with Trajectory.create(root) as made:
        yield made
