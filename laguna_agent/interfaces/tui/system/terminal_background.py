"""Finds out whether the terminal's background is light, for the choice of the theme.

The terminal is asked by OSC 11 when it has been taken. The first paint does not wait for its
answer, which is taken out of the input whenever it comes, in one piece or in several, so that it
never is text. A terminal that does not answer keeps what `COLORFGBG` says, else the dark theme.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping

from textual._xterm_parser import XTermParser
from textual.message import Message

QUERY = "\x1b]11;?\x07"
ANSWER_S, EXIT_S = 3.0, 0.3
"""Seconds for which an answer may change the theme, and for which an exit waits for one."""
_PART_S, _REST_S = 0.1, 1.0
"""Seconds to wait for the rest of what may be an answer, as for that of an escape sequence, and of
what no key is."""
_ANSWER = re.compile(r"\x1b\]11;([\w:/?#]{0,40})(?:\x07|\x1b\\)")
_START = "\x1b]11;"
_PART = re.compile(r"\x1b(?:\](?:1(?:1(?:;[\w:/?#]{0,40}\x1b?)?)?)?)?\Z")
_RGB = re.compile(r"rgba?:([0-9a-f]{1,4})/([0-9a-f]{1,4})/([0-9a-f]{1,4})", re.IGNORECASE)


def can_be_asked(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the terminal knows the question or ignores it. GNU screen and consoles do not."""
    kind = environment.get("TERM", "")
    in_screen = bool(environment.get("STY")) and not environment.get("TMUX")
    return not in_screen and not kind.startswith(("linux", "vt", "dumb", "cons", "sun"))


def is_light_by_variable(environment: Mapping[str, str] = os.environ) -> bool:
    """What `COLORFGBG` says, which rxvt, Konsole and iTerm2 set: the number of the colour."""
    background = environment.get("COLORFGBG", "").rpartition(";")[2]
    return background in ("7", "15") or (background.isdigit() and 9 <= int(background) <= 14)


def is_light(answer: str) -> bool | None:
    """Whether a colour as terminals write it is light; None for anything else."""
    match = _RGB.match(answer)
    if match is None:
        return None
    red, green, blue = (int(part, 16) / (16 ** len(part) - 1) for part in match.groups())
    return bool(0.299 * red + 0.587 * green + 0.114 * blue > 0.5)


class AnswerFilter:
    """Takes the answers out of the terminal's input; `on_answer` gets what they say."""

    def __init__(self, on_answer: Callable[[str], None]) -> None:
        self._on_answer = on_answer
        self._held = ""
        self._held_at = self._asked_at = 0.0
        self.answered = threading.Event()
        self.answered.set()

    def ask(self) -> None:
        """The question is about to be written."""
        self.answered.clear()
        self._asked_at = time.monotonic()

    @property
    def waits(self) -> bool:
        """Whether an answer may still come."""
        return not self.answered.is_set() and time.monotonic() - self._asked_at < ANSWER_S

    def feed(self, data: str) -> str:
        """The input without answers. The start of one is held back until the rest is there."""
        data, self._held = self._held + data, ""
        if "\x1b" not in data:
            return data
        data = _ANSWER.sub(self._take, data)
        part = _PART.search(data)
        # Without a question, Escape and Alt+] are not held back.
        if part is not None and (self.waits or part.group().startswith(_START)):
            data, self._held = data[: part.start()], part.group()
            self._held_at = time.monotonic()
        return data

    def overdue(self) -> str:
        """Keys that were held back for as long as they could be an answer."""
        is_answer = self._held.startswith(_START)
        limit_s = _REST_S if is_answer else _PART_S
        if not self._held or time.monotonic() - self._held_at < limit_s:
            return ""
        held, self._held = self._held, ""
        return "" if is_answer else held

    def _take(self, match: re.Match[str]) -> str:
        in_time = self.waits
        self.answered.set()
        if in_time:
            self._on_answer(match[1])
        return ""


class AnswerParser(XTermParser):
    """Textual's parser behind an `AnswerFilter`."""

    def __init__(self, answers: AnswerFilter, debug: bool = False) -> None:
        super().__init__(debug)
        self._answers = answers

    def feed(self, data: str) -> Iterable[Message]:
        if not data:  # the end of the input
            yield from super().feed("")
        elif kept := self._answers.feed(data):
            yield from super().feed(kept)

    def tick(self) -> Iterable[Message]:
        if held := self._answers.overdue():
            yield from super().feed(held)
        yield from super().tick()
