"""Measures whether repacked weights are faster on this processor, with a probe model.

llama.cpp has kernels for weights as they are in the file and others for weights that it repacks
while it loads them. Which are faster depends on the processor and the shapes, and on little else.
Loading a model both ways would take minutes and twice the memory; a probe with two layers of its
shape and random weights gives the same answer in seconds, however large the model is.

Time is the processor time of all threads, which hardly spin while they wait, and both layouts
alternate: beside other busy processes the result stays within a few percent of that of a quiet
machine.

The probe runs in a process of its own, so that a kernel that fails on a shape ends nothing else:

    python -m laguna_agent.models.engine.repack_probe
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from laguna_agent.models.engine.spawn import engine_environment
from laguna_agent.models.engine.synthetic import Geometry, write_model
from laguna_agent.models.gguf import GgufHeader
from laguna_agent.programs import python_command

if TYPE_CHECKING:
    from laguna_agent.models.engine.llama import Context

_BLOCK, _HEAD = 256, 128
"""Elements of a quantised block, of which rows are multiples, and of an attention head."""
_VOCABULARY, _CONTEXT = 2048, 1024
_EXPERTS = 32
"""Most experts; each gets as many tokens of a prompt as in the model itself."""
_TURN = ((512, 1, 1), (32, 4, 2), (1, 128, 8))
"""A turn: a batch of a prompt, short tool outputs or drafts, a reply. Each is (tokens decoded at
once, how often per turn, how often measured per round)."""
_ROUNDS = (3, 12)
"""Fewest and most rounds."""
_LIMIT_S = 20
FASTER = 1.03
"""Gain of repacked weights above which they are worth a private copy in memory."""
_QUANTILES = {3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36}
"""Of Student's distribution for an interval of 95 %, by the number of rounds."""
_WEIGHTS = frozenset({"Q4_K", "Q6_K"})
"""Types of weights that probes can have."""


def shape(header: GgufHeader) -> Geometry | None:
    """Two layers of a model's shape; None when a probe cannot have its type of weights."""
    if header.main_type not in _WEIGHTS:
        return None
    hidden = _rounded(header.integer("embedding_length"))
    experts, used = header.integer("expert_count"), header.integer("expert_used_count")
    expert = _rounded(header.integer("expert_feed_forward_length"))
    few = min(experts, _EXPERTS) or 1
    return Geometry(
        "laguna-probe",
        layers=2,
        hidden=hidden,
        dense=expert if experts else _rounded(header.integer("feed_forward_length")),
        heads_global=hidden // _HEAD,
        heads_window=hidden // _HEAD,
        heads_kv=2,
        head=_HEAD,
        experts=few,
        experts_used=max(1, round(used * few / experts)) if experts else 1,
        expert=expert,
        vocabulary=_VOCABULARY,
        window=_CONTEXT,
        context=_CONTEXT,
        rope_global=_HEAD,
        original_context=_CONTEXT,
        dense_layers=1 if experts else 2,
    )


class Gain(NamedTuple):
    """Speed of a turn with repacked weights relative to weights as in the file."""

    value: float = 0.0
    """0 when it cannot be measured."""
    error: float = 0.0
    """Half of the interval in which the value lies with 95 % probability."""

    @property
    def clear(self) -> bool:
        """Whether it is known on which side of `FASTER` the value lies."""
        return self.value > 0 and abs(self.value - FASTER) > self.error


def repack_gain(
    header: GgufHeader, threads: int, stopped: Callable[[], bool] = lambda: False
) -> Gain:
    """Measure until the gain is clear, for a limited time; `stopped` is asked in between."""
    geometry = shape(header)
    if geometry is None:
        return Gain()
    given = json.dumps({"geometry": asdict(geometry), "threads": threads})
    deadline = time.monotonic() + _LIMIT_S
    with tempfile.TemporaryFile() as results:
        try:
            process = subprocess.Popen(
                python_command("laguna_agent.models.engine.repack_probe"),
                stdin=subprocess.PIPE,
                stdout=results,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env=engine_environment(),
            )
        except OSError:
            return Gain()
        with process:
            assert process.stdin is not None
            with contextlib.suppress(OSError):
                process.stdin.write(given.encode())
                process.stdin.close()
            while process.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.1)
                if stopped() or time.monotonic() > deadline:
                    process.kill()
                    process.wait()
        results.seek(0)
        lines = results.read().decode("ascii", "replace").split("\n")
    for line in reversed(lines[:-1]):  # a line that was cut off has no end
        with contextlib.suppress(ValueError, TypeError):
            return Gain(*json.loads(line))
    return Gain()


def measure(geometry: Geometry, threads: int) -> Iterator[Gain]:
    """Measure in this process: the gain after each round, until it is clear."""
    from laguna_agent.models.engine.llama import Context, ContextOptions, LoadOptions, Model

    options = ContextOptions(_CONTEXT, 512, 512, threads, threads)
    with tempfile.TemporaryDirectory(prefix="laguna-measure-") as directory:
        path = Path(directory, "probe.gguf")
        with path.open("wb") as file:
            write_model(file, geometry)
        both = [
            Context(Model(path, LoadOptions(gpu_layers=0, repack=repack)), options)
            for repack in (False, True)
        ]
    for context in both:
        _seconds(context, 512)  # reads the weights from disk
    logarithms: list[float] = []
    fewest, most = _ROUNDS
    for number in range(most):
        turns = [0.0, 0.0]
        for size, count, times in _TURN:
            for index in range(times):
                first = (number + index) % 2
                for which in (first, 1 - first):
                    turns[which] += _seconds(both[which], size) * count / times
        logarithms.append(math.log(turns[0] / turns[1]))
        if len(logarithms) >= fewest:
            gain = _estimate(logarithms)
            yield gain
            if gain.clear:
                return


def _estimate(logarithms: list[float]) -> Gain:
    count = len(logarithms)
    spread = statistics.stdev(logarithms) / math.sqrt(count) * _QUANTILES.get(count, 2.3)
    value = math.exp(statistics.fmean(logarithms))
    return Gain(round(value, 3), round(value * math.expm1(spread), 3))


def _seconds(context: Context, size: int) -> float:
    tokens = array("i", (300 + index * 37 % 1500 for index in range(size)))
    context.clear()
    start = time.process_time()
    context.decode(tokens, 0)
    return time.process_time() - start


def _rounded(size: int) -> int:
    return max(1, -(-size // _BLOCK)) * _BLOCK


def main() -> None:
    """Measure the geometry given on standard input; print the gain and its error, line by line."""
    from laguna_agent.models.engine.llama import redirect_log

    redirect_log(Path(os.devnull))
    given = json.load(sys.stdin)
    for gain in measure(Geometry(**given["geometry"]), given["threads"]):
        sys.stdout.write(json.dumps(gain) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
