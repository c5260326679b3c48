"""Splits Markdown into blocks that are drawn separately, so that complete ones are drawn only once.

Each line is scanned once. Long code is split too, into pieces that join without a visible seam.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

PIECE, LONGEST_PIECE = 40, 120
"""Lines of code after which it is split at an unindented line after an empty one, and after which
it is split anywhere."""
_FENCE = re.compile(r"( {0,3})(`{3,}|~{3,})(.*)")
_ITEM = re.compile(r" {0,3}(?:[-*+]|\d{1,9}[.)])(?:\s|$)")
_PARTIAL_FENCE = re.compile(r"(?:^|\n) {0,3}(?:`+|~+)$")


@dataclass(frozen=True)
class MarkdownBlock:
    """A piece of a text. `language` is None for Markdown, else that of the code in a fence.

    `starts` is False for code that continues the piece before it.
    """

    text: str
    language: str | None = None
    starts: bool = True


class Blocks:
    """Splits one text, which may grow, into blocks."""

    def __init__(self) -> None:
        self.start = 0
        """Characters of the text in the blocks returned by `feed` so far."""
        self._scanned = 0
        self._blank = False
        self._list = False
        self._fence = ""
        self._indent = 0
        self._language = ""
        self._code_starts = True
        self._piece = 0
        self._found: list[MarkdownBlock] = []

    def feed(self, text: str) -> list[MarkdownBlock]:
        """The blocks that became complete. `text` may only grow between calls."""
        self._found = []
        while (end := text.find("\n", self._scanned)) >= 0:
            self._scan(text, self._scanned, text[self._scanned : end], end + 1)
            self._scanned = end + 1
        return self._found

    def rest(self, text: str, *, whole: bool) -> MarkdownBlock | None:
        """The text after the complete blocks, if any.

        Unless the text is `whole`, a last line that may become a fence is left out.
        """
        rest = text[self.start :]
        if self._fence:
            if _closes(rest[max(0, self._scanned - self.start) :], self._fence):
                rest = text[self.start : self._scanned]
            elif not whole:
                rest = _PARTIAL_FENCE.sub("", rest)
            if not rest and not self._code_starts:
                return None
            return MarkdownBlock(self._code(rest), self._language, self._code_starts)
        if not whole:
            rest = _PARTIAL_FENCE.sub("", rest)
        return MarkdownBlock(rest) if rest.strip() else None

    def _scan(self, text: str, at: int, line: str, after: int) -> None:
        if self._fence:
            self._scan_code(text, at, line, after)
            return
        if not line.strip():
            self._blank = True
            return
        opening = _FENCE.match(line)
        if opening and not (self._list and opening[1]) and "`" not in opening[3]:
            self._split(text, at)
            self.start, self._code_starts, self._piece = after, True, 0
            self._indent, self._fence = len(opening[1]), opening[2]
            self._language = (opening[3].split() or [""])[0]
        elif self._blank and not line[0].isspace() and not (self._list and _ITEM.match(line)):
            self._split(text, at)
        if self.start == at or not text[self.start : at].strip():
            self._list = bool(_ITEM.match(line))
        self._blank = False

    def _scan_code(self, text: str, at: int, line: str, after: int) -> None:
        if _closes(line, self._fence):
            if at > self.start or self._code_starts:
                code = self._code(text[self.start : at])
                self._found.append(MarkdownBlock(code, self._language, self._code_starts))
            self.start, self._fence, self._list, self._blank = after, "", False, True
            return
        self._piece += 1
        at_margin = bool(line) and not line[0].isspace() and self._blank
        if self._piece > LONGEST_PIECE or (self._piece > PIECE and at_margin):
            code = self._code(text[self.start : at])
            self._found.append(MarkdownBlock(code, self._language, self._code_starts))
            self.start, self._code_starts, self._piece = at, False, 1
        self._blank = not line.strip()

    def _split(self, text: str, at: int) -> None:
        if (block := text[self.start : at]).strip():
            self._found.append(MarkdownBlock(block))
        self.start = at

    def _code(self, text: str) -> str:
        text = text.removesuffix("\n")
        if not self._indent:
            return text
        indent = re.compile(f"^ {{1,{self._indent}}}", re.MULTILINE)
        return indent.sub("", text)


def blocks_of(text: str) -> list[MarkdownBlock]:
    """All blocks of a complete text."""
    blocks = Blocks()
    found = blocks.feed(text)
    rest = blocks.rest(text, whole=True)
    return [*found, rest] if rest else found


def _closes(line: str, fence: str) -> bool:
    stripped = line.strip()
    return (
        len(stripped) >= len(fence)
        and not stripped.strip(fence[0])
        and len(line) - len(line.lstrip(" ")) <= 3
    )
