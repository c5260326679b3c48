"""The owner of the KV cache: what it holds, and how much of it a new prompt can reuse.

Layers with a sliding window keep only the cells that the newest positions attend to. To continue
from `n` tokens, the cells from position `n - window + 1` on must still exist in every layer, which
llama.cpp does not check when it trims. So: take the common prefix; trim to it when the window
allows; else restore the newest checkpoint of the window layers at or before it; else load a parked
or stored state; else start from an empty cache. At least one token is always decoded, for its
logits.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from laguna_agent.errors import ModelError
from laguna_agent.events import CacheMiss
from laguna_agent.models.engine.batch_size import BatchSizer
from laguna_agent.models.engine.kv_state import SavedState, StateStore, common_prefix, digest
from laguna_agent.models.engine.llama import Context, DecodeAbortedError

_SWITCH_GAIN = 32
"""Tokens that a parked or stored state must save to replace the content of the cache."""
_PARK_WORTH = 128
"""Tokens that a conversation must stand to lose for its state to be parked in memory."""
_SESSIONS = 64


@dataclass(frozen=True)
class CacheLimits:
    """How many copies of states to keep in memory, and how many bytes of them."""

    checkpoints: int = 32
    checkpoint_bytes: int = 1 << 30
    parked: int = 8
    parked_bytes: int = 2 << 30


@dataclass
class Prepared:
    """How much of a prompt the cache provides: `reused` tokens, `restored` of them from a copy."""

    reused: int
    restored: int = 0
    source: str = "cache"
    miss: CacheMiss | None = None


@dataclass
class Counters:
    """Totals since the engine started."""

    decoded_tokens: int = 0
    generated_tokens: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    settled_tokens: int = 0
    checkpoint_restores: int = 0
    state_restores: int = 0
    snapshot_restores: int = 0
    clears: int = 0


@dataclass
class _Parked:
    tokens: array[int]
    data: bytearray
    label: str = "parked"

    def read(self) -> bytearray | None:
        return self.data


@dataclass
class _Session:
    tokens: array[int] = field(default_factory=lambda: array("i"))
    prompt: int = 0


class Cache:
    """Keeps track of the cells of a context."""

    def __init__(
        self,
        context: Context,
        *,
        limits: CacheLimits | None = None,
        states: StateStore | None = None,
    ) -> None:
        self.context = context
        self.window = context.model.window
        self.batch_sizer = BatchSizer(context.micro_batch, context.micro_batch)
        self.tokens: array[int] = array("i")
        self.session = ""
        self.owner: object = None
        """The generation that is using the cache."""
        self.counters = Counters()
        self.limits = limits or CacheLimits()
        self._states = states
        self.on_park: Callable[[str, array[int], bytearray], None] | None = None
        """Called with a state that is parked: session, tokens, bytes."""
        self._checkpoints: OrderedDict[bytes, tuple[int, bytearray]] = OrderedDict()
        self._parked: OrderedDict[bytes, _Parked] = OrderedDict()
        self._sessions: OrderedDict[str, _Session] = OrderedDict()

    # --- preparing for a prompt -------------------------------------------------------------

    def prepare(self, prompt: array[int], session: str = "", static: int = 0) -> Prepared:
        """Make the cache hold the longest usable prefix of `prompt`, without its last token.

        Afterwards `tokens` is that prefix, and decoding continues from there. `static` is the
        length of the static prefix, for explaining why it was not found.
        """
        before = self.tokens[:]
        keep, checkpoint = self._usable(self.tokens, prompt, self._lowest())
        better = self._better(prompt, keep)
        if session != self.session and (better or len(self.tokens) - keep > _PARK_WORTH):
            self.park()
        prepared, bad = Prepared(keep), ""
        for state in better:
            bad = self._load(state)
            if not bad:
                keep, checkpoint = self._usable(self.tokens, prompt, self._lowest())
                prepared = Prepared(keep, keep, state.label)
                break
            if not self.tokens:
                keep, checkpoint, prepared = 0, None, Prepared(0)
        if checkpoint is not None:
            if self._restore(checkpoint):
                prepared.restored = keep
                if prepared.source == "cache":
                    prepared.source = "checkpoint"
            else:
                prepared, keep = Prepared(0), 0
                bad = "llama.cpp refused a checkpoint"
        self._cut(keep)
        prepared.miss = self._explain(prompt, keep, session, before, bad)
        if prepared.miss is None and keep < static and session not in self._sessions:
            prepared.miss = self._explain_prefix(prompt, static, before)
        self.session = session
        return prepared

    def _better(self, prompt: array[int], keep: int) -> list[SavedState]:
        """States outside the cache that provide clearly more than `keep` tokens, the best first."""
        least = keep + min(_SWITCH_GAIN, len(prompt) - 1 - keep)
        found: list[SavedState] = list(self._parked.values())
        if self._states is not None:
            found += self._states.find(prompt)
        gains = [
            (self._usable(state.tokens, prompt, self._lowest_of(state.tokens))[0], state)
            for state in found
        ]
        gains = [(gain, state) for gain, state in gains if gain > keep and gain >= least]
        gains.sort(key=lambda pair: (-pair[0], pair[1].label != "parked", len(pair[1].tokens)))
        return [state for _, state in gains]

    def _usable(
        self, held: array[int], prompt: array[int], lowest: int
    ) -> tuple[int, bytes | None]:
        """How many tokens of `prompt` can be kept, and the checkpoint that takes, if any.

        The layers without a window hold `held`, the window layers only its positions from
        `lowest` on.
        """
        keep = min(common_prefix(held, prompt), len(prompt) - 1)
        if keep <= 0:
            return 0, None
        if keep == len(held) or self._window_holds(lowest, keep):
            return keep, None
        shared = common_prefix(held, prompt)
        for length in sorted(
            {n for n, _ in self._checkpoints.values() if n <= shared}, reverse=True
        ):
            key = digest(prompt[:length])
            if key in self._checkpoints:
                return min(length, keep), key
        return 0, None

    def _window_holds(self, lowest: int, keep: int) -> bool:
        if not self.window:
            return True
        return 0 <= lowest <= max(0, keep - self.window + 1)

    def _lowest(self) -> int:
        return self.context.first_position() if self.window else 0

    def _lowest_of(self, tokens: array[int]) -> int:
        """First position that the window layers of a saved state hold."""
        return max(0, len(tokens) - self.window) if self.window else 0

    def _load(self, state: SavedState) -> str:
        """Replace the cache with a state; returns what is wrong with it, or nothing."""
        data = state.read()
        if data is None:
            self._discard(state)
            return "a stored state was damaged"
        self._drop_all()
        if not self.context.load_state(
            data, window_only=False
        ) or self.context.last_position() + 1 != len(state.tokens):
            self.context.clear()
            self._discard(state)
            return "llama.cpp refused a stored state"
        self.tokens = array("i", state.tokens)
        if state.label == "parked":
            self.counters.state_restores += 1
        else:
            self.counters.snapshot_restores += 1
        return ""

    def _discard(self, state: SavedState) -> None:
        self._parked = OrderedDict((k, p) for k, p in self._parked.items() if p is not state)
        if self._states is not None:
            self._states.forget(state)

    def _restore(self, key: bytes) -> bool:
        length, data = self._checkpoints[key]
        if not self.context.load_state(data, window_only=True):
            self._drop_all()
            del self._checkpoints[key]
            return False
        self._checkpoints.move_to_end(key)
        self.context.trim(length)
        del self.tokens[length:]
        self.counters.checkpoint_restores += 1
        return True

    def _cut(self, keep: int) -> None:
        if keep <= 0:
            if self.tokens:
                self.counters.clears += 1
            self._drop_all()
        elif keep < len(self.tokens):
            self.context.trim(keep)
            del self.tokens[keep:]

    def _drop_all(self) -> None:
        self.context.clear()
        self.tokens = array("i")

    # --- decoding ---------------------------------------------------------------------------

    def decode(self, tokens: Sequence[int], *, every_row: bool = False) -> None:
        """Decode tokens after those held. `tokens` is correct even after DecodeAbortedError."""
        start = len(self.tokens)
        try:
            self.context.decode(tokens, start, every_row=every_row)
        except DecodeAbortedError:
            kept = self.context.last_position() + 1 - start
            self.tokens.extend(tokens[: max(0, kept)])
            self.counters.decoded_tokens += max(0, kept)
            raise
        except ModelError:
            # What the failed batch left behind is unknown.
            self._drop_all()
            raise
        self.tokens.extend(tokens)
        self.counters.decoded_tokens += len(tokens)

    def rollback(self, length: int) -> None:
        """Drop rejected draft tokens. They lie within the last micro-batch, whose cells have only
        replaced cells that no position after its start attends to."""
        if length < len(self.tokens):
            self.context.trim(length)
            del self.tokens[length:]

    def record(self, session: str, prompt: int) -> None:
        """Note the tokens that a session holds now, and how many of them were its prompt."""
        self._sessions[session] = _Session(array("i", self.tokens), prompt)
        self._sessions.move_to_end(session)
        while len(self._sessions) > _SESSIONS:
            self._sessions.popitem(last=False)

    # --- copies -----------------------------------------------------------------------------

    def checkpoint(self) -> None:
        """Keep a copy of the window layers for the tokens held now."""
        if not self.window or not self.tokens:
            return
        key = digest(self.tokens)
        if key in self._checkpoints:
            self._checkpoints.move_to_end(key)
            return
        self._checkpoints[key] = (len(self.tokens), self.context.save_state(window_only=True))
        while len(self._checkpoints) > 1 and (
            len(self._checkpoints) > self.limits.checkpoints
            or sum(len(d) for _, d in self._checkpoints.values()) > self.limits.checkpoint_bytes
        ):
            self._checkpoints.popitem(last=False)

    def park(self) -> None:
        """Keep the whole state in memory, for when its conversation continues."""
        if len(self.tokens) < _PARK_WORTH:
            return
        size = self.context.state_size(window_only=False)
        if size > self.limits.parked_bytes:
            return
        for key in [k for k, p in self._parked.items() if self.tokens[: len(p.tokens)] == p.tokens]:
            del self._parked[key]
        state = _Parked(array("i", self.tokens), self.context.save_state(window_only=False))
        self._parked[digest(self.tokens)] = state
        if self.on_park is not None:
            self.on_park(self.session, state.tokens, state.data)
        while len(self._parked) > self.limits.parked or (
            sum(len(p.data) for p in self._parked.values()) > self.limits.parked_bytes
        ):
            self._parked.popitem(last=False)

    def replace_context(self, context: Context) -> None:
        """Use another, empty context of the same model."""
        self.context = context
        self.tokens = array("i")
        self.owner = None

    # --- explaining -------------------------------------------------------------------------

    def _explain(
        self, prompt: array[int], keep: int, session: str, before: array[int], bad: str
    ) -> CacheMiss | None:
        """Why fewer tokens are kept than this session could expect; None when they are not."""
        if bad:
            return CacheMiss(reason=bad, position=keep)
        known = self._sessions.get(session)
        if known is None or not session:
            return None
        shared = common_prefix(known.tokens, prompt)
        expected = min(shared, len(prompt) - 1)
        if keep < expected:
            if common_prefix(before, prompt) < expected:
                return CacheMiss(
                    reason="another conversation used the engine in between", position=keep
                )
            return CacheMiss(
                reason="the sliding-window layers no longer hold the tokens before this position",
                position=keep,
            )
        if shared < min(known.prompt, len(prompt)):
            return CacheMiss(reason="the prompt differs from the previous one", position=shared)
        return None

    def _explain_prefix(
        self, prompt: array[int], static: int, before: array[int]
    ) -> CacheMiss | None:
        """Why a new session's static prefix is not cached, when one that begins like it is."""
        known = [before, *(parked.tokens for parked in self._parked.values())]
        known += [state.tokens for state in (self._states.find(prompt) if self._states else ())]
        shared = [(common_prefix(tokens, prompt), len(tokens)) for tokens in known]
        nearest = max(
            (same for same, length in shared if 0 < same < min(length, static)), default=0
        )
        if not nearest:
            return None
        return CacheMiss(
            reason="the system prompt or the tools changed",
            position=nearest,
        )

    def describe(self) -> dict[str, int]:
        """Sizes, for `laguna engine status`."""
        return {
            "tokens": len(self.tokens),
            "checkpoints": len(self._checkpoints),
            "checkpoint_bytes": sum(len(d) for _, d in self._checkpoints.values()),
            "parked": len(self._parked),
            "parked_bytes": sum(len(p.data) for p in self._parked.values()),
        }
