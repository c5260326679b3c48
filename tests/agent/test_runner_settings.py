"""A check is not passed by changing how the tests run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from laguna_agent.agent.check import detection
from laguna_agent.agent.check.runner_settings import (
    is_runner_file,
    is_shared,
    names_check_script,
    settings_about_tests,
)
from laguna_agent.events import CheckRan, ToolFinished
from support.packs import write_files
from support.scripted import call, take

Opened = Callable[..., Any]
PYTEST = f"{sys.executable} -m pytest -q -p no:cacheprovider test_it.py"


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    root = write_files(
        tmp_path / "repo",
        {
            "test_it.py": "def test_it():\n    assert False\n",
            "pyproject.toml": '[project]\nname = "x"\nversion = "1"\n',
            "Makefile": "check:\n\tgrep -q fixed code.txt\nall:\n\ttrue\n",
            "code.txt": "broken\n",
            "check.sh": "#!/bin/sh\nexit 1\n",
        },
    )
    (root / "check.sh").chmod(0o755)
    return root


@pytest.mark.parametrize(
    ("check", "command"),
    [
        (PYTEST, "printf '[pytest]\\naddopts = --co\\n' > pytest.ini"),
        (PYTEST, "printf '[tool.pytest.ini_options]\\naddopts = \"--co\"\\n' >> pyproject.toml"),
        (PYTEST, "printf 'def pytest_runtest_call(item): item.obj = lambda: 0\\n' > conftest.py"),
        (PYTEST, "export PYTEST_ADDOPTS=--co"),
        (PYTEST, "echo 'raise SystemExit(0)' > pytest.py"),
        (PYTEST, "mkdir _pytest; echo 'import os; os._exit(0)' > _pytest/__init__.py"),
        (PYTEST, "echo 'import os; os._exit(0)' > pluggy.py"),
        ("./check.sh", "echo exit 0 > check.sh"),
        ("sh -c 'cd . && sh ./check.sh'", "rm check.sh; echo exit 0 > check.sh"),
        ("make check", "echo SHELL=/bin/true >> Makefile"),
        ("make check", "echo .IGNORE: >> Makefile"),
        ("make check", "printf 'check:\\n\\ttrue\\n' > Makefile"),
        ("make check", "export MAKEFLAGS=-n; make() { true; }"),
    ],
)
async def test_a_check_that_fails_is_not_passed_by_what_runs_it(
    check: str, command: str, opened: Opened
) -> None:
    script = [call("shell", command=command), call("done", summary="ok"), "I give up."]
    session, _ = await opened(script, check=check, mode="auto")
    events = await take(session, "Make it pass")
    assert events[-1].status != "done"
    ran = [event.exit_code for event in events if isinstance(event, CheckRan)]
    refused = [e for e in events if isinstance(e, ToolFinished) and e.name == "done" and not e.ok]
    assert 0 not in ran
    assert refused or ran


async def test_settings_of_a_runner_are_not_written_by_tools(
    opened: Opened, workspace: Path
) -> None:
    script = [
        call("write", path="pytest.ini", content="[pytest]\naddopts = --co\n"),
        call("write", path="conftest.py", content="collect_ignore = ['test_it.py']\n"),
        "I give up.",
    ]
    session, _ = await opened(script, check="false", mode="auto")
    events = await take(session, "Make it pass")
    refused = [e.content for e in events if isinstance(e, ToolFinished)]
    assert all("decides how the tests run" in text for text in refused), refused
    assert not (workspace / "pytest.ini").exists()
    assert not (workspace / "conftest.py").exists()


RUNNER_FILES = """
pytest.ini .pytest.ini conftest.py sub/conftest.py noxfile.py sitecustomize.py jest.config.js
jest.config.ts jest.setup.js vitest.config.mts vitest.workspace.ts karma.conf.js .mocharc.yml
.mocharc .mocharc.json test/mocha.opts ava.config.js .taprc playwright.config.ts
cypress.config.js .rspec
phpunit.xml phpunit.xml.dist .config/nextest.toml testng.xml .cargo/config.toml CTestCustom.cmake
"""
OTHER_FILES = "app.py config.toml settings.ini src/jest.py package-lock.json README.md vite.py"


def test_only_a_script_that_is_about_checking_is_part_of_the_check() -> None:
    assert names_check_script("sh scripts/check.sh -v", "scripts/check.sh")
    assert names_check_script("python3 ./verify.py && true", "verify.py")
    assert not names_check_script("python3 main.py", "main.py")
    assert not names_check_script("sh scripts/check.sh", "check.sh")


def test_files_that_are_about_a_runner_are_known() -> None:
    for path in RUNNER_FILES.split():
        assert is_runner_file(path), path
    for path in OTHER_FILES.split():
        assert not is_runner_file(path), path
        assert not is_shared(path), path


@pytest.mark.parametrize(
    ("name", "before", "unrelated", "about_tests"),
    [
        (
            "pyproject.toml",
            '[project]\nname = "x"\n[tool.pytest.ini_options]\nminversion = "6"\n',
            '[project]\nname = "y"\n[tool.ruff]\n[tool.pytest.ini_options]\nminversion = "6"\n',
            '[project]\nname = "x"\n[tool.pytest.ini_options]\naddopts = "--co"\n',
        ),
        (
            "setup.cfg",
            "[metadata]\nname = x\n",
            "[metadata]\nname = y\n",
            "[metadata]\nname = x\n[tool:pytest]\naddopts = --co\n",
        ),
        ("tox.ini", "[flake8]\nmax = 1\n", "[flake8]\nmax = 2\n", "[testenv]\ncommands = true\n"),
        (
            "package.json",
            '{"scripts": {"test": "jest", "build": "x"}}',
            '{"scripts": {"build": "y", "test": "jest"}, "dependencies": {"a": "1"}}',
            '{"scripts": {"test": "jest --passWithNoTests", "build": "x"}}',
        ),
        ("package.json", "{}", '{"name": "a"}', '{"jest": {"testMatch": []}}'),
        ("package.json", "{}", '{"scripts": {"lint": "x"}}', '{"scripts": {"pretest": "exit 0"}}'),
        (
            "Cargo.toml",
            '[package]\nname = "x"\n',
            '[package]\nname = "x"\n[dependencies]\na = "1"\n',
            '[package]\nname = "x"\nautotests = false\n',
        ),
        ("Cargo.toml", "[lib]\n", '[lib]\nname = "a"\n', "[lib]\ntest = false\n"),
        ("Makefile", "test:\n\tpytest\n", "test:\n\tpytest\nrun:\n\t./x\n", "test:\n\ttrue\n"),
        ("composer.json", "{}", '{"name": "a"}', '{"scripts": {"test": "true"}}'),
        (
            "pom.xml",
            "<p>\n</p>\n",
            "<p>\n<version>2</version>\n</p>\n",
            "<p>\n<skipTests>true</skipTests>\n</p>\n",
        ),
    ],
)
def test_a_shared_file_counts_only_for_what_it_says_about_tests(
    name: str, before: str, unrelated: str, about_tests: str, tmp_path: Path
) -> None:
    def settings(text: str) -> str:
        (tmp_path / name).write_text(text)
        return settings_about_tests(tmp_path, name)

    assert is_shared(f"sub/{name}")
    known = settings(before)
    assert settings(unrelated) == known
    assert settings(about_tests) != known
    assert settings("{broken [[[") != known or name in ("Makefile", "pom.xml")


@pytest.mark.parametrize(
    ("task", "about"),
    [
        ("Add a pytest.ini with testpaths", True),
        ("Move the fixtures to conftest.py", True),
        ("Write tests for the parser", True),
        ("Fix the bug so that `pytest -q` passes", False),
        ("Make the build pass", False),
    ],
)
def test_a_task_about_the_runner_may_change_it(task: str, about: bool) -> None:
    assert detection.tests_are_the_task(task) == about
