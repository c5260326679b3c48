"""Reads the header of a GGUF file: metadata and the directory of tensors, never the weights.

Files may come from anywhere: every length is checked before use, nothing is read beyond fixed
bounds, and every defect is a ModelError of one line. Only the standard library is imported, so
that commands that read a header start at once.

Over 400 lines because the bounds of every read belong next to the format they guard.
"""

from __future__ import annotations

import math
import os
import re
import stat
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from laguna_agent.byte_sizes import gigabytes
from laguna_agent.errors import ModelError
from laguna_agent.models.ggml import (
    ARCHITECTURES,
    FILE_TYPES,
    NOT_FOR_TEXT,
    REMOVED_TENSOR_TYPES,
    TENSOR_TYPES,
)

MAGIC = b"GGUF"
_MAX_HEADER = 1 << 28
_MAX_KEYS = 1 << 16
_MAX_TENSORS = 1 << 17
_MAX_KEY = 1 << 16
_MAX_LAYERS = 4096
_KEPT_STRING = 4 << 20
_KEPT_ARRAY = 4096
_CHUNK = 1 << 20

_STRING, _ARRAY = 8, 9
_SCALARS = {
    0: struct.Struct("<B"),
    1: struct.Struct("<b"),
    2: struct.Struct("<H"),
    3: struct.Struct("<h"),
    4: struct.Struct("<I"),
    5: struct.Struct("<i"),
    6: struct.Struct("<f"),
    7: struct.Struct("<?"),
    10: struct.Struct("<Q"),
    11: struct.Struct("<q"),
    12: struct.Struct("<d"),
}
_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")
_EXPERTS = re.compile(r"blk\.(\d+)\.ffn_(?:up|down|gate|gate_up)_(?:ch|)exps")
_PARTS = {"token_embd.weight": "embedding", "output.weight": "output"}
_SPLIT = re.compile(r"^(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf$")


class _FormatError(Exception):
    """The bytes violate the format; the message continues a sentence that begins with the path."""


@dataclass(frozen=True)
class GgufHeader:
    """The header of a GGUF file. Sizes are in bytes, for a split model those of all its files."""

    metadata: Mapping[str, Any]
    """Scalars and short arrays. Of longer arrays and strings only the length is kept, as
    `Omitted`."""
    tensors: int
    parameters: int
    """Elements of all tensors."""
    weights: int
    """Bytes of all tensors."""
    expert_bytes: Mapping[int, int]
    """Bytes of routed experts by layer."""
    types: Mapping[str, int]
    """Number of tensors of each storage type."""
    size: int
    files: tuple[str, ...] = field(default=())
    """Every file of the model; one unless it is split."""
    parts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Bytes by storage type of each part: `embedding`, `output`, `experts` (routed) and `rest`.
    A model whose embedding is its output matrix too has no `embedding`."""

    @property
    def architecture(self) -> str:
        """`general.architecture`."""
        return str(self.metadata.get("general.architecture", ""))

    @property
    def name(self) -> str:
        """`general.name`, or an empty string."""
        return str(self.metadata.get("general.name", ""))

    @property
    def quantization(self) -> str:
        """The mix the file was quantised with, or the most frequent type of its tensors."""
        kind = self.metadata.get("general.file_type")
        if isinstance(kind, int) and kind in FILE_TYPES:
            return FILE_TYPES[kind]
        return self.main_type

    @property
    def main_type(self) -> str:
        """The most frequent type of its tensors, not counting F32: norms are F32 in any model."""
        quantised = {name: n for name, n in self.types.items() if name != "F32"}
        return max(quantised or self.types, key=(quantised or self.types).__getitem__, default="")

    @property
    def context_length(self) -> int:
        """The model's training context in tokens; 0 when the file does not say."""
        return self.integer("context_length")

    @property
    def layers(self) -> int:
        """Number of transformer blocks; 0 when the file gives an absurd number."""
        layers = self.integer("block_count")
        return layers if layers <= _MAX_LAYERS else 0

    @property
    def vocabulary(self) -> int:
        """Tokens in the vocabulary."""
        tokens = self.metadata.get("tokenizer.ggml.tokens")
        if isinstance(tokens, Omitted | list):
            return len(tokens)
        return self.integer("vocab_size")

    @property
    def template(self) -> str | None:
        """The file's own chat template."""
        value = self.metadata.get("tokenizer.chat_template")
        return value if isinstance(value, str) else None

    def get(self, key: str) -> Any:
        """Metadata of the architecture: `get("block_count")` is `<architecture>.block_count`."""
        return self.metadata.get(f"{self.architecture}.{key}")

    def integer(self, key: str, default: int = 0) -> int:
        """`get(key)` as an integer; the largest element of an array."""
        value = self.get(key)
        if isinstance(value, list):
            value = max((v for v in value if isinstance(v, int)), default=None)
        return value if isinstance(value, int) and value >= 0 else default

    def per_layer(self, key: str, default: int = 0) -> list[int]:
        """`get(key)` for each layer, whether the file gives one number or one per layer."""
        value = self.get(key)
        if isinstance(value, list):
            numbers = [int(v) if isinstance(v, int | float) else default for v in value]
            return [*numbers, *[default] * self.layers][: self.layers]
        return [int(value) if isinstance(value, int) else default] * self.layers


@dataclass(frozen=True)
class Omitted:
    """A long array or string of which only the length was kept."""

    length: int

    def __len__(self) -> int:
        return self.length


def read_header(path: str | os.PathLike[str], *, complete: bool = True) -> GgufHeader:
    """Read the header of the GGUF file at `path`, and of the other files of a split model.

    With `complete`, every tensor must lie within its file. Raises ModelError when the file is
    missing, not GGUF, damaged or truncated.
    """
    first = Path(path)
    header = _read_one(first, complete)
    count = header.metadata.get("split.count", 1)
    if not isinstance(count, int) or count <= 1:
        return header
    match = _SPLIT.match(first.name)
    if match is None or int(match["count"]) != count or int(match["number"]) != 1:
        raise ModelError(
            f"{first} is one of {count} files of a split model",
            hint=f"Give the first one (…-00001-of-{count:05d}.gguf), with the others next to it.",
        )
    parts = [first.with_name(f"{match['stem']}-{n:05d}-of-{count:05d}.gguf") for n in _upto(count)]
    headers = [header, *(_read_one(part, complete) for part in parts[1:])]
    experts: Counter[int] = Counter()
    types: Counter[str] = Counter()
    contents: dict[str, Counter[str]] = {}
    for one in headers:
        experts.update(one.expert_bytes)
        types.update(one.types)
        for name, sizes in one.parts.items():
            contents.setdefault(name, Counter()).update(sizes)
    return GgufHeader(
        metadata=header.metadata,
        tensors=sum(one.tensors for one in headers),
        parameters=sum(one.parameters for one in headers),
        weights=sum(one.weights for one in headers),
        expert_bytes=dict(experts),
        types=dict(types),
        size=sum(one.size for one in headers),
        files=tuple(str(part) for part in parts),
        parts=_tie(contents),
    )


def require_part(path: Path, number: int, count: int) -> None:
    """Raise ModelError unless the file is that part (from 1) of a split model, and whole.

    The first one also says which model it is.
    """
    header = _read_one(path, True)
    if header.metadata.get("split.count", 1) != count:
        raise ModelError(f"{path} is not one of {count} files of a split model")
    if header.metadata.get("split.no", number - 1) != number - 1:
        raise ModelError(f"{path} is another part than number {number} of {count}")
    if number == 1 and header.tensors:
        require_supported(header, path)


def require_supported(header: GgufHeader, path: str | os.PathLike[str]) -> None:
    """Raise ModelError unless the file is a text model of an architecture llama.cpp knows."""
    kind = header.metadata.get("general.type", "model")
    if kind != "model":
        raise ModelError(
            f"{path} is not a whole model but a part of one ({str(kind)[:40]!r})",
            hint="Give the file of the model itself.",
        )
    name = header.architecture
    if name in NOT_FOR_TEXT:
        raise ModelError(f"{path} is a model ({name}) that cannot hold a conversation")
    if name not in ARCHITECTURES:
        raise ModelError(
            f"{path} has the architecture {name[:60]!r}, which this llama.cpp does not know",
            hint="`laguna models list` shows models that work; a newer laguna may know this one.",
        )
    if not header.tensors or not header.layers:
        raise ModelError(f"{path} has no layers", hint="Give the file of the model itself.")


def _tie(parts: dict[str, Counter[str]]) -> dict[str, Counter[str]]:
    """Without an output matrix, the embedding is one."""
    if "output" not in parts and "embedding" in parts:
        parts["output"] = parts.pop("embedding")
    return parts


def _upto(count: int) -> range:
    if count > 999:
        raise ModelError(f"the model is split into {count} files; laguna reads at most 999")
    return range(1, count + 1)


def _read_one(path: Path, complete: bool) -> GgufHeader:
    try:
        with open(path, "rb", opener=_open_nonblocking) as file:
            info = os.fstat(file.fileno())
            if not stat.S_ISREG(info.st_mode):
                raise ModelError(f"{path} is not a file", hint="Give the path of a GGUF file.")
            return _Reader(file, info.st_size).header(str(path), complete)
    except _FormatError as error:
        raise ModelError(f"{path} {error}") from None
    except IsADirectoryError:
        raise ModelError(f"{path} is a directory", hint="Give the path of a GGUF file.") from None
    except FileNotFoundError:
        raise ModelError(f"{path} does not exist") from None
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from None


def _open_nonblocking(path: str, flags: int) -> int:
    # Opening a FIFO would block until another process writes to it.
    return os.open(path, flags | os.O_NONBLOCK)


class _Reader:
    """A cursor over the header that buffers one chunk and checks every length."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = size
        self._limit = min(size, _MAX_HEADER)
        self._buffer = b""
        self._at = 0
        self._base = 0

    @property
    def position(self) -> int:
        return self._base + self._at

    def header(self, path: str, complete: bool) -> GgufHeader:
        if self._size < 4 or self.take(4) != MAGIC:
            raise _FormatError("is not a GGUF file")
        version = self.number(_U32)
        if version & 0xFFFF == 0:
            raise _FormatError("is a big-endian GGUF file, which this machine cannot use")
        if version not in (2, 3):
            raise _FormatError(f"is a GGUF file of version {version}; laguna reads 2 and 3")
        tensors, keys = self.number(_U64), self.number(_U64)
        if tensors > _MAX_TENSORS or keys > _MAX_KEYS:
            raise _FormatError(f"is damaged: it claims {tensors} tensors and {keys} metadata keys")
        metadata: dict[str, Any] = {}
        for _ in range(keys):
            name = self.text(_MAX_KEY)
            metadata[name] = self.value(self.number(_U32))
        return self._directory(path, metadata, tensors, complete)

    def _directory(
        self, path: str, metadata: dict[str, Any], tensors: int, complete: bool
    ) -> GgufHeader:
        parameters = weights = end = 0
        experts: Counter[int] = Counter()
        types: Counter[str] = Counter()
        parts: dict[str, Counter[str]] = {}
        for _ in range(tensors):
            name = self.text(_MAX_KEY)
            dimensions = self.number(_U32)
            if dimensions > 8:
                raise _FormatError(f"is damaged: tensor {name[:60]!r} has {dimensions} dimensions")
            shape = [self.number(_U64) for _ in range(dimensions)]
            kind, offset = self.number(_U32), self.number(_U64)
            elements = math.prod(shape)
            if elements > 1 << 50 or offset > 1 << 60:
                raise _FormatError(f"is damaged: tensor {name[:60]!r} has {elements} elements")
            size = _tensor_bytes(name, kind, shape, elements)
            parameters += elements
            weights += size
            end = max(end, offset + size)
            types[TENSOR_TYPES[kind].name] += 1
            match = _EXPERTS.match(name)
            if match:
                experts[int(match[1])] += size
            part = "experts" if match else _PARTS.get(name, "rest")
            parts.setdefault(part, Counter())[TENSOR_TYPES[kind].name] += size
        alignment = metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or not 0 < alignment <= 1 << 20:
            raise _FormatError(f"is damaged: its alignment is {str(alignment)[:20]}")
        wanted = -(-self.position // alignment) * alignment + end if end else self.position
        if complete and wanted > self._size:
            raise _FormatError(
                f"is truncated: it has {gigabytes(self._size)} of {gigabytes(wanted)}; "
                "fetch it again"
            )
        return GgufHeader(
            metadata=metadata,
            tensors=tensors,
            parameters=parameters,
            weights=weights,
            expert_bytes=dict(experts),
            types=dict(types),
            size=self._size,
            files=(path,),
            parts=parts if "split.count" in metadata else _tie(parts),
        )

    def take(self, count: int) -> bytes:
        """The next `count` bytes; callers ask for at most _KEPT_STRING."""
        self.require(count)
        have = len(self._buffer) - self._at
        if count > have:
            rest = self._buffer[self._at :]
            self._base += self._at
            self._buffer = rest + self._file.read(max(_CHUNK, count) - have)
            self._at = 0
            if count > len(self._buffer):
                raise _FormatError("was truncated while it was read")
        start, self._at = self._at, self._at + count
        return self._buffer[start : self._at]

    def skip(self, count: int) -> None:
        self.require(count)
        have = len(self._buffer) - self._at
        if count <= have:
            self._at += count
            return
        target = self.position + count
        self._file.seek(target)
        self._base, self._buffer, self._at = target, b"", 0

    def require(self, count: int) -> None:
        if self.position + count <= self._limit:
            return
        if self._limit < self._size:
            raise _FormatError("is damaged: its header is too long")
        raise _FormatError(
            f"is truncated or damaged: its header continues past its {self._size} bytes"
        )

    def number(self, form: struct.Struct) -> Any:
        return form.unpack(self.take(form.size))[0]

    def text(self, limit: int) -> str:
        length = self.number(_U64)
        if length > limit:
            raise _FormatError(f"is damaged: it has a name of {length} bytes")
        return self.take(length).decode("utf-8", "replace")

    def value(self, kind: int, depth: int = 0) -> Any:
        if kind in _SCALARS:
            return self.number(_SCALARS[kind])
        if kind == _STRING:
            length = self.number(_U64)
            if length > _KEPT_STRING:
                self.skip(length)
                return Omitted(length)
            return self.take(length).decode("utf-8", "replace")
        if kind == _ARRAY and depth < 2:
            return self._array(self.number(_U32), self.number(_U64), depth)
        raise _FormatError(f"is damaged: it has a value of the unknown type {kind}")

    def _array(self, kind: int, count: int, depth: int) -> Any:
        form = _SCALARS.get(kind)
        self.require(count * (form.size if form else 8 if kind == _STRING else 12))
        if form and count > _KEPT_ARRAY:
            self.skip(count * form.size)
            return Omitted(count)
        if form:
            data = self.take(count * form.size)
            return [value for (value,) in form.iter_unpack(data)]
        if kind == _STRING and count > _KEPT_ARRAY:
            self._skip_strings(count)
            return Omitted(count)
        if kind == _ARRAY and count > 64:
            raise _FormatError(f"is damaged: it has an array of {count} arrays")
        return [self.value(kind, depth + 1) for _ in range(count)]

    def _skip_strings(self, count: int) -> None:
        # A vocabulary has 100,000 entries and more: this loop dominates the time to read a header.
        unpack = _U64.unpack_from
        remaining = count
        while remaining:
            buffer, at = self._buffer, self._at
            end = len(buffer) - 8
            while remaining and at <= end:
                after = at + 8 + unpack(buffer, at)[0]
                if after > len(buffer):
                    break
                at = after
                remaining -= 1
            self._at = at
            if remaining:
                self.skip(self.number(_U64))
                remaining -= 1


def _tensor_bytes(name: str, kind: int, shape: list[int], elements: int) -> int:
    known = TENSOR_TYPES.get(kind)
    if known is None:
        why = "no longer reads" if kind in REMOVED_TENSOR_TYPES else "does not know"
        raise _FormatError(f"has tensors of a type ({kind}) that this llama.cpp {why}")
    if shape and shape[0] % known.block:
        raise _FormatError(
            f"is damaged: tensor {name[:60]!r} has rows of {shape[0]} elements in blocks of "
            f"{known.block}"
        )
    return elements // known.block * known.size
