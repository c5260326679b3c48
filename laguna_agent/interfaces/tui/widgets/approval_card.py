"""The approval card replaces the composer: what would happen, why approval is needed, the rule.

Nothing is selected by default, and Enter does not answer. The line with the answers is always in
view. A heading, reason or rule that is too long is cut there and shown whole in the part that
scrolls.
"""

from __future__ import annotations

import os
import time
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
from laguna_agent.interfaces.tui.widgets.fitted_row import FittedRow
from laguna_agent.policy.sanitize import visible

if TYPE_CHECKING:
    from laguna_agent.agent.approval import Approval
    from laguna_agent.events import ApprovalRequested


_LOW, _VERY_LOW = 16, 10
"""Lines of the terminal below which the card saves lines, and saves more of them."""
_SCROLL_HINTS = "ctrl+↑↓ scrolls", "ctrl+↑↓"
_RULE_START = '[[policy.rules]] verdict = "allow"'
GRACE_S = 0.4
"""Seconds in which keys still go to the composer: a user who is typing has not read the request."""


class ApprovalCard(Vertical, can_focus=True):
    """Shows one request at a time and puts the answer into its future."""

    def __init__(self, palette: Palette, root: Path, *, id: str | None = None) -> None:
        """`root` is where the person works; paths inside it are shown relative to it."""
        super().__init__(id=id)
        self.palette = palette
        self._request: ApprovalRequested | None = None
        self._future: Future[Approval] | None = None
        self.display = False
        self.grace_s = GRACE_S
        self._since = 0.0
        self._root = root
        self._heading = Text()
        self.on_closed: Callable[[], None] = lambda: None
        """Called when the request is answered or withdrawn; gives the focus back."""
        self.on_stray_key: Callable[[events.Key], object] = lambda key: None
        """Takes a key meant for the composer: pressed before the request could be read, or after
        it was answered."""

    def compose(self) -> ComposeResult:
        yield Static(id="approval-heading")
        with VerticalScroll(id="approval-scroll", can_focus=False):
            yield Static(id="approval-detail")
        yield Static(id="approval-answers")
        yield Input(placeholder="why not? the model reads it; enter sends", id="approval-reason")

    @property
    def is_open(self) -> bool:
        """Whether a request waits for its answer."""
        return self._future is not None

    def open(self, request: ApprovalRequested, future: Future[Approval]) -> None:
        """Show a request. Keys typed before it appeared do not answer it."""
        self._request, self._future = request, future
        self.query_one("#approval-reason", Input).display = False
        self.display = True
        self.draw()
        self.query_one("#approval-scroll").scroll_home(animate=False)
        self._since = time.monotonic()
        self.focus()

    def draw(self) -> None:
        """Lay the request out for the current width."""
        request, p = self._request, self.palette
        if request is None:
            return
        height = self.screen.size.height
        parts: list[RenderableType] = [self._detail(request)]
        question = Text.assemble(
            ("Allow ", f"bold {p.warning}"), (f"{_subject(request, self._root)}?", "bold")
        )
        hint = len(_SCROLL_HINTS[-1]) + 1 if height < _LOW else 0
        self._heading, whole = self._cut(question, 1 if height < _LOW else 2, reserved=hint)
        if not whole:
            parts.insert(0, question)
        if request.decision.reason:
            reason = Text(visible(request.decision.reason), style=p.muted)
            cut, whole = self._cut(reason, 0 if height < _LOW else 3)
            if whole:
                self._heading = Text("\n").join([self._heading, cut])
            else:
                parts.insert(0, reason)
        below: list[RenderableType] = [FittedRow(self._answers(request))]
        if request.rule:
            text = visible(" ".join(request.rule.split()), single_line=True)
            rule = Text(f"a for this session: {text}", style=p.muted)
            most = 0 if height < _VERY_LOW else 1 if height < _LOW else 2
            cut, whole = self._cut(rule, most)
            if not whole:
                parts.append(rule)
                # All rules start alike.
                short = rule.plain.replace(f"{_RULE_START} ", "… ", 1)
                cut, _ = self._cut(Text(short, style=p.muted), most)
            below += [cut] if cut else []
        self.query_one("#approval-detail", Static).update(Group(*parts))
        self.query_one("#approval-answers", Static).update(Group(*below))
        self._draw_head(more=False)
        self.call_after_refresh(self._limit_height)

    def _draw_head(self, *, more: bool) -> None:
        """Draw the question, with the scroll hint if there is `more` than fits."""
        head, bordered = self._heading, bool(self.styles.border_top[0])
        self.border_subtitle = _SCROLL_HINTS[0] if more and bordered else ""
        if more and not bordered:
            free = self._columns - head.cell_len
            hint = next((hint for hint in _SCROLL_HINTS if len(hint) < free), "")
            head = Text.assemble(head, " " * (free - len(hint)), (hint, self.palette.accent))
        self.query_one("#approval-heading", Static).update(head)

    @property
    def _columns(self) -> int:
        """Cells of a line of the card."""
        return max(1, self.screen.size.width - self.gutter.width)

    def _cut(self, text: Text, most: int, *, reserved: int = 0) -> tuple[Text, bool]:
        """Cut a text to `most` lines that leave `reserved` cells free; also tell if it is whole."""
        columns = max(1, self._columns - reserved)
        lines = text.wrap(self.app.console, columns)
        if len(lines) <= most:
            return text, True
        if not most:
            return Text(), False
        for line in lines:
            line.rstrip()
        last = Text(" ").join(lines[most - 1 :])
        last.truncate(columns, overflow="ellipsis")
        return Text("\n").join([*lines[: most - 1], last]), False

    def _limit_height(self) -> None:
        """Limit the part that scrolls, so that the answers stay in view."""
        height = self.screen.size.height
        head = self.query_one("#approval-heading").size.height
        below = self.query_one("#approval-answers").size.height
        below += self.query_one("#approval-reason", Input).display
        # A low terminal keeps one line of the transcript, the activity line and the status line.
        status = self.screen.query_one("#status").display
        most = height - 2 - status if height < _LOW else height * 2 // 3
        room = max(1, most - self.gutter.height - head - below)
        scroll = self.query_one("#approval-scroll", VerticalScroll)
        scroll.styles.max_height = room
        self._draw_head(more=scroll.virtual_size.height > room)

    def _answers(self, request: ApprovalRequested) -> list[Text]:
        """The line with the answers, the longest form first."""
        forms = []
        for gap, once, because in (
            ("   ", "once", "no, because…"),
            ("  ", "once", "no, because…"),
            ("  ", "once", "why not"),
            (" ", "once", "why"),
            (" ", "", ""),
        ):
            answers = [("y", once), ("a", "always"), ("n", "no"), ("r", because)]
            form = Text()
            for key, meaning in answers:
                if key != "a" or request.rule:
                    form.append(gap if form else "")
                    form.append(key, style=f"bold {self.palette.accent}")
                    form.append(f" {meaning}" if because else "", style=self.palette.foreground)
            forms.append(form)
        return forms

    def _detail(self, request: ApprovalRequested) -> RenderableType:
        action, p = request.action, self.palette
        width = max(20, self._columns - 1)  # room for the scroll bar
        match action.kind:
            case "write":
                if action.diff:
                    return diff_view.render(action.diff, width, p, heading=False)
                return Text(visible(action.path))
            case "execute":
                command = Text(f"$ {visible(action.command)}", style=f"bold {p.foreground}")
                return Group(command, Text(f"in {visible(action.cwd)}", style=p.muted))
            case "network":
                return Text(visible(action.host))
            case "git":
                return Text(f"git {visible(action.operation)} {visible(action.detail)}")
            case "mcp":
                name = Text(f"{visible(action.server)}/{visible(action.tool)}", style="bold")
                return Group(name, Text(visible(action.arguments)))
            case "mcp-tools":
                return Text(visible(action.text))
            case _:
                return Text(visible(action.path))

    def on_resize(self) -> None:
        self.draw()

    def scroll_detail(self, lines: int) -> None:
        """Scroll the detail by at most what is in view, so that no line is skipped."""
        scroll = self.query_one("#approval-scroll", VerticalScroll)
        most = max(1, scroll.size.height)
        scroll.scroll_relative(y=max(-most, min(lines, most)), animate=False)

    # --- answering -------------------------------------------------------------------------

    def on_key(self, event: events.Key) -> None:
        if self.query_one("#approval-reason", Input).has_focus:
            return
        if not self.is_open:
            event.stop()
            self.on_stray_key(events.Key(event.key, event.character))
            return
        key = event.character or event.key
        if time.monotonic() - self._since < self.grace_s:
            self._since = time.monotonic()
            event.stop()
            if event.is_printable and event.character:
                self.on_stray_key(events.Key(event.key, event.character))
            return
        if key == "y":
            self.answer("once")
        elif key == "a" and self._request is not None and self._request.rule:
            self.answer("always")
        elif key == "n":
            self.answer("no")
        elif key == "r":
            reason = self.query_one("#approval-reason", Input)
            reason.value = ""
            reason.display = True
            reason.focus()
            self.call_after_refresh(self._limit_height)
        elif event.is_printable and event.character and key != "a":
            # The user starts to type a message: its next letters are no answers either.
            self._since = time.monotonic()
            self.on_stray_key(events.Key(event.key, event.character))
        else:
            return
        event.stop()
        event.prevent_default()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.answer("no", event.value.strip())

    def answer(self, answer: str, reason: str = "") -> None:
        """Answer the request."""
        from laguna_agent.agent.approval import Approval

        future, self._future, self._request = self._future, None, None
        if future is not None and not future.done():
            future.set_result(Approval(answer, reason))  # type: ignore[arg-type]  # one of three
        self._end()

    def _end(self) -> None:
        self.on_closed()  # before it hides, or Textual would focus another widget
        self.display = False

    def withdraw(self) -> None:
        """Close the request without an answer: the turn was stopped."""
        if self._future is not None:
            self._future.cancel()
            self._future = self._request = None
            self._end()


def _subject(request: ApprovalRequested, root: Path) -> str:
    action = request.action
    match action.kind:
        case "write":
            return f"changing {_relative(action.path, root)}"
        case "execute":
            return "this command"
        case "network":
            return "network access"
        case "git":
            return f"git {visible(action.operation, single_line=True)}"
        case "mcp":
            return f"{visible(action.server, single_line=True)} to do this"
        case "mcp-tools":
            return f"the model to read this from {visible(action.server, single_line=True)}"
        case _:
            return f"reading {_relative(action.path, root)}"


def _relative(path: str, root: Path) -> str:
    """A path inside the repository relative to it, another one whole."""
    base = os.fspath(root)
    inside = path.startswith(base + os.sep)
    return visible(path[len(base) + 1 :] if inside else path, single_line=True)
