"""What suits a model on this machine, threads and flash attention: measured once and remembered.

Decoding one token is bound by memory and batches are bound by arithmetic, so they are measured
apart. Physical cores are the rule; another number must be clearly faster to be taken.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from array import array
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from laguna_agent.models.engine.llama import Context, ContextOptions, Model

_SINGLES = 4
_BATCH = 32
_BUDGET_S = 6.0
_CLEARLY = 1.08
_DEPTH, _FLASH_PAIRS = 768, 10
_FLASH_BUDGET_S = 12.0
SLOWER = 0.98
"""Gain of flash attention below which it is left off."""


@dataclass(frozen=True)
class Tuning:
    """Chosen threads, and the tokens per second that they were measured with (0: not measured)."""

    threads: int
    threads_batch: int
    decode_rate: float = 0.0
    batch_rate: float = 0.0
    measured: bool = False
    """False too for what was measured on a busy machine, to be measured again on a quiet one."""
    step: int = 0
    """Tokens of a prompt that are decoded at once; 0 while that is being learnt."""
    flash_gain: float = 0.0
    """How much faster a token is with flash attention than without, deep in a context (0: not
    measured)."""


def physical_cores() -> int:
    """Cores this process may use, not counting a second thread of the same core."""
    allowed = (
        os.sched_getaffinity(0)
        if hasattr(os, "sched_getaffinity")
        else set(range(os.cpu_count() or 1))
    )
    cores = set()
    for cpu in allowed:
        try:
            topology = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
            cores.add(topology.read_text())
        except OSError:
            cores.add(str(cpu))
    return max(1, len(cores))


def candidates(cores: int) -> list[int]:
    """Numbers of threads worth trying, the likeliest first."""
    found = [cores]
    if cores >= 4:
        found += [cores - 1, cores // 2]
    return found


def measure(context: Context, cores: int) -> Tuning:
    """Try the candidates on an empty context, which is empty again afterwards."""
    decode: dict[int, float] = {}
    batch: dict[int, float] = {}
    began = time.perf_counter()
    tokens = array("i", range(100, 100 + _BATCH))
    context.clear()
    context.decode(tokens[:2], 0)
    for threads in candidates(cores):
        if decode and time.perf_counter() - began > _BUDGET_S:
            break
        context.set_threads(threads, threads)
        context.clear()
        start = time.perf_counter()
        context.decode(tokens, 0)
        batch[threads] = _BATCH / (time.perf_counter() - start)
        start = time.perf_counter()
        for index in range(_SINGLES):
            context.decode([200 + index], _BATCH + index)
        decode[threads] = _SINGLES / (time.perf_counter() - start)
    context.clear()
    single, many = _best(decode, cores), _best(batch, cores)
    context.set_threads(single, many)
    return Tuning(single, many, round(decode[single], 2), round(batch[many], 2), measured=True)


def measure_flash(model: Model, options: ContextOptions, rate: float) -> float:
    """How much faster a token is with flash attention than without it, at a depth of some
    hundred tokens; 0 when measuring would take too long at `rate` tokens per second.

    On processors it is often the slower way, the more so the longer the context. Both ways take
    turns, so that whatever else the machine does slows both.
    """
    if _FLASH_BUDGET_S * rate < 2 * _DEPTH:
        return 0.0
    step = min(_DEPTH // 3, options.micro_batch)
    small = replace(options, context=2 * _DEPTH, batch=step, micro_batch=step)
    both = [Context(model, replace(small, flash_attention=on)) for on in (True, False)]
    ratios = []
    try:
        for context in both:
            for at in range(0, _DEPTH, step):
                context.decode(array("i", range(100 + at, 100 + at + step)), at)
        for index in range(_FLASH_PAIRS):
            seconds = []
            for context in both:
                start = time.perf_counter()
                context.decode([200 + index], _DEPTH + index)
                seconds.append(time.perf_counter() - start)
            ratios.append(seconds[1] / seconds[0])
    finally:
        for context in both:
            context.close()
    return round(statistics.median(ratios), 3)


def _best(rates: dict[int, float], usual: int) -> int:
    fastest = max(rates, key=rates.__getitem__)
    return fastest if rates[fastest] > _CLEARLY * rates[usual] else usual


def load(path: Path, key: str) -> Tuning | None:
    """What was measured for a key, if it was."""
    try:
        return Tuning(**_read(path)[key])
    except (KeyError, TypeError):
        return None


def store(path: Path, key: str, tuning: Tuning) -> None:
    """Remember a measurement. Not being able to is no error."""
    content = {**_read(path), key: asdict(tuning)}
    part = path.with_suffix(f".{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(content, indent=1))
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
