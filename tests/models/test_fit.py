from __future__ import annotations

import bisect
import sys
from pathlib import Path
from types import MappingProxyType

import pytest

from laguna_agent.config import EngineConfig
from laguna_agent.errors import ModelError
from laguna_agent.models.catalogue import load_catalogue
from laguna_agent.models.engine.weight_placement import tensor_split
from laguna_agent.models.gguf import GgufHeader, Omitted, read_header
from laguna_agent.models.sizing import fit, hardware
from laguna_agent.models.sizing.devices import device_handles, query
from laguna_agent.models.sizing.hardware import (
    Gpu,
    MemorySize,
    backend,
    gpus,
    machine_memory,
    unused_card,
)
from support.synthetic import tiny_laguna

GIB = 1 << 30
KIB = 1 << 10


def header(architecture: str, weights: int = GIB, experts: int = 0, **values) -> GgufHeader:
    metadata = {f"{architecture}.{key}": value for key, value in values.items()}
    metadata["general.architecture"] = architecture
    metadata["tokenizer.ggml.tokens"] = Omitted(100_352)
    layers = values["block_count"]
    each = experts // (layers - 1) if experts else 0
    by_layer = dict.fromkeys(range(1, layers), each) if experts else {}
    table = 100_352 * values.get("embedding_length", 0) * 9 // 16
    parts = {"embedding": {"Q4_K": table}, "output": {"Q4_K": table}} if experts else {}
    return GgufHeader(
        MappingProxyType(metadata), 1, 1, weights, by_layer, {"Q4_K": 1}, weights, parts=parts
    )


def laguna_xs(weights: int | None = None, **more) -> GgufHeader:
    """The geometry of Laguna XS at Q4_K_M, 93.6 % of it in routed experts."""
    weights = weights or load_catalogue().get("laguna").file.size
    return header(
        "laguna",
        weights,
        int(weights * 0.936),
        **{
            "block_count": 40,
            "context_length": 262_144,
            "embedding_length": 2048,
            "feed_forward_length": 8192,
            "expert_feed_forward_length": 512,
            "expert_used_count": 8,
            "attention.head_count": [48, 64, 64, 64] * 10,
            "attention.head_count_kv": 8,
            "attention.key_length": 128,
            "attention.value_length": 128,
            "attention.sliding_window": 512,
            **more,
        },
    )


def test_kv_of_laguna_xs():
    """Global layers 40 KiB a token, window layers 120 KiB a cell of which there are 1,024."""
    one, two = (fit.kv_bytes(laguna_xs(), context) for context in (32768, 65536))
    assert two - one == 32768 * 40 * KIB
    assert one == 32768 * 40 * KIB + 1024 * 120 * KIB
    quantised = fit.kv_bytes(laguna_xs(), 32768, "q8_0")
    assert quantised / one == pytest.approx(0.53, abs=0.002)


def test_the_catalogue_knows_the_geometry_of_laguna():
    known = load_catalogue().get("laguna").header
    for context in (4096, 131_072):
        assert fit.kv_bytes(known, context) == fit.kv_bytes(laguna_xs(), context)
    assert known.expert_bytes.keys() == laguna_xs().expert_bytes.keys()
    assert sum(known.expert_bytes.values()) == pytest.approx(0.936 * known.weights, rel=0.02)


@pytest.mark.parametrize(
    ("name", "parameters", "active"),
    [("laguna-s-2.1", 117.6e9, 8.5e9), ("laguna-m.1", 225.8e9, 23.4e9)],
)
def test_the_catalogues_larger_lagunas_have_their_published_sizes(name, parameters, active):
    """Parameters in experts and beside them, by geometry, against the published totals."""
    entry = load_catalogue().get(name).entry
    shape = entry.geometry
    hidden, part = shape["embedding_length"], shape["expert_feed_forward_length"]
    sparse = shape["block_count"] - shape["leading_dense_block_count"]
    one = 3 * hidden * part * sparse
    routed = one * shape["expert_count"]
    assert entry.parameters == pytest.approx(parameters)
    assert 0.93 < routed / parameters < 0.97
    used = parameters - routed + one * shape["expert_used_count"]
    assert used == pytest.approx(active, rel=0.05)


def test_a_small_context_has_no_larger_window():
    assert fit.kv_bytes(laguna_xs(), 256) == 256 * 160 * KIB


def test_window_layers():
    assert fit.window_layers(laguna_xs())[:6] == [False, True, True, True, False, True]
    gemma = header("gemma2", block_count=4, **{"attention.sliding_window": 4096})
    assert fit.window_layers(gemma) == [True, False, True, False]
    listed = {"attention.sliding_window_pattern": [True, True, False, False]}
    listed_header = header("gemma2", block_count=4, **{"attention.sliding_window": 9, **listed})
    assert fit.window_layers(listed_header) == [True, True, False, False]
    assert fit.window_layers(header("llama", block_count=2)) == [False, False]


def test_the_tiny_laguna_counts_its_windows():
    tiny = read_header(tiny_laguna())
    assert sum(fit.window_layers(tiny)) == 3


def test_grouped_heads_latent_attention_and_states():
    plain = header(
        "llama",
        block_count=2,
        embedding_length=1024,
        **{"attention.head_count": 8, "attention.head_count_kv": 2},
    )
    assert fit.kv_bytes(plain, 1024) == 2 * 1024 * 2 * (128 + 128) * 2
    latent = header(
        "deepseek2",
        block_count=2,
        embedding_length=1024,
        **{
            "attention.head_count": 16,
            "attention.head_count_kv": 1,
            "attention.key_length": 576,
            "attention.value_length": 512,
            "attention.key_length_mla": 192,
            "attention.kv_lora_rank": 512,
        },
    )
    assert fit.kv_bytes(latent, 1024) == 2 * 1024 * 576 * 2
    hybrid = header(
        "qwen3next",
        block_count=4,
        embedding_length=1024,
        full_attention_interval=4,
        **{
            "attention.head_count": 8,
            "attention.head_count_kv": 2,
            "ssm.inner_size": 4096,
            "ssm.state_size": 128,
            "ssm.conv_kernel": 4,
            "ssm.group_count": 16,
        },
    )
    state = 4 * (4096 * 128 + 3 * (4096 + 2 * 16 * 128))
    assert fit.kv_bytes(hybrid, 1024) == 1024 * 2 * 256 * 2 + 3 * state


def test_without_flash_attention_the_work_grows_with_the_context():
    small, large = (
        fit.compute_bytes(laguna_xs(), context, flash_attention=False)
        for context in (32768, 131_072)
    )
    assert large > 3 * small


def test_experts_go_to_the_gpu_as_far_as_they_fit():
    """VRAM = 0.064 T + (40 - n) 0.936 T / 40 + KV for n layers of experts in main memory."""
    xs = laguna_xs()
    size = xs.weights
    for room in (24, 16, 12):
        card = Gpu("card", room * GIB, room * GIB)
        plan = fit.plan(xs, 32768, cards=[card])
        n = plan.cpu_experts
        formula = 0.064 * size + (40 - n) * 0.936 * size / 40 + plan.kv + plan.compute
        model = plan.gpu - (plan.runtime - fit.CARD_HOST)
        assert model == pytest.approx(formula, rel=0.03)
        assert plan.gpu <= card.free
        assert plan.gpu_layers is None
        assert plan.host + plan.gpu == plan.total
    assert fit.plan(xs, 32768, cards=[Gpu("card", 24 * GIB, 24 * GIB)]).cpu_experts == 0
    fixed = fit.plan(xs, 32768, EngineConfig(cpu_experts=30), [Gpu("card", 80 * GIB, 80 * GIB)])
    assert fixed.cpu_experts == 30


def test_a_gpu_is_not_used_when_disabled_or_too_small():
    xs = laguna_xs()
    assert fit.plan(xs, 4096, EngineConfig(gpu_layers=0), [Gpu("c", 80 * GIB, 80 * GIB)]).gpu == 0
    assert fit.plan(xs, 4096, cards=[Gpu("c", GIB, 100 << 20)]).gpu == 0
    assert fit.plan(xs, 4096, cards=[Gpu("c", GIB, 100 << 20)]).gpu_layers == 0
    part = fit.plan(xs, 4096, cards=[Gpu("c", 2 * GIB, 2 * GIB)])
    assert 0 < part.gpu <= 2 * GIB
    assert part.gpu_layers is not None
    assert 0 < part.gpu_layers < 40


@pytest.mark.parametrize(
    ("cpu_experts", "card", "host"), [(None, 19.2, 1.5), (20, 11.2, 10.0), (39, 3.1, 18.4)]
)
def test_the_plan_for_a_card_is_what_an_h100_showed(cpu_experts, card, host):
    """GiB of a file of 18.94 GB on the GPU and in main memory, at 16,384 tokens, with a few copies
    of the window."""
    engine = EngineConfig(cpu_experts=cpu_experts, micro_batch=512)
    plan = fit.plan(laguna_xs(18_940_000_000), 16_384, engine, [Gpu("H100", 80 * GIB, 80 * GIB)])
    assert plan.gpu / GIB == pytest.approx(card, rel=0.05)
    assert plan.host / GIB <= host * 1.05
    assert (plan.host + plan.copies) / GIB >= host * 0.95


def test_prompts_are_read_in_large_steps_where_experts_visit_the_card():
    xs, small, large = laguna_xs(), Gpu("c", 8 * GIB, 8 * GIB), Gpu("c", 80 * GIB, 80 * GIB)
    hybrid = fit.plan(xs, 32768, cards=[small])
    assert hybrid.cpu_experts
    assert hybrid.micro_batch == fit.LARGE_MICRO_BATCH
    assert hybrid.gpu <= small.free
    assert fit.plan(xs, 32768, cards=[large]).micro_batch == fit.MICRO_BATCH
    assert fit.plan(xs, 32768).micro_batch == fit.MICRO_BATCH
    assert fit.plan(xs, 32768, EngineConfig(micro_batch=256), [small]).micro_batch == 256


def test_layers_asked_for_are_the_most_that_go_to_the_card():
    plan = fit.plan(laguna_xs(), 4096, EngineConfig(gpu_layers=10), [Gpu("c", 80 * GIB, 80 * GIB)])
    assert plan.gpu_layers == 10
    assert 4 * GIB < plan.gpu < 6 * GIB


def test_the_largest_context_fits_and_the_next_does_not():
    xs = laguna_xs()
    memory = MemorySize(32 * GIB, 22 * GIB)
    most = fit.largest_context(xs, memory)
    assert 0 < most < xs.context_length
    assert fit.plan(xs, most).host <= memory.available < fit.plan(xs, most + 256).host
    assert fit.largest_context(xs, MemorySize(512 * GIB, 500 * GIB)) == xs.context_length
    assert fit.largest_context(xs, MemorySize(8 * GIB, 8 * GIB)) == 0


def test_the_context_is_what_was_asked_for_or_what_the_machine_can_hold():
    xs = laguna_xs()
    large, small = MemorySize(64 * GIB, 60 * GIB), MemorySize(22 * GIB, 22 * GIB)
    assert fit.choose_context(xs, EngineConfig(context=777), large, []) == 777
    assert fit.choose_context(xs, EngineConfig(), large, []) == 32768
    assert fit.choose_context(xs, EngineConfig(), small, []) == 8192
    assert fit.choose_context(xs, EngineConfig(), MemorySize(GIB, GIB), []) == fit.SMALLEST_CONTEXT
    card = [Gpu("card", 16 * GIB, 0)]
    assert fit.choose_context(xs, EngineConfig(), small, card) == 32768


def test_the_context_does_not_depend_on_what_happens_to_be_free():
    xs = laguna_xs()
    chosen = {
        fit.choose_context(xs, EngineConfig(), MemorySize(32 * GIB, n * GIB), []) for n in (1, 30)
    }
    assert chosen == {32768}


def test_a_short_trained_context_is_not_exceeded():
    short = laguna_xs(context_length=2048)
    assert fit.choose_context(short, EngineConfig(), MemorySize(64 * GIB, 64 * GIB), []) == 2048


def test_cards_that_are_in_use_still_count_as_what_the_machine_has():
    """A loaded engine fills the GPU; its model is not refused for that."""
    full = [Gpu("card", 24 * GIB, 0)]
    memory = MemorySize(16 * GIB, 4 * GIB)
    assert fit.require_fit("m", laguna_xs(), EngineConfig(), memory, full, free=False).gpu
    with pytest.raises(ModelError, match="too large"):
        fit.require_fit("m", laguna_xs(), EngineConfig(), memory, full)


def test_what_can_never_fit_is_refused_in_one_line():
    with pytest.raises(ModelError, match="too large for this machine") as caught:
        fit.require_fit("m", laguna_xs(), EngineConfig(), MemorySize(8 * GIB, 8 * GIB), [])
    assert caught.value.exit_code == 3
    assert caught.value.message.count("\n") == 0
    assert "19.3 GiB" in caught.value.message
    assert "laguna models fit" in str(caught.value)


def test_what_does_not_fit_now_is_refused_only_before_loading():
    memory = MemorySize(32 * GIB, 8 * GIB)
    with pytest.raises(ModelError, match=r"does not fit in memory now: .* 8\.0 GiB of 32\.0 GiB"):
        fit.require_fit("m", laguna_xs(), EngineConfig(), memory, [])
    assert fit.require_fit("m", laguna_xs(), EngineConfig(), memory, [], free=False).total > 8 * GIB


def test_an_error_of_a_too_large_context_names_the_largest_possible():
    engine = EngineConfig(context=262_144)
    with pytest.raises(ModelError, match=r"Set engine\.context to \d+ or less"):
        fit.require_fit("m", laguna_xs(), engine, MemorySize(24 * GIB, 24 * GIB), [])


# --- the machine ------------------------------------------------------------------------------


def machine(root: Path, **files: str) -> MemorySize:
    files = {"proc/meminfo": "MemTotal: 8388608 kB\nMemAvailable: 4194304 kB\n", **files}
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return machine_memory(root)


def test_memory_of_this_machine():
    memory = machine_memory()
    assert 0 < memory.available <= memory.total


def test_memory_of_a_linux_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    assert machine(tmp_path) == (8 * GIB, 4 * GIB)


def test_memory_of_a_container(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    group = "sys/fs/cgroup/box/inner"
    limited = {
        "proc/self/cgroup": "0::/box/inner\n",
        f"{group}/memory.max": "max\n",
        "sys/fs/cgroup/box/memory.max": f"{2 * GIB}\n",
        "sys/fs/cgroup/box/memory.current": f"{GIB}\n",
        "sys/fs/cgroup/box/memory.stat": f"anon 5\ninactive_file {GIB // 2}\n",
    }
    assert machine(tmp_path, **limited) == (2 * GIB, 3 * GIB // 2)


def test_memory_of_an_old_container(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    base = "sys/fs/cgroup/memory/box"
    limited = {
        "proc/self/cgroup": "5:cpu:/x\n4:memory:/box\n",
        f"{base}/memory.limit_in_bytes": f"{GIB}\n",
        f"{base}/memory.usage_in_bytes": f"{GIB // 4}\n",
    }
    assert machine(tmp_path, **limited) == (GIB, 3 * GIB // 4)


def test_a_build_for_the_processor_has_no_cards():
    assert (backend(), gpus()) == ("cpu", [])


def test_cards_are_those_that_llama_cpp_lists(tmp_path, monkeypatch):
    """The device query runs in a process of its own; here it is one that answers for a driver."""
    library = tmp_path / "llama_cpp/lib"
    library.mkdir(parents=True)
    (tmp_path / "llama_cpp/__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "llama_cpp", raising=False)
    (library / "libggml-hip.so").touch()
    answer = '{"name": "Radeon", "total": 4, "free": 3, "shared": false, "bandwidth": 0.0}'

    def command(*words: str) -> list[str]:
        assert words == ("laguna_agent.models.sizing.devices",)
        return [sys.executable, "-c", f"print('a driver speaks'); print('[{answer}]')"]

    monkeypatch.setattr(hardware, "python_command", command)
    assert backend() == "hip"
    assert gpus() == [Gpu("Radeon", 4, 3)]
    monkeypatch.setattr(hardware, "python_command", lambda *_: [sys.executable, "-c", "exit(1)"])
    assert gpus() == []


def test_the_installed_llama_cpp_answers_the_device_query():
    """It is built for the processor, which is a device and no card."""
    assert len(device_handles()) >= 1
    assert query() == []


def test_a_card_on_the_bus_is_named_by_its_maker(tmp_path):
    assert unused_card(tmp_path) is None
    for number, (kind, vendor) in enumerate(
        [("0x020000", "0x8086"), ("0x030000", "0x1002"), ("0x030200", "0x10de")]
    ):
        device = tmp_path / f"sys/bus/pci/devices/{number}"
        device.mkdir(parents=True)
        (device / "class").write_text(f"{kind}\n")
        (device / "vendor").write_text(f"{vendor}\n")
    assert unused_card(tmp_path) == "NVIDIA"


# --- several cards, and cards that share main memory -------------------------------------------


def test_layers_are_spread_over_cards_by_their_room():
    cards = [Gpu("a", 16 * GIB, 16 * GIB), Gpu("b", 8 * GIB, 8 * GIB)]
    plan = fit.plan(laguna_xs(), 32768, cards=cards)
    assert plan.kind == "card"
    assert sum(plan.split) == 41, "40 layers and the output matrix"
    assert all(used <= card.free for used, card in zip(plan.cards, cards, strict=True))
    assert plan.split[0] / plan.split[1] == pytest.approx(2, rel=0.15)
    assert sum(plan.cards) == plan.gpu


@pytest.mark.parametrize("split", [(27, 14), (1, 40), (40, 1), (13, 14, 14), (20, 0, 21)])
def test_llama_cpp_puts_as_many_layers_on_each_card_as_planned(split):
    """By its arithmetic: a layer goes to the first card whose share of the sum is larger than the
    layer's share of all layers (`llama_model::load_tensors`)."""
    shares = list(tensor_split(split))[: len(split)]
    borders = [sum(shares[: n + 1]) / sum(shares) for n in range(len(split))]
    layers = [bisect.bisect_right(borders, layer / 41) for layer in range(41)]
    assert tuple(layers.count(card) for card in range(len(split))) == split


def test_a_card_that_is_in_use_gets_fewer_layers():
    cards = [Gpu("a", 24 * GIB, 20 * GIB), Gpu("b", 24 * GIB, 8 * GIB)]
    plan = fit.plan(laguna_xs(), 32768, cards=cards)
    assert plan.kind == "card"
    assert plan.split[0] > 2 * plan.split[1]


def test_memory_that_is_shared_is_counted_once():
    xs = laguna_xs()
    mac = [Gpu("M3", 24 * GIB, 24 * GIB, shared=True)]
    plan = fit.plan(xs, 32768, cards=mac)
    assert plan.kind == "card"
    assert plan.host == plan.total < 24 * GIB
    memory = MemorySize(18 * GIB, 16 * GIB)
    with pytest.raises(ModelError, match="too large for this machine"):
        fit.require_fit("m", xs, EngineConfig(), memory, mac)


def test_all_ways_to_place_a_model_are_given_the_preferred_first():
    card = [Gpu("c", 12 * GIB, 12 * GIB)]
    found = list(fit.placements(laguna_xs(), 32768, cards=card))
    assert [one.kind for one in found] == ["card", "experts", "layers", "processor"]
    assert found[0].missing > 0
    assert not any(one.missing for one in found[1:])
    assert fit.plan(laguna_xs(), 32768, cards=card) == found[1]
    dense = header("llama", 40 * GIB, block_count=40, embedding_length=4096)
    assert [one.kind for one in fit.placements(dense, 4096, cards=card)] == [
        "card",
        "layers",
        "processor",
    ]
