"""Renders a pack for a model and counts its tokens, part by part, with the model's tokenizer."""

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

_CHARS_PER_TOKEN = 3.8


@dataclass(frozen=True)
class TargetModel:
    """The model that a pack is rendered for. `path` is None when it is not installed."""

    name: str
    path: Path | None = None
    parameters: int = 0
    missing: str = ""
    """Why there is no tokenizer."""


@dataclass(frozen=True)
class Part:
    """A part of the prompt. `tokens` is what leaving it out would save."""

    name: str
    tokens: int


@dataclass(frozen=True)
class RenderedPack:
    """A pack as a model reads it, with its cost."""

    pack: Pack
    format: str
    prefix: str
    """The static prefix, to the byte."""
    pieces: list[str]
    """The prefix, token by token; empty when tokens are estimated."""
    parts: list[Part]
    messages: list[Part]
    """Templates of messages, without the values that are filled in."""
    exact: bool

    @property
    def tokens(self) -> int:
        """Tokens of the static prefix."""
        return sum(part.tokens for part in self.parts)


def find_target(name: str | None, config: Config) -> TargetModel:
    """The model that a session would use; of one that is not installed, only the name."""
    from laguna_agent.models.catalogue import DEFAULT
    from laguna_agent.models.store import resolve

    wanted = name or config.model
    try:
        found = resolve(wanted, config)
        return TargetModel(found.name, found.path, found.header.parameters)
    except ModelError as error:
        return TargetModel(wanted or DEFAULT, missing=error.message)


class TokenMeter:
    """Renders packs for a model and counts their tokens."""

    def __init__(self, target: TargetModel, vocabulary: Vocabulary | None) -> None:
        self.target = target
        self.vocabulary = vocabulary

    @property
    def exact(self) -> bool:
        """False when tokens are estimated."""
        return self.vocabulary is not None

    def format_of(self, pack: Pack, thinking: bool) -> ChatFormat:
        """The chat format of the model with this pack."""
        info = self.vocabulary.info if self.vocabulary else None
        guess = "laguna" if "laguna" in self.target.name.lower() else "qwen2"
        return format_for(
            pack.chat_format,
            architecture=info.architecture if info else guess,
            template=info.template if info else None,
            model_name=self.target.name,
            thinking=thinking,
            bos=info.bos if info else "",
            eos=info.eos if info else "",
        )

    def split(self, texts: Sequence[Sequence[Segment]]) -> list[list[str]]:
        """The tokens of each text; estimated ones when there is no tokenizer."""
        if self.vocabulary is not None:
            return self.vocabulary.pieces(texts)
        return [_estimated("".join(part.text for part in text)) for text in texts]

    def measure(self, pack: Pack, builtin: dict[str, Tool]) -> RenderedPack:
        """Render all that the model would read with this pack. Raises PackError."""
        thinking = bool(pack.thinking)
        form = self.format_of(pack, thinking)
        variables = pack_variables(pack, builtin, self.target.name, form.name)
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
        return RenderedPack(
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
        """Tokens of a pack's static prefix."""
        return self.measure(pack, builtin).tokens


def pack_variables(
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
def open_meter(target: TargetModel) -> Iterator[TokenMeter]:
    """A meter with the model's tokenizer, or one that estimates when there is none."""
    if target.path is None:
        yield TokenMeter(target, None)
        return
    from laguna_agent.models.engine.vocabulary import open_vocabulary

    try:
        opened = open_vocabulary(target.path)
        vocabulary = opened.__enter__()
    except LagunaError as error:
        yield TokenMeter(TargetModel(target.name, missing=error.message), None)
        return
    try:
        yield TokenMeter(target, vocabulary)
    finally:
        opened.__exit__(None, None, None)


def _estimated(text: str) -> list[str]:
    return [""] * round(len(text) / _CHARS_PER_TOKEN)
