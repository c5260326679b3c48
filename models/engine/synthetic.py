"""Writes GGUF files of architecture `laguna` with random weights.

The tiny one exercises every code path of the real model (window layers, router, gate, tokenizer)
in milliseconds; the one with the full XS geometry gives realistic speed and memory figures. Nothing
is downloaded: vocabulary and merges are generated, with the special tokens at the ids that the
published models use. Files are byte-identical wherever and whenever they are written.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, BinaryIO

from laguna_agent.atomic_write import atomic_stream
from laguna_agent.errors import ModelError
from laguna_agent.paths import data_dir

_ALIGNMENT = 32
_F32, _Q4_K, _Q6_K = 0, 12, 14
_BLOCK = {_Q4_K: (256, 144), _Q6_K: (256, 210)}

SPECIAL_TOKENS = {
    2: "〈|EOS|〉",
    18: "<think>",
    19: "</think>",
    23: "<assistant>",
    24: "</assistant>",
    25: "<tool_call>",
    26: "</tool_call>",
}
_RESERVED = 32


@dataclass(frozen=True)
class Geometry:
    """The shape of a model. Sizes in elements; `file_type` 15 is Q4_K_M."""

    name: str
    layers: int
    hidden: int
    dense: int
    heads_global: int
    heads_window: int
    heads_kv: int
    head: int
    experts: int
    experts_used: int
    expert: int
    vocabulary: int
    window: int
    context: int
    rope_global: int
    original_context: int
    dense_layers: int = 1
    """Leading layers without experts."""


TINY = Geometry(
    "laguna-tiny", 4, 256, 512, 4, 8, 2, 64, 16, 4, 256, 4096, 64, 8192, 32, 2048
)  # fmt: skip
XS = Geometry(
    "laguna-xs", 40, 2048, 8192, 48, 64, 8, 128, 256, 8, 512, 100352, 512, 131072, 64, 4096
)  # fmt: skip


def write_model(file: BinaryIO, geometry: Geometry, *, template: str | None = None) -> None:
    """Write a model file: 8 MB for the tiny one, 18.95 GB for XS."""
    tensors = list(_tensors(geometry))
    metadata = _metadata(geometry, template)
    head = bytearray(struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(metadata)))
    for key, value in metadata:
        head += _string(key) + value
    offset = 0
    sizes = []
    for name, shape, kind, _ in tensors:
        size = _size(shape, kind)
        head += _string(name) + struct.pack("<I", len(shape))
        head += struct.pack(f"<{len(shape)}QIQ", *shape, kind, offset)
        sizes.append(size)
        offset += -(-size // _ALIGNMENT) * _ALIGNMENT
    file.write(head + bytes(-len(head) % _ALIGNMENT))
    pools = _pools(geometry)
    generator = random.Random(1)
    for (_, _, kind, role), size in zip(tensors, sizes, strict=True):
        file.writelines(pools[role or kind](size, generator))
        file.write(bytes(-size % _ALIGNMENT))


def _tensors(g: Geometry) -> Iterator[tuple[str, tuple[int, ...], int, str]]:
    yield "token_embd.weight", (g.hidden, g.vocabulary), _Q4_K, "embedding"
    yield "output_norm.weight", (g.hidden,), _F32, "one"
    yield "output.weight", (g.hidden, g.vocabulary), _Q6_K, ""
    for layer in range(g.layers):
        b = f"blk.{layer}."
        heads = g.heads_window if layer % 4 else g.heads_global
        yield b + "attn_norm.weight", (g.hidden,), _F32, "one"
        yield b + "attn_q.weight", (g.hidden, heads * g.head), _Q4_K, ""
        yield b + "attn_k.weight", (g.hidden, g.heads_kv * g.head), _Q4_K, ""
        yield b + "attn_v.weight", (g.hidden, g.heads_kv * g.head), _Q4_K, ""
        yield b + "attn_output.weight", (heads * g.head, g.hidden), _Q4_K, ""
        yield b + "attn_q_norm.weight", (g.head,), _F32, "one"
        yield b + "attn_k_norm.weight", (g.head,), _F32, "one"
        yield b + "attn_gate.weight", (g.hidden, heads), _Q4_K, ""
        yield b + "ffn_norm.weight", (g.hidden,), _F32, "one"
        if layer < g.dense_layers:
            yield b + "ffn_gate.weight", (g.hidden, g.dense), _Q4_K, ""
            yield b + "ffn_up.weight", (g.hidden, g.dense), _Q4_K, ""
            yield b + "ffn_down.weight", (g.dense, g.hidden), _Q4_K, ""
            continue
        yield b + "ffn_gate_inp.weight", (g.hidden, g.experts), _F32, "router"
        yield b + "exp_probs_b.bias", (g.experts,), _F32, "zero"
        for part, shape in (
            ("gate", (g.hidden, g.expert)),
            ("up", (g.hidden, g.expert)),
            ("down", (g.expert, g.hidden)),
        ):
            yield b + f"ffn_{part}_exps.weight", (*shape, g.experts), _Q4_K, ""
            yield b + f"ffn_{part}_shexp.weight", shape, _Q4_K, ""


def _size(shape: tuple[int, ...], kind: int) -> int:
    elements = 1
    for length in shape:
        elements *= length
    if kind == _F32:
        return elements * 4
    block, size = _BLOCK[kind]
    return elements // block * size


Pool = Callable[[int, random.Random], Iterator[bytes]]


def _pools(g: Geometry) -> dict[int | str, Pool]:
    """Sources of tensor data. Pieces are copied from random offsets of a pool of random blocks, so
    that gigabytes cost no more than writing them."""
    generator = random.Random(0)
    blocks = 4096 if g.hidden < 1024 else 65536
    q4 = bytearray(generator.randbytes(144 * blocks))
    embedding = bytearray(generator.randbytes(144 * 4096))
    # Weights are d * scale * q - dmin * minimum, with mean 0 and a deviation of about 250 * d.
    # Embeddings outweigh what the layers add: else rounding noise grows from layer to layer,
    # experts swap, and results cannot be compared.
    d = struct.pack("<ee", 0.00008, 0.00008 * 7.5)
    wide = struct.pack("<ee", 0.002, 0.002 * 7.5)
    for index in range(4096):
        embedding[144 * index : 144 * index + 4] = wide
    q6 = bytearray(generator.randbytes(210 * blocks))
    scale = struct.pack("<e", 0.00004)
    for index in range(blocks):
        q4[144 * index : 144 * index + 4] = d
        q6[210 * index + 208 : 210 * index + 210] = scale
    normal = struct.pack("<16384f", *(generator.gauss(0, 0.05) for _ in range(16384)))

    def cyclic(pool: bytes, block: int) -> Pool:
        def pieces(size: int, generator: random.Random) -> Iterator[bytes]:
            while size:
                start = generator.randrange(len(pool) // block) * block
                piece = pool[start : start + size]
                size -= len(piece)
                yield piece

        return pieces

    def constant(value: float) -> Pool:
        return lambda size, _: iter([struct.pack("<f", value) * (size // 4)])

    return {
        _Q4_K: cyclic(bytes(q4), 144),
        "embedding": cyclic(bytes(embedding), 144),
        _Q6_K: cyclic(bytes(q6), 210),
        "router": cyclic(normal, 4),
        "one": constant(1.0),
        "zero": constant(0.0),
    }


# --- metadata -------------------------------------------------------------------------------


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _u32(value: int) -> bytes:
    return struct.pack("<II", 4, value)


def _f32(value: float) -> bytes:
    return struct.pack("<If", 6, value)


def _bool(value: bool) -> bytes:
    return struct.pack("<I?", 7, value)


def _text(value: str) -> bytes:
    return struct.pack("<I", 8) + _string(value)


def _array(kind: int, values: list[Any]) -> bytes:
    head = struct.pack("<IIQ", 9, kind, len(values))
    if kind == 8:
        return head + b"".join(_string(value) for value in values)
    return head + struct.pack(f"<{len(values)}{'i' if kind == 5 else 'I'}", *values)


def _metadata(g: Geometry, template: str | None) -> list[tuple[str, bytes]]:
    tokens, types, merges = vocabulary(g.vocabulary)
    heads = [g.heads_window if layer % 4 else g.heads_global for layer in range(g.layers)]
    a = "laguna."
    pairs = [
        ("general.architecture", _text("laguna")),
        ("general.name", _text(g.name)),
        ("general.file_type", _u32(15)),
        ("general.quantization_version", _u32(2)),
        (a + "block_count", _u32(g.layers)),
        (a + "context_length", _u32(g.context)),
        (a + "embedding_length", _u32(g.hidden)),
        (a + "feed_forward_length", _u32(g.dense)),
        (a + "vocab_size", _u32(g.vocabulary)),
        (a + "attention.head_count", _array(4, heads)),
        (a + "attention.head_count_kv", _u32(g.heads_kv)),
        (a + "attention.key_length", _u32(g.head)),
        (a + "attention.value_length", _u32(g.head)),
        (a + "attention.layer_norm_rms_epsilon", _f32(1e-6)),
        (a + "attention.sliding_window", _u32(g.window)),
        (a + "rope.freq_base", _f32(500000.0)),
        (a + "rope.freq_base_swa", _f32(10000.0)),
        (a + "rope.dimension_count", _u32(g.rope_global)),
        (a + "rope.dimension_count_swa", _u32(g.head)),
        (a + "rope.scaling.type", _text("yarn")),
        (a + "rope.scaling.factor", _f32(g.context / g.original_context)),
        (a + "rope.scaling.original_context_length", _u32(g.original_context)),
        (a + "rope.scaling.yarn_attn_factor", _f32(1.0)),
        (a + "rope.scaling.yarn_beta_fast", _f32(64.0)),
        (a + "rope.scaling.yarn_beta_slow", _f32(1.0)),
        (a + "expert_count", _u32(g.experts)),
        (a + "expert_used_count", _u32(g.experts_used)),
        (a + "expert_feed_forward_length", _u32(g.expert)),
        (a + "expert_shared_feed_forward_length", _u32(g.expert)),
        (a + "expert_weights_norm", _bool(True)),
        (a + "expert_weights_scale", _f32(2.5)),
        (a + "expert_gating_func", _u32(2)),
        (a + "leading_dense_block_count", _u32(g.dense_layers)),
        ("tokenizer.ggml.model", _text("gpt2")),
        ("tokenizer.ggml.pre", _text("laguna")),
        ("tokenizer.ggml.tokens", _array(8, tokens)),
        ("tokenizer.ggml.token_type", _array(5, types)),
        ("tokenizer.ggml.merges", _array(8, merges)),
        ("tokenizer.ggml.bos_token_id", _u32(2)),
        ("tokenizer.ggml.eos_token_id", _u32(2)),
        ("tokenizer.ggml.eot_token_id", _u32(24)),
        ("tokenizer.ggml.add_bos_token", _bool(False)),
    ]
    if template is not None:
        pairs.append(("tokenizer.chat_template", _text(template)))
    return pairs


def vocabulary(size: int) -> tuple[list[str], list[int], list[str]]:
    """Tokens, their types (1 normal, 3 control, 5 unused) and BPE merges of a byte-level
    vocabulary. Merges are pairs, then triples of letters by frequency."""
    tokens = [SPECIAL_TOKENS.get(index, f"<|reserved_{index}|>") for index in range(_RESERVED)]
    types = [3] * _RESERVED
    tokens += _byte_letters()
    merges: list[str] = []
    known = set(tokens)
    for left, right in _pairs():
        if len(tokens) == size:
            break
        if left in known and right in known and left + right not in known:
            merges.append(f"{left} {right}")
            known.add(left + right)
            tokens.append(left + right)
    types += [1] * (len(tokens) - _RESERVED)
    for index in range(len(tokens), size):
        tokens.append(f"<|unused_{index}|>")
        types.append(5)
    return tokens, types, merges


def _byte_letters() -> list[str]:
    """The 256 characters that represent bytes in GPT-2 vocabularies, in byte order."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters, extra = [], 256
    for byte in range(256):
        if byte in visible:
            letters.append(chr(byte))
        else:
            letters.append(chr(extra))
            extra += 1
    return letters


def _pairs() -> Iterator[tuple[str, str]]:
    frequent = "etaoinshrdlcumwfgypbvkjxqz"
    space, newline = "Ġ", "Ċ"
    signs = "_()[]{}=.,:;\"'#<>/-+*"
    yield space, space
    yield space * 2, space * 2
    yield newline, newline
    for letter in frequent + frequent.upper() + "0123456789" + signs:
        yield space, letter
    for first, second in product(frequent, frequent):
        yield first, second
    for first, second in product("0123456789", "0123456789"):
        yield first, second
    for first, second in product(signs, signs):
        yield first, second
    for first, second, third in product(frequent, frequent, frequent):
        yield first + second, third
        yield space + first, second + third


def cached_model(name: str, on_write: Callable[[str], None] = lambda _: None) -> Path:
    """The `tiny` or the `xs` model in the data directory, written on first use.

    Raises ModelError when the disk has no room for it.
    """
    import shutil

    geometry = {"tiny": TINY, "xs": XS}[name]
    path = data_dir() / "synthetic" / f"{geometry.name}.gguf"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    size = sum(_size(shape, kind) for _, shape, kind, _ in _tensors(geometry))
    if shutil.disk_usage(path.parent).free < size + (1 << 30):
        raise ModelError(
            f"the synthetic model needs {size / 1e9:.1f} GB of disk in {path.parent}",
            hint="Free some, or move laguna's data (LAGUNA_HOME).",
        )
    on_write(f"writing {path} ({size / 1e9:.2f} GB)")
    with atomic_stream(path) as file:
        write_model(file.buffer, geometry)
    return path
