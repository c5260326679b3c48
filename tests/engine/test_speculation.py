"""Drafts from the prompt change the speed of a reply and never its text."""

from __future__ import annotations

import platform
import random
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from laguna_agent.config import EngineConfig
from laguna_agent.interfaces.commands.engine import describe as engine_lines
from laguna_agent.models.chat.chat_format import Grammar, Segment
from laguna_agent.models.conversation import Sampling
from laguna_agent.models.engine.cache import Cache, Counters
from laguna_agent.models.engine.client import EngineClient, open_engine
from laguna_agent.models.engine.generation import Generation, Sinks
from laguna_agent.models.engine.interface import EngineRequest, Finished
from laguna_agent.models.engine.kv_state import common_prefix
from laguna_agent.models.engine.llama import Context, ContextOptions, LoadOptions, Model
from laguna_agent.models.engine.prompt_lookup import LONGEST, Drafter
from laguna_agent.models.engine.reply_tokens import runs_on
from laguna_agent.models.engine.tuning import measure_exact
from laguna_agent.models.engine.workloads import FILE, REWRITE
from support.choices import logits, same_choices
from support.synthetic import dense_laguna, smooth_laguna


async def finish(client: EngineClient, request: EngineRequest) -> Finished:
    last = [event async for event in client.generate(request)][-1]
    assert isinstance(last, Finished)
    return last


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    model = Model(smooth_laguna(), LoadOptions())
    yield model
    model.close()


@pytest.fixture(scope="module")
def context(model: Model) -> Iterator[Context]:
    context = Context(model, ContextOptions(1024, 64, 64))
    yield context
    context.close()


accepted: list[int] = []


def reply(
    context: Context, number: int, *, speculate: bool, temperature: float, seed: int = 0
) -> list[int]:
    """A reply of few letters, which soon repeats itself, so that drafts are accepted."""
    prompt = context.model.tokenize(f"prompt {number} " * 20, special=False)
    sampling = Sampling(temperature=temperature, top_k=0, seed=seed or number)
    grammar = Grammar('root ::= ("a" | "b"){400}')
    request = EngineRequest(prompt, sampling, 200, grammar=grammar, speculate=speculate)
    ids, counters = generated(context, request)
    accepted.append(counters.accepted_tokens)
    return ids


def generated(
    context: Context, request: EngineRequest, *, longest: int = LONGEST
) -> tuple[list[int], Counters]:
    """The reply to a request on an empty cache, and the cache's counters."""
    context.clear()
    cache = Cache(context)
    sinks = Sinks(lambda *_: None, lambda *_: None)
    generation = Generation(context.model, cache, request, sinks, longest=longest)
    for _ in generation.steps:
        pass
    assert generation.result is not None
    assert len(cache.tokens) == len(request.tokens) + len(generation.result.ids) - 1
    assert request.speculate or not cache.counters.drafted_tokens
    return generation.result.ids, cache.counters


@pytest.mark.slow
def test_greedy_replies_are_the_same_with_and_without_drafts(context: Context) -> None:
    """They can diverge only where two tokens are closer than the noise of batch sizes: a tie."""
    same = 0
    for number in range(8):
        plain = reply(context, number, speculate=False, temperature=0)
        drafted = reply(context, number, speculate=True, temperature=0)
        if plain == drafted:
            same += 1
            continue
        prompt = context.model.tokenize(f"prompt {number} " * 20, special=False)
        assert same_choices(context, prompt, plain, drafted)
    assert same >= 5
    assert sum(accepted) > 100, "drafts were accepted"


def logits_after(
    context: Context, prompt: list[int], reply: list[int], step: int
) -> NDArray[np.float32]:
    """Logits after a reply that was decoded `step` tokens at a time."""
    context.clear()
    for begin, tokens, size in ((0, prompt, 512), (len(prompt), reply, step)):
        for at in range(0, len(tokens), size):
            context.decode(tokens[at : at + size], begin + at)
    return logits(context)


def asked(model: Model, task: str) -> array[int]:
    """The prompt of the starter for a task."""
    text = f"<|im_start|>user\n{task}<|im_end|>\n<|im_start|>assistant\n"
    return model.tokenize(text, special=True)


EXACT = ContextOptions(2048, 512, 512, flash_attention=True, kv_type="q8_0")


def exact_and_plain(
    model: Model, options: ContextOptions, requests: list[EngineRequest]
) -> list[Counters]:
    """Check that drafts of exact lengths change no reply; returns the counters."""
    longest = measure_exact(model, options) - 1
    context = Context(model, options)
    counted = []
    for request in requests:
        plain, _ = generated(context, replace(request, speculate=False))
        exact, counters = generated(context, replace(request, speculate="exact"), longest=longest)
        assert exact == plain
        counted.append(counters)
    context.close()
    return counted


@pytest.mark.slow
def test_exact_drafts_never_change_a_greedy_reply() -> None:
    model = Model(dense_laguna(), LoadOptions(repack=False))
    grammar = Grammar('root ::= ("a" | "b"){400}')
    requests = [
        EngineRequest(
            model.tokenize(f"prompt {number} " * 20, special=False),
            Sampling(temperature=0),
            200,
            grammar=grammar,
        )
        for number in range(12)
    ]
    counted = exact_and_plain(model, EXACT, requests)
    if platform.machine() in ("x86_64", "AMD64"):
        assert sum(counters.accepted_tokens for counters in counted) > 300
    model.close()


@pytest.mark.slow
def test_batches_that_differ_from_single_tokens_are_detected() -> None:
    """With flash attention over f16, llama.cpp divides the context of a single token only; without
    it, and for the router of a mixture of experts, it has another kernel for several tokens."""
    dense, mixture = (
        Model(file(), LoadOptions(repack=False)) for file in (dense_laguna, smooth_laguna)
    )
    divided = replace(EXACT, kv_type="f16", threads=2)
    assert measure_exact(dense, divided) == 1
    assert measure_exact(dense, replace(divided, flash_attention=False)) == 1
    assert measure_exact(mixture, EXACT) == 1
    dense.close()
    mixture.close()


async def test_exact_drafts_are_a_setting(config: EngineConfig) -> None:
    settings = {**config.model_dump(exclude={"repack"}), "speculation": "exact"}
    exact = EngineConfig.model_validate(settings)
    assert (exact.kv_type, exact.flash_attention, exact.repack) == ("q8_0", True, False)
    kept = EngineConfig.model_validate({**settings, "kv_type": "q4_0", "flash_attention": False})
    assert (kept.kv_type, kept.flash_attention) == ("q4_0", False)
    with pytest.raises(ValidationError, match="True, False or 'exact'"):
        EngineConfig.model_validate({"speculation": "exactly"})
    client = await open_engine(dense_laguna(), config=exact)
    without = await open_engine(
        dense_laguna(), config=exact.model_copy(update={"speculation": False})
    )
    assert (await client.status())["pid"] == (await without.status())["pid"], "one engine for both"
    prompt = await client.tokenize([Segment("one two three four five six " * 30)])
    request = EngineRequest(prompt, Sampling(temperature=0), 300)
    # From the second on, all continue from the very same state: a restored copy.
    for _ in range(2):
        plain = await finish(without, request)
    assert (await client.status())["tuning"]["exact"] == 0, "not needed so far"
    assert (await finish(client, request)).ids == plain.ids
    status = await client.status()
    assert status["tuning"]["exact"] >= 1
    assert (status["counters"]["drafted_tokens"] > 0) == (status["tuning"]["exact"] > 1)
    assert f"exact in batches of {status['tuning']['exact']}" in "\n".join(engine_lines(status))
    await client.aclose()
    await without.aclose()


@pytest.mark.slow
def test_exact_drafts_never_change_a_greedy_reply_of_a_real_model(starter_model: Path) -> None:
    model = Model(starter_model, LoadOptions(repack=False))
    requests = [
        EngineRequest(asked(model, task), Sampling(temperature=0), 240)
        for task in (f"{REWRITE}{FILE[:2200]}", f"Repeat this twice:\n\n{FILE[:600]}")
    ]
    options = replace(EXACT, threads=2, threads_batch=2)
    counted = exact_and_plain(model, options, requests)
    if platform.machine() in ("x86_64", "AMD64"):
        assert all(counters.accepted_tokens > 50 for counters in counted)
    model.close()


@pytest.mark.slow
def test_on_a_real_model_drafts_part_replies_only_where_batches_alone_would(
    starter_model: Path,
) -> None:
    """llama.cpp computes one token by other kernels than several, which moves the logits of a
    quantised model. What parts two greedy replies is no more than that: where they part, the two
    tokens are no further from each other than the same text is from itself in other batches."""
    model = Model(starter_model, LoadOptions())
    context = Context(model, ContextOptions(2048, 512, 512, threads=2, threads_batch=2))
    prompt = list(asked(model, f"{REWRITE}{FILE[:2200]}"))
    requests = [
        EngineRequest(array("i", prompt), Sampling(temperature=0), 240, speculate=speculate)
        for speculate in (False, True)
    ]
    (plain, _), (drafted, counters) = (generated(context, request) for request in requests)
    assert counters.accepted_tokens > 100
    at = common_prefix(plain, drafted)
    if at < min(len(plain), len(drafted)):
        single, batched = (logits_after(context, prompt, plain[:at], step) for step in (1, 16))
        noise = float(abs(single - batched).max())
        assert noise < 2, "far less than what separates a likely token from others"
        assert abs(single[plain[at]] - single[drafted[at]]) <= 2 * noise
    context.close()
    model.close()


@pytest.mark.slow
def test_sampled_replies_draw_the_same_with_and_without_drafts(context: Context) -> None:
    """Every row is sampled from its own logits by the same sampler with the same random numbers,
    drafted or not, so that only the noise of batch sizes makes replies diverge. How soon it does
    depends on the processor's kernels; with other random numbers they diverge at once."""
    agreed = unrelated = 0
    for number in range(8):
        plain = reply(context, number, speculate=False, temperature=0.05)
        drafted = reply(context, number, speculate=True, temperature=0.05)
        other = reply(context, number, speculate=False, temperature=0.05, seed=number + 100)
        agreed += common_prefix(plain, drafted)
        unrelated += common_prefix(plain, other)
    assert agreed > 5 * unrelated


def drawn(
    context: Context, seeds: range, *, speculate: bool, temperature: float = 1.0
) -> tuple[Counter[tuple[int, str]], Counters]:
    """How often each letter is at each place in replies that continue a text of the same few
    letters."""
    token = {x: context.model.tokenize(x, special=False)[0] for x in "Qq"}
    prompt = array("i", [token[x] for x in "Qqqq"] * 35)
    grammar = Grammar(f"root ::= (<[{token['Q']}]> | <[{token['q']}]>){{60}}")
    seen: Counter[tuple[int, str]] = Counter()
    cache = Cache(context)
    context.clear()
    for seed in seeds:
        sampling = Sampling(temperature=temperature, top_k=0, seed=seed)
        request = EngineRequest(prompt, sampling, 32, grammar=grammar, speculate=speculate)
        shown: list[str] = []
        sinks = Sinks(lambda *_: None, lambda _ids, text, _log, shown=shown: shown.append(text))
        for _ in Generation(context.model, cache, request, sinks).steps:
            pass
        seen.update(enumerate("".join(shown)))
    return seen, cache.counters


def chi_squared(left: Counter[tuple[int, str]], right: Counter[tuple[int, str]]) -> float:
    """The statistic of two samples over its degrees of freedom: about 1 when both have the same
    distribution at each place."""
    total = degrees = 0.0
    for place in {place for place, _ in left}:
        cells = [(left[place, letter], right[place, letter]) for letter in "Qq"]
        sums = [sum(cell[n] for cell in cells) for n in (0, 1)]
        if min(map(sum, cells)) < 20:
            continue
        degrees += 1
        for cell in cells:
            for n in (0, 1):
                expected = sums[n] * sum(cell) / sum(sums)
                total += (cell[n] - expected) ** 2 / expected
    assert degrees >= 6
    return total / degrees


@pytest.mark.slow
def test_sampled_replies_have_the_same_distribution_with_and_without_drafts(
    context: Context,
) -> None:
    """Over hundreds of replies with other seeds, with many drafts accepted and many rejected."""
    plain, _ = drawn(context, range(300), speculate=False)
    drafted, counters = drawn(context, range(1000, 1300), speculate=True)
    assert counters.accepted_tokens > 150
    assert counters.drafted_tokens > 2 * counters.accepted_tokens
    assert chi_squared(plain, drafted) < 2
    other, _ = drawn(context, range(2000, 2300), speculate=False, temperature=0.3)
    assert chi_squared(plain, other) > 3, "another distribution is detected"


async def test_rejected_drafts_leave_the_cache(config: EngineConfig) -> None:
    client = await open_engine(smooth_laguna(), config=config)
    prompt = await client.tokenize([Segment("one two three four five six " * 30)])
    first = await finish(client, EngineRequest(prompt, Sampling(temperature=0), 300, session="s"))
    longer = [*prompt, *first.ids, *await client.tokenize([Segment("next")])]
    second = await finish(client, EngineRequest(longer, Sampling(temperature=0), 2, session="s"))
    assert second.usage.reused_tokens == len(prompt) + len(first.ids) - 1
    fresh = await finish(client, EngineRequest([*longer], Sampling(temperature=0), 2, session="t"))
    assert fresh.ids == second.ids
    await client.aclose()


def test_a_repetition_is_continued_and_drafts_grow_with_it() -> None:
    generator = random.Random(0)
    text = [generator.randrange(1000) for _ in range(400)]
    drafter = Drafter(text)
    lengths = []
    for at in range(20, 120):
        drafter.append(text[at])
        draft = drafter.propose(500)
        if draft:
            assert list(draft) == text[at + 1 : at + 1 + len(draft)]
            lengths.append(len(draft))
    assert lengths == sorted(lengths)
    assert set(lengths) == {16, 32, 64}


def test_drafting_rests_when_it_does_not_pay() -> None:
    drafter = Drafter([*range(40)] * 3)
    drafter.record_single(1.0)
    assert drafter.propose(100)
    for _ in range(3):
        drafter.record_draft(accepted=0, seconds=6.0)
    assert not drafter.propose(100)
    for token in [*range(40)] * 2:
        drafter.append(token)
    assert drafter.propose(100), "it tries again after a while"


def test_drafts_are_as_long_as_they_may_be() -> None:
    drafter = Drafter([*range(40)] * 3, longest=6)
    assert len(drafter.propose(100)) == len(drafter.propose(6)) == 6
    assert not drafter.propose(5)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 2), max_size=200), st.integers(0, 200))
def test_a_draft_is_always_what_followed_an_equal_run(tokens: list[int], cut: int) -> None:
    drafter = Drafter(tokens[:cut])
    for token in tokens[cut:]:
        drafter.append(token)
    draft = list(drafter.propose(64))
    if not draft:
        return
    run = tokens[-12:]
    # The draft continues from the place, and wraps around when it reaches the last token.
    places = [
        at
        for at in range(12, len(tokens))
        if tokens[at - 12 : at] == run and (tokens[at:] * 64)[: len(draft)] == draft
    ]
    assert places


@pytest.mark.parametrize(
    ("ids", "so"),
    [
        ([7] * 160, True),
        ([1, 2, 3, *[4, 5] * 80], True),
        (list(range(64)) * 8, True),
        ([7] * 159, False),
        ([*[4, 5] * 80, 6], False),
        (list(range(65)) * 9, False),
        (list(range(300)), False),
        ([], False),
    ],
)
def test_tokens_that_come_again_and_again_run_on(ids: list[int], so: bool) -> None:
    assert runs_on(ids) is so
