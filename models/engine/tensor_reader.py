"""Reads tensors of llama.cpp's graph while it is computed: what the router chose, and the like.

llama.cpp calls the callback of a context for every node of its graph and stops after each one that
is wanted, so a context with a callback is a little slower than one without. Normal contexts have
none.
"""

from __future__ import annotations

import ctypes
from typing import Any, Protocol

import llama_cpp.llama_cpp as lib
import numpy as np
from numpy.typing import NDArray

from laguna_agent.models.engine.weight_placement import ggml_base

_DTYPES = {0: np.dtype(np.float32), 26: np.dtype(np.int32)}


class TensorObserver(Protocol):
    """Says which tensors it wants, by name, and gets their values."""

    def wants(self, name: bytes) -> bool:
        """Whether a tensor is to be read. Called for every node of the graph: be quick."""

    def receive(self, name: bytes, values: NDArray[Any]) -> None:
        """Take the values, float32 or int32, the rows of the batch first."""


class _Tensor(ctypes.Structure):
    """The beginning of `struct ggml_tensor` in ggml.h."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("buffer", ctypes.c_void_p),
        ("ne", ctypes.c_int64 * 4),
        ("nb", ctypes.c_size_t * 4),
    )


def tensor_callback(observer: TensorObserver) -> Any:
    """The callback for a `Context` that gives `observer` the tensors it wants.

    Tensors of other types than float32 and int32 are left out.
    """
    base = ggml_base()
    name_of, size_of = base.ggml_get_name, base.ggml_nbytes
    name_of.restype, name_of.argtypes = ctypes.c_char_p, [ctypes.c_void_p]
    size_of.restype, size_of.argtypes = ctypes.c_size_t, [ctypes.c_void_p]
    read = base.ggml_backend_tensor_get
    read.restype = None
    read.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t]
    wants, receive = observer.wants, observer.receive

    def called(tensor: int, ask: bool, _: Any) -> bool:
        name = name_of(tensor)
        if ask:
            return wants(name)
        facts = _Tensor.from_address(tensor)
        dtype = _DTYPES.get(facts.type)
        if dtype is not None:
            data = np.empty(size_of(tensor), np.uint8)
            read(tensor, data.ctypes.data, 0, data.size)
            # A view may have gaps between its rows.
            sizes, strides = tuple(facts.ne[::-1]), tuple(facts.nb[::-1])
            receive(name, np.ndarray(sizes, dtype, data, strides=strides).copy())
        return True

    return lib.ggml_backend_sched_eval_callback(called)
