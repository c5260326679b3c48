"""The starter, a real model, fixes real repositories; nothing here is scripted."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture
def imported(laguna: Any, starter_model: Path) -> None:
    assert laguna("models", "import", str(starter_model)).code == 0


@pytest.mark.usefixtures("imported")
def test_the_demo_ends_with_the_test_passing(laguna: Any) -> None:
    run = laguna("demo", timeout=900)
    assert run.code == 0, run.out + run.err
    assert "The test passes." in run.out
    assert "+++ b/booking.py" in run.out


@pytest.mark.usefixtures("imported")
@pytest.mark.parametrize("name", ["intervals", "lru", "roman"])
def test_a_failing_test_of_a_small_repository_is_fixed(
    laguna: Any, repository: Callable[[str], Path], name: str
) -> None:
    root = repository(name)
    task = f"A test in test_{name}.py fails. Fix the bug in {name}.py."
    limit = ("--timeout", "600")  # near ties fall otherwise on other processors
    run = laguna("--task", task, "--output", "json", *limit, cwd=root, timeout=900)
    assert run.code == 0, run.err
    assert run.result["status"] == "done"
    assert run.result["files_changed"] == [f"{name}.py"]
    check = [sys.executable, "-m", "unittest", "-q", f"test_{name}.py"]
    assert subprocess.run(check, cwd=root, check=False).returncode == 0
    text = Path(run.result["trajectory"]).read_text(encoding="utf-8")
    events = [json.loads(line) for line in text.split("\n") if line]
    started = events[0]
    assert started["model"]["sha256"].startswith("cc324af070c2")
    assert started["pack"]["sha256"]
    assert started["model"]["template_sha256"]
    assert started["seed"] == 0
