"""What a chat format does: renders increments, parses replies, and builds the call grammar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from laguna_agent.events import FinishReason, TextDelta, ThinkingDelta, ToolCall, ToolCallDelta
from laguna_agent.models.conversation import GenerateOptions, Message, ToolSpec


class Segment(NamedTuple):
    """A piece of prompt text. Only text of the format itself is tokenised with specials parsed;
    text of users, files and tools is not, so that it can never forge a turn. Segments are tokenised
    one by one and must not be joined: content is cut inside each marker that it spells."""

    text: str
    special: bool = False


@dataclass(frozen=True)
class Grammar:
    """A GBNF grammar for a reply.

    With `lazy`, it sleeps until one of `trigger_tokens` (texts of single tokens) is sampled or
    one of `trigger_patterns` (regular expressions whose first group is what the grammar is fed
    from) matches; else it binds from the first token.
    """

    gbnf: str
    root: str = "root"
    lazy: bool = False
    trigger_tokens: tuple[str, ...] = ()
    trigger_patterns: tuple[str, ...] = ()


ParserEvent = ThinkingDelta | TextDelta | ToolCallDelta


@dataclass
class Parsed:
    """A whole reply. `error` says what was malformed, for the model to read."""

    text: str = ""
    thinking: str = ""
    tool_calls: list[ToolCall] = field(default_factory=list)
    error: str | None = None


class ReplyParser(Protocol):
    """Incremental and indifferent to chunk boundaries: any chunking gives the same sums."""

    def feed(self, text: str) -> list[ParserEvent]:
        """Take the next text of the reply."""

    @property
    def complete(self) -> bool:
        """True when the reply is at its end although no end token came (a literal stop)."""

    def finish(self) -> tuple[list[ParserEvent], Parsed]:
        """The last events and the whole."""


class ChatFormat(Protocol):
    """How one family of models is spoken to."""

    name: str

    @property
    def template_notes(self) -> Sequence[str]:
        """Where the format departs from the model's own template, each in a clause for people.
        Rendering may add to them."""

    def render_start(self, system: str, tools: Sequence[ToolSpec]) -> list[Segment]:
        """The static prefix: what begins every conversation."""

    def render_messages(self, messages: Sequence[Message], *, after_reply: bool) -> list[Segment]:
        """Messages as an increment. `after_reply`: the tokens before it are the model's reply,
        closed by its end token or by `render_close`; the increment starts right after that."""

    def render_generation(self, options: GenerateOptions) -> list[Segment]:
        """What opens the model's reply."""

    def render_close(self, reason: FinishReason) -> list[Segment]:
        """What closes a reply that did not end with its own end token (cut or cancelled)."""

    def grammar(self, tools: Sequence[ToolSpec], options: GenerateOptions) -> Grammar | None:
        """What holds the reply to the format; None when nothing has to."""

    def parser(self, tools: Sequence[ToolSpec], options: GenerateOptions) -> ReplyParser:
        """A parser for one reply, made with the options it is generated with."""

    def stops(self) -> tuple[str, ...]:
        """Literal texts that end a reply as well as the model's end-of-generation tokens do,
        wherever they stand. What ends a reply in some places only is told by the parser's
        `complete`."""

    def think_close(self) -> list[Segment]:
        """What is fed to end a thought whose budget is spent; empty when the format has none."""
