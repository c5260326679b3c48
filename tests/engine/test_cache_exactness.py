"""Whatever is done to a conversation, the logits are those of a fresh prefill.

Two decodings of the same tokens in batches of other sizes already differ a little in llama.cpp's
own arithmetic. That noise is measured here and is the yardstick; a cache that trims beyond its
window stands out from it by far.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from laguna_agent.models.engine.cache import Cache, common_prefix
from laguna_agent.models.engine.llama import Context, ContextOptions, LoadOptions, Model
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


def logits(context: Context) -> np.ndarray:
    return np.ctypeslib.as_array(context.logits(), (context.model.vocabulary,)).copy()


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
    """Mean distance of logits. The largest would mostly tell of experts that change places."""
    return float(np.abs(left - right).mean())


@pytest.fixture(scope="module")
def noise(fresh_context: Context) -> float:
    """The largest difference that other batch sizes alone make."""
    worst = 0.0
    for seed in range(6):
        prompt = some_tokens(seed, 300)
        reference = fresh_logits(fresh_context, prompt)
        for step in (1, 7, 33, 50):
            other = fresh_logits(fresh_context, prompt, step)
            worst = max(worst, difference(reference, other))
    return worst


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["append", "rewind", "edit", "fork", "restart", "repeat"]),
        st.integers(0, 10_000),
    ),
    min_size=1,
    max_size=8,
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(actions=ACTIONS)
def test_any_history_gives_the_logits_of_a_fresh_prefill(
    actions: list[tuple[str, int]], context: Context, fresh_context: Context, noise: float
) -> None:
    context.clear()
    cache = Cache(context)
    prompt = some_tokens(1, 90)
    others: list[array[int]] = []
    for number, (action, value) in enumerate(actions):
        session = "main"
        match action:
            case "append":
                prompt = prompt + some_tokens(value, 1 + value % 150)
            case "rewind":
                prompt = prompt[: 1 + value % len(prompt)]
            case "edit":
                at = value % len(prompt)
                prompt = prompt[:at] + some_tokens(value, 1) + prompt[at + 1 :]
            case "fork":
                others.append(prompt)
                prompt = prompt[: 1 + value % len(prompt)] + some_tokens(value, 20)
                session = f"fork {number}"
            case "restart":
                context.clear()
                cache = Cache(context)
            case "repeat":
                prompt = others[value % len(others)] if others else prompt
        prompt = prompt[: CONTEXT - 10]
        held = cache.tokens[:]
        prepared = cache.prepare(prompt, session)
        if prompt[: len(held)] == held:
            assert prepared.reused == min(len(held), len(prompt) - 1), "nothing twice"
        assert prepared.reused == len(cache.tokens) < len(prompt)
        assert cache.tokens == prompt[: prepared.reused]
        fill(cache, prompt)
        cache.checkpoint()
        cache.record(session, len(prompt))
        got = logits(context)
        assert difference(got, fresh_logits(fresh_context, prompt)) <= 4 * noise


def test_the_noise_is_small_and_a_trim_beyond_the_window_stands_out(
    context: Context, fresh_context: Context, noise: float
) -> None:
    """The same check fails for a cache that believes llama.cpp's trim."""
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


def test_one_token_less_than_the_window_holds_starts_anew(context: Context) -> None:
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
