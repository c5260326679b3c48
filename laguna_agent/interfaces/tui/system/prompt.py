"""A prompt as it was typed: its text, and the pasted texts that chips in it stand for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

CHIP = re.compile(r"\[pasted #\d+: [\d,]+ (?:lines|characters)\]")


@dataclass(frozen=True)
class Prompt:
    """What a person typed. `pastes` has the text of each chip that stands in `text`."""

    text: str
    pastes: Mapping[str, str] = field(default_factory=dict)

    @property
    def expanded(self) -> str:
        """The text with its chips replaced by what was pasted."""
        return expand(self.text, self.pastes)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to send."""
        return not self.text.strip()


def expand(text: str, pastes: Mapping[str, str]) -> str:
    """Replace each chip by its text; what only looks like a chip stays."""
    return CHIP.sub(lambda chip: pastes.get(chip[0], chip[0]), text)


def fold(text: str, pastes: Mapping[str, str]) -> Prompt:
    """A text with chips for the pastes that are in it, each once."""
    for chip, pasted in pastes.items():
        text = text.replace(pasted, chip, 1)
    return Prompt(text, {chip: pasted for chip, pasted in pastes.items() if chip in text})
