"""A scripted task on a model of any size: ten turns, then the first again in another process.

Prints the memory plan beforehand and what was used, in main memory and on graphics cards, what
each turn processed, whether anything was swapped, and the time to the first token of the second
process.

    python benchmarks/task.py [--model PATH] [--context 16384] [--turns 10] [--cpu-experts N]

Without a model the synthetic Laguna of full XS geometry is used (18.95 GB, written once).
"""

from __future__ import annotations

import argparse
import asyncio
import time
from pathlib import Path

from laguna_agent.config import EngineConfig
from laguna_agent.events import PrefillProgress, Reply, TextDelta, ThinkingDelta, ToolCallDelta
from laguna_agent.models.chat import format_for
from laguna_agent.models.conversation import GenerateOptions, Message, ModelInfo, Sampling, ToolSpec
from laguna_agent.models.engine.client import EngineClient, open_engine
from laguna_agent.models.engine.synthetic import cached_model
from laguna_agent.models.engine.workloads import code
from laguna_agent.models.gguf import read_header
from laguna_agent.models.local_conversation import LocalConversation
from laguna_agent.models.sizing.fit import gib, plan
from laguna_agent.models.sizing.hardware import gpus

SHELL = ToolSpec(
    name="shell",
    description="Run a command.",
    parameters={
        "type": "object",
        "properties": {"command": {"type": "string", "maxLength": 60}},
        "required": ["command"],
    },
)
SYSTEM = "You are a coding agent in a terminal. Work step by step and check what you did.\n"
RESULT_CHARS, SYSTEM_CHARS = 900, 2_500


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--context", type=int, default=16_384)
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--tokens", type=int, default=24, help="longest reply")
    parser.add_argument("--cpu-experts", type=int, help="layers with their experts in main memory")
    parser.add_argument("--gpu-layers", type=int, help="0 leaves graphics cards alone")
    options = parser.parse_args()
    path = options.model or cached_model("xs", print)
    config = EngineConfig(
        context=options.context,
        keep_alive=0,
        cpu_experts=options.cpu_experts,
        gpu_layers=options.gpu_layers,
    )
    cards = [] if options.gpu_layers == 0 else gpus()
    planned = plan(read_header(path), options.context, config, cards)
    if planned.gpu:
        print(
            f"plan: {gib(planned.gpu)} on {', '.join(card.name for card in cards)}, "
            f"experts of {planned.cpu_experts} layers in main memory"
        )
    print(
        f"plan: {gib(planned.total)} (weights {gib(planned.weights)}, KV {gib(planned.kv)}, "
        f"work space {gib(planned.compute)}) at {options.context} tokens, "
        f"and up to {gib(planned.copies)} of copies of window layers"
    )
    before = swapped()
    client = await opened(path, config)
    await run(client, path, options.turns, options.tokens)
    pid = (await client.status())["pid"]
    used = resident(pid)
    if planned.gpu:
        taken = sum(card.free for card in cards) - sum(card.free for card in gpus())
        print(f"used on cards: {gib(taken)}, {taken / planned.gpu:.3f} of the plan")
    print(
        f"used: {gib(used)}, {used / planned.host:.3f} of the plan, "
        f"{used / (planned.host + planned.copies):.3f} of it with all copies; "
        f"{swapped() - before} pages swapped, {fields(pid, 'VmSwap')} kB of the engine in swap"
    )
    await closed(client)
    client = await opened(path, config)
    await run(client, path, 1, options.tokens)
    await closed(client)
    return 0


async def opened(path: Path, config: EngineConfig) -> EngineClient:
    clock = time.perf_counter()
    client = await open_engine(path, config=config)
    print(f"loaded in {time.perf_counter() - clock:.1f} s")
    return client


async def closed(client: EngineClient) -> None:
    process = client.process
    await client.aclose()
    if process is not None:
        await asyncio.to_thread(process.wait)


async def run(client: EngineClient, path: Path, turns: int, limit: int) -> None:
    """Take turns and print what each cost."""
    model = client.model
    chat = format_for(
        None, architecture=model.architecture, template=model.template, model_name=path.stem
    )
    info = ModelInfo(name=path.stem, format=chat.name, context=model.context)
    talk = LocalConversation(client, chat, info, session=f"task {time.time_ns()}")
    await talk.start(SYSTEM + code(SYSTEM_CHARS)[:SYSTEM_CHARS], [SHELL])
    await talk.append([Message(role="user", content="Make the failing test pass.")])
    for turn in range(1, turns + 1):
        clock, first, looks = time.perf_counter(), 0.0, 0
        settings = GenerateOptions(
            sampling=Sampling(temperature=1.0, top_k=20, seed=turn), max_tokens=limit
        )
        async for event in talk.generate(settings):
            looks += isinstance(event, PrefillProgress)
            if isinstance(event, TextDelta | ThinkingDelta | ToolCallDelta) and not first:
                first = time.perf_counter() - clock
            if isinstance(event, Reply):
                usage, took = event.usage, time.perf_counter() - clock
                print(
                    f"turn {turn:2}: prompt {usage.prompt_tokens:5}, reused "
                    f"{usage.reused_tokens:5}, restored {usage.restored_tokens:5}, processed "
                    f"{usage.prefilled_tokens:4} in {looks} reports, first token {first:6.2f} s, "
                    f"{usage.completion_tokens} tokens in {took - first:5.1f} s",
                    flush=True,
                )
        shown = code((turn + 1) * RESULT_CHARS)[turn * RESULT_CHARS :][:RESULT_CHARS]
        await talk.append([Message(role="tool", name="shell", content=shown)])


def resident(pid: int) -> int:
    """Bytes of main memory that a process occupies, mapped files included."""
    return 1024 * fields(pid, "VmRSS")


def fields(pid: int, name: str) -> int:
    """A number of /proc/PID/status, in kB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    return 0


def swapped() -> int:
    """Pages that the system has swapped in and out since it started."""
    lines = dict(line.split() for line in Path("/proc/vmstat").read_text().splitlines())
    return int(lines.get("pswpin", 0)) + int(lines.get("pswpout", 0))


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main()))
