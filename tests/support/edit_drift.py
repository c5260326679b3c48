"""Edits as models make them: hunks between two versions of a file, with typical mistakes."""

from __future__ import annotations

import ast
import difflib
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Edit:
    """Replace `old` by `new` in `before`; the correct result is `after`."""

    path: str
    before: str
    after: str
    old: str
    new: str


def edits_between(path: str, before: str, after: str, context: int = 3) -> Iterator[Edit]:
    """One edit for each hunk, with as much context as makes `old` unique.

    Skips a hunk that leaves the file unparsable without the others: no one would make it as an
    edit by itself.
    """
    a, b = before.splitlines(keepends=True), after.splitlines(keepends=True)
    matcher = difflib.SequenceMatcher(None, a, b, autojunk=False)
    for group in matcher.get_grouped_opcodes(context):
        changes = [code for code in group if code[0] != "equal"]
        i, j, k, m = changes[0][1], changes[-1][2], changes[0][3], changes[-1][4]
        if j - i > 40 or m - k > 40:
            continue
        changed = "".join(b[k:m])
        whole = "".join(a[:i]) + changed + "".join(a[j:])
        if not _parses(whole):
            continue
        for around in range(context, context + 12):
            first, last = max(0, i - around), min(len(a), j + around)
            old = "".join(a[first:last])
            if not old.strip() or before.count(old) != 1:
                continue
            new = "".join(a[first:i]) + changed + "".join(a[j:last])
            yield Edit(path, before, whole, old, new)
            break


def _parses(text: str) -> bool:
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True


# --- drifts: each returns the edit as a model might give it, None where it does not apply ----


def exact(edit: Edit, chance: random.Random) -> Edit | None:
    return edit


def tabs_for_spaces(edit: Edit, chance: random.Random) -> Edit | None:
    def tabbed(text: str) -> str:
        return re.sub(r"(?m)^(?: {4})+(?=.*\S)", lambda m: "\t" * (len(m.group()) // 4), text)

    drifted = replace(edit, old=tabbed(edit.old), new=tabbed(edit.new))
    return drifted if drifted.old != edit.old else None


def trailing_blanks(edit: Edit, chance: random.Random) -> Edit | None:
    """Blanks at the ends of some lines of `old`, and of the same lines in `new`."""
    old, new = edit.old.split("\n"), edit.new.split("\n")
    chosen = {line for line in old if line.strip() and chance.random() < 0.4}
    if not chosen:
        return None
    kept = set(old) & set(new)

    def blanked(lines: list[str], *, both: bool) -> str:
        return "\n".join(
            f"{line}  " if line in chosen and (not both or line in kept) else line for line in lines
        )

    return replace(edit, old=blanked(old, both=False), new=blanked(new, both=True))


def wrong_indent(edit: Edit, chance: random.Random) -> Edit | None:
    """Everything moved to the margin, or one level deeper."""
    lines = [line for line in f"{edit.old}\n{edit.new}".split("\n") if line.strip()]
    least = min(len(line) - len(line.lstrip(" ")) for line in lines)
    if least and chance.random() < 0.7:
        moved = [re.sub(rf"(?m)^ {{{least}}}(?=.*\S)", "", text) for text in (edit.old, edit.new)]
    else:
        moved = [re.sub(r"(?m)^(?=.*\S)", "    ", text) for text in (edit.old, edit.new)]
    return replace(edit, old=moved[0], new=moved[1])


def _kept_inside(edit: Edit) -> list[tuple[int, int, bool]]:
    """Lines that the edit keeps inside of itself: positions in `old` and `new`, and whether the
    line stands beside a change."""
    old, new = edit.old.split("\n"), edit.new.split("\n")
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    filled = [[n for n, line in enumerate(lines) if line.strip()] for lines in (old, new)]
    blocks = matcher.get_matching_blocks()
    return [
        (block.a + n, block.b + n, n == 0 or n == block.size - 1)
        for block in blocks
        for n in range(block.size)
        if filled[0][0] < block.a + n < filled[0][-1]
        and filled[1][0] < block.b + n < filled[1][-1]
        and old[block.a + n].strip()
        and not _moved(old, new, block.a + n, block.b + n)
    ]


def _moved(old: list[str], new: list[str], i: int, j: int) -> bool:
    """True if the edit carries the line past others that it keeps: then it is part of the change,
    and no one who leaves it out means it to stay."""
    return any(
        (old.index(line) < i) != (new.index(line) < j)
        for line in set(old) & set(new)
        if line.strip() and line != old[i] and old.count(line) == 1 == new.count(line)
    )


def _elided(edit: Edit, chance: random.Random, *, beside: bool) -> Edit | None:
    inside = [(i, j) for i, j, touches in _kept_inside(edit) if touches == beside]
    if not inside:
        return None
    i, j = chance.choice(inside)
    old, new = edit.old.split("\n"), edit.new.split("\n")
    indent = old[i][: len(old[i]) - len(old[i].lstrip())]
    mark = [f"{indent}..."] if chance.random() < 0.5 else []
    old[i : i + 1] = mark
    new[j : j + 1] = mark
    return replace(edit, old="\n".join(old), new="\n".join(new))


def elided_line(edit: Edit, chance: random.Random) -> Edit | None:
    """A line that the edit keeps is forgotten, or written as `...`, in both texts."""
    return _elided(edit, chance, beside=False)


def elided_beside(edit: Edit, chance: random.Random) -> Edit | None:
    """The same, but right beside the change, where it often cannot be told what was meant."""
    return _elided(edit, chance, beside=True)


DRIFTS: dict[str, Callable[[Edit, random.Random], Edit | None]] = {
    "exact": exact,
    "tabs for spaces": tabs_for_spaces,
    "trailing blanks": trailing_blanks,
    "wrong indent": wrong_indent,
    "elided line": elided_line,
    "elided beside": elided_beside,
}
AMBIGUOUS = {"elided beside"}
"""Drifts after which even a person may not know what was meant: refusing is right."""
