"""Finds the text that an edit replaces, and changes no more of the file than that.

An exact match always wins. Otherwise the usual mistakes of models are tolerated, one kind at a
time: trailing blanks, indentation, runs of blanks, a line left out or written as `...`. Such a
match counts only if it is unique. The change from `old` to `new` is then merged into the file's
own lines, so that the lines an edit keeps stay the same to the byte.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence

from laguna_agent.tools.files.encoding import Splice
from laguna_agent.tools.files.indentation import indent_of
from laguna_agent.tools.files.merging import ELLIPSIS, Lines, Match, merge

_NUMBERED = re.compile(r"^ *\d+(?:\t|\||: ?)")
_FOLDED = str.maketrans("‘’‚‛“”„‟‐‑‒–—―−\u00a0\u2009\u202f", "''''\"\"\"\"-------   ")
_MAX_GAP = 2
_MAX_ELIDED = 400
_MAX_PLACEMENTS = 40


class NoMatchError(Exception):
    """The text was found not at all or several times. Candidates begin at `lines` (1-based)."""

    def __init__(self, message: str, lines: Sequence[int] = ()) -> None:
        super().__init__(message)
        self.lines = list(lines)


def find(text: str, old: str, new: str, *, every: bool = False) -> Match:
    """Match `old` in `text`, whose line endings are `\\n`. Raises NoMatchError."""
    old, new = old.replace("\r\n", "\n"), new.replace("\r\n", "\n")
    if not old:
        raise NoMatchError("old is empty; give the text to replace, or use write for a whole file.")
    for a, b in _variants(old, new):
        exact = _exact(text, a, b, every=every)
        if exact is not None:
            return exact
    lines = Lines.of(text)
    for a, b in _variants(old, new):
        found = _tolerant(lines, a, b)
        if found is not None:
            return found
    raise NoMatchError("old was not found.")


def _variants(old: str, new: str) -> Iterator[tuple[str, str]]:
    """The edit as given, then without line numbers or a code fence copied into it."""
    yield old, new
    numbered = [line for line in old.split("\n") if line.strip()]
    if numbered and all(_NUMBERED.match(line) for line in numbered):
        without = [_NUMBERED.sub("", line) for line in old.split("\n")]
        yield "\n".join(without), "\n".join(_NUMBERED.sub("", x) for x in new.split("\n"))
    fence = re.compile(r"^\s*```[\w+-]*\n(.*?)\n?```\s*$", re.DOTALL)
    if match := fence.match(old):
        inner = fence.match(new)
        yield match.group(1), inner.group(1) if inner else new


# --- exact --------------------------------------------------------------------------------------


def _exact(text: str, old: str, new: str, *, every: bool) -> Match | None:
    positions = []
    position = text.find(old)
    while position >= 0:
        positions.append(position)
        position = text.find(old, position + len(old))
    if not positions:
        return None
    if len(positions) > 1 and not every:
        numbers = [text.count("\n", 0, p) + 1 for p in positions]
        shown = ", ".join(map(str, numbers[:8])) + (", …" if len(numbers) > 8 else "")
        raise NoMatchError(
            f"old is found {len(positions)} times (lines {shown}); "
            "give more lines around it, or all=true to change every one.",
            numbers,
        )
    if len(positions) > 1:
        return Match([Splice(p, p + len(old), new) for p in positions])
    start, end = positions[0], positions[0] + len(old)
    return _exact_once(text, start, end, old, new)


def _exact_once(text: str, start: int, end: int, old: str, new: str) -> Match:
    line_start = text.rfind("\n", 0, start) + 1
    before = text[line_start:start]
    ends_line = end == len(text) or text[end] == "\n" or text[end - 1] == "\n"
    whole_lines = not before.strip() and ends_line
    if whole_lines and not new.strip("\n") and old.strip():
        # The lines are deleted: do not leave an empty line.
        stop = end + 1 if end < len(text) and text[end - 1] != "\n" else end
        return Match([Splice(line_start, stop, new if new.strip(" \t") == new else "")])
    if whole_lines and new:
        if old.endswith("\n") and not new.endswith("\n") and end < len(text):
            new += "\n"
        elif not old.endswith("\n") and new.endswith("\n") and end < len(text):
            new = new[:-1]
    verbatim = [Splice(start, end, new)]
    if not (whole_lines and before and not indent_of(old) and "\n" in new):
        return Match(verbatim)
    # The first line came without its indentation: later lines of `new` are indented relative to
    # it or to the margin of the file.
    first, *rest = new.split("\n")
    indented = [line for line in rest if line.strip()]
    moved = [
        Splice(start, end, "\n".join([first, *(before + x if x.strip() else x for x in rest)]))
    ]
    one_line = "\n" not in old.rstrip("\n")
    if one_line and indented and min(len(indent_of(x)) for x in indented) < len(before):
        return Match(moved, alternatives=[verbatim])
    return Match(verbatim, alternatives=[moved] if one_line else [])


# --- tolerant -----------------------------------------------------------------------------------

_Key = Callable[[str], str]

_TIERS: tuple[tuple[str, _Key], ...] = (
    ("trailing blanks", str.rstrip),
    ("indentation", str.strip),
    ("blanks", lambda line: " ".join(line.split())),
    (
        "typographic characters",
        lambda line: " ".join(unicodedata.normalize("NFC", line).translate(_FOLDED).split()),
    ),
)


def _tolerant(lines: Lines, old: str, new: str) -> Match | None:
    old_lines, new_lines = _trimmed_pair(old, new)
    if not any(line.strip() for line in old_lines):
        return None
    for how, key in _TIERS:
        windows = _windows(lines.lines, old_lines, key)
        if len(windows) > 1:
            windows = _between_blanks(lines.lines, windows, *_edges(old)) or windows
        if len(windows) > 1 and key is not str.rstrip:
            windows = _same_shape(lines.lines, old_lines, windows)
        if len(windows) > 1:
            numbers = [w[0] + 1 for w in windows]
            raise NoMatchError(
                f"old has no exact match and fits {len(windows)} places (lines "
                f"{', '.join(map(str, numbers[:8]))}); give more lines around it.",
                numbers,
            )
        if windows:
            return merge(lines, windows[0], old_lines, new_lines, how)
    return _elided(lines, old_lines, new_lines)


def _trimmed(text: str) -> list[str]:
    """Lines, without empty lines at both ends."""
    lines = text.split("\n")
    while lines and not lines[0].strip():
        lines.pop(0)
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def _edges(text: str) -> tuple[int, int]:
    """Numbers of empty lines at the beginning and the end, a final newline not counted."""
    lines = text.removesuffix("\n").split("\n")
    filled = [i for i, line in enumerate(lines) if line.strip()]
    return (filled[0], len(lines) - 1 - filled[-1]) if filled else (0, 0)


def _trimmed_pair(old: str, new: str) -> tuple[list[str], list[str]]:
    """Both without empty lines at their ends, except those that `new` adds."""
    head, tail = (max(0, n - o) for o, n in zip(_edges(old), _edges(new), strict=True))
    written = _trimmed(new)
    return _trimmed(old), [""] * head + written + [""] * tail if written else []


def _windows(file: Sequence[str], old: Sequence[str], key: _Key) -> list[list[int]]:
    """Every place where the lines are equal under `key`, as the indexes of the file's lines."""
    wanted = [key(line) for line in old]
    keys = [key(line) for line in file]
    size = len(wanted)
    return [
        list(range(i, i + size))
        for i in range(len(keys) - size + 1)
        if keys[i] == wanted[0] and keys[i : i + size] == wanted
    ]


def _between_blanks(
    file: Sequence[str], windows: list[list[int]], head: int, tail: int
) -> list[list[int]]:
    """Of several places, those surrounded by as many empty lines as `old` has at its ends."""
    return [
        w
        for w in windows
        if not any(map(str.strip, file[max(0, w[0] - head) : w[0]]))
        and not any(map(str.strip, file[w[-1] + 1 : w[-1] + 1 + tail]))
    ]


def _same_shape(
    file: Sequence[str], old: Sequence[str], windows: list[list[int]]
) -> list[list[int]]:
    """Of several places, those with the indentation of `old`, shifted as a whole."""

    def shape(lines: Sequence[str]) -> list[int]:
        widths = [len(indent_of(x).expandtabs(4)) for x in lines if x.strip()]
        return [width - widths[0] for width in widths]

    same = [w for w in windows if shape([file[i] for i in w]) == shape(old)]
    return same if len(same) == 1 and len(old) > 1 else windows


def _elided(lines: Lines, old: list[str], new: list[str]) -> Match | None:
    """A match of `old` with lines left out: marked by `...`, or up to two that were forgotten.

    Several placements are accepted if the change is the same in all of them.
    """
    placements = _alignments(lines.lines, old)
    matches = [merge(lines, p, old, new, "lines left out of old") for p in placements]
    first = matches[0] if matches else None
    if first is None or any(m is None or m.choices() != first.choices() for m in matches[1:]):
        return None
    return first


def _alignments(file: Sequence[str], old: Sequence[str]) -> list[list[int]]:
    """The ways to place `old` in the file in order with gaps; none if there are too many.

    The index of an ellipsis is −1.
    """
    marks = [bool(ELLIPSIS.match(line)) for line in old]
    while marks and marks[0]:
        marks, old = marks[1:], old[1:]
    solid = [line.strip() for line, mark in zip(old, marks, strict=True) if not mark]
    if not solid or marks[-1] or sum(marks) > 3 or len(old) > _MAX_ELIDED:
        return []
    distinctive = sum(len(line) > 3 for line in solid)
    budget = min(_MAX_GAP, distinctive - 1) if distinctive > 1 else 0
    if not any(marks) and not budget:
        return []
    keys = [line.strip() for line in file]
    found: list[list[int]] = []
    for start, key in enumerate(keys):
        if key == solid[0]:
            found += _placements(keys, old, marks, start, budget)
            if len(found) > _MAX_PLACEMENTS:
                return []
    return found


def _placements(
    keys: Sequence[str], old: Sequence[str], marks: Sequence[bool], start: int, gap: int
) -> list[list[int]]:
    """The placements of `old` that begin at `start`, with up to `gap` forgotten lines."""
    results: list[list[int]] = []

    def place(index: int, at: int, budget: int, so_far: list[int], marked: bool) -> None:
        if len(results) > _MAX_PLACEMENTS:
            return
        if index == len(old):
            results.append(so_far)
            return
        if marks[index]:
            place(index + 1, at, budget, [*so_far, -1], True)
            return
        wanted = old[index].strip()
        reach = _MAX_ELIDED if marked else budget if so_far else 0
        for skip in range(min(reach, len(keys) - at - 1) + 1):
            if keys[at + skip] == wanted:
                left = budget if marked else budget - skip
                place(index + 1, at + skip + 1, left, [*so_far, at + skip], False)
                if results and skip == 0 and not marked:
                    return

    place(0, start, gap, [], False)
    return results


# --- without a match ----------------------------------------------------------------------------


def nearest(text: str, old: str) -> tuple[int, int, float] | None:
    """The lines most similar to `old`: first and last (1-based) and similarity from 0 to 1."""
    file = text.split("\n")
    keys = [line.strip() for line in file]
    wanted = [line.strip() for line in _trimmed(old)]
    if not wanted or not any(keys):
        return None
    starts: dict[int, int] = {}
    where: dict[str, list[int]] = {}
    for index, key in enumerate(keys):
        where.setdefault(key, []).append(index)
    for offset, key in enumerate(wanted):
        places = where.get(key, []) if len(key) > 2 else []
        for index in places[:50]:
            starts[max(0, index - offset)] = starts.get(max(0, index - offset), 0) + len(key)
    ranked = sorted(starts, key=lambda s: -starts[s])[:12]
    if not ranked:
        longest = max(wanted, key=len)
        close = difflib.get_close_matches(longest, list(where)[:5_000], n=3, cutoff=0.5)
        offset = wanted.index(longest)
        ranked = [max(0, i - offset) for line in close for i in where[line][:3]]
    best: tuple[float, int] | None = None
    joined = "\n".join(wanted)[:4_000]
    for start in ranked:
        window = "\n".join(keys[start : start + len(wanted)])[:4_000]
        ratio = difflib.SequenceMatcher(None, joined, window, autojunk=False).ratio()
        if best is None or ratio > best[0]:
            best = (ratio, start)
    if best is None or best[0] < 0.3:
        return None
    return best[1] + 1, min(best[1] + len(wanted), len(file)), best[0]
