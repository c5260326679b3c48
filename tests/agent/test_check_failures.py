"""What a model reads of a failing check: the first failure whole, the others as a line each."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from laguna_agent.agent.check.failures import first_failure, wrong_assertions

TESTS = """\
import unittest

def half(n):
    return n / 3

class TestHalf(unittest.TestCase):
    def test_of_two(self):
        self.assertEqual(half(2), 1)

    def test_of_four(self):
        four = 4
        self.assertEqual(half(four), 2)

    def test_of_text(self):
        half("x")

    def test_of_zero(self):
        self.assertEqual(half(0), 0)
"""


def output_of(runner: str, folder: Path) -> str:
    (folder / "test_half.py").write_text(TESTS)
    command = [sys.executable, "-m", *runner.split(), "test_half.py"]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return ran.stdout + ran.stderr


@pytest.mark.parametrize("runner", ["pytest -q -p no:randomly -p no:cacheprovider", "unittest"])
def test_of_several_failures_the_first_is_whole(runner: str, tmp_path: Path) -> None:
    output = output_of(runner, tmp_path)
    shown = first_failure(output)
    assert "test_half.py" in shown
    whole, _, others = shown.partition("\nAlso failing:\n")
    assert whole.count("Error") <= 3
    assert len(others.splitlines()) == 2
    assert "TypeError: unsupported operand" in shown
    assert len(shown) < len(output) * 0.7


def test_a_line_of_another_failure_says_what_is_wrong(tmp_path: Path) -> None:
    shown = first_failure(output_of("pytest -q -p no:randomly -p no:cacheprovider", tmp_path))
    assert "TestHalf.test_of_text: TypeError: unsupported operand type(s)" in shown
    assert "FAILED" not in shown


def test_more_than_a_few_others_are_counted() -> None:
    blocks = [f"--- FAIL: TestNumber{n} (0.00s)\n    n_test.go:{n}: got {n}" for n in range(20)]
    shown = first_failure("\n".join([*blocks, "FAIL", "exit status 1", "FAIL\tshop\t0.003s"]))
    assert shown.startswith("--- FAIL: TestNumber0 (0.00s)\n    n_test.go:0: got 0\n")
    assert "\nTestNumber1: n_test.go:1: got 1\n" in shown
    assert shown.endswith("and 11 more")


def test_panics_of_cargo_are_told_by_name() -> None:
    output = (
        "running 3 tests\ntest a ... FAILED\ntest b ... FAILED\n\nfailures:\n\n"
        "---- tests::a stdout ----\nthread 'tests::a' panicked at src/lib.rs:9:9:\n"
        "assertion `left == right` failed\n  left: 3\n right: 4\n\n"
        "---- tests::b stdout ----\nthread 'tests::b' panicked at src/lib.rs:14:9:\nno entry\n\n\n"
        "failures:\n    tests::a\n    tests::b\n\ntest result: FAILED. 1 passed; 2 failed\n"
    )
    shown = first_failure(output)
    assert " right: 4" in shown
    assert shown.endswith("Also failing:\ntests::b: no entry")


@pytest.mark.parametrize(
    "output",
    ["", "make: *** [all] Error 1", "___ one ___\nE   assert 0\n=== short ===", "x\n" * 50],
)
def test_other_output_stays_as_it_is(output: str) -> None:
    assert first_failure(output) == output


def test_the_lines_of_tests_that_failed_say_what_the_code_gives(tmp_path: Path) -> None:
    told = wrong_assertions(output_of("unittest -q", tmp_path))
    by_pytest = wrong_assertions(output_of("pytest -q", tmp_path))
    assert sorted(told) == sorted(by_pytest)
    assert "self.assertEqual(half(2), 1) fails: 0.6666666666666666 != 1" in told
    assert any(line.startswith('half("x") fails: TypeError: unsupported') for line in told)
    assert len(told) == 3
    assert wrong_assertions("ImportError: no module named half") == []
    assert wrong_assertions("Ran 3 tests in 0.1s\n\nOK") == []
