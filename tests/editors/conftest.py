"""One `laguna acp` and its model for all tests of a module."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.editor import Editor, PlayedModel


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("editor")


@pytest.fixture(scope="module")
def model(shared_home: Path) -> Iterator[PlayedModel]:
    with PlayedModel().serving(shared_home) as played:
        yield played


@pytest.fixture(scope="module")
def agent(shared_home: Path, model: PlayedModel) -> Iterator[Editor]:
    editor = Editor(shared_home)
    yield editor
    assert editor.close() == 0


@pytest.fixture
def editor(agent: Editor) -> Editor:
    """The editor, which remembers nothing of the tests before."""
    agent.answers.clear()
    agent.seen.clear()
    return agent


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "repo").mkdir()
    (tmp_path / "repo" / "a.txt").write_text("one\ntwo\nthree\n")
    return tmp_path / "repo"
