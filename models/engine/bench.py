"""Measures an engine against a bare llama.cpp loop, alternating between the two in one run.

Figures that vary with the machine's load are ratios of two measurements taken side by side.
"""

from __future__ import annotations

import asyncio
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from laguna_agent.config import EngineConfig
from laguna_agent.models.chat import format_for
from laguna_agent.models.chat.chat_format import ChatFormat, Grammar, Segment
from laguna_agent.models.conversation import GenerateOptions, Message, Sampling
from laguna_agent.models.engine.client import EngineClient, open_engine
from laguna_agent.models.engine.interface import EngineRequest, Finished, Tokens
from laguna_agent.models.engine.kv_state import common_prefix
from laguna_agent.models.engine.workloads import FILE, PROSE, QUOTE, REWRITE, code

GREEDY = Sampling(temperature=0)
_ENDLESS = Grammar('root ::= [^\\x00]+ "\\x00"')
"""Allows everything but an end, so that both loops write equally many tokens."""

_SHALLOW = 16
"""Tokens of the prompt at depth 0."""
_STEP = 512
"""Tokens of a prompt where prefill is measured."""

_DEEPER = 0.6
"""Speed at some thousand tokens of depth that is assumed, relative to that at depth 0."""
_WORKLOADS = (
    ("quote a passage", QUOTE + FILE, 500),
    ("free prose", PROSE, 200),
    ("rewrite a file with three changes", REWRITE + FILE, 1400),
)
"""Of speculation: name, task, and most tokens written."""

Say = Callable[[str], None]


@dataclass
class Figure:
    """One measurement, the median of several rounds. `ratio` is relative to `against`."""

    name: str
    value: float
    unit: str
    ratio: float | None = None
    against: str = "bare llama.cpp"
    low: float | None = None
    high: float | None = None
    """The smallest and the largest round; None when measured once."""


@dataclass
class BenchReport:
    """All measurements of a run."""

    model: dict[str, Any]
    figures: list[Figure] = field(default_factory=list)
    show: Callable[[BenchReport, Figure], None] | None = None
    """Called with each figure as soon as it is measured."""
    left_out: list[str] = field(default_factory=list)
    """What would have taken longer than the limit."""

    def rate(self, name: str) -> float:
        """Tokens per second of a figure that was measured."""
        return next(figure.value for figure in self.figures if figure.name == name)

    def add(self, *values: Any, **named: Any) -> None:
        """Add a figure."""
        self.figures.append(Figure(*values, **named))
        if self.show is not None:
            self.show(self, self.figures[-1])


async def measure(
    path: Path,
    *,
    config: EngineConfig,
    depths: Sequence[int],
    tokens: int,
    rounds: int,
    speculation: bool,
    say: Say,
    show: Callable[[BenchReport, Figure], None] | None = None,
    limit_s: float = math.inf,
) -> BenchReport:
    """Run all measurements; at each of `depths`, decode `tokens` tokens `rounds` times.

    `depths` begin with 0. What would not end within `limit_s` is left out: deeper prompts, then
    speculation.
    """
    config = config.model_copy(update={"keep_alive": 0})
    started = time.perf_counter()

    def fits(name: str, seconds: float) -> bool:
        if time.perf_counter() - started + seconds <= limit_s:
            return True
        report.left_out.append(name)
        return False

    # Drafts would flatter the comparison: they have figures of their own.
    client = await open_engine(path, config=config.model_copy(update={"speculation": False}))
    loaded = time.perf_counter() - started
    model = client.model
    chat = format_for(
        None, architecture=model.architecture, template=model.template, model_name=path.stem
    )
    status = await client.status()
    report = BenchReport(
        {
            "path": str(path),
            "architecture": model.architecture,
            "quantization": model.quantization,
            "size_bytes": model.size_bytes,
            "context": model.context,
            "build": model.build,
            "tuning": status["tuning"],
        },
        show=show,
    )
    report.add("load", loaded, "s")
    try:
        # Lets the engine learn its batch size before anything is measured.
        length = min(4 * status["context"]["micro_batch"], model.context - 64)
        first = await client.tokenize([Segment("first prompt\n" + code(length * 5))])
        await _full(client, chat, first[:length], 2, "first prompt")
        for depth in depths:
            if not depth:
                await _prefill(client, chat, report, rounds)
            if depth + tokens + 600 > model.context:
                continue
            if depth and limit_s < math.inf:
                reads = report.rate(f"prefill of {_STEP} tokens") * _DEEPER
                writes = report.rate("decode at depth 0") * _DEEPER
                read, written = depth + 2 * rounds * _STEP, 2 * rounds * tokens
                if not fits(f"depth {depth}", read / reads + written / writes):
                    continue
            say(f"depth {depth}")
            await _depth(client, chat, report, depth, tokens, rounds)
        if speculation:
            for name, task, limit in _WORKLOADS:
                if limit_s < math.inf:
                    expected = 2 * limit / report.rate("decode at depth 0")
                    if not fits(name, expected):
                        continue
                await _speculation(chat, report, path, config, say, name, task, limit)
        report.add("memory of the engine", (await client.status())["resident"] / 1e9, "GB")
        say("first token, cold and from a snapshot")
        client = await _first_token(client, report, path, config)
    finally:
        await client.aclose()
    return report


async def _prompt(client: EngineClient, length: int) -> list[int]:
    tokens = await client.tokenize([Segment(code(length * 5))])
    return tokens[:length]


async def _prefill(
    client: EngineClient, chat: ChatFormat, report: BenchReport, rounds: int
) -> None:
    """A prompt of one micro-batch on an empty cache."""
    prompt = await _prompt(client, _STEP)
    pairs = []
    for number in range(rounds):
        full = await _full(client, chat, prompt, 2, f"prefill {number}")
        pairs.append((full[0], (await client.baseline(prompt, 2)).timings.prefill_s))
    _add_pair(report, f"prefill of {len(prompt)} tokens", pairs, len(prompt))


async def _depth(
    client: EngineClient,
    chat: ChatFormat,
    report: BenchReport,
    depth: int,
    count: int,
    rounds: int,
) -> None:
    session = f"bench {depth}"
    # Other tokens each time, or the cache would hold them.
    text = await _prompt(client, depth + 2 * rounds * _STEP) if depth else []
    if depth:
        # Decoded once: every measurement continues from there.
        seconds, _ = await _full(client, chat, text[:depth], 1, session)
        report.add(f"prefill of {depth} tokens", depth / seconds, "tokens/s")
    shallow = await _prompt(client, _SHALLOW)

    def prompt(number: int) -> list[int]:
        at = depth + number * _STEP
        return text[:depth] + text[at : at + _STEP] if depth else shallow

    prefill: list[tuple[float, float]] = []
    decode: list[tuple[float, float]] = []
    states: dict[str, float] = {}
    for number in range(rounds):
        last = depth > 0 and number == rounds - 1
        stack = partial(_full, client, chat, prompt(2 * number), count, session)
        alone = partial(
            client.baseline, prompt(2 * number + 1), count, kept=depth, time_states=last
        )
        if depth and number % 2 and not last:
            baseline, full = await alone(), await stack()
        else:
            full, baseline = await stack(), await alone()
        prefill.append((full[0], baseline.timings.prefill_s))
        decode.append((full[1], baseline.timings.decode_s))
        states = baseline.measured
    if depth:
        _add_pair(report, f"prefill of {_STEP} tokens at depth {depth}", prefill, _STEP)
    _add_pair(report, f"decode at depth {depth}", decode, count - 1)
    if states:
        size = f"{states['bytes'] / 1e6:.0f} MB"
        report.add(
            f"snapshot at depth {depth} saved ({size})",
            states["save"],
            "s",
            states["baseline_save"] / states["save"],
        )
        report.add("  of which decoding waits", states["save_wait"], "s")
        report.add(
            f"snapshot at depth {depth} restored",
            states["restore"],
            "s",
            states["baseline_restore"] / states["restore"],
        )


def _add_pair(
    report: BenchReport, name: str, pairs: list[tuple[float, float]], tokens: int
) -> None:
    """Add a rate, from seconds of the whole stack and of the baseline side by side."""
    ours = statistics.median(full for full, _ in pairs)
    ratio = statistics.median(alone / full for full, alone in pairs)
    rates = [tokens / full for full, _ in pairs]
    report.add(name, tokens / ours, "tokens/s", ratio, low=min(rates), high=max(rates))


async def _full(
    client: EngineClient, chat: ChatFormat, prompt: list[int], count: int, session: str
) -> tuple[float, float]:
    """Seconds to the first token and from there to the last, through the whole stack."""
    parser = chat.parser([], GenerateOptions())
    request = EngineRequest(
        prompt, GREEDY, count, grammar=_ENDLESS, stops=chat.stops(), session=session
    )
    began = first = last = time.perf_counter()
    seen = 0
    async for event in client.generate(request):
        if isinstance(event, Tokens):
            parser.feed(event.text)
            last = time.perf_counter()
            first = last if not seen else first
            seen += len(event.ids)
    scale = (count - 1) / max(1, seen - 1)
    return first - began, (last - first) * scale


async def _speculation(
    chat: ChatFormat,
    report: BenchReport,
    path: Path,
    config: EngineConfig,
    say: Say,
    name: str,
    task: str,
    limit: int,
) -> None:
    """A workload on the same engine, with drafts and without."""
    plain = await open_engine(path, config=config.model_copy(update={"speculation": False}))
    drafting = await open_engine(
        path, config=config.model_copy(update={"speculation": config.speculation or True})
    )
    try:
        say(f"speculation: {name}")
        segments = [
            *chat.render_start("You are a careful programmer.", []),
            *chat.render_messages([Message(role="user", content=task)], after_reply=False),
            *chat.render_generation(GenerateOptions()),
        ]
        prompt = await plain.tokenize(segments)
        results: list[Finished] = []
        # Both continue from the very same state of the prompt.
        async for _ in plain.generate(EngineRequest(prompt, GREEDY, 1, session=name)):
            pass
        for number, engine in enumerate((plain, drafting)):
            request = EngineRequest(
                prompt, GREEDY, limit, stops=chat.stops(), session=f"{name} {number}"
            )
            events = [event async for event in engine.generate(request)]
            assert isinstance(events[-1], Finished)
            results.append(events[-1])
        rates = [len(r.ids) / r.timings.decode_s for r in results]
        report.add(
            f"{name} ({len(results[1].ids)} tokens)",
            rates[1],
            "tokens/s",
            rates[1] / rates[0],
            against="without drafts",
        )
        alike = common_prefix(results[0].ids, results[1].ids)
        report.add("  tokens before the first difference", float(alike), "")
    finally:
        await plain.aclose()
        await drafting.aclose()


async def _first_token(
    client: EngineClient, report: BenchReport, path: Path, config: EngineConfig
) -> EngineClient:
    """Time to the first token after a prompt of 2,000: cold, same process, new process."""
    length = min(2000, client.model.context // 2)
    prompt = await client.tokenize([Segment(f"run {time.time_ns()}\n" + code(length * 5))])
    static, prompt = prompt[: length - 20], prompt[:length]

    async def once(engine: EngineClient, session: str) -> tuple[float, Finished]:
        request = EngineRequest(
            prompt, GREEDY, 1, session=session, static=len(static), snapshot=True
        )
        began = time.perf_counter()
        first = 0.0
        finished: Finished | None = None
        async for event in engine.generate(request):
            if isinstance(event, Tokens) and not first:
                first = time.perf_counter() - began
            if isinstance(event, Finished):
                finished = event
        assert finished is not None
        return first, finished

    cold, _ = await once(client, "cold")
    report.add(f"first token of {length} tokens, cold", cold, "s")
    warm, _ = await once(client, "cold")
    report.add("first token, same process", warm, "s", warm / cold, against="cold")
    process = client.process
    await client.aclose()
    if process is not None:
        await asyncio.to_thread(process.wait)
    client = await open_engine(path, config=config)
    restored, finished = await once(client, "another")
    report.add("first token, new process", restored, "s", restored / cold, against="cold")
    share = finished.usage.restored_tokens / len(static)
    report.add("static prefix restored", 100 * min(1.0, share), "%")
    return client
