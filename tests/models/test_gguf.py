from __future__ import annotations

import os
import struct
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from laguna_agent.byte_sizes import gigabytes
from laguna_agent.errors import ModelError
from laguna_agent.models.ggml import ARCHITECTURES, NOT_FOR_TEXT, TENSOR_TYPES
from laguna_agent.models.gguf import Omitted, read_header, require_supported
from support.gguf_files import QWEN, gguf_bytes, text, write_gguf
from support.synthetic import tiny_laguna


def test_header_of_a_small_file(tmp_path):
    path = write_gguf(tmp_path / "a.gguf")
    header = read_header(path)
    assert header.architecture == "qwen2"
    assert header.quantization == "Q4_K_M"
    assert (header.layers, header.context_length) == (2, 32768)
    assert (header.tensors, header.parameters, header.weights) == (1, 1024, 4096)
    assert header.size == path.stat().st_size
    assert header.files == (str(path),)


@pytest.mark.slow
def test_header_agrees_with_the_reference_reader():
    from gguf import GGUFReader

    path = tiny_laguna()
    reference = GGUFReader(path)
    header = read_header(path)
    assert header.tensors == len(reference.tensors)
    assert header.parameters == sum(int(tensor.n_elements) for tensor in reference.tensors)
    assert header.weights == sum(int(tensor.n_bytes) for tensor in reference.tensors)
    for key, field in reference.fields.items():
        if key.startswith("GGUF."):
            continue
        ours = header.metadata[key]
        if isinstance(ours, Omitted):
            assert len(ours) == len(field.data)
        else:
            assert ours == field.contents()


def test_tensor_types_agree_with_the_reference():
    from gguf.constants import GGML_QUANT_SIZES

    for kind, (block, size) in GGML_QUANT_SIZES.items():
        if kind.name != "Q8_1":  # the reference still has the size it had before ggml shrank it
            assert TENSOR_TYPES[kind.value] == (kind.name, block, size)


def test_architectures_cover_the_reference():
    from gguf.constants import MODEL_ARCH_NAMES

    assert set(MODEL_ARCH_NAMES.values()) <= ARCHITECTURES | NOT_FOR_TEXT
    assert "laguna" in ARCHITECTURES


def test_long_arrays_are_counted_and_not_kept(tmp_path):
    words = [f"word{n}" for n in range(5000)]
    metadata = QWEN | {"tokenizer.ggml.tokens": words, "tokenizer.ggml.scores": [0.0] * 5000}
    header = read_header(write_gguf(tmp_path / "a.gguf", metadata))
    assert header.metadata["tokenizer.ggml.tokens"] == Omitted(5000)
    assert header.vocabulary == 5000


def test_strings_longer_than_a_chunk_are_skipped_correctly(tmp_path):
    words = ["x" * (1 << 20), *["y" * n for n in range(4990)], "z" * (3 << 20), *["w"] * 100]
    metadata = {**QWEN, "tokenizer.ggml.tokens": words, "qwen2.after": 7}
    assert read_header(write_gguf(tmp_path / "a.gguf", metadata)).get("after") == 7


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "is not a GGUF file"),
        (b"GGU", "is not a GGUF file"),
        (b"PK\x03\x04 something else", "is not a GGUF file"),
        (gguf_bytes(version=1), "version 1"),
        (gguf_bytes(version=9), "version 9"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 0), "is damaged"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 60), "is damaged"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1 << 62), "is damaged"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("k") + struct.pack("<I", 99), "is damaged"),
        (
            b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("k") + struct.pack("<IIQ", 9, 8, 1 << 61),
            "truncated or damaged",
        ),
        (
            b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("k") + struct.pack("<IIQ", 9, 9, 1 << 20),
            "truncated or damaged",
        ),
        (gguf_bytes(QWEN | {"general.alignment": 0}), "alignment"),
        (gguf_bytes(tensors=[("t", (256,), 4)]), "no longer reads"),
        (gguf_bytes(tensors=[("t", (256,), 777)]), "does not know"),
        (gguf_bytes(tensors=[("t", (100,), 12)]), "rows of 100"),
        (gguf_bytes(tensors=[("t", (1 << 40, 1 << 40), 0)], data=b""), "is damaged"),
    ],
)
def test_a_defect_is_an_error_of_one_line(tmp_path, data, why):
    path = tmp_path / "bad.gguf"
    path.write_bytes(data)
    with pytest.raises(ModelError, match=why) as caught:
        read_header(path)
    assert "\n" not in caught.value.message
    assert str(path) in caught.value.message
    assert caught.value.exit_code == 3


@pytest.mark.slow
def test_a_file_cut_anywhere_is_refused(tmp_path):
    whole = gguf_bytes()
    path = tmp_path / "cut.gguf"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelError):
            read_header(path)
    path.write_bytes(whole)
    assert read_header(path).tensors == 1


def test_a_cut_file_says_how_much_is_there(tmp_path):
    path = tmp_path / "cut.gguf"
    path.write_bytes(gguf_bytes()[:-3500])
    with pytest.raises(ModelError, match="is truncated: it has 1 kB of 5 kB; fetch it again"):
        read_header(path)


@pytest.mark.slow
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_never_gives_anything_but_a_header_or_a_model_error(tmp_path, data):
    whole = bytearray(gguf_bytes(QWEN | {"qwen2.list": [1, 2, 3], "tokenizer.ggml.tokens": ["a"]}))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(4, len(whole) - 1))
        whole[at] = data.draw(st.integers(0, 255))
    path = tmp_path / "fuzzed.gguf"
    path.write_bytes(whole)
    with suppress(ModelError):
        header = read_header(path)
        require_supported(header, path)
        header.per_layer("attention.head_count_kv")


def test_fifos_devices_and_directories_do_not_block(tmp_path):
    os.mkfifo(tmp_path / "fifo.gguf")
    for path in (tmp_path / "fifo.gguf", Path("/dev/zero"), tmp_path, tmp_path / "absent.gguf"):
        with pytest.raises(ModelError):
            read_header(path)


def test_split_models_are_read_as_one(tmp_path):
    first = QWEN | {"split.count": 2, "split.no": 0}
    one = write_gguf(tmp_path / "m-00001-of-00002.gguf", first)
    with pytest.raises(ModelError, match="does not exist"):
        read_header(one)
    two = write_gguf(tmp_path / "m-00002-of-00002.gguf", {"split.count": 2, "split.no": 1})
    header = read_header(one)
    assert header.tensors == 2
    assert header.files == (str(one), str(two))
    assert header.size == one.stat().st_size + two.stat().st_size
    with pytest.raises(ModelError, match="one of 2 files of a split model"):
        read_header(write_gguf(tmp_path / "renamed.gguf", first))


@pytest.mark.parametrize(
    ("metadata", "why"),
    [
        (QWEN | {"general.architecture": "mystery"}, "'mystery', which this llama.cpp does not"),
        ({}, "''"),
        (QWEN | {"general.architecture": "bert"}, "cannot hold a conversation"),
        (QWEN | {"general.type": "adapter"}, "a part of one"),
        ({"general.architecture": "qwen2"}, "no layers"),
    ],
)
def test_models_that_cannot_be_used_are_refused(tmp_path, metadata, why):
    path = write_gguf(tmp_path / "a.gguf", metadata)
    with pytest.raises(ModelError, match=why) as caught:
        require_supported(read_header(path), path)
    assert caught.value.exit_code == 3


def test_a_number_of_layers_that_no_model_has_costs_nothing(tmp_path):
    path = write_gguf(tmp_path / "a.gguf", QWEN | {"qwen2.block_count": 1 << 60})
    header = read_header(path)
    assert header.per_layer("attention.head_count_kv") == []
    with pytest.raises(ModelError, match="no layers"):
        require_supported(header, path)


def test_sizes_for_people():
    sizes = [20_274_300_032, 98_362_432, 12_345, 7]
    assert [gigabytes(size) for size in sizes] == ["20.3 GB", "98 MB", "12 kB", "7 bytes"]
