"""What an engine reports of the tokens that it is asked to read: experts and probabilities."""

from __future__ import annotations

import asyncio
from array import array
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFReader
from numpy.typing import NDArray

from laguna_agent.config import EngineConfig
from laguna_agent.errors import ContextFullError
from laguna_agent.models.chat.chat_format import Segment
from laguna_agent.models.conversation import Sampling
from laguna_agent.models.engine.client import EngineClient, open_engine
from laguna_agent.models.engine.interface import EngineRequest, Finished
from laguna_agent.models.engine.llama import Context, ContextOptions, LoadOptions, Model
from laguna_agent.models.engine.synthetic import TINY
from laguna_agent.models.engine.tensor_reader import tensor_callback
from laguna_agent.models.routing import Routing, busiest_tenth, entropy, overlap, unused
from support.synthetic import dense_laguna, tiny_laguna

GREEDY = Sampling(temperature=0)
TOKENS = [300 + index * 37 % 3000 for index in range(150)]


def request(tokens: list[int], last: int | None = None, **more: Any) -> EngineRequest:
    return EngineRequest(tokens, GREEDY, 0, resume=len(tokens) if last is None else last, **more)


class RouterInputs:
    """Observes the hidden states that routers get."""

    def __init__(self) -> None:
        self.seen: dict[int, NDArray[Any]] = {}

    def wants(self, name: bytes) -> bool:
        return name.startswith(b"ffn_norm-") and b" " not in name

    def receive(self, name: bytes, values: NDArray[Any]) -> None:
        self.seen[int(name.partition(b"-")[2])] = values.reshape(-1, TINY.hidden)


def hidden_states(path: Path) -> dict[int, NDArray[Any]]:
    observer = RouterInputs()
    model = Model(path, LoadOptions())
    context = Context(model, ContextOptions(256, 64, 64), tensor_callback(observer))
    parts = []
    for at in range(0, len(TOKENS), 64):
        context.decode(array("i", TOKENS[at : at + 64]), at, every_row=True)
        parts.append(observer.seen)
        observer.seen = {}
    context.close()
    model.close()
    return {layer: np.concatenate([part[layer] for part in parts]) for layer in parts[0]}


async def test_loads_are_those_of_the_router_weights_and_hidden_states(
    warm_engine: EngineClient,
) -> None:
    found = await warm_engine.examine(request(TOKENS))
    assert found.layers == (1, 2, 3)
    tensors = {tensor.name: tensor.data for tensor in GGUFReader(tiny_laguna()).tensors}
    states = hidden_states(tiny_laguna())
    loads, weights = np.zeros((2, 3, TINY.experts))
    for row, layer in enumerate(found.layers):
        probabilities = 1 / (
            1 + np.exp(-states[layer] @ tensors[f"blk.{layer}.ffn_gate_inp.weight"].T)
        )
        biased = probabilities + tensors[f"blk.{layer}.exp_probs_b.bias"]
        chosen = np.argsort(-biased, axis=1)[:, : TINY.experts_used]
        given = np.take_along_axis(probabilities, chosen, axis=1)
        given /= given.sum(axis=1, keepdims=True)
        np.add.at(loads[row], chosen, 1 / chosen.size)
        np.add.at(weights[row], chosen, given / len(chosen))
    routing = Routing(
        "", found.layers, found.arrays["experts"], found.arrays["weights"], TINY.experts
    )
    np.testing.assert_allclose(routing.load(), loads, atol=1e-9)
    np.testing.assert_allclose(routing.weight(), weights, atol=1e-4)


async def test_the_end_of_a_conversation_is_read_alone_and_the_conversation_goes_on(
    warm_engine: EngineClient,
) -> None:
    whole = await warm_engine.examine(request(TOKENS))
    said = EngineRequest(TOKENS, GREEDY, 8, session="talk")
    first = [event async for event in warm_engine.generate(said)][-1]
    assert isinstance(first, Finished)
    before = (await warm_engine.status())["counters"]["decoded_tokens"]
    end = await warm_engine.examine(request(TOKENS, 20))
    assert (await warm_engine.status())["counters"]["decoded_tokens"] - before <= 64
    same = end.arrays["experts"][..., None] == whole.arrays["experts"][-20:, :, None]
    assert same.any(axis=3).mean() > 0.9, "batches of other sizes swap a few experts"
    longer = EngineRequest([*TOKENS, *first.ids, 400, 401], GREEDY, 2, session="talk")
    last = [event async for event in warm_engine.generate(longer)][-1]
    assert isinstance(last, Finished)
    assert last.miss is None
    assert last.usage.prefilled_tokens <= 3


async def test_predictions_are_compared_with_those_of_another_engine(
    warm_engine: EngineClient, tmp_path: Path
) -> None:
    file = str(tmp_path / "logits")
    one = await warm_engine.examine(request(TOKENS, logits_to=file))
    other = await warm_engine.examine(request(TOKENS, logits_from=file))
    assert (one.arrays["top"] == other.arrays["top"]).all()
    assert one.arrays["logprobs"].shape == (len(TOKENS) - 1,)
    assert np.abs(other.arrays["divergence"]).max() < 1e-4, "the model itself"
    assert "divergence" not in one.arrays
    reply = EngineRequest(TOKENS, GREEDY, 1, logprobs=True, speculate=False)
    tokens = [event async for event in warm_engine.generate(reply)]
    assert one.arrays["top"][-1] == next(event.ids[0] for event in tokens if hasattr(event, "text"))


async def test_a_dense_model_has_no_layers_to_report(home: Path, config: EngineConfig) -> None:
    engine = await open_engine(dense_laguna(), config=config)
    found = await engine.examine(request(TOKENS))
    assert (found.layers, found.arrays) == ((), {})
    await engine.aclose()


async def test_what_is_cancelled_or_refused_leaves_a_working_engine(
    warm_engine: EngineClient,
) -> None:
    long = [300 + index * 37 % 3000 for index in range(warm_engine.model.context + 1)]
    with pytest.raises(ContextFullError):
        await warm_engine.examine(request(long))
    began = asyncio.Event()
    task = asyncio.create_task(
        warm_engine.examine(request(long[:-1]), on_progress=lambda _: began.set())
    )
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not (await warm_engine.status())["waiting"]
    assert (await warm_engine.examine(request(TOKENS[:3]))).layers
    assert await warm_engine.tokenize([Segment("x")])


def test_figures_of_a_load() -> None:
    chosen = np.array([[[0, 1]], [[0, 2]], [[0, 1]], [[0, 1]]], np.uint16)
    routing = Routing("", (7,), chosen, np.full(chosen.shape, 0.5, np.float16), 20)
    load = routing.load()
    assert load[0, :4].tolist() == [0.5, 0.375, 0.125, 0.0]
    assert entropy(load) == pytest.approx(1.4056, abs=1e-4)
    assert busiest_tenth(load) == pytest.approx(0.875)
    assert unused(load).tolist() == [17]
    assert overlap(load, load) == pytest.approx(1)
    assert overlap(routing.half(0).load(), routing.half(1).load()) == pytest.approx(0.75)
