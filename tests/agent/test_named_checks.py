"""Which check a task names: what people write, and the command that is taken from it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from laguna_agent.agent.check.detection import is_question, named_check
from laguna_agent.agent.context.first_message import _named
from support.packs import write_files

UNIT = "python3 -m unittest -q test_calc.py"
PYTEST = "python3 -m pytest -q tests/test_api.py"
ONE = "python3 -m pytest -q tests/test_api.py::test_login"

ASKS = [
    ("until `pytest -q` passes", "pytest -q"),
    ("Fix calc.py until `sh check.sh` passes", "sh check.sh"),
    ("Keep going until pytest -q tests passes.", "pytest -q tests"),
    ("Don't stop until `npm test` passes", "npm test"),
    ("Do not give up until `npm run lint` is green.", "npm run lint"),
    ("Refactor calc.py, till `make check` succeeds", "make check"),
    ("Change add() so that `npm test` passes again", "npm test"),
    ("Fix it until make test passes", "make test"),
    ("Port it until `python3 run.py --selftest` exits with 0", "python3 run.py --selftest"),
    ("until `npm test` and `npm run lint` pass", "npm test && npm run lint"),
    ("make `npm test` pass", "npm test"),
    ("Please make `npm test` pass.", "npm test"),
    ("Get `make lint` to pass", "make lint"),
    ("get `cargo clippy -- -D warnings` green", "cargo clippy -- -D warnings"),
    ("Make npm test pass", "npm test"),
    ("I want you to make `npm test` pass", "npm test"),
    ("You must get `make test` to pass.", "make test"),
    ("Make test_calc.py pass", UNIT),
    ("Make the tests in test_calc.py pass.", UNIT),
    ("make @test_calc.py pass", UNIT),
    ("Get tests/test_api.py passing", PYTEST),
    ("Make tests/test_api.py::test_login pass", ONE),
    ("`make lint` must succeed", "make lint"),
    ("Rename add to plus. `npm test` must still pass.", "npm test"),
    ("Add type hints to calc.py; `mypy calc.py` should pass", "mypy calc.py"),
    ("test_calc.py must pass", UNIT),
    ("Rename add to plus and make sure `npm test` still passes", "npm test"),
    ("Ensure that cargo test passes.", "cargo test"),
    ("Ensure go test ./... passes.", "go test ./..."),
    ("Write a parser for the format, then make `npm test` pass", "npm test"),
    ("Explain the bug first. Then fix the failing test in test_calc.py", UNIT),
    ("Upgrade pydantic; ensure pytest passes", "pytest"),
    ("fix the failing test in test_calc.py", UNIT),
    ("Fix the failing tests in tests/test_api.py.", PYTEST),
    ("Please fix the broken test in `test_calc.py`", UNIT),
    ("Repair the failing unit test test_add in test_calc.py", UNIT),
    ("Fix `make lint`", "make lint"),
    ("fix the errors of `ruff check`", "ruff check"),
    ("Fix all failures of `go test ./...`", "go test ./..."),
    ("Run `npm test` and fix what fails", "npm test"),
    ("A test in test_calc.py fails. Find the bug in calc.py and fix it.", UNIT),
    ("A test in test_calc.py fails. Fix the bug in calc.py.", UNIT),
    ("test_calc.py fails since vouchers came in. Why? Fix it.", UNIT),
    ("test_calc.py is failing, please fix", UNIT),
    ("`npm test` fails. Fix it without touching the tests.", "npm test"),
    ("The tests in test_calc.py do not pass. Repair calc.py", UNIT),
    ("npm test fails on main. Find out why and fix it", "npm test"),
    ("Fix double. Check: python3 -m unittest -q test_calc.py", UNIT),
    ("Fix double.\ncheck: make test", "make test"),
    ("Add a parser.\nVerify: `cargo test -p parser`", "cargo test -p parser"),
    ("Speed it up.\nTest with: ./run_checks.sh", "./run_checks.sh"),
    ("Make `FOO=1 pytest -q` pass", "FOO=1 pytest -q"),
    ("1. Read the code\n2. Make `npm test` pass", "npm test"),
    ("- make `npm test` pass\n- do not touch the lock file", "npm test"),
    ("Make `npm test` pass. Do not change the tests.", "npm test"),
    ("Run the tests in test_calc.py and fix any failures", UNIT),
    ("Fix the failing test `test_add` in test_calc.py", UNIT),
    ("Make sure all tests pass: `npm test`", "npm test"),
    ("Make the tests pass (`npm test`)", "npm test"),
    ("Work on calc.py until the tests pass (run `make test`).", "make test"),
    ("Run `npm test` until it passes", "npm test"),
    ("Keep `npm test` green while you rename add", "npm test"),
    ("You are done when `npm test` passes", "npm test"),
    ("Rename add. Done when `make lint` succeeds.", "make lint"),
    ("The job `npm run lint` is red. Please make it green.", "npm run lint"),
    ("pytest tests/test_api.py is failing, fix it please", "pytest tests/test_api.py"),
    ("TDD: make tests/test_api.py green", PYTEST),
    ("Don't touch the tests; make `npm test` pass", "npm test"),
    ("Do not run the server. Make `npm test` pass", "npm test"),
    ("Implement it so `cargo test -p parser` passes", "cargo test -p parser"),
    ("check: cargo test -p parser -- --nocapture", "cargo test -p parser -- --nocapture"),
    ("Mach weiter, until `npm test` passes", "npm test"),
]  # fmt: skip

NONE = [
    # questions
    "What does test_calc.py check?",
    "what does `npm test` do",
    "Why does test_calc.py fail?",
    "Why does `npm test` fail? I do not get it.",
    "How do I make `npm test` pass?",
    "how do I get npm test to pass",
    "Is it true that `make lint` must succeed before a commit?",
    "Does pytest pass",
    "Which tests does `make test` run?",
    "Would fixing add() make `npm test` pass?",
    "Can you see whether `npm test` passes?",
    "So what must pass, `make lint` or `make test`?",
    "test_calc.py?",
    # requests for words
    "Explain what `npm test` does. Do not run it",
    "explain @test_calc.py",
    "Explain test_calc.py and tests/test_api.py",
    "Explain how to make `npm test` pass",
    "Tell me how to fix the failing test in test_calc.py",
    "Describe the tests in test_calc.py.",
    "Show me how to get `npm test` to pass",
    "Summarise test_calc.py",
    "Review test_calc.py. Is anything missing?",
    "List the tests that `pytest --collect-only` finds",
    "Write in the README that `make lint` must succeed before a commit",
    "Document that `npm test` must pass before a merge.",
    # negations
    "Do not run `npm test`",
    "Don't run `npm test`, just make it pass",
    "Fix the failing test in test_calc.py, but do not run anything.",
    "Never run `make test` here. Rename add to plus.",
    "You don't need to make `npm test` pass.",
    "`npm test` need not pass. Rename add to plus.",
    "`npm test` must not pass yet",
    "Do not fix the failing test in test_calc.py",
    "test_calc.py fails. Do not fix it, only say why.",
    "Do not commit until `npm test` passes",
    "Make the change without running the tests in test_calc.py",
    # reports
    "`npm test` passes now, thanks",
    "I made `npm test` pass. Commit it.",
    "test_calc.py fails on my machine.",
    "This makes `npm test` pass.",
    "We run `make lint` until it passes",
    "`npm test` should pass but it does not",
    # other work
    "Run `npm test`",
    "Run npm test and tell me what fails",
    "Add a test to test_calc.py",
    "Delete test_calc.py",
    "Rename test_calc.py to calc_test.py",
    "Move tests/test_api.py to the folder api",
    "Make `add` pass its arguments on",
    "Make sure that the build is green",
    "Fix add() in calc.py until I say stop",
    "until the tests pass",
    "Wait until `npm test` passes on the server",
    "Fix the errors of `git push`",
    "Fix the failing test in test_missing.py",
    "Fix the failing test in ../test_calc.py",
    "make test data for the parser, please fix the names",
    "Verify: the header is blue on phones",
    "Verify: pytest is installed",
    "Verify: npm test works on Windows",
    "Verify: `blue`",
    "Verify: `the header`",
    "Check: /etc/hosts is readable",
    "Check: is test_calc.py complete?",
    "When `npm test` passes, commit",
    "Can you make `npm test` pass?",
    "could you fix the failing test in test_calc.py?",
    "Use `cargo test` to see what happens",
    "Do not run any commands; make `npm test` pass",
    "Check: make sure the header is blue",
    "check: that test_calc.py is not empty",
    "Verify: `blue` is used on phones",
    "Test with: a phone, a tablet",
    "Make the header `blue`, so it passes the contrast check",
    "thanks",
    "ok",
    # other languages
    "Was prüft test_calc.py?",
    "Erkläre `npm test`",
    "Explique ce que fait `npm test`",
    "¿Qué comprueba test_calc.py?",
    "test_calc.py は何をテストしますか？",
    "修复 test_calc.py 里失败的测试",
    # pasted and quoted
    "thanks\n\nI ran `ls` (exit 0):\ncalc.py\ntest_calc.py\n",
    "thanks\n\nI ran `cat CONTRIBUTING.md` (exit 0):\nMake `npm test` pass.\nCheck: make test\n",
    "What is this?\n```\nFix the failing test in test_calc.py\nCheck: make test\n```",
    "Translate:\n> Make `npm test` pass.",
    "Why?\n\n    until `npm test` passes\n",
    "FAILED test_calc.py::CalcTest::test_add - AssertionError: 3 != 4\n1 failed in 0.02s",
    "npm ERR! Test failed.  See above for more details.",
    "make: *** [Makefile:3: test] Error 1",
]


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    files = {
        "calc.py": "def add(a, b): return a - b\n",
        "test_calc.py": "import unittest\n",
        "tests/test_api.py": "def test_login(): pass\n",
    }
    (tmp_path / "test_calc.py").write_text("import unittest\n")  # outside the workspace
    return write_files(tmp_path / "repo", files)


@pytest.mark.parametrize(("task", "command"), ASKS)
def test_a_task_that_plainly_asks_for_a_command_to_pass_has_it_as_its_check(
    workspace: Path, task: str, command: str
) -> None:
    assert named_check(task, workspace).command == command


@pytest.mark.parametrize("task", NONE)
def test_a_question_a_report_and_other_work_have_no_check(workspace: Path, task: str) -> None:
    assert named_check(task, workspace).command is None


@pytest.mark.parametrize(
    ("task", "doubt"),
    [
        ("Fix test_calc.py", UNIT),
        ("Verify that `npm test` passes", "npm test"),
        ("`npm test` must not pass yet", "npm test"),
        ("What does test_calc.py check?", None),
        ("Explain what `npm test` does. Do not run it", None),
        ("Can you make `npm test` pass?", "npm test"),
        ("Hi, could you fix the failing test in test_calc.py?", UNIT),
        ("Run `npm test`", None),
        ("Delete test_calc.py", None),
        ("thanks", None),
    ],
)
def test_only_a_doubtful_command_is_mentioned(
    workspace: Path, task: str, doubt: str | None
) -> None:
    assert named_check(task, workspace) == (None, doubt)


def test_a_test_file_that_is_no_plain_file_is_not_opened(workspace: Path) -> None:
    (workspace / "test_calc.py").unlink()
    os.mkfifo(workspace / "test_calc.py")
    assert named_check("fix the failing test in test_calc.py", workspace).command is None
    assert named_check("fix the failing test in test_cal\0c.py", workspace).command is None


def test_long_pasted_text_is_looked_through_quickly(workspace: Path) -> None:
    log = "test_calc.py::test_add FAILED and then the errors of it «x» and fix the the the\n" * 5000
    assert named_check(f"What is this? {log}", workspace).command is None
    assert named_check("make " * 50_000 + "`npm test", workspace).command is None


@pytest.mark.timeout(30)
@pytest.mark.parametrize("unit", ["x", "-", "a/", "a.", "é", "`"])
def test_a_line_without_end_is_read_and_does_not_hide_the_check(tmp_path: Path, unit: str) -> None:
    task = f"See {unit * 100_000}\nMake `pytest -q` pass."
    assert named_check(task, tmp_path).command == "pytest -q"
    assert _named(task, ["a.py"]) == []


@pytest.mark.parametrize(
    ("task", "asks_for_words"),
    [
        ("Add a function chunks(items, size) to lists.py that returns lists. It raises.", False),
        ("Write a script that counts words", False),
        ("Add a note that says how it works to README.md", False),
        ("Why does it fail?", True),
        ("Explain parse() to me. It looks odd.", True),
        ("That is right. Can it be faster?", True),
    ],
)
def test_a_task_that_asks_for_work_is_no_question(task: str, asks_for_words: bool) -> None:
    assert is_question(task) is asks_for_words
