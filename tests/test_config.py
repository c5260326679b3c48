"""The configuration: errors that name file and key, and edits that keep everything else."""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import pytest

from laguna_agent.config import load_config
from laguna_agent.config_file import edit_config
from laguna_agent.errors import UsageError


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[engine]\ncontxt = 4096\n", "unknown key `engine.contxt`\nDid you mean `context`?"),
        ("quiet_please = true\n", "unknown key `quiet_please`"),
        ("[limits]\nsteps = 0\n", "`limits.steps`: Input should be greater than or equal to 1"),
        ("steps = [", "is not valid TOML"),
    ],
)
def test_a_mistake_names_the_file_and_the_key(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as raised:
        load_config(user=path, environment={})
    assert str(path) in str(raised.value)
    assert message in str(raised.value)


def add_server(config: MutableMapping[str, Any]) -> None:
    config.setdefault("model", "server/big")
    config.setdefault("providers", {})["server"] = {"url": "http://localhost"}


@pytest.mark.parametrize(
    "text", ["", "# mine\n[tui]\nmouse = false # keep\n", '[providers.old]\nurl = "x"\n[tui]\n']
)
def test_an_edit_keeps_what_was_there(tmp_path: Path, text: str) -> None:
    path = tmp_path / "new" / "config.toml"
    if text:
        path.parent.mkdir()
        path.write_text(text)
    edit_config(path, add_server)
    config = load_config(user=path, environment={})
    assert config.model == "server/big"
    assert config.providers["server"].url == "http://localhost"
    after = path.read_text()
    assert all(line in after.splitlines() for line in text.splitlines())
    edit_config(path, add_server)
    assert path.read_text() == after


def test_a_file_that_cannot_be_edited_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("providers = 3\n")
    with pytest.raises(UsageError, match="a form that laguna cannot add this to"):
        edit_config(path, add_server)
    assert path.read_text() == "providers = 3\n"
