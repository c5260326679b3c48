"""`laguna bench --provider`: servers that reuse their prefix, and those that do not."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from laguna_agent.errors import LagunaError
from laguna_agent.interfaces.commands.bench import main
from laguna_agent.interfaces.commands.bench_server import verdict
from laguna_agent.models.servers.bench import DepthFigures, ServerBench
from laguna_agent.models.servers.server_facts import SERVERS, UNKNOWN
from support.model_server import Exchange, ModelServer

MODELS = {"/v1/models": {"data": [{"id": "m", "owned_by": "vllm", "max_model_len": 8192}]}}


def server_that(*, reuses: bool, counts: bool = True) -> Any:
    """A server that counts a token for each four characters."""
    seen: list[str] = []

    async def script(exchange: Exchange) -> None:
        text = "".join(m["content"] for m in exchange.body["messages"])
        old = max((len(t) for t in seen if text.startswith(t)), default=0) if reuses else 0
        seen.append(text)
        await exchange.open()
        for number in range(exchange.body["max_tokens"]):
            await exchange.delta(content=f"{number} ")
        await exchange.delta(finish="length")
        written = exchange.body["max_tokens"]
        usage = {"prompt_tokens": len(text) // 4, "completion_tokens": written}
        details = {"prompt_tokens_details": {"cached_tokens": old // 4}}
        await exchange.done(**(usage | details if counts else {}))

    return script


async def bench(server: ModelServer, laguna_home: Path, *flags: str) -> int:
    (laguna_home / "config").mkdir(exist_ok=True)
    (laguna_home / "config" / "config.toml").write_text(f'[providers.box]\nurl = "{server.url}"\n')
    arguments = ["--provider", "box", "--tokens", "20", "--rounds", "2", *flags]
    return await asyncio.to_thread(main, arguments)


async def test_the_table_and_the_json_say_what_a_server_reuses(
    laguna_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with ModelServer(server_that(reuses=True)) as server:
        server.gets = {**MODELS, "/version": {"version": "0.30.1"}}
        assert await bench(server, laguna_home) == 0
        table = capsys.readouterr().out.splitlines()
        assert table[0] == f"box/m at {server.url}, vLLM 0.30.1, context 8,192"
        assert len(table) == 2 + 2 + 1, "16,384 tokens do not fit its context"
        assert "tok/s" in table[2]
        assert "It reuses what it has read" in table[-1]
        assert await bench(server, laguna_home, "--json", "--depths", "2000") == 0
        [depth] = (found := json.loads(capsys.readouterr().out))["depths"]
    assert (found["reuse"], found["server"], found["version"]) == ("reported", "vLLM", "0.30.1")
    assert 1500 < depth["prompt_tokens"] < 2500
    assert depth["reused"] > 0.9
    prompts = [request["messages"][0]["content"] for request in server.requests]
    assert len({prompt[:30] for prompt in prompts[::2]}) == len(prompts) // 2, (
        "none was seen before"
    )


async def test_no_depth_that_fits_is_an_error(
    laguna_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with ModelServer(server_that(reuses=True)) as server:
        server.gets = MODELS
        with pytest.raises(LagunaError, match="no depth fits"):
            await bench(server, laguna_home, "--depths", "9000")
        for wrong in (["--depths", "0"], ["--no-speculation"], ["--provider", "bax"]):
            with pytest.raises(LagunaError):
                await bench(server, laguna_home, *wrong)
    assert server.requests == []


def figures(
    new: float, continued: float, reused: int, *, prompt: int = 1000, streamed: bool = True
) -> DepthFigures:
    rate = 30.0 if streamed else None
    return DepthFigures(prompt, new, continued, reused, 1100, prompt / new, rate, streamed)


VLLM = next(server for server in SERVERS if server.name == "vLLM")


@pytest.mark.parametrize(
    ("depth", "reuse", "server", "said"),
    [
        (figures(2.0, 0.1, 990), "reported", UNKNOWN, "waits 0.1 s for its first token, not 2.0 s"),
        (figures(2.0, 0.1, 0), "seen", VLLM, "Start vLLM with --enable-prompt-tokens-details."),
        (figures(2.0, 1.9, 0), "none", VLLM, "does NOT reuse its prefix.*--no-enable-prefix-cach"),
        (figures(2.0, 1.9, 16), "none", UNKNOWN, "Turn on its prefix cache"),
        (figures(2.0, 1.2, 0), "unclear", UNKNOWN, "Measure longer prompts"),
        (figures(0.1, 0.09, 0), "unclear", UNKNOWN, "Measure longer prompts"),
        (
            figures(2.0, 0.1, 990, streamed=False),
            "reported",
            UNKNOWN,
            "Replies arrive in one piece",
        ),
    ],
)
def test_the_verdict_names_what_is_wrong_and_what_to_do(
    depth: DepthFigures, reuse: str, server: Any, said: str
) -> None:
    result = ServerBench([figures(0.4, 0.1, 0, prompt=100, streamed=depth.streamed), depth])
    assert result.reuse == reuse
    assert re.search(said, "\n".join(verdict(result, server)))


async def test_a_server_without_counts_is_measured_by_estimates(
    laguna_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with ModelServer(server_that(reuses=False, counts=False)) as server:
        server.gets = MODELS
        assert await bench(server, laguna_home, "--depths", "1000", "--json") == 0
    [depth] = json.loads(capsys.readouterr().out)["depths"]
    assert 700 < depth["prompt_tokens"] < 1300
    assert (depth["reused"], depth["decode_rate"]) == (0.0, None)
