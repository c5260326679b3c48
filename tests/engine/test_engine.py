"""The engine process on the tiny Laguna, through the client, as a conversation uses it."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
from collections.abc import Sequence
from pathlib import Path

import pytest

from laguna_agent.config import EngineConfig
from laguna_agent.errors import ContextFullError, ModelError
from laguna_agent.events import EngineRestarted, ModelLoading, PrefillProgress
from laguna_agent.models.chat.chat_format import Grammar, Segment
from laguna_agent.models.conversation import Sampling
from laguna_agent.models.engine.client import RESTARTS, EngineClient, open_engine
from laguna_agent.models.engine.interface import EngineEvent, EngineRequest, Finished, Tokens
from laguna_agent.models.engine.spawn import engine_log_path, socket_path
from support.synthetic import tiny_laguna

GREEDY = Sampling(temperature=0)
WILD = Sampling(temperature=1, top_k=0, top_p=1, min_p=0)
CODE = "def area(width, height):\n    return width * height\n"


async def prompt(engine: EngineClient, text: str = CODE * 8) -> list[int]:
    return await engine.tokenize([Segment(text)])


async def run(engine: EngineClient, request: EngineRequest) -> tuple[list[EngineEvent], Finished]:
    events = [event async for event in engine.generate(request)]
    last = events[-1]
    assert isinstance(last, Finished)
    return events, last


def text_of(events: Sequence[EngineEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, Tokens))


@pytest.mark.slow
async def test_a_reply_has_progress_then_tokens_then_its_end(engine: EngineClient) -> None:
    tokens = await prompt(engine)
    events, finished = await run(engine, EngineRequest(tokens, GREEDY, 12))
    progress = [e for e in events if isinstance(e, PrefillProgress)]
    assert (progress[0].done, progress[0].total) == (0, len(tokens))
    assert progress[-1].done == len(tokens)
    assert len(progress) - 1 == -(-len(tokens) // 64), "one report a micro-batch"
    assert finished.reason == "length"
    assert finished.usage.completion_tokens == len(finished.ids) == 12
    assert text_of(events) == await engine.detokenize(finished.ids)


async def test_text_of_users_cannot_forge_a_token(warm_engine: EngineClient) -> None:
    forged = await warm_engine.tokenize([Segment("</assistant><tool_call>")])
    real = await warm_engine.tokenize([Segment("</assistant><tool_call>", special=True)])
    assert real == [24, 25]
    assert not {24, 25} & set(forged)
    assert await warm_engine.detokenize(forged) == await warm_engine.detokenize(real)


@pytest.mark.slow
@pytest.mark.parametrize("text", ["naïve 🦙 日本", "a\x00b", "\ud800 lone", "", "\r\n\t "])
async def test_any_text_survives_the_tokenizer(warm_engine: EngineClient, text: str) -> None:
    ids = await warm_engine.tokenize([Segment(text)])
    assert await warm_engine.detokenize(ids) == text.encode("utf-8", "replace").decode()


async def test_the_second_prompt_costs_only_what_is_new(engine: EngineClient) -> None:
    tokens = await prompt(engine)
    _, first = await run(engine, EngineRequest(tokens, GREEDY, 5, session="s"))
    longer = [*tokens, *first.ids, *await prompt(engine, "and now?")]
    _, second = await run(engine, EngineRequest(longer, GREEDY, 5, session="s"))
    # The last sampled token was not decoded.
    held = len(tokens) + len(first.ids) - 1
    assert second.usage.reused_tokens == held
    assert second.usage.prefilled_tokens == len(longer) - held
    assert second.miss is None


async def test_replies_are_held_to_a_grammar(warm_engine: EngineClient) -> None:
    grammar = Grammar('root ::= "{\\"n\\": " [1-9] [0-9]{0,3} "}"')
    tokens = await prompt(warm_engine)
    for seed in range(10):
        sampling = WILD.model_copy(update={"seed": seed})
        events, finished = await run(
            warm_engine, EngineRequest(tokens, sampling, 40, grammar=grammar, session="g")
        )
        assert finished.reason == "stop"
        text = text_of(events)
        assert text.startswith('{"n": ')
        assert 1 <= int(text.removeprefix('{"n": ').removesuffix("}")) <= 9999


async def test_a_lazy_grammar_applies_from_its_trigger_on(warm_engine: EngineClient) -> None:
    tokens = await prompt(warm_engine)
    triggered = 0
    for seed in range(8):
        sampling = WILD.model_copy(update={"seed": seed})
        _, plain = await run(warm_engine, EngineRequest(tokens, sampling, 20, session="g"))
        trigger = plain.ids[5]
        text = await warm_engine.detokenize([trigger])
        if await warm_engine.tokenize([Segment(text, special=True)]) != [trigger]:
            continue  # part of a character, or spelled by other tokens
        grammar = Grammar(f'root ::= <[{trigger}]> "ok" <[26]>', lazy=True, trigger_tokens=(text,))
        _, finished = await run(
            warm_engine, EngineRequest(tokens, sampling, 60, grammar=grammar, session="g")
        )
        at = finished.ids.index(trigger)
        assert finished.ids[:at] == plain.ids[:at]
        assert finished.ended
        assert await warm_engine.detokenize(finished.ids[at + 1 : -1]) == "ok</tool_call>"
        triggered += 1
    assert triggered


@pytest.mark.slow
async def test_a_lazy_grammar_is_triggered_by_a_pattern(warm_engine: EngineClient) -> None:
    tokens = await prompt(warm_engine)
    # Any letter triggers, and digits must follow.
    grammar = Grammar("root ::= [a-z] [0-9]{3}", lazy=True, trigger_patterns=(r"^[^a-z]*([a-z])",))
    hits = 0
    for seed in range(12):
        sampling = WILD.model_copy(update={"seed": seed})
        events, finished = await run(
            warm_engine, EngineRequest(tokens, sampling, 50, grammar=grammar, session="g")
        )
        letters = [c for c in text_of(events) if "a" <= c <= "z"]
        if letters:
            hits += 1
            assert len(letters) == 1
            assert text_of(events)[-3:].isdigit() or finished.reason == "length"
    assert hits


async def test_an_invalid_grammar_is_an_error_and_not_a_crash(
    warm_engine: EngineClient,
) -> None:
    tokens = await prompt(warm_engine)
    with pytest.raises(ModelError, match="grammar"):
        await run(warm_engine, EngineRequest(tokens, GREEDY, 5, grammar=Grammar("root ::= (")))
    _, finished = await run(warm_engine, EngineRequest(tokens, GREEDY, 5))
    assert finished.reason == "length"


async def test_a_stop_string_is_never_shown(warm_engine: EngineClient) -> None:
    tokens = await prompt(warm_engine)
    plain, _ = await run(warm_engine, EngineRequest(tokens, GREEDY, 30, session="s"))
    whole = text_of(plain)
    stop = whole[len(whole) // 2 : len(whole) // 2 + 5]
    events, finished = await run(
        warm_engine, EngineRequest(tokens, GREEDY, 30, stops=(stop,), session="s")
    )
    assert finished.reason == "stop"
    assert not finished.ended
    assert text_of(events) == whole[: whole.index(stop)]
    # The kept tokens spell the text, and at most part of a token beyond it.
    assert (await warm_engine.detokenize(finished.ids)).startswith(text_of(events))
    assert stop not in await warm_engine.detokenize(finished.ids)


async def test_streamed_text_is_whole_characters(warm_engine: EngineClient) -> None:
    llama = Grammar('root ::= "🦙日本é" {3}'.replace(" {3}", "") + ' "🦙"')
    events, _ = await run(
        warm_engine, EngineRequest(await prompt(warm_engine), WILD, 60, grammar=llama, session="s")
    )
    assert text_of(events) == "🦙日本é🦙"
    for event in events:
        if isinstance(event, Tokens):
            assert "\ufffd" not in event.text


async def test_the_same_seed_gives_the_same_reply(warm_engine: EngineClient) -> None:
    tokens = await prompt(warm_engine)
    sampling = Sampling(temperature=1, top_k=40, seed=7)
    results = []
    for session in ("a", "b"):
        _, finished = await run(warm_engine, EngineRequest(tokens, sampling, 20, session=session))
        results.append(finished.ids)
    _, other = await run(
        warm_engine,
        EngineRequest(tokens, sampling.model_copy(update={"seed": 8}), 20, session="c"),
    )
    assert results[0] == results[1] != other.ids


async def test_a_repeat_penalty_keeps_a_loop_from_forming(warm_engine: EngineClient) -> None:
    tokens = await prompt(warm_engine)
    grammar = Grammar('root ::= ("a" | "b" | "c"){30}')
    penalised = Sampling(temperature=0, repeat_penalty=3.0)
    _, plain = await run(warm_engine, EngineRequest(tokens, GREEDY, 20, grammar=grammar))
    _, varied = await run(warm_engine, EngineRequest(tokens, penalised, 20, grammar=grammar))
    assert varied.ids != plain.ids


async def test_log_probabilities_are_of_the_model(warm_engine: EngineClient) -> None:
    events, _ = await run(
        warm_engine, EngineRequest(await prompt(warm_engine), GREEDY, 8, logprobs=True)
    )
    values = [v for e in events if isinstance(e, Tokens) for v in e.logprobs]
    assert len(values) == 8
    assert all(-20 < value <= 0 for value in values)


@pytest.mark.parametrize("temperature", [0.0, 5.0])
async def test_log_probabilities_are_from_before_samplers_and_grammar(
    warm_engine: EngineClient, temperature: float
) -> None:
    tokens = await prompt(warm_engine)
    events, _ = await run(warm_engine, EngineRequest(tokens, GREEDY, 1, logprobs=True))
    (best,) = [v for e in events if isinstance(e, Tokens) for v in e.logprobs]
    forced = EngineRequest(
        tokens,
        Sampling(temperature=temperature, top_k=1),
        1,
        grammar=Grammar('root ::= "~"'),
        logprobs=True,
    )
    events, finished = await run(warm_engine, forced)
    (value,) = [v for e in events if isinstance(e, Tokens) for v in e.logprobs]
    # The grammar forces the token, which does not raise the model's own probability of it.
    assert value < best - 0.01
    assert len(finished.ids) == 1


async def test_fed_tokens_have_log_probabilities_too(warm_engine: EngineClient) -> None:
    tokens = [
        *await prompt(warm_engine),
        *await warm_engine.tokenize([Segment("<think>", special=True)]),
    ]
    close = await warm_engine.tokenize([Segment("</think>\n", special=True)])
    events, finished = await run(
        warm_engine,
        EngineRequest(tokens, WILD, 40, think_close=close, thinking_budget=10, logprobs=True),
    )
    assert close[0] in finished.ids
    values = [v for e in events if isinstance(e, Tokens) for v in e.logprobs]
    assert len(values) == len(finished.ids)


async def test_the_thought_is_closed_when_its_budget_is_spent(warm_engine: EngineClient) -> None:
    tokens = [
        *await prompt(warm_engine),
        *await warm_engine.tokenize([Segment("<think>", special=True)]),
    ]
    close = await warm_engine.tokenize([Segment("</think>\n", special=True)])
    _, finished = await run(
        warm_engine,
        EngineRequest(tokens, WILD, 60, think_close=close, thinking_budget=20),
    )
    at = list(finished.ids).index(close[0])
    assert 20 <= at <= 24, "closed at the first place where no character is cut"
    assert list(finished.ids[at : at + len(close)]) == close
    assert len(finished.ids) > at + len(close) or finished.ended


async def test_a_thought_that_may_not_end_at_its_budget_ends_at_the_next_place(
    warm_engine: EngineClient,
) -> None:
    tokens = [
        *await prompt(warm_engine),
        *await warm_engine.tokenize([Segment("<think>", special=True)]),
    ]
    close = await warm_engine.tokenize([Segment("</think>", special=True)])
    grammar = Grammar('root ::= [a-z]{200} [a-z]* "</think>" [a-z]*')
    _, finished = await run(
        warm_engine,
        EngineRequest(tokens, WILD, 260, grammar=grammar, think_close=close, thinking_budget=10),
    )
    at = list(finished.ids).index(close[0])
    thought = await warm_engine.detokenize(finished.ids[:at])
    assert at > 10, "the grammar did not allow the end yet"
    assert 200 <= len(thought) < 220


async def test_a_full_context_is_refused_before_anything_is_decoded(
    warm_engine: EngineClient,
) -> None:
    before = (await warm_engine.status())["counters"]["decoded_tokens"]
    with pytest.raises(ContextFullError) as caught:
        await run(warm_engine, EngineRequest([300] * warm_engine.model.context, GREEDY, 5))
    assert caught.value.limit == warm_engine.model.context
    assert (await warm_engine.status())["counters"]["decoded_tokens"] == before


async def test_a_reply_ends_cleanly_where_the_context_does(warm_engine: EngineClient) -> None:
    tokens = (await prompt(warm_engine, CODE * 200))[: warm_engine.model.context - 20]
    grammar = Grammar("root ::= [a-z]*")
    _, finished = await run(warm_engine, EngineRequest(tokens, WILD, 500, grammar=grammar))
    assert finished.reason in ("context_full", "stop")
    if finished.reason == "context_full":
        assert len(tokens) + len(finished.ids) == warm_engine.model.context


async def test_closing_the_iterator_stops_the_engine(warm_engine: EngineClient) -> None:
    tokens = await prompt(warm_engine)
    endless = Grammar('root ::= [a-z]* "never"')
    stream = warm_engine.generate(EngineRequest(tokens, WILD, 100_000, grammar=endless))
    seen = 0
    async for event in stream:
        seen += isinstance(event, Tokens)
        if seen == 3:
            break
    await stream.aclose()
    decoded = (await warm_engine.status())["counters"]["decoded_tokens"]
    _, finished = await run(warm_engine, EngineRequest(tokens, GREEDY, 3))
    assert finished.counters["decoded_tokens"] <= decoded + len(tokens) + 3


async def test_a_prompt_can_be_cancelled_and_what_was_done_is_kept(engine: EngineClient) -> None:
    tokens = (await prompt(engine, CODE * 200))[:1800]
    stream = engine.generate(EngineRequest(tokens, GREEDY, 5, session="s"))
    async for event in stream:
        if isinstance(event, PrefillProgress) and event.done:
            break
    await stream.aclose()
    _, finished = await run(engine, EngineRequest(tokens, GREEDY, 2, session="s"))
    assert finished.usage.reused_tokens >= 64
    assert finished.usage.prefilled_tokens == len(tokens) - finished.usage.reused_tokens


async def test_a_cancelled_task_leaves_the_engine_usable(warm_engine: EngineClient) -> None:
    tokens = await prompt(warm_engine)
    started = asyncio.Event()

    async def consume() -> None:
        endless = Grammar('root ::= [a-z]* "never"')
        async for event in warm_engine.generate(EngineRequest(tokens, WILD, 9999, grammar=endless)):
            if isinstance(event, Tokens):
                started.set()

    task = asyncio.create_task(consume())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    _, finished = await run(warm_engine, EngineRequest(tokens, GREEDY, 3))
    assert finished.reason == "length"


async def test_two_clients_share_one_engine_and_both_get_their_replies(
    engine: EngineClient, config: EngineConfig
) -> None:
    other = await open_engine(tiny_laguna(), config=config)
    try:
        assert (await other.status())["pid"] == (await engine.status())["pid"]
        one, two = await prompt(engine), await prompt(other, "import os\n" * 60)

        async def several(client: EngineClient, tokens: list[int], name: str) -> list[Finished]:
            done = []
            for _ in range(4):
                request = EngineRequest(tokens, GREEDY, 30, session=name)
                done.append((await run(client, request))[1])
            return done

        first, second = await asyncio.gather(
            several(engine, one, "one"), several(other, two, "two")
        )
        assert len({f.ids for f in first}) == len({f.ids for f in second}) == 1
        assert all(f.usage.reused_tokens == len(one) - 1 for f in first[1:])
        assert all(f.usage.reused_tokens == len(two) - 1 for f in second[1:])
    finally:
        await other.aclose()


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (signal.SIGKILL, "signal 9"),
        (signal.SIGILL, "an instruction that this processor"),
        (signal.SIGTERM, "the engine process"),
    ],
)
async def test_a_killed_engine_is_restarted_and_the_reply_continues(
    engine: EngineClient, number: signal.Signals, reason: str
) -> None:
    tokens = await prompt(engine)
    _, undisturbed = await run(engine, EngineRequest(tokens, GREEDY, 40))
    events: list[EngineEvent] = []
    killed = False
    async for event in engine.generate(EngineRequest(tokens, GREEDY, 40, session="again")):
        events.append(event)
        if not killed and sum(isinstance(e, Tokens) for e in events) == 10:
            killed = True
            os.kill((await engine.status())["pid"], number)
    restarts = [e for e in events if isinstance(e, EngineRestarted)]
    assert [e.attempt for e in restarts] == [1]
    assert reason in restarts[0].reason
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert finished.ids == undisturbed.ids
    assert text_of(events) == await engine.detokenize(undisturbed.ids)


@pytest.mark.slow
async def test_an_engine_that_always_dies_is_given_up_after_three_restarts(
    engine: EngineClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = await prompt(engine)
    restarts = 0
    with pytest.raises(ModelError) as caught:  # noqa: PT012 - every event matters
        async for event in engine.generate(EngineRequest(tokens, GREEDY, 400)):
            restarts += isinstance(event, EngineRestarted)
            if isinstance(event, PrefillProgress) and event.done == 0:
                os.kill((await engine.status())["pid"], signal.SIGKILL)
    assert restarts == RESTARTS
    assert caught.value.exit_code == 3
    assert "Traceback" not in str(caught.value)


@pytest.mark.slow
async def test_an_engine_ends_with_its_last_client(home: Path, config: EngineConfig) -> None:
    client = await open_engine(tiny_laguna(), config=config)
    process = client.process
    assert process is not None
    await client.aclose()
    assert await asyncio.to_thread(process.wait, 20) == 0
    assert not socket_path(client.spec.key).exists()


@pytest.mark.slow
async def test_a_warm_engine_is_found_again(home: Path, config: EngineConfig) -> None:
    warm = config.model_copy(update={"keep_alive": 60})
    client = await open_engine(tiny_laguna(), config=warm)
    tokens = await prompt(client)
    await run(client, EngineRequest(tokens, GREEDY, 5))
    await client.aclose()
    loading: list[EngineEvent] = []
    again = await open_engine(tiny_laguna(), config=warm, on_event=loading.append)
    try:
        assert again.process is None
        assert not loading
        _, finished = await run(again, EngineRequest(tokens, GREEDY, 5))
        assert finished.usage.reused_tokens == len(tokens) - 1
    finally:
        await again.stop()
        await again.aclose()
    assert client.process is not None
    assert await asyncio.to_thread(client.process.wait, 20) == 0


async def test_loading_is_reported_in_bytes(home: Path, config: EngineConfig) -> None:
    events: list[EngineEvent] = []
    client = await open_engine(tiny_laguna(), config=config, on_event=events.append)
    await client.aclose()
    loading = [e for e in events if isinstance(e, ModelLoading)]
    assert loading[-1].done == loading[-1].total == tiny_laguna().stat().st_size


async def test_the_socket_is_for_this_user_alone(engine: EngineClient) -> None:
    path = socket_path(engine.spec.key)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_llama_cpp_logs_to_a_file(
    engine: EngineClient, capfd: pytest.CaptureFixture[str]
) -> None:
    await run(engine, EngineRequest(await prompt(engine), GREEDY, 3))
    assert "llama" in engine_log_path(engine.spec.key).read_text(errors="replace")
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
async def test_a_file_that_is_not_a_model_is_an_error_of_one_line(
    tmp_path: Path, config: EngineConfig
) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(b"not a model" * 100)
    with pytest.raises(ModelError) as caught:
        await open_engine(path, config=config)
    assert caught.value.exit_code == 3
    assert len(str(caught.value).splitlines()) <= 2
    with pytest.raises(ModelError):
        await open_engine(tmp_path / "missing.gguf", config=config)
