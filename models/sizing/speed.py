"""How fast a model reads prompts and writes, from the rates of this machine's kernels.

A token reads all weights outside experts and those of its experts, at the rate of the device that
holds them; a prompt multiplies them. Attention grows with the depth. What every layer costs besides
is measured with a tiny model.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from laguna_agent.atomic_write import atomic_write
from laguna_agent.models.ggml import TENSOR_TYPES
from laguna_agent.models.gguf import GgufHeader
from laguna_agent.models.sizing.fit import MemoryPlan, head_size, window_layers
from laguna_agent.models.sizing.hardware import Gpu, backend, busy, machine, physical_cores
from laguna_agent.paths import data_dir
from laguna_agent.programs import python_command

DEPTH = 512
"""Tokens of context at which speeds are given."""
BUS = 12e9
"""Bytes per second from main memory to a card that is assumed: PCIe 4.0 with 8 lanes."""
WRITING = 2e-4
"""Seconds that an engine takes besides for each token it writes, to sample it and pass it on."""
_LIMIT_S = 120
_TYPES = {kind.name: kind for kind in TENSOR_TYPES.values()}
_SIZES = ((4, 128e9), (6, 192e9), (8, 272e9), (12, 360e9), (16, 448e9), (24, 936e9), (48, 1000e9))
"""GiB of a card and bytes per second that common ones of that size read."""
_LARGE = 2000e9


@dataclass
class Rates:
    """What a device does per second, by the type of weights."""

    measured: bool = True
    """False when other programs kept the machine busy."""
    row: dict[str, float] = field(default_factory=dict)
    """Bytes of weights read per second for one token."""
    batch: dict[str, float] = field(default_factory=dict)
    """Operations per second for a batch of tokens."""
    expert_row: dict[str, float] = field(default_factory=dict)
    """Bytes of experts read per second for one token."""
    experts: dict[str, float] = field(default_factory=dict)
    """Operations per second where each expert gets a few tokens of the batch."""
    attend_row: dict[str, float] = field(default_factory=dict)
    """Seconds of attention for one token, per cell and element of its heads; by kind of attention
    and type of the cache."""
    attend_batch: dict[str, float] = field(default_factory=dict)
    """The same per token of a batch."""
    layer: float = 0.0
    """Seconds that each layer takes besides, for one token."""
    token: float = 0.0
    """The same for each token of a batch."""


class Speed(NamedTuple):
    """Tokens per second."""

    prompt: float
    writing: float


def assumed(card: Gpu) -> Rates:
    """Rates of a card that is not here, from its bandwidth, else from one usual for its size.

    The shares of the bandwidth and the operations per byte are those that llama.cpp reaches with
    Q4_K on cards of the last generations; a single card may be half as fast or twice as fast.
    """
    width = bandwidth_of(card)
    flash = dict.fromkeys(("flash f16", "plain f16", "flash q8_0"), 1.0)
    return Rates(
        measured=False,
        row=dict.fromkeys(_TYPES, 0.7 * width),
        expert_row=dict.fromkeys(_TYPES, 0.5 * width),
        batch=dict.fromkeys(_TYPES, 60 * width),
        experts=dict.fromkeys(_TYPES, 15 * width),
        attend_row=dict.fromkeys(flash, 1 / width),
        attend_batch=dict.fromkeys(flash, 4 / (60 * width)),
        layer=6e-5,
        token=1e5 / width,
    )


def bandwidth_of(card: Gpu) -> float:
    """Bytes per second that a card reads, as given, else as usual for its size."""
    usual = (width for size, width in _SIZES if card.total <= (size << 30) * 1.1)
    return card.bandwidth or next(usual, _LARGE)


def kernel_seconds(
    header: GgufHeader,
    rates: Rates,
    depth: int,
    tokens: int,
    attention: str,
    share: Mapping[str, float] | None = None,
) -> float:
    """Seconds of the kernels for one token (`tokens` 1), or for a batch of `tokens`.

    `share` is the part of each part of the model that this device computes; all of it by default.
    """
    share = share or {}
    used = header.integer("expert_used_count") / max(1, header.integer("expert_count"))
    parts = header.parts or {"rest": {header.main_type: header.weights}}
    seconds = 0.0
    for name, sizes in parts.items():
        part = share.get(name, 1.0) if share else 1.0
        if name == "embedding" or not part:
            continue
        for kind, size in sizes.items():
            size = int(size * part * (used if name == "experts" else 1))
            if tokens == 1 or name == "output":
                reads = rates.expert_row if name == "experts" else rates.row
                seconds += size / reads.get(kind, _usual(reads))
                continue
            speeds = rates.experts if name == "experts" else rates.batch
            work = 2 * size * _TYPES[kind].block / _TYPES[kind].size * tokens
            seconds += work / speeds.get(kind, _usual(speeds))
    units = rates.attend_row if tokens == 1 else rates.attend_batch
    unit = units[attention] * share.get("attention", 0.0 if share else 1.0)
    return seconds + unit * tokens * _attended(header, depth)


def _usual(rates: Mapping[str, float]) -> float:
    return min(rates.values())


def _attended(header: GgufHeader, depth: int) -> int:
    """Cells times elements of heads, of all layers, that a token at `depth` attends to."""
    window = header.integer("attention.sliding_window")
    heads = header.per_layer("attention.head_count")
    cells = (min(depth, window) if windowed else depth for windowed in window_layers(header))
    return sum(count * some for count, some in zip(heads, cells, strict=True)) * head_size(header)


def attention_kind(rates: Rates, kv_type: str, flash: bool | None) -> str:
    """The attention that the engine uses: as configured, else the faster one."""
    if kv_type != "f16":
        return "flash q8_0"
    if flash is None:
        flash = rates.attend_row["flash f16"] <= 1.02 * rates.attend_row["plain f16"]
    return "flash f16" if flash else "plain f16"


def predict(
    header: GgufHeader,
    plan: MemoryPlan,
    processor: Rates,
    cards: Sequence[Rates] = (),
    *,
    kv_type: str = "f16",
    flash: bool | None = None,
    depth: int = DEPTH,
) -> Speed:
    """The speeds of a model placed as planned, at a depth. Cards take turns, layer by layer."""
    layers = header.layers
    inside = 0 if not plan.gpu else layers if plan.gpu_layers is None else plan.gpu_layers
    all_experts = max(1, len(header.expert_bytes))
    first = max(plan.cpu_experts, layers - inside)
    kept = sum(1 for layer in header.expert_bytes if layer >= first) if inside else 0
    here = {
        "rest": 1 - inside / max(1, layers),
        "experts": 1 - kept / all_experts,
        "output": 0.0 if inside else 1.0,
        "attention": 1 - inside / max(1, layers),
    }
    attention = attention_kind(processor, kv_type, flash)
    step = min(plan.micro_batch, 512) if not inside else plan.micro_batch
    row = kernel_seconds(header, processor, depth, 1, attention, here)
    row += processor.layer * (layers - inside) + WRITING
    batch = 0.0
    if not inside:
        batch = kernel_seconds(header, processor, depth, step, attention, here)
        batch += processor.token * layers * step
    shares = [count / max(1, sum(plan.split)) for count in plan.split] or [1.0]
    for rates, share in zip(cards if inside else (), shares, strict=False):
        there = {name: (1 - part) * share for name, part in here.items()}
        row += kernel_seconds(header, rates, depth, 1, attention, there)
        row += rates.layer * inside * share
        # A card reads prompts with all weights: those in main memory are copied to it.
        everything = dict.fromkeys(here, share)
        batch += kernel_seconds(header, rates, depth, step, attention, everything)
        batch += rates.token * layers * step * share
    if inside:
        sums = {name: sum(sizes.values()) for name, sizes in header.parts.items()}
        batch += sum(sums.get(name, 0) * here[name] for name in ("rest", "experts")) / BUS
    return Speed(step / batch if batch else 0.0, 1 / row if row else 0.0)


# --- the rates of this machine ------------------------------------------------------------------


def types_of(headers: Iterable[GgufHeader]) -> list[str]:
    """Types of weights that matter for speed: those with a hundredth of a model or more."""
    found = set()
    for header in headers:
        for sizes in header.parts.values():
            found |= {kind for kind, size in sizes.items() if size > header.weights / 100}
    return sorted(found & _TYPES.keys())


def machine_rates(
    types: Sequence[str], on_measuring: Callable[[], None] = lambda: None
) -> list[Rates]:
    """The rates of the processor and of each card, measured now unless they are known.

    They are kept by machine and build of llama.cpp. What was measured while the machine was busy is
    measured again once it is not. Empty when llama.cpp cannot be asked.
    """
    key = f"{machine()}, {backend()}, llama-cpp-python {_version()}"
    known: list[Rates] = []
    with contextlib.suppress(TypeError):
        known = [Rates(**one) for one in _stored().get(key, [])]
    enough = bool(known) and known[0].row.keys() >= set(types)
    if enough and (known[0].measured or busy(physical_cores())):
        return known
    on_measuring()
    found = _measured(sorted({*types, *(known[0].row if known else ())}))
    if found:
        content = {**_stored(), key: [asdict(one) for one in found]}
        with contextlib.suppress(OSError):
            path().parent.mkdir(parents=True, exist_ok=True)
            atomic_write(path(), json.dumps(content, indent=1))
    return found


def _measured(types: Sequence[str]) -> list[Rates]:
    """What the probe prints. A driver that fails or hangs costs the rates of its card only."""
    command = python_command("laguna_agent.models.engine.kernel_probe", *types)
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_LIMIT_S,
            check=False,
            cwd="/",
        )
        printed = done.stdout
    except subprocess.TimeoutExpired as error:
        printed = error.stdout or b""
    except OSError:
        return []
    found = []
    for line in printed.splitlines():
        with contextlib.suppress(ValueError, TypeError):
            found.append(Rates(**json.loads(line)))
    return found


def _version() -> str:
    import importlib.metadata

    try:
        return importlib.metadata.version("llama-cpp-python")
    except importlib.metadata.PackageNotFoundError:
        return "none"


def path() -> Path:
    """The file with all rates."""
    return data_dir() / "machine-rates.json"


def _stored() -> dict[str, Any]:
    try:
        content = json.loads(path().read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
