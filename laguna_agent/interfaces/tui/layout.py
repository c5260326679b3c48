"""The layout: the widgets of the app, their colours and sizes, and the actions on them alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.geometry import Size
from textual.widgets import Static

from laguna_agent.interfaces.tui import themes
from laguna_agent.interfaces.tui.screens import pickers
from laguna_agent.interfaces.tui.system.preferences import Preferences, PromptHistory
from laguna_agent.interfaces.tui.system.terminal import TerminalApp, TerminalDriver
from laguna_agent.interfaces.tui.system.terminal_background import is_light_by_variable
from laguna_agent.interfaces.tui.transcript.rendering import EntryRenderer
from laguna_agent.interfaces.tui.transcript.transcript_view import Transcript
from laguna_agent.interfaces.tui.widgets.activity_line import ActivityLine
from laguna_agent.interfaces.tui.widgets.approval_card import ApprovalCard
from laguna_agent.interfaces.tui.widgets.completion_list import CompletionList
from laguna_agent.interfaces.tui.widgets.composer import Composer
from laguna_agent.interfaces.tui.widgets.inline_plan import InlinePlan
from laguna_agent.interfaces.tui.widgets.line_input import LineInput
from laguna_agent.interfaces.tui.widgets.plan_card import PlanCard
from laguna_agent.interfaces.tui.widgets.queued_messages import QueuedMessages
from laguna_agent.interfaces.tui.widgets.side_panel import AUTO_SHOW_COLUMNS, SidePanel
from laguna_agent.interfaces.tui.widgets.status_line import StatusLine
from laguna_agent.interfaces.tui.widgets.welcome import Welcome
from laguna_agent.paths import repository_root

if TYPE_CHECKING:
    from laguna_agent.events import PlanStep


class LayoutApp(TerminalApp):
    """The app's widgets, without the agent behind them."""

    CSS_PATH = Path(__file__).with_name("laguna.tcss")
    TITLE = "laguna"
    ENABLE_COMMAND_PALETTE = False
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (76, "-normal")]  # noqa: RUF012 (Textual's own)
    VERTICAL_BREAKPOINTS = [(0, "-tiny"), (7, "-low"), (16, "-tall")]  # noqa: RUF012

    def __init__(self, cwd: Path) -> None:
        super().__init__(driver_class=TerminalDriver)
        self.cwd = cwd
        self.root = repository_root(cwd)
        self.preferences = Preferences()
        self.prompt_history = PromptHistory(cwd)
        for theme in themes.themes():
            self.register_theme(theme)
        self.theme = self._theme_for(light=is_light_by_variable())
        palette = self.palette
        self.welcome = Welcome(palette, id="welcome")
        self.transcript = Transcript(id="transcript")
        self.side_panel = SidePanel(palette, id="panel")
        self.inline_plan = InlinePlan(palette, id="plan")
        self.search_line = LineInput(placeholder="search the transcript", id="search-line")
        self.completion_list = CompletionList(palette, id="completion")
        self.activity = ActivityLine(palette, id="activity")
        self.queued_messages = QueuedMessages(palette, id="queue")
        self.composer = Composer(self.prompt_history, id="composer")
        self.plan_card = PlanCard(palette, id="plan-card")
        self.plan_card.on_shown = self._fit_inline_plan
        self.approval = ApprovalCard(palette, cwd, id="approval")
        self.status = StatusLine(palette, self.root, id="status")

    def _theme_for(self, *, light: bool) -> str:
        return themes.initial_theme(self.preferences.theme, self.console.color_system, light=light)

    @property
    def follows_background(self) -> bool:
        """Whether the terminal's background chooses the theme: the user has chosen none."""
        return self.preferences.theme not in themes.PALETTES and not self.no_color

    def background_found(self, *, light: bool) -> None:
        """The terminal told whether its background is light."""
        if self.follows_background:
            self.theme = self._theme_for(light=light)

    def compose(self) -> ComposeResult:
        with Horizontal(id="main"):
            with Vertical(id="conversation"):
                yield self.welcome
                yield self.transcript
            yield self.side_panel
        yield self.search_line
        yield self.completion_list
        yield self.inline_plan
        yield self.activity
        yield self.queued_messages
        yield self.plan_card
        with Horizontal(id="composer-row"):
            yield Static("❯ ", id="prompt-mark", markup=False)
            yield self.composer
        yield self.approval
        yield self.status

    @property
    def palette(self) -> themes.Palette:
        """Colours of the current theme."""
        return themes.PALETTES[self.theme]

    def apply_theme(self) -> None:
        """Give all widgets the colours of the current theme."""
        palette = self.palette
        for widget in (
            *(self.activity, self.queued_messages, self.approval, self.plan_card),
            *(self.side_panel, self.inline_plan, self.status, self.completion_list),
            self.welcome,
        ):
            widget.palette = palette
            widget.refresh()
        self.transcript.repaint(EntryRenderer(palette))
        self.side_panel.draw()
        self.approval.draw()
        self.plan_card.draw()

    def on_resize(self, event: events.Resize) -> None:
        self._fit_side_panel(event.size)
        self.redraw_after_resizes()

    def _fit_side_panel(self, size: Size) -> None:
        width, height = size
        shown = width >= AUTO_SHOW_COLUMNS and height >= 16
        if self.preferences.panel is not None:
            shown = self.preferences.panel and width >= 70 and height >= 8
        self.side_panel.set_class(shown, "shown")
        self._fit_inline_plan(height)

    def _fit_inline_plan(self, height: int = 0) -> None:
        height = height or self.size.height
        asked = self.approval.is_open and height < 24  # which takes the room
        beside = self.side_panel.has_class("shown") or self.plan_card.is_open
        self.inline_plan.adapt(height, allowed=not beside and not asked, working=self.activity.busy)

    def show_plan(self, steps: Sequence[PlanStep]) -> None:
        """Show the model's plan: in the side panel, or without it above the composer."""
        self.side_panel.plan = list(steps)
        self.side_panel.draw()
        self.inline_plan.show(steps)

    def action_page(self, step: int) -> None:
        """Scroll the transcript by pages, or what an approval or the card of a plan shows."""
        if self.approval.is_open:
            self.approval.page(step)
            return
        if self.plan_card.is_open:
            self.plan_card.scroll_plan(step)
            return
        height = max(1, self.transcript.size.height - 2)
        self.transcript.scroll_relative(y=step * height, animate=False)

    def action_select(self, step: int) -> None:
        """Focus the transcript, or select the entry `step` below."""
        if not self.transcript.has_focus:
            self.transcript.focus()
        else:
            self.transcript.select((self.transcript.cursor or 0) + step)

    def action_to_end(self) -> None:
        """Go to the end of the transcript."""
        self.transcript.go_to_end()
        self.composer.focus()

    def action_toggle_last(self, kind: str) -> None:
        """Expand or collapse the selected entry, or the last one of a kind."""
        last = next((e for e in reversed(self.transcript.entries) if e.kind == kind), None)
        self.transcript.toggle(self.transcript.selected or last)

    def action_search_history(self) -> None:
        """Let the user pick an earlier prompt."""
        self.push_screen(
            pickers.prompt_picker(self.prompt_history),
            lambda chosen: self.composer.put(self.prompt_history[int(chosen)]) if chosen else None,
        )

    def action_toggle_panel(self) -> None:
        """Show or hide the side panel from now on."""
        self.preferences.panel = not self.side_panel.has_class("shown")
        self.preferences.save()
        self._fit_side_panel(self.size)
        if self.preferences.panel and not self.side_panel.has_class("shown"):
            self.status.flash("the terminal is too small for the side panel")

    def action_toggle_mouse(self) -> None:
        """Leave the mouse to the terminal's own selection, or take it back."""
        owned = self.preferences.mouse = not self.preferences.mouse
        self.preferences.save()
        self.use_mouse(owned=owned)
        self.status.change(mouse=owned)
        self.status.flash("mouse: laguna" if owned else "mouse: your terminal selects text")

    def action_redraw(self) -> None:
        """Redraw the screen."""
        self.refresh(layout=True, repaint=True)
        self.screen.refresh(layout=True)

    def action_scroll_approval(self, lines: int) -> None:
        """Scroll what an approval shows."""
        if self.approval.is_open:
            self.approval.scroll_detail(lines)
