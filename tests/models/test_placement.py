"""`laguna models fit`: all ways to place a model, their speeds, and machines one does not have."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from itertools import pairwise

import pytest

from laguna_agent.config import EngineConfig
from laguna_agent.errors import UsageError
from laguna_agent.interfaces.commands.fit_report import placement_lines
from laguna_agent.interfaces.commands.models import main
from laguna_agent.interfaces.commands.what_if import parse
from laguna_agent.models.catalogue import load_catalogue
from laguna_agent.models.engine.tuning_store import Tuning, fingerprint, layout, store
from laguna_agent.models.sizing import fit, speed
from laguna_agent.models.sizing.hardware import Gpu, MemorySize, physical_cores
from laguna_agent.models.sizing.placement import Predictor, machines, placements
from laguna_agent.models.sizing.speed import WRITING, Rates, machine_rates, predict
from support.synthetic import tiny_laguna

GIB = 1 << 30
HERE = MemorySize(24 * GIB, 22 * GIB)
XS = load_catalogue().get("laguna").header
assert XS is not None


def rates(width: float = 40e9, work: float = 800e9) -> Rates:
    """A processor that reads `width` bytes and does `work` operations a second."""
    attention = ("flash f16", "plain f16", "flash q8_0")
    return Rates(
        row={"Q4_K": width},
        batch={"Q4_K": work},
        expert_row={"Q4_K": width},
        experts={"Q4_K": work / 3},
        attend_row=dict.fromkeys(attention, 5e-11),
        attend_batch=dict.fromkeys(attention, 1e-11),
        layer=1e-4,
        token=1e-5,
    )


def test_a_token_takes_the_time_to_read_its_weights():
    plan = fit.plan(XS, 4096)
    one, twice = (predict(XS, plan, rates(width), depth=0) for width in (40e9, 80e9))
    read = sum(XS.parts["rest"].values()) + sum(XS.parts["output"].values())
    read += sum(XS.parts["experts"].values()) * 8 // 256
    assert 1 / one.writing == pytest.approx(read / 40e9 + 40 * 1e-4 + WRITING, rel=1e-6)
    assert one.writing < twice.writing < 2 * one.writing


def test_depth_costs_the_global_layers_more_than_the_windows():
    plan = fit.plan(XS, 32768)
    seconds = [1 / predict(XS, plan, rates(), depth=n).writing for n in (0, 512, 1024, 1536)]
    first, second, third = (b - a for a, b in pairwise(seconds))
    assert second == pytest.approx(third)
    assert first == pytest.approx(4 * second), "40 layers up to the window, 10 of them beyond"


def test_more_on_the_card_is_faster():
    card = Gpu("c", 12 * GIB, 12 * GIB)
    found = placements(XS, 32768, EngineConfig(), HERE, [card], Predictor([rates()]))
    by_kind = {one.plan.kind: one for one in found}
    assert list(by_kind) == ["card", "experts", "layers", "processor"]
    assert not by_kind["card"].fits
    assert by_kind["card"].reason.endswith("short")
    writing = {kind: one.speeds.writing for kind, one in by_kind.items() if one.speeds}
    assert writing["card"] > writing["experts"] > writing["layers"] > writing["processor"]
    (chosen,) = [one for one in found if one.chosen]
    assert (chosen.plan.kind, chosen.reason) == ("experts", "fits; fastest")
    assert chosen.plan == fit.plan(XS, 32768, cards=[card])


def test_nothing_is_chosen_where_nothing_fits():
    small = MemorySize(8 * GIB, 7 * GIB)
    (only,) = placements(XS, 32768, EngineConfig(), small, [], Predictor([rates()]))
    assert (only.fits, only.chosen) == (False, False)
    assert only.reason == f"memory {(only.host - small.available) // GIB} GiB short"


@pytest.mark.parametrize("name", ["laguna-s-2.1", "laguna-m.1"])
def test_the_large_lagunas_name_machines_that_hold_them(name):
    header = load_catalogue().get(name).header
    assert header is not None
    found = machines(header, 32768, EngineConfig(), Predictor([rates()]))
    assert len(found) == 4
    slow, *others = (speeds.writing for _, speeds in found)
    assert all(slow < rate for rate in others)
    assert others[-1] == max(others), "cards that hold all of it"


def test_several_cards_take_turns():
    cards = [Gpu("c", 24 * GIB, 24 * GIB)] * 2
    plan = fit.plan(XS, 32768, cards=cards)
    alone = fit.plan(XS, 32768, cards=[Gpu("c", 48 * GIB, 48 * GIB)])
    one = predict(XS, alone, rates(), [rates(400e9)])
    two = predict(XS, plan, rates(), [rates(400e9), rates(400e9)])
    assert two.writing == pytest.approx(one.writing, rel=1e-6)


# --- machines in words --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "memory", "cards"),
    [
        ("gpu=8GiB,ram=32GiB", 32, [8]),
        ("gpu=8GiB", 24, [8]),
        ("ram=64", 64, []),
        ("gpu=2x24GB, RAM=64gb", 64, [24, 24]),
        ("gpu=24,gpu=8", 24, [24, 8]),
        ("gpu=0,ram=16", 16, []),
        ("unified=32GiB", 32, [24]),
        ("gpu=1.5g", 24, [1.5]),
    ],
)
def test_a_machine_in_words(text, memory, cards):
    found, some = parse(text, HERE)
    assert found.total == memory * GIB
    assert [card.total for card in some] == [size * GIB for size in cards]
    assert all(card.shared == text.startswith("unified") for card in some)


def test_the_bandwidth_of_a_card_can_be_given():
    _, (card,) = parse("gpu=8GiB@448GB/s", HERE)
    assert card.bandwidth == 448e9
    assert "448 GB/s (as given)" in " ".join(Predictor([rates()]).notes([card]))
    _, (card,) = parse("gpu=8GiB", HERE)
    assert "272 GB/s (usual for the size)" in " ".join(Predictor([rates()]).notes([card]))


@pytest.mark.parametrize(
    "text",
    ["", "gpu", "gpu=", "gpu=-8", "gpu=8TiB", "gpu=8GiB;ram=32", "tpu=8", "ram=0", "ram=2x8",
     "ram=8,ram=9", "gpu=99x8", "gpu=0x8", "gpu=999999", "unified=32,ram=8", "gpu=8@@9", "ram=8@50",
     "gpu=9x8,gpu=9x8", "gpu=٣"],
)  # fmt: skip
def test_what_is_no_machine_is_refused_in_words(text):
    with pytest.raises(UsageError, match="--what-if: ") as caught:
        parse(text, HERE)
    assert caught.value.exit_code == 2
    assert "gpu=8GiB,ram=32GiB" in str(caught.value)


# --- on the screen ------------------------------------------------------------------------------


@pytest.fixture
def known(monkeypatch):
    """Rates of this machine that are already measured."""
    monkeypatch.setattr(speed, "_measured", lambda types: [rates()])


def test_the_placements_of_one_model(known, capsys):
    assert main(["fit", "laguna:q4_k_m", "--what-if", "gpu=8GiB,ram=32GiB", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [card["total"] for card in found["gpus"]] == [8 * GIB]
    (row,) = [row for row in found["models"] if row["placements"]]
    (chosen,) = [one for one in row["placements"] if one["chosen"]]
    assert chosen["placement"] == "experts"
    assert 0 < chosen["cards"][0] <= 8 * GIB
    assert chosen["speed"]["writing"] > chosen["speed"]["writing_full"] > 0
    assert "assumed" in " ".join(found["notes"])


@pytest.mark.parametrize("width", [80, 40])
def test_the_report_keeps_to_the_width_of_the_terminal(known, capsys, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    assert main(["fit", "laguna-m.1", "--what-if", "gpu=2x24GiB,ram=64GiB"]) == 0
    shown = capsys.readouterr().out
    assert "docs/servers.md" in shown
    assert "processor only" in shown
    lines = shown.splitlines()[4:] if width == 40 else shown.splitlines()
    assert max(map(len, lines)) <= (80 if width == 80 else 70)


def test_the_chosen_placement_is_marked(known):
    from laguna_agent.interfaces.commands.fit_report import Candidate, fit_report

    model = Candidate("xs", XS, None)
    card = Gpu("c", 24 * GIB, 24 * GIB)
    report = fit_report([model], EngineConfig(), HERE, [card], Predictor([rates()]))
    lines = placement_lines(report.rows[0], 80)
    (marked,) = [line for line in lines if line.startswith("* ") and "GiB" in line]
    assert "all on the card" in marked
    assert marked.endswith("fits; fastest")
    assert report.rows[0].gpu == fit.plan(XS, 32768, cards=[card]).gpu


# --- measuring ----------------------------------------------------------------------------------


def test_rates_of_a_busy_machine_are_measured_again_once_it_is_quiet(monkeypatch):
    given = [rates(10e9), rates(30e9), rates(20e9)]
    given[0].measured = False
    monkeypatch.setattr(speed, "_measured", lambda types: [given.pop(0)])
    monkeypatch.setattr(speed, "busy", lambda cores: True)
    for _ in range(2):
        assert machine_rates(["Q4_K"])[0].row["Q4_K"] == 10e9
    monkeypatch.setattr(speed, "busy", lambda cores: False)
    for _ in range(2):
        assert machine_rates(["Q4_K"])[0].row["Q4_K"] == 30e9, "and then kept"
    assert machine_rates(["Q4_K", "Q6_K"])[0].row["Q4_K"] == 20e9, "for types that are not known"


def test_a_damaged_file_of_rates_is_measured_anew(monkeypatch):
    monkeypatch.setattr(speed, "_measured", lambda types: [rates()])
    speed.path().parent.mkdir(parents=True, exist_ok=True)
    for text in ("", "[]", "{broken", json.dumps({"x": [{"nonsense": 1}]})):
        speed.path().write_text(text)
        assert machine_rates(["Q4_K"]) == [rates()]
    assert list(json.loads(speed.path().read_text()).values())[-1] == [asdict(rates())]


@pytest.mark.parametrize("end", ["sys.exit(1)", "os.abort()", "time.sleep(60)"])
def test_a_card_whose_driver_fails_leaves_the_processors_rates(monkeypatch, end):
    line = json.dumps(asdict(rates()))
    code = f"import os, sys, time; print({line!r}); print('half a li', flush=True); {end}"
    monkeypatch.setattr(speed, "python_command", lambda *_: [sys.executable, "-c", code])
    monkeypatch.setattr(speed, "_LIMIT_S", 2)
    assert machine_rates(["Q4_K"]) == [rates()]


def test_without_llama_cpp_there_are_no_rates(monkeypatch, capsys):
    monkeypatch.setattr(speed, "_measured", lambda types: [])
    assert main(["fit", "laguna"]) == 0
    assert "PLACEMENT" not in capsys.readouterr().out


@pytest.mark.slow
def test_the_kernels_of_this_machine_are_measured():
    (found,) = machine_rates(["Q4_K"])
    assert found.row["Q4_K"] > 1e8
    assert found.batch["Q4_K"] > found.experts["Q4_K"] > 1e8
    assert all(0 < seconds < 1e-6 for seconds in found.attend_row.values())
    assert found.layer >= 0


def test_what_the_engine_measured_is_told(known, capsys):
    path = tiny_laguna()
    way = layout(physical_cores(), fit.MICRO_BATCH, None, 0, "f16")
    key = f"{fingerprint(path)} llama-cpp-python 0.1 (AVX) {way}"
    store(key, Tuning(1, 1, 123.4, measured=False))
    assert main(["fit", str(path), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["models"]
    assert row["engine_rate"] == 0, "measured beside other programs"
    store(key, Tuning(1, 1, 123.4, measured=True))
    assert main(["fit", str(path)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "The engine itself measured 123 for writing." in shown
    assert main(["fit", str(path), "--what-if", "ram=16"]) == 0
    assert "The engine itself" not in capsys.readouterr().out
