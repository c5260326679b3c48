"""Cuts Markdown into blocks that can be drawn alone, so that text that streams is not drawn anew.

Each line is looked at once. Long code is cut too: a block of code is drawn in pieces that stand on
each other without a seam.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

PIECE, LONGEST_PIECE = 40, 120
"""Lines of code after which it is cut where a line begins at the margin after an empty one, and
after which it is cut anywhere."""
_FENCE = re.compile(r"( {0,3})(`{3,}|~{3,})(.*)")
_ITEM = re.compile(r" {0,3}(?:[-*+]|\d{1,9}[.)])(?:\s|$)")
_HALF_FENCE = re.compile(r"(?:^|\n) {0,3}(?:`+|~+)$")


@dataclass(frozen=True)
class Block:
    """A piece of a text. `language` is None for Markdown, else that of code without its fence.

    `begins` is False for code that goes on below the piece before it.
    """

    text: str
    language: str | None = None
    begins: bool = True


class Blocks:
    """The blocks of one text, which may grow."""

    def __init__(self) -> None:
        self.start = 0
        """Characters of the text that are in blocks that `feed` gave already."""
        self._scanned = 0
        self._blank = False
        self._list = False
        self._fence = ""
        self._indent = 0
        self._language = ""
        self._begins = True
        self._piece = 0
        self._found: list[Block] = []

    def feed(self, text: str) -> list[Block]:
        """The blocks that are whole now and were not before. `text` only grows between calls."""
        self._found = []
        while (end := text.find("\n", self._scanned)) >= 0:
            self._line(text, self._scanned, text[self._scanned : end], end + 1)
            self._scanned = end + 1
        return self._found

    def rest(self, text: str, *, whole: bool) -> Block | None:
        """What comes after the blocks; None when that is nothing.

        Of a text that is not `whole`, a line that may become a fence is left out.
        """
        rest = text[self.start :]
        if self._fence:
            if _closes(rest[max(0, self._scanned - self.start) :], self._fence):
                rest = text[self.start : self._scanned]
            elif not whole:
                rest = _HALF_FENCE.sub("", rest)
            if not rest and not self._begins:
                return None
            return Block(self._code(rest), self._language, self._begins)
        if not whole:
            rest = _HALF_FENCE.sub("", rest)
        return Block(rest) if rest.strip() else None

    # --- line by line ----------------------------------------------------------------------

    def _line(self, text: str, at: int, line: str, after: int) -> None:
        if self._fence:
            self._code_line(text, at, line, after)
            return
        if not line.strip():
            self._blank = True
            return
        opening = _FENCE.match(line)
        if opening and not (self._list and opening[1]) and "`" not in opening[3]:
            self._cut(text, at)
            self.start, self._begins, self._piece = after, True, 0
            self._indent, self._fence = len(opening[1]), opening[2]
            self._language = (opening[3].split() or [""])[0]
        elif self._blank and not line[0].isspace() and not (self._list and _ITEM.match(line)):
            self._cut(text, at)
        if self.start == at or not text[self.start : at].strip():
            self._list = bool(_ITEM.match(line))
        self._blank = False

    def _code_line(self, text: str, at: int, line: str, after: int) -> None:
        if _closes(line, self._fence):
            if at > self.start or self._begins:
                code = self._code(text[self.start : at])
                self._found.append(Block(code, self._language, self._begins))
            self.start, self._fence, self._list, self._blank = after, "", False, True
            return
        self._piece += 1
        at_margin = bool(line) and not line[0].isspace() and self._blank
        if self._piece > LONGEST_PIECE or (self._piece > PIECE and at_margin):
            code = self._code(text[self.start : at])
            self._found.append(Block(code, self._language, self._begins))
            self.start, self._begins, self._piece = at, False, 1
        self._blank = not line.strip()

    def _cut(self, text: str, at: int) -> None:
        if (block := text[self.start : at]).strip():
            self._found.append(Block(block))
        self.start = at

    def _code(self, text: str) -> str:
        text = text.removesuffix("\n")
        if not self._indent:
            return text
        indent = re.compile(f"^ {{1,{self._indent}}}", re.MULTILINE)
        return indent.sub("", text)


def blocks_of(text: str) -> list[Block]:
    """All blocks of a text that is whole."""
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
