"""How entries were last drawn; of a streaming answer only the end is drawn again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from laguna_agent.interfaces.tui.transcript.markdown_blocks import Blocks, MarkdownBlock
from laguna_agent.interfaces.tui.transcript.rendering import (
    DIFF_LINES,
    FOLDED_LINES,
    MESSAGE_LINES,
    EntryRenderer,
    Lines,
)
from laguna_agent.interfaces.tui.transcript.transcript_model import Entry


class IncrementalMarkdown:
    """Draws one streaming Markdown text for one width."""

    def __init__(self) -> None:
        self._blocks = Blocks()
        self._complete_text = ""
        """The text of the complete blocks."""
        self._complete: Lines = []
        self._tail: Lines = []
        """The drawn lines of the text after them."""

    def continues(self, text: str) -> bool:
        """Whether `text` only adds to the complete blocks."""
        return text.startswith(self._complete_text)

    def draw(self, text: str, draw: Callable[[MarkdownBlock], Lines], *, whole: bool) -> Lines:
        """The lines of a text that `continues` the last one; `whole` if it is complete."""
        before = len(self._complete)
        for block in self._blocks.feed(text):
            self._complete += draw(block)
        if len(self._complete_text) < self._blocks.start:
            self._complete_text = text[: self._blocks.start]
        tail = self._blocks.rest(text, whole=whole)
        lines = [*self._complete, *(draw(tail) if tail else [])]
        # An unchanged line stays the same object, for which the view has cached a strip.
        for number, (was, now) in enumerate(zip(self._tail, lines[before:], strict=False), before):
            if was is not now and was == now:
                lines[number] = was
        complete = len(self._complete)
        self._complete, self._tail = lines[:complete], lines[complete:]
        return lines or [[]]


@dataclass
class EntryLayout:
    """How an entry was last drawn. `lines` is None while `height` is an estimate."""

    height: int
    lines: Lines | None = None
    width: int = 0
    version: int = -1
    streaming: IncrementalMarkdown | None = None
    """For an answer that is being written."""

    @classmethod
    def estimated(cls, entry: Entry, width: int) -> EntryLayout:
        """The layout of an entry that was never drawn."""
        match entry.kind:
            case "answer":
                return cls(2 + entry.body.count("\n") + len(entry.body) // width)
            case "user":
                return cls(2 + min(MESSAGE_LINES, entry.body.count("\n")))
            case "tool":
                output = min(FOLDED_LINES, entry.body.count("\n"))
                return cls(1 + (min(DIFF_LINES, entry.diff.count("\n")) or output))
            case "thinking":
                return cls(2)
            case _:
                return cls(1)

    def is_current(self, entry: Entry, width: int) -> bool:
        """Whether the entry was drawn as it is now, for this width."""
        drawn = self.lines is not None
        return drawn and (self.width, self.version) == (width, entry.version)

    def draw(self, entry: Entry, renderer: EntryRenderer, width: int) -> None:
        """Draw the entry."""
        if entry.kind == "answer" and entry.is_open is not False:
            self.lines = self._draw_answer(entry, renderer, width)
        else:
            self.lines = renderer.entry(entry, width)
        self.width, self.version, self.height = width, entry.version, len(self.lines)

    def _draw_answer(self, entry: Entry, renderer: EntryRenderer, width: int) -> Lines:
        streaming = self.streaming if width == self.width else None
        if streaming is None or not streaming.continues(entry.body):
            streaming = IncrementalMarkdown()
        whole = entry.state != "running"
        self.streaming = None if whole else streaming
        return streaming.draw(entry.body, lambda block: renderer.block(block, width), whole=whole)
