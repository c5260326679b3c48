"""Model files for tests: tiny synthetic Lagunas.

They are written on first use into `~/.cache/laguna-tests` (or `LAGUNA_TEST_CACHE`), under
a lock, so that parallel test processes share each file.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from dataclasses import replace
from pathlib import Path

from laguna_agent.models.engine.synthetic import TINY, Geometry, write_model

TINY_WINDOW = TINY.window


def cache_dir() -> Path:
    directory = Path(os.environ.get("LAGUNA_TEST_CACHE") or Path.home() / ".cache" / "laguna-tests")
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def tiny_laguna() -> Path:
    """The tiny Laguna (4 layers, window 64, 4,096 tokens of vocabulary, 8 MB)."""
    return _made(TINY)


def smooth_laguna() -> Path:
    """The tiny Laguna with all experts in use. Where a router chooses, a rounding error can
    exchange one expert for another; where it only weighs, small errors stay small."""
    return _made(replace(TINY, name="laguna-smooth", experts_used=TINY.experts))


def dense_laguna() -> Path:
    """The tiny Laguna without experts: no router, which llama.cpp computes otherwise in batches."""
    return _made(replace(TINY, name="laguna-dense", dense_layers=TINY.layers))


def deep_laguna() -> Path:
    """The tiny Laguna with 8 layers, so that there is a layer before and behind another."""
    return _made(replace(TINY, name="laguna-deep", layers=8))


def _made(geometry: Geometry) -> Path:
    import laguna_agent.models.engine.synthetic as writer

    # A changed writer gives another file, never a stale one.
    version = hashlib.sha256(Path(writer.__file__).read_bytes()).hexdigest()[:8]
    path = cache_dir() / f"{geometry.name}-{version}.gguf"
    if path.exists():
        return path
    with (cache_dir() / f"{geometry.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            part = path.with_suffix(f".{os.getpid()}.part")
            with part.open("wb") as file:
                write_model(file, geometry)
            part.rename(path)
    return path
