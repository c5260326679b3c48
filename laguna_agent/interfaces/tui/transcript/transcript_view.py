"""The transcript: entries drawn line by line. None of them is a widget, and none is drawn unseen.

Heights of entries that were never seen are guesses; they are set right when they come into view,
with what is in view staying where it is. Only a window of entries is kept; earlier ones come back
from the record when a person scrolls there.
"""

from __future__ import annotations

import bisect
import time
from collections.abc import Sequence
from itertools import accumulate

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from laguna_agent.interfaces.tui.themes import DEFAULT, PALETTES
from laguna_agent.interfaces.tui.transcript.incremental_markdown import (
    EntryLayout,
    IncrementalMarkdown,
)
from laguna_agent.interfaces.tui.transcript.rendering import Lines, Renderer, marked
from laguna_agent.interfaces.tui.transcript.transcript_model import Entry

KEPT, TRIMMED = 1_200, 800
"""Entries at which the window is cut while its end is shown, and to how many."""
FRAME_S, SHARE = 0.05, 0.25
"""Seconds between two drawings of what changes, and the share of time that drawing may take."""
_STRIPS = 1_000
KEYS = frozenset(
    ["up", "k", "down", "j", "enter", "space", "c", "x", "n", "N", "home", "g", "end", "G"]
)
_GUTTER = 2


class Transcript(ScrollView, can_focus=True):
    """Shows entries; told of each addition and change."""

    class WantsEarlier(Message):
        """The first entry came into view; there may be earlier ones on record."""

    class KeyPressed(Message):
        """A key that may mean something for the chosen entry."""

        def __init__(self, key: str) -> None:
            super().__init__()
            self.key = key

    cursor: reactive[int | None] = reactive(None)

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.entries: list[Entry] = []
        self._laid: dict[Entry, EntryLayout] = {}
        self._tops: list[int] = [0]
        self._renderer = Renderer(PALETTES[DEFAULT])
        self._following = True
        self._due = False
        self._settling = False
        self._cost = 0.0
        self._painted: Lines = []
        self._strips: dict[tuple[int, bool], tuple[list[Segment], Strip]] = {}
        self._style = Style()
        self.more_before = False
        self.query_text = ""

    # --- what is shown ---------------------------------------------------------------------

    def replace(self, entries: Sequence[Entry], *, more_before: bool = False) -> None:
        """Show these entries and go to their end."""
        self.entries = list(entries)
        self._laid = {entry: self._guess(entry) for entry in self.entries}
        self.cursor, self._following, self.more_before = None, True, more_before
        self._settle()

    def add(self, entry: Entry) -> None:
        """Append an entry."""
        self.entries.append(entry)
        self._laid[entry] = self._guess(entry)
        if len(self.entries) > KEPT and self._following and self.cursor is None:
            for old in self.entries[:-TRIMMED]:
                del self._laid[old]
            del self.entries[:-TRIMMED]
            self.more_before = True
        self._soon()

    def add_earlier(self, entries: Sequence[Entry], *, more_before: bool) -> None:
        """Put entries before the first; what is in view stays in view."""
        self.more_before = more_before
        if not entries:
            return
        self._laid.update({entry: self._guess(entry) for entry in entries})
        self.entries[:0] = entries
        if self.cursor is not None:
            self.cursor += len(entries)
        grown = sum(self._laid[entry].height for entry in entries)
        self._retop()
        self.virtual_size = Size(self._width, self._tops[-1])
        self.scroll_to(y=self.scroll_offset.y + grown, animate=False, immediate=True, force=True)
        self._settle()

    def change(self, entry: Entry) -> None:
        """An entry looks different now; drawn at the next frame."""
        if entry in self._laid:
            self._soon()

    def discard(self, entry: Entry) -> None:
        """Take an entry away."""
        if entry in self._laid:
            del self._laid[entry]
            if self.cursor is not None and self.entries.index(entry) < self.cursor:
                self.cursor -= 1  # what is chosen stays chosen
            self.entries.remove(entry)
            self._soon()

    def repaint(self, renderer: Renderer) -> None:
        """Draw everything anew, in other colours."""
        self._renderer = renderer
        self._strips.clear()
        for laid in self._laid.values():
            laid.lines = laid.growing = None
        self._settle()

    def toggle(self, entry: Entry | None) -> None:
        """Open or close an entry."""
        if entry is None:
            return
        entry.is_open = None if entry.is_open else True
        entry.version += 1
        self._settle()

    def go_to_end(self) -> None:
        """Follow what is added again."""
        self._following, self.cursor = True, None
        self._settle()

    @property
    def at_cursor(self) -> Entry | None:
        """The chosen entry."""
        if self.cursor is None or not 0 <= self.cursor < len(self.entries):
            return None
        return self.entries[self.cursor]

    def choose(self, index: int) -> None:
        """Choose an entry and bring it into view."""
        if not self.entries:
            return
        self.cursor = index = max(0, min(index, len(self.entries) - 1))
        self._following = index == len(self.entries) - 1
        if not self._following:
            top, bottom = self._tops[index], self._tops[index + 1]
            height, offset = self.size.height, self.scroll_offset.y
            if top < offset or bottom - top >= height:
                self.scroll_to(y=top, animate=False, immediate=True, force=True)
            elif bottom > offset + height:
                self.scroll_to(y=bottom - height, animate=False, immediate=True, force=True)
        self._settle()
        if index == 0 and self.more_before:
            self.post_message(self.WantsEarlier())

    def find(self, text: str, *, backward: bool = True) -> bool:
        """Choose the next entry that holds `text`, towards the beginning or the end."""
        if text.casefold() != self.query_text:
            self.query_text = text.casefold()
            self._strips.clear()
        if not self.query_text:
            return False
        step = -1 if backward else 1
        start = self.cursor if self.cursor is not None else len(self.entries)
        index = start + step
        while 0 <= index < len(self.entries):
            if self.query_text in self.entries[index].text.casefold():
                self.choose(index)
                self._show_match(index)
                return True
            index += step
        return False

    def _show_match(self, index: int) -> None:
        """Bring the line that matches into view, opening the entry if it is folded away."""
        entry = self.entries[index]
        if (line := self._matching_line(entry)) is None and entry.kind in ("tool", "thinking"):
            entry.is_open = True
            entry.version += 1
            self._settle()
            line = self._matching_line(entry)
        at, offset, height = self._tops[index] + (line or 0), self.scroll_offset.y, self.size.height
        if not offset <= at < offset + height:
            self._following = False
            self.scroll_to(y=at - height // 2, animate=False, immediate=True, force=True)
            self._settle()

    def _matching_line(self, entry: Entry) -> int | None:
        """The first drawn line of an entry that holds the query; a match may be broken by a line's
        end and then has none."""
        for number, line in enumerate(self._laid[entry].lines or []):
            if self.query_text in "".join(part.text for part in line).casefold():
                return number
        return None

    # --- drawing ---------------------------------------------------------------------------

    @property
    def _width(self) -> int:
        return max(1, self.scrollable_content_region.width or self.size.width)

    def _guess(self, entry: Entry) -> EntryLayout:
        if entry.kind in ("answer", "user"):
            wide = max(20, self._width - _GUTTER)
            return EntryLayout(1 + entry.body.count("\n") + len(entry.body) // wide + 1)
        if entry.kind == "tool":
            return EntryLayout(1 + min(24, entry.diff.count("\n")))
        return EntryLayout(2 if entry.kind == "thinking" else 1)

    def _soon(self) -> None:
        if not self._due:
            self._due = True
            self.set_timer(max(FRAME_S, self._cost / SHARE), self._frame)

    def _frame(self) -> None:
        self._settle(whole=False)

    def _retop(self) -> None:
        self._tops = [0, *accumulate(self._laid[entry].height for entry in self.entries)]

    def _settle(self, *, whole: bool = True) -> None:
        """Draw what is in view and set its heights right; keep the view where it is.

        All of it is painted, or of what stands where it stood only the lines that changed.
        """
        self._due = False
        if self._settling or not self.is_attached or not self.size.height:
            return
        self._settling = True
        begin = time.perf_counter()
        try:
            if (style := self.rich_style) != self._style or len(self._strips) > _STRIPS:
                self._style = style
                self._strips.clear()
            self._retop()
            height = self.size.height
            offset = self.scroll_offset.y
            anchor = self._index_at(offset)
            within = offset - self._tops[anchor] if self.entries else 0
            for _ in range(200):
                total = self._tops[-1]
                if self._following:
                    offset = max(0, total - height)
                elif self.entries:
                    anchor = min(anchor, len(self.entries) - 1)
                    offset = min(self._tops[anchor] + within, max(0, total - height))
                if not self._draw(self._index_at(offset), offset + height):
                    break
                self._retop()
            self._resize(Size(self._width, self._tops[-1]))
            moved = offset != self.scroll_offset.y
            if moved:
                self.scroll_to(y=offset, animate=False, immediate=True, force=True)
            # A forced scroll comes before the layout tells the bar how long the whole is.
            bar = self.vertical_scrollbar
            bar.window_virtual_size, bar.window_size = self._tops[-1], height
            bar.position = offset
            shown = self._shown(offset, height)
            if whole or moved or len(shown) != len(self._painted):
                self.refresh()
            else:
                pairs = enumerate(zip(self._painted, shown, strict=True))
                changed = [y for y, (was, now) in pairs if was is not now]
                if changed:
                    rows = changed[-1] - changed[0] + 1
                    self.refresh(Region(0, changed[0], self.size.width, rows))
            self._painted = shown
        finally:
            self._settling = False
            self._cost = time.perf_counter() - begin

    def _resize(self, size: Size) -> None:
        """Set how large the whole is; laid out anew only when that shows or hides the bar."""
        fits = size.height <= self.size.height
        if size.width != self.virtual_size.width or self.show_vertical_scrollbar == fits:
            self.virtual_size = size
        else:
            self.set_reactive(Transcript.virtual_size, size)

    def _shown(self, offset: int, height: int) -> Lines:
        """The lines in view."""
        lines: Lines = []
        for index in range(self._index_at(offset), len(self.entries)):
            top = self._tops[index]
            if top >= offset + height:
                break
            drawn = self._laid[self.entries[index]].lines or []
            lines += drawn[max(0, offset - top) : offset + height - top]
        return lines

    def _index_at(self, line: int) -> int:
        return max(0, min(bisect.bisect_right(self._tops, line) - 1, len(self.entries) - 1))

    def _draw(self, first: int, until: int) -> bool:
        """Draw entries from `first` to the line `until`; returns whether a height changed."""
        changed = False
        for index in range(first, len(self.entries)):
            if self._tops[index] >= until:
                break
            entry = self.entries[index]
            laid = self._laid[entry]
            if laid.lines is None or laid.width != self._width or laid.version != entry.version:
                before = laid.height
                self._draw_entry(entry, laid)
                if laid.height != before:
                    changed = True
        return changed

    def _draw_entry(self, entry: Entry, laid: EntryLayout) -> None:
        width = max(1, self._width - _GUTTER)
        if laid.width != self._width:
            laid.growing = None
        laid.width, laid.version = self._width, entry.version
        if entry.kind == "answer":
            laid.lines = self._draw_answer(entry, laid, width)
        else:
            laid.lines = self._renderer.entry(entry, width)
        laid.height = len(laid.lines)

    def _draw_answer(self, entry: Entry, laid: EntryLayout, width: int) -> Lines:
        growing = laid.growing
        if growing is None or not growing.continues(entry.body):
            growing = IncrementalMarkdown()
        whole = entry.state != "running"
        laid.growing = None if whole else growing
        draw = self._renderer.block
        return growing.draw(entry.body, lambda block: draw(block, width), whole=whole)

    def render_line(self, y: int) -> Strip:
        line = y + self.scroll_offset.y
        width, style = self.size.width, self._style
        if not self.entries or line >= self._tops[-1]:
            return Strip.blank(width, style)
        index = self._index_at(line)
        laid = self._laid.get(self.entries[index])
        if laid is None or laid.lines is None:
            return Strip.blank(width, style)
        number = line - self._tops[index]
        if number >= len(laid.lines):
            return Strip.blank(width, style)
        segments, chosen = laid.lines[number], self.cursor == index
        known = self._strips.get((id(segments), chosen))
        if known is not None and known[1].cell_length == width:
            return known[1]
        bar = Segment("▌ " if chosen else "  ", Style(color=self._renderer.palette.accent))
        strip = Strip([bar, *segments]).apply_style(style).adjust_cell_length(width, style)
        if chosen and self.query_text:
            strip = marked(strip, self.query_text)
        # The line is kept beside its strip: its id is its own only while it lives.
        self._strips[id(segments), chosen] = segments, strip
        return strip

    # --- moving ----------------------------------------------------------------------------

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if self._settling or not self.is_attached:
            return
        self._following = self.scroll_offset.y >= self.max_scroll_y
        self._settle()
        if self.scroll_offset.y == 0 and self.more_before and old_value > 0:
            self.post_message(self.WantsEarlier())

    def watch_cursor(self) -> None:
        self.refresh()

    def on_resize(self, event: events.Resize) -> None:
        self._settle()

    def on_click(self, event: events.Click) -> None:
        line = event.y + self.scroll_offset.y
        if self.entries and line < self._tops[-1]:
            index = self._index_at(line)
            self.cursor = index
            if line - self._tops[index] <= 1:
                self.toggle(self.entries[index])

    def on_key(self, event: events.Key) -> None:
        key = event.character if event.is_printable and event.character else event.key
        key = "space" if key == " " else key
        if key in KEYS:
            event.stop()
            event.prevent_default()
            self.post_message(self.KeyPressed(key))

    def on_focus(self) -> None:
        if self.cursor is None and self.entries:
            self.choose(len(self.entries) - 1)

    def on_blur(self) -> None:
        self.cursor = None
