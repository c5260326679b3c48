"""The app: lays the widgets out, passes what happens to them and what is typed to the session."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.geometry import Size
from textual.widgets import Input, Static

from laguna_agent.errors import LagunaError, ModelError
from laguna_agent.interfaces.tui import keys, messages, pack_watch, themes
from laguna_agent.interfaces.tui.actions import Actions
from laguna_agent.interfaces.tui.agent_thread import AgentThread, OpenSession
from laguna_agent.interfaces.tui.mentions import mention_source
from laguna_agent.interfaces.tui.message_queue import MessageQueue
from laguna_agent.interfaces.tui.slash_commands import SlashCommands
from laguna_agent.interfaces.tui.system import latency
from laguna_agent.interfaces.tui.system.preferences import Preferences, PromptHistory
from laguna_agent.interfaces.tui.system.terminal import TerminalApp, TerminalDriver
from laguna_agent.interfaces.tui.transcript.history_loader import HistoryLoader
from laguna_agent.interfaces.tui.transcript.rendering import Renderer
from laguna_agent.interfaces.tui.transcript.transcript_model import Entry, TranscriptModel
from laguna_agent.interfaces.tui.transcript.transcript_view import Transcript
from laguna_agent.interfaces.tui.widgets.activity_line import ActivityLine, QueuedMessages
from laguna_agent.interfaces.tui.widgets.approval_card import ApprovalCard
from laguna_agent.interfaces.tui.widgets.completion_list import CompletionList
from laguna_agent.interfaces.tui.widgets.composer import Composer
from laguna_agent.interfaces.tui.widgets.side_panel import ROOM, SidePanel
from laguna_agent.interfaces.tui.widgets.status_line import StatusLine, short_path
from laguna_agent.paths import repository_root

if TYPE_CHECKING:
    from laguna_agent.agent.settings import Settings

DRAFT_S, SETTLE_S = 0.5, 10.0


class LagunaApp(Actions, TerminalApp):
    """Get its exit code from `run`; see `run_tui`."""

    CSS_PATH = Path(__file__).with_name("laguna.tcss")
    TITLE = "laguna"
    ENABLE_COMMAND_PALETTE = False
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (76, "-normal")]  # noqa: RUF012 (Textual's own)
    VERTICAL_BREAKPOINTS = [(0, "-tiny"), (7, "-low"), (16, "-tall")]  # noqa: RUF012
    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings()]

    def __init__(
        self,
        start: Callable[[], Settings],
        *,
        prompt: str | None = None,
        cwd: Path | None = None,
        open_session: OpenSession | None = None,
    ) -> None:
        super().__init__(driver_class=TerminalDriver)
        self.cwd = cwd or Path.cwd()
        self.root = repository_root(self.cwd)
        self.preferences = Preferences()
        for theme in themes.themes():
            self.register_theme(theme)
        self.theme = themes.first(self.preferences.theme, self.console.color_system)
        self.prompt_history = PromptHistory(self.cwd)
        self.agent = AgentThread(start, self.post_message, open_session=open_session)
        self.mentions = mention_source.MentionSource(self.root)
        self.transcript_model = TranscriptModel(self._added, self._changed, self._removed)
        self.queue = MessageQueue(self)
        self.history_loader = HistoryLoader(self)
        self.slash_commands = SlashCommands(self)
        self.pack_watch = pack_watch.PackWatch(self)
        self.exit_message = ""
        self.stop_download: Callable[[], None] | None = None
        self.busy = False
        self.owns_mouse = self.preferences.mouse
        self._prompt = prompt
        self._draft_due = False

    @property
    def palette(self) -> themes.Palette:
        """Colours of the present theme."""
        return themes.PALETTES[self.theme]

    def compose(self) -> ComposeResult:
        p = self.palette
        self.transcript = Transcript(id="transcript")
        self.side_panel = SidePanel(p, id="panel")
        self.completion_list = CompletionList(p, id="completion")
        self.activity = ActivityLine(p, id="activity")
        self.queued_messages = QueuedMessages(p, id="queue")
        self.composer = Composer(self.prompt_history, id="composer")
        self.composer.on_completion_key = self.completion_key
        self.approval = ApprovalCard(p, self.root, id="approval")
        self.approval.on_ended = self.approval_ended
        self.approval.on_stray = self.composer.post_message
        self.status = StatusLine(p, self.root, id="status")
        with Horizontal(id="main"):
            yield self.transcript
            yield self.side_panel
        yield Input(placeholder="search the transcript", id="search-line")
        yield self.completion_list
        yield self.activity
        yield self.queued_messages
        with Horizontal(id="composer-row"):
            yield Static("❯ ", id="prompt-mark", markup=False)
            yield self.composer
        yield self.approval
        yield self.status

    def on_mount(self) -> None:
        self.theme_changed_signal.subscribe(self, lambda _: self.recolour())
        self.recolour()
        self.set_status(place=short_path(self.cwd), mouse=self.owns_mouse)
        if draft := self.prompt_history.load_draft():
            self.composer.put(draft)
        self.composer.focus()
        self.end_on_signals()
        self.set_interval(pack_watch.PERIOD_S, self.pack_watch.look)
        self.begin("starting")
        self.call_after_refresh(self.agent.start)
        self.set_timer(SETTLE_S, latency.settle)

    # --- what the agent's thread says ------------------------------------------------------

    def on_session_event(self, message: messages.SessionEvent) -> None:
        event = message.event
        if event.type == "model_loading" and not self.busy:
            self.begin("loading the model")
        self.activity.take(event)
        self.queue.take(event)
        self.history_loader.take(event)
        self.transcript_model.take(event)
        if event.type in ("reply", "tool_finished", "turn_finished", "compacted"):
            self.refresh_context()

    def on_session_opened(self, message: messages.SessionOpened) -> None:
        latency.settle()
        session, gate = message.session, message.session.gate
        self.end()
        self.set_status(mode=gate.mode, plan=gate.plan, model=session.info.name)
        self.history_loader.show(session)
        self.refresh_context()
        if self._prompt:
            prompt, self._prompt = self._prompt, None
            self.queue.send(prompt, "queue")
        else:
            self.queue.next()

    def on_session_failed(self, message: messages.SessionFailed) -> None:
        if message.fatal and isinstance(message.error, LagunaError):
            self.fatal = message.error
            self.exit(int(message.error.exit_code))
            return
        self.end()
        self.transcript_model.settle()
        if self.agent.session is None and isinstance(message.error, ModelError):
            self.slash_commands.first_run(message.error)
            return
        self.transcript_model.note(str(message.error), "error")

    def on_work_ended(self) -> None:
        self.approval.withdraw()
        self.end()
        self.transcript_model.settle()
        if self.agent.session is not None:
            self.transcript_model.seq = self.agent.session.trajectory.last_seq
        self.refresh_context()
        self.queue.next()

    def on_approval_asked(self, message: messages.ApprovalAsked) -> None:
        self.activity.ask()
        self.screen.query_one("#composer-row").display = False
        self.approval.ask(message.request, message.future)
        self.bell()

    def on_trust_needed(self, message: messages.TrustNeeded) -> None:
        self.slash_commands.ask_trust(message.files, message.digest, changed=message.changed)

    def on_shell_output(self, message: messages.ShellOutput) -> None:
        ended = self.transcript_model.shell_said(message.key, message.text, message.exit_code)
        self.agent.shell_taken()
        if ended is not None:
            self.queue.note_shell(ended)

    # --- what the widgets say --------------------------------------------------------------

    def on_composer_sent(self, message: Composer.Sent) -> None:
        self.transcript.go_to_end()
        self.queue.send(message.text, message.how)

    def on_composer_word_changed(self, message: Composer.WordChanged) -> None:
        self.complete(message.word)

    def on_text_area_changed(self) -> None:
        self.draft_changed()

    def draft_changed(self) -> None:
        """Keep it soon."""
        if not self._draft_due:
            self._draft_due = True
            self.set_timer(DRAFT_S, self.save_draft)

    def approval_ended(self) -> None:
        """Give the keys back to the composer, at once: one may be on its way."""
        self.screen_stack[0].query_one("#composer-row").display = True
        self.screen_stack[0].set_focus(self.composer)
        self.activity.say("working")

    def on_transcript_wants_earlier(self) -> None:
        self.history_loader.load_earlier()

    def on_transcript_key_pressed(self, message: Transcript.KeyPressed) -> None:
        self.transcript_key(message.key)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        if event.input.id == "search-line":
            self.search_for(event.value)

    # --- entries ---------------------------------------------------------------------------

    def _added(self, entry: Entry) -> None:
        self.transcript.add(entry)

    def _changed(self, entry: Entry) -> None:
        self.transcript.change(entry)
        if entry.kind == "tool" and entry.diff and entry.state == "ok":
            self.history_loader.count(entry)

    def _removed(self, entry: Entry) -> None:
        self.transcript.discard(entry)

    # --- state -----------------------------------------------------------------------------

    def begin(self, what: str) -> None:
        """Something runs now."""
        self.busy = True
        self.activity.begin(what)

    def end(self) -> None:
        """Nothing runs."""
        self.busy = False
        self.activity.end()
        self.status.look_at_branch()

    def set_status(self, **changes: object) -> None:
        """Change parts of the status line."""
        self.status.status = replace(self.status.status, **changes)  # type: ignore[arg-type]  # its fields

    def refresh_context(self) -> None:
        """Read how full the context is."""
        session = self.agent.session
        if session is None:
            return
        used, limit = session.conversation.used, session.conversation.limit
        self.set_status(used=used, limit=limit)
        if (used, limit) != (self.side_panel.used, self.side_panel.limit):
            self.side_panel.used, self.side_panel.limit = used, limit
            self.side_panel.draw()

    def save_draft(self) -> None:
        """Keep what is typed, and what waits to be used, in case of a crash."""
        self._draft_due = False
        kept = [*self.queue.waiting, self.composer.expanded]
        self.prompt_history.save_draft("\n".join(text for text in kept if text))

    def recolour(self) -> None:
        """Give all widgets the colours of the theme."""
        palette = self.palette
        widgets = (
            self.activity,
            self.queued_messages,
            self.approval,
            self.side_panel,
            self.status,
            self.completion_list,
        )
        for widget in widgets:
            widget.palette = palette
            widget.refresh()
        self.transcript.repaint(Renderer(palette))
        self.side_panel.draw()
        self.approval.draw()

    def on_resize(self, event: events.Resize) -> None:
        self.fit(event.size)
        self.settle_size()

    def fit(self, size: Size) -> None:
        """Leave out what has no room."""
        width, height = size
        shown = width >= ROOM and height >= 16
        if self.preferences.panel is not None:
            shown = self.preferences.panel and width >= 70 and height >= 8
        self.side_panel.set_class(shown, "shown")

    async def on_unmount(self) -> None:
        if hasattr(self, "composer"):
            self.save_draft()
        await asyncio.to_thread(self.mentions.close)
        await asyncio.to_thread(self.agent.close)
