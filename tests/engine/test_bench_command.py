"""`laguna bench` measures the synthetic model end to end."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from laguna_agent.errors import LagunaError, UsageError
from laguna_agent.interfaces.commands.bench import main
from laguna_agent.models.engine import saved_bench
from laguna_agent.models.engine.bench import BenchReport, Figure


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


def report(rates: tuple[float, float, float], *, build: str = "b1") -> BenchReport:
    low, value, high = rates
    found = BenchReport({"path": "/models/some model.gguf", "build": build})
    found.add("load", 1.0 / value, "s")
    found.add("decode at depth 0", value, "tokens/s", 1.0, low=low, high=high)
    found.add("first token", 1 / value, "s", low=1 / high, high=1 / low)
    return found


def test_a_result_is_kept_per_model_and_build_and_the_last_one_is_found(home: Path) -> None:
    first = saved_bench.save(report((9, 10, 11)))
    assert saved_bench.save(report((18, 20, 22))) == first
    model = Path("/elsewhere/some model.gguf")
    assert saved_bench.load(saved_bench.last(model))["figures"]["decode at depth 0"].value == 20
    other = saved_bench.save(report((1, 2, 3), build="b2"))
    os.utime(first, (1, 1))
    assert saved_bench.last(model) == other
    with pytest.raises(LagunaError, match="no saved result of other"):
        saved_bench.last(Path("other.gguf"))


@pytest.mark.parametrize(
    ("now", "worse"), [((9, 10, 11), False), ((8, 8.5, 9.2), False), ((7, 8, 8.9), True),
                       ((12, 13, 14), False)],
)  # fmt: skip
def test_only_what_is_worse_by_more_than_the_spread_is_a_regression(
    now: tuple[float, float, float], worse: bool
) -> None:
    before = {figure.name: figure for figure in report((9, 10, 11)).figures}
    changes = {f.name: saved_bench.change(f, before[f.name]) for f in report(now).figures}
    for name in ("decode at depth 0", "first token"):
        changed = changes[name]
        assert changed is not None
        assert changed[1] is worse
    assert changes["load"] is not None
    assert changes["load"][1] is False, "measured once: nothing is known of its spread"
    assert saved_bench.change(Figure("new", 1, "s"), None) is None


@pytest.mark.parametrize("text", ["", "[]", '{"figures": [{}]}', '{"figures": [], "model": 3}'])
def test_a_file_without_a_result_is_one_line(tmp_path: Path, text: str) -> None:
    file = tmp_path / "x.json"
    file.write_text(text)
    with pytest.raises(LagunaError, match=r"holds no result of `laguna bench --json`"):
        saved_bench.load(file)


@pytest.mark.slow
def test_a_run_is_compared_with_the_saved_one(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    brief = ["--synthetic", "tiny", "--depths", "0", "--tokens", "4", "--no-speculation"]
    with pytest.raises(LagunaError, match="no saved result"):
        main([*brief, "--against"])
    assert main([*brief, "--save"]) == 0
    (saved,) = (home / "data" / "bench").glob("*.json")
    content = json.loads(saved.read_text())
    for figure in content["figures"]:
        for field in ("low", "high"):
            figure[field] = figure[field] and figure[field] * 1000
    saved.write_text(json.dumps(content))
    capsys.readouterr()
    assert main([*brief, "--against"]) == 1
    shown = capsys.readouterr().out
    assert "slower by more than the spread: prefill of 512 tokens, decode at depth 0" in shown
    assert ", slower)" in shown


@pytest.mark.slow
def test_what_would_take_too_long_is_left_out_and_named(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("laguna_agent.interfaces.commands.bench._LIMIT_S", 1)
    assert main(["--synthetic", "tiny", "--tokens", "2", "--rounds", "1"]) == 0
    assert "left out, to end within five minutes: depth 1024, depth" in capsys.readouterr().out


@pytest.mark.parametrize("flags", [["--depths", "x"], ["--tokens", "1"], ["--rounds", "0"]])
def test_senseless_numbers_are_refused(flags: list[str]) -> None:
    with pytest.raises(UsageError):
        main(flags)
