"""The engine as conversations see it: requests, events, and the `Engine` protocol."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Protocol

from pydantic import SkipValidation

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

if TYPE_CHECKING:
    from numpy.typing import NDArray

TIE = 0.15
"""Logits closer than this are a tie: llama.cpp's arithmetic differs by about as much between batch
sizes. The engine breaks ties with a batch of one, so that greedy output is the same with and
without drafts."""


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
    """Tokens that the context holds."""
    template: str | None
    """The file's own Jinja chat template."""
    metadata: dict[str, str]
    bos: int
    eos: int
    build: str


@dataclass(frozen=True)
class Vary:
    """Variations of a text that follows the prompt: each takes another token where the model thinks
    it likeliest, and goes on greedily for some lines."""

    tokens: Annotated[Sequence[int], SkipValidation]
    """The text."""
    first: int
    """Likelier variations that are left out."""
    count: int
    """Most variations."""
    lines: int
    """Line ends after which a variation is cut."""
    skip: Sequence[tuple[int, int]] = ()
    """Ranges of bytes in the text that stay as they are."""


@dataclass
class EngineRequest:
    """One generation, as callers ask for it and as it travels to the engine process.

    `tokens` is the whole prompt; the engine finds out how much of it the cache holds.
    """

    tokens: Annotated[Sequence[int], SkipValidation]
    sampling: Sampling
    max_tokens: int
    grammar: Grammar | None = None
    stops: Sequence[str] = ()
    end_repeats: bool = False
    """End a reply that repeats the same tokens again and again."""
    marks: Sequence[int] = ()
    """Positions (token counts) at message boundaries, worth a checkpoint."""
    static: int = 0
    """Length of the static prefix, worth a snapshot on disk."""
    think_close: Sequence[int] = ()
    """Tokens fed when `thinking_budget` is spent before they were sampled."""
    thinking_budget: int | None = None
    logprobs: bool = False
    session: str = ""
    """Names the conversation, for its snapshot at the end of a turn."""
    snapshot: bool = False
    """Write a snapshot of the whole conversation after this generation."""
    speculate: Literal[True, False, "exact"] = True
    """Draft tokens from the prompt; the client sets it from its configuration. With `exact`,
    drafts change no greedy reply, not even where two tokens are equally good."""
    resume: int = 0
    """Tokens at the end of `tokens` that belong to the reply: generated before the engine died,
    or, with `score`, recorded earlier; with `examine`, those to report on."""
    others: Sequence[Sampling] = ()
    """How to sample further replies, written side by side with the first: reading the weights is
    shared. Where memory is short there are fewer of them."""
    vary: Vary | None = None
    """A text to write variations of."""
    task: Literal["generate", "score", "baseline", "examine"] = "generate"
    """`score` compares the last `resume` tokens with the model's choices; `baseline` times
    llama.cpp alone; `examine` reports the experts that the last `resume` tokens choose."""
    logits_to: str = ""
    """Of `examine`: a file to append the logits of all tokens to."""
    logits_from: str = ""
    """Of `examine`: a file written through `logits_to` by another model, to compare with."""
    kept: int = 0
    """Of `baseline`: tokens at the beginning that the cache holds already and that are not
    timed."""
    time_states: bool = False
    """Of `baseline`: also time saving and restoring a KV state."""
    halt: bool = False
    """Set it while iterating to end the reply where it is; `Finished` still comes."""


@dataclass(frozen=True)
class Tokens:
    """Generated tokens, and the text that they add to the valid UTF-8 text so far."""

    ids: tuple[int, ...]
    text: str
    logprobs: tuple[float, ...] = ()


class Score(NamedTuple):
    """The model's choice now where `wanted` was recorded.

    `gap` is how far the choice's logit is above the recorded token's: 0.0 when they are the same
    token, infinite when the grammar refuses the recorded one.
    """

    wanted: int
    choice: int
    gap: float


@dataclass(frozen=True)
class Examined:
    """What a model did with the tokens that it was asked to read, the first one first."""

    layers: tuple[int, ...]
    """The layers with experts, in order; none in a dense model."""
    arrays: dict[str, NDArray[Any]]
    """With experts: `experts` (uint16) and `weights` (float16, a token's sum to 1 per layer), both
    tokens x layers x chosen experts. With `logits_to` or `logits_from`: `logprobs` (float32) of
    the token that follows each but the last, and `top` (int32), the likeliest one. With
    `logits_from`: `divergence` (float32), KL in nats from the other model's prediction."""


@dataclass(frozen=True)
class Written:
    """One of several replies to a prompt that were written side by side."""

    ids: tuple[int, ...]
    text: str
    reason: FinishReason
    ended: bool


@dataclass(frozen=True)
class Finished:
    """The end of a generation. `ids` are the reply's tokens, the end token included."""

    reason: FinishReason
    usage: Usage
    timings: Timings
    ids: tuple[int, ...]
    ended: bool
    """True when the last token is an end-of-generation token."""
    miss: CacheMiss | None = None
    counters: dict[str, int] = field(default_factory=dict)
    """Totals since the engine started, `decoded_tokens` among them."""
    measured: dict[str, float] = field(default_factory=dict)
    """Seconds, of a `baseline`."""
    others: tuple[Written, ...] = ()
    """The replies beside the first, of a request with `others`."""


EngineEvent = ModelLoading | EngineRestarted | PrefillProgress | Tokens | Finished


class Engine(Protocol):
    """A connection to an engine process that has a model loaded."""

    model: EngineModel

    async def tokenize(self, segments: Sequence[Segment]) -> list[int]:
        """Token ids of the segments in order, without added special tokens."""

    async def detokenize(self, ids: Sequence[int]) -> str:
        """Text of the ids, special tokens spelled out, invalid UTF-8 replaced."""

    def generate(self, request: EngineRequest) -> AsyncGenerator[EngineEvent, None]:
        """Yield progress and tokens, and last a `Finished`. Closing the iterator cancels."""

    async def score(self, request: EngineRequest, wanted: Sequence[int]) -> list[Score]:
        """Compare the recorded greedy reply `wanted` with what the model chooses now, token by
        token under the same grammar. Ends after a token that the grammar refuses.
        """

    async def examine(
        self, request: EngineRequest, *, on_progress: Callable[[int], None] | None = None
    ) -> Examined:
        """Read the last `resume` tokens of a request in a context of their own, with the router
        observed. `on_progress` gets the number of tokens read so far.
        """

    async def aclose(self) -> None:
        """Disconnect. The engine process stays for its keep-alive time."""
