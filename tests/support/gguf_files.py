"""Small GGUF files for tests, written field by field so that they can be wrong on purpose."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

QWEN = {
    "general.architecture": "qwen2",
    "general.name": "Tiny",
    "general.file_type": 15,
    "qwen2.block_count": 2,
    "qwen2.context_length": 32768,
    "qwen2.embedding_length": 128,
    "qwen2.feed_forward_length": 256,
    "qwen2.attention.head_count": 4,
    "qwen2.attention.head_count_kv": 2,
}


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def typed(value: Any) -> bytes:
    """A value with its type in front."""
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return struct.pack("<Iq", 11, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, str):
        return struct.pack("<I", 8) + text(value)
    items = [typed(item) for item in value]
    kind = items[0][:4] if items else struct.pack("<I", 11)
    body = b"".join(item[4:] for item in items)
    return struct.pack("<I", 9) + kind + struct.pack("<Q", len(items)) + body


def gguf_bytes(
    metadata: Mapping[str, Any] = QWEN,
    tensors: Sequence[tuple[str, Sequence[int], int]] = (("token_embd.weight", (256, 4), 0),),
    *,
    version: int = 3,
    data: bytes | None = None,
) -> bytes:
    """A whole file. Tensors are (name, shape, type); types are F32 (0) or Q4_K (12)."""
    head = [b"GGUF", struct.pack("<IQQ", version, len(tensors), len(metadata))]
    head += [text(key) + typed(value) for key, value in metadata.items()]
    offset = 0
    for name, shape, kind in tensors:
        head.append(text(name) + struct.pack("<I", len(shape)))
        head.append(struct.pack(f"<{len(shape)}Q", *shape) + struct.pack("<IQ", kind, offset))
        elements = 1
        for one in shape:
            elements *= one
        size = elements * 4 if kind == 0 else elements // 256 * 144
        offset += -(-size // 32) * 32
    header = b"".join(head)
    padding = b"\0" * (-len(header) % 32)
    return header + padding + (bytes(offset) if data is None else data)


def write_gguf(path: Path, *arguments: Any, **options: Any) -> Path:
    path.write_bytes(gguf_bytes(*arguments, **options))
    return path
