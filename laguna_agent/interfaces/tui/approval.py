"""An approval, in the place of the composer: exactly what would happen, why it is asked, the rule.

Nothing is chosen by default, and Enter answers nothing.
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

from laguna_agent.interfaces.tui import diffview
from laguna_agent.interfaces.tui.themes import Palette
from laguna_agent.policy.display import visible

if TYPE_CHECKING:
    from laguna_agent.agent.state import Approval
    from laguna_agent.events import ApprovalRequested


GRACE_S = 0.4
"""Keys this soon after a request appears were meant for the composer, and go there."""


class ApprovalPanel(Vertical, can_focus=True):
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
        self.on_ended: Callable[[], None] = lambda: None
        """Called when nothing is asked any more; takes the keys back."""
        self.on_stray: Callable[[events.Key], object] = lambda key: None
        """Takes a key that was meant for the composer: pressed before a request could be read, or
        after it was answered."""

    def compose(self) -> ComposeResult:
        yield Static(id="asked-head")
        with VerticalScroll(id="asked-scroll", can_focus=False):
            yield Static(id="asked-what")
        yield Static(id="asked-answers")
        yield Input(placeholder="why not? goes to the model; enter sends it", id="asked-reason")

    @property
    def asking(self) -> bool:
        """Whether an answer is awaited."""
        return self._future is not None

    def ask(self, request: ApprovalRequested, future: Future[Approval]) -> None:
        """Show a request. The keys that were typed before it appeared do not answer it."""
        self._request, self._future = request, future
        self.query_one("#asked-reason", Input).display = False
        self.display = True
        self.draw()
        self.query_one("#asked-scroll").scroll_home(animate=False)
        self._since = time.monotonic()
        self.focus()

    def draw(self) -> None:
        """Draw it for the present width."""
        request, p = self._request, self.palette
        if request is None:
            return
        head = Text.assemble(("Allow ", f"bold {p.warning}"), (_what(request, self._root), "bold"))
        if request.decision.reason:
            head.append(f"\n{visible(request.decision.reason)}", style=p.muted)
        self.query_one("#asked-head", Static).update(head)
        self.query_one("#asked-what", Static).update(self._detail(request))
        low = self.screen.size.height < 16
        answers = Text(no_wrap=low, overflow="ellipsis")
        for key, meaning in self._answers(request):
            answers.append(f"{key} ", style=f"bold {p.accent}")
            answers.append(f"{meaning}   ", style=p.foreground)
        if request.rule:
            rule = " ".join(request.rule.split())
            answers.append(f"\na writes: {visible(rule, single_line=True)}", style=p.muted)
        self.query_one("#asked-answers", Static).update(answers)
        self.call_after_refresh(self._limit)

    def _limit(self) -> None:
        """Leave room for the answers, whatever is asked: only what is asked scrolls."""
        height = self.screen.size.height
        around = 2 if self.styles.border_top[0] else 0
        head = self.query_one("#asked-head").size.height
        below = self.query_one("#asked-answers").size.height
        below += self.query_one("#asked-reason", Input).display
        most = height - 2 if height < 16 else height * 2 // 3
        room = max(1, most - around - head - below)
        scroll = self.query_one("#asked-scroll", VerticalScroll)
        scroll.styles.max_height = room
        self.border_subtitle = "ctrl+↑ ctrl+↓ scroll" if scroll.virtual_size.height > room else ""

    def _answers(self, request: ApprovalRequested) -> list[tuple[str, str]]:
        answers = [("y", "once")]
        if request.rule:
            answers.append(("a", "always"))
        return [*answers, ("n", "no"), ("r", "no, because…")]

    def _detail(self, request: ApprovalRequested) -> RenderableType:
        action, p = request.action, self.palette
        width = max(20, (self.size.width or self.app.size.width) - 6)
        match action.kind:
            case "write":
                if action.diff:
                    return diffview.render(action.diff, width, p, heading=False)
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

    # --- answering -------------------------------------------------------------------------

    def on_key(self, event: events.Key) -> None:
        if self.query_one("#asked-reason", Input).has_focus:
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
            reason = self.query_one("#asked-reason", Input)
            reason.value = ""
            reason.display = True
            reason.focus()
        else:
            return
        event.stop()
        event.prevent_default()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.answer("no", event.value.strip())

    def answer(self, answer: str, reason: str = "") -> None:
        """Give the answer."""
        from laguna_agent.agent.state import Approval

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
