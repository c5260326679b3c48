"""What the engine client gives to a conversation, whatever process is behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from laguna_agent.events import (
    CacheMiss,
    EngineRestarted,
    FinishReason,
    ModelLoading,
    PrefillProgress,
    Timings,
    Usage,
)
from laguna_agent.models.chat.chat_format import Grammar, Segment
from laguna_agent.models.conversation import Sampling

TIE = 0.15
"""Logits closer than this are no choice of the model's: batches of different sizes differ by less
in llama.cpp's own arithmetic. The engine decides between them again with a batch of one, so that
greedy output is the same with and without drafts."""


@dataclass(frozen=True)
class EngineModel:
    """What the engine read from the model file."""

    path: str
    sha256: str | None
    architecture: str
    quantization: str
    parameters: int
    size_bytes: int
    context: int
    """Tokens of the context that was made."""
    template: str | None
    """The file's own Jinja chat template."""
    metadata: dict[str, str]
    bos: int
    eos: int
    build: str


@dataclass
class EngineRequest:
    """One generation. `tokens` is the whole prompt; the engine finds out what it has of it."""

    tokens: Sequence[int]
    sampling: Sampling
    max_tokens: int
    grammar: Grammar | None = None
    stops: Sequence[str] = ()
    marks: Sequence[int] = ()
    """Positions (token counts) at message boundaries, worth a checkpoint."""
    static: int = 0
    """Length of the static prefix, worth a snapshot on disk."""
    think_close: Sequence[int] = ()
    """Tokens to feed when `thinking_budget` is spent before they were sampled."""
    thinking_budget: int | None = None
    logprobs: bool = False
    session: str = ""
    """Names the conversation, for its snapshot at the end of a turn."""
    snapshot: bool = False
    """Write a snapshot of the whole conversation after this generation."""
    halt: bool = False
    """Set it while iterating to end the reply where it is; `Finished` still comes."""


@dataclass(frozen=True)
class Tokens:
    """Generated tokens. `text` is what they add to the valid UTF-8 text so far."""

    ids: tuple[int, ...]
    text: str
    logprobs: tuple[float, ...] = ()


class Score(NamedTuple):
    """What the model chooses now where `wanted` was recorded, and by how much that choice's logit
    is above the recorded token's: 0.0 when it is the same, infinite when the grammar refuses what
    was recorded."""

    wanted: int
    choice: int
    gap: float


@dataclass(frozen=True)
class Finished:
    """The end of a generation. `ids` are all generated tokens that are now in the KV cache or
    belong to the reply (the end token included)."""

    reason: FinishReason
    usage: Usage
    timings: Timings
    ids: tuple[int, ...]
    ended: bool
    """True when the last token is an end-of-generation token."""
    miss: CacheMiss | None = None
    counters: dict[str, int] = field(default_factory=dict)
    """Engine totals since its start, `decoded_tokens` among them."""
    measured: dict[str, float] = field(default_factory=dict)
    """Seconds, of orders that only measure."""


EngineEvent = ModelLoading | EngineRestarted | PrefillProgress | Tokens | Finished


class Engine(Protocol):
    """A loaded model."""

    model: EngineModel

    async def tokenize(self, segments: Sequence[Segment]) -> list[int]:
        """Token ids of the segments, one after the other, without added specials."""

    async def detokenize(self, ids: Sequence[int]) -> str:
        """Text of the ids, specials spelled out, invalid UTF-8 replaced."""

    def generate(self, request: EngineRequest) -> AsyncIterator[EngineEvent]:
        """Yield progress and tokens, and last a `Finished`. Closing the iterator cancels."""

    async def score(self, request: EngineRequest, wanted: Sequence[int]) -> list[Score]:
        """Compare a recorded greedy reply to the prompt of `request` with what the model chooses
        now under the same grammar, token by token; it ends after a token that the grammar refuses.
        """

    async def aclose(self) -> None:
        """Let go of the engine (its process ends, or lives on for its keep-alive time)."""


def common_prefix(left: Sequence[int], right: Sequence[int]) -> int:
    """Number of tokens that two sequences have in common at their beginning."""
    limit = min(len(left), len(right))
    low = 0
    step = 4096
    while low < limit:
        end = min(low + step, limit)
        if left[low:end] == right[low:end]:
            low = end
        elif step > 1:
            step = max(1, min(step, end - low) // 2)
        else:
            break
    return low
