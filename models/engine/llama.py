"""llama.cpp's low-level API as Python objects: a loaded model, its vocabulary, one context.

Only the engine process imports this module, and only its modules import `llama_cpp`.
"""

# llama_cpp does not annotate the conversions that ctypes makes, nor that its handles are optional.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false

from __future__ import annotations

import ctypes
import os
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llama_cpp.llama_cpp as lib

from laguna_agent.errors import ModelError
from laguna_agent.models.engine.weight_placement import expert_overrides, tensor_split

SEQUENCE = 0
_SWA_ONLY = 1
_KV_TYPES = {"f16": 1, "q8_0": 8, "q4_0": 2}
_LOAD_NONE, _LOAD_MMAP = 0, 1


class DecodeAbortedError(Exception):
    """`Context.abort` was called during a decode; completed micro-batches are kept."""


@dataclass(frozen=True)
class LoadOptions:
    """How the weights are loaded. `gpu_layers` None is all; the output matrix goes with them."""

    gpu_layers: int | None = None
    cpu_experts: int = 0
    split: tuple[int, ...] = ()
    """Layers on each card, the output matrix counted as one; llama.cpp decides when empty."""
    mmap: bool = True
    repack: bool = True
    vocabulary_only: bool = False
    """Read no weights: enough to tokenise."""


@dataclass(frozen=True)
class ContextOptions:
    """How the context is created. `flash_attention` None lets llama.cpp decide."""

    context: int
    batch: int = 512
    micro_batch: int = 512
    threads: int = 1
    threads_batch: int = 1
    flash_attention: bool | None = None
    kv_type: str = "f16"
    sequences: int = 1
    """Sequences that share the cells, for a `SharedContext`."""
    whole: bool = False
    """Whether layers with a window keep what has left it, so that a sequence can begin anywhere."""


_kept: list[Any] = []
"""Objects that llama.cpp keeps pointers to."""


def redirect_log(path: Path) -> None:
    """Append all output of llama.cpp and ggml to a file. Call it before anything is loaded."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(level: int, text: bytes, _: Any) -> None:
        if level != 4:
            os.write(descriptor, text)

    callback = lib.llama_log_callback(write)
    _kept.append(callback)
    lib.llama_log_set(callback, ctypes.c_void_p(0))


def build_info() -> str:
    """Version of the library and the instruction sets it uses: what a KV state depends on."""
    import importlib.metadata

    version = importlib.metadata.version("llama-cpp-python")
    features = lib.llama_print_system_info().decode("ascii", "replace")
    return f"llama-cpp-python {version} ({features.strip(' |')})"


def gpu_backend() -> bool:
    """True when llama.cpp was built for a GPU and has found one."""
    return bool(lib.llama_supports_gpu_offload())


class Model:
    """Weights and vocabulary. Vocabulary methods may be called from any thread."""

    def __init__(
        self,
        path: Path,
        options: LoadOptions,
        on_progress: Callable[[float], None] | None = None,
    ) -> None:
        self.path = path
        params = lib.llama_model_default_params()
        layers = options.gpu_layers
        # llama.cpp counts the output matrix as a layer.
        params.n_gpu_layers = 999 if layers is None else layers + 1 if layers else 0
        split = tensor_split(options.split)
        if split is not None:
            params.tensor_split = split
        params.load_mode = _LOAD_MMAP if options.mmap else _LOAD_NONE
        params.use_extra_bufts = options.repack
        params.vocab_only = options.vocabulary_only

        def progress(fraction: float, _: Any) -> bool:
            if on_progress:
                on_progress(fraction)
            return True

        params.progress_callback = callback = lib.llama_progress_callback(progress)
        overrides = expert_overrides(options.cpu_experts)
        if overrides is not None:
            params.tensor_buft_overrides = ctypes.cast(overrides, ctypes.c_void_p)
        lib.llama_backend_init()
        self.handle = lib.llama_model_load_from_file(os.fsencode(path), params)
        del callback, overrides, split
        if not self.handle:
            raise ModelError(
                f"llama.cpp cannot load {path}", hint="Its log says why; see `laguna doctor`."
            )
        self.vocab = lib.llama_model_get_vocab(self.handle)
        self.vocabulary = int(lib.llama_vocab_n_tokens(self.vocab))
        self.window = int(lib.llama_model_n_swa(self.handle))
        self.recurrent = bool(
            lib.llama_model_is_recurrent(self.handle) or lib.llama_model_is_hybrid(self.handle)
        )
        """Whether it keeps a state that holds for the end of a sequence only."""
        self.train_context = int(lib.llama_model_n_ctx_train(self.handle))
        self.parameters = int(lib.llama_model_n_params(self.handle))
        self.size = int(lib.llama_model_size(self.handle))
        self.metadata = self._metadata()
        self.architecture = self.metadata.get("general.architecture", "")
        template = lib.llama_model_chat_template(self.handle, None)
        self.template = template.decode("utf-8", "replace") if template else None
        self._pieces: dict[int, bytes] = {}

    def _metadata(self) -> dict[str, str]:
        result = {}
        size = 1 << 16
        buffer = ctypes.create_string_buffer(size)
        for index in range(lib.llama_model_meta_count(self.handle)):
            lib.llama_model_meta_key_by_index(self.handle, index, buffer, size)
            key = buffer.value.decode("utf-8", "replace")
            if key in ("tokenizer.chat_template", "tokenizer.ggml.tokens"):
                continue
            length = lib.llama_model_meta_val_str_by_index(self.handle, index, buffer, size)
            if length < 4096:
                result[key] = buffer.value.decode("utf-8", "replace")
        return result

    def number(self, key: str) -> float | None:
        """A number from the metadata of the architecture; None when it has none."""
        try:
            return float(self.metadata[f"{self.architecture}.{key}"])
        except (KeyError, ValueError):
            return None

    @property
    def bos(self) -> int:
        """Beginning-of-sequence token, -1 when there is none."""
        return int(lib.llama_vocab_bos(self.vocab))

    @property
    def eos(self) -> int:
        """End-of-sequence token, -1 when there is none."""
        return int(lib.llama_vocab_eos(self.vocab))

    def is_end(self, token: int) -> bool:
        """True for end-of-generation tokens."""
        return bool(lib.llama_vocab_is_eog(self.vocab, token))

    def tokenize(self, text: str, *, special: bool) -> array[int]:
        """Token ids of a text, without added special tokens; `special` parses control tokens."""
        data = encode(text)
        room = len(data) + 8
        while True:
            tokens = (lib.llama_token * room)()
            count = lib.llama_tokenize(self.vocab, data, len(data), tokens, room, False, special)
            if count >= 0:
                return array("i", memoryview(tokens).cast("B")[: 4 * count].tobytes())
            room = -count

    def token_of(self, text: str) -> int | None:
        """The single token that spells `text`; None when there is none."""
        tokens = self.tokenize(text, special=True)
        return tokens[0] if len(tokens) == 1 else None

    def piece(self, token: int) -> bytes:
        """Bytes of a token, control tokens spelled out."""
        known = self._pieces.get(token)
        if known is not None:
            return known
        size = 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            length = lib.llama_token_to_piece(self.vocab, token, buffer, size, 0, True)
            if length >= 0:
                break
            size = -length
        data = buffer.raw[:length]
        self._pieces[token] = data
        return data

    def close(self) -> None:
        """Free the weights."""
        if self.handle:
            lib.llama_model_free(self.handle)
            self.handle = None


class Context:
    """A KV cache for one sequence and the graph that fills it. Used by one thread at a time.

    `on_tensor` is a callback of `tensor_reader`; without one, llama.cpp calls nothing.
    """

    def __init__(self, model: Model, options: ContextOptions, on_tensor: Any = None) -> None:
        self.model = model
        self.options = options
        params = lib.llama_context_default_params()
        params.n_ctx = options.context
        params.n_batch = max(options.batch, options.micro_batch)
        params.n_ubatch = options.micro_batch
        params.n_seq_max = options.sequences
        params.kv_unified = options.sequences > 1
        params.n_threads = options.threads
        params.n_threads_batch = options.threads_batch
        params.swa_full = options.whole
        params.type_k = params.type_v = _KV_TYPES[options.kv_type]
        flash = options.flash_attention
        params.flash_attn_type = -1 if flash is None else int(flash)
        beta = model.number("rope.scaling.yarn_beta_fast")
        if beta is not None:
            params.yarn_beta_fast = beta
        # Called for every node of the graph, so it must not be Python: `strlen` of a buffer that
        # stays empty until decoding is to be aborted.
        self._abort = ctypes.create_string_buffer(8)
        strlen = ctypes.cast(ctypes.CDLL(None).strlen, ctypes.c_void_p)
        params.abort_callback = lib.ggml_abort_callback(strlen.value or 0)
        params.abort_callback_data = ctypes.cast(self._abort, ctypes.c_void_p)
        if on_tensor is not None:
            self._on_tensor = params.cb_eval = on_tensor
        self.handle = lib.llama_init_from_model(model.handle, params)
        if not self.handle:
            raise ModelError(
                f"there is not enough memory for a context of {options.context} tokens",
                hint="Set `engine.context` lower, or `engine.kv_type` to q8_0.",
            )
        self.size = int(lib.llama_n_ctx(self.handle))
        self.micro_batch = int(lib.llama_n_ubatch(self.handle))
        self._memory = lib.llama_get_memory(self.handle)
        self._batch = lib.llama_batch_init(params.n_batch, 0, 1)
        batch = self._batch
        self._tokens = _address(batch.token)
        for index in range(params.n_batch):
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = SEQUENCE

    def set_threads(self, decode: int, batch: int) -> None:
        """Set the threads for single tokens and for batches."""
        lib.llama_set_n_threads(self.handle, decode, batch)

    def abort(self) -> None:
        """Abort the current decode, from any thread; it raises DecodeAbortedError."""
        self._abort[0] = b"x"

    def clear_abort(self) -> None:
        """Allow decoding again."""
        self._abort[0] = b"\0"

    def decode(self, tokens: Sequence[int], start: int, *, every_row: bool = False) -> None:
        """Decode tokens at positions from `start`, with logits of the last row or of all."""
        count = len(tokens)
        batch = self._batch
        if count == 1:
            batch.token[0] = tokens[0]
            batch.pos[0] = start
        else:
            data = tokens if isinstance(tokens, array) else array("i", tokens)
            ctypes.memmove(self._tokens, data.tobytes(), 4 * count)
            positions = array("i", range(start, start + count))
            ctypes.memmove(_address(batch.pos), positions.tobytes(), 4 * count)
            ctypes.memset(_address(batch.logits), 1 if every_row else 0, count)
        batch.logits[count - 1] = 1
        batch.n_tokens = count
        code = lib.llama_decode(self.handle, batch)
        if code == 2:
            raise DecodeAbortedError
        lib.llama_synchronize(self.handle)
        if code != 0:
            raise ModelError(f"llama.cpp cannot decode a batch of {count} tokens (code {code})")

    def logits(self, row: int = -1) -> Any:
        """Pointer to the logits of a row of the last batch: `vocabulary` floats."""
        return lib.llama_get_logits_ith(self.handle, row)

    # --- the KV cache -----------------------------------------------------------------------

    def first_position(self) -> int:
        """Smallest position that every layer still holds, -1 when empty."""
        return int(lib.llama_memory_seq_pos_min(self._memory, SEQUENCE))

    def last_position(self) -> int:
        """Largest position held, -1 when empty."""
        return int(lib.llama_memory_seq_pos_max(self._memory, SEQUENCE))

    def trim(self, length: int) -> None:
        """Drop every position from `length` on. Does not check that the rest is usable."""
        lib.llama_memory_seq_rm(self._memory, SEQUENCE, length, -1)

    def clear(self) -> None:
        """Drop everything."""
        lib.llama_memory_clear(self._memory, False)

    def state_size(self, *, window_only: bool) -> int:
        """Bytes that `save_state` returns."""
        flags = _SWA_ONLY if window_only else 0
        return int(lib.llama_state_seq_get_size_ext(self.handle, SEQUENCE, flags))

    def save_state(self, *, window_only: bool) -> bytearray:
        """The cells that the next token needs, of the window layers or of all layers."""
        flags = _SWA_ONLY if window_only else 0
        size = self.state_size(window_only=window_only)
        data = bytearray(size)
        view = (ctypes.c_uint8 * size).from_buffer(data)
        written = lib.llama_state_seq_get_data_ext(self.handle, view, size, SEQUENCE, flags)
        del view
        if written != size:
            raise ModelError(f"llama.cpp saved {written} of {size} bytes of its state")
        return data

    def load_state(self, data: bytearray | memoryview, *, window_only: bool) -> bool:
        """Replace the cells with saved ones; False when llama.cpp refuses them."""
        flags = _SWA_ONLY if window_only else 0
        view = (ctypes.c_uint8 * len(data)).from_buffer(data)
        read = lib.llama_state_seq_set_data_ext(self.handle, view, len(data), SEQUENCE, flags)
        del view
        return bool(read)

    def close(self) -> None:
        """Free the context."""
        if self.handle:
            lib.llama_batch_free(self._batch)
            lib.llama_free(self.handle)
            self.handle = None


def encode(text: str) -> bytes:
    """UTF-8 bytes. Surrogate escapes become their bytes again, other surrogates `?`."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")


def _address(pointer: Any) -> int:
    return ctypes.cast(pointer, ctypes.c_void_p).value or 0
