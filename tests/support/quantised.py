"""Other quantisations of model files, made by llama.cpp's own quantiser, and broken ones."""

from __future__ import annotations

import ctypes
import os
import random
import re
from pathlib import Path

import llama_cpp.llama_cpp as lib
from gguf import GGUFReader

from support.llama_log import silence

Q2_K, Q3_K_M, Q4_K_S, Q5_K_M, Q6_K, Q8_0 = 10, 12, 14, 17, 18, 7


def requantise(source: Path, target: Path, kind: int) -> Path:
    """A copy whose weights llama.cpp has quantised again."""
    params = lib.llama_model_quantize_default_params()
    params.ftype, params.allow_requantize, params.nthread = kind, True, 2
    silence()
    code = lib.llama_model_quantize(os.fsencode(source), os.fsencode(target), ctypes.byref(params))
    assert code == 0
    return target


def shuffle_experts(source: Path, target: Path, layer: int) -> Path:
    """A copy in which the router's choices in a layer reach the wrong experts."""
    reader = GGUFReader(source)
    data = bytearray(source.read_bytes())
    order: list[int] = []
    for tensor in reader.tensors:
        if re.fullmatch(rf"blk\.{layer}\.ffn_(gate|up|down)_exps\.weight", tensor.name):
            experts = int(tensor.shape[-1])
            order = order or random.Random(1).sample(range(experts), experts)
            size, at = tensor.n_bytes // experts, tensor.data_offset
            parts = [bytes(data[at + n * size : at + (n + 1) * size]) for n in order]
            data[at : at + tensor.n_bytes] = b"".join(parts)
    assert order
    target.write_bytes(data)
    return target
