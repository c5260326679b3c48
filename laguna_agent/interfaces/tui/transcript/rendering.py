"""Draws entries as lines of styled text for a width. All text from outside passes `visible`."""

from __future__ import annotations

import re

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.constrain import Constrain
from rich.padding import Padding
from rich.segment import Segment, Segments
from rich.style import Style
from rich.text import Text
from textual.strip import Strip

from laguna_agent.interfaces.tui.themes import Palette
from laguna_agent.interfaces.tui.transcript import diff_view
from laguna_agent.interfaces.tui.transcript.code_highlight import CodeLines
from laguna_agent.interfaces.tui.transcript.markdown import (
    PROSE,
    code_label,
    markdown,
    prose_options,
)
from laguna_agent.interfaces.tui.transcript.markdown_blocks import MarkdownBlock, blocks_of
from laguna_agent.interfaces.tui.transcript.telling_lines import telling_lines
from laguna_agent.interfaces.tui.transcript.transcript_model import Entry
from laguna_agent.plurals import counted
from laguna_agent.policy.sanitize import visible

Lines = list[list[Segment]]
DIFF_LINES, LIVE_LINES, FAILURE_LINES, OPEN_LINES = 24, 8, 16, 4_000
"""Most lines shown of a diff, of running output, of a failure and of an expanded entry."""
FOLDED_LINES, MESSAGE_LINES = 3, 10
"""Lines shown of other output, and of a long message of the user's."""
_MESSAGE_END = 3
"""Lines of those of a folded message that are its last ones: a question often follows a paste."""
_MESSAGE_LINE, _FAILURE_LINE, _OUTPUT_LINE = 500, 300, 2_000
"""Most characters shown of one line of a folded message, of a failure and of other output."""
_QUIET = frozenset({"read", "search", "symbols", "recall", "plan", "edit", "write"})
"""Tools whose result is for the model: their summary says what a person wants to know."""
OPEN_LIVE_LINES = 200
"""Most lines of an expanded call that still runs: it is drawn many times a second."""


class EntryRenderer:
    """Draws entries in the colours of one palette."""

    def __init__(self, palette: Palette, *, copy_key: bool = True) -> None:
        """Without `copy_key`, code does not show the key that copies it, which works in answers."""
        from io import StringIO

        self.palette, self._copy_key = palette, copy_key
        self._console = Console(
            file=StringIO(), force_terminal=True, color_system="truecolor", width=80,
            legacy_windows=False, markup=False, emoji=False, highlight=False,
        )  # fmt: skip
        self._code = CodeLines(self._console, palette)

    def lines(self, renderable: RenderableType, width: int) -> Lines:
        """Lines of at most `width` cells."""
        options = self._console.options.update(width=max(1, width), height=None)
        return self._console.render_lines(renderable, options, pad=False)

    def entry(self, entry: Entry, width: int) -> Lines:
        """The lines of an entry, with the empty line that separates it from the one above."""
        width = max(8, width)
        return self.lines(self.renderable(entry, width), width)

    def renderable(self, entry: Entry, width: int) -> RenderableType:
        """An entry for Rich to draw."""
        match entry.kind:
            case "banner":
                return self._banner(entry)
            case "user":
                return self._user(entry)
            case "answer":
                return self._answer(entry, width)
            case "thinking":
                return self._thinking(entry, width)
            case "tool":
                return self._tool(entry, width)
            case "notice":
                return self._notice(entry)
            case "end":
                return self._end(entry)

    def block(self, block: MarkdownBlock, width: int) -> Lines:
        """The lines of a block, after an empty line unless it continues the block above."""
        width = max(8, width)
        if block.language is not None:
            code = self._code.draw(visible(block.text), block.language, width)
            if not block.starts:
                return code
            label = code_label(block.language, width, self.palette, copy_key=self._copy_key)
            return [[], *self.lines(label, width), *code]
        drawn = self.lines(self._markdown(block.text), width)
        # Rich itself adds empty lines around some blocks.
        full = [number for number, line in enumerate(drawn) if not _is_empty(line)] or [0]
        return [[], *drawn[full[0] : full[-1] + 1]]

    def _markdown(self, text: str) -> RenderableType:
        return markdown(text, self.palette, copy_key=self._copy_key)

    # --- each kind of entry ----------------------------------------------------------------

    def _banner(self, entry: Entry) -> RenderableType:
        p = self.palette
        head = Text.assemble(("≈ ", f"bold {p.accent}"), (visible(entry.title), "bold"))
        rest = Text(visible(entry.body), style=p.muted)
        return Group(head, Padding(rest, (0, 0, 0, 2)))

    def _user(self, entry: Entry) -> RenderableType:
        p = self.palette
        mark = {"steer": "↳ ", "queue": "❯ "}.get(entry.name, "❯ ")
        room = (OPEN_LINES, _OUTPUT_LINE) if entry.is_open else (MESSAGE_LINES, _MESSAGE_LINE)
        start, hidden, end = _folded_message(entry.body.rstrip(), *room)
        body = Text(visible(start), style=f"bold {p.user}")
        if hidden:
            body.append(f"\n{diff_view.more_lines(hidden)}  ▸", style=f"not bold {p.muted}")
        if end:
            body.append(f"\n{visible(end)}")
        return Group(Text(), _Hanging(Text(mark, style=f"bold {p.accent}"), body))

    def _answer(self, entry: Entry, width: int) -> RenderableType:
        if entry.is_open is False:
            return Text("\n· the plan is below", style=self.palette.muted)
        lines = [line for block in blocks_of(entry.body) for line in self.block(block, width)]
        return Segments(segment for line in lines for segment in (*line, Segment.line()))

    def _thinking(self, entry: Entry, width: int) -> RenderableType:
        p = self.palette
        if entry.state == "running":
            last = visible(" ".join(entry.body[-400:].split()))
            head = Text("∴ thinking  ", style=p.muted)
            head.append(last[-max(0, width - 14) :], style=f"italic {p.muted}")
        else:
            words = counted(len(entry.body.split()), "word")
            time = f" for {seconds(entry.duration_s)}" if entry.duration_s >= 1 else ""
            head = Text(f"∴ thought{time} · {words}", style=p.muted)
            head.append("  ▾" if entry.is_open else "  ▸", style=p.muted)
        head.no_wrap = True
        head.truncate(width, overflow="ellipsis")
        if not entry.is_open:
            return Group(Text(), head)
        body = Text(visible(entry.body.strip()), style=f"italic {p.muted}")
        return Group(Text(), head, Constrain(Padding(body, (0, 0, 0, 2)), PROSE))

    def _notice(self, entry: Entry) -> RenderableType:
        p = self.palette
        colour = {"warning": p.warning, "error": p.error, "failed": p.error}.get(
            entry.state, p.muted
        )
        mark = "!" if entry.state in ("warning", "error", "failed") else "·"
        text = Text(visible(entry.title), style=colour)
        if entry.body and not entry.is_open:
            text.append("  ▸")
        head = _Hanging(Text(f"{mark} ", style=colour), text)
        if not (entry.body and entry.is_open):
            return head
        body = Padding(self._markdown(entry.body), (0, 0, 0, 2))
        return Group(head, Constrain(body, PROSE))

    def _end(self, entry: Entry) -> RenderableType:
        p = self.palette
        word, colour = {
            "done": ("done", p.success),
            "interrupted": ("stopped; the work so far is kept", p.warning),
        }.get(entry.title, (entry.title, p.error))
        line = Text("─ ", style=p.muted)
        line.append(word, style=colour)
        details = [seconds(entry.duration_s)] if entry.duration_s >= 0.1 else []
        details += [entry.summary] if entry.summary else []
        for detail in details:
            line.append(f" · {detail}", style=p.muted)
        parts: list[RenderableType] = [Text(), line] if entry.spaced else [line]
        if entry.body:
            parts.append(Padding(Text(visible(entry.body), style=p.error), (0, 0, 0, 2)))
        return Group(*parts)

    def _tool(self, entry: Entry, width: int) -> RenderableType:
        line = self._tool_line(entry, width)
        parts: list[RenderableType] = [line]
        command = entry.command or entry.title
        if entry.is_open and visible(command, single_line=True) not in line.plain:
            parts.append(Text(visible(command), style=self.palette.foreground))
        inner = width - 2
        if entry.diff and entry.is_open is not False:
            most = OPEN_LINES if entry.is_open else DIFF_LINES
            heading = entry.diff.count("\n+++ ") + entry.diff.startswith("+++ ") > 1
            parts.append(diff_view.render(entry.diff, inner, self.palette, most=most,
                                         heading=heading, whole=bool(entry.is_open)))  # fmt: skip
            if entry.is_open and not entry.title:
                parts.append(self._output(entry, OPEN_LINES))
        elif entry.body.strip() in ("", "(no output)"):
            pass
        elif entry.is_open:
            running = entry.state == "running"
            most = OPEN_LIVE_LINES if running else OPEN_LINES
            parts.append(self._output(entry, most, head=not running))
        elif entry.state == "running":
            parts.append(self._output(entry, LIVE_LINES))
        elif entry.is_open is None and entry.state == "failed":
            parts.append(self._telling(entry, FAILURE_LINES))
        elif entry.is_open is None and entry.name not in _QUIET:
            parts.append(self._telling(entry, FOLDED_LINES))
        return Group(parts[0], *(Padding(part, (0, 0, 0, 2)) for part in parts[1:]))

    def _tool_line(self, entry: Entry, width: int) -> Text:
        p = self.palette
        mark, colour = {"ok": ("✓", p.success), "failed": ("✗", p.error)}.get(
            entry.state, ("●", p.accent)
        )
        title = visible(entry.title or entry.name, single_line=True)
        if entry.name == "!":
            title = f"! {title}"
        summary, tail = visible(entry.summary, single_line=True), ""
        if (
            entry.state == "failed"
            and entry.is_open is not False
            and _begins_with(entry.body, entry.summary)
        ):
            summary = ""  # it is right below
        if entry.state != "running" and entry.duration_s >= 0.1:
            tail += f"  {seconds(entry.duration_s)}"
        if entry.body.strip() not in ("", "(no output)") or entry.diff:
            tail += "  ▾" if entry.is_open else "  ▸"
        room = max(4, width - 2 - len(tail))
        result = Text(f"  {summary}" if summary else "", no_wrap=True)
        name = Text(title, no_wrap=True)
        name.truncate(max(room - result.cell_len, room * 2 // 3), overflow="ellipsis")
        result.truncate(max(0, room - name.cell_len), overflow="ellipsis")
        line = Text(no_wrap=True)
        line.append(f"{mark} ", style=colour)
        line.append_text(name)
        line.append(result.plain + tail, style=p.error if entry.state == "failed" else p.muted)
        line.truncate(width, overflow="ellipsis")
        return line

    def _telling(self, entry: Entry, most: int) -> RenderableType:
        """The lines of an output that tell most, and how many others there are."""
        lines = _after_carriage_returns(entry.body.strip("\n")).split("\n")
        while len(lines) > 1 and (not lines[-1].strip() or lines[-1] == f"[{entry.summary}]"):
            lines.pop()
        shown = list(range(len(lines)))
        if len(lines) > most + 1:  # a hint in the place of one line saves nothing
            shown = telling_lines(lines, most)
        if [lines[number].strip() for number in shown] == [entry.summary]:
            return Group()
        failed = entry.state == "failed"  # what failed is whole in a narrow terminal, too
        longest = _FAILURE_LINE if failed else _OUTPUT_LINE
        texts = [_cut(visible(lines[number]), longest) for number in shown]
        gap = _widest_gap(shown, len(lines))
        parts = [Text("\n".join(part)) for part in (texts[:gap], texts[gap:]) if part]
        for body in parts:
            body.style, body.no_wrap, body.overflow = self.palette.muted, not failed, "ellipsis"
        if hidden := len(lines) - len(shown):
            note = Text(diff_view.more_lines(hidden), style=f"italic {self.palette.muted}")
            parts.insert(min(gap, 1), note)
        return Group(*parts)

    def _output(self, entry: Entry, most: int, *, head: bool = False) -> RenderableType:
        lines = entry.body.rstrip("\n").split("\n")
        hidden = len(lines) - most
        note = diff_view.more_lines(hidden) if hidden > 0 else ""
        if entry.is_cut:  # the number of them all is not known
            note = f"{note or '…'}; what came before is not kept"
        lines = (lines[:most] if head else lines[-most:]) if hidden > 0 else lines
        # One very long line must not fill the screen.
        lines = [_cut(one, _OUTPUT_LINE) for one in lines]
        body = Text(visible(_after_carriage_returns("\n".join(lines))), style=self.palette.muted)
        if most <= LIVE_LINES:
            body.no_wrap, body.overflow = True, "ellipsis"
        if not note:
            return body
        hint = Text(note, style=f"italic {self.palette.muted}")
        return Group(body, hint) if head else Group(hint, body)


def _widest_gap(shown: list[int], total: int) -> int:
    """Before which of the `shown` lines, by its place among them, most others are left out."""
    after = [*shown, total]
    gaps = [number - before for before, number in zip([-1, *shown], after, strict=True)]
    return gaps.index(max(gaps))


def _begins_with(body: str, summary: str) -> bool:
    """Whether an output of a few lines begins with its summary, which may be cut."""
    start = summary.removesuffix("…")
    few = 0 < body.strip().count("\n") < FAILURE_LINES
    return bool(start) and few and body.lstrip().startswith(start)


def _is_empty(line: list[Segment]) -> bool:
    return not any(
        segment.text.strip() or (segment.style and segment.style.bgcolor) for segment in line
    )


def seconds(value: float) -> str:
    """Format a duration: `0.4 s`, `12 s`, `3 min 05 s`."""
    if value < 10:
        return f"{value:.1f} s"
    whole = round(value)
    return f"{whole} s" if whole < 120 else f"{whole // 60} min {whole % 60:02d} s"


def _cut(line: str, longest: int) -> str:
    return line if len(line) <= longest else line[:longest] + " …"


def _folded_message(text: str, most: int, longest: int) -> tuple[str, int, str]:
    """The first lines of a message, how many are left out after them, in whole or in part, and its
    last lines: `most` lines together, and `longest` characters of each."""
    lines = text.split("\n")
    if len(lines) > most + 2:
        start, end = lines[: most - _MESSAGE_END], lines[-_MESSAGE_END:]
        hidden = len(lines) - most
    elif len(lines) == 1 and len(text) > longest:
        start, end, hidden = [text[: longest // 2] + " …"], ["… " + text[-longest // 2 :]], 1
    else:
        start, end, hidden = lines, [], 0
    cut = ["\n".join(_cut(one, longest) for one in part) for part in (start, end)]
    return cut[0], hidden, cut[1]


def _after_carriage_returns(text: str) -> str:
    """The text that carriage returns, as progress bars write them, leave on a terminal."""
    if "\r" not in text:
        return text
    shown = (line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
    return "\n".join(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line) for line in shown)


class _Hanging:
    """A mark before the first line of a text, the other lines indented below it."""

    def __init__(self, mark: Text, body: Text) -> None:
        self.mark, self.body = mark, body

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        indent = self.mark.cell_len
        lines = self.body.wrap(console, max(1, prose_options(options).max_width - indent))
        for number, line in enumerate(lines):
            yield self.mark + line if number == 0 else Text(" " * indent) + line


def mark_matches(strip: Strip, query: str) -> Strip:
    """Reverse the matches of a search in a line."""
    text = strip.text
    folded = text.casefold()
    if query not in folded or len(folded) != len(text):
        return strip
    parts, done = [], 0
    while (at := folded.find(query, done)) >= 0:
        start, end = cell_len(text[:at]), cell_len(text[: at + len(query)])
        before = cell_len(text[:done])
        found = strip.crop(start, end).apply_style(Style(reverse=True))
        parts += [strip.crop(before, start), found]
        done = at + len(query)
    return Strip.join([*parts, strip.crop(cell_len(text[:done]), strip.cell_length)])
