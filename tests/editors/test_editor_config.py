"""The lines for editors: what `--print-config` prints, and what the document shows."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from laguna_agent.cli import main
from laguna_agent.interfaces.acp.editor_config import editor_config
from laguna_agent.interfaces.acp.editor_names import EDITORS

DOCUMENT = Path(__file__).parents[2] / "docs" / "editors.md"


@pytest.mark.parametrize("editor", EDITORS)
def test_each_editor_gets_the_absolute_path_of_this_laguna(
    editor: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["acp", "--print-config", editor]) == 0
    printed = capsys.readouterr().out
    [path] = re.findall(r'"(/[^"]*)"', printed)
    assert os.access(path, os.X_OK)
    assert "acp" in printed


@pytest.mark.parametrize("editor", EDITORS)
def test_the_document_shows_the_same_lines(editor: str) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    [path] = re.findall(r'"(/[^"]*)"', editor_config(editor))
    assert editor_config(editor).replace(path, "/home/you/.local/bin/laguna") in text


def test_the_settings_in_json_are_json() -> None:
    for editor in ("zed", "jetbrains"):
        server = json.loads(editor_config(editor))["agent_servers"]["laguna"]
        assert server["args"] == ["acp"]
    assert json.loads(editor_config("vscode"))["acp.agents"]["laguna"]["args"] == ["acp"]


def test_an_unknown_editor_is_told_the_known_ones() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "laguna_agent.cli", "acp", "--print-config", "vi"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "zed" in done.stderr
