"""A home with secrets in it, a repository to work in, and a canary that must not appear."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from laguna_agent.actions import Mode
from laguna_agent.config import RuleConfig
from laguna_agent.policy.gate import Gate

SECRETS = (".ssh/id_ed25519", ".aws/credentials", ".gnupg/private.key", ".config/gh/hosts.yml")
GIT = ("git", "-c", "user.name=t", "-c", "user.email=t@example.org")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    for name in SECRETS:
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("hunter2\n")
    (home / ".cache").mkdir()
    (home / ".gitconfig").write_text("[user]\n\tname = t\n\temail = t@example.org\n")
    monkeypatch.setenv("HOME", str(home))
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    return home


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small repository with one commit, made once."""
    root = tmp_path_factory.mktemp("template") / "repo"
    (root / "src").mkdir(parents=True)
    (root / "src" / "a.py").write_text("foo = 1\n")
    (root / "README.md").write_text("foo\nbar\n")
    (root / "x.sh").write_text("#!/bin/sh\ntouch C\ncat\n")
    (root / "x.sh").chmod(0o755)
    (root / ".env").write_text("PASSWORD=hunter2\n")
    for words in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "start"]):
        subprocess.run([*GIT, *words], cwd=root, check=True, capture_output=True)
    return root


@pytest.fixture
def workspace(tmp_path: Path, home: Path, template: Path) -> Path:
    """A copy of the repository, with a neighbour whose name begins the same."""
    root = tmp_path / "t" / "repo"
    shutil.copytree(template, root, symlinks=True)
    evil = root.parent / "repo-evil"
    evil.mkdir()
    (evil / "f").write_text("hunter2\n")
    return root


@pytest.fixture
def make_gate(workspace: Path) -> Callable[..., Gate]:
    def make(
        mode: Mode = "ask",
        *,
        plan: bool = False,
        sandboxed: bool = False,
        rules: tuple[RuleConfig, ...] = (),
        network: bool = False,
        **more: object,
    ) -> Gate:
        options: dict[str, object] = {
            "trusted": False,
            "search_path": os.environ["PATH"],
            **more,
        }
        return Gate(
            mode=mode,
            plan=plan,
            workspace=workspace,
            rules=rules,
            sandboxed=sandboxed,
            network=network,
            **options,  # type: ignore[arg-type]  # a test's own options
        )

    return make
