"""Finds the best threads, flash attention and weight layout for a model on this machine.

Measured once and remembered; what was measured beside other work is measured again when the machine
is quiet. Decoding single tokens is bound by memory bandwidth and batches by arithmetic, so they are
measured separately. The default is one thread per physical core; another number must be clearly
faster to be chosen.
"""

from __future__ import annotations

import ctypes
import operator
import platform
import time
from array import array
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice

from laguna_agent.config import EngineConfig
from laguna_agent.models.engine.attention_probe import StoppedError
from laguna_agent.models.engine.llama import (
    Context,
    ContextOptions,
    Model,
    gpu_backend,
)
from laguna_agent.models.engine.repack_probe import FASTER, Gain, repack_gain
from laguna_agent.models.engine.tuning_store import Tuning
from laguna_agent.models.gguf import GgufHeader

_SINGLES = 4
_BATCH = 32
_BUDGET_S = 6.0
_CLEARLY = 1.08
FLASH_S, FLASH_QUIET_S = 12.0, 120.0
"""Seconds for measuring flash attention, before the first answer and at a quiet moment."""
SLOWER = 0.98
"""Gain of flash attention below which it is turned off."""
_EXACT_DEPTH, _STEP, _COMPARED = 320, 64, 24
"""Tokens before those compared, the batches they are decoded in, and tokens compared."""
_EXACT_SIZES = (8, 7, 6, 5, 4, 3, 2)
_UNKNOWN = -1.0
"""Gain that cannot be measured."""


def choose_layout(
    header: GgufHeader,
    config: EngineConfig,
    known: Tuning | None,
    cores: int,
    *,
    room: bool,
    on_measuring: Callable[[], None] = lambda: None,
) -> tuple[bool, Gain]:
    """Whether to repack the weights, and the gain measured before or now.

    Repacking copies the weights into private memory, for which there must be `room`.
    `on_measuring` is called before measuring.
    """
    gain = Gain(known.repack_gain, known.repack_error) if known else Gain()
    if config.repack is not None:
        return config.repack, gain
    if not room:
        return False, gain
    if not gain.value and config.threads is None and not gpu_backend():
        on_measuring()
        gain = measured_gain(header, cores)
    return repacked_is_faster(gain), gain


def measured_gain(
    header: GgufHeader, cores: int, stopped: Callable[[], bool] = lambda: False
) -> Gain:
    """The gain of repacked weights, measured now; negative when it cannot be measured."""
    gain = repack_gain(header, cores, stopped)
    return gain if gain.value else Gain(_UNKNOWN)


def repacked_is_faster(gain: Gain) -> bool:
    """By the gain where it is clear, else by what is known of the processor.

    llama.cpp repacks wherever it can. On x86 its kernels for weights as they are in the file have
    been faster (docs/engine.md).
    """
    if gain.clear:
        return gain.value > FASTER
    return platform.machine().lower() not in ("x86_64", "amd64")


def candidates(cores: int) -> list[int]:
    """Numbers of threads to try, the likeliest first."""
    found = [cores]
    if cores >= 4:
        found += [cores - 1, cores // 2]
    return found


def measure(context: Context, cores: int, stopped: Callable[[], bool] = lambda: False) -> Tuning:
    """Measure the candidate numbers of threads. Leaves the context empty.

    Raises StoppedError when `stopped`, which is asked before each number, is true.
    """
    decode: dict[int, float] = {}
    batch: dict[int, float] = {}
    began = time.perf_counter()
    tokens = array("i", range(100, 100 + _BATCH))
    context.clear()
    context.decode(tokens[:2], 0)
    for threads in candidates(cores):
        if stopped():
            raise StoppedError
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


def measure_exact(model: Model, options: ContextOptions) -> int:
    """Largest batch whose logits are bit-identical to those of single tokens; 1 when none is.

    Measured behind a few hundred tokens, since llama.cpp uses other kernels from there on. The
    result holds for batches of this very size, not for smaller ones.
    """
    small = replace(options, context=2 * _EXACT_DEPTH, batch=_STEP, micro_batch=_STEP)
    context = Context(model, small)
    size = 4 * model.vocabulary

    def rows(count: int) -> Iterator[bytes]:
        """Logits of all tokens, decoded in batches of `count`."""
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
