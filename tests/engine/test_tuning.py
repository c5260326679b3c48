"""What an engine measures on first use: stored, applied, shown."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from laguna_agent.config import EngineConfig
from laguna_agent.events import ModelLoading
from laguna_agent.interfaces.commands.engine import main as engine_command
from laguna_agent.models.chat.chat_format import Segment
from laguna_agent.models.conversation import Sampling
from laguna_agent.models.engine import attention_probe, repack_probe, tuning, tuning_store
from laguna_agent.models.engine.batch_size import BatchSizer
from laguna_agent.models.engine.client import EngineClient, open_engine
from laguna_agent.models.engine.interface import EngineEvent, EngineRequest, Finished
from laguna_agent.models.engine.llama import Context, ContextOptions, LoadOptions, Model, build_info
from laguna_agent.models.engine.model_runner import ModelRunner
from laguna_agent.models.engine.quiet_moments import QuietMoments
from laguna_agent.models.engine.repack_probe import Gain
from laguna_agent.models.engine.tuning_store import Tuning, fingerprint
from laguna_agent.models.gguf import GgufHeader, read_header
from laguna_agent.models.sizing.fit import MICRO_BATCH
from laguna_agent.models.sizing.hardware import physical_cores
from support.synthetic import tiny_laguna

LEARNING = EngineConfig(context=8192, keep_alive=60)


async def reply(client: EngineClient, text: str) -> Finished:
    tokens = await client.tokenize([Segment(text)])
    request = EngineRequest(tokens, Sampling(temperature=0), 4)
    last = [event async for event in client.generate(request)][-1]
    assert isinstance(last, Finished)
    return last


async def test_what_was_learnt_is_kept_applied_and_shown(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    events: list[EngineEvent] = []
    client = await open_engine(tiny_laguna(), config=LEARNING, on_event=events.append)
    assert any(isinstance(event, ModelLoading) and event.measuring for event in events)
    status = await client.status()
    learnt = Tuning(**status["tuning"])
    assert learnt.decode_rate > 0
    quick = tuning.FLASH_S * learnt.batch_rate >= 2 * 384
    assert (learnt.flash_gain > 0) == quick, "not where it takes long"
    assert not learnt.flash_deep, "that waits for a quiet moment"
    assert learnt.repack_gain > 0, "also while others load the machine"
    assert learnt.step == 0
    await reply(client, "def area(width, height): return width * height\n" * 200)
    learnt = Tuning(**(await client.status())["tuning"])
    assert learnt.step in (256, 512)
    engine_command(["status"])
    shown = capsys.readouterr().out
    assert f"steps of {learnt.step}" in shown
    assert "flash attention" in shown
    await client.stop()
    await client.aclose()


async def test_another_engine_of_the_model_measures_nothing_again(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layout = f"{physical_cores()} {MICRO_BATCH} None 0 f16"
    key = f"{fingerprint(tiny_laguna())} {build_info()} {layout}"
    known = Tuning(1, 1, 5.0, 6.0, measured=True, step=256, flash_gain=0.5, repack_gain=0.9)
    known = replace(known, repack_error=0.02)
    tuning_store.store(key, known)
    events: list[EngineEvent] = []
    client = await open_engine(tiny_laguna(), config=LEARNING, on_event=events.append)
    assert not any(isinstance(event, ModelLoading) and event.measuring for event in events)
    status = await client.status()
    assert Tuning(**status["tuning"]) == known
    assert status["context"]["flash_attention"] is False
    assert status["repack"] is False
    engine_command(["status"])
    assert "as in the file (repacked: 0.90 ± 0.02 × the speed)" in capsys.readouterr().out
    assert (await reply(client, "x")).ids
    await client.stop()
    await client.aclose()


def stored_tuning() -> Tuning:
    """A tuning that was measured beside other work, stored as that of the tiny model."""
    layout = f"{physical_cores()} {MICRO_BATCH} None 0 f16"
    known = Tuning(1, 1, 5.0, 6.0, step=256, flash_gain=0.5, repack_gain=0.9, repack_error=0.1)
    tuning_store.store(f"{fingerprint(tiny_laguna())} {build_info()} {layout}", known)
    return known


def test_a_quiet_moment_changes_the_layout_and_keeps_what_was_decoded(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = stored_tuning()
    runner = ModelRunner(tiny_laguna(), LEARNING, None)
    assert runner.tuning == known
    assert runner.status()["repack"] is False
    tokens = array("i", range(100, 300))
    runner.cache.prepare(tokens, "s")
    runner.cache.decode(tokens)
    runner.cache.record("s", len(tokens))
    monkeypatch.setattr(tuning, "repack_gain", lambda *_: Gain(1.5, 0.1))
    runner.measure_again(lambda: True)
    assert runner.tuning == known, "a request stops it"
    runner.measure_again(lambda: False)
    learnt = runner.tuning
    assert learnt.measured
    assert (learnt.repack_gain, learnt.step) == (1.5, 256)
    assert learnt.flash_deep
    assert learnt.flash_gain not in (0, 0.5), "measured at length"
    assert runner.status()["repack"] is True
    assert not runner.wants_measuring()
    assert runner.options.flash_attention is False, "saved states stay valid"
    assert runner.model.token_of("</assistant>") is not None
    prepared = runner.cache.prepare(array("i", [*tokens, 7]), "s")
    assert (prepared.reused, prepared.source) == (len(tokens), "parked")
    runner.cache.decode([7])
    runner.close()
    again = ModelRunner(tiny_laguna(), LEARNING, None)
    assert (again.tuning, again.status()["repack"]) == (learnt, True)
    again.close()


def test_a_moment_is_quiet_when_the_processors_rested_for_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stat = tmp_path / "stat"
    now = busy = idle = 0
    monkeypatch.setattr("time.monotonic", lambda: 1000.0 + now)
    moments = QuietMoments(stat)
    seen = []
    for load in (90, 10, 0, 0, 0, 0, 0, 90, 0, 0):
        now, busy, idle = now + 1, busy + load, idle + 200 - load
        stat.write_text(f"cpu {busy} 0 0 {idle} 0 0 0 0 9 9\ncpu0 1 1 1 1\n")
        seen.append(moments.lasts())
    assert seen == [False, False, False, False, False, True, True, False, False, False]
    now += 60
    assert not moments.lasts(), "nobody asked for a minute"


def test_a_look_right_after_another_does_not_end_a_quiet_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stat = tmp_path / "stat"
    now, busy, idle = 0.0, 0, 0
    monkeypatch.setattr("time.monotonic", lambda: 1000.0 + now)
    moments = QuietMoments(stat)
    seen = []
    for look in range(400):  # every 20 ms, over which one tick is a quarter of the time
        now, busy, idle = now + 0.02, busy + (look % 8 == 0), idle + 4
        stat.write_text(f"cpu {busy} 0 0 {idle} 0 0 0 0 9 9\n")
        seen.append(moments.lasts())
    assert seen[-1]
    assert not seen[100]


def test_flash_attention_is_chosen_by_where_each_way_loses_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Seconds of a batch and of a token: flash attention is ahead at first and behind later.
    def seconds(*, flash: bool, tokens: int, at: int) -> float:
        fixed, slope = (1.0, 0.002) if flash else (1.1, 0.001)
        return (fixed + slope * (at + tokens / 2)) * (tokens / 128 if tokens > 1 else 0.1)

    now = 0.0

    class Timed:
        def __init__(self, model: object, options: ContextOptions) -> None:
            self.flash = bool(options.flash_attention)

        def decode(self, tokens: array[int], at: int) -> None:
            nonlocal now
            now += seconds(flash=self.flash, tokens=len(tokens), at=at)

        def clear(self) -> None: ...
        def trim(self, depth: int) -> None: ...
        def close(self) -> None: ...

    monkeypatch.setattr(attention_probe, "Context", Timed)
    monkeypatch.setattr("time.process_time", lambda: now)
    options = ContextOptions(8192, 512, 512, 2, 2)
    model: Any = None
    long = attention_probe.flash_gain(model, options, 100.0, 120.0)
    kept = (1.1 + 4096 * 0.001) / (1.0 + 4096 * 0.002)
    assert long == pytest.approx(kept / (1 / 1.1), abs=0.01)
    short = attention_probe.flash_gain(model, options, 100.0, 12.0)
    assert short == pytest.approx(long, abs=0.01), "the rest is extrapolated"
    assert attention_probe.flash_gain(model, options, 100.0, 7.0) == 0, "no time"


@pytest.mark.parametrize("budget", [49.0, 21.0])
def test_attention_is_measured_to_any_depth_that_there_is_time_for(budget: float) -> None:
    model = Model(tiny_laguna(), LoadOptions())
    try:  # 2,432 tokens by 256, 1,024 by 128
        assert (
            attention_probe.flash_gain(model, ContextOptions(8192, 512, 512, 2, 2), 100.0, budget)
            > 0
        )
    finally:
        model.close()


def test_measuring_attention_stops_for_a_request() -> None:
    model = Model(tiny_laguna(), LoadOptions(repack=False))
    options = ContextOptions(2048, 128, 128, 1, 1)
    held: list[Sequence[Context]] = []

    def hold(contexts: Sequence[Context]) -> None:
        held.append(contexts)
        for context in contexts:
            context.abort()

    with pytest.raises(attention_probe.StoppedError):
        attention_probe.flash_gain(model, options, 1000.0, 60.0, hold)
    assert [len(contexts) for contexts in held] == [2, 0], "what is closed is let go"
    with pytest.raises(attention_probe.StoppedError):
        attention_probe.flash_gain(model, options, 1000.0, 60.0, stopped=lambda: True)
    model.close()


@pytest.mark.parametrize(
    ("gain", "processor", "repacked"),
    [
        (Gain(1.5, 0.2), "x86_64", True),
        (Gain(0.9, 0.02), "arm64", False),
        (Gain(1.1, 0.2), "x86_64", False),
        (Gain(1.0, 0.2), "arm64", True),
        (Gain(-1), "aarch64", True),
    ],
)
def test_what_is_unclear_is_decided_by_the_processor(
    monkeypatch: pytest.MonkeyPatch, gain: Gain, processor: str, repacked: bool
) -> None:
    monkeypatch.setattr("platform.machine", lambda: processor)
    assert tuning.repacked_is_faster(gain) is repacked


@pytest.mark.slow
def test_a_quantised_cache_is_tuned_without_trying_what_llama_refuses(home: Path) -> None:
    runner = ModelRunner(tiny_laguna(), LEARNING.model_copy(update={"kv_type": "q4_0"}), None)
    assert runner.tuning.flash_gain == 0
    assert runner.tuning.decode_rate > 0
    runner.close()


@pytest.mark.slow
async def test_configured_settings_are_not_measured(config: EngineConfig) -> None:
    client = await open_engine(tiny_laguna(), config=config)
    status = await client.status()
    assert not status["tuning"]["measured"]
    assert status["context"]["flash_attention"] is None
    await client.aclose()


@pytest.mark.slow
@pytest.mark.parametrize(("gain", "kept"), [(0.8, False), (1.0, False), (1.5, True)])
def test_weights_are_rearranged_where_that_is_faster(
    home: Path, monkeypatch: pytest.MonkeyPatch, gain: float, kept: bool
) -> None:
    asked: list[str] = []

    def measured(header: GgufHeader, *_: object) -> Gain:
        asked.append(header.name)
        return Gain(gain, 0.01)

    monkeypatch.setattr(tuning, "repack_gain", measured)
    monkeypatch.setattr("os.getloadavg", lambda: (0.0, 0.0, 0.0))
    loaded: list[bool] = []
    monkeypatch.setattr(
        "laguna_agent.models.engine.model_runner.LoadOptions",
        lambda **kinds: loaded.append(kinds["repack"]) or LoadOptions(**kinds),
    )
    configured = LEARNING.model_copy(update={"repack": not kept})
    for config, found in ((LEARNING, gain), (LEARNING, gain), (configured, 0)):
        runner = ModelRunner(tiny_laguna(), config, None)
        assert runner.tuning.repack_gain == found
        runner.close()
    assert loaded == [kept, kept, not kept]
    assert len(asked) == 1, "measured once"


@pytest.mark.parametrize(("room", "threads", "rearranged"), [(False, None, False), (True, 2, True)])
def test_no_layout_is_measured_without_need(
    monkeypatch: pytest.MonkeyPatch, room: bool, threads: int | None, rearranged: bool
) -> None:
    monkeypatch.setattr(tuning, "repack_gain", lambda *_: pytest.fail("measured"))
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    chosen = tuning.choose_layout(
        read_header(tiny_laguna()), EngineConfig(threads=threads), None, 2, room=room
    )
    assert chosen == (rearranged, Gain())


@pytest.mark.slow
def test_layouts_are_compared_with_a_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    header = read_header(tiny_laguna())
    geometry = repack_probe.shape(header)
    assert geometry is not None
    assert (geometry.experts, geometry.experts_used, geometry.hidden) == (16, 4, 256)
    gain = repack_probe.repack_gain(header, 2)
    assert 0.2 < gain.value < 5
    assert 0 < gain.error < gain.value
    assert repack_probe.repack_gain(header, 2, lambda: True).value == 0, "stopped"
    others = replace(header, types={"F32": 9, "IQ4_XS": 7, "Q4_K": 2})
    assert repack_probe.repack_gain(others, 2).value == 0, "a probe cannot have such weights"
    monkeypatch.setattr(repack_probe, "shape", lambda _: replace(geometry, head=96, rope_global=96))
    assert repack_probe.repack_gain(header, 2).value == 0, (
        "llama.cpp gave up on it, and nothing else ended"
    )


def test_a_probe_has_the_shape_of_its_model() -> None:
    dense = {
        "general.architecture": "qwen2",
        "qwen2.embedding_length": 1500,
        "qwen2.feed_forward_length": 8960,
        "qwen2.block_count": 28,
    }
    header = replace(read_header(tiny_laguna()), metadata=dense)
    geometry = repack_probe.shape(header)
    assert geometry is not None
    assert (geometry.hidden, geometry.dense, geometry.dense_layers) == (1536, 8960, 2)
    many = {
        "general.architecture": "laguna",
        "laguna.embedding_length": 2048,
        "laguna.expert_count": 256,
        "laguna.expert_used_count": 8,
        "laguna.expert_feed_forward_length": 512,
    }
    geometry = repack_probe.shape(replace(header, metadata=many))
    assert geometry is not None
    assert (geometry.experts, geometry.experts_used, geometry.expert) == (32, 1, 512)


@pytest.mark.parametrize(
    ("whole", "half", "chosen"),
    [(1.0, 1.0, 256), (1.0, 0.9, 256), (1.0, 1.2, 512), (1.0, 1.02, 512), (1.0, 1.005, 256)],
)
def test_half_a_micro_batch_is_taken_where_it_is_as_fast(
    whole: float, half: float, chosen: int
) -> None:
    learned: list[int] = []
    sizer = BatchSizer(512, on_learned=learned.append)
    sizes = []
    for _ in range(4):
        size = sizer.size()
        sizes.append(size)
        sizer.record(size - 1, 99.0)  # cut short: says nothing about the size
        sizer.record(size, size * (whole if size == 512 else half))
    assert sizes == [512, 256, 256, 512]
    assert sizer.size() == sizer.chosen == chosen
    assert learned == [chosen]
    sizer.record(200, 4.0)
    sizer.record(3, 9.0)  # too few to measure a rate
    assert sizer.rate == 50
