"""`laguna bench --provider`: a table of what a model server reuses and how fast it is, and in words
what that means for laguna."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from laguna_agent.errors import ExitCode, UsageError, did_you_mean
from laguna_agent.interfaces.commands.command_line import write_json, write_line, write_progress
from laguna_agent.policy.sanitize import visible

if TYPE_CHECKING:
    from laguna_agent.config import Config
    from laguna_agent.models.servers.bench import DepthFigures, ServerBench
    from laguna_agent.models.servers.http_conversation import HttpConversation
    from laguna_agent.models.servers.server_facts import Server

_HEAD = (
    f"{'prompt':>12}{'first token':>14}{'continued':>12}{'reused':>9}{'reads':>14}{'writes':>13}"
)
_PREFIX_CACHE = {
    "llama-server": "Drop --no-cache-prompt, and use as few --parallel slots as you need.",
    "vLLM": "Drop --no-enable-prefix-caching.",
    "SGLang": "Drop --disable-radix-cache.",
}
"""How a server is made to reuse a prefix, where that is known."""


async def bench_server(
    wanted: str,
    config: Config,
    *,
    depths: Sequence[int],
    tokens: int,
    rounds: int,
    as_json: bool,
) -> int:
    """Measure the model `NAME[/MODEL]` and print the result; returns the exit code."""
    from laguna_agent.models.servers.bench import ServerBench, measure_server

    name = await _model(wanted, config)
    opened: list[HttpConversation] = []

    def started(conversation: HttpConversation) -> None:
        opened.append(conversation)
        if not as_json:
            write_line(_title(conversation))
            write_line(_HEAD)

    write_progress(f"{len(depths)} lengths of the prompt, {rounds} rounds each")
    found: list[DepthFigures] = []
    async for figures in measure_server(
        name, config, depths=depths, tokens=tokens, rounds=rounds, started=started
    ):
        found.append(figures)
        if not as_json:
            write_line(_row(figures))
    result, facts = ServerBench(found), opened[0].facts
    if as_json:
        rows = [{**asdict(figures), "reused": round(figures.reused, 4)} for figures in found]
        write_json(
            {
                "model": name,
                "address": opened[0].info.engine.removeprefix("server "),
                "server": facts.server.name,
                "version": facts.version,
                "context": opened[0].info.context,
                "reuse": result.reuse,
                "streams": result.streams,
                "depths": rows,
            }
        )
    else:
        for line in verdict(result, facts.server):
            write_line(line)
    return ExitCode.DONE


async def _model(wanted: str, config: Config) -> str:
    """`PROVIDER/NAME` of what the user named; the provider's first model where that is all."""
    from laguna_agent.models.servers.endpoint import endpoint_of
    from laguna_agent.models.servers.model_list import list_models

    provider, slash, model = wanted.partition("/")
    if provider not in config.providers:
        raise UsageError(
            f"{provider} is no provider of config.toml",
            hint=did_you_mean(provider, config.providers)
            or 'Add [providers.NAME] with url = "http://host:port/v1".',
        )
    if slash and model:
        return wanted
    if config.model and config.model.partition("/")[0] == provider:
        return config.model
    endpoint = await asyncio.to_thread(
        endpoint_of, provider, config.providers[provider], offline=config.offline
    )
    models = (await list_models(endpoint)).models
    if not models:
        raise UsageError(f"{provider} lists no model", hint=f"Name one: --provider {provider}/NAME")
    return f"{provider}/{models[0]}"


def _title(conversation: HttpConversation) -> str:
    info, facts = conversation.info, conversation.facts
    known = " ".join(filter(None, [facts.server.name, facts.version]))
    program = "" if facts.server.name == "unknown" else f", {known}"
    where = info.engine.removeprefix("server ")
    return visible(f"{info.name} at {where}{program}, context {info.context:,}", single_line=True)


def _row(figures: DepthFigures) -> str:
    writes = "–" if figures.streamed else "at once"
    if figures.decode_rate is not None:
        writes = f"{figures.decode_rate:.1f} tok/s"
    reused = f"{figures.reused:.0%}" if figures.reused_tokens else "–"
    return (
        f"{figures.prompt_tokens:>8,} tok{figures.first_token_s:>12.2f} s"
        f"{figures.continued_first_token_s:>10.2f} s{reused:>9}"
        f"{figures.prefill_rate:>8,.0f} tok/s{writes:>13}"
    )


def verdict(result: ServerBench, server: Server) -> Iterator[str]:
    """What the figures mean for a person who works with this server."""
    deepest = max(result.depths, key=lambda figures: figures.prompt_tokens, default=None)
    if deepest is None:
        yield "Nothing was measured: the server's context is smaller than it says."
        return
    new, continued = deepest.first_token_s, deepest.continued_first_token_s
    flag = f" Start {server.name} with {server.reports_reuse}." if server.reports_reuse else ""
    match result.reuse:
        case "reported":
            yield (
                f"It reuses what it has read: the next step of a task waits {continued:.1f} s for "
                f"its first token, not {new:.1f} s."
            )
        case "seen":
            yield (
                f"It reuses what it has read ({continued:.1f} s instead of {new:.1f} s), but does "
                f"not report how many tokens.{flag}"
            )
        case "none":
            fix = _PREFIX_CACHE.get(server.name, "Turn on its prefix cache (prompt cache).")
            yield (
                f"It does NOT reuse its prefix: each step of a task reads the whole prompt again "
                f"and waits {continued:.1f} s. {fix}"
            )
        case "unclear":
            yield (
                "It begins too fast, or too unsteadily, to tell whether it reuses its prefix. "
                "Measure longer prompts: --depths 16384,65536."
            )
    if not result.streams:
        yield (
            "Replies arrive in one piece: it, or a proxy before it, holds the stream back (nginx: "
            "proxy_buffering off)."
        )
