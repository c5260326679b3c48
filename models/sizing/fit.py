"""Whether a model fits: the bytes of its weights, KV cache and compute buffers.

Everything is computed from the header of the file. Layers with a sliding window keep only the
window and one micro-batch; layers without attention keep a state of fixed size.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

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
PROCESS = 200 << 20
"""Memory of the engine process besides the model."""
CARD_RUNTIME = 600 << 20
"""Memory of each GPU that CUDA and its kernels take, as measured on an H100."""
CARD_HOST = 1 << 30
"""Main memory that a GPU's runtime takes."""

_ELEMENT = {"f16": Fraction(2), "q8_0": Fraction(34, 32), "q4_0": Fraction(18, 32)}


@dataclass(frozen=True)
class MemoryPlan:
    """The memory that a model takes: `gpu` bytes of the total on GPUs, the rest in main memory."""

    context: int
    weights: int
    kv: int
    compute: int
    gpu: int = 0
    cpu_experts: int = 0
    """Layers whose experts stay in main memory; meaningful only when `gpu` is not 0."""
    gpu_layers: int | None = None
    """Layers on GPUs, not counting their experts; None is all of them."""
    runtime: int = 0
    """Memory of the GPU runtime, on GPUs (part of `gpu`) and in main memory."""
    micro_batch: int = MICRO_BATCH
    """Tokens of a prompt that are decoded at once."""
    copies: int = 0
    """Most bytes of copies of the window layers that an engine keeps in main memory. Not part of
    `total`: an engine with less memory keeps fewer of them."""

    @property
    def total(self) -> int:
        """All memory that must be available, the process included."""
        return self.weights + self.kv + self.compute + PROCESS + self.runtime

    @property
    def host(self) -> int:
        """The part in main memory."""
        return self.total - self.gpu


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
    total, recurrent = Fraction(0), 0
    for layer, windowed in enumerate(window_layers(header)):
        if not heads[layer] or (interval and (layer + 1) % interval):
            recurrent += 1
        elif layer >= header.layers - shared:
            continue
        elif windowed:
            total += heads[layer] * (key_window + value_window) * window_cells
        else:
            total += heads[layer] * (key + value) * cells
    return int(total * _ELEMENT[kv_type]) + recurrent * _recurrent_state(header)


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
) -> int:
    """The compute buffers of one micro-batch.

    In llama.cpp the layers and the logits share them, so the larger of the two counts.
    """
    hidden = header.integer("embedding_length")
    wide = header.integer("feed_forward_length")
    experts = header.integer("expert_used_count") * header.integer("expert_feed_forward_length")
    heads = header.integer("attention.head_count")
    logits = 4 * (header.vocabulary + 2 * hidden)
    layer = 4 * (4 * hidden + 3 * max(wide, experts) + 3 * heads * head_size(header))
    cells = _padded(context)
    layer += 2 * cells if flash_attention else 4 * cells * (1 + heads)
    return micro_batch * max(logits, layer)


def head_size(header: GgufHeader) -> int:
    """Dimensions of one attention head."""
    heads = header.integer("attention.head_count")
    default = header.integer("embedding_length") // heads if heads else 0
    return header.integer("attention.key_length", default)


def plan(
    header: GgufHeader,
    context: int,
    engine: EngineConfig | None = None,
    cards: list[Gpu] | None = None,
) -> MemoryPlan:
    """The memory that the model takes at `context` tokens, with as much as fits on `cards`.

    Everything but routed experts goes to the GPUs first; then the experts of as many layers as
    fit, unless `engine.cpu_experts` fixes their number.
    """
    engine = engine or EngineConfig()
    batch = engine.micro_batch or MICRO_BATCH
    kv = kv_bytes(header, context, engine.kv_type, batch)
    compute = compute_bytes(
        header, context, batch, flash_attention=engine.flash_attention is not False
    )
    copies = copy_bytes(header, engine.kv_type)
    whole = MemoryPlan(context, header.weights, kv, compute, micro_batch=batch, copies=copies)
    if not cards or engine.gpu_layers == 0:
        return replace(whole, gpu_layers=engine.gpu_layers)
    runtime = CARD_RUNTIME * len(cards)
    room = sum(card.free for card in cards) - runtime
    experts = sorted(header.expert_bytes.items())
    core = header.weights - sum(header.expert_bytes.values()) + kv + compute
    wanted = header.layers if engine.gpu_layers is None else engine.gpu_layers
    if core > room or wanted < header.layers:
        # Whole layers, as many as fit, as for a dense model.
        layers, used = 0, 0
        if header.layers and room > compute:
            one = (header.weights + kv) / header.layers
            layers = min(wanted, int((room - compute) / one))
            used = int(layers * one) + compute
        if not layers:
            return replace(whole, gpu_layers=0)
        return replace(whole, gpu=used + runtime, gpu_layers=layers, runtime=runtime + CARD_HOST)
    on_cpu, rest = 0, sum(header.expert_bytes.values())
    if engine.cpu_experts is not None:
        on_cpu = min(engine.cpu_experts, len(experts))
        rest -= sum(size for _, size in experts[:on_cpu])
    # Experts in main memory are copied to the GPU, one layer at a time, during prefill.
    visiting = max(header.expert_bytes.values(), default=0)
    while core + rest + (visiting if on_cpu else 0) > room and on_cpu < len(experts):
        rest -= experts[on_cpu][1]
        on_cpu += 1
    if on_cpu and engine.micro_batch is None:
        large = engine.model_copy(update={"micro_batch": LARGE_MICRO_BATCH})
        planned = plan(header, context, large, cards)
        if planned.cpu_experts:
            return planned
    runtime += visiting if on_cpu else 0
    return replace(
        whole, gpu=core + rest + runtime, cpu_experts=on_cpu, runtime=runtime + CARD_HOST
    )


def estimate(known: Catalogued, context: int) -> MemoryPlan:
    """A `plan` in main memory for a model that is not installed."""
    memory = known.entry.memory
    return MemoryPlan(context, known.file.size, memory.token * context + memory.fixed, memory.work)


def largest_context(
    header: GgufHeader,
    memory: MemorySize | None = None,
    engine: EngineConfig | None = None,
    cards: list[Gpu] | None = None,
) -> int:
    """Largest context that fits: a multiple of 256, at most the model's training context.

    0 when not even 256 tokens fit.
    """
    memory = machine_memory() if memory is None else memory
    low, high = 0, max(header.context_length or USUAL_CONTEXT, 256) // 256
    while low < high:
        middle = (low + high + 1) // 2
        if plan(header, middle * 256, engine, cards).host <= memory.available:
            low = middle
        else:
            high = middle - 1
    return low * 256


def choose_context(
    header: GgufHeader,
    engine: EngineConfig,
    memory: MemorySize | None = None,
    cards: list[Gpu] | None = None,
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
        while context > SMALLEST_CONTEXT and plan(header, context, engine, empty).host > room:
            context //= 2
    return context


def require_fit(
    name: str,
    header: GgufHeader,
    engine: EngineConfig,
    memory: MemorySize | None = None,
    cards: list[Gpu] | None = None,
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
    needed = plan(header, context, engine, cards)
    if cards is None and needed.host > (memory.available if free else memory.total):
        cards = gpus()
    cards = list(cards or ())
    if not free:
        cards = [card._replace(free=card.total) for card in cards]
    needed = plan(header, context, engine, cards)
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


def _smaller(header: GgufHeader, room: int, engine: EngineConfig, cards: list[Gpu]) -> str:
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
