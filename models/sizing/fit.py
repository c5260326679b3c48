"""Where the parts of a model go, and the bytes they take there.

Everything is computed from the header of the file. Layers with a sliding window keep only the
window and one micro-batch; layers without attention keep a state of fixed size. `placements` are
all the ways to use the cards; `plan` is the first of them that the cards hold, and what the engine
loads.

Over 400 lines because every way to place a model counts the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import accumulate
from typing import Literal

from laguna_agent.byte_sizes import gib
from laguna_agent.config import EngineConfig
from laguna_agent.errors import ModelError
from laguna_agent.models.catalogue import Catalogued
from laguna_agent.models.ggml import WINDOW_PATTERNS
from laguna_agent.models.gguf import GgufHeader
from laguna_agent.models.sizing.hardware import Gpu, MemorySize, gpus, machine_memory

MICRO_BATCH = 512
LARGE_MICRO_BATCH = 2048
"""For experts in main memory with a GPU: each micro-batch of a prompt copies all of them to it."""
SMALLEST_CONTEXT = 4096
"""Tokens that an agent needs at least: must fit when no context is configured."""
USUAL_CONTEXT = 32768
"""Tokens of context when there is memory for them and none is configured."""
COPIES = 32
"""Most copies of the window layers that an engine keeps, one per message boundary."""
PROCESS = 67 << 20
"""Memory of the engine process besides the model: Python and the libraries."""
_TOKEN = 312
"""Bytes of an entry of the vocabulary in memory, merges included."""
CARD_RUNTIME = 600 << 20
"""Memory of each GPU that CUDA and its kernels take, as measured on an H100."""
CARD_HOST = 1 << 30
"""Main memory that a GPU's runtime takes."""

_PLAIN = 0.06
"""Share of main memory that compute buffers may take without flash attention."""

_ELEMENT = {"f16": Fraction(2), "q8_0": Fraction(34, 32), "q4_0": Fraction(18, 32)}

Kind = Literal["card", "experts", "layers", "processor"]
"""All on cards; all but the experts of some layers; some whole layers; nothing."""


@dataclass(frozen=True)
class MemoryPlan:
    """The memory that a model takes: `gpu` bytes of the total on GPUs, the rest in main memory."""

    context: int
    weights: int
    kv: int
    compute: int
    process: int = PROCESS
    gpu: int = 0
    cpu_experts: int = 0
    """Leading layers whose experts stay in main memory, those without experts included; meaningful
    only when `gpu` is not 0."""
    gpu_layers: int | None = None
    """Layers on GPUs, not counting their experts; None is all of them."""
    runtime: int = 0
    """Memory of the GPU runtime, on GPUs (part of `gpu`) and in main memory."""
    micro_batch: int = MICRO_BATCH
    """Tokens of a prompt that are decoded at once."""
    copies: int = 0
    """Most bytes of copies of the window layers that an engine keeps in main memory. Not part of
    `total`: an engine with less memory keeps fewer of them."""
    cards: tuple[int, ...] = ()
    """Bytes on each card."""
    split: tuple[int, ...] = ()
    """Layers on each card, the output matrix counted as one on the last; empty with one card."""
    missing: int = 0
    """Bytes by which cards are too small for it."""
    shared: bool = False
    """The cards use main memory."""

    @property
    def kind(self) -> Kind:
        """Which way of using the cards this is."""
        if not self.gpu:
            return "processor"
        if self.gpu_layers is not None:
            return "layers"
        return "experts" if self.cpu_experts else "card"

    @property
    def total(self) -> int:
        """All memory that must be available, the process included."""
        return self.weights + self.kv + self.compute + self.process + self.runtime

    @property
    def host(self) -> int:
        """The part in main memory; all of it where the cards share that."""
        return self.total - (0 if self.shared else self.gpu)


def window_layers(header: GgufHeader) -> list[bool]:
    """For each layer, whether it attends only to a sliding window."""
    layers = header.layers
    if not header.integer("attention.sliding_window"):
        return [False] * layers
    pattern = header.get("attention.sliding_window_pattern")
    if isinstance(pattern, list):
        return [*(bool(value) for value in pattern), *[False] * layers][:layers]
    period, first = WINDOW_PATTERNS.get(header.architecture, (1, False))
    if isinstance(pattern, int) and not isinstance(pattern, bool) and pattern > 0:
        period = pattern
    return [(n % period != 0) if first else (n % period != period - 1) for n in range(layers)]


def kv_bytes(
    header: GgufHeader, context: int, kv_type: str = "f16", micro_batch: int = MICRO_BATCH
) -> int:
    """The KV cache of one sequence of `context` tokens, recurrent state included."""
    return sum(kv_by_layer(header, context, kv_type, micro_batch))


def kv_by_layer(
    header: GgufHeader, context: int, kv_type: str = "f16", micro_batch: int = MICRO_BATCH
) -> list[int]:
    """The KV cache of each layer, see `kv_bytes`."""
    heads = header.per_layer("attention.head_count_kv")
    if not any(heads) and header.get("attention.head_count_kv") is None:
        heads = header.per_layer("attention.head_count")
    size = head_size(header)
    # With latent attention the values are a view of the keys.
    latent = header.integer("attention.kv_lora_rank") and header.get("attention.key_length_mla")
    key = header.integer("attention.key_length", size)
    value = 0 if latent else header.integer("attention.value_length", size)
    key_window = header.integer("attention.key_length_swa", key)
    value_window = header.integer("attention.value_length_swa", value)
    cells = _padded(context)
    window = header.integer("attention.sliding_window") + micro_batch
    window_cells = min(cells, _padded(window))
    shared = header.integer("attention.shared_kv_layers")
    interval = header.integer("full_attention_interval")
    found = []
    for layer, windowed in enumerate(window_layers(header)):
        elements = 0
        if not heads[layer] or (interval and (layer + 1) % interval):
            found.append(_recurrent_state(header))
            continue
        if layer < header.layers - shared:
            elements = heads[layer] * (
                (key_window + value_window) * window_cells if windowed else (key + value) * cells
            )
        found.append(int(elements * _ELEMENT[kv_type]))
    return found


def copy_bytes(header: GgufHeader, kv_type: str = "f16", total: int | None = None) -> int:
    """Bytes of all the copies of window layers that an engine keeps, on a machine with `total`
    bytes of memory."""
    window = header.integer("attention.sliding_window")
    large = 1 << 20
    cells = kv_bytes(header, large, kv_type, 256) - kv_bytes(header, large, kv_type, 0)
    one = cells * window // 256
    total = machine_memory().total if total is None else total
    return min(COPIES * one, copies_limit(total))


def copies_limit(total: int) -> int:
    """Bytes of main memory that copies of window layers may take."""
    return min(1 << 30, total // 24)


def compute_bytes(
    header: GgufHeader,
    context: int,
    micro_batch: int = MICRO_BATCH,
    *,
    flash_attention: bool = True,
    rows: int = 1,
) -> int:
    """The compute buffers of one micro-batch that yields `rows` rows of logits.

    llama.cpp reserves them for as many rows as tokens, and layers and logits share them. On a card
    all of that is taken. Main memory is taken when it is written to, and most micro-batches yield
    one row or none.
    """
    hidden = header.integer("embedding_length")
    wide = 3 * header.integer("feed_forward_length")
    part = header.integer("expert_feed_forward_length")
    wide = max(wide, header.integer("expert_used_count") * (2 * part + hidden))
    heads = header.per_layer("attention.head_count")
    size = head_size(header)
    layer = 4 * (5 * hidden + max(wide, 3 * max(heads, default=0) * size))
    cells = _padded(context)
    windows = window_layers(header)
    all_over = [count for count, windowed in zip(heads, windows, strict=True) if not windowed]
    layer += 2 * cells if flash_attention else 4 * cells * (1 + max(all_over, default=0))
    logits = 4 * (header.vocabulary + 4 * hidden)
    return max(rows * logits, micro_batch * layer)


def affords_plain_attention(
    header: GgufHeader, context: int, micro_batch: int, memory: MemorySize
) -> bool:
    """Whether there is memory for the compute buffers that attention other than flash attention
    takes at full context."""
    work = compute_bytes(header, context, micro_batch, flash_attention=False)
    return work < min(_PLAIN * memory.total, memory.available)


def head_size(header: GgufHeader) -> int:
    """Dimensions of one attention head."""
    heads = header.integer("attention.head_count")
    default = header.integer("embedding_length") // heads if heads else 0
    return header.integer("attention.key_length", default)


def plan(
    header: GgufHeader,
    context: int,
    engine: EngineConfig | None = None,
    cards: Sequence[Gpu] | None = None,
    room: int | None = None,
) -> MemoryPlan:
    """The memory that the model takes at `context` tokens, with as much as fits on `cards`.

    Everything but routed experts goes to the GPUs first; then the experts of as many layers as
    fit, unless `engine.cpu_experts` fixes their number. With `room` bytes of main memory, a way
    that fits in them is preferred.
    """
    found = [one for one in placements(header, context, engine, cards) if not one.missing]
    return next((one for one in found if room is not None and one.host <= room), found[0])


def placements(
    header: GgufHeader,
    context: int,
    engine: EngineConfig | None = None,
    cards: Sequence[Gpu] | None = None,
) -> Iterator[MemoryPlan]:
    """All ways to place the model, the one to prefer first; the last uses the processor only.

    Settings of `engine` leave out those that they rule out. A way that the cards are too small for
    says by how much in `missing`.
    """
    engine = engine or EngineConfig()
    batch = engine.micro_batch or MICRO_BATCH
    flash = engine.flash_attention is not False
    whole = MemoryPlan(
        context,
        header.weights,
        kv_bytes(header, context, engine.kv_type, batch),
        compute_bytes(header, context, batch, flash_attention=flash),
        PROCESS + _TOKEN * header.vocabulary,
        micro_batch=batch,
        copies=copy_bytes(header, engine.kv_type),
    )
    if not cards:
        yield replace(whole, gpu_layers=engine.gpu_layers)
        return
    wanted = header.layers if engine.gpu_layers is None else engine.gpu_layers
    if wanted >= header.layers:
        every = range(header.layers)
        bounds = [layer + 1 for layer in sorted(header.expert_bytes)]
        fixed = engine.cpu_experts
        if not fixed:
            yield _spread(header, whole, engine, cards, every, 0, batch)
        if fixed:
            bounds = [min(fixed, bounds[-1])] if bounds else [0]
        if bounds and fixed != 0:
            batches = [batch] if engine.micro_batch else [LARGE_MICRO_BATCH, batch]
            some = (
                _spread(header, whole, engine, cards, every, bound, size)
                for size in batches
                for bound in bounds
            )
            last = _spread(header, whole, engine, cards, every, bounds[-1], batch)
            yield next((one for one in some if not one.missing), last)
    for count in range(min(wanted, header.layers - 1), 0, -1):
        last_ones = range(header.layers - count, header.layers)
        layers = _spread(header, whole, engine, cards, last_ones, 0, batch)
        if not layers.missing:
            yield layers
            break
    yield replace(whole, gpu_layers=0)


def _spread(
    header: GgufHeader,
    whole: MemoryPlan,
    engine: EngineConfig,
    cards: Sequence[Gpu],
    layers: range,
    bound: int,
    batch: int,
) -> MemoryPlan:
    """`layers` in order on the cards, but for the experts of those below `bound`; each card is
    filled in proportion to its room."""
    kv = kv_by_layer(header, whole.context, engine.kv_type, batch)
    flash = engine.flash_attention is not False
    compute = compute_bytes(header, whole.context, batch, flash_attention=flash, rows=batch)
    sums = {name: sum(sizes.values()) for name, sizes in header.parts.items()}
    routed, output = sum(header.expert_bytes.values()), sums.get("output", 0)
    rest = header.weights - routed - output - sums.get("embedding", 0)
    sizes = []
    for layer in layers:
        experts = header.expert_bytes.get(layer, 0) if layer >= bound else 0
        sizes.append(rest // max(1, header.layers) + experts + kv[layer])
    sizes.append(output)
    runtime = 0 if cards[0].shared else CARD_RUNTIME
    if bound:
        # Experts in main memory are copied to the GPU, one of a layer's three matrices at a time,
        # during prefill.
        runtime += max(header.expert_bytes.values(), default=0) // 3
    fixed = compute + runtime
    rooms = [max(0, card.free - fixed) for card in cards]
    goals = [sum(sizes) * room / max(1, sum(rooms)) for room in accumulate(rooms)]
    counts, used = [0] * len(cards), [0] * len(cards)
    placed, card = 0, 0
    for size in sizes:
        while card < len(cards) - 1 and placed + size / 2 > goals[card]:
            card += 1
        counts[card] += 1
        used[card] += size
        placed += size
    taken = tuple(size + fixed if count else 0 for size, count in zip(used, counts, strict=True))
    inside = len(layers) == header.layers
    busy = sum(map(bool, counts))
    return replace(
        whole,
        kv=sum(kv),
        compute=busy * compute + (0 if inside and not bound else whole.compute),
        gpu=sum(taken),
        gpu_layers=None if inside else len(layers),
        cpu_experts=bound,
        runtime=busy * runtime + (0 if cards[0].shared else CARD_HOST),
        micro_batch=batch,
        cards=taken,
        split=tuple(counts) if len(cards) > 1 else (),
        missing=sum(max(0, size - one.free) for size, one in zip(taken, cards, strict=True)),
        shared=cards[0].shared,
    )


def estimate(known: Catalogued, context: int) -> MemoryPlan:
    """A `plan` in main memory for a model that is not installed."""
    if header := known.header:
        return plan(header, context)
    memory = known.entry.memory
    assert memory is not None
    return MemoryPlan(context, known.file.size, memory.token * context + memory.fixed, memory.work)


def largest_context(
    header: GgufHeader,
    memory: MemorySize | None = None,
    engine: EngineConfig | None = None,
    cards: Sequence[Gpu] | None = None,
) -> int:
    """Largest context that fits: a multiple of 256, at most the model's training context.

    0 when not even 256 tokens fit.
    """
    memory = machine_memory() if memory is None else memory
    low, high = 0, max(header.context_length or USUAL_CONTEXT, 256) // 256
    while low < high:
        middle = (low + high + 1) // 2
        if plan(header, middle * 256, engine, cards, memory.available).host <= memory.available:
            low = middle
        else:
            high = middle - 1
    return low * 256


def choose_context(
    header: GgufHeader,
    engine: EngineConfig,
    memory: MemorySize | None = None,
    cards: Sequence[Gpu] | None = None,
) -> int:
    """The context to use: the configured one, else USUAL_CONTEXT, halved until it fits.

    Depends on the machine and the model alone, never on the memory that happens to be free: a
    context of another size is another engine, for which no saved prefix may match.
    """
    if engine.context is not None:
        return engine.context
    memory = machine_memory() if memory is None else memory
    room = memory.total * 9 // 10
    context = min(USUAL_CONTEXT, header.context_length or USUAL_CONTEXT)
    if plan(header, context, engine).host > room:
        empty = [card._replace(free=card.total) for card in (gpus() if cards is None else cards)]
        while context > SMALLEST_CONTEXT and plan(header, context, engine, empty, room).host > room:
            context //= 2
    return context


def require_fit(
    name: str,
    header: GgufHeader,
    engine: EngineConfig,
    memory: MemorySize | None = None,
    cards: Sequence[Gpu] | None = None,
    *,
    free: bool = True,
) -> MemoryPlan:
    """The plan at the configured context (else at the smallest useful one), if it fits.

    With `free`, it must fit the memory that is free now; without, the memory that the machine has:
    for when the model may already be loaded. GPUs are queried only when main memory alone does
    not suffice. Raises ModelError of one line when it does not fit.
    """
    memory = machine_memory() if memory is None else memory
    context = engine.context or min(SMALLEST_CONTEXT, header.context_length or SMALLEST_CONTEXT)
    room = memory.available if free else memory.total
    if cards is None and plan(header, context, engine).host > room:
        cards = gpus()
    cards = list(cards or ())
    if not free:
        cards = [card._replace(free=card.total) for card in cards]
    needed = plan(header, context, engine, cards, room)
    if needed.host > memory.total:
        raise ModelError(
            f"{name} is too large for this machine: it needs {gib(needed.host)} of memory at "
            f"{context} tokens of context, and there are {gib(memory.total)}",
            hint=_smaller(header, memory.total, engine, cards),
        )
    if free and needed.host > memory.available:
        raise ModelError(
            f"{name} does not fit in memory now: it needs {gib(needed.host)} at {context} tokens "
            f"of context, and {gib(memory.available)} of {gib(memory.total)} are free",
            hint="Close other programs (`laguna engine stop` ends engines), or "
            + _smaller(header, memory.available, engine, cards).lower(),
        )
    return needed


def _smaller(header: GgufHeader, room: int, engine: EngineConfig, cards: Sequence[Gpu]) -> str:
    most = largest_context(header, MemorySize(room, room), engine, cards)
    if engine.context is not None and most >= 1024:
        return f"Set engine.context to {most} or less."
    return "Use a smaller model: `laguna models fit` shows what fits."


def _padded(cells: int) -> int:
    return -(-cells // 256) * 256


def _recurrent_state(header: GgufHeader) -> int:
    inner, state = header.integer("ssm.inner_size"), header.integer("ssm.state_size")
    groups, kernel = header.integer("ssm.group_count"), header.integer("ssm.conv_kernel", 1)
    return 4 * (inner * state + max(0, kernel - 1) * (inner + 2 * groups * state))
