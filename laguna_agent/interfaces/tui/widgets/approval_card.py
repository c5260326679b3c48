"""The approval card replaces the composer: what would happen, where, why it asks, what is risky.

Nothing is selected at first; see `ChoiceRow`. The question and the choices are in view at every
size, and the rest scrolls, so that no line of a command, of a change or of a rule is cut.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.widgets import Input, Static

from laguna_agent.interfaces.tui.themes import Palette
from laguna_agent.interfaces.tui.transcript import diff_view
from laguna_agent.interfaces.tui.widgets import approval_text
from laguna_agent.interfaces.tui.widgets.choice_row import ChoiceRow
from laguna_agent.interfaces.tui.widgets.fitted_row import position
from laguna_agent.interfaces.tui.widgets.line_input import LineInput

if TYPE_CHECKING:
    from laguna_agent.agent.approval import Approval
    from laguna_agent.events import ApprovalRequested


_LOW, _VERY_LOW = 16, 10
"""Lines of the terminal below which the card saves lines, and saves more of them."""
_NARROW = 30
_HINTS = (
    "←→ choose · enter confirms · esc no · pgup pgdn scroll",
    "←→ choose · enter confirms · esc no",
)
_WRITING_HINT = "enter sends · esc returns to the choices"


class ApprovalCard(Vertical):
    """Shows one request at a time and puts the answer into its future."""

    def __init__(self, palette: Palette, root: Path, *, id: str | None = None) -> None:
        """`root` is where the person works; paths inside it are shown relative to it."""
        super().__init__(id=id)
        self.palette = palette
        self._request: ApprovalRequested | None = None
        self._future: Future[Approval] | None = None
        self.display = False
        self._root = root
        self._question = Text()
        self._shown_about = Text()
        self.choices = ChoiceRow(palette, id="approval-choices")
        self.on_closed: Callable[[], None] = lambda: None
        """Called when the request is answered or withdrawn; gives the focus back."""
        self.on_typed: Callable[[events.Key | events.Paste], object] = lambda event: None
        """Takes what is typed or pasted, which is a message and no answer."""

    def compose(self) -> ComposeResult:
        yield Static(id="approval-heading")
        with VerticalScroll(id="approval-scroll", can_focus=False):
            yield Static(id="approval-detail")
        yield self.choices
        yield Static(id="approval-about")
        yield LineInput(
            placeholder="why not? the model reads it; enter sends", id="approval-reason"
        )

    def on_mount(self) -> None:
        self.choices.on_typed = lambda event: self.on_typed(event)
        for changing in ("scroll_y", "virtual_size"):
            self.watch(self._scroll, changing, self._show_position, init=False)

    @property
    def is_open(self) -> bool:
        """Whether a request waits for its answer."""
        return self._future is not None

    @property
    def _scroll(self) -> VerticalScroll:
        return self.query_one("#approval-scroll", VerticalScroll)

    @property
    def _reason(self) -> Input:
        return self.query_one("#approval-reason", Input)

    def open(self, request: ApprovalRequested, future: Future[Approval]) -> None:
        """Show a request. What was typed before it appeared does not answer it."""
        self._request, self._future = request, future
        self._reason.display = False
        self.display = True
        self.set_class(bool(request.risks), "risky")
        self.choices.offer(approval_text.choices(request), refusal="no")
        self.draw()
        # Its position comes after the layout; until then no question of an earlier request shows.
        self.query_one("#approval-heading", Static).update(self._question)
        self.border_title = ""
        self._scroll.scroll_home(animate=False)
        self.choices.focus()

    def resume(self) -> None:
        """Return to the choices, which a message or a dialog was written over."""
        if self.is_open:
            self._reason.display = False
            self.choices.wait_for_quiet()
            self.choices.focus()

    # --- drawing ---------------------------------------------------------------------------

    def draw(self) -> None:
        """Lay the request out for the current size."""
        request, p = self._request, self.palette
        if request is None:
            return
        width, height = self.screen.size
        self.choices.palette = p
        self.choices.compact = height < _VERY_LOW or width < _NARROW
        self.choices.styles.margin = (0 if height < _LOW else 1, 0, 0, 0)
        self.choices.draw()
        brief = height < _VERY_LOW
        self.screen.query_one("#main").display = not brief
        selected = self.choices.selected is not None
        about = self._about(request)
        lines = len(about.wrap(self.app.console, self._columns)) if about else 0
        # The explanation of a choice goes to the part that scrolls where it leaves no room.
        room = self._most_lines() - len(self.choices.lines(self._columns)) - 2
        outside = lines <= room and (selected or height >= _LOW)
        # There it may hide what it is about, which then stands in the heading.
        about_first = brief or (selected and not outside)
        question = approval_text.question(request, self._root, p, brief=about_first)
        parts: list[RenderableType] = [*approval_text.risks(request, p), self._detail(request)]
        self._question, whole = self._cut(question, 1 if height < _LOW else 2)
        if not whole and not about_first:
            parts.insert(0, question)
        if about and not outside:
            parts.insert(0 if selected else len(parts), about)
        self._shown_about = about if outside else Text()
        self.query_one("#approval-about", Static).update(self._shown_about)
        self.query_one("#approval-about").display = bool(about) and outside
        self.query_one("#approval-detail", Static).update(Group(*parts))
        self.call_after_refresh(self._limit_height)

    def _about(self, request: ApprovalRequested) -> Text:
        """What the selected choice does; without one, the rule that some would add."""
        selected = self.choices.selected
        if selected is not None:
            return Text(selected.about, style=self.palette.foreground)
        if not request.rule_text:
            return Text()
        return Text(f"Longer than once: {approval_text.rule(request)}.", style=self.palette.muted)

    def _detail(self, request: ApprovalRequested) -> RenderableType:
        p = self.palette
        why = approval_text.why(request, p)
        if request.action.kind == "write" and request.action.diff:
            width = max(20, self._columns - 1)  # room for the scroll bar
            diff = diff_view.render(request.action.diff, width, p, heading=False)
            return Group(*why, diff)
        return Group(*approval_text.subject(request, self._root, p), *why)

    @property
    def _columns(self) -> int:
        """Cells of a line of the card."""
        return max(1, self.screen.size.width - self.gutter.width)

    def _cut(self, text: Text, most: int) -> tuple[Text, bool]:
        """Cut a text to `most` lines; also tell if it is whole."""
        lines = text.wrap(self.app.console, self._columns)
        if len(lines) <= most:
            return text, True
        for line in lines:
            line.rstrip()
        last = Text(" ").join(lines[most - 1 :])
        last.truncate(self._columns, overflow="ellipsis")
        return Text("\n").join([*lines[: most - 1], last]), False

    def _most_lines(self) -> int:
        """The most lines that the card may take, without its border."""
        height = self.screen.size.height
        # A low terminal keeps one line of the transcript, the activity line and the status line;
        # a very low one no line of the transcript.
        status = self.screen.query_one("#status").display
        rest = 1 + (height >= _VERY_LOW) + status
        most = height - rest if height < _LOW else height * 3 // 4
        return most - self.gutter.height - self._message_lines()

    def _message_lines(self) -> int:
        """Lines of the composer, where a message is written below the card."""
        row = self.screen.query_one("#composer-row")
        return max(1, row.size.height) if row.display else 0

    def _limit_height(self) -> None:
        """Limit the part that scrolls, so that the choices stay in view."""
        columns, console = self._columns, self.app.console
        # As they will be drawn: what is below the screen now was not laid out.
        taken = len(self._question.wrap(console, columns)) + self.choices.styles.margin.top
        taken += len(self.choices.lines(columns)) + self._reason.display
        if self.query_one("#approval-about").display:
            taken += len(self._shown_about.wrap(console, columns))
        self._scroll.styles.max_height = max(1, self._most_lines() - taken)
        self.call_after_refresh(self._show_position)

    def _show_position(self) -> None:
        """Say which lines of how many are in view."""
        where = position(self._scroll)
        bordered = bool(self.styles.border_top[0])
        self.border_title = where if bordered else ""
        hints = _HINTS if where else _HINTS[1:]
        if not self.choices.has_focus:  # a message or a reason is written
            hints = (_WRITING_HINT,)
        fitting = next((hint for hint in hints if len(hint) < self._columns), "")
        self.border_subtitle = fitting if bordered else ""
        heading = self._question
        if where and not bordered:
            short = re.sub(r"^(\d+)–\1/", r"\1/", where.removeprefix("lines ").replace(" of ", "/"))
            free = self._columns - heading.cell_len
            if len(short) >= free:
                heading = heading.copy()
                heading.truncate(max(1, self._columns - len(short) - 1), overflow="ellipsis")
                free = self._columns - heading.cell_len
            if "\n" not in heading.plain and len(short) < free:
                gap = " " * (free - len(short))
                heading = Text.assemble(heading, gap, (short, self.palette.accent))
        self.query_one("#approval-heading", Static).update(heading)

    def on_resize(self) -> None:
        self.draw()

    def on_descendant_focus(self) -> None:
        self.call_after_refresh(self._show_position)

    def on_descendant_blur(self) -> None:
        self.call_after_refresh(self._show_position)

    # --- scrolling -------------------------------------------------------------------------

    def scroll_detail(self, lines: int) -> None:
        """Scroll the detail by at most what is in view, so that no line is skipped."""
        most = max(1, self._scroll.size.height)
        self._scroll.scroll_relative(y=max(-most, min(lines, most)), animate=False)

    def page(self, step: int) -> None:
        """Scroll the detail by pages."""
        self.scroll_detail(step * max(1, self._scroll.size.height - 1))

    def on_key(self, event: events.Key) -> None:
        if self._reason.has_focus or event.key not in ("up", "down", "home", "end"):
            return
        event.stop()
        event.prevent_default()
        if event.key in ("home", "end"):
            scroll = self._scroll.scroll_home if event.key == "home" else self._scroll.scroll_end
            scroll(animate=False)
        else:
            self.scroll_detail(1 if event.key == "down" else -1)

    def on_paste(self, event: events.Paste) -> None:
        if not self._reason.has_focus:
            event.stop()
            self.on_typed(event)

    # --- answering -------------------------------------------------------------------------

    def on_choice_row_moved(self) -> None:
        self.draw()
        self._scroll.scroll_home(animate=False) if self.choices.compact else None

    def on_choice_row_chosen(self, message: ChoiceRow.Chosen) -> None:
        if message.id == "because":
            self._reason.value = ""
            self._reason.display = True
            self._reason.focus()
            self.call_after_refresh(self._limit_height)
        else:
            self.answer(message.id)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.answer("no", event.value.strip())

    def refuse(self) -> None:
        """Close the line for a reason, else return to the choices, else answer no: one at a time,
        and not before the card could be seen."""
        if not self.choices.has_focus:
            self.resume()
        elif self.choices.quiet.over:
            self.answer("no")

    def answer(self, answer: str, reason: str = "") -> None:
        """Answer the request: once, no, or the scope of a rule."""
        from laguna_agent.agent.approval import Approval

        future, self._future, self._request = self._future, None, None
        if future is not None and not future.done():
            if answer in ("once", "no"):
                future.set_result(Approval(answer, reason))  # type: ignore[arg-type]  # literals
            else:
                future.set_result(Approval("always", scope=answer))  # type: ignore[arg-type]
        self._end()

    def _end(self) -> None:
        self.screen.query_one("#main").display = True
        self.on_closed()  # before it hides, or Textual would focus another widget
        self.display = False

    def withdraw(self) -> None:
        """Close the request without an answer: the turn was stopped."""
        if self._future is not None:
            self._future.cancel()
            self._future = self._request = None
            self._end()
