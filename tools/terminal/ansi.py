"""Turns program output into plain, bounded text without escape sequences and progress bars.

The result is what a terminal shows at the end: a line that was rewritten after a carriage return
appears once, colours are removed, and characters that control a terminal or the direction of text
are escaped.
"""

from __future__ import annotations

import codecs
import re
from collections import deque

_ESCAPE = re.compile(
    "\x1b\\[[0-?]*[ -/]*[@-~]"  # CSI
    "|\x1b\\][^\x07\x1b\n]*(?:\x07|\x1b\\\\)?"  # OSC: titles, links, the clipboard
    "|\x1b[PX^_][^\x1b\n]*(?:\x1b\\\\)?"  # DCS, SOS, PM, APC
    "|\x1b[ -/]*[0-~]?"
    "|\x9b[0-?]*[ -/]*[@-~]"
)
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]+")
_STEERING = re.compile(
    "[\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e0fff]"  # the last are letters that nobody sees but a model
)
_SPECIAL = re.compile(
    f"[\x00-\x08\x0b-\x1f\x7f-\x9f{_STEERING.pattern[1:]}",
)
_OVERSTRUCK = re.compile("[^\x08\n]\x08")
_PENDING_LIMIT = 1 << 16
_REPEATS_SHOWN = 3
_REPEATS_FOLDED = 20
_FOLD_LIMIT = 4096


def clean_line(line: str) -> str:
    """One line, without its ending, as a terminal shows it in the end."""
    if not _SPECIAL.search(line):
        return line
    line = _ESCAPE.sub("", line)
    if "\r" in line:
        line = next((part for part in reversed(line.split("\r")) if part), "")
    while "\x08" in line:
        line, count = _OVERSTRUCK.subn("", line)
        if not count:
            break
    line = _CONTROL.sub("", line)
    return _STEERING.sub(_escaped, line)


def _escaped(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def clean_text(text: str) -> str:
    """A text, cleaned line by line."""
    if not _SPECIAL.search(text):
        return text
    return "\n".join(clean_line(line) for line in text.split("\n"))


class OutputCleaner:
    """Turns a stream of bytes into plain text; holds at most one unfinished line."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._pending = ""

    def feed(self, data: bytes) -> str:
        """The lines that are complete now, with their endings."""
        text = self._pending + self._decoder.decode(data)
        whole, newline, rest = text.rpartition("\n")
        ready = clean_text(whole) + newline
        if len(rest) > _PENDING_LIMIT:
            # Of a progress bar without a newline keep the last state; output other text.
            kept = rest.rstrip("\r").rpartition("\r")[2]
            if len(kept) == len(rest.rstrip("\r")):
                ready += clean_line(rest)
                kept = ""
            rest = kept
        self._pending = rest
        return ready

    def waiting(self) -> str:
        """The unfinished line, as a terminal shows it now."""
        return clean_line(self._pending)

    def finish(self) -> str:
        """The rest at the end of the output."""
        rest = clean_line(self._pending + self._decoder.decode(b"", final=True))
        self._pending = ""
        return rest


class HeadAndTail:
    """The head and tail of a text of any length, in bounded memory.

    A line that repeats many times is kept a few times and then counted.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._head: list[str] = []
        self._head_room = limit // 2
        self._tail: deque[str] = deque()
        self._tail_size = 0
        self._line: str | None = None
        self._repeats = 0
        self.dropped_lines = 0
        self.dropped_chars = 0

    def add(self, text: str) -> None:
        """Append text; its last line may be unfinished."""
        if self._line and len(text) > _FOLD_LIMIT:
            # A flood of one repeated line, as of `yes`.
            count = len(text) // len(self._line)
            if self._line.endswith("\n") and text == self._line * count:
                for _ in range(_REPEATS_SHOWN - 1 - self._repeats):
                    self._put(self._line)
                self._repeats += count
                return
        lines = text.split("\n")
        last = lines.pop()
        for line in [*(line + "\n" for line in lines), *([last] if last else [])]:
            if line == self._line and line.endswith("\n"):
                self._repeats += 1
                if self._repeats < _REPEATS_SHOWN:
                    self._put(line)
                continue
            self._end_repeats()
            self._line = line
            self._put(line)

    def _end_repeats(self) -> None:
        more = self._repeats - _REPEATS_SHOWN + 1
        if more > 0 and self._line is not None:
            if self._repeats >= _REPEATS_FOLDED:
                self._put(f"[… the same line {more:,} more times]\n")
            else:
                for _ in range(more):
                    self._put(self._line)
        self._repeats = 0

    def _put(self, text: str) -> None:
        if self._head_room > 0 and not self._tail:
            if len(text) <= self._head_room:
                self._head.append(text)
                self._head_room -= len(text)
                return
            self._head.append(text[: self._head_room])
            text = text[self._head_room :]
            self._head_room = 0
        room = self._limit - self._limit // 2
        if len(text) > room:
            self._drop(text[:-room])
            text = text[-room:]
        self._tail.append(text)
        self._tail_size += len(text)
        while self._tail_size > room:
            first = self._tail.popleft()
            over = self._tail_size - room
            if len(first) > over:
                self._drop(first[:over])
                self._tail.appendleft(first[over:])
                self._tail_size -= over
            else:
                self._drop(first)
                self._tail_size -= len(first)

    def _drop(self, text: str) -> None:
        self.dropped_chars += len(text)
        self.dropped_lines += text.count("\n")

    def text(self, where: str = "") -> str:
        """The text, with a line about what was left out; `where` names the saved output."""
        self._end_repeats()
        self._line = None
        head, tail = "".join(self._head), "".join(self._tail)
        if not self.dropped_chars:
            return head + tail
        lines = self.dropped_lines
        left_out = f"{lines:,} lines" if lines else f"{self.dropped_chars:,} characters"
        gap = "" if head.endswith("\n") else "\n"
        return f"{head}{gap}[… {left_out} left out{where}]\n{tail}"
