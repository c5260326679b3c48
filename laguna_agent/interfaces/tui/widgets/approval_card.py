"""An approval, in the place of the composer: exactly what would happen, why it is asked, the rule.

Nothing is chosen by default, and Enter answers nothing. The line with the answers is always in
view. What has no room above or below it is cut there, and stands whole in the part that scrolls.
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


_LOW, _LOWER = 16, 10
"""Lines of a terminal below which there is little room, and even less."""
_HINTS = "ctrl+↑↓ scrolls", "ctrl+↑↓"
_ALLOWS = '[[policy.rules]] verdict = "allow"'
GRACE_S = 0.4
"""Keys this soon after a request appears were meant for the composer, and go there."""


class ApprovalCard(Vertical, can_focus=True):
    """Shows one request at a time; the answer goes into its future."""

    def __init__(self, palette: Palette, root: Path, *, id: str | None = None) -> None:
        """`root` is the repository's, below which paths are shown short."""
        super().__init__(id=id)
        self.palette = palette
        self._request: ApprovalRequested | None = None
        self._future: Future[Approval] | None = None
        self.display = False
        self.grace_s = GRACE_S
        self._since = 0.0
        self._root = root
        self._heading = Text()
        self.on_ended: Callable[[], None] = lambda: None
        """Called when nothing is asked any more; takes the keys back."""
        self.on_stray: Callable[[events.Key], object] = lambda key: None
        """Takes a key that was meant for the composer: pressed before a request could be read, or
        after it was answered."""

    def compose(self) -> ComposeResult:
        yield Static(id="approval-heading")
        with VerticalScroll(id="approval-scroll", can_focus=False):
            yield Static(id="approval-detail")
        yield Static(id="approval-answers")
        yield Input(placeholder="why not? goes to the model; enter sends it", id="approval-reason")

    @property
    def asking(self) -> bool:
        """Whether an answer is awaited."""
        return self._future is not None

    def ask(self, request: ApprovalRequested, future: Future[Approval]) -> None:
        """Show a request. The keys that were typed before it appeared do not answer it."""
        self._request, self._future = request, future
        self.query_one("#approval-reason", Input).display = False
        self.display = True
        self.draw()
        self.query_one("#approval-scroll").scroll_home(animate=False)
        self._since = time.monotonic()
        self.focus()

    def draw(self) -> None:
        """Draw it for the present width."""
        request, p = self._request, self.palette
        if request is None:
            return
        height = self.screen.size.height
        parts: list[RenderableType] = [self._detail(request)]
        what = Text.assemble(("Allow ", f"bold {p.warning}"), (_what(request, self._root), "bold"))
        hint = len(_HINTS[-1]) + 1 if height < _LOW else 0
        self._heading, whole = self._cut(what, 1 if height < _LOW else 2, beside=hint)
        if not whole:
            parts.insert(0, what)
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
            rule = Text(f"a writes: {text}", style=p.muted)
            most = 0 if height < _LOWER else 1 if height < _LOW else 2
            cut, whole = self._cut(rule, most)
            if not whole:
                parts.append(rule)
                # What all rules begin with says least.
                short = rule.plain.replace(f"{_ALLOWS} ", "… ", 1)
                cut, _ = self._cut(Text(short, style=p.muted), most)
            below += [cut] if cut else []
        self.query_one("#approval-detail", Static).update(Group(*parts))
        self.query_one("#approval-answers", Static).update(Group(*below))
        self._draw_head(more=False)
        self.call_after_refresh(self._limit)

    def _draw_head(self, *, more: bool) -> None:
        """What is asked, and how to see the rest of it if there is `more`."""
        head, bordered = self._heading, bool(self.styles.border_top[0])
        self.border_subtitle = _HINTS[0] if more and bordered else ""
        if more and not bordered:
            free = self._columns - head.cell_len
            hint = next((hint for hint in _HINTS if len(hint) < free), "")
            head = Text.assemble(head, " " * (free - len(hint)), (hint, self.palette.accent))
        self.query_one("#approval-heading", Static).update(head)

    @property
    def _columns(self) -> int:
        """Cells of a line in it."""
        return max(1, self.screen.size.width - self.gutter.width)

    def _cut(self, text: Text, most: int, *, beside: int = 0) -> tuple[Text, bool]:
        """At most `most` lines of a text that leave `beside` cells free, and whether that is all
        of it."""
        columns = max(1, self._columns - beside)
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

    def _limit(self) -> None:
        """Leave room for the answers, whatever is asked: only what is asked scrolls."""
        height = self.screen.size.height
        head = self.query_one("#approval-heading").size.height
        below = self.query_one("#approval-answers").size.height
        below += self.query_one("#approval-reason", Input).display
        # Low terminals have a line of the transcript, that of what goes on, and the status line.
        status = self.screen.query_one("#status").display
        most = height - 2 - status if height < _LOW else height * 2 // 3
        room = max(1, most - self.gutter.height - head - below)
        scroll = self.query_one("#approval-scroll", VerticalScroll)
        scroll.styles.max_height = room
        self._draw_head(more=scroll.virtual_size.height > room)

    def _answers(self, request: ApprovalRequested) -> list[Text]:
        """The line with the answers, in shorter and shorter forms."""
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
        width = max(20, self._columns - 1)  # it may have a bar beside it
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
            case _:
                return Text(visible(action.path))

    def on_resize(self) -> None:
        self.draw()

    def scroll_asked(self, lines: int) -> None:
        """Scroll what is asked; by no more than is in view, so that no line is passed over."""
        scroll = self.query_one("#approval-scroll", VerticalScroll)
        most = max(1, scroll.size.height)
        scroll.scroll_relative(y=max(-most, min(lines, most)), animate=False)

    # --- answering -------------------------------------------------------------------------

    def on_key(self, event: events.Key) -> None:
        if self.query_one("#approval-reason", Input).has_focus:
            return
        if not self.asking:
            event.stop()
            self.on_stray(events.Key(event.key, event.character))
            return
        key = event.character or event.key
        if time.monotonic() - self._since < self.grace_s:
            self._since = time.monotonic()
            event.stop()
            if event.is_printable and event.character:
                self.on_stray(events.Key(event.key, event.character))
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
            self.call_after_refresh(self._limit)
        elif event.is_printable and event.character and key != "a":
            # No answer begins like this: a message does, and its other letters are none either.
            self._since = time.monotonic()
            self.on_stray(events.Key(event.key, event.character))
        else:
            return
        event.stop()
        event.prevent_default()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.answer("no", event.value.strip())

    def answer(self, answer: str, reason: str = "") -> None:
        """Give the answer."""
        from laguna_agent.agent.approval import Approval

        future, self._future, self._request = self._future, None, None
        if future is not None and not future.done():
            future.set_result(Approval(answer, reason))  # type: ignore[arg-type]  # one of three
        self._end()

    def _end(self) -> None:
        self.on_ended()  # before it hides, or the keys would go to whatever is next
        self.display = False

    def withdraw(self) -> None:
        """What was asked is not asked any more (the turn was stopped)."""
        if self._future is not None:
            self._future.cancel()
            self._future = self._request = None
            self._end()


def _what(request: ApprovalRequested, root: Path) -> str:
    action = request.action
    match action.kind:
        case "write":
            return f"a change of {_short(action.path, root)}"
        case "execute":
            return "a command"
        case "network":
            return "to reach a host"
        case "git":
            return f"git {visible(action.operation, single_line=True)}"
        case _:
            return f"to read {_short(action.path, root)}"


def _short(path: str, root: Path) -> str:
    """A path in the repository without the repository's; others are shown whole."""
    base = os.fspath(root)
    inside = path.startswith(base + os.sep)
    return visible(path[len(base) + 1 :] if inside else path, single_line=True)
