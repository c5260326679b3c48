"""Measures a model server as laguna uses it: the first token, what it reuses, and its rates.

Each round makes up a prompt that no cache can have, asks for a reply, and goes on with the same
conversation, as the next step of a task does. A server that keeps what it has read answers the
second request without reading the prompt again.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from laguna_agent.config import Config
from laguna_agent.errors import ContextFullError, ModelError
from laguna_agent.events import Reply
from laguna_agent.models.conversation import GenerateOptions, Message, Sampling
from laguna_agent.models.servers.http_conversation import HttpConversation
from laguna_agent.models.servers.providers import open_provider

_TASK = "Write the numbers from 1 to 1000, separated by spaces, and nothing else."
_MORE = "Go on, from where you stopped."
_WORDS = (
    "value", "index", "return", "config", "path", "buffer", "token", "range", "object", "string",
    "server", "client", "reader", "writer", "table", "column", "parse", "build", "check", "merge",
)  # fmt: skip
_CHARS_PER_TOKEN = 3.4
_SLOW_S = 0.3
"""A wait for the first token below which times say nothing about reuse."""
_ROOM = 512


@dataclass(frozen=True)
class DepthFigures:
    """Medians at one length of the prompt."""

    prompt_tokens: int
    """As the server counts them; an estimate where it does not."""
    first_token_s: float
    """Of a prompt that is new to the server."""
    continued_first_token_s: float
    """Of the next request of the same conversation."""
    reused_tokens: int
    """Of the continued prompt, as the server reports; 0 also where it reports none."""
    continued_tokens: int
    """Of the continued prompt."""
    prefill_rate: float
    """Tokens of a new prompt that are read each second."""
    decode_rate: float | None
    """Tokens of a reply each second; None where it came in one piece, or without a count."""
    streamed: bool = True
    """Whether replies came piece by piece."""

    @property
    def reused(self) -> float:
        """The share of the first prompt that the next request reused, as reported."""
        return min(self.reused_tokens / self.prompt_tokens, 1.0) if self.prompt_tokens else 0.0


@dataclass(frozen=True)
class ServerBench:
    """The figures of a server, by length of the prompt."""

    depths: Sequence[DepthFigures]

    @property
    def reuse(self) -> Literal["reported", "seen", "none", "unclear"]:
        """Whether it reuses a prefix: it reports so; its times show it; it does not; or its
        replies begin too fast to tell."""
        if not self.depths:
            return "unclear"
        deepest = max(self.depths, key=lambda depth: depth.prompt_tokens)
        if deepest.reused >= 0.5:
            return "reported"
        if deepest.first_token_s < _SLOW_S:
            return "unclear"
        share = deepest.continued_first_token_s / deepest.first_token_s
        return "seen" if share < 0.5 else "none" if share > 0.75 else "unclear"

    @property
    def streams(self) -> bool:
        """Whether replies come piece by piece."""
        return any(depth.streamed for depth in self.depths)


async def measure_server(
    name: str,
    config: Config,
    *,
    depths: Sequence[int],
    tokens: int,
    rounds: int,
    started: Callable[[HttpConversation], None] = lambda conversation: None,
) -> AsyncIterator[DepthFigures]:
    """Measure the model `PROVIDER/NAME`; yields the figures of each depth that fits its context.

    `depths` are tokens of the prompt, `tokens` those of a reply. Raises LagunaError.
    """
    base = await open_provider(name, config)
    try:
        started(base)
        fits = [depth for depth in depths if depth + 2 * tokens + _ROOM <= base.limit]
        if not fits:
            raise ModelError(
                f"the context of {name} has {base.limit:,} tokens: no depth fits",
                hint="Give smaller ones with --depths.",
            )
        for depth in fits:
            try:
                found = [await _round(base, depth, tokens) for _ in range(rounds)]
            except ContextFullError:
                return  # it is smaller than the server says
            yield _median(found)
    finally:
        await base.aclose()


async def _round(base: HttpConversation, depth: int, tokens: int) -> DepthFigures:
    conversation = base.fork()
    try:
        await conversation.start(_prompt(depth), [])
        await conversation.append([Message(role="user", content=_TASK)])
        estimate = conversation.used
        options = GenerateOptions(sampling=Sampling(temperature=0.0), max_tokens=tokens)
        new = await _reply(conversation, options)
        await conversation.append([Message(role="user", content=_MORE)])
        continued_estimate = conversation.used
        continued = await _reply(conversation, options)
    finally:
        await conversation.aclose()
    prompt = new.usage.prompt_tokens or estimate
    replies = [r for r in (new, continued) if r.usage.completion_tokens > 1]
    seconds = sum(reply.timings.decode_s for reply in replies)
    written = sum(reply.usage.completion_tokens - 1 for reply in replies)
    waited = sum(reply.timings.first_token_s for reply in replies)
    # A reply that a proxy holds back arrives all at once, at its end.
    streamed = not seconds < min(0.001 * tokens, 0.02 * waited)
    return DepthFigures(
        prompt_tokens=prompt,
        first_token_s=new.timings.first_token_s,
        continued_first_token_s=continued.timings.first_token_s,
        reused_tokens=continued.usage.reused_tokens,
        continued_tokens=continued.usage.prompt_tokens or continued_estimate,
        prefill_rate=prompt / max(new.timings.first_token_s, 1e-6),
        decode_rate=written / seconds if streamed and written and seconds else None,
        streamed=streamed,
    )


async def _reply(conversation: HttpConversation, options: GenerateOptions) -> Reply:
    found = [event async for event in conversation.generate(options) if isinstance(event, Reply)]
    return found[-1]


def _prompt(depth: int) -> str:
    """A prompt of about so many tokens that no server has seen before: it begins unlike others."""
    source = random.Random()
    size = int(depth * _CHARS_PER_TOKEN)
    lines = [f"Session {source.getrandbits(64):x}. The file below is for reference only."]
    length = len(lines[0])
    while length < size:
        words = " ".join(source.choices(_WORDS, k=8))
        lines.append(f"{len(lines):5}  {words} = {source.randrange(10_000)}")
        length += len(lines[-1]) + 1
    return "\n".join(lines)


def _median(found: Sequence[DepthFigures]) -> DepthFigures:
    rates = [figures.decode_rate for figures in found if figures.decode_rate is not None]
    return DepthFigures(
        prompt_tokens=int(median(figures.prompt_tokens for figures in found)),
        first_token_s=median(figures.first_token_s for figures in found),
        continued_first_token_s=median(figures.continued_first_token_s for figures in found),
        reused_tokens=int(median(figures.reused_tokens for figures in found)),
        continued_tokens=int(median(figures.continued_tokens for figures in found)),
        prefill_rate=median(figures.prefill_rate for figures in found),
        decode_rate=median(rates) if rates else None,
        streamed=any(figures.streamed for figures in found),
    )
