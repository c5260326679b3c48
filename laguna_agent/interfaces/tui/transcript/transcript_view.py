"""The transcript view: draws entries line by line, only those in view; entries are not widgets.

The height of an entry that was never in view is an estimate. It is corrected when the entry comes
into view, without moving the other lines in view. Only a window of entries is kept; scrolling up
loads earlier ones from the stored session.
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

from laguna_agent.interfaces.tui.reference import keys_of
from laguna_agent.interfaces.tui.themes import DEFAULT, PALETTES
from laguna_agent.interfaces.tui.transcript.entry_layout import EntryLayout
from laguna_agent.interfaces.tui.transcript.rendering import EntryRenderer, Lines, mark_matches
from laguna_agent.interfaces.tui.transcript.transcript_model import Entry

MAX_ENTRIES, TRIMMED_ENTRIES = 1_200, 800
"""Entries at which the window is trimmed while its end is in view, and how many remain."""
FRAME_S, MAX_SHARE = 0.05, 0.25
"""Seconds between two frames, and the share of time that drawing may take."""
_CACHED_STRIPS = 1_000
_BELOW = " ↓ new output below · ctrl+end "
KEYS = keys_of("Selected message")
_GUTTER = 2
"""Cells left of an entry, for the mark of the selected one."""


class Transcript(ScrollView, can_focus=True):
    """Shows entries; `change` redraws one."""

    class EarlierNeeded(Message):
        """The first entry is in view, and the stored session has earlier ones."""

    class KeyPressed(Message):
        """A key for the selected entry."""

        def __init__(self, key: str) -> None:
            super().__init__()
            self.key = key

    cursor: reactive[int | None] = reactive(None)

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.entries: list[Entry] = []
        self._layouts: dict[Entry, EntryLayout] = {}
        self._tops: list[int] = [0]
        self._renderer = EntryRenderer(PALETTES[DEFAULT])
        self._following = True
        self._unseen = False
        """Whether something came below what is in view."""
        self._frame_due = False
        self._laying_out = False
        self._frame_cost_s = 0.0
        self._painted: Lines = []
        self._strips: dict[tuple[int, bool], tuple[list[Segment], Strip]] = {}
        self._style = Style()
        self.more_before = False
        self.query_text = ""

    # --- entries ---------------------------------------------------------------------------

    def replace(self, entries: Sequence[Entry], *, more_before: bool = False) -> None:
        """Show these entries, scrolled to their end."""
        self.entries = list(entries)
        self._layouts = {entry: self._estimated(entry) for entry in self.entries}
        self.cursor, self._following, self.more_before = None, True, more_before
        self.redraw()

    def add(self, entry: Entry) -> None:
        """Append an entry."""
        self.entries.append(entry)
        self._layouts[entry] = self._estimated(entry)
        if len(self.entries) > MAX_ENTRIES and self._following and self.cursor is None:
            for old in self.entries[:-TRIMMED_ENTRIES]:
                del self._layouts[old]
            del self.entries[:-TRIMMED_ENTRIES]
            self.more_before = True
        self._unseen = not self._following
        self._schedule_frame()

    def add_earlier(self, entries: Sequence[Entry], *, more_before: bool) -> None:
        """Add entries before the first without moving the lines in view."""
        self.more_before = more_before
        if not entries:
            return
        self._layouts.update({entry: self._estimated(entry) for entry in entries})
        self.entries[:0] = entries
        if self.cursor is not None:
            self.cursor += len(entries)
        added = sum(self._layouts[entry].height for entry in entries)
        self._update_tops()
        self.virtual_size = Size(self._width, self._tops[-1])
        self.scroll_to(y=self.scroll_offset.y + added, animate=False, immediate=True, force=True)
        self.redraw()

    def change(self, entry: Entry) -> None:
        """Redraw an entry with the next frame."""
        if entry in self._layouts:
            self._unseen = self._unseen or not self._following
            self._schedule_frame()

    def discard(self, entry: Entry) -> None:
        """Remove an entry."""
        if entry in self._layouts:
            del self._layouts[entry]
            if self.cursor is not None and self.entries.index(entry) < self.cursor:
                self.cursor -= 1  # the selected entry stays selected
            self.entries.remove(entry)
            self._schedule_frame()

    def repaint(self, renderer: EntryRenderer) -> None:
        """Redraw everything with another renderer."""
        self._renderer = renderer
        self._strips.clear()
        for layout in self._layouts.values():
            layout.lines = layout.streaming = None
        self.redraw()

    def toggle(self, entry: Entry | None) -> None:
        """Expand or collapse an entry."""
        if entry is None:
            return
        entry.is_open = None if entry.is_open else True
        entry.version += 1
        self.redraw()

    def fold_answer(self, text: str, *, folded: bool) -> None:
        """Show the last answer as one line, or whole again, if it is `text`: a card shows it."""
        last = next((one for one in reversed(self.entries) if one.kind == "answer"), None)
        if last is not None and last.body.strip() == text.strip():
            last.is_open = False if folded else None
            last.version += 1
            self.redraw()

    def go_to_end(self) -> None:
        """Scroll to the end and follow new entries."""
        self._following, self.cursor = True, None
        self.redraw()

    @property
    def selected(self) -> Entry | None:
        """The selected entry."""
        if self.cursor is None or not 0 <= self.cursor < len(self.entries):
            return None
        return self.entries[self.cursor]

    def select(self, index: int) -> None:
        """Select an entry and scroll it into view."""
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
        self.redraw()
        if index == 0 and self.more_before:
            self.post_message(self.EarlierNeeded())

    def mark(self, text: str) -> None:
        """Mark `text` in the selected entry."""
        if text.casefold() != self.query_text:
            self.query_text = text.casefold()
            self._strips.clear()

    def drawn(self, entry: Entry) -> list[str]:
        """The text of an entry's lines as they were last drawn."""
        lines = self._layouts[entry].lines or []
        return ["".join(part.text for part in line) for line in lines]

    def show_line(self, index: int, line: int) -> None:
        """Scroll a line of an entry into view."""
        at, offset, height = self._tops[index] + line, self.scroll_offset.y, self.size.height
        if not offset <= at < offset + height:
            self._following = False
            self.scroll_to(y=at - height // 2, animate=False, immediate=True, force=True)
            self.redraw()

    # --- drawing ---------------------------------------------------------------------------

    @property
    def _width(self) -> int:
        return max(1, self.scrollable_content_region.width or self.size.width)

    @property
    def text_size(self) -> tuple[int, int]:
        """Columns and rows for the text of an entry."""
        return max(20, self._entry_width - _GUTTER), max(5, self.size.height)

    @property
    def _entry_width(self) -> int:
        return max(1, self._width - _GUTTER)

    def _estimated(self, entry: Entry) -> EntryLayout:
        return EntryLayout.estimated(entry, max(20, self._entry_width))

    def _schedule_frame(self) -> None:
        if not self._frame_due:
            self._frame_due = True
            self.set_timer(max(FRAME_S, self._frame_cost_s / MAX_SHARE), self._draw_frame)

    def _draw_frame(self) -> None:
        self.redraw(whole=False)

    def _update_tops(self) -> None:
        self._tops = [0, *accumulate(self._layouts[entry].height for entry in self.entries)]

    def redraw(self, *, whole: bool = True) -> None:
        """Draw the entries in view, correct their heights and keep the view in place.

        Everything in view is painted if `whole`, or if it moved; else only the changed lines.
        """
        self._frame_due = False
        if self._laying_out or not self.is_attached or not self.size.height:
            return
        self._laying_out = True
        start = time.perf_counter()
        try:
            if (style := self.rich_style) != self._style or len(self._strips) > _CACHED_STRIPS:
                self._style = style
                self._strips.clear()
            self._update_tops()
            height = self.size.height
            offset = self.scroll_offset.y
            anchor = self._index_at(offset)
            offset_within = offset - self._tops[anchor] if self.entries else 0
            for _ in range(200):
                total = self._tops[-1]
                if self._following:
                    offset = max(0, total - height)
                elif self.entries:
                    anchor = min(anchor, len(self.entries) - 1)
                    offset = min(self._tops[anchor] + offset_within, max(0, total - height))
                if not self._draw(self._index_at(offset), offset + height):
                    break
                self._update_tops()
            self._resize(Size(self._width, self._tops[-1]))
            moved = offset != self.scroll_offset.y
            if moved:
                self.scroll_to(y=offset, animate=False, immediate=True, force=True)
            # A forced scroll happens before the layout tells the bar the new height.
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
            self._unseen = self._unseen and not self._following
            if self._unseen:
                self.refresh(Region(0, height - 1, self.size.width, 1))
        finally:
            self._laying_out = False
            self._frame_cost_s = time.perf_counter() - start

    def _resize(self, size: Size) -> None:
        """Set the virtual size; a new layout is needed only to show or hide the scroll bar."""
        fits = size.height <= self.size.height
        if size.width != self.virtual_size.width or self.show_vertical_scrollbar == fits:
            self.virtual_size = size
        else:
            # Textual declares the attribute twice, once as plain Size
            self.set_reactive(Transcript.virtual_size, size)  # pyright: ignore[reportArgumentType]

    def _shown(self, offset: int, height: int) -> Lines:
        """The lines in view."""
        lines: Lines = []
        for index in range(self._index_at(offset), len(self.entries)):
            top = self._tops[index]
            if top >= offset + height:
                break
            drawn = self._layouts[self.entries[index]].lines or []
            lines += drawn[max(0, offset - top) : offset + height - top]
        return lines

    def _index_at(self, line: int) -> int:
        return max(0, min(bisect.bisect_right(self._tops, line) - 1, len(self.entries) - 1))

    def _draw(self, first: int, until: int) -> bool:
        """Draw entries from `first` to the line `until`; tell whether a height changed."""
        changed = False
        for index in range(first, len(self.entries)):
            if self._tops[index] >= until:
                break
            entry = self.entries[index]
            layout = self._layouts[entry]
            if not layout.is_current(entry, self._entry_width):
                before = layout.height
                layout.draw(entry, self._renderer, self._entry_width)
                changed |= layout.height != before
        return changed

    def render_line(self, y: int) -> Strip:
        strip = self._render_entry_line(y)
        room = self.size.width - len(_BELOW)
        if not self._unseen or self._following or y != self.size.height - 1 or room < 0:
            return strip
        palette = self._renderer.palette
        style = Style(color=palette.accent, reverse=True)
        return Strip.join([strip.crop(0, room), Strip([Segment(_BELOW, style)])])

    def _render_entry_line(self, y: int) -> Strip:
        line = y + self.scroll_offset.y
        width, style = self.size.width, self._style
        if not self.entries or line >= self._tops[-1]:
            return Strip.blank(width, style)
        index = self._index_at(line)
        layout = self._layouts.get(self.entries[index])
        if layout is None or layout.lines is None:
            return Strip.blank(width, style)
        number = line - self._tops[index]
        if number >= len(layout.lines):
            return Strip.blank(width, style)
        segments, selected = layout.lines[number], self.cursor == index
        cached = self._strips.get((id(segments), selected))
        if cached is not None and cached[1].cell_length == width:
            return cached[1]
        bar = Segment("▌ " if selected else "  ", Style(color=self._renderer.palette.accent))
        strip = Strip([bar, *segments]).apply_style(style).adjust_cell_length(width, style)
        if selected and self.query_text:
            strip = mark_matches(strip, self.query_text)
        # The line is kept with its strip: its id is unique only while it lives.
        self._strips[id(segments), selected] = segments, strip
        return strip

    # --- scrolling and keys ----------------------------------------------------------------

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if self._laying_out or not self.is_attached:
            return
        self._following = self.scroll_offset.y >= self.max_scroll_y
        self.redraw()
        if self.scroll_offset.y == 0 and self.more_before and old_value > 0:
            self.post_message(self.EarlierNeeded())

    def watch_cursor(self) -> None:
        self.refresh()

    def on_resize(self, event: events.Resize) -> None:
        self.redraw()

    def on_click(self, event: events.Click) -> None:
        line = event.y + self.scroll_offset.y
        if self.entries and line < self._tops[-1]:
            index = self._index_at(line)
            self.cursor = index
            drawn, row = self.drawn(self.entries[index]), line - self._tops[index]
            text = drawn[row] if row < len(drawn) else ""
            if row <= 1 or text.lstrip().startswith("…"):
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
            self.select(len(self.entries) - 1)

    def on_blur(self) -> None:
        self.cursor = None
