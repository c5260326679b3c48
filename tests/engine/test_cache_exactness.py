"""Whatever happens to a conversation, its logits are those of a fresh prefill.

Decoding the same tokens in other batch sizes already changes logits a little. That noise is the
yardstick; trimming beyond the window exceeds it by far.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from laguna_agent.models.engine.cache import Cache
from laguna_agent.models.engine.kv_state import SavedState, common_prefix
from laguna_agent.models.engine.llama import Context, ContextOptions, LoadOptions, Model
from laguna_agent.models.engine.snapshots import SnapshotStore
from support.choices import logits
from support.synthetic import TINY_WINDOW, smooth_laguna

MICRO_BATCH = 64
CONTEXT = 1024


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    model = Model(smooth_laguna(), LoadOptions())
    yield model
    model.close()


@pytest.fixture(scope="module")
def context(model: Model) -> Iterator[Context]:
    context = Context(model, ContextOptions(CONTEXT, MICRO_BATCH, MICRO_BATCH))
    yield context
    context.close()


@pytest.fixture(scope="module")
def fresh_context(model: Model) -> Iterator[Context]:
    context = Context(model, ContextOptions(CONTEXT, MICRO_BATCH, MICRO_BATCH))
    yield context
    context.close()


def some_tokens(seed: int, count: int) -> array[int]:
    generator = random.Random(seed)
    return array("i", (generator.randrange(300, 3000) for _ in range(count)))


def fill(cache: Cache, prompt: array[int], step: int = MICRO_BATCH) -> None:
    while len(cache.tokens) < len(prompt):
        held = len(cache.tokens)
        cache.decode(prompt[held : held + step])


def fresh_logits(context: Context, prompt: array[int], step: int = MICRO_BATCH) -> np.ndarray:
    context.clear()
    cache = Cache(context)
    fill(cache, prompt, step)
    return logits(context)


def difference(left: np.ndarray, right: np.ndarray) -> float:
    """Mean distance of logits. The largest would mostly show experts that swap."""
    return float(np.abs(left - right).mean())


@pytest.fixture(scope="module")
def noise(fresh_context: Context) -> float:
    """The largest difference that other batch sizes alone cause."""
    worst = 0.0
    for seed in range(6):
        prompt = some_tokens(seed, 300)
        reference = fresh_logits(fresh_context, prompt)
        for step in (1, 7, 33, 50):
            other = fresh_logits(fresh_context, prompt, step)
            worst = max(worst, difference(reference, other))
    return worst


ACTION_NAMES = ["append", "rewind", "edit", "fork", "return", "restart"]
ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(ACTION_NAMES),
        st.integers(0, 10_000),
    ),
    min_size=1,
    max_size=10,
)
SWITCH_GAIN = 32
"""Tokens that loading a state must save to be worth it."""


class History:
    """Conversations in an engine process that may restart.

    Each step is checked against a fresh prefill and against the most that could be reused.
    """

    def __init__(
        self, context: Context, fresh: Context, noise: float, root: Path, kind: type[Cache] = Cache
    ) -> None:
        self.context, self.fresh, self.noise, self.root = context, fresh, noise, root
        self.kind = kind
        self.prompts = {"main": some_tokens(1, 320)}
        self.session = "main"
        self.saved: dict[str, array[int]] = {}
        self.restart()

    def restart(self) -> None:
        """Start another process, with only the snapshots of the one before."""
        self.context.clear()
        self.store = SnapshotStore(self.root, {"model": "smooth"}, 1 << 30)
        self.cache = self.kind(self.context, states=self.store)
        self.checkpoints: list[array[int]] = []

    def close(self) -> None:
        self.store.close()

    def act(self, action: str, value: int) -> None:
        prompt = self.prompts[self.session]
        match action:
            case "append":
                prompt = prompt + some_tokens(value, 1 + value % 200)
            case "rewind":
                prompt = prompt[: 1 + value % len(prompt)]
            case "edit":
                at = value % len(prompt)
                prompt = prompt[:at] + some_tokens(value, 1) + prompt[at + 1 :]
            case "fork":
                prompt = prompt[: 1 + value % len(prompt)] + some_tokens(value, 20)
                self.session = f"fork {len(self.prompts)}"
            case "return":
                self.session = sorted(self.prompts)[value % len(self.prompts)]
                prompt = self.prompts[self.session]
            case "restart":
                self.store.close()
                self.restart()
        self.prompts[self.session] = prompt[: CONTEXT - 10]
        self.turn()

    def turn(self) -> None:
        cache, prompt = self.cache, self.prompts[self.session]
        here = self.usable(cache.tokens, self.context.first_position(), prompt)
        stored = [
            self.usable(tokens, max(0, len(tokens) - TINY_WINDOW), prompt)
            for tokens in self.saved.values()
        ]
        before = cache.counters.decoded_tokens
        prepared = cache.prepare(prompt, self.session)
        assert prepared.reused == len(cache.tokens) < len(prompt)
        assert cache.tokens == prompt[: prepared.reused]
        assert prepared.reused >= here, "tokens in the cache are not decoded again"
        assert prepared.reused > max(stored, default=0) - SWITCH_GAIN, "nor tokens on disk"
        fill(cache, prompt)
        assert cache.counters.decoded_tokens - before == len(prompt) - prepared.reused
        got = logits(self.context)
        assert difference(got, fresh_logits(self.fresh, prompt)) <= 4 * self.noise, "wrong logits"
        cache.checkpoint()
        self.checkpoints.append(prompt)
        cache.record(self.session, len(prompt))
        self.store.save_session(self.session, prompt, self.context.save_state(window_only=False))
        self.store.flush()
        self.saved[self.session] = prompt

    def usable(self, held: array[int], lowest: int, prompt: array[int]) -> int:
        """Most tokens that can be kept of a state that holds `held`, and in its window layers the
        positions from `lowest` on."""
        shared = common_prefix(held, prompt)
        keep = min(shared, len(prompt) - 1)
        if keep == len(held) or lowest <= max(0, keep - TINY_WINDOW + 1):
            return max(0, keep)
        marks = [len(c) for c in self.checkpoints if c == prompt[: len(c)] and len(c) <= shared]
        return min(max(marks, default=0), keep)


@pytest.mark.slow
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(actions=ACTIONS)
def test_any_history_gives_the_logits_of_a_fresh_prefill_and_decodes_nothing_twice(
    actions: list[tuple[str, int]],
    context: Context,
    fresh_context: Context,
    noise: float,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    history = History(context, fresh_context, noise, tmp_path_factory.mktemp("snapshots"))
    for action, value in actions:
        history.act(action, value)
    history.close()


class _TrustsTheTrim(Cache):
    """Continues after any trim, without checking the window."""

    def _window_holds(self, lowest: int, keep: int) -> bool:
        return True


class _Forgets(Cache):
    """Keeps no checkpoints."""

    def checkpoint(self) -> None:
        pass


class _NeverReads(Cache):
    """Finds no parked or stored state."""

    def _better(self, prompt: array[int], keep: int) -> list[SavedState]:
        return []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "history", "why"),
    [
        (_TrustsTheTrim, [("append", 199), ("fork", 219)], "wrong logits"),
        (_Forgets, [*[("append", 199)] * 3, ("edit", 530)], "are not decoded again"),
        (_NeverReads, [("append", 199), ("restart", 0)], "nor tokens on disk"),
    ],
)
def test_a_broken_rule_does_not_pass(
    kind: type[Cache],
    history: list[tuple[str, int]],
    why: str,
    context: Context,
    fresh_context: Context,
    noise: float,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """A history notices each of the rules when it is left out."""

    def run(kind: type[Cache]) -> None:
        root = tmp_path_factory.mktemp("snapshots")
        made = History(context, fresh_context, noise, root, kind)
        try:
            for action, value in history:
                made.act(action, value)
        finally:
            made.close()

    run(Cache)
    with pytest.raises(AssertionError, match=why):
        run(kind)


@pytest.mark.slow
def test_the_noise_is_small_and_a_trim_beyond_the_window_stands_out(
    context: Context, fresh_context: Context, noise: float
) -> None:
    """The check fails for a cache that trusts llama.cpp's trim."""
    broken_worst = 0.0
    for seed in range(6):
        context.clear()
        cache = Cache(context)
        long = some_tokens(seed, 500)
        fill(cache, long)
        keep = 220
        prompt = long[:keep] + some_tokens(seed + 100, 3)
        context.trim(keep)
        del cache.tokens[keep:]
        fill(cache, prompt)
        broken_worst = max(
            broken_worst, difference(logits(context), fresh_logits(fresh_context, prompt))
        )
    assert 0 < noise < 0.1
    assert broken_worst > 10 * noise


def test_nothing_is_dropped_that_the_window_still_holds(context: Context) -> None:
    context.clear()
    cache = Cache(context)
    prompt = some_tokens(1, 300)
    fill(cache, prompt)
    lowest = context.first_position()
    keep = lowest + TINY_WINDOW - 1
    assert cache.prepare(prompt[:keep] + some_tokens(2, 5)).reused == keep


def test_one_token_less_than_the_window_holds_starts_from_nothing(context: Context) -> None:
    context.clear()
    cache = Cache(context)
    prompt = some_tokens(1, 300)
    fill(cache, prompt)
    keep = context.first_position() + TINY_WINDOW - 2
    assert cache.prepare(prompt[:keep] + some_tokens(2, 5)).reused == 0


def test_a_checkpoint_is_restored_exactly_where_it_was_taken(context: Context) -> None:
    context.clear()
    cache = Cache(context)
    prompt = some_tokens(1, 500)
    fill(cache, prompt[:128])
    cache.checkpoint()
    fill(cache, prompt)
    prepared = cache.prepare(prompt[:140] + some_tokens(2, 5))
    assert (prepared.reused, prepared.restored, prepared.source) == (128, 128, "checkpoint")


def test_a_whole_known_prompt_costs_one_token(context: Context) -> None:
    context.clear()
    cache = Cache(context)
    prompt = some_tokens(1, 500)
    fill(cache, prompt)
    cache.checkpoint()
    assert cache.prepare(prompt).reused == len(prompt) - 1
    fill(cache, prompt)
    fill(cache, prompt + some_tokens(3, 200))
    assert cache.prepare(prompt).reused == len(prompt) - 1


def test_another_conversation_gets_its_state_back(context: Context) -> None:
    context.clear()
    cache = Cache(context)
    one, two = some_tokens(1, 400), some_tokens(2, 300)
    for prompt, session in ((one, "one"), (two, "two")):
        cache.prepare(prompt, session)
        fill(cache, prompt)
        cache.record(session, len(prompt))
    more = one + some_tokens(3, 10)
    prepared = cache.prepare(more, "one")
    assert (prepared.reused, prepared.source) == (400, "parked")


def test_a_miss_says_where_and_why(context: Context) -> None:
    context.clear()
    cache = Cache(context)
    prompt = some_tokens(1, 500)
    cache.prepare(prompt, "s")
    fill(cache, prompt)
    cache.record("s", len(prompt))
    prepared = cache.prepare(prompt[:200] + some_tokens(2, 5), "s")
    assert prepared.miss is not None
    assert prepared.miss.position == 0
    assert "window" in prepared.miss.reason


@given(st.lists(st.integers(0, 3), max_size=60), st.lists(st.integers(0, 3), max_size=60))
def test_the_common_prefix_is_what_a_loop_finds(left: list[int], right: list[int]) -> None:
    expected = 0
    while expected < min(len(left), len(right)) and left[expected] == right[expected]:
        expected += 1
    assert common_prefix(array("i", left), array("i", right)) == expected
