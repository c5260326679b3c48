"""Measures how fast llama.cpp's kernels are on the devices of this machine, in a few seconds.

Writing a token is bound by the memory that weights are read from, reading a prompt by arithmetic.
So it measures, for each type of weights: a row (one token against a matrix that no cache holds), a
batch of 512 tokens, and a batch that is spread over experts; then attention at a depth, and a tiny
model for what every layer costs besides. From these the speed of any model follows: `sizing.speed`.

Times are medians: of wall times on a quiet machine, on a busy one of the processor time of a
thread, which other programs lengthen little.

It runs in a process of its own, so that a kernel that fails ends nothing else:

    python -m laguna_agent.models.engine.kernel_probe TYPE…

prints a line of JSON for each device, the fields of `Rates`, the processor first.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import statistics
import sys
import tempfile
import time
from array import array
from collections.abc import Callable, Iterable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from laguna_agent.models.engine.spawn import engine_environment
from laguna_agent.models.ggml import TENSOR_TYPES
from laguna_agent.models.sizing.devices import device_handles, function, libraries
from laguna_agent.models.sizing.hardware import busy, physical_cores
from laguna_agent.models.sizing.speed import Rates

_F32, _F16, _I32, _Q8_0 = 0, 1, 26, 8
_STREAM = 192 << 20
"""Bytes of weights that a row is measured with: more than caches hold."""
_BATCH, _DEPTH, _HEAD, _HEADS, _KV_HEADS = 512, 4096, 128, 16, 4
_EXPERTS, _PART = 64, 512
_FEW, _MANY = 2, 8
"""Experts that each token of a batch chooses, so that each expert gets 16 tokens as in Laguna XS;
and those that a single token chooses."""
_ROWS, _COLUMNS = 2048, 2048
_HANDLE = ctypes.c_void_p
_FILL = 0x11
"""Makes plausible numbers of every type of weights."""


class _Parameters(ctypes.Structure):
    _fields_ = (("size", ctypes.c_size_t), ("buffer", _HANDLE), ("no_alloc", ctypes.c_bool))


class Device:
    """A device and the graphs that are computed on it."""

    def __init__(self, handle: int, threads: int) -> None:
        _, base = libraries()
        number, real = ctypes.c_int, ctypes.c_float

        def bound(name: str, result: Any, *arguments: Any) -> Any:
            return function(base, name, result, *arguments)

        self._init = bound("ggml_init", _HANDLE, _Parameters)
        self._free = bound("ggml_free", None, _HANDLE)
        sizes = ctypes.POINTER(ctypes.c_int64)
        self._tensor = bound("ggml_new_tensor", _HANDLE, _HANDLE, number, number, sizes)
        self._graph = bound("ggml_new_graph", _HANDLE, _HANDLE)
        self._expand = bound("ggml_build_forward_expand", None, _HANDLE, _HANDLE)
        self._allocate = bound("ggml_backend_alloc_ctx_tensors", _HANDLE, _HANDLE, _HANDLE)
        self._compute = bound("ggml_backend_graph_compute", number, _HANDLE, _HANDLE)
        self._clear = bound("ggml_backend_buffer_clear", None, _HANDLE, ctypes.c_uint8)
        self._release = bound("ggml_backend_buffer_free", None, _HANDLE)
        size = ctypes.c_size_t
        self._set = bound("ggml_backend_tensor_set", None, _HANDLE, _HANDLE, size, size)
        self.multiply = bound("ggml_mul_mat", _HANDLE, _HANDLE, _HANDLE, _HANDLE)
        self.multiply_some = bound("ggml_mul_mat_id", _HANDLE, *[_HANDLE] * 4)
        self.flash = bound("ggml_flash_attn_ext", _HANDLE, *[_HANDLE] * 5, real, real, real)
        self.softmax = bound("ggml_soft_max_ext", _HANDLE, *[_HANDLE] * 3, real, real)
        kind = bound("ggml_backend_dev_type", number, _HANDLE)(handle)
        self.processor = kind == 0
        self.usable = kind in (0, 1, 2)
        self._threads = threads if self.processor else 0
        if not self.usable:
            return
        self._backend = bound("ggml_backend_dev_init", _HANDLE, _HANDLE, ctypes.c_char_p)(
            handle, None
        )
        if self.processor:
            registry = bound("ggml_backend_dev_backend_reg", _HANDLE, _HANDLE)(handle)
            find = bound("ggml_backend_reg_get_proc_address", _HANDLE, _HANDLE, ctypes.c_char_p)
            address = find(registry, b"ggml_backend_set_n_threads")
            ctypes.CFUNCTYPE(None, _HANDLE, number)(address)(self._backend, threads)

    def seconds(
        self, build: Callable[[Graph], Iterable[int]], times: int, *, loaded: bool
    ) -> float:
        """The usual time to compute what `build` builds, of `times` measured."""
        context = self._init(_Parameters(1 << 20, None, True))
        graph = Graph(self, context)
        nodes = list(build(graph))
        computed = self._graph(context)
        for node in nodes:
            self._expand(computed, node)
        buffer = self._allocate(context, self._backend)
        if not buffer:
            self._free(context)
            raise MemoryError
        self._clear(buffer, _FILL)
        found = []
        for number in range(times + 1):
            for ids, count, used in graph.choices:
                chosen = [n for _ in range(count) for n in random.sample(range(_EXPERTS), used)]
                data = array("i", chosen)
                self._set(ids, data.buffer_info()[0], 0, 4 * len(data))
            clock = Stopwatch(self._threads if loaded else 0)
            self._compute(self._backend, computed)
            if number:  # the first one fetches pages and starts threads
                found.append(clock.seconds())
        self._release(buffer)
        self._free(context)
        return statistics.median(found)

    def tensor(self, context: int, kind: int, *sizes: int) -> int:
        """A new tensor of a context."""
        return int(self._tensor(context, kind, len(sizes), (ctypes.c_int64 * len(sizes))(*sizes)))


class Stopwatch:
    """Measures from when it is made: wall time, or with `threads` the processor time of each thread
    where that is shorter."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._began = time.perf_counter(), time.process_time()

    def seconds(self) -> float:
        """Seconds so far."""
        wall, used = time.perf_counter() - self._began[0], time.process_time() - self._began[1]
        return min(wall, used / self._threads) if self._threads else wall


class Graph:
    """What is being built: tensors, and the choices of experts to draw anew each time."""

    def __init__(self, device: Device, context: int) -> None:
        self.device, self.context = device, context
        self.choices: list[tuple[int, int, int]] = []

    def new(self, kind: int, *sizes: int) -> int:
        """A new tensor."""
        return self.device.tensor(self.context, kind, *sizes)

    def product(self, kind: int, columns: int, rows: int, tokens: int) -> int:
        """A matrix of weights times `tokens` columns."""
        weights, given = self.new(kind, columns, rows), self.new(_F32, columns, tokens)
        return int(self.device.multiply(self.context, weights, given))

    def spread(self, kind: int, columns: int, rows: int, tokens: int, used: int) -> int:
        """The same with the matrices of experts, of which each token chooses `used`."""
        weights = self.new(kind, columns, rows, _EXPERTS)
        given, ids = self.new(_F32, columns, 1, tokens), self.new(_I32, used, tokens)
        self.choices.append((ids, tokens, used))
        return int(self.device.multiply_some(self.context, weights, given, ids))

    def attention(self, kind: int, tokens: int, *, flash: bool) -> int:
        """Attention of `tokens` tokens to all cells of a cache."""
        query = self.new(_F32, _HEAD, tokens, _HEADS)
        keys = self.new(kind, _HEAD, _DEPTH, _KV_HEADS)
        scale = _HEAD**-0.5
        if flash:
            values, mask = self.new(kind, _HEAD, _DEPTH, _KV_HEADS), self.new(_F16, _DEPTH, tokens)
            return int(self.device.flash(self.context, query, keys, values, mask, scale, 0.0, 0.0))
        values, mask = self.new(kind, _DEPTH, _HEAD, _KV_HEADS), self.new(_F32, _DEPTH, tokens)
        scores = self.device.multiply(self.context, keys, query)
        weights = self.device.softmax(self.context, scores, mask, scale, 0.0)
        return int(self.device.multiply(self.context, values, weights))


def measure(device: Device, types: Iterable[str], *, loaded: bool) -> Rates:
    """The rates of a device; `loaded` when other programs keep the machine busy."""
    numbers = {kind.name: number for number, kind in TENSOR_TYPES.items()}
    rates = Rates(measured=not loaded)

    def row(graph: Graph) -> list[int]:
        return [graph.product(number, _COLUMNS, _ROWS, 1) for _ in range(copies)]

    def batch(graph: Graph) -> list[int]:
        return [graph.product(number, _COLUMNS, _ROWS, _BATCH)]

    def experts(graph: Graph) -> list[int]:
        shapes = ((_ROWS, _PART), (_PART, _ROWS))
        return [graph.spread(number, *shape, _BATCH, _FEW) for shape in shapes]

    def expert_row(graph: Graph) -> list[int]:
        shapes = ((_ROWS, _PART), (_PART, _ROWS)) * 2
        return [graph.spread(number, *shape, 1, _MANY) for shape in shapes]

    for name in types:
        number = numbers[name]
        matrix = _bytes(number, _ROWS * _COLUMNS)
        copies = -(-_STREAM // matrix)
        rates.row[name] = copies * matrix / device.seconds(row, 7, loaded=loaded)
        work = 2 * _ROWS * _COLUMNS * _BATCH
        rates.batch[name] = work / device.seconds(batch, 3, loaded=loaded)
        work = 2 * 2 * _ROWS * _PART * _FEW * _BATCH
        rates.experts[name] = work / device.seconds(experts, 3, loaded=loaded)
        read = 4 * _MANY * _bytes(number, _ROWS * _PART)
        rates.expert_row[name] = read / device.seconds(expert_row, 15, loaded=loaded)
    for name, cells, flash in (
        ("flash f16", _F16, True),
        ("plain f16", _F16, False),
        ("flash q8_0", _Q8_0, True),
    ):
        for tokens, copies, found in ((1, 8, rates.attend_row), (64, 1, rates.attend_batch)):
            work = _HEADS * _HEAD * _DEPTH * tokens * copies
            some = partial(_attention, cells=cells, tokens=tokens, flash=flash, copies=copies)
            found[name] = device.seconds(some, 5, loaded=loaded) / work
    return rates


def _attention(graph: Graph, *, cells: int, tokens: int, flash: bool, copies: int) -> list[int]:
    return [graph.attention(cells, tokens, flash=flash) for _ in range(copies)]


def _bytes(number: int, elements: int) -> int:
    kind = TENSOR_TYPES[number]
    return elements // kind.block * kind.size


def measure_rest(rates: Rates, *, layers: int | None, loaded: bool, threads: int) -> None:
    """What a layer costs besides what the kernels take, with a tiny model; `layers` 0 computes it
    on the processor."""
    from laguna_agent.models.engine.llama import (
        Context,
        ContextOptions,
        LoadOptions,
        Model,
        redirect_log,
    )
    from laguna_agent.models.engine.synthetic import TINY, write_model
    from laguna_agent.models.gguf import read_header
    from laguna_agent.models.sizing.speed import kernel_seconds

    redirect_log(Path(os.devnull))
    with tempfile.TemporaryDirectory(prefix="laguna-measure-") as directory:
        path = Path(directory, "tiny.gguf")
        with path.open("wb") as file:
            write_model(file, TINY)
        header = read_header(path)
        context = Context(
            Model(path, LoadOptions(gpu_layers=layers, repack=False)),
            ContextOptions(2048, _BATCH, _BATCH, threads, threads, flash_attention=True),
        )
    share = threads if loaded and layers == 0 else 0
    prompt = array("i", range(100, 100 + _BATCH))
    rows, batches = [], []
    for _ in range(4):
        context.clear()
        clock = Stopwatch(share)
        context.decode(prompt, 0)
        batches.append(clock.seconds())
    if share:
        # Threads that wait for others that do not run take most of the time of so small a model.
        context.set_threads(1, 1)
    for index in range(64):
        clock = Stopwatch(min(1, share))
        context.decode([200 + index], _BATCH + index)
        rows.append(clock.seconds())
    context.close()
    known = kernel_seconds(header, rates, _BATCH, 1, "flash f16")
    rates.layer = max(0.0, statistics.median(rows) - known) / header.layers
    known = kernel_seconds(header, rates, _BATCH // 2, _BATCH, "flash f16")
    rates.token = max(0.0, statistics.median(batches) - known) / (header.layers * _BATCH)


def main(types: list[str]) -> None:
    """Measure all devices; print their rates. The tiny model's types are always among them."""
    types = sorted({*types, "F32", "Q4_K", "Q6_K"})
    os.environ.update(engine_environment())  # OpenMP reads it when ggml is loaded, from here on
    threads = physical_cores()
    loaded = busy(threads)
    devices = [
        one for one in (Device(handle, threads) for handle in device_handles()) if one.usable
    ]
    devices.sort(key=lambda one: not one.processor)
    for device in devices:
        rates = measure(device, types, loaded=loaded)
        measure_rest(rates, layers=0 if device.processor else None, loaded=loaded, threads=threads)
        sys.stdout.write(json.dumps(asdict(rates)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
