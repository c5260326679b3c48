"""Measures whether repacked weights are faster on this processor, with a probe model.

llama.cpp has kernels for weights as they are in the file and others for weights that it repacks
while it loads them. Which are faster depends on the processor and the shapes, and on little else.
Loading a model both ways would take minutes and twice the memory; a probe with two layers of its
shape and random weights gives the same answer in seconds, however large the model is.

The probe runs in a process of its own, so that a kernel that fails on a shape ends nothing else:

    python -m laguna_agent.models.engine.repack_probe
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from array import array
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

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
_TURN = ((512, 1, 5), (32, 4, 5), (1, 128, 50))
"""A turn: a batch of a prompt, short tool outputs or drafts, a reply. Each is (tokens decoded at
once, how often per turn, how often measured)."""
_LIMIT_S = 60
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


def repack_gain(header: GgufHeader, threads: int) -> float:
    """Speed of a turn with repacked weights relative to weights as in the file; 0 when unknown."""
    geometry = shape(header)
    if geometry is None:
        return 0.0
    try:
        done = subprocess.run(
            python_command("laguna_agent.models.engine.repack_probe"),
            input=json.dumps({"geometry": asdict(geometry), "threads": threads}),
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
            check=True,
            cwd="/",
        )
        return float(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return 0.0


def measure(geometry: Geometry, threads: int) -> float:
    """Measure in this process. Both layouts alternate, so that other load slows both."""
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
        plain = repacked = 0.0
        for size, count, rounds in _TURN:
            pairs = [[_seconds(context, size) for context in both] for _ in range(rounds)]
            one, other = map(statistics.median, zip(*pairs, strict=True))
            plain += count * one
            repacked += count * other
    return round(plain / repacked, 3)


def _seconds(context: Context, size: int) -> float:
    tokens = array("i", (300 + index * 37 % 1500 for index in range(size)))
    context.clear()
    start = time.perf_counter()
    context.decode(tokens, 0)
    return time.perf_counter() - start


def _rounded(size: int) -> int:
    return max(1, -(-size // _BLOCK)) * _BLOCK


def main() -> None:
    """Measure the geometry given on standard input."""
    from laguna_agent.models.engine.llama import redirect_log

    redirect_log(Path(os.devnull))
    given = json.load(sys.stdin)
    sys.stdout.write(str(measure(Geometry(**given["geometry"]), given["threads"])))


if __name__ == "__main__":
    main()
