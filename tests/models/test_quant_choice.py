"""Which quantisation a pull of a model's bare name fetches, and what it says of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from laguna_agent import cli
from laguna_agent.errors import ModelError
from laguna_agent.models.catalogue import STARTER, load_catalogue
from laguna_agent.models.fetch import acquire
from laguna_agent.models.sizing import quant_choice
from laguna_agent.models.sizing.hardware import Gpu, MemorySize
from laguna_agent.models.sizing.quant_choice import (
    choose_quant,
    machine_room,
    recommended,
    require_quant,
)
from laguna_agent.models.store import Store
from support.file_server import FileServer, serving
from support.gguf_files import QWEN, gguf_bytes, write_gguf

GIB = 1 << 30
LAGUNA = load_catalogue().get("laguna").entry


def has_memory(monkeypatch: pytest.MonkeyPatch, gibibytes: float, *cards: float) -> None:
    total = int(gibibytes * GIB)
    monkeypatch.setattr(quant_choice, "machine_memory", lambda: MemorySize(total, total))
    given = [Gpu("card", int(size * GIB), int(size * GIB)) for size in cards]
    monkeypatch.setattr(quant_choice, "gpus", lambda: given)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch):
    with serving(gguf_bytes(QWEN)) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url.removesuffix("/model.gguf"))
        yield running


@pytest.mark.parametrize(
    ("gibibytes", "kind", "context"),
    [
        (500, "Q8_0", 32768),  # never the unquantised file
        (38, "Q8_0", 32768),
        (26, "Q4_K_M", 32768),
        (19.3, "Q3_K_M", 32768),
        (15.2, "Q3_K_M", 8192),
    ],
)
def test_the_largest_that_fits_with_a_useful_context(gibibytes, kind, context):
    choice = choose_quant(LAGUNA, int(gibibytes * GIB))
    assert choice is not None
    assert (choice.chosen.file.quantization, choice.context) == (kind, context)


def test_nothing_is_chosen_where_nothing_fits():
    assert choose_quant(LAGUNA, 8 * GIB) is None
    with pytest.raises(ModelError, match=r"laguna-xs-2.1 does not fit .*q3_k_m.* nothing was") as e:
        require_quant(LAGUNA, 8 * GIB)
    assert e.value.exit_code == 3
    assert "What fits: " in str(e.value)
    assert "laguna models pull laguna-xs-2.1:q3_k_m" in str(e.value)


def test_the_reasons_tell_what_the_next_larger_would_bring():
    choice = choose_quant(LAGUNA, 26 * GIB)
    assert choice is not None
    chosen, larger = choice.reasons()
    assert chosen == (
        "laguna-xs-2.1:q4_k_m (20.3 GB) is the largest that fits 26.0 GiB of memory with 32,768 "
        "tokens of context"
    )
    assert larger.startswith("the next larger, q8_0 (35.6 GB), needs ")
    assert "stray by 0.0014 from the full model's, not 0.0313" in larger
    assert larger.endswith("untried on this model")
    everything = choose_quant(LAGUNA, 500 * GIB)
    assert everything is not None
    assert len(everything.reasons()) == 1


def test_without_a_measurement_the_bits_of_a_weight_are_told():
    entry = load_catalogue().get("gpt-oss-20b").entry
    one = entry.files[0]
    two = one.model_copy(update={"quantization": "ODD", "file": "odd.gguf", "bytes": one.size * 2})
    entry = entry.model_copy(update={"files": (one, two)})
    files = [quant_choice.Catalogued(file.file, entry, file) for file in entry.files]
    choice = choose_quant(entry, 20 * GIB, files)
    assert choice is not None
    assert "bits a weight, not " in choice.reasons()[1]
    assert "untried" in choice.reasons()[1]


def test_what_is_recommended_is_what_the_bare_name_means():
    assert recommended(64 * GIB) == choose_quant(LAGUNA, 64 * GIB)
    starter = recommended(8 * GIB)
    assert starter is not None
    assert starter.chosen.entry.name == STARTER
    assert recommended(GIB) is None


def test_room_is_main_memory_and_cards(monkeypatch):
    has_memory(monkeypatch, 10)
    assert machine_room() == 9 * GIB
    has_memory(monkeypatch, 10, 24)
    assert 32 * GIB < machine_room() < 33 * GIB


@pytest.mark.parametrize(
    ("name", "gibibytes", "file"),
    [
        ("laguna", 30, "Laguna-XS-2.1-Q4_K_M.gguf"),
        ("laguna-xs-2.1", 64, "Laguna-XS-2.1-Q8_0.gguf"),
        ("laguna-xs-2.1", 20, "Laguna-XS-2.1-Q3_K_M.gguf"),
        ("laguna:q4_k_m", 64, "Laguna-XS-2.1-Q4_K_M.gguf"),
        ("laguna:q4_k_m", 4, "Laguna-XS-2.1-Q4_K_M.gguf"),
        ("laguna:bf16", 64, "Laguna-XS-2.1-BF16.gguf"),
    ],
)
def test_a_pull_asks_for_the_quantisation_that_suits_or_is_named(
    hub: FileServer, monkeypatch, capsys, name, gibibytes, file
):
    """The server has another file; what it is asked for is what counts."""
    has_memory(monkeypatch, gibibytes)
    assert cli.main(["models", "pull", name]) == 3
    asked = {one["path"].rpartition("/")[2].lower() for one in hub.asked}
    assert asked == {file.lower()}
    err = capsys.readouterr().err
    assert ("will not fit" in err) == (gibibytes == 4 or "bf16" in name)
    assert ("is the largest that fits" in err or "is its largest" in err) == (":" not in name)


def test_what_fits_nowhere_is_said_before_the_first_byte(hub: FileServer, monkeypatch, capsys):
    has_memory(monkeypatch, 12)
    assert cli.main(["models", "pull", "qwen3-coder-next"]) == 3
    assert hub.asked == []
    err = capsys.readouterr().err
    assert "nothing was fetched" in err
    assert "What fits: " in err


def test_a_quantisation_that_is_there_stays_the_one(hub: FileServer, monkeypatch, capsys):
    has_memory(monkeypatch, 64)
    known = load_catalogue().get("laguna:q3_k_m")
    Store().directory.mkdir(parents=True)
    write_gguf(Store().directory / known.file.file)
    assert cli.main(["models", "pull", "laguna"]) == 0
    assert "laguna-xs-2.1:q3_k_m is already installed" in capsys.readouterr().err
    assert hub.asked == []


def test_a_file_of_this_machine_decides_which_it_is(monkeypatch, tmp_path: Path):
    has_memory(monkeypatch, 64)
    known = load_catalogue().get("laguna:q3_k_m")
    (tmp_path / known.file.file).write_bytes(gguf_bytes(QWEN))
    for origin in (tmp_path, tmp_path / known.file.file):
        with pytest.raises(ModelError, match=r"laguna-xs-2.1:q3_k_m"):
            acquire.pull("laguna", Store(), origin=str(origin), offline=True)


def test_show_and_fit_name_every_quantisation(capsys):
    assert cli.main(["models", "show", "laguna"]) == 0
    shown = capsys.readouterr().out
    for kind in ("q3_k_m", "q4_k_m", "q8_0"):
        assert kind in shown
    assert "untried" in shown
    assert cli.main(["models", "fit", "laguna", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["models"]
    assert {row["name"] for row in rows} > {"laguna-xs-2.1", "laguna-xs-2.1:q8_0"}


def test_a_search_tells_of_each_model_what_is_known(capsys):
    assert cli.main(["models", "search", "gpt-oss"]) == 0
    shown = capsys.readouterr().out
    for words in ("gpt-oss-20b", "Apache-2.0", "131,072", "untried", "mxfp4", "quality: "):
        assert words in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert cli.main(["models", "search", "gpt-oss", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["models"]
    assert found["tried"] is False
    assert all(figure["source"] for figure in found["quality"])


def test_a_search_without_a_hit_says_what_to_do(capsys):
    assert cli.main(["models", "search", "no", "such"]) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert "no model of the catalogue matches 'no such'" in err
    assert "laguna models list" in err
    assert cli.main(["models", "search", "nothing", "--json"]) == 3
    assert json.loads(capsys.readouterr().out) == {"models": []}
    assert cli.main(["models", "search"]) == 2
