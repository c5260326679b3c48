"""Whether rearranged weights are the faster ones on this processor, measured on a stand-in.

llama.cpp has kernels for weights as they are in the file and others for weights that it rearranges
while it loads them. Which are faster depends on the processor and on shapes, and hardly on
anything else. Loading a model both ways would take minutes and memory twice; a file with two layers
of its shape and random weights tells the same in seconds, however large the model is.

It is measured in a process of its own, so that a kernel that fails on a shape ends nothing else:

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

if TYPE_CHECKING:
    from laguna_agent.models.engine.llama import Context

_BLOCK, _HEAD = 256, 128
"""Elements of a quantised block, which rows are multiples of, and of an attention head."""
_VOCABULARY, _CONTEXT = 2048, 1024
_EXPERTS = 32
"""Experts at most; as many tokens of a prompt meet in one of them as in the model itself."""
_TURN = ((512, 1, 5), (32, 4, 5), (1, 128, 50))
"""What makes a turn: a step of a prompt, short outputs of tools or drafts, a reply. Tokens decoded
at once, how often, and how often that is measured."""
_LIMIT_S = 60
_WEIGHTS = frozenset({"Q4_K", "Q6_K"})
"""Types of weights that stand-ins have."""


def shape(header: GgufHeader) -> Geometry | None:
    """Two layers of a model's shape; None when a stand-in cannot have its type of weights."""
    if header.main_type not in _WEIGHTS:
        return None
    hidden = _rounded(header.integer("embedding_length"))
    experts, used = header.integer("expert_count"), header.integer("expert_used_count")
    expert = _rounded(header.integer("expert_feed_forward_length"))
    few = min(experts, _EXPERTS) or 1
    return Geometry(
        "laguna-stand-in",
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
    """How much faster a turn is with rearranged weights than without; 0 when that is not known."""
    geometry = shape(header)
    if geometry is None:
        return 0.0
    try:
        done = subprocess.run(
            [sys.executable, "-m", "laguna_agent.models.engine.repack_probe"],
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
    """The same, in this process. Both layouts take turns, so that whatever else the machine does
    slows both."""
    from laguna_agent.models.engine.llama import Context, ContextOptions, LoadOptions, Model

    options = ContextOptions(_CONTEXT, 512, 512, threads, threads)
    with tempfile.TemporaryDirectory(prefix="laguna-measure-") as directory:
        path = Path(directory, "stand-in.gguf")
        write_model(path, geometry)
        both = [
            Context(Model(path, LoadOptions(gpu_layers=0, repack=repack)), options)
            for repack in (False, True)
        ]
        for context in both:
            _seconds(context, 512)  # reads the weights
        plain = rearranged = 0.0
        for size, count, rounds in _TURN:
            pairs = [[_seconds(context, size) for context in both] for _ in range(rounds)]
            one, other = map(statistics.median, zip(*pairs, strict=True))
            plain += count * one
            rearranged += count * other
    return round(plain / rearranged, 3)


def _seconds(context: Context, size: int) -> float:
    tokens = array("i", (300 + index * 37 % 1500 for index in range(size)))
    context.clear()
    start = time.perf_counter()
    context.decode(tokens, 0)
    return time.perf_counter() - start


def _rounded(size: int) -> int:
    return max(1, -(-size // _BLOCK)) * _BLOCK


def main() -> None:
    """Measure what standard input describes."""
    from laguna_agent.models.engine.llama import redirect_log

    redirect_log(Path(os.devnull))
    order = json.load(sys.stdin)
    sys.stdout.write(str(measure(Geometry(**order["geometry"]), order["threads"])))


if __name__ == "__main__":
    main()
