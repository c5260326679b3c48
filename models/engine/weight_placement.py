"""Where weights go, as the arrays that llama.cpp's model parameters take."""

# llama_cpp does not annotate the conversions that ctypes makes.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import llama_cpp.llama_cpp as lib


def ggml_base() -> ctypes.CDLL:
    """The library with ggml's tensors and buffers, which llama_cpp has no bindings for."""
    directory = Path(lib.__file__).parent / "lib"
    name = (
        "libggml-base.dylib" if (directory / "libggml-base.dylib").exists() else "libggml-base.so"
    )
    return ctypes.CDLL(str(directory / name))


def tensor_split(layers: tuple[int, ...]) -> Any:
    """The shares of cards, for llama_model_params: the borders lie between two layers, so that
    rounding moves none."""
    if not layers:
        return None
    shares = (ctypes.c_float * max(len(layers), int(lib.llama_max_devices())))(*layers)
    shares[0] -= 0.5
    shares[len(layers) - 1] += 0.5
    return shares


def expert_overrides(layers: int) -> Any:
    """Null-terminated array of {pattern, buffer type} that keeps experts in main memory."""
    if layers <= 0:
        return None

    class Override(ctypes.Structure):
        _fields_ = (("pattern", ctypes.c_char_p), ("type", ctypes.c_void_p))

    base = ggml_base()
    base.ggml_backend_cpu_buffer_type.restype = ctypes.c_void_p
    kind = base.ggml_backend_cpu_buffer_type()
    rows = (Override * (layers + 1))()
    for layer in range(layers):
        pattern = rf"blk\.{layer}\.ffn_(up|down|gate|gate_up)_(ch|)exps"
        rows[layer].pattern = pattern.encode()
        rows[layer].type = kind
    return rows
