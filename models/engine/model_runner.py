"""A loaded model in the engine process: how it is laid out, tuned, run, and its state saved.

Longer than most modules: loading, measuring and requests change the same model and context.
"""

from __future__ import annotations

import threading
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from laguna_agent.config import EngineConfig
from laguna_agent.errors import ModelError
from laguna_agent.models.engine import wire
from laguna_agent.models.engine.attention_probe import StoppedError, flash_gain
from laguna_agent.models.engine.baseline import Baseline
from laguna_agent.models.engine.batch_size import BatchSizer
from laguna_agent.models.engine.cache import Cache, CacheLimits
from laguna_agent.models.engine.examination import Examination, Report
from laguna_agent.models.engine.generation import Generation, Sinks
from laguna_agent.models.engine.interface import EngineRequest
from laguna_agent.models.engine.llama import (
    Context,
    ContextOptions,
    LoadOptions,
    Model,
    build_info,
    gpu_backend,
)
from laguna_agent.models.engine.model_facts import check_ends, describe, state_key
from laguna_agent.models.engine.prompt_lookup import LONGEST
from laguna_agent.models.engine.quiet_moments import QuietMoments
from laguna_agent.models.engine.repack_probe import Gain
from laguna_agent.models.engine.scoring import Scoring
from laguna_agent.models.engine.side_by_side import SideBySide, affordable
from laguna_agent.models.engine.snapshots import SnapshotStore
from laguna_agent.models.engine.tuning import (
    FLASH_QUIET_S,
    FLASH_S,
    SLOWER,
    choose_layout,
    measure,
    measure_exact,
    measured_gain,
    repacked_is_faster,
)
from laguna_agent.models.engine.tuning_store import Tuning, fingerprint
from laguna_agent.models.engine.tuning_store import layout as tuning_layout
from laguna_agent.models.engine.tuning_store import load as load_tuning
from laguna_agent.models.engine.tuning_store import store as store_tuning
from laguna_agent.models.engine.variations import Variations
from laguna_agent.models.gguf import read_header
from laguna_agent.models.sizing.devices import query
from laguna_agent.models.sizing.fit import (
    COPIES,
    affords_plain_attention,
    choose_context,
    copies_limit,
    require_fit,
)
from laguna_agent.models.sizing.hardware import busy, machine_memory, physical_cores, resident
from laguna_agent.paths import snapshots_dir

Apart = Examination | SideBySide | Variations
"""What decodes in a context of its own."""
Running = Generation | Baseline | Apart
"""What a request makes the engine do."""

_REST_S = 1.0
"""Seconds without a request after which a session's state is stored."""
_WORTH_SAVING = 64
"""Tokens by which a session must have changed since its last snapshot."""
_PRIVATE = 0.7
"""Share of the free memory that a private copy of the weights may take. Mapped files can be
evicted and read again."""
_LEAST_FREE = 0.04
"""Share of main memory that must be free for an idle engine to stay."""


class ModelRunner:
    """A model, its context, and the saved states of its conversations."""

    def __init__(
        self,
        path: Path,
        config: EngineConfig,
        sha256: str | None,
        on_progress: Callable[[float], None] | None = None,
        on_measuring: Callable[[], None] = lambda: None,
    ) -> None:
        started = time.perf_counter()
        self._on_measuring = on_measuring
        self.config = config
        self.sha256 = sha256
        header = read_header(path)
        self.header = header
        cards = query() if config.gpu_layers != 0 and gpu_backend() else []
        size = choose_context(header, config, cards=cards)
        needed = require_fit(
            path.stem, header, config.model_copy(update={"context": size}), cards=cards
        )
        experts = needed.cpu_experts if config.cpu_experts is None else config.cpu_experts
        cores = config.threads or physical_cores()
        micro = needed.micro_batch
        layout = tuning_layout(cores, micro, needed.gpu_layers, experts, config.kv_type)
        if config.repack is not None:
            layout += f" {config.repack} {config.flash_attention}"
        self._tuning_key = f"{sha256 or fingerprint(path)} {build_info()} {layout}"
        known = None if config.threads else load_tuning(self._tuning_key)
        self._repack, gain = choose_layout(
            header, config, known, cores, room=self._room_for_copy(), on_measuring=on_measuring
        )
        self._loading = LoadOptions(
            gpu_layers=needed.gpu_layers,
            cpu_experts=experts,
            split=needed.split,
            mmap=config.mmap,
            repack=self._repack,
        )
        self.model = Model(path, self._loading, on_progress)
        self.model_lock = threading.Lock()
        """Held while another thread uses the vocabulary and while the weights are laid out anew."""
        check_ends(self.model)
        self.options = ContextOptions(
            context=size,
            batch=config.batch or micro,
            micro_batch=micro,
            threads=cores,
            threads_batch=cores,
            flash_attention=config.flash_attention,
            kv_type=config.kv_type,
        )
        self.tuning = self._tune(known, cores, gain)
        self._quiet = QuietMoments()
        self._measured: Sequence[Context] = ()
        self.snapshots: SnapshotStore | None = None
        if config.snapshots and config.snapshots_gib > 0:
            limit = int(config.snapshots_gib * (1 << 30))
            key = state_key(self.model, self.options, sha256, self.context.size)
            self.snapshots = SnapshotStore(snapshots_dir(), key, limit)
        self.cache = Cache(self.context, limits=_cache_limits(), states=self.snapshots)
        self.cache.on_park = self._parked
        self.cache.batch_sizer = self._batch_sizer()
        self._unsaved: _Unsaved | None = None
        self._saved: dict[str, int] = {}
        self.load_s = time.perf_counter() - started

    def _room_for_copy(self) -> bool:
        return self.header.size < _PRIVATE * machine_memory().available

    def _tune(self, known: Tuning | None, cores: int, gain: Gain) -> Tuning:
        """Create the context as configured, as measured before, or as measured now."""
        if self.config.threads is not None:
            self.context = Context(self.model, self.options)
            return Tuning(cores, cores)
        if known is not None and known.repack_gain == gain.value:
            self._apply(known)
            return known
        self._on_measuring()
        self.context = Context(self.model, self.options)
        tuning = measure(self.context, cores)
        tuning = replace(
            tuning, measured=not busy(cores), repack_gain=gain.value, repack_error=gain.error
        )
        if known is not None:
            tuning = replace(
                tuning,
                flash_gain=known.flash_gain,
                flash_deep=known.flash_deep,
                step=known.step,
                exact=known.exact,
            )
        elif self._flash_is_open():
            flash = flash_gain(self.model, self.options, tuning.batch_rate, FLASH_S)
            tuning = replace(tuning, flash_gain=flash)
        self.context.close()
        self._apply(tuning)
        store_tuning(self._tuning_key, tuning)
        return tuning

    def wants_measuring(self) -> bool:
        """Whether something is to be measured on the quiet machine, and now it is quiet.

        Asked every second while the engine is idle.
        """
        if self.config.threads is not None:
            return False
        known = self.tuning.measured and (self.tuning.flash_deep or not self._flash_is_open())
        return not known and self._quiet.lasts()

    def measure_again(self, stopped: Callable[[], bool]) -> None:
        """Measure the layout, the threads and flash attention on the quiet machine.

        Changes to the better layout and threads at once. The choice of flash attention holds from
        the next load of the model on: with the other one no saved state of a conversation matches.
        Ends without a result once `stopped`, or aborted.
        """
        if not self.tuning.measured:
            self._measure_speed(stopped)
        if self.tuning.measured and self._flash_is_open() and not stopped():
            self._measure_flash(stopped)

    def _measure_flash(self, stopped: Callable[[], bool]) -> None:
        rate = self.tuning.batch_rate
        try:
            gain = flash_gain(self.model, self.options, rate, FLASH_QUIET_S, self._hold, stopped)
        except StoppedError:
            return
        gain = gain or self.tuning.flash_gain
        self.tuning = replace(self.tuning, flash_gain=gain, flash_deep=True)
        store_tuning(self._tuning_key, self.tuning)

    def _hold(self, contexts: Sequence[Context]) -> None:
        self._measured = contexts

    def _measure_speed(self, stopped: Callable[[], bool]) -> None:
        cores = self.options.threads
        known, gain, repack = self.tuning, Gain(), self._repack
        if self.config.repack is None and not gpu_backend():
            gain = measured_gain(self.header, cores, stopped)
            repack = repacked_is_faster(gain)
        self.tuning = replace(known, measured=True)  # not again should one of these fail
        small = replace(self.options, context=256, batch=64, micro_batch=64)
        spare = Context(self.model, small)
        try:
            found = measure(spare, cores, stopped)
        except StoppedError:
            self.tuning = known
            return
        finally:
            spare.close()
        self.tuning = replace(
            known,
            threads=found.threads,
            threads_batch=found.threads_batch,
            decode_rate=found.decode_rate,
            batch_rate=found.batch_rate,
            measured=True,
            repack_gain=gain.value,
            repack_error=gain.error,
        )
        store_tuning(self._tuning_key, self.tuning)
        if repack != self._repack and (not repack or self._room_for_copy()):
            self._lay_out(repack=repack)
        self.context.set_threads(found.threads, found.threads_batch)

    def _lay_out(self, *, repack: bool) -> None:
        """Load the weights in the other layout. What the cache holds stays valid."""
        self.cache.park()
        loading = replace(self._loading, repack=repack)
        model = Model(self.model.path, loading)
        old = self.model, self.context
        self.context = Context(model, self.options)
        with self.model_lock:
            self.model, self._loading, self._repack = model, loading, repack
            self.cache.replace_context(self.context)
            old[1].close()
            old[0].close()

    def _flash_is_open(self) -> bool:
        """Whether flash attention may be on or off: llama.cpp needs it for a quantised cache."""
        config = self.config
        return config.flash_attention is None and config.kv_type == "f16" and not gpu_backend()

    def _apply(self, tuning: Tuning) -> None:
        """Create the context, with flash attention where it is faster or saves much memory."""
        if self.config.flash_attention is None and 0 < tuning.flash_gain < SLOWER:
            options = self.options
            if affords_plain_attention(
                self.header, options.context, options.micro_batch, machine_memory()
            ):
                self.options = replace(options, flash_attention=False)
        self.context = Context(self.model, self.options)
        self.context.set_threads(tuning.threads, tuning.threads_batch)

    def _batch_sizer(self) -> BatchSizer:
        """Batches of a prompt: as configured, as learnt before, or to be learnt now."""
        largest = self.context.micro_batch
        if self.config.micro_batch is not None or self.config.threads is not None:
            return BatchSizer(largest, largest)
        return BatchSizer(largest, self.tuning.step, self._learned, self.tuning.batch_rate)

    def _learned(self, step: int = 0, *, exact: int = 0) -> None:
        known = self.tuning
        self.tuning = replace(known, step=step or known.step, exact=exact or known.exact)
        if self.config.threads is None and not busy(2 * known.threads_batch):
            store_tuning(self._tuning_key, self.tuning)

    def _facts(self) -> dict[str, Any]:
        return describe(self.model, self.header, self.sha256, self.context.size)

    def ready_message(self) -> wire.Header:
        """The frame that tells a client that the model is loaded."""
        return {"type": "ready", "model": self._facts()}

    def start(self, request: EngineRequest, sinks: Sinks, report: Report) -> Running:
        """A generation to advance."""
        match request.task:
            case "baseline":
                return Baseline(self.cache, request, self.snapshots)
            case "score":
                return Scoring(self.model, self.cache, request, sinks)
            case "examine":
                options = self._options_apart()
                return Examination(self.model, self.cache, options, request, report)
        if request.snapshot:
            sinks.at_static = self._at_static
        if request.vary is not None:
            if self.model.recurrent:
                raise ModelError("this model cannot go back in a text that it has read")
            options = self._options_apart()
            return Variations(self.model, self.cache, request, sinks, options)
        several = bool(request.others) and not self.model.recurrent
        count = affordable(self.header, request, self.config.kv_type) if several else 1
        if count > 1:
            options = self._options_apart()
            return SideBySide(self.model, self.cache, request, sinks, options, count)
        longest = LONGEST
        if request.speculate == "exact":
            if not self.tuning.exact:
                self._learned(exact=measure_exact(self.model, self.options))
            longest = self.tuning.exact - 1
        return Generation(self.model, self.cache, request, sinks, longest=longest)

    def _options_apart(self) -> ContextOptions:
        """For a context beside the engine's own."""
        tuning = self.tuning
        return replace(self.options, threads=tuning.threads, threads_batch=tuning.threads_batch)

    def abort(self, running: Running | None = None) -> None:
        """Abort the current decode, from any thread: that of `running`, where it decodes in a
        context of its own. Others that have one go on with it when it is their turn."""
        apart = running.context if isinstance(running, Apart) else None
        for context in (self.cache.context, *self._measured, apart):
            if context is not None:
                context.abort()

    # --- snapshots --------------------------------------------------------------------------

    def _at_static(self) -> None:
        tokens = array("i", self.cache.tokens)
        if self.snapshots is not None and not self.snapshots.has(tokens):
            self.snapshots.save_static(tokens, self.context.save_state(window_only=False))

    def finish(self, request: EngineRequest) -> None:
        """Do what can wait until the client has its answer."""
        if request.task in ("baseline", "examine"):
            return
        self.cache.checkpoint()
        if request.snapshot:
            self._unsaved = _Unsaved(request.session, time.monotonic())

    def idle(self, *, alone: bool) -> None:
        """Save a session that has been idle for a while; at once when `alone` (no client is
        connected)."""
        unsaved = self._unsaved
        if unsaved is None or not (alone or time.monotonic() - unsaved.since > _REST_S):
            return
        self._unsaved = None
        tokens = array("i", self.cache.tokens)
        if self.snapshots is None or self.cache.session != unsaved.session:
            return
        if abs(len(tokens) - self._saved.get(unsaved.session, 0)) >= _WORTH_SAVING:
            self._save(unsaved.session, tokens, self.context.save_state(window_only=False))

    def _parked(self, session: str, tokens: array[int], data: bytearray) -> None:
        unsaved = self._unsaved
        if unsaved is not None and unsaved.session == session:
            self._unsaved = None
            self._save(session, tokens, data)

    def _save(self, session: str, tokens: array[int], data: bytearray) -> None:
        if self.snapshots is not None:
            self._saved[session] = len(tokens)
            self.snapshots.save_session(session, tokens, data)

    def close(self) -> None:
        """Write whatever is not saved yet."""
        self.idle(alone=True)
        if self.snapshots is not None:
            self.snapshots.flush()

    def short_of_memory(self) -> bool:
        """True when an idle engine should end to free memory."""
        memory = machine_memory()
        return memory.available < _LEAST_FREE * memory.total

    def status(self) -> dict[str, Any]:
        """Fields for `laguna engine status`."""
        return {
            "model": self._facts(),
            "context": asdict(self.options),
            "repack": self._repack,
            "tuning": asdict(self.tuning),
            "layout_clear": Gain(self.tuning.repack_gain, self.tuning.repack_error).clear,
            "load_s": self.load_s,
            "resident": resident(),
            "cache": self.cache.describe(),
            "snapshots": self.snapshots.describe() if self.snapshots else None,
            "counters": asdict(self.cache.counters),
        }


@dataclass(frozen=True)
class _Unsaved:
    session: str
    since: float


def _cache_limits() -> CacheLimits:
    total = machine_memory().total
    return CacheLimits(
        checkpoints=COPIES,
        checkpoint_bytes=copies_limit(total),
        parked_bytes=min(2 << 30, total // 16),
    )
