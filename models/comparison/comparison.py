"""Measures variants of a model beside each other: speed, memory, and how far each strays.

The reference is the variant that is taken to be right. All variants read the same tokens; each
prediction is compared with the reference's, token by token, and so are the experts that the layers
choose. Where all variants fit in memory they are measured in turns, so that what else the machine
does slows all of them; else one after the other, through files on disk.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from laguna_agent.byte_sizes import gigabytes
from laguna_agent.config import EngineConfig
from laguna_agent.errors import ModelError
from laguna_agent.models.chat.chat_format import Segment
from laguna_agent.models.comparison.estimates import (
    Estimate,
    estimate,
    estimate_columns,
    estimate_high,
    spread,
    straying,
)
from laguna_agent.models.conversation import Sampling
from laguna_agent.models.engine.client import EngineClient, open_engine
from laguna_agent.models.engine.interface import EngineRequest, Examined, Finished
from laguna_agent.models.engine.kv_state import common_prefix
from laguna_agent.models.engine.workloads import code
from laguna_agent.models.gguf import GgufHeader
from laguna_agent.models.routing import Routing, same_experts
from laguna_agent.models.sizing.fit import kv_bytes, plan
from laguna_agent.models.sizing.hardware import machine_memory
from laguna_agent.paths import data_dir

_GREEDY = Sampling(temperature=0)
_PROMPT, _REPLY = 512, 32
"""Tokens of a prompt and of a reply whose speed is measured."""
_BEFORE, _WRITTEN, _CONTINUED = 64, 24, 6
"""Greedy continuations: tokens of text before one, tokens written, and how many for each text."""

Say = Callable[[str], None]


def built_in_texts() -> dict[str, str]:
    """Code in two languages and prose, written for this purpose."""
    folder = Path(__file__).parent
    return {
        name: (folder / f"{name}.txt").read_text(encoding="utf-8") for name in ("code", "prose")
    }


def room_for(tokens: int, depths: Sequence[int]) -> int:
    """The context, in tokens, that a comparison needs."""
    return max(1024, tokens + 1, max(depths) + _PROMPT + _REPLY + 32)


@dataclass(frozen=True)
class Variant:
    """A model file with the settings of its engine. `name` tells it from the others."""

    name: str
    path: Path
    sha256: str | None
    header: GgufHeader
    config: EngineConfig


@dataclass
class Measured:
    """What was measured of a variant, in its own units: bytes, seconds, tokens per second."""

    variant: Variant
    memory: int = 0
    load_s: float = 0.0
    first_token_s: list[float] = field(default_factory=list)
    prefill: dict[int, list[float]] = field(default_factory=dict)
    """Tokens per second by depth, one for each round."""
    decode: dict[int, list[float]] = field(default_factory=dict)
    read: dict[str, Examined] = field(default_factory=dict)
    continued: dict[str, list[tuple[int, ...]]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Everything that does not depend on the reference."""
        variant = self.variant
        return {
            "name": variant.name,
            "path": str(variant.path),
            "quantization": variant.header.quantization,
            "kv_type": variant.config.kv_type,
            "kv_bytes": kv_bytes(
                variant.header, variant.config.context or 0, variant.config.kv_type
            ),
            "size_bytes": variant.header.size,
            "memory_bytes": self.memory,
            "load_s": round(self.load_s, 3),
            "first_token_s": spread(self.first_token_s).as_json(),
            "speed": [
                {
                    "depth": depth,
                    "prefill": spread(self.prefill[depth]).as_json(),
                    "decode": spread(self.decode[depth]).as_json(),
                }
                for depth in self.prefill
            ],
            "perplexity": {
                name: estimate(-found.arrays["logprobs"]).exp().as_json()
                for name, found in self.read.items()
            },
        }


async def compare(
    variants: Sequence[Variant],
    reference: Variant,
    texts: Mapping[str, str],
    *,
    tokens: int,
    depths: Sequence[int],
    rounds: int,
    say: Say,
) -> dict[str, Any]:
    """Measure all variants and compare them with the reference.

    At most `tokens` tokens of each text are read. Raises ModelError when a variant cannot be
    loaded, or when the disk lacks room for the reference's predictions.
    """
    order = [reference, *(one for one in variants if one is not reference)]
    measured = {one.name: Measured(one) for one in order}
    together = _fit_together(order)
    data_dir().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="compare-", dir=data_dir()) as folder:
        run = _Run(Path(folder), texts, tokens, depths, rounds, say)
        for group in [order] if together else [[one] for one in order]:
            async with AsyncExitStack() as stack:
                engines = {}
                for variant in group:
                    say(f"loading {variant.name}")
                    engines[variant.name] = engine = await open_engine(
                        variant.path, config=variant.config, sha256=variant.sha256
                    )
                    stack.push_async_callback(_close, engine)
                for name, engine in engines.items():
                    await run.read(engine, measured[name])
                await run.time([(engines[one.name], measured[one.name]) for one in group])
                for name, engine in engines.items():
                    status = await engine.status()
                    measured[name].memory = status["resident"]
                    measured[name].load_s = status["load_s"]
    base = measured[reference.name]
    return {
        "reference": reference.name,
        "alternated": together,
        "models": [measured[one.name].as_json() for one in variants],
        "quality": [
            {"name": one.name, **_quality(base, measured[one.name], run)}
            for one in order
            if one is not reference
        ],
    }


class _Run:
    """What all variants are measured with."""

    def __init__(
        self,
        folder: Path,
        texts: Mapping[str, str],
        limit: int,
        depths: Sequence[int],
        rounds: int,
        say: Say,
    ) -> None:
        self.folder = folder
        self.texts = texts
        self.limit = limit
        self.depths = depths
        self.rounds = rounds
        self.say = say
        self.tokens: dict[str, list[int]] = {}
        """Those of the reference, which is read first."""
        self.vocabulary = 0
        self.differ: set[str] = set()
        """Variants that split text into other tokens."""

    async def read(self, engine: EngineClient, measured: Measured) -> None:
        """Have a variant read the texts and continue them."""
        name = measured.variant.name
        found = {
            text: (await engine.tokenize([Segment(content)]))[: self.limit]
            for text, content in self.texts.items()
        }
        first = not self.tokens
        if first:
            self.tokens, self.vocabulary = found, measured.variant.header.vocabulary
            self._require_room()
        elif found != self.tokens or self.vocabulary != measured.variant.header.vocabulary:
            self.differ.add(name)
        for number, (text, tokens) in enumerate(found.items()):
            self.say(f"{name}: reading {text}, {len(tokens):,} tokens")
            file = str(self.folder / str(number))
            compared = not first and name not in self.differ
            measured.read[text] = await engine.examine(
                EngineRequest(
                    tokens,
                    _GREEDY,
                    0,
                    resume=len(tokens),
                    logits_to="" if compared else file if first else os.devnull,
                    logits_from=file if compared else "",
                )
            )
            measured.continued[text] = [
                await _continue(engine, tokens[at - _BEFORE : at]) for at in _places(len(tokens))
            ]

    def _require_room(self) -> None:
        size = 2 * self.vocabulary * sum(map(len, self.tokens.values()))
        free = shutil.disk_usage(self.folder).free
        if size + (1 << 28) > free:
            raise ModelError(
                f"comparing needs {gigabytes(size)} of disk in {self.folder.parent} for a while, "
                f"and {gigabytes(free)} are free",
                hint="Free some, or give fewer --tokens.",
            )

    async def time(self, pairs: Sequence[tuple[EngineClient, Measured]]) -> None:
        """Measure the speed of all variants that are loaded, in turns."""
        for depth in self.depths:
            self.say(f"speed at depth {depth:,}")
            inputs = {}
            for engine, measured in pairs:
                length = depth + (self.rounds + 1) * _PROMPT
                tokens = await engine.tokenize([Segment(code(5 * length))])
                # Read once: each round continues from there.
                if depth:
                    await _reply(engine, tokens[:depth], 1)
                inputs[measured.variant.name] = tokens
                # What is read first is read more slowly, and teaches the engine its batch size.
                await engine.baseline(tokens[: depth + _PROMPT], 2, kept=depth)
            for number in range(self.rounds):
                at = depth + (number + 1) * _PROMPT if depth else 0
                for engine, measured in pairs if number % 2 == 0 else pairs[::-1]:
                    tokens = inputs[measured.variant.name]
                    prompt = tokens[:depth] + tokens[at : at + _PROMPT]
                    done = (await engine.baseline(prompt, _REPLY, kept=depth)).timings
                    measured.prefill.setdefault(depth, []).append(_PROMPT / done.prefill_s)
                    measured.decode.setdefault(depth, []).append((_REPLY - 1) / done.decode_s)
                    if depth == self.depths[0]:
                        measured.first_token_s.append(done.first_token_s)


def _quality(base: Measured, other: Measured, run: _Run) -> dict[str, Any]:
    """How far a variant strays from the reference, for each text."""
    if other.variant.name in run.differ:
        return {"texts": {}, "why": "it splits text into other tokens than the reference"}
    return {"texts": {name: _text_quality(base, other, name) for name in run.texts}}


def _text_quality(base: Measured, other: Measured, name: str) -> dict[str, Any]:
    one, two = base.read[name].arrays, other.read[name].arrays
    divergence = two["divergence"]
    change = one["logprobs"] - two["logprobs"]
    result: dict[str, Any] = {
        "tokens": len(divergence),
        "divergence_mean": estimate(divergence).as_json(),
        "divergence_p99": estimate_high(divergence).as_json(),
        "same_top": estimate(one["top"] == two["top"]).as_json(),
        "perplexity_ratio": estimate(change).exp().as_json(),
    }
    pairs = list(zip(base.continued[name], other.continued[name], strict=True))
    if pairs:
        shares = np.array([common_prefix(*pair) / max(1, len(pair[0])) for pair in pairs])
        result["continuations"] = estimate(shares, block=1).as_json()
    result["routing"] = _routing(base, other, name)
    return result


def _routing(base: Measured, other: Measured, name: str) -> dict[str, Any] | None:
    """Agreement of the chosen experts, by layer; None for models without experts or with other
    ones."""
    pair = []
    for measured in (base, other):
        found, header = measured.read[name], measured.variant.header
        if not found.layers:
            return None
        arrays, experts = found.arrays, header.integer("expert_count")
        pair.append(Routing(name, found.layers, arrays["experts"], arrays["weights"], experts))
    one, two = pair
    if (one.layers, one.used, one.experts) != (two.layers, two.used, two.experts):
        return None
    same = same_experts(one, two)
    layers: list[Estimate] = estimate_columns(same)
    place = straying(layers)
    return {
        "mean": estimate(same.mean(axis=1)).as_json(),
        "layers": {
            str(number): found.as_json() for number, found in zip(one.layers, layers, strict=True)
        },
        "strays_from_layer": None if place is None else one.layers[place],
    }


def _places(length: int) -> list[int]:
    """Where a text of `length` tokens is cut and continued."""
    if length <= _BEFORE:
        return []
    return sorted({int(at) for at in np.linspace(_BEFORE, length, _CONTINUED)})


async def _continue(engine: EngineClient, tokens: list[int]) -> tuple[int, ...]:
    return (await _reply(engine, tokens, _WRITTEN)).ids


async def _reply(engine: EngineClient, tokens: list[int], count: int) -> Finished:
    request = EngineRequest(tokens, _GREEDY, count, session="comparison")
    last = [event async for event in engine.generate(request)][-1]
    assert isinstance(last, Finished)
    return last


async def _close(engine: EngineClient) -> None:
    """Close an engine and wait until its memory is free."""
    process = engine.process
    await engine.aclose()
    if process is not None:
        await asyncio.to_thread(process.wait)


def _fit_together(variants: Sequence[Variant]) -> bool:
    """Whether all variants fit in main memory at once."""
    needed = sum(plan(one.header, one.config.context or 0, one.config).total for one in variants)
    return needed < machine_memory().available * 9 // 10
