"""Merges a change written against an inexact copy of a file into the file's own lines.

The copy may differ in blanks and indentation and may leave lines out. Lines that the change keeps
stay the same to the byte; lines that it adds get the file's indentation; and if it is unclear what
should become of a line, there is no merge.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from laguna_agent.tools.files.encoding import Splice
from laguna_agent.tools.files.indentation import Anchor, Translation, indent_of

ELLIPSIS = re.compile(r"^\s*(?:#|//|--|/\*|<!--|;)?\s*(?:\.{3}|…)(?:\s*(?:\*/|-->))?\s*$")
"""A line that stands for lines left out."""


@dataclass
class Match:
    """Where `old` matches and what to change there. `how` names what an inexact match ignores."""

    splices: list[Splice]
    how: str = ""
    alternatives: list[list[Splice]] = field(default_factory=list)
    """Other ways to make the change, tried if the result of the first does not parse."""
    ambiguous: bool = False
    """True if only the parser can choose among the ways."""

    def choices(self) -> list[list[Splice]]:
        """All ways to make the change."""
        return [self.splices, *self.alternatives]

    @property
    def start(self) -> int:
        """Position of the first change."""
        return min(splice.start for splice in self.splices)


@dataclass(frozen=True)
class Lines:
    """A text as lines without their endings, and the position of each."""

    text: str
    lines: list[str]
    starts: list[int]

    @classmethod
    def of(cls, text: str) -> Lines:
        """Split at `\\n`; a final newline gives no empty last line."""
        lines = text.split("\n")
        starts = [0]
        for line in lines[:-1]:
            starts.append(starts[-1] + len(line) + 1)
        if lines[-1] == "" and len(lines) > 1:
            lines.pop()
            starts.pop()
        return cls(text, lines, starts)

    def start(self, index: int) -> int:
        """Position where line `index` begins; the end of the text after the last one."""
        return self.starts[index] if index < len(self.starts) else len(self.text)


def merge(
    lines: Lines, alignment: Sequence[int], old: list[str], new: list[str], how: str
) -> Match | None:
    """The change from `old` to `new`, applied to the file's lines at the indexes `alignment`."""
    marks = [index < 0 for index in alignment]
    anchors = [
        Anchor(position, indent_of(written), indent_of(lines.lines[index]))
        for position, (written, index) in enumerate(zip(old, alignment, strict=True))
        if index >= 0 and written.strip()
    ]
    translation = Translation(anchors, [*old, *new], lines.lines)
    old, new = _with_file_ends(lines.lines, alignment, old, new)
    options: list[list[Splice]] = [[]]
    matcher = difflib.SequenceMatcher(
        None, [_comparable(x, marks) for x in old], [_comparable(x, marks) for x in new], False
    )
    for tag, old_start, old_end, new_start, new_end in matcher.get_opcodes():
        if tag == "equal":
            continue
        wanted = new[new_start:new_end]
        if any(marks[old_start:old_end]) or (any(marks) and any(map(ELLIPSIS.match, wanted))):
            return None  # elided lines can be neither replaced nor written
        changes = _changes(lines.lines, alignment, old_start, old_end, wanted)
        if not changes or len(options) * len(changes) > 4:
            return None
        made = [
            [_line_splice(lines, first, after, [translation.line(x, old_start) for x in kept])]
            if kept or first != after
            else []
            for first, after, kept in changes
        ]
        options = [[*option, *splices] for option in options for splices in made]
    options = [option for i, option in enumerate(options) if option not in options[:i]]
    if not all(options):
        return None
    return Match(options[0], how, options[1:], ambiguous=len(options) > 1)


def _with_file_ends(
    file: Sequence[str], alignment: Sequence[int], old: list[str], new: list[str]
) -> tuple[list[str], list[str]]:
    """Both texts with the file's trailing blanks, where those of `old` differ."""
    right: dict[str, str] = {}
    for line, index in zip(old, alignment, strict=True):
        bare = line.rstrip()
        if bare and index >= 0 and line[len(bare) :] != file[index][len(file[index].rstrip()) :]:
            right[line] = bare + file[index][len(file[index].rstrip()) :]
    return [right.get(x, x) for x in old], [right.get(x, x) for x in new]


def _comparable(line: str, marks: Sequence[bool]) -> str:
    return "..." if any(marks) and ELLIPSIS.match(line) else line


_Change = tuple[int, int, Sequence[str]]


def _changes(
    file: Sequence[str], alignment: Sequence[int], start: int, end: int, written: Sequence[str]
) -> list[_Change]:
    """The file lines that `old[start:end]` stands for, and the part of `written` for them.

    Lines next to the change that `old` left out are not written a second time. Empty if it is
    unclear what should become of such a line; two if there are two ways.
    """
    before = alignment[start - 1] if start else -1
    following = alignment[end] if end < len(alignment) else -1
    stripped = [line.strip() for line in written]
    if start == end:
        if before < 0 and following < 0:
            return []
        first = before + 1 if before >= 0 else following
        gap = _stripped(file, first, following) if before >= 0 and following >= 0 else []
        return _insertions(first, gap, written, stripped)
    first, after = alignment[start], alignment[end - 1] + 1
    covered = iter(stripped)
    forgotten = set(range(first, after)) - set(alignment[start:end])
    if not all(file[i].strip() in covered for i in sorted(forgotten)):
        return []
    gap = _stripped(file, before + 1, first) if before >= 0 else []
    if gap and stripped[: len(gap)] == gap:
        written, stripped = written[len(gap) :], stripped[len(gap) :]
    gap = _stripped(file, after, following) if following >= 0 else []
    if gap and stripped[-len(gap) :] == gap:
        written = written[: -len(gap)]
    return [(first, after, written)]


def _insertions(
    first: int, gap: list[str], written: Sequence[str], stripped: list[str]
) -> list[_Change]:
    """Where to insert lines between two lines that have `gap` between them in the file."""
    end = first + len(gap)
    if not gap:
        return [(first, first, written)]
    ways: list[_Change] = []
    if stripped[: len(gap)] == gap:
        rest = written[len(gap) :]
        # Keep the empty lines in between.
        ways.append((end, end, [*rest, *gap] if rest and not any(gap) else rest))
    if stripped[-len(gap) :] == gap:
        rest = written[: -len(gap)]
        ways.append((first, first, [*gap, *rest] if rest and not any(gap) else rest))
    if any(gap) or not ways:  # code may be duplicated on purpose
        ways += [(first, first, written), (end, end, written)]
    return ways


def _stripped(file: Sequence[str], start: int, end: int) -> list[str]:
    return [line.strip() for line in file[start:end]]


def _line_splice(lines: Lines, first: int, after: int, written: list[str]) -> Splice:
    start, end = lines.start(first), lines.start(after)
    text = "\n".join(written)
    at_end = end == len(lines.text) and not lines.text.endswith("\n")
    if at_end and start == end:
        return Splice(start, end, "\n" + text)
    if written and not at_end:
        text += "\n"
    if not written and at_end and start:
        start -= 1
    return Splice(start, end, text)
