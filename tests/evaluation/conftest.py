"""A suite of one task, whose verification the tests try to fool."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from laguna_agent.cli import main
from laguna_agent.evaluation.results import Result, load_results
from support.packs import write_files

CODE = """\
def overdrawn(balance, limit):
    return balance <= -limit
"""
TEST = """\
import unittest
from ledger import overdrawn

class Tests(unittest.TestCase):
    def test_limit(self):
        self.assertFalse(overdrawn(-5, 5))
"""
TASK = '''\
prompt = "Fix ledger.py."
tags = ["fix"]

[[verify]]
unchanged = ["test_*.py"]

[[verify]]
python = """
from hidden_ledger import Tests
tests = unittest.defaultTestLoader.loadTestsFromTestCase(Tests)
done = unittest.TextTestRunner(stream=io.StringIO()).run(tests)
assert done.testsRun == 1 and done.wasSuccessful()
"""

[[verify]]
run = "python3 -c 'from ledger import overdrawn; print([overdrawn(b, 5) for b in (-6, -5, 0)])'"
text = "[True, False, False]"
'''
HIDDEN = TEST.replace("-5, 5", "-7, 7")
FIX = "sed -i 's/<=/</' ledger.py"


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    files = {
        "fix/task.toml": TASK,
        "fix/files/ledger.py": CODE,
        "fix/files/test_ledger.py": TEST,
        "fix/hidden/hidden_ledger.py": HIDDEN,
        "fix/solution/ledger.py": CODE.replace("<=", "<"),
    }
    return write_files(tmp_path / "mine", files)


Evaluate = Callable[..., list[Result]]


@pytest.fixture
def evaluate(suite: Path, tmp_path: Path) -> Evaluate:
    """Runs the suite with another agent, a shell script, and returns the results."""

    def run(script: str, *more: str, out: Path = tmp_path / "out") -> list[Result]:
        command = ["eval", str(suite), "--agent-command", script, "--out", str(out), *more]
        assert main(command) == 0
        return load_results(out)

    return run
