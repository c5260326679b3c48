"""What suits a model on this machine, threads, flash attention and the layout of its weights:
measured once and remembered.

Decoding one token is bound by memory and batches are bound by arithmetic, so they are measured
apart. Physical cores are the rule; another number must be clearly faster to be taken.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import operator
import os
import statistics
import time
from array import array
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from laguna_agent.atomic_write import atomic_write
from laguna_agent.config import EngineConfig
from laguna_agent.models.engine.llama import Context, ContextOptions, Model, gpu_backend
from laguna_agent.models.engine.repack_probe import repack_gain
from laguna_agent.models.gguf import GgufHeader
from laguna_agent.paths import data_dir

_SINGLES = 4
_BATCH = 32
_BUDGET_S = 6.0
_CLEARLY = 1.08
_DEPTH, _FLASH_PAIRS = 768, 10
_FLASH_BUDGET_S = 12.0
SLOWER = 0.98
"""Gain of flash attention below which it is left off."""
_EXACT_DEPTH, _STEP, _COMPARED = 320, 64, 24
"""Tokens before what is compared, tokens of them that are read at once, tokens compared."""
_EXACT_SIZES = (8, 7, 6, 5, 4, 3, 2)
_FASTER = 1.03
"""Gain of rearranged weights from which they are worth memory of their own."""
_UNKNOWN = -1.0
"""Gain of what cannot be measured."""


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
    repack_gain: float = 0.0
    """How much faster a turn is with rearranged weights than without (0: not measured, negative:
    not to be measured)."""
    exact: int = 0
    """Tokens that can be decoded at once and give to the bit what they give alone (0: not
    measured)."""


def busy(cores: int) -> bool:
    """True while others compute on this machine, so that measuring would mislead."""
    return os.getloadavg()[0] > cores


def choose_layout(
    header: GgufHeader,
    config: EngineConfig,
    known: Tuning | None,
    cores: int,
    *,
    room: bool,
    others: bool,
    tell: Callable[[], None] = lambda: None,
) -> tuple[bool, float]:
    """Whether to rearrange the weights, and the gain that was or is now measured, which is told.

    Where nothing is known llama.cpp's choice is taken, which is to rearrange them. That copies
    them into memory of the process's own, for which there must be `room`. Nothing is measured
    while `others` compute on this machine.
    """
    gain = known.repack_gain if known else 0.0
    if config.repack is not None:
        return config.repack, gain
    if not room:
        return False, gain
    if not gain and config.threads is None and not gpu_backend() and not others:
        tell()
        gain = repack_gain(header, cores) or _UNKNOWN
    return gain <= 0 or gain > _FASTER, gain


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


def measure_exact(model: Model, options: ContextOptions) -> int:
    """How many tokens can be decoded at once and give to the bit the logits that they give one by
    one; 1 when not even two can.

    Tried behind a few hundred tokens, as llama.cpp takes other kernels from there on. It tells of
    batches of this size only, and of no smaller ones.
    """
    small = replace(options, context=2 * _EXACT_DEPTH, batch=_STEP, micro_batch=_STEP)
    context = Context(model, small)
    size = 4 * model.vocabulary

    def rows(count: int) -> Iterator[bytes]:
        """Logits of all tokens, `count` of them at once."""
        context.trim(_EXACT_DEPTH)
        for at in range(0, len(tokens), count):
            some = tokens[at : at + count]
            context.decode(some, _EXACT_DEPTH + at, every_row=True)
            for row in range(len(some)):
                yield ctypes.string_at(context.logits(row), size)

    try:
        for at in range(0, _EXACT_DEPTH, _STEP):
            context.decode(array("i", range(100 + at, 100 + at + _STEP)), at)
        tokens = array("i", range(500, 500 + 7 * _COMPARED, 7))
        alone = list(rows(1))
        for count in _EXACT_SIZES:
            whole = _COMPARED - _COMPARED % count
            if all(map(operator.eq, islice(rows(count), whole), alone)):
                return count
        return 1
    finally:
        context.close()


def _best(rates: dict[int, float], usual: int) -> int:
    fastest = max(rates, key=rates.__getitem__)
    return fastest if rates[fastest] > _CLEARLY * rates[usual] else usual


def fingerprint(file: Path) -> str:
    """What a model file is known by when nobody told its digest: size, times, both ends."""
    info = file.stat()
    with file.open("rb") as stream:
        ends = stream.read(1 << 20)
        stream.seek(max(0, info.st_size - (1 << 20)))
        ends += stream.read(1 << 20)
    return f"{info.st_size}-{info.st_mtime_ns}-{hashlib.sha256(ends).hexdigest()[:16]}"


def path() -> Path:
    """The file of all measurements."""
    return data_dir() / "engine-tuning.json"


def load(key: str) -> Tuning | None:
    """What was measured for a key, if it was."""
    try:
        return Tuning(**_read()[key])
    except (KeyError, TypeError):
        return None


def store(key: str, tuning: Tuning) -> None:
    """Remember a measurement. Not being able to is no error."""
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
