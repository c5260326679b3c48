"""The app: creates the widgets and the parts behind them, and passes messages between them.

Over 400 lines because Textual looks for the handlers of messages and the actions of keys in the
app: each is a few lines here, and what takes more is a part that `_create_parts` names.
"""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from textual import events
from textual.await_complete import AwaitComplete
from textual.binding import BindingType
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Input

from laguna_agent.errors import LagunaError, ModelError, ServerSettingsError
from laguna_agent.interfaces.tui import messages, pack_watch, reference
from laguna_agent.interfaces.tui.agent_thread import AgentThread, OpenSession
from laguna_agent.interfaces.tui.clipboard import Clipboard
from laguna_agent.interfaces.tui.completion import Completion
from laguna_agent.interfaces.tui.conversation_commands import ConversationCommands
from laguna_agent.interfaces.tui.history_loader import HistoryLoader
from laguna_agent.interfaces.tui.layout import LayoutApp
from laguna_agent.interfaces.tui.mentions.mention_source import MentionSource
from laguna_agent.interfaces.tui.message_queue import MessageQueue
from laguna_agent.interfaces.tui.model_setup import ModelSetup
from laguna_agent.interfaces.tui.plan_review import PlanReview
from laguna_agent.interfaces.tui.screens import pickers
from laguna_agent.interfaces.tui.screens.trust_question import trust_question
from laguna_agent.interfaces.tui.slash_commands import SlashCommands
from laguna_agent.interfaces.tui.system import latency
from laguna_agent.interfaces.tui.system.background import in_background, run_reporting_errors
from laguna_agent.interfaces.tui.system.external_editor import edit_externally
from laguna_agent.interfaces.tui.system.prompt import Prompt
from laguna_agent.interfaces.tui.system.suspension import run_suspended
from laguna_agent.interfaces.tui.transcript.transcript_model import Entry, TranscriptModel
from laguna_agent.interfaces.tui.transcript.transcript_view import Transcript
from laguna_agent.interfaces.tui.transcript_search import TranscriptSearch
from laguna_agent.interfaces.tui.widgets.composer import Composer
from laguna_agent.interfaces.tui.widgets.plan_card import PlanCard
from laguna_agent.interfaces.tui.widgets.queued_messages import Delivery, QueuedMessages
from laguna_agent.interfaces.tui.widgets.status_line import Status, short_path
from laguna_agent.paths import repository_root

if TYPE_CHECKING:
    from laguna_agent.agent.session import Session
    from laguna_agent.agent.settings import Settings
    from laguna_agent.policy.trust import Content

_DRAFT_DELAY_S, _STARTUP_S, _JOBS_S = 0.5, 10.0, 5.0
_EXIT_HINT = "press ctrl+c again to exit"
_ACTIONS_OVER_DIALOGS = frozenset({"redraw", "toggle_mouse"})


class LagunaApp(LayoutApp):
    """The terminal interface; `run_tui` runs it."""

    BINDINGS: ClassVar[list[BindingType]] = [*reference.bindings()]

    def __init__(
        self,
        start: Callable[[], Settings],
        *,
        prompt: str | None = None,
        cwd: Path | None = None,
        resumes: bool = False,
        open_session: OpenSession | None = None,
    ) -> None:
        super().__init__(cwd or Path.cwd())
        self.welcome.display = not (resumes or prompt)
        self.agent = AgentThread(start, self.post_message, open_session=open_session)
        self.mentions = MentionSource(self.root, self.cwd)
        self._work_began = 0.0
        self._prompt = prompt
        self._told_problem = ""
        self._draft_loaded = self._draft_due = False
        self._jobs_timer: Timer | None = None
        self._create_parts()

    def _create_parts(self) -> None:
        """Create what works behind the widgets."""
        self.transcript_model = TranscriptModel(
            self._entry_added, self._entry_changed, self.transcript.discard
        )
        model = self.transcript_model
        self.history_loader = HistoryLoader(self.transcript, model, self.side_panel)
        self.queue = MessageQueue(
            self.agent, model, self.composer, self.activity, self.queued_messages,
            run_command=lambda text: self.slash_commands.run(text),
            size=lambda: self.transcript.text_size,
        )  # fmt: skip
        self.system_clipboard = Clipboard(self, self.status)
        self.search = TranscriptSearch(
            self.transcript, self.search_line, self.composer, self.status, self.history_loader
        )
        conversation = ConversationCommands(
            self, self.agent, model, self.activity, self.composer, self.side_panel,
            show_session=self.show_session, root=self.root, cwd=self.cwd,
        )  # fmt: skip
        self.models = ModelSetup(self, self.agent, model, self.activity, self.status, conversation)
        self.review = PlanReview(
            self.agent, self.plan_card, self.composer, self.status, self.activity, self.transcript
        )
        self.slash_commands = SlashCommands(
            self, self.agent, model, self.activity, self.status,
            conversation=conversation, models=self.models, review=self.review,
            clipboard=self.system_clipboard,
            preferences=self.preferences, send=self.send, leave=self.leave,
            fill=self._fill_composer, root=self.root, cwd=self.cwd,
        )  # fmt: skip
        self.completion = Completion(
            self.composer, self.completion_list, self.mentions, self.slash_commands
        )
        self.pack_watch = pack_watch.PackWatch(self.agent, model)
        self.composer.on_completion_key = self._completion_key
        self.approval.on_closed = self._approval_closed
        self.approval.on_typed = self._write_over_approval

    def on_mount(self) -> None:
        self.theme_changed_signal.subscribe(self, lambda _: self.apply_theme())
        self.apply_theme()
        self.status.change(directory=short_path(self.cwd), mouse=self.preferences.mouse)
        typed, waiting = self.prompt_history.load_draft()
        self.composer.put(typed)
        self.queue.restore(waiting)
        self._draft_loaded = True
        self.composer.focus()
        self.exit_on_signals()
        self.set_interval(pack_watch.PERIOD_S, self.pack_watch.check)
        self.activity.begin("starting")
        self.watch(self.status, "status", self._show_mode)
        if self._prompt:
            self.queue.send(Prompt(self._prompt), "steer")
        self.call_after_refresh(self.take_early_keys)
        self.call_after_refresh(self.agent.start)
        self.call_after_refresh(in_background, self.welcome, "suggestions", self._suggest)
        self.set_timer(_STARTUP_S, latency.startup_finished)

    async def on_unmount(self) -> None:
        self.save_draft()
        await asyncio.to_thread(self.mentions.close)
        await asyncio.to_thread(self.agent.close)

    def on_resize(self, event: events.Resize) -> None:
        if self.agent.shell_command is not None:
            self.call_after_refresh(self._resize_shell_command)

    def _resize_shell_command(self) -> None:
        if (shell := self.agent.shell_command) is not None:
            shell.resize(*self.transcript.text_size)

    # --- messages of the agent thread ------------------------------------------------------

    def on_session_event(self, message: messages.SessionEvent) -> None:
        event = message.event
        if event.type == "turn_started":  # another turn: the plan before it is no longer the last
            self.review.close()
        self.activity.show_event(event)
        self.queue.follow(event)
        match event.type:
            case "plan_updated":
                self.show_plan(event.steps)
            case "check_ran":
                self.status.change(check=event.command, check_passed=event.exit_code == 0)
        self.transcript_model.apply(event)
        if event.type in ("reply", "tool_finished", "turn_finished", "compacted"):
            self._refresh_context()
        if event.type == "tool_finished" and event.name == "shell":
            self._refresh_jobs()

    def on_session_opened(self, message: messages.SessionOpened) -> None:
        latency.startup_finished()
        session, gate = message.session, message.session.gate
        self.activity.end()
        self.status.change(
            mode=gate.mode,
            model=session.info.name,
            warning="" if session.info.verified else "certificate not checked",
        )
        self.welcome.show_model(session.info)
        self.show_session(session)
        if session.settings.fork:
            self.transcript_model.add_notice("a copy: the original stays as it is, see /resume")
        if (problem := session.settings.project_problem) != self._told_problem:
            self._told_problem = problem
            if problem:
                self.transcript_model.add_notice(problem, "warning")
        self._run_reporting_errors(self.models.session_opened())
        self.queue.send_next()

    def on_work_failed(self, message: messages.WorkFailed) -> None:
        error = message.error
        if message.fatal and isinstance(error, LagunaError):
            self.fatal = error
            self.exit(int(error.exit_code))
            return
        self.activity.end()
        self.transcript_model.end_live_entries()
        if self.agent.session is None and isinstance(error, ModelError | ServerSettingsError):
            self._run_reporting_errors(self.models.first_run(error))
        else:
            self.transcript_model.add_notice(str(error), "error")

    def on_work_ended(self) -> None:
        self.approval.withdraw()
        self.activity.end()
        self.transcript_model.end_live_entries()
        if self.agent.session is not None:
            self.transcript_model.seq = self.agent.session.trajectory.last_seq
        self._refresh_context()
        self.queue.send_next()
        self._offer_plan()
        if not self.activity.busy:
            waited = time.monotonic() - self._work_began
            self.alert(f"{self.root.name}: laguna is done", after_s=waited)

    def _offer_plan(self) -> None:
        """Show the plan that waits for a decision, unless a queued message goes on first."""
        if not self.activity.busy:
            self.review.offer()

    def on_plan_card_decided(self, message: PlanCard.Decided) -> None:
        self.review.decide(message.choice)

    def on_approval_asked(self, message: messages.ApprovalAsked) -> None:
        self.activity.await_approval()
        self.completion.close()
        self._composer_row.display = False
        self.approval.open(message.request, message.future)
        self._fit_side_panel(self.size)
        self._update_title()
        self.alert(f"{self.root.name}: laguna asks for your approval")

    def on_trust_needed(self, message: messages.TrustNeeded) -> None:
        self._run_reporting_errors(self._ask_trust(message.content, changed=message.changed))

    async def _ask_trust(self, content: Content, *, changed: bool) -> None:
        """Ask whether laguna may read the repository's own settings and instructions."""
        from laguna_agent.policy import trust

        if await self.push_screen_wait(trust_question(content, changed=changed)) != "trust":
            self.transcript_model.add_notice(
                "the repository's own settings and instructions are not read"
            )
            return
        await asyncio.to_thread(trust.trust, self.root, content.digest)
        self.activity.begin("reading the repository's settings")
        self.agent.restart()

    def on_shell_output(self, message: messages.ShellOutput) -> None:
        self.transcript_model.add_shell_output(message.key, message.text, message.unfinished)
        self.agent.shell_output_shown()

    def on_shell_ended(self, message: messages.ShellEnded) -> None:
        ended = self.transcript_model.end_shell_command(
            message.key, message.exit_code, drew_screen=message.drew_screen
        )
        if ended is not None:
            self.queue.add_shell_output(ended)
        self._refresh_jobs()

    def on_terminal_needed(self, message: messages.TerminalNeeded) -> None:
        shell = message.shell
        try:
            run_suspended(self, shell.attach)
        except (OSError, LagunaError) as error:
            self.transcript_model.add_notice(f"`{shell.command}` reads keys, and {error}", "error")
            self.agent.cancel()
        finally:
            shell.detach()

    # --- the welcome -----------------------------------------------------------------------

    async def _suggest(self) -> None:
        """Suggest first messages that fit the repository."""
        from laguna_agent.interfaces.tui.suggestions import suggestions

        self.welcome.suggest(await asyncio.to_thread(suggestions, self.root, self.cwd))

    async def _measure(self, session: Session) -> None:
        """Show how fast the session's model is."""
        from laguna_agent.agent.model_speed import measured_speed

        speed = await asyncio.to_thread(measured_speed, session.info, self.root)
        if session is self.agent.session:
            self.welcome.show_speed(speed)

    def _show_mode(self, status: Status) -> None:
        mode = "plan" if status.plan else status.mode
        self.welcome.show_mode(mode, pickers.MODES.get(mode, ""))

    def _completion_key(self, key: str) -> bool:
        """Handle a key of the composer for the completion, or take the next suggestion by Tab."""
        if self.completion.handle_key(key):
            return True
        suggestion = self.welcome.next_suggestion(self.composer.text) if key == "tab" else None
        if suggestion is not None:
            self.composer.put(suggestion)
        return suggestion is not None

    # --- messages of the widgets -----------------------------------------------------------

    def on_composer_sent(self, message: Composer.Sent) -> None:
        if message.prompt.is_empty:
            if self.agent.shell_command is not None:
                self.agent.shell_command.want_terminal()
            else:
                self.queue.release()
            return
        self.transcript.go_to_end()
        if self.approval.is_open:
            self._return_to_approval()
        if not self.review.take_edited(message.prompt.expanded):
            self.send(message.prompt, message.delivery)

    def send(self, prompt: Prompt | str, delivery: Delivery = "queue") -> None:
        """Run a slash command, remember a line (`#`), or send a message or a command (`!`)."""
        prompt = Prompt(prompt) if isinstance(prompt, str) else prompt
        text = prompt.expanded.strip()
        if self.slash_commands.waits_its_turn(text) and self.queue.must_wait:
            self.queue.send(prompt, delivery)
        elif self.slash_commands.run(text):
            return
        elif text.startswith("#") and text[1:].strip() and not text.startswith("##"):
            self.slash_commands.remember(text[1:].strip())
        else:
            self.queue.send(prompt, delivery)

    def on_composer_word_changed(self, message: Composer.WordChanged) -> None:
        if self.is_running and self._composer_row.display:  # it gives way to an approval
            self.completion.complete(message.word)

    def on_text_area_changed(self) -> None:
        self._save_draft_soon()

    def on_queued_messages_changed(self) -> None:
        self._save_draft_soon()
        if self.queued_messages.has_focus and not self.queue.prompts:
            self.composer.focus()

    def on_queued_messages_key_pressed(self, message: QueuedMessages.KeyPressed) -> None:
        if problem := self.queue.handle_key(message.key):
            self.status.flash(problem)

    def on_activity_line_begun(self) -> None:
        self._work_began = time.monotonic()
        self._fit_inline_plan()
        self._update_title()

    def on_activity_line_ended(self) -> None:
        self.status.refresh_branch()
        self._fit_inline_plan()
        self._update_title()

    def on_transcript_earlier_needed(self) -> None:
        self.history_loader.load_earlier()

    def on_transcript_key_pressed(self, message: Transcript.KeyPressed) -> None:
        transcript, entry = self.transcript, self.transcript.selected
        match message.key:
            case "up" | "k":
                transcript.select((transcript.cursor or 0) - 1)
            case "down" | "j":
                transcript.select((transcript.cursor or 0) + 1)
            case "enter" | "space":
                transcript.toggle(entry)
            case "c" if entry is not None:
                self.system_clipboard.copy(entry.text)
            case "x" if entry is not None:
                self.system_clipboard.copy_code(entry)
            case "n" | "N":
                self.search.next_match(backward=message.key == "n")
            case "home" | "g":
                transcript.select(0)
            case "end" | "G":
                transcript.go_to_end()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        if event.input is self.search_line:
            self.search.search(event.value)

    @property
    def _composer_row(self) -> Widget:
        return self.screen_stack[0].query_one("#composer-row")

    def _write_over_approval(self, event: events.Key | events.Paste) -> None:
        """Write a message below an approval, which stays open: what is typed is no answer."""
        self._composer_row.display = True
        self.composer.focus()
        self.composer.post_message(
            events.Paste(event.text)
            if isinstance(event, events.Paste)
            else events.Key(event.key, event.character)
        )
        self.approval.draw()

    def _return_to_approval(self) -> None:
        """Hide the composer and return to the open approval."""
        self.completion.close()
        self._composer_row.display = False
        self.approval.resume()
        self.approval.draw()

    def pop_screen(self) -> AwaitComplete:
        popped = super().pop_screen()
        if len(self.screen_stack) == 1 and self.approval.is_open:
            self.approval.choices.wait_for_quiet()  # what was typed into a dialog does not answer
        return popped

    def _approval_closed(self) -> None:
        """Focus the composer at once: the next key may already be on its way."""
        self._composer_row.display = True
        self._fit_side_panel(self.size)
        self.screen_stack[0].set_focus(self.composer)
        self.activity.report("working")
        self._update_title()

    def _entry_added(self, entry: Entry) -> None:
        self.transcript.add(entry)
        if self.welcome.display and entry.kind != "notice":
            self.welcome.display = False

    def _entry_changed(self, entry: Entry) -> None:
        self.transcript.change(entry)
        if entry.kind == "tool" and entry.diff and entry.state == "ok":
            self.side_panel.changed_files.add(entry)
            self.side_panel.draw()

    def _update_title(self) -> None:
        state = "needs you" if self.approval.is_open else "working" if self.activity.busy else ""
        self.show_title(f"{self.root.name} · {state or 'laguna'}")

    def _fill_composer(self, text: str) -> None:
        self.composer.put(f"{text} ")
        self.composer.focus()

    # --- what is shown ---------------------------------------------------------------------

    def show_session(self, session: Session) -> None:
        """Show a session as it is stored, with the plan that waits for a decision."""
        self.history_loader.show(session)
        self.inline_plan.show(self.side_panel.plan)
        self.status.change(check=session.settings.check or "", check_passed=None)
        self.welcome.display = not self.transcript.entries
        if self.welcome.display:
            in_background(self.welcome, "speed", self._measure, session)
        self._refresh_context()
        self._refresh_jobs()
        self.status.change(plan=session.gate.plan)
        self.review.close()
        self.review.offer()

    def _refresh_context(self) -> None:
        """Show how full the context is; of a resumed session that no turn has begun, as it was."""
        session = self.agent.session
        if session is None:
            return
        used, limit = session.conversation.used, session.conversation.limit
        used = used or session.conversation_state.tokens
        self.status.change(used=used, limit=limit)
        if (used, limit) != (self.side_panel.used, self.side_panel.limit):
            self.side_panel.used, self.side_panel.limit = used, limit
            self.side_panel.draw()

    def _refresh_jobs(self) -> None:
        """Show how many commands run in the background; look again while there are some."""
        if self.agent.session is not None:
            in_background(self, "jobs", self._count_jobs)

    async def _count_jobs(self) -> None:
        jobs = await self.agent.background_jobs()
        self.status.change(jobs=jobs)
        if jobs and self._jobs_timer is None:
            self._jobs_timer = self.set_interval(_JOBS_S, self._refresh_jobs)
        elif not jobs and self._jobs_timer is not None:
            self._jobs_timer.stop()
            self._jobs_timer = None

    def _save_draft_soon(self) -> None:
        if not self._draft_due:
            self._draft_due = True
            self.set_timer(_DRAFT_DELAY_S, self.save_draft)

    def save_draft(self) -> None:
        """Save what is typed and what is queued, for the next start."""
        self._draft_due = False
        if self._draft_loaded:
            self.prompt_history.save_draft(self.composer.prompt, self.queue.prompts)

    def _run_reporting_errors(self, work: Coroutine[Any, Any, None]) -> None:
        self.run_worker(run_reporting_errors(work, self.transcript_model.add_notice))

    # --- actions: what the keys of `reference.KEYS` do ------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if len(self.screen_stack) > 1 and action in reference.ACTIONS:
            return action in _ACTIONS_OVER_DIALOGS
        return True

    def action_copy_code(self) -> None:
        """Copy a code block of the last answer."""
        self.system_clipboard.choose_code(self.transcript_model.last_answer)

    def action_escape(self) -> None:
        """Close what is open, deny what is asked, or stop what runs; the first that applies."""
        if self.completion_list.display:
            self.completion.close()
        elif self.search.is_open:
            self.search.close()
        elif self.approval.is_open and self.composer.has_focus:
            self._return_to_approval()
        elif self.approval.is_open:
            self.approval.refuse()
        elif self.review.cancel():
            pass
        elif self.transcript.has_focus:
            self.composer.focus()
            self.transcript.go_to_end()
        elif self.queued_messages.has_focus:
            self.composer.focus()
        elif self.activity.busy:
            self._stop()

    def _stop(self) -> None:
        if self.models.stop_transfer():
            return
        loading = self.agent.session is None
        self.agent.cancel()
        self.queue.hold()
        self.activity.report("stopping")
        if loading:
            self.transcript_model.add_notice(
                "loading was stopped; send a message to load the model again", "warning"
            )

    def action_interrupt(self) -> None:
        """Copy the selection, deny, clear the input, stop, or exit; the first that applies."""
        if selected := self.composer.expanded_selection or self.screen.get_selected_text():
            self.system_clipboard.copy(selected)
        elif self.approval.is_open and not self.composer.has_focus:
            self.approval.refuse()
        elif self.composer.text:
            self.prompt_history.add(self.composer.prompt)
            self.composer.put("")
        elif self.activity.busy and self.agent.session is not None:
            self._stop()
        elif self.status.flashed == _EXIT_HINT:
            self.leave()
        else:
            self.status.flash(_EXIT_HINT, 2.0)

    def action_leave(self) -> None:
        """Exit if nothing is typed, else delete the character after the cursor."""
        if self.composer.text:
            self.composer.action_delete_right()
        else:
            self.leave()

    def action_suspend_laguna(self) -> None:
        """Suspend the interface, so that the shell has the terminal."""
        if not self.suspend_to_shell():
            self.status.flash("no shell started laguna, so there is none to go back to")

    def leave(self) -> None:
        """End the interface."""
        self.save_draft()
        self.exit(0)

    @property
    def exit_message(self) -> str:
        """The command that resumes the conversation; empty when nothing was said in it."""
        if (name := self.agent.resumable) is None:
            return ""
        elsewhere = repository_root(Path.cwd()) != self.root
        directory = f"-C {shlex.quote(str(self.cwd))} " if elsewhere else ""
        return f"Resume with: laguna {directory}--resume {name}"

    def action_search(self) -> None:
        """Open the search line."""
        self.search.open()

    def action_show_waiting(self) -> None:
        """Go to the messages that wait, the last one first, or move the selected one up."""
        if self.queued_messages.has_focus:
            self.queue.handle_key("alt+up")
        else:
            self.queued_messages.focus_last()

    def action_external_editor(self) -> None:
        """Edit the composer's text in the user's editor."""
        settings = self.agent.settings
        configured = settings.config.tui.editor if settings is not None else None
        try:
            edited = edit_externally(self, self.composer.prompt.expanded, configured)
            self.composer.put_edited(edited)
        except LagunaError as error:
            self.transcript_model.add_notice(str(error), "error")
        self.refresh(layout=True)

    def action_next_mode(self) -> None:
        """Switch to the next mode."""
        self.slash_commands.next_mode()

    def action_help(self) -> None:
        """Show the help."""
        self.slash_commands.run("/help")
