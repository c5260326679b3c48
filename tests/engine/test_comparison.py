"""Quantisations of a model compared: what is better, by how much, and where one is broken."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from laguna_agent import cli
from laguna_agent.config import EngineConfig
from laguna_agent.interfaces.commands.command_line import run_async
from laguna_agent.models.comparison import comparison
from laguna_agent.models.comparison.comparison import Variant, built_in_texts, compare
from laguna_agent.models.comparison.estimates import (
    Estimate,
    estimate,
    estimate_columns,
    estimate_high,
    straying,
)
from laguna_agent.models.gguf import read_header
from laguna_agent.paths import data_dir
from support.quantised import Q5_K_M, requantise, shuffle_experts
from support.synthetic import deep_laguna, dense_laguna, tiny_laguna

Captured = pytest.CaptureFixture[str]
CONFIG = EngineConfig(
    context=1024, micro_batch=64, keep_alive=0, threads=1, snapshots=False, speculation=False
)


@pytest.fixture(scope="module")
def quantised(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The model, a copy that llama.cpp quantised again, and one with a layer's experts shuffled."""
    folder = tmp_path_factory.mktemp("quantised")
    again = requantise(deep_laguna(), folder / "again.gguf", Q5_K_M)
    return {
        "better": deep_laguna(),
        "again": again,
        "broken": shuffle_experts(again, folder / "broken.gguf", 3),
    }


@pytest.mark.parametrize(
    "together", [pytest.param(True, marks=pytest.mark.slow), False], ids=["in turns", "one by one"]
)
async def test_agreement_of_routing_finds_a_broken_layer_that_perplexity_does_not(
    quantised: dict[str, Path], together: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "_fit_together", lambda _: together)
    monkeypatch.setattr(comparison, "_CONTINUED", 2)
    monkeypatch.setattr(comparison, "_PROMPT", 64)
    variants = [
        Variant(name, path, None, read_header(path), CONFIG) for name, path in quantised.items()
    ]
    texts = {"code": built_in_texts()["code"]}
    report = await compare(
        variants, variants[0], texts, tokens=256, depths=[0], rounds=1, say=lambda _: None
    )
    assert report["alternated"] is together
    found = {one["name"]: one["texts"]["code"] for one in report["quality"]}
    again, broken = found["again"], found["broken"]
    assert again["routing"]["strays_from_layer"] is None
    assert again["routing"]["mean"]["low"] > 0.95
    assert broken["routing"]["strays_from_layer"] == 4, "the first router behind the experts"
    assert broken["routing"]["layers"]["4"]["high"] < broken["routing"]["layers"]["3"]["low"] - 0.03
    ratio = broken["perplexity_ratio"]
    assert ratio["low"] < 1 < ratio["high"], "perplexity alone sees nothing"
    for one in found.values():
        mean, high = one["divergence_mean"], one["divergence_p99"]
        assert 0 < mean["low"] < mean["value"] < mean["high"] < high["value"]
    assert again["divergence_mean"]["high"] < broken["divergence_mean"]["low"]
    assert again["same_top"]["value"] > broken["same_top"]["value"]
    for model in report["models"]:
        assert model["memory_bytes"] > 0
        assert model["speed"][0]["prefill"]["value"] > 0
        assert model["speed"][0]["decode"]["value"] > 0
        assert model["perplexity"]["code"]["low"] > 1000, "its weights are random"


def run(*arguments: str) -> int:
    return cli.main(["models", "compare", *arguments])


@pytest.mark.slow
def test_types_of_the_cache_are_compared_at_depth(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Captured
) -> None:
    monkeypatch.setenv("LAGUNA_ENGINE__THREADS", "1")
    monkeypatch.setattr(comparison, "_CONTINUED", 2)
    monkeypatch.setattr(comparison, "_PROMPT", 64)
    content = "def area(width, height):\n    return width * height\n" * 9
    (tmp_path / "a.py").write_text(content)
    flags = ["--kv", "q4_0,f16", "--depths", "0,80", "--rounds", "1", "--tokens", "200"]
    assert run(str(tiny_laguna()), *flags, "--text", str(tmp_path / "a.py"), "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert (tmp_path / "a.py").read_text() == content
    assert report["reference"] == "f16"
    assert [model["name"] for model in report["models"]] == ["q4_0", "f16"]
    assert [[speed["depth"] for speed in model["speed"]] for model in report["models"]] == [
        [0, 80],
        [0, 80],
    ]
    (quality,) = report["quality"]
    assert quality["name"] == "q4_0"
    (text,) = quality["texts"].values()
    assert text["divergence_mean"]["value"] > 1e-4


@pytest.mark.slow
def test_other_vocabularies_leave_speed_to_compare(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Captured
) -> None:
    from dataclasses import replace

    from laguna_agent.models.engine.synthetic import TINY, write_model

    monkeypatch.setenv("LAGUNA_ENGINE__THREADS", "1")
    monkeypatch.setattr(comparison, "_CONTINUED", 2)
    monkeypatch.setattr(comparison, "_PROMPT", 64)
    monkeypatch.setenv("COLUMNS", "40")
    other = tmp_path / "other.gguf"
    with other.open("wb") as file:
        write_model(file, replace(TINY, vocabulary=2048, layers=2))
    text = tmp_path / "a.txt"
    text.write_text("A short text that is read by both of them, one after the other. " * 3)
    flags = ["--rounds", "1", "--tokens", "90", "--text", str(text)]
    assert run(str(dense_laguna()), str(other), *flags) == 0
    out = capsys.readouterr().out
    assert "cannot be compared" in " ".join(out.split())
    assert "prefill at 0" in out
    assert max(map(len, out.splitlines())) <= 40


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["TINY"], "give two models"),
        (["TINY", "TINY"], "the same file"),
        (["TINY", "DENSE", "--kv", "f16,q8_0"], "one model with --kv"),
        (["TINY", "--kv", "f16"], "two or more different ones"),
        (["TINY", "--kv", "f16,q5_0"], "two or more different ones"),
        (["TINY", "--kv", "f16,q8_0", "--reference", "q4_0"], "must be one of f16, q8_0"),
        (["TINY", "--kv", "f16,q8_0", "--depths", "0,-1"], "whole number"),
        (["TINY", "--kv", "f16,q8_0", "--depths", "99999"], "has a context of 8,192 tokens"),
        (["TINY", "DENSE", "--text", "no/such.txt"], "cannot be read"),
        (["TINY", "/bin/true"], "not a GGUF file"),
    ],
)
def test_what_cannot_be_compared_is_named(
    arguments: list[str], message: str, capsys: Captured
) -> None:
    paths = {"TINY": str(tiny_laguna()), "DENSE": str(dense_laguna())}
    assert run(*(paths.get(one, one) for one in arguments)) in (2, 3)
    shown = capsys.readouterr()
    assert message in shown.err
    assert not shown.out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_no_folder_behind(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    folders: list[Path] = []

    async def load(*_: object, **__: object) -> None:
        folders.extend(data_dir().glob("compare-*"))
        os.kill(os.getpid(), number)
        await asyncio.sleep(60)

    monkeypatch.setattr(comparison, "open_engine", load)
    assert run(str(tiny_laguna()), str(dense_laguna())) == 130
    assert len(folders) == 1
    assert not folders[0].exists()
    assert "Traceback" not in capsys.readouterr().err


def test_a_signal_that_is_ignored_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> str:
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.sleep(0.05)
        return "done"

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert run_async(work()) == "done"
    finally:
        signal.signal(signal.SIGHUP, before)


def test_intervals_hold_what_they_promise() -> None:
    generator = np.random.default_rng(3)
    held = 0
    for _ in range(60):
        found = estimate(generator.exponential(2.0, 640))
        held += found.low <= 2.0 <= found.high
    assert held >= 51, "95 % of 60, give or take"
    high = estimate_high(generator.exponential(2.0, 640))
    assert high.low < high.value <= high.high
    columns = estimate_columns(np.column_stack([np.zeros(64), np.arange(64)]))
    assert columns[0] == (0, 0, 0)
    assert columns[1].low < columns[1].value == 31.5 < columns[1].high
    alone = estimate(np.array([0.25]), block=1)
    assert alone == (0.25, 0.25, 0.25)


@pytest.mark.parametrize(
    ("agreement", "place"),
    [
        ([0.99, 0.98, 0.97, 0.96, 0.95], None),
        ([0.94, 0.94, 0.94, 0.94], None),
        ([0.99, 0.98, 0.98, 0.80, 0.79], 3),
        ([0.99, 0.98, 0.70, 0.97, 0.96], 2),
        ([0.60, 0.95, 0.95, 0.94], 0),
        ([1.0, 0.5], None),
        ([], None),
    ],
)
def test_a_step_of_agreement_is_told_from_a_slope(
    agreement: list[float], place: int | None
) -> None:
    around: Callable[[float], Any] = lambda value: Estimate(value, value - 0.01, value + 0.01)  # noqa: E731
    assert straying([around(value) for value in agreement]) == place
