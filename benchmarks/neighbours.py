"""The settings that an engine chooses, against their neighbours, in alternation in one run.

    python benchmarks/neighbours.py [--model FILE] [--depths 0,4000] [--rounds 3]

A neighbour differs in one setting: threads, flash attention, the layout of the weights, the size of
micro-batches. Prints for each depth how fast each reads 512 tokens, writes, and does a turn (512
tokens read, 128 written), and the chosen settings' speed relative to the best: 1.00 is the best.
What reads fastest may write more slowly than others; an engine has to choose one for both.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import time
from array import array
from dataclasses import replace
from pathlib import Path
from typing import Any

from laguna_agent.config import EngineConfig
from laguna_agent.models.conversation import Sampling
from laguna_agent.models.engine.client import open_engine
from laguna_agent.models.engine.interface import EngineRequest
from laguna_agent.models.engine.llama import (
    Context,
    ContextOptions,
    LoadOptions,
    Model,
    redirect_log,
)
from laguna_agent.models.engine.synthetic import cached_model
from laguna_agent.models.sizing.hardware import machine_memory

READ, WRITTEN, REPLY, PROMPT = 512, 16, 128, 2_400


async def chosen(path: Path) -> tuple[ContextOptions, bool]:
    """What an engine settles on once it has read a prompt and had a quiet moment: its context's
    options, and whether it repacks the weights."""
    for last in (False, True):
        client = await open_engine(path, config=EngineConfig(keep_alive=0))
        try:
            tokens = array("i", [100 + n % 400 for n in range(PROMPT)])
            async for _ in client.generate(EngineRequest(tokens, Sampling(temperature=0), 1)):
                pass
            status = await client.status()
            while not last and not settled(status):
                await asyncio.sleep(1)
                status = await client.status()
            print("engine:", status["tuning"], flush=True)
        finally:
            await client.aclose()
    step = status["tuning"].get("step") or status["context"]["micro_batch"]
    options = ContextOptions(**status["context"])
    return replace(options, micro_batch=min(step, options.micro_batch)), bool(status["repack"])


def settled(status: dict[str, Any]) -> bool:
    """Whether all that an engine measures at quiet moments is measured."""
    tuning = status["tuning"]
    deep = tuning["flash_deep"] or status["context"]["kv_type"] != "f16"
    return bool(tuning["measured"] and deep)


def neighbours(options: ContextOptions, *, repack: bool) -> dict[str, tuple[ContextOptions, bool]]:
    """The chosen settings, and those that differ in one."""
    fewer = max(1, options.threads - 1)
    flash = options.flash_attention is False
    found = {
        "chosen": (options, repack),
        f"{fewer} threads": (replace(options, threads=fewer, threads_batch=fewer), repack),
        f"flash attention {'on' if flash else 'off'}": (
            replace(options, flash_attention=flash), repack,
        ),
        "other layout": (options, not repack),
    }  # fmt: skip
    for step in (options.micro_batch // 2, options.micro_batch * 2):
        batch = max(step, options.batch)
        found[f"micro-batch {step}"] = (replace(options, micro_batch=step, batch=batch), repack)
    return found


def measure(context: Context, options: ContextOptions, depth: int) -> tuple[float, float, float]:
    """Tokens read and written per second behind `depth` tokens, and turns."""
    tokens = array("i", range(100, 100 + READ))
    start = time.perf_counter()
    for at in range(0, READ, options.micro_batch):
        context.decode(tokens[at : at + options.micro_batch], depth + at)
    middle = time.perf_counter()
    context.trim(depth + READ)
    for index in range(WRITTEN):
        context.decode([200 + index], depth + READ + index)
    end = time.perf_counter()
    context.trim(depth)
    read, write = READ / (middle - start), WRITTEN / (end - middle)
    return read, write, 1 / (READ / read + REPLY / write)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="a GGUF file (default: the tiny Laguna)")
    parser.add_argument("--depths", default="0,4000")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    redirect_log(Path(os.devnull))
    path = arguments.model or cached_model("tiny")
    depths = [int(depth) for depth in arguments.depths.split(",")]
    options, repack = asyncio.run(chosen(path))
    options = replace(options, context=depths[-1] + READ + WRITTEN + 64)
    print("chosen:", options, "repacked" if repack else "as in the file", flush=True)
    tried = neighbours(options, repack=repack)
    if path.stat().st_size > machine_memory().total // 3:
        del tried["other layout"]  # both layouts do not fit
    models = {
        layout: Model(path, LoadOptions(repack=layout))
        for layout in {layout for _, layout in tried.values()}
    }
    contexts = {name: Context(models[layout], some) for name, (some, layout) in tried.items()}
    filled = 0
    for depth in depths:
        for name, context in contexts.items():
            for at in range(filled, depth, options.micro_batch):
                count = min(options.micro_batch, depth - at)
                context.decode(array("i", range(300, 300 + count)), at)
            measure(context, tried[name][0], depth)  # warms the caches
        filled = depth
        rounds: dict[str, list[tuple[float, ...]]] = {name: [] for name in tried}
        for _ in range(arguments.rounds):
            for name, context in contexts.items():
                rounds[name].append(measure(context, tried[name][0], depth))
        print(f"\ndepth {depth}{'':18}reads   writes  tokens/s; turns/minute; against the chosen")
        medians = {
            name: tuple(statistics.median(values) for values in zip(*found, strict=True))
            for name, found in rounds.items()
        }
        against_chosen: list[list[float]] = []
        for name, (read, write, turn) in medians.items():
            ratios = [
                statistics.median(theirs[n] / ours[n] for theirs, ours in pairs)
                for n in range(3)
                for pairs in [list(zip(rounds[name], rounds["chosen"], strict=True))]
            ]
            against_chosen.append(ratios)
            against = " ".join(f"{ratio:.2f}" for ratio in ratios)
            print(f"  {name:24}{read:8.1f} {write:8.2f} {60 * turn:8.2f}   {against}")
        reads, writes, turns = (1 / max(values) for values in zip(*against_chosen, strict=True))
        print(
            f"  chosen, of the best: reads {reads:.2f}, writes {writes:.2f}, turns {turns:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
