"""The checks of acplint, but for those in which acplint 0.1.0 departs from the protocol."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.editor import PlayedModel
from support.model_server import says

DEPARTS = {
    "initialize_v1": "the protocol's version is a number; acplint wants a text",
    "protocol_version_returned": "the same",
    "schema_initialize": "the same",
    "new_session": "config options have a `name`; acplint wants a `label`",
    "schema_session_new": "the same",
    "agent_message_chunk_received": "a prompt's blocks are `prompt`; acplint sends `content`, "
    "and awaits `agentMessageChunk` for `agent_message_chunk`",
    "prompt_stop_reason": "the same prompt, which is refused for its missing blocks",
}


@pytest.mark.slow  # acplint waits for updates for a fixed time
def test_acplint_finds_nothing_else(
    shared_home: Path, model: PlayedModel, folder: Path, tmp_path: Path
) -> None:
    model.play(says("Hello."))
    report = tmp_path / "report.json"
    argv = [sys.executable, "-m", "acplint.cli", "--agent", sys.executable]
    argv += ["--agent-args", "-m laguna_agent.cli acp", "--cwd", str(folder)]
    argv += ["--output", "json", "--output-file", str(report)]
    subprocess.run(argv, env={**os.environ, "LAGUNA_HOME": str(shared_home)}, check=False)
    results = json.loads(report.read_text())["results"]
    failed = {one["name"] for one in results if one["status"] != "PASS"}
    assert len(results) > 40
    assert failed == set(DEPARTS)
