"""Compares what `laguna models fit` predicts with what an engine uses and reaches.

    python -m benchmarks.fit                      # the tiny model, at 4k, 16k and 32k, f16 and q8_0
    python -m benchmarks.fit starter tiny         # and the starter, which must be installed
    python -m benchmarks.fit xs --full            # XS with random weights, its context filled

A row is the predicted value divided by the measured one: 1.00 is exact. Memory is what the engine
process has resident, mapped weights included. The context of the tiny model is filled, of others
1,536 tokens are unless `--full` is given. Attention is flash attention and the batch size is fixed,
so that memory depends on neither. Speeds vary with the load of the machine: measure on a quiet one.
"""

from __future__ import annotations

import argparse
import asyncio
import re
from pathlib import Path

from laguna_agent.config import EngineConfig, load_config
from laguna_agent.models.chat.chat_format import Segment
from laguna_agent.models.conversation import Sampling
from laguna_agent.models.engine.client import open_engine
from laguna_agent.models.engine.interface import EngineRequest, Finished
from laguna_agent.models.engine.synthetic import cached_model
from laguna_agent.models.engine.workloads import code
from laguna_agent.models.gguf import GgufHeader, read_header
from laguna_agent.models.sizing import fit
from laguna_agent.models.sizing.speed import Rates, machine_rates, predict, types_of

_PROMPT, _WRITTEN = 1536, 33


def main() -> None:
    """Measure the models named on the command line."""
    parser = argparse.ArgumentParser(description="Predicted against used memory and speed.")
    parser.add_argument("models", nargs="*", default=["tiny"], help="tiny, xs, or a model's name")
    parser.add_argument("--context", default="4096,16384,32768")
    parser.add_argument("--kv", default="f16,q8_0")
    parser.add_argument("--full", action="store_true", help="fill the context")
    options = parser.parse_args()
    paths = {name: _path(name) for name in options.models}
    headers = {name: read_header(path) for name, path in paths.items()}
    rates = machine_rates(types_of(headers.values()))
    if rates and not rates[0].measured:
        print("the machine is busy: speeds say little")
    print("model          context  kv      memory  (used)    reading  writing")
    for name, path in paths.items():
        for kv in options.kv.split(","):
            for context in map(int, options.context.split(",")):
                config = EngineConfig(
                    context=context,
                    kv_type=kv,
                    flash_attention=True,
                    micro_batch=fit.MICRO_BATCH,
                    keep_alive=0,
                    speculation=False,
                    snapshots=False,
                )
                full = options.full or name == "tiny"
                length = context - 2 * _WRITTEN if full else min(_PROMPT, context - 2 * _WRITTEN)
                row = asyncio.run(compare(path, headers[name], config, rates, length))
                print(f"{path.stem[:14]:14} {context:7}  {kv:5}  {row}", flush=True)


def _path(name: str) -> Path:
    if name in ("tiny", "xs"):
        return cached_model(name, on_write=print)
    from laguna_agent.models.store import resolve

    return resolve(name, load_config()).path


async def compare(
    path: Path, header: GgufHeader, config: EngineConfig, rates: list[Rates], length: int
) -> str:
    """A row of ratios, for one engine that reads `length` tokens and writes a few."""
    assert config.context is not None
    plan = fit.plan(header, config.context, config)
    used, read, written = await use(path, config, length)
    cells = [f"{plan.total / used:6.2f}  ({used / 2**20:,.0f} MiB)"]
    if rates:
        reading, writing = (
            predict(header, plan, rates[0], kv_type=config.kv_type, flash=True, depth=depth)
            for depth in (length // 2, length)
        )
        cells += [f"{reading.prompt / read:7.2f}", f"{writing.writing / written:7.2f}"]
    return "  ".join(cells)


async def use(path: Path, config: EngineConfig, length: int) -> tuple[int, float, float]:
    """Resident bytes of an engine that has read `length` tokens, and the speeds it reached."""
    client = await open_engine(path, config=config)
    try:
        tokens = (await client.tokenize([Segment(code(length * 6))]))[:length]
        request = EngineRequest(tokens, Sampling(temperature=0), _WRITTEN)
        timings, written = None, 0
        async for event in client.generate(request):
            if isinstance(event, Finished):
                timings, written = event.timings, len(event.ids)
        assert timings is not None
        assert client.process is not None
        rollup = Path(f"/proc/{client.process.pid}/smaps_rollup").read_text()
    finally:
        await client.aclose()
    resident = re.search(r"^Rss:\s+(\d+)", rollup, re.MULTILINE)
    assert resident is not None
    rates = len(tokens) / timings.prefill_s, (written - 1) / max(1e-9, timings.decode_s)
    return 1024 * int(resident[1]), *rates


if __name__ == "__main__":
    main()
