"""Measures whether flash attention is faster for a model on this processor.

Neither way is faster at every depth: on processors flash attention is often ahead at the start of a
conversation and behind some thousand tokens later. The cache is laid out for one of them, so one
number decides: how much each loses to the other where it loses most.
"""

from __future__ import annotations

import statistics
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import replace

from laguna_agent.models.engine.llama import Context, ContextOptions, DecodeAbortedError, Model

_DEEP, _LEAST = 4096, 384
"""Tokens up to which speeds count, and fewest tokens that say something about them."""
_STEP, _BATCHES = 128, 8
"""Tokens of a batch, in multiples of which there are fewer batches, but at least so many."""
_PAIRS = 8
"""Tokens written each way at either depth."""
_ENDS = 3
"""Batches that the speed of reading at either depth is taken from."""
_READ, _WRITTEN = 512, 128
"""Tokens of a turn."""

Pair = tuple[float, float]
"""Seconds with flash attention, and without."""


class StoppedError(Exception):
    """Measuring was stopped."""


def flash_gain(
    model: Model,
    options: ContextOptions,
    rate: float,
    budget_s: float,
    hold: Callable[[Sequence[Context]], None] = lambda _: None,
    stopped: Callable[[], bool] = lambda: False,
) -> float:
    """Speed of a turn that flash attention keeps at the depth where it loses most, relative to
    what attention without it keeps where that loses most. 1.05: flash attention loses 5 % less.

    Reads as many tokens both ways as `budget_s` allows at `rate` tokens per second, and tells from
    the first and the last what a turn takes at 0 and at 4,096 tokens. Both ways
    alternate and processor time is compared, so that other work on the machine decides little. 0
    when there is not time enough.

    `hold` gets the contexts while they are used, so that they can be aborted. Raises StoppedError
    when one is, or when `stopped`.
    """
    deep = min(_DEEP, options.context)
    depth = min(deep, int(budget_s * rate / 2)) // _STEP * _STEP
    if depth < min(_LEAST, deep):
        return 0.0
    step = min(options.micro_batch, max(_STEP, depth // _BATCHES // _STEP * _STEP))
    depth = max(1, depth // step) * step  # or the last batch would end behind it
    small = replace(options, context=depth + step, batch=step, micro_batch=step)
    both = [Context(model, replace(small, flash_attention=on)) for on in (True, False)]
    hold(both)
    reads: list[Pair] = []
    tokens = array("i", range(100, 100 + step))
    try:
        for context in both:  # the first batch pays for what is set up once
            context.decode(tokens, 0)
            context.clear()
        for at in range(0, depth, step):
            if stopped():
                raise StoppedError
            reads.append(_pair(both, tokens, at))
            if at == 0:
                first = _writes(both, step)
        last = _writes(both, depth)
    except DecodeAbortedError as error:
        raise StoppedError from error
    finally:
        hold(())
        for context in both:
            context.close()
    ends = min(_ENDS, (len(reads) + 1) // 2)
    middle = step * ends / 2
    read = _at_ends(reads[:ends], reads[-ends:], (middle, depth - middle), deep)
    written = _at_ends(first, last, (step, depth), deep)
    turns = [_READ / step * r + _WRITTEN * w for r, w in zip(read, written, strict=True)]
    ratios = turns[1] / turns[0], turns[3] / turns[2]
    kept = min(1.0, *ratios), min(1.0, *(1 / ratio for ratio in ratios))
    return round(kept[0] / kept[1], 3)


def _pair(both: Sequence[Context], tokens: array[int], at: int) -> Pair:
    seconds = []
    for context in both:
        start = time.process_time()
        context.decode(tokens, at)
        seconds.append(time.process_time() - start)
    return seconds[0], seconds[1]


def _writes(both: Sequence[Context], depth: int) -> list[Pair]:
    """Write some tokens behind `depth` and take them back."""
    pairs = [_pair(both, array("i", [200 + n]), depth + n) for n in range(_PAIRS)]
    for context in both:
        context.trim(depth)
    return pairs


def _at_ends(
    first: Sequence[Pair], last: Sequence[Pair], depths: tuple[float, float], deep: int
) -> list[float]:
    """Seconds both ways at 0 tokens, then at `deep`, from those at two `depths`. Attention's time
    grows with the depth, and nothing else does."""
    near, far = depths
    found = []
    for target in (0, deep):
        for way in (0, 1):
            start = statistics.median(pair[way] for pair in first)
            end = statistics.median(pair[way] for pair in last)
            slope = (end - start) / (far - near) if far > near else 0.0
            found.append(max(start + slope * (target - near), start / 8))
    return found
