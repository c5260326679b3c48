"""The chat format protocol: render increments, parse replies, build the call grammar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from laguna_agent.events import FinishReason, TextDelta, ThinkingDelta, ToolCall, ToolCallDelta
from laguna_agent.models.conversation import GenerateOptions, Message, ToolSpec


class Segment(NamedTuple):
    """A piece of prompt text.

    Special tokens are parsed only in text of the format itself, never in text of users, files and
    tools, which therefore cannot forge a turn. Segments are tokenised one by one and must not be
    joined: content is split inside each marker that it spells.
    """

    text: str
    special: bool = False


@dataclass(frozen=True)
class Grammar:
    """A GBNF grammar for a reply.

    With `lazy`, it is inactive until one of `trigger_tokens` (texts of single tokens) is sampled or
    one of `trigger_patterns` matches (regular expressions; the grammar applies from the start of
    the first group). Otherwise it applies from the first token.
    """

    gbnf: str
    root: str = "root"
    lazy: bool = False
    trigger_tokens: tuple[str, ...] = ()
    trigger_patterns: tuple[str, ...] = ()


ParserEvent = ThinkingDelta | TextDelta | ToolCallDelta


@dataclass
class Parsed:
    """A parsed reply. `error` tells the model what was malformed."""

    text: str = ""
    thinking: str = ""
    tool_calls: list[ToolCall] = field(default_factory=list)
    error: str | None = None


class ReplyParser(Protocol):
    """An incremental parser; how the text is cut into chunks does not change the result."""

    def feed(self, text: str) -> list[ParserEvent]:
        """Add the next text of the reply; returns its events."""

    @property
    def complete(self) -> bool:
        """True when the reply ended without an end token (a literal stop)."""

    def finish(self) -> tuple[list[ParserEvent], Parsed]:
        """The last events, and the whole reply."""


class ChatFormat(Protocol):
    """The format of conversations with one family of models."""

    name: str

    @property
    def template_notes(self) -> Sequence[str]:
        """Where the format departs from the model's own template, each in a clause for people.
        Rendering may add to them."""

    def render_start(self, system: str, tools: Sequence[ToolSpec]) -> list[Segment]:
        """The static prefix that begins every conversation."""

    def render_messages(self, messages: Sequence[Message], *, after_reply: bool) -> list[Segment]:
        """Messages as an increment.

        `after_reply`: the tokens before it are the model's reply, closed by its end token or by
        `render_close`; the increment starts right after that.
        """

    def render_generation(self, options: GenerateOptions) -> list[Segment]:
        """The text that opens the model's reply."""

    def render_close(self, reason: FinishReason) -> list[Segment]:
        """The text that closes a reply without an end token of its own (cut or cancelled)."""

    def grammar(self, tools: Sequence[ToolSpec], options: GenerateOptions) -> Grammar | None:
        """The grammar that enforces the format of a reply; None when none is needed."""

    def parser(self, tools: Sequence[ToolSpec], options: GenerateOptions) -> ReplyParser:
        """A parser for one reply that is generated with these options."""

    def stops(self) -> tuple[str, ...]:
        """Literal texts that end a reply wherever they occur, like end-of-generation tokens.

        For texts that end a reply only in some places, see the parser's `complete`.
        """

    def think_close(self) -> list[Segment]:
        """The text fed to end a thought whose budget is spent; empty without thoughts."""
