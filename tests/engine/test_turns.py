"""Generations that take turns on one cache do not disturb each other."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from laguna_agent.models.conversation import Sampling
from laguna_agent.models.engine.cache import Cache
from laguna_agent.models.engine.generation import Generation, Sinks
from laguna_agent.models.engine.interface import EngineRequest
from laguna_agent.models.engine.llama import Context, ContextOptions, LoadOptions, Model
from support.choices import same_choices
from support.synthetic import smooth_laguna


@pytest.fixture(scope="module")
def context() -> Iterator[Context]:
    model = Model(smooth_laguna(), LoadOptions())
    context = Context(model, ContextOptions(1024, 64, 64))
    yield context
    context.close()
    model.close()


def generation(cache: Cache, number: int) -> tuple[Generation, list[str]]:
    model = cache.context.model
    shown: list[str] = []
    prompt = model.tokenize(f"conversation {number}: " + f"word {number} " * 70, special=False)
    request = EngineRequest(prompt, Sampling(temperature=0), 40, session=f"s{number}")
    return Generation(
        model, cache, request, Sinks(lambda *_: None, lambda _, text, __: shown.append(text))
    ), shown


def alone(context: Context, number: int) -> list[int]:
    context.clear()
    job, _ = generation(Cache(context), number)
    for _ in job.steps:
        pass
    assert job.result is not None
    return job.result.ids


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_replies_are_as_if_each_were_alone(context: Context, seed: int) -> None:
    expected = [alone(context, number) for number in range(3)]
    context.clear()
    cache = Cache(context)
    jobs = [generation(cache, number)[0] for number in range(3)]
    generator = random.Random(seed)
    waiting = list(jobs)
    while waiting:
        job = generator.choice(waiting)
        for _ in range(generator.randrange(1, 12)):
            if next(job.steps, "over") == "over":
                waiting.remove(job)
                break
    assert cache.counters.state_restores > 0
    generated = sum(len(ids) for ids in expected)
    decoded = cache.counters.decoded_tokens
    prompts = 0
    for job, ids in zip(jobs, expected, strict=True):
        assert job.result is not None
        prompts += job.result.prompt
        assert same_choices(context, job.prompt, ids, job.result.ids)
    # A switch costs only the tokens of a conversation too short to be parked.
    assert decoded < 1.5 * (prompts + generated)


def test_a_cancelled_generation_leaves_its_tokens_in_the_cache(context: Context) -> None:
    context.clear()
    cache = Cache(context)
    job, _ = generation(cache, 1)
    for _ in range(8):
        next(job.steps)
    job.cancelled = True
    assert next(job.steps, "over") == "over"
    assert job.result is not None
    assert job.result.reason == "cancelled"
    again, _ = generation(cache, 1)
    for _ in again.steps:
        pass
    assert again.result is not None
    assert again.result.prefilled == 1
