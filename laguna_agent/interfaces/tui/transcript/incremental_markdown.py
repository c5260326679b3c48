"""How entries were drawn; of an answer that is being written only the end is drawn again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from laguna_agent.interfaces.tui.transcript.markdown_blocks import Block, Blocks
from laguna_agent.interfaces.tui.transcript.rendering import Lines


class IncrementalMarkdown:
    """The lines of one text for one width, as far as they are known."""

    def __init__(self) -> None:
        self._blocks = Blocks()
        self._seen = ""
        """The text of the blocks that are whole."""
        self._settled: Lines = []
        self._rest: Lines = []
        """What was drawn of the text after them."""

    def continues(self, text: str) -> bool:
        """True when `text` begins with all that was drawn for good."""
        return text.startswith(self._seen)

    def draw(self, text: str, draw: Callable[[Block], Lines], *, whole: bool) -> Lines:
        """The lines of a text that `continues`. `whole` says that nothing more will come."""
        before = len(self._settled)
        for block in self._blocks.feed(text):
            self._settled += draw(block)
        if len(self._seen) < self._blocks.start:
            self._seen = text[: self._blocks.start]
        rest = self._blocks.rest(text, whole=whole)
        lines = [*self._settled, *(draw(rest) if rest else [])]
        # Lines that look the same stay what they were: what was made of them still holds.
        for number, (was, now) in enumerate(zip(self._rest, lines[before:], strict=False), before):
            if was is not now and was == now:
                lines[number] = was
        settled = len(self._settled)
        self._settled, self._rest = lines[:settled], lines[settled:]
        return lines or [[]]


@dataclass
class EntryLayout:
    """How an entry was last drawn. `lines` is None while `height` is a guess."""

    height: int
    lines: Lines | None = None
    width: int = 0
    version: int = -1
    growing: IncrementalMarkdown | None = None
    """Of an answer that is being written."""
