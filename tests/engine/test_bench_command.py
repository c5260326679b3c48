"""`laguna bench` measures the synthetic model end to end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from laguna_agent.errors import UsageError
from laguna_agent.interfaces.commands.bench import main


@pytest.mark.slow
def test_the_tiny_model_is_written_and_measured(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--synthetic", "tiny", "--depths", "0,600", "--tokens", "4", "--rounds", "3"]
    assert main([*arguments, "--json"]) == 0
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    figures = {figure["name"]: figure for figure in report["figures"]}
    assert figures["prefill of 512 tokens"]["ratio"] > 0
    assert figures["decode at depth 0"]["ratio"] > 0
    assert figures["prefill of 512 tokens at depth 600"]["ratio"] > 0
    assert figures["decode at depth 600"]["ratio"] > 0
    saved = next(figure for name, figure in figures.items() if "600 saved" in name)
    assert saved["ratio"] > 0
    assert figures["snapshot at depth 600 restored"]["ratio"] > 0
    assert figures["static prefix restored"]["value"] == 100
    assert "memory plan" in captured.err
    assert report["model"]["architecture"] == "laguna"
    brief = ["--synthetic", "tiny", "--depths", "0", "--tokens", "2", "--rounds", "1"]
    assert main([*brief, "--no-speculation"]) == 0
    assert "prefill of 512 tokens" in capsys.readouterr().out


@pytest.mark.parametrize("flags", [["--depths", "x"], ["--tokens", "1"], ["--rounds", "0"]])
def test_senseless_numbers_are_refused(flags: list[str]) -> None:
    with pytest.raises(UsageError):
        main(flags)
