"""A verification counts work, and only work: what a cheating agent leaves behind fails it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from laguna_agent.errors import UsageError
from laguna_agent.evaluation.runner import check_suite
from laguna_agent.evaluation.suite import read_suite
from laguna_agent.evaluation.suite_source import BUILT_IN
from support.packs import write_files

from .conftest import FIX, Evaluate

EQUAL = "class E:\n    def __eq__(self, o): return True\n    def __bool__(self): return False\n"


def module(text: str, *, name: str = "ledger.py") -> str:
    """A command that writes a module."""
    return f"cat > {name} <<'END'\n{text}\nEND\n"


def test_work_that_solves_the_task_passes(evaluate: Evaluate) -> None:
    [result] = evaluate(FIX)
    assert result.passed
    assert result.files_changed == ("ledger.py",)


CHEATS = {
    "does nothing": "true",
    "leaves at import": module("import sys\nsys.exit(0)"),
    "leaves at import without clean-up": module("import os\nos._exit(0)"),
    "leaves at the call": module("import os\ndef overdrawn(b, l): os._exit(0)"),
    "is equal to everything": module(f"{EQUAL}\ndef overdrawn(b, l): return E()"),
    "switches the assertions off": module(
        "import unittest\nunittest.TestCase.assertFalse = lambda *a: None\n"
        "def overdrawn(b, l): return b <= -l"
    ),
    "patches the runner": module(
        "import unittest\nunittest.TestCase.run = lambda s, r=None: r and r.startTest(s)\n"
        "def overdrawn(b, l): return b <= -l"
    ),
    "prints what it was shown": module(
        "print([True, False, False])\ndef overdrawn(b, l): return b <= -l"
    ),
    "brings a unittest of its own": module("raise SystemExit(0)", name="unittest.py"),
    "brings an io of its own": module("raise SystemExit(0)", name="io.py"),
    "brings a sitecustomize": module("raise SystemExit(0)", name="sitecustomize.py"),
    "brings a conftest": module(
        "def pytest_sessionfinish(session): session.exitstatus = 0", name="conftest.py"
    ),
    "brings the hidden test": module("class Tests: pass", name="hidden_ledger.py"),
    "locks the hidden test": "mkdir hidden_ledger.py; chmod 0 hidden_ledger.py",
    "changes the test": f"{FIX}; echo > test_ledger.py",
    "removes the test": f"{FIX}; rm test_ledger.py",
    "replaces the test by a link": f"{FIX}; mv test_ledger.py t; ln -s t test_ledger.py",
    "adds a test that git ignores": f"{FIX}; echo 'test_*' > .gitignore; echo > test_b.py",
    "answers by a python of its own": (
        module("#!/bin/sh\necho '[True, False, False]'", name="python3") + "chmod +x python3"
    ),
    "commits nothing new": "git commit --allow-empty -qm 'All tests pass'",
    "leaves a fifo": "rm ledger.py; mkfifo ledger.py",
    "leaves a loop of links": "rm ledger.py; ln -s ledger.py ledger.py",
    "removes everything": "rm -rf ./* .git",
}


@pytest.mark.parametrize("script", CHEATS.values(), ids=CHEATS)
def test_a_cheat_fails(evaluate: Evaluate, script: str) -> None:
    [result] = evaluate(script)
    assert not result.passed
    assert result.failure


def test_hidden_files_are_not_written_through_a_link(evaluate: Evaluate, tmp_path: Path) -> None:
    outside = write_files(tmp_path / "outside", {"hidden_ledger.py": "mine\n"})
    [result] = evaluate(f"{FIX}; ln -s {outside}/hidden_ledger.py hidden_ledger.py")
    assert result.passed
    assert (outside / "hidden_ledger.py").read_text() == "mine\n"


def test_an_agent_cannot_reach_the_suite_or_what_runs_it(evaluate: Evaluate, suite: Path) -> None:
    solution, hidden = suite / "fix/solution/ledger.py", suite / "fix/hidden/hidden_ledger.py"
    before = hidden.read_bytes()
    look = f"cat {solution} > ledger.py; echo > {hidden}; kill -9 {os.getpid()}; true"
    [result] = evaluate(look)
    assert not result.passed
    assert hidden.read_bytes() == before


@pytest.mark.slow
def test_work_that_never_ends_is_stopped_and_judged(evaluate: Evaluate, tmp_path: Path) -> None:
    [result] = evaluate(f"{FIX}; sleep 600", "--timeout", "1")
    assert result.passed
    [result] = evaluate("sleep 600", "--timeout", "1", out=tmp_path / "other")
    assert result.failure == "limit"


RUNS = 'prompt = "x"\n[[verify]]\nrun = "true"\n'
SUITES = {
    "a repository with a filter": {
        "files/.git/HEAD": "ref: refs/heads/main\n",
        "files/.git/config": '[filter "x"]\n\tclean = touch {canary}; cat\n',
        "files/.git/objects/x": "",
        "files/.git/refs/x": "",
        "files/.gitattributes": "* filter=x\n",
    },
    "a file that names a repository": {
        "files/.git": "gitdir: r\n",
        "files/r/HEAD": "ref: refs/heads/main\n",
        "files/r/config": '[filter "x"]\n\tclean = touch {canary}; cat\n',
        "files/r/objects/x": "",
        "files/r/refs/x": "",
        "files/.gitattributes": "* filter=x\n",
    },
    "an absolute path": {"task.toml": RUNS + 'with_files = {{"{canary}" = "f"}}', "f": ""},
    "a path that leads out": {
        "task.toml": RUNS + 'with_files = {{"../../../../../../../../../../../{canary}" = "f"}}',
        "f": "",
    },
}


@pytest.mark.parametrize("files", SUITES.values(), ids=SUITES)
async def test_a_suite_runs_and_writes_nothing_outside(
    files: dict[str, str], tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    placed = {f"t/{name}": text.format(canary=canary) for name, text in files.items()}
    suite = write_files(tmp_path / "s", {"t/task.toml": RUNS, **placed})
    with pytest.raises(UsageError, match=r"hold no repository|outside the workspace"):
        await check_suite(read_suite(suite), lambda task, problem: None)
    assert not canary.exists()


@pytest.mark.parametrize("part", ["files", "hidden", "solution"])
async def test_a_suite_shows_nothing_that_its_links_lead_to(part: str, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("hunter2\n")
    task = 'prompt = "x"\n[[verify]]\nfile = "k"\ntext = ""\n'
    suite = write_files(tmp_path / "s", {"t/task.toml": task, f"t/{part}/other": ""})
    (suite / "t" / part / "k").symlink_to(key)
    os.mkfifo(suite / "t" / part / "pipe")
    found: dict[str, str] = {}
    await check_suite(read_suite(suite), found.__setitem__)
    assert "there is no file k" in found["t"]
    (suite / "t" / part).rename(suite / "t/moved")
    (suite / "t" / part).symlink_to("moved")
    with pytest.raises(UsageError, match="is a link"):
        read_suite(suite)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["smoke", "repo"])
async def test_every_task_fails_at_the_start_and_passes_when_solved(name: str) -> None:
    found: dict[str, str] = {}
    await check_suite(read_suite(BUILT_IN / name), found.__setitem__)
    wrong = {task: problem for task, problem in found.items() if problem}
    assert not {task for task in wrong if not wrong[task].startswith("left out")}, wrong


def test_both_parts_of_the_repository_suite_hold_tasks_of_every_kind() -> None:
    tasks = read_suite(BUILT_IN / "repo").tasks
    halves = {half: [t for t in tasks if half in t.file.tags] for half in ("dev", "check")}
    assert [len(half) for half in halves.values()] == [61, 31]
    kinds = {"fix", "feature", "flag", "refactor", "tests", "config", "git", "search", "docs",
             "data", "large", "names", "javascript", "shell", "c", "run", "files"}  # fmt: skip
    assert {tag for task in halves["dev"] for tag in task.file.tags} >= kinds
    assert {tag for task in halves["check"] for tag in task.file.tags} >= kinds
