"""What engines have measured of models on this machine, kept in one file."""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from laguna_agent.atomic_write import atomic_write
from laguna_agent.paths import data_dir


@dataclass(frozen=True)
class Tuning:
    """The chosen threads, and tokens per second measured with them (0: not measured)."""

    threads: int
    threads_batch: int
    decode_rate: float = 0.0
    batch_rate: float = 0.0
    measured: bool = False
    """False also when measured on a busy machine: measured again when it is quiet."""
    step: int = 0
    """Batch size for prompts, in tokens; 0 while it is being learnt."""
    flash_gain: float = 0.0
    """What flash attention keeps of the best speed where it loses most, relative to what attention
    without it keeps (0: not measured)."""
    flash_deep: bool = False
    """Whether that was measured at length, on the quiet machine."""
    repack_gain: float = 0.0
    """Speed of a turn with repacked weights relative to weights as in the file (0: not measured,
    negative: cannot be measured)."""
    repack_error: float = 0.0
    """Half of the interval in which `repack_gain` lies with 95 % probability."""
    exact: int = 0
    """Largest batch that gives bit-identical logits to single tokens (0: not measured)."""


def layout(
    cores: int, micro_batch: int, gpu_layers: int | None, cpu_experts: int, kv_type: str
) -> str:
    """The end of a key: how the model is placed and run."""
    return f"{cores} {micro_batch} {gpu_layers} {cpu_experts} {kv_type}"


def fingerprint(file: Path) -> str:
    """Identifies a model file whose digest is unknown: size, modification time, both ends."""
    info = file.stat()
    with file.open("rb") as stream:
        ends = stream.read(1 << 20)
        stream.seek(max(0, info.st_size - (1 << 20)))
        ends += stream.read(1 << 20)
    return f"{info.st_size}-{info.st_mtime_ns}-{hashlib.sha256(ends).hexdigest()[:16]}"


def path() -> Path:
    """The file with all measurements."""
    return data_dir() / "engine-tuning.json"


def load(key: str) -> Tuning | None:
    """The measurement stored under a key; None when there is none."""
    try:
        return Tuning(**_read()[key])
    except (KeyError, TypeError):
        return None


def store(key: str, tuning: Tuning) -> None:
    """Store a measurement; failing to is not an error."""
    content = {**_read(), key: asdict(tuning)}
    with contextlib.suppress(OSError):
        path().parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path(), json.dumps(content, indent=1))


def _read() -> dict[str, Any]:
    try:
        content = json.loads(path().read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def measured_rate(model: str, layout: str) -> float:
    """Tokens per second that an engine wrote when it was measured last on the quiet machine, with
    any build of llama.cpp; 0 when none was. `model` is a digest or a fingerprint."""
    found = [
        value
        for key, value in _read().items()
        if key.startswith(f"{model} ") and key.endswith(f" {layout}") and isinstance(value, dict)
    ]
    rates = [one.get("decode_rate") for one in found if one.get("measured")]
    return next((rate for rate in reversed(rates) if isinstance(rate, float)), 0.0)
