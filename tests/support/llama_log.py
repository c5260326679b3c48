"""Keeps llama.cpp silent in a test process."""

from __future__ import annotations

import ctypes
from typing import Any

import llama_cpp.llama_cpp as lib


@lib.llama_log_callback
def _quiet(level: int, text: bytes, data: Any) -> None:
    del level, text, data


def silence() -> None:
    """Drop llama.cpp's log. The callback is kept: one that was collected would be called."""
    lib.llama_log_set(_quiet, ctypes.c_void_p(0))
