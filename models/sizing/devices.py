"""Asks llama.cpp for its devices: names, kinds and free memory of graphics cards.

    python -m laguna_agent.models.sizing.devices

prints them as one line of JSON. llama.cpp knows the cards of every backend (CUDA, ROCm, Vulkan,
Metal, SYCL), and uses an integrated card only where there is no other; so does this list.
"""

from __future__ import annotations

import ctypes
import json
import sys
from typing import Any

from laguna_agent.models.sizing.hardware import Gpu, library_directory

_CARD, _INTEGRATED = 1, 2
"""`enum ggml_backend_dev_type` in ggml-backend.h."""
_METAL = ("MTL", "Metal")
"""The backend of Macs, whose cards share main memory."""


def libraries() -> tuple[ctypes.CDLL, ctypes.CDLL]:
    """libggml, which lists the devices, and libggml-base. Raises OSError without them."""
    directory = library_directory()
    if directory is None:
        raise OSError("llama-cpp-python is not installed")
    end = ".dylib" if (directory / "libggml.dylib").exists() else ".so"
    ggml, base = (directory / f"{name}{end}" for name in ("libggml", "libggml-base"))
    return ctypes.CDLL(str(ggml)), ctypes.CDLL(str(base))


def function(library: ctypes.CDLL, name: str, result: Any, *arguments: Any) -> Any:
    """A function of a library, with its types."""
    found = getattr(library, name)
    found.restype, found.argtypes = result, list(arguments)
    return found


def device_handles() -> list[int]:
    """The devices of all backends, the processor's included."""
    ggml, _ = libraries()
    function(ggml, "ggml_backend_load_all", None)()
    count = function(ggml, "ggml_backend_dev_count", ctypes.c_size_t)()
    get = function(ggml, "ggml_backend_dev_get", ctypes.c_void_p, ctypes.c_size_t)
    return [get(index) for index in range(count)]


def query() -> list[Gpu]:
    """The cards that llama.cpp uses, asked in this process."""
    _, base = libraries()
    handle, text = ctypes.c_void_p, ctypes.c_char_p
    kind_of = function(base, "ggml_backend_dev_type", ctypes.c_int, handle)
    about = function(base, "ggml_backend_dev_description", text, handle)
    backend_of = function(base, "ggml_backend_dev_backend_reg", handle, handle)
    name_of = function(base, "ggml_backend_reg_name", text, handle)
    size = ctypes.POINTER(ctypes.c_size_t)
    memory_of = function(base, "ggml_backend_dev_memory", None, handle, size, size)
    found = []
    for device in device_handles():
        kind = kind_of(device)
        if kind not in (_CARD, _INTEGRATED):
            continue
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        memory_of(device, ctypes.byref(free), ctypes.byref(total))
        name = about(device).decode("utf-8", "replace")
        shared = kind == _INTEGRATED or name_of(backend_of(device)).decode() in _METAL
        found.append((kind, Gpu(name, total.value, min(free.value, total.value), shared)))
    some = [card for kind, card in found if kind == _CARD]
    return some or [card for _, card in found]


if __name__ == "__main__":
    sys.stdout.write(json.dumps([card._asdict() for card in query()]) + "\n")
