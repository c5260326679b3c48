"""The vocabulary of the models package: tool specs, messages, options, the conversation."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Protocol, runtime_checkable

from pydantic import AfterValidator, BaseModel

from laguna_agent.encodable import encodable
from laguna_agent.events import FinishReason, ModelEvent, Reply, Usage

if TYPE_CHECKING:
    from laguna_agent.models.routing import Routing


class ToolSpec(BaseModel):
    """A tool as declared to the model. `parameters` is a JSON schema of type object."""

    name: str
    description: str
    parameters: dict[str, Any]


class Message(BaseModel):
    """A message to append. The model's own replies are never messages: their tokens are kept.

    An `assistant` message seeds a conversation with text that the model did not write (a summary's
    acknowledgement, an example) and is tokenised like any other text.
    """

    role: Literal["user", "tool", "system", "assistant"]
    content: Annotated[str, AfterValidator(encodable)]
    name: str | None = None
    """The tool, of a tool message."""
    call_id: str | None = None


class Sampling(BaseModel):
    """How tokens are sampled. `temperature` 0 is greedy."""

    temperature: float = 0.7
    top_k: int = 20
    top_p: float = 1.0
    min_p: float = 0.0
    repeat_penalty: float = 1.0
    seed: int = 0


class ModelInfo(BaseModel):
    """Facts about a loaded model."""

    name: str
    sha256: str | None = None
    format: str
    """Name of the chat format."""
    architecture: str = ""
    quantization: str = ""
    parameters: int = 0
    size_bytes: int = 0
    context: int
    """Size of the context in tokens, the reply included."""
    template_sha256: str | None = None
    engine: str = ""
    """Engine name and build."""
    remote: bool = False
    """Whether it runs on another machine, which the prompt is sent to."""
    verified: bool = True
    """False: the certificate of its server is not checked (`verify = false`)."""


@dataclass
class GenerateOptions:
    """How to generate one reply."""

    sampling: Sampling = field(default_factory=Sampling)
    max_tokens: int = 4096
    thinking: bool = False
    thinking_budget: int | None = None
    """Tokens of thought after which `</think>` is fed; None is no limit."""
    tool_choice: Literal["auto", "required", "none"] = "auto"
    """With `required` the grammar enforces at least one call."""
    allowed: Sequence[str] | None = None
    """Tools that may be called in this reply; None is all that were declared."""
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Stricter schemas of arguments than those that were declared, by tool, for the grammar. One
    may be `{"oneOf": [...]}` of objects."""
    files: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """By tool, the files that it may read or change, and their texts where they are known, to which
    the grammar may hold it (in formats that do): the path to one of them, the old text of an edit
    to lines of it."""
    brief: bool = False
    """Whether the grammar holds the text before a call to a sentence."""
    end_repeats: bool = False
    """End a reply that repeats the same tokens again and again (`finish_reason` "repeats"). Local
    models only."""
    grammar: str | None = None
    """A GBNF grammar with a rule `root` for the whole reply; replaces the one for tool calls."""
    logprobs: bool = False
    """Return the natural logarithm of the model's own probability of each token of the reply,
    before temperature, the other samplers and the grammar. Local models only."""


class Conversation(Protocol):
    """A prompt that only grows. The local one keeps token ids, the HTTP one keeps messages."""

    info: ModelInfo

    async def start(self, system: str, tools: Sequence[ToolSpec]) -> int:
        """Set the static prefix; returns its length in tokens. Called once, before all else."""

    async def append(self, messages: Sequence[Message]) -> int:
        """Append messages; returns the number of tokens added. They are decoded by `generate`."""

    def generate(self, options: GenerateOptions) -> AsyncGenerator[ModelEvent, None]:
        """Yield progress and deltas, and last a `Reply`, whose tokens are then part of the prompt.

        Raises ContextFullError before anything is decoded, ModelError when the engine fails.
        Closing the iterator cancels. What was generated so far is kept only if the `Reply` was
        yielded, or by `keep_unfinished`.
        """

    async def keep_unfinished(self) -> Reply | None:
        """Append what the last `generate` had written when it was cancelled, and return it.

        It has the text and the thought as their deltas were yielded, without a call that had
        begun, and `finish_reason` "cancelled". None when nothing was written, or the last reply
        is whole.
        """

    async def append_reply(self, reply: Reply) -> int:
        """Append a reply of an earlier epoch or process; returns the number of tokens added.

        A local conversation opens the turn as the format does and adds `reply.token_ids` as they
        are; it renders the text only if there are none, and adds those of a composed reply to it.
        An HTTP one adds the message.
        """

    async def restore(self, ids: Sequence[int]) -> int:
        """Restore the tokens after the static prefix as an earlier process had them.

        Called once, right after `start`; nothing is rendered. The ids end with a reply.
        """

    def mark(self) -> int:
        """A position for `rewind`: the number of tokens (or messages) so far."""

    def rewind(self, mark: int) -> None:
        """Drop everything after `mark`; nothing that is still cached is decoded again."""

    def fork(self) -> Conversation:
        """Another conversation with the same content so far."""

    async def count(self, text: str) -> int:
        """Number of tokens of `text`, exact for a local model."""

    @property
    def used(self) -> int:
        """Number of tokens in the prompt, including those not decoded yet."""

    @property
    def limit(self) -> int:
        """Size of the context in tokens."""

    @property
    def tokens(self) -> tuple[int, ...] | None:
        """Token ids of the prompt so far; None where only a server knows them."""

    async def routing(self, ids: Sequence[int]) -> Routing | None:
        """The experts that the tokens of a reply in the prompt chose, read once more, at most the
        last 1,024 of them. None for a model without experts, where only a server knows, and when
        the prompt does not hold the reply any more.
        """

    @property
    def template_notes(self) -> Sequence[str]:
        """Where the chat format departs from the model's own template, each in a clause for
        people. More may come as the conversation grows."""

    async def aclose(self) -> None:
        """Release the engine."""


@dataclass(frozen=True)
class Variation:
    """Which variations of a text to write: each takes another token at one place, where the model
    thinks it likely, and goes on greedily."""

    opening: str
    """What the reply says before the text."""
    text: str
    first: int
    """Likelier ones that are left out."""
    count: int
    """Most variations."""
    lines: int
    """Line ends after which each is cut."""
    skip: Sequence[tuple[int, int]] = ()
    """Ranges of bytes that stay as they are."""


@dataclass(frozen=True)
class Completion:
    """A text to go on from, in the answer to a message that is all of the prompt."""

    message: str
    begins: str
    """What the answer begins with."""
    grammar: str
    """GBNF for the answer, with a rule `root`."""
    max_tokens: int
    """Of what is written."""


class Completed(NamedTuple):
    """One answer to a `Completion`, with what it begins with."""

    text: str
    finish_reason: FinishReason
    sampling: Sampling
    usage: Usage


@runtime_checkable
class WritesSideBySide(Protocol):
    """A conversation that can write several replies at a time."""

    def candidates(
        self, options: GenerateOptions, samplings: Sequence[Sampling]
    ) -> AsyncGenerator[ModelEvent, None]:
        """Yield progress, the deltas of the first reply, and a `Reply` for each of `samplings`, or
        fewer where memory is short. None becomes part of the prompt: `append_reply` makes it one.

        The replies are written side by side, which takes a local engine much less time than one
        after the other.
        """

    async def complete(
        self,
        completion: Completion,
        samplings: Sequence[Sampling],
        on_event: Callable[[ModelEvent], None],
        on_text: Callable[[str], None],
    ) -> list[Completed]:
        """Answers to a completion, one for each of `samplings` or fewer where memory is short,
        written side by side. Nothing of it becomes part of the prompt. `on_event` gets the progress
        of reading, `on_text` what the first says. Empty where the model cannot go on from the text.
        """

    async def variations(
        self, variation: Variation, on_event: Callable[[ModelEvent], None]
    ) -> tuple[list[str], Usage]:
        """Variations of a text, the likeliest first, each up to where it is cut. Nothing of it
        becomes part of the prompt. `on_event` gets the progress of reading."""
