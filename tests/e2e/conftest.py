"""The real command, in a process of its own, with a home of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.packs import write_files
from support.synthetic import tiny_laguna

REPOSITORIES = Path(__file__).parents[1] / "support" / "repositories"
SHORT = 'extends = "laguna"\n[limits]\nreply_tokens = 32\n'


class Run:
    """A finished `laguna`."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr

    @property
    def result(self) -> dict[str, Any]:
        """The one object on standard output."""
        loaded: dict[str, Any] = json.loads(self.out)
        return loaded


@pytest.fixture
def laguna(laguna_home: Path) -> Any:
    """Runs the command; engines that it started are stopped at the end."""

    def run(*arguments: str, cwd: Path | None = None, stdin: str = "", timeout: int = 600) -> Run:
        done = subprocess.run(
            [sys.executable, "-m", "laguna_agent.cli", *arguments],
            cwd=cwd,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return Run(done)

    yield run
    run("engine", "stop")


@pytest.fixture
def short_pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack that ends replies after a few tokens: a random model may write until its context is
    full."""
    return write_files(tmp_path_factory.mktemp("packs") / "short", {"pack.toml": SHORT})


@pytest.fixture
def tiny(short_pack: Path) -> list[str]:
    """Flags for one short step of the tiny Laguna."""
    model = ["--model", str(tiny_laguna()), "--pack", str(short_pack), "--no-thinking"]
    return [*model, "--max-steps", "1"]


@pytest.fixture
def repository(tmp_path: Path) -> Callable[[str], Path]:
    """A copy of one of the small repositories, a git repository with one commit."""

    def make(name: str) -> Path:
        root = tmp_path / name
        shutil.copytree(REPOSITORIES / name, root)
        for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "Start"]):
            git = ["git", "-c", "user.name=T", "-c", "user.email=t@example.org", *command]
            subprocess.run(git, cwd=root, check=True)
        return root

    return make


def interrupt(process: subprocess.Popen[str]) -> None:
    """What Ctrl-C does."""
    os.kill(process.pid, signal.SIGINT)
