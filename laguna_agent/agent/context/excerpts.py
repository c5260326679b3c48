"""The parts of files that a task is about, where the files are too long to be shown whole.

What the task names (a function, a constant, a word in quotes) and where the failing check's
traceback leads is shown with its line numbers in the heading; of a file that is named, an outline
too.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from laguna_agent.tools.code.index import Definition, FileIndex, index_source
from laguna_agent.tools.code.languages import language_of

_IDENTIFIER = re.compile(r"[A-Za-z_][\w]*(?:\.[A-Za-z_]\w*)*")
_QUOTED = re.compile(r"`([^`\n]{2,60})`|\"([^\"\n]{2,60})\"|'([^'\n]{2,60})'(?!\w)")
_FRAME = re.compile(r"File \"([^\"\n]+)\", line (\d+)|(?<![\w/.-])([\w./-]+\.\w+):(\d+)(?=[:,)\s])")
_CODE = re.compile(r"(?<![\w./-])[A-Za-z]+(?:-[A-Za-z]+)*-\d[\w-]*(?![\w/-]|\.\w)")
"""A word such as an article number, `KB-1187`."""
_CAPITALS = re.compile(r"(?<=variable )[A-Z][A-Z\d_]{2,}\b|\b[A-Z][A-Z\d]*_[A-Z\d_]+\b")
_FILE = re.compile(r"\.[a-z]{1,4}$")
_REMARK = re.compile(r"\s*(?:#|//|/\*|\*|--|[\"']{3})")
_AROUND = 4
"""Lines on each side of a line that matters."""
_LONGEST = 60
"""Lines of a definition that is shown whole."""
_MOST_PLACES = 3
"""Places of a word that is shown; one that is everywhere says nothing."""
_MOST_MENTIONS, _MOST_LISTED, _LONGEST_LINE = 8, 12, 200
"""Lines of a word, and in all, that are listed for a question, and characters of one."""
_MOST_WORDS = 50
"""Words of a task that are looked for: a task may be a whole log."""
_MOST_FRAMES = 200
_OUTLINE_LINES = 40
_HEAD, _HEAD_CHARACTERS = 8, 1_000
"""Lines at the start of a file of data, and the most characters that they may have."""


@dataclass(frozen=True)
class Excerpt:
    """Lines `first` to `last` of a file, counted from 1. Without lines it is an outline."""

    path: str
    text: str
    first: int = 0
    last: int = 0


def excerpts(
    task: str,
    output: str,
    *,
    named: Sequence[str],
    others: Iterable[str],
    read: Callable[[str], str | None],
    characters: int,
) -> list[Excerpt]:
    """Parts of files that are not shown whole: of those that the task or the output names
    (`named`) with an outline, and of `others`. `read` gives a file's text; all together has at most
    so many `characters`."""
    words, frames = _words(task), _frames(output)
    found: list[Excerpt] = []
    for path in (*named, *others):
        numbers = _rows(frames, path)
        if not (words or numbers or path in named) or (text := read(path)) is None:
            continue
        source = _Source(path, text)
        rows = source.rows_of(words) | source.rows_around(numbers)
        made = source.parts(rows)
        if path in named and (first := source.outline() or source.head()):
            made.insert(0, first)
        for part in made:
            if len(part.text) <= characters:
                characters -= len(part.text)
                found.append(part)
    return found


def mentions(task: str, paths: Iterable[str], read: Callable[[str], str | None]) -> list[str]:
    """Lines of code that have a word which the task names, with what they are in, as `a.py, line 3,
    def f(): CODE`; of words that are in a few lines only. `read` gives a file's text."""
    words = list(dict.fromkeys([*_words(task), *_CAPITALS.findall(task)]))
    words = [word for word in words if not _FILE.search(word)]
    found: dict[str, dict[tuple[int, int], str]] = {word: {} for word in words}
    for order, path in enumerate(paths if words else ()):
        text = read(path) if language_of(path) is not None else None
        source = _Source(path, text or "")
        for word, lines in found.items():
            lines.update({(order, n): line for n, line in source.mentions(word)})
    few = [lines for lines in found.values() if len(lines) <= _MOST_MENTIONS]
    listed = {at: line for lines in few for at, line in lines.items()}
    return [line for _, line in sorted(listed.items())] if len(listed) <= _MOST_LISTED else []


class _Source:
    def __init__(self, path: str, text: str) -> None:
        self.path, self.text, self.lines = path, text, text.split("\n")

    @cached_property
    def _index(self) -> FileIndex | None:
        """Parsed when it is needed: most files have nothing to show."""
        data = self.text.encode("utf-8", "replace")
        language = language_of(self.path, data[:200])
        return index_source(language, data) if language else None

    @property
    def _definitions(self) -> tuple[Definition, ...]:
        return self._index.definitions if self._index else ()

    def head(self) -> Excerpt | None:
        """The first lines of a file of data, which show how it is made."""
        text = "\n".join(self.lines[:_HEAD])
        if self._index is not None or len(text) > _HEAD_CHARACTERS:
            return None
        return Excerpt(self.path, text, 1, min(_HEAD, len(self.lines)))

    def rows_of(self, words: Sequence[str]) -> set[int]:
        """Lines that are about one of the words: its definition, else lines that have it."""
        rows: set[int] = set()
        for word in words:
            last = word.rpartition(".")[2]
            if last not in self.text:
                continue
            defined = [d for d in self._definitions if d.qualified == word or d.name == last]
            if 0 < len(defined) <= _MOST_PLACES:
                for one in defined:
                    end = min(one.last, one.first + _LONGEST - 1)
                    rows |= set(range(one.first, end + 1))
                continue
            pattern = re.compile(rf"(?<!\w){re.escape(word)}(?!\w)")
            lines = [n for n, line in enumerate(self.lines, 1) if pattern.search(line)]
            if 0 < len(lines) <= _MOST_PLACES:
                rows |= self.rows_around(lines)
        return rows

    def mentions(self, word: str) -> Iterator[tuple[int, str]]:
        """Lines of code that have a word but do not define it, with their numbers."""
        if word not in self.text:
            return
        pattern = re.compile(rf"(?<!\w){re.escape(word)}(?!\w)")
        own = {d.line for d in self._definitions if d.name == word}
        for number, line in enumerate(self.lines, 1):
            skipped = number in own or len(line) > _LONGEST_LINE or _REMARK.match(line)
            if skipped or not pattern.search(line):
                continue
            around = [d for d in self._definitions if d.first <= number <= d.last]
            inner = min(around, key=lambda d: d.last - d.first).signature if around else ""
            where = (
                f"{self.path}, line {number}, {inner}" if inner else f"{self.path}, line {number}"
            )
            yield number, f"{where}: {line.strip()}"

    def rows_around(self, numbers: Iterable[int]) -> set[int]:
        """The definitions around lines, where they are short, else some lines on each side."""
        rows: set[int] = set()
        for number in numbers:
            if not 0 < number <= len(self.lines):
                continue
            around = [
                d for d in self._definitions
                if d.first <= number <= d.last and d.last - d.first < _LONGEST
            ]  # fmt: skip
            if around:
                outer = min(around, key=lambda d: d.last - d.first)
                rows |= set(range(outer.first, outer.last + 1))
            else:
                low, high = max(1, number - _AROUND), min(len(self.lines), number + _AROUND)
                rows |= set(range(low, high + 1))
        return rows

    def parts(self, rows: set[int]) -> list[Excerpt]:
        """The rows as parts; those that nearly touch are one."""
        found: list[Excerpt] = []
        start = previous = 0
        for row in [*sorted(rows), len(self.lines) + 10]:
            if start and row > previous + 2:
                text = "\n".join(self.lines[start - 1 : previous])
                found.append(Excerpt(self.path, text, start, previous))
                start = 0
            start, previous = start or row, row
        return found

    def outline(self) -> Excerpt | None:
        """What a file defines, a line each."""
        lines = self._index.outline() if self._index else []
        if not lines:
            return None
        if len(lines) > _OUTLINE_LINES:
            lines[_OUTLINE_LINES:] = [f"… {len(lines) - _OUTLINE_LINES} more"]
        return Excerpt(self.path, "\n".join(lines))


def _words(task: str) -> list[str]:
    """Words of a task that name something in code: quoted, or not spelled like prose."""
    found = [next(filter(None, match.groups())) for match in _QUOTED.finditer(task)]
    for match in _IDENTIFIER.finditer(task):
        word = match.group()
        called = task[match.end() : match.end() + 1] == "("
        inner = any(a.islower() and b.isupper() for a, b in itertools.pairwise(word))
        if called or inner or "_" in word.strip("_") or any(c.isdigit() for c in word):
            found.append(word)
    found += _CODE.findall(task)
    return list(dict.fromkeys(found))[:_MOST_WORDS]


def _frames(output: str) -> list[tuple[str, int]]:
    """Files and lines that a traceback or a compiler names."""
    frames = []
    for match in itertools.islice(_FRAME.finditer(output), _MOST_FRAMES):
        path, line = match[1] or match[3], match[2] or match[4]
        if len(line) < 8:
            frames.append((path, int(line)))
    return frames


def _rows(frames: Sequence[tuple[str, int]], path: str) -> list[int]:
    end = os.sep + path
    return [line for name, line in frames if os.path.normpath(name) == path or name.endswith(end)]
