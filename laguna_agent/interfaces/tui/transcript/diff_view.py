"""Draws diffs: unified or side by side depending on the width, with syntax highlighting."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.style import Style
from rich.text import Text

from laguna_agent.interfaces.tui.themes import Palette
from laguna_agent.interfaces.tui.transcript.code_highlight import syntax
from laguna_agent.plurals import counted
from laguna_agent.policy.sanitize import visible

SIDE_BY_SIDE = 120
"""Columns from which the diff is drawn side by side."""
_HUNK = re.compile(r"@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@(.*)")


@dataclass
class Row:
    """A line of a diff. `old` and `new` are line numbers, 0 on the side without the line."""

    kind: Literal["file", "hunk", "same", "added", "removed"]
    text: str
    old: int = 0
    new: int = 0


def parse(diff: str) -> list[Row]:
    """Parse a unified diff into rows."""
    rows: list[Row] = []
    old = new = 0
    before = ""
    # Not `splitlines`: a form feed does not end a line.
    for line in diff.rstrip("\n").split("\n"):
        if match := _HUNK.match(line):
            old, new = int(match[1]), int(match[2])
            rows.append(Row("hunk", match[3].strip()))
        elif not old and not new:
            if line.startswith("--- "):
                before = _name(line[4:])
            elif line.startswith("+++ "):
                name = _name(line[4:])
                rows.append(Row("file", before if name == "/dev/null" else name))
        elif line.startswith("--- ") and rows and _starts_file(line):
            old = new = 0
            before = _name(line[4:])
        elif line.startswith("+"):
            rows.append(Row("added", line[1:], new=new))
            new += 1
        elif line.startswith("-"):
            rows.append(Row("removed", line[1:], old=old))
            old += 1
        elif line.startswith(("diff ", "index ")):
            old = new = 0
        elif not line.startswith("\\"):
            rows.append(Row("same", line[1:], old, new))
            old, new = old + 1, new + 1
    return rows


def _starts_file(line: str) -> bool:
    return line.startswith(("--- a/", "--- /dev/null"))


def _name(header: str) -> str:
    name = header.split("\t")[0].strip()
    return name[2:] if name.startswith(("a/", "b/")) else name


def render(
    diff: str,
    width: int,
    palette: Palette,
    *,
    most: int | None = None,
    heading: bool = True,
    whole: bool = True,
) -> RenderableType:
    """Draw a diff for `width` columns, at most its first `most` rows.

    Long lines are wrapped if `whole`, else cut.
    """
    rows = parse(diff)
    if not heading or sum(row.kind == "file" for row in rows) < 2:
        rows = [row for row in rows if row.kind != "file"] if not heading else rows
    # The first hunk of a file needs no separator unless it has a name.
    above = ["file", *(row.kind for row in rows)]
    rows = [
        row
        for before, row in zip(above, rows, strict=False)
        if before != "file" or row.kind != "hunk" or row.text
    ]
    hidden = 0
    if most is not None and len(rows) > most:
        hidden = len(rows) - most
        rows = rows[:most]
    styled = _highlighted(rows, diff, palette)
    both = width >= SIDE_BY_SIDE and any(row.kind == "removed" for row in rows)
    draw = _side_by_side if both else _unified
    lines = draw(rows, styled, width, palette, whole=whole)
    if hidden:
        lines.append(Text(more_lines(hidden), style=palette.muted))
    return Group(*lines)


def more_lines(hidden: int) -> str:
    """The hint that `hidden` lines are not shown."""
    return f"… {counted(hidden, 'more line')}"


def _unified(
    rows: list[Row], styled: list[Text], width: int, palette: Palette, *, whole: bool
) -> list[Text]:
    digits = _digits(rows)
    lines: list[Text] = []
    for row, text in zip(rows, styled, strict=True):
        if row.kind in ("file", "hunk"):
            lines.append(_separator(row, width, palette))
        else:
            number = row.new or row.old
            lines += _cell(row, text, number, digits, width, palette, whole=whole)
    return lines


def _side_by_side(
    rows: list[Row], styled: list[Text], width: int, palette: Palette, *, whole: bool
) -> list[Text]:
    half, digits = (width - 1) // 2, _digits(rows)

    def side(index: int, number: int) -> list[Text]:
        return _cell(rows[index], styled[index], number, digits, half, palette, whole=whole)

    lines: list[Text] = []
    position = 0
    while position < len(rows):
        row = rows[position]
        if row.kind in ("file", "hunk"):
            lines.append(_separator(row, width, palette))
            position += 1
            continue
        if row.kind == "same":
            pairs: list[tuple[int | None, int | None]] = [(position, position)]
            position += 1
        else:
            start = position
            while position < len(rows) and rows[position].kind == "removed":
                position += 1
            middle = position
            while position < len(rows) and rows[position].kind == "added":
                position += 1
            pairs = list(zip_longest(range(start, middle), range(middle, position)))
        for a, b in pairs:
            left = [] if a is None else side(a, rows[a].old)
            right = [] if b is None else side(b, rows[b].new)
            blank = Text(" " * half)
            for one, other in zip_longest(left, right, fillvalue=blank):
                line = Text(no_wrap=True)
                line.append_text(one).append(" ").append_text(other)
                line.truncate(width)
                lines.append(line)
    return lines


def _digits(rows: list[Row]) -> int:
    return len(str(max((max(row.old, row.new) for row in rows), default=1)))


def _separator(row: Row, width: int, palette: Palette) -> Text:
    if row.kind == "file":
        return Text(visible(row.text, single_line=True), style=f"bold {palette.accent}")
    text = Text("⋯ " + visible(row.text, single_line=True), style=palette.muted, no_wrap=True)
    text.truncate(width, overflow="ellipsis")
    return text


def _cell(
    row: Row, text: Text, number: int, digits: int, width: int, palette: Palette, *, whole: bool
) -> list[Text]:
    """The lines of one row, or of one side of it."""
    mark, background, colour = {
        "added": ("+", palette.added_bg, palette.success),
        "removed": ("-", palette.removed_bg, palette.error),
    }.get(row.kind, (" ", "default", palette.muted))
    body = text.copy()
    body.expand_tabs(4)
    if palette.ansi and row.kind != "same":
        body = Text(body.plain, style=colour)
    lines: list[Text] = []
    for part in _wrapped(body, width - digits - 3) if whole else [body]:
        line = Text(no_wrap=True)
        line.append(f"{'' if lines else number or '':>{digits}} ", style=palette.muted)
        line.append(f"{' ' if lines else mark} ", style=colour)
        line.append_text(part)
        line.truncate(width, overflow="ellipsis", pad=True)
        if background != "default":
            line.style = Style(bgcolor=background)
        lines.append(line)
    return lines


def _wrapped(text: Text, width: int) -> list[Text]:
    """Wrap a text to `width` cells without losing any character, at a space near the end of a
    line if there is one."""
    width, plain = max(2, width), text.plain
    if text.cell_len <= width:
        return [text]
    offsets, start, cells = [], 0, 0
    for position, character in enumerate(plain):
        size = cell_len(character)
        if cells + size > width:
            after_space = plain.rfind(" ", start + (position - start) * 2 // 3, position) + 1
            start = after_space or position
            cells = cell_len(plain[start:position])
            offsets.append(start)
        cells += size
    return list(text.divide(offsets))


def _highlighted(rows: list[Row], diff: str, palette: Palette) -> list[Text]:
    """Highlight the rows in the file's language; each side is lexed as one text."""
    name = next((row.text for row in rows if row.kind == "file"), "") or _name_in(diff)
    texts = [Text(visible(row.text)) for row in rows]
    for wanted in (("same", "added"), ("removed",)):
        chosen = [i for i, row in enumerate(rows) if row.kind in wanted]
        code = "\n".join(visible(rows[i].text) for i in chosen)
        if not code or len(code) > 60_000:
            continue
        lines = highlight(code, name, palette).split("\n", allow_blank=True)
        if len(lines) >= len(chosen):
            for i, line in zip(chosen, lines, strict=False):
                texts[i] = line
    return texts


def _name_in(diff: str) -> str:
    match = re.search(r"^\+\+\+ (\S+)", diff, re.MULTILINE)
    return _name(match[1]) if match else ""


def highlight(code: str, name: str, palette: Palette) -> Text:
    """Highlight code in the language of the file name."""
    try:
        from rich.syntax import Syntax

        lexer = Syntax.guess_lexer(name) if name else "text"
        text = syntax(lexer, "", palette).highlight(code)
    except Exception:  # a bug in a lexer must not hide the diff
        return Text(code)
    text.rstrip()
    # The style's background would hide the colour of added and removed lines.
    text.spans = [
        span._replace(style=_without_background(span.style))
        for span in text.spans
        if isinstance(span.style, Style)
    ]
    text.style = ""
    return text


def _without_background(style: str | Style) -> str | Style:
    if isinstance(style, Style):
        return Style(color=style.color, bold=style.bold, italic=style.italic)
    return style
