"""What a pack costs in tokens, part by part, as the model's own tokenizer counts them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from laguna_agent.config import Config
from laguna_agent.errors import LagunaError, ModelError
from laguna_agent.models.chat import ChatFormat, format_for
from laguna_agent.models.chat.chat_format import Segment
from laguna_agent.models.conversation import ToolSpec
from laguna_agent.prompts.loader.pack import Pack
from laguna_agent.prompts.loader.templates import DYNAMIC, StaticVariables
from laguna_agent.tools.tool import Tool

if TYPE_CHECKING:
    from laguna_agent.models.engine.vocabulary import Vocabulary

_CHARS_A_TOKEN = 3.8


@dataclass(frozen=True)
class Subject:
    """The model that a pack is looked at for. `path` is None when none is installed."""

    name: str
    path: Path | None = None
    missing: str = ""
    """Why there is no tokenizer."""


@dataclass(frozen=True)
class Part:
    """One part of what the model sees. `tokens` is what leaving it out would save."""

    name: str
    tokens: int


@dataclass(frozen=True)
class Sight:
    """A pack as one model sees it."""

    pack: Pack
    format: str
    prefix: str
    """The static prefix, to the byte."""
    pieces: list[str]
    """The prefix, token by token; empty when tokens are estimated."""
    parts: list[Part]
    messages: list[Part]
    """Templates of messages, without the values that are put in."""
    exact: bool

    @property
    def tokens(self) -> int:
        """Of the static prefix."""
        return sum(part.tokens for part in self.parts)


def find_subject(name: str | None, config: Config) -> Subject:
    """The model that would be used; one that is not there is only a name."""
    from laguna_agent.models.catalogue import DEFAULT
    from laguna_agent.models.store import resolve

    wanted = name or config.model
    try:
        found = resolve(wanted, config)
        return Subject(found.name, found.path)
    except ModelError as error:
        return Subject(wanted or DEFAULT, None, error.message)


class Meter:
    """Renders and counts for one model."""

    def __init__(self, subject: Subject, vocabulary: Vocabulary | None) -> None:
        self.subject = subject
        self.vocabulary = vocabulary

    @property
    def exact(self) -> bool:
        """False when tokens are estimated."""
        return self.vocabulary is not None

    def format_of(self, pack: Pack, thinking: bool) -> ChatFormat:
        """The chat format in which the model would be spoken to."""
        info = self.vocabulary.info if self.vocabulary else None
        guess = "laguna" if "laguna" in self.subject.name.lower() else "qwen2"
        return format_for(
            pack.chat_format,
            architecture=info.architecture if info else guess,
            template=info.template if info else None,
            model_name=self.subject.name,
            thinking=thinking,
            bos=info.bos if info else "",
            eos=info.eos if info else "",
        )

    def split(self, texts: Sequence[Sequence[Segment]]) -> list[list[str]]:
        """The tokens of each text; estimated ones when there is no tokenizer."""
        if self.vocabulary is not None:
            return self.vocabulary.pieces(texts)
        return [_estimated("".join(part.text for part in text)) for text in texts]

    def look(self, pack: Pack, builtin: dict[str, Tool]) -> Sight:
        """Everything that the model would be told by this pack. Raises PackError."""
        thinking = bool(pack.thinking)
        form = self.format_of(pack, thinking)
        variables = static_variables(pack, builtin, self.subject.name, form.name)
        system = pack.system(variables)
        specs = [
            ToolSpec(name=t.name, description=t.description, parameters=t.parameters)
            for t in pack.tools(builtin, variables)
        ]
        without = [specs[:n] + specs[n + 1 :] for n in range(len(specs))]
        messages = [name for name in DYNAMIC if pack.has(name)]
        texts = [
            form.render_start(system, specs),
            form.render_start("", specs),
            *(form.render_start(system, rest) for rest in without),
            *([Segment(pack.text(name))] for name in messages),
        ]
        split = self.split(texts)
        counts = [len(pieces) for pieces in split]
        whole = counts[0]
        tools = [whole - count for count in counts[2 : 2 + len(specs)]]
        parts = [Part("system.md", whole - counts[1])]
        parts += [Part(f"tools/{s.name}", n) for s, n in zip(specs, tools, strict=True)]
        parts.append(Part("chat format", whole - sum(part.tokens for part in parts)))
        return Sight(
            pack=pack,
            format=form.name,
            prefix="".join(part.text for part in texts[0]),
            pieces=split[0] if self.exact else [],
            parts=parts,
            messages=[
                Part(name, n) for name, n in zip(messages, counts[2 + len(specs) :], strict=True)
            ],
            exact=self.exact,
        )

    def prefix_tokens(self, pack: Pack, builtin: dict[str, Tool]) -> int:
        """Tokens of the static prefix."""
        return self.look(pack, builtin).tokens


def static_variables(
    pack: Pack, builtin: dict[str, Tool], model: str, chat_format: str
) -> StaticVariables:
    """The static variables of a session with this pack and model."""
    return StaticVariables(
        model=model,
        format=chat_format,
        tools=tuple(pack.tool_names(builtin)),
        thinking=bool(pack.thinking),
    )


@contextmanager
def open_meter(subject: Subject) -> Iterator[Meter]:
    """A meter with the model's tokenizer, or one that estimates when there is none."""
    if subject.path is None:
        yield Meter(subject, None)
        return
    from laguna_agent.models.engine.vocabulary import open_vocabulary

    try:
        opened = open_vocabulary(subject.path)
        vocabulary = opened.__enter__()
    except LagunaError as error:
        yield Meter(Subject(subject.name, None, error.message), None)
        return
    try:
        yield Meter(subject, vocabulary)
    finally:
        opened.__exit__(None, None, None)


def _estimated(text: str) -> list[str]:
    return [""] * round(len(text) / _CHARS_A_TOKEN)
