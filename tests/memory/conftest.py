"""A repository of its own for each test."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def root(tmp_path: Path, laguna_home: Path) -> Path:
    directory = tmp_path / "project"
    directory.mkdir()
    return directory
