"""What keys do: the actions that the table in `keys` names."""

from __future__ import annotations

import asyncio
import os
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

from rich.text import Text
from textual.widgets import Input

from laguna_agent.interfaces.tui.screens.dialogs import Choice, Picker
from laguna_agent.interfaces.tui.system.background import in_background
from laguna_agent.interfaces.tui.system.clipboard import system_copy
from laguna_agent.interfaces.tui.transcript.rendering import code_blocks
from laguna_agent.interfaces.tui.transcript.transcript_model import Entry
from laguna_agent.policy.sanitize import visible

if TYPE_CHECKING:
    from textual.app import App

    from laguna_agent.interfaces.tui.app import LagunaApp
    from laguna_agent.interfaces.tui.mentions.mention_source import Found

    _Base = App[int]
else:
    _Base = object

_IN_DIALOGS = {"redraw", "toggle_mouse"}


class Actions(_Base):
    """Mixed into the app."""

    _code_at = 0
    _tab_for = ""
    """A word whose completion was taken before it was found."""

    @property
    def _laguna(self) -> LagunaApp:
        """The app that this is mixed into."""
        return cast("LagunaApp", self)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys of the app rest while a dialog is open."""
        app = self._laguna
        if len(app.screen_stack) > 1 and hasattr(Actions, f"action_{action}"):
            return action in _IN_DIALOGS
        return True

    # --- leaving and stopping --------------------------------------------------------------

    def action_escape(self) -> None:
        """Close what is open, say no, or stop what goes on; the nearest first."""
        app = self._laguna
        search = app.query_one("#search-line", Input)
        if app.completion_list.display:
            app.workers.cancel_group(app, "completion")
            app.completion_list.offer("", [])
        elif search.has_class("shown"):
            self._end_search()
        elif app.approval.asking:
            app.approval.answer("no")
        elif app.transcript.has_focus:
            app.composer.focus()
            app.transcript.go_to_end()
        elif app.busy:
            self._stop()

    def _stop(self) -> None:
        app = self._laguna
        if app.stop_download is not None:
            app.stop_download()
            return
        loading = app.agent.session is None
        app.agent.cancel()
        if waiting := app.queue.drop():
            app.composer.put_back(waiting)
        app.activity.say("stopping")
        if loading:
            app.transcript_model.note("loading was stopped; enter sends and loads again", "warning")

    def action_interrupt(self) -> None:
        """Copy a selection, else clear what is typed, else stop, else leave."""
        app = self._laguna
        if selected := app.composer.selected_text or app.screen.get_selected_text():
            self.copy(selected)
        elif app.approval.asking:
            app.approval.answer("no")
        elif app.composer.text:
            app.prompt_history.add(app.composer.text)
            app.composer.put("")
        elif app.busy and app.agent.session is not None:
            self._stop()
        elif app.status.flash.startswith("ctrl+c again"):
            self.leave()
        else:
            app.status.say("ctrl+c again leaves", 2.0)

    def action_leave(self) -> None:
        """Leave when nothing is typed; else what the key does in text."""
        app = self._laguna
        if app.composer.text:
            app.composer.action_delete_right()
        else:
            self.leave()

    def leave(self) -> None:
        """End the interface."""
        app = self._laguna
        session = app.agent.session
        if session is not None and session.record.state.user_messages:
            app.exit_message = f"Go on with: laguna --resume {session.trajectory.id}"
        app.save_draft()
        app.exit(0)

    # --- the transcript --------------------------------------------------------------------

    def action_page(self, step: int) -> None:
        """Scroll by a page."""
        app = self._laguna
        height = max(1, app.transcript.size.height - 2)
        app.transcript.scroll_relative(y=step * height, animate=False)

    def action_choose(self, step: int) -> None:
        """Choose the message above or below."""
        app = self._laguna
        transcript = app.transcript
        if not transcript.has_focus:
            transcript.focus()
            return
        transcript.choose((transcript.cursor or 0) + step)

    def action_to_end(self) -> None:
        """To the end of the transcript."""
        app = self._laguna
        app.transcript.go_to_end()
        app.composer.focus()

    def action_toggle_last(self, kind: str) -> None:
        """Open or close the last entry of a kind, or the chosen one."""
        app = self._laguna
        last = next((e for e in reversed(app.transcript.entries) if e.kind == kind), None)
        app.transcript.toggle(app.transcript.at_cursor or last)

    def action_search(self) -> None:
        """Open the search line."""
        app = self._laguna
        line = app.query_one("#search-line", Input)
        line.add_class("shown")
        line.value = ""
        line.focus()

    def search_for(self, text: str) -> None:
        """Go to the last message of the whole conversation that holds `text`; n and N go on."""
        app = self._laguna
        self._end_search()
        app.transcript.focus()
        app.transcript.cursor = None
        self._search_on(text)

    def _search_on(self, text: str, *, backward: bool = True) -> None:
        """Choose the next match; earlier parts of the conversation come from its record."""
        app = self._laguna
        if not text or app.transcript.find(text, backward=backward):
            return
        if backward and app.transcript.more_before:
            app.status.say("searching the whole conversation…", 30)
            in_background(app, "search", self._search_record, text)
        else:
            app.status.say(f"no {'earlier' if backward else 'later'} match: {text}")

    async def _search_record(self, text: str) -> None:
        app = self._laguna
        before = app.transcript.cursor
        if before is None:
            app.transcript.cursor = 0
        found = await app.history_loader.find_earlier(text)
        app.status.flash = ""
        if not found:
            app.transcript.cursor = before
        if not found or not app.transcript.find(text):
            app.status.say(f"no earlier match: {text}")

    def _end_search(self) -> None:
        app = self._laguna
        app.query_one("#search-line", Input).remove_class("shown")
        app.composer.focus()

    def transcript_key(self, key: str) -> bool:
        """A key pressed in the transcript; returns whether it meant something."""
        app = self._laguna
        transcript, entry = app.transcript, app.transcript.at_cursor
        if key in ("up", "k", "down", "j"):
            transcript.choose((transcript.cursor or 0) + (1 if key in ("down", "j") else -1))
        elif key in ("enter", "space"):
            transcript.toggle(entry)
        elif key == "c" and entry is not None:
            self.copy(entry.text)
        elif key == "x" and entry is not None:
            self.copy_code(entry)
        elif key in ("n", "N"):
            self._search_on(transcript.query_text, backward=key == "n")
        elif key in ("home", "g"):
            transcript.choose(0)
        elif key in ("end", "G"):
            transcript.go_to_end()
        else:
            return False
        return True

    # --- copying ---------------------------------------------------------------------------

    def copy(self, text: str) -> None:
        """Copy to the clipboard, and say so."""
        app = self._laguna
        app.copy_to_clipboard(text)
        in_background(app, "copy", asyncio.to_thread, system_copy, text)
        lines = text.count("\n") + 1
        app.status.say(f"copied {lines} lines" if lines > 1 else "copied")

    def copy_code(self, entry: Entry) -> None:
        """Copy the next code block of a message, or its diff or output."""
        app = self._laguna
        blocks = code_blocks(entry.body) if entry.kind == "answer" else [entry.diff or entry.body]
        if not blocks:
            app.status.say("no code in it")
            return
        self.copy(blocks[self._code_at % len(blocks)])
        self._code_at += 1

    # --- typing ----------------------------------------------------------------------------

    def action_take_back(self) -> None:
        """Edit the last message that waits."""
        app = self._laguna
        if (text := app.queue.take_back()) is not None:
            app.composer.put_back(text)
            app.composer.focus()

    def action_search_history(self) -> None:
        """Choose from the prompts of the past."""
        app = self._laguna
        prompts = dict.fromkeys(reversed(app.prompt_history.prompts))
        choices = [
            Choice(p, Text(visible(p, single_line=True), no_wrap=True, overflow="ellipsis"))
            for p in prompts
        ]
        app.push_screen(
            Picker("Earlier prompts", choices[:500], preview=lambda p: Text(visible(p))),
            lambda chosen: app.composer.put(chosen) if chosen else None,
        )

    def action_external_editor(self) -> None:
        """Write in the person's editor."""
        app = self._laguna
        settings = app.agent.settings
        configured = settings.config.tui.editor if settings is not None else None
        editor = configured or os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
        with tempfile.TemporaryDirectory(prefix="laguna-") as folder:
            path = Path(folder, "prompt.md")
            path.write_text(app.composer.expanded, encoding="utf-8")
            failed: Exception | None = None
            with app.suspend():
                try:  # here: suspend does not take the terminal again when something is raised
                    done = subprocess.run([*shlex.split(editor), str(path)], check=False)
                    if done.returncode != 0:
                        failed = ValueError(f"exit {done.returncode}")
                except (OSError, ValueError) as error:
                    failed = error
            if failed is not None:
                app.transcript_model.note(f"the editor `{editor}` did not work: {failed}", "error")
            else:
                app.composer.put(path.read_text(encoding="utf-8", errors="replace").rstrip())
        app.refresh(layout=True)

    def complete(self, word: str) -> None:
        """Offer completions of the word that is being typed, those of no other one any more."""
        app = self._laguna
        app.workers.cancel_group(app, "completion")
        self._tab_for = word if word == self._tab_for else ""
        if word.startswith("@"):
            in_background(app, "completion", self._complete_name, word)
        else:
            app.completion_list.offer(word, app.slash_commands.matching(word) if word else [])

    async def _complete_name(self, word: str) -> None:
        completion = self._laguna.completion_list

        def offer(found: Found) -> None:
            choices = [("@" + hit.name, hit.about) for hit in found.hits]
            completion.offer(word, choices, found.note)
            if self._tab_for == word and found.hits:
                self.completion_key("tab")

        await self._laguna.mentions.search(word[1:], offer)

    def completion_key(self, key: str) -> bool:
        """A key for the open completion; False when none is open."""
        app = self._laguna
        completion = app.completion_list
        now = app.composer.word_now()
        found = completion.word == now and (completion.is_open or not completion.display)
        if key == "tab" and now.startswith("@") and not found:
            self._tab_for = now
            self.complete(now)
            return True
        if not completion.is_open:
            return False
        if key in ("up", "down") and now.startswith("@"):
            completion.move(1 if key == "down" else -1)
            return True
        if completion.word != now:  # typed faster than it was looked up
            choices = app.slash_commands.matching(now) if now.startswith("/") else []
            completion.offer(now, choices)
            if not choices:
                return False
        if key in ("up", "down"):
            completion.move(1 if key == "down" else -1)
            return True
        if key == "enter" and completion.word == completion.chosen:
            completion.offer("", [])
            return False  # it is complete already: Enter sends
        word, chosen = completion.word, completion.chosen
        completion.offer("", [])
        end = "" if chosen.endswith("/") and chosen.startswith("@") else " "
        app.composer.complete(word, chosen + end)
        if key == "enter" and chosen.startswith("/") and app.slash_commands.takes_nothing(chosen):
            app.composer.send("steer")
        return True

    # --- the rest --------------------------------------------------------------------------

    def action_next_mode(self) -> None:
        """The next mode."""
        from laguna_agent.actions import Mode

        app = self._laguna
        modes: tuple[Any, ...] = get_args(Mode)[:3]  # allow-all takes more than a key: /mode
        now = app.status.status.mode
        app.slash_commands.set_mode(modes[(modes.index(now) + 1) % 3] if now in modes else modes[0])

    def action_toggle_panel(self) -> None:
        """Show or hide the side panel from now on."""
        app = self._laguna
        app.preferences.panel = not app.side_panel.has_class("shown")
        app.preferences.save()
        app.fit(app.size)
        if app.preferences.panel and not app.side_panel.has_class("shown"):
            app.status.say("no room for the side panel")

    def action_toggle_mouse(self) -> None:
        """Give the mouse to the terminal, for its own selection, or take it back."""
        app = self._laguna
        app.owns_mouse = not app.owns_mouse
        driver: Any = app._driver
        name = "_enable_mouse_support" if app.owns_mouse else "_disable_mouse_support"
        switch = getattr(driver, name, None)  # only drivers of real terminals have it
        if switch is not None:
            driver._mouse = True  # or it would not switch
            switch()
            driver._mouse = app.owns_mouse  # for when the terminal is taken again
        app.preferences.mouse = app.owns_mouse
        app.preferences.save()
        app.set_status(mouse=app.owns_mouse)
        app.status.say("mouse: laguna" if app.owns_mouse else "mouse: your terminal selects")

    def action_redraw(self) -> None:
        """Draw everything again."""
        app = self._laguna
        app.refresh(layout=True, repaint=True)
        app.screen.refresh(layout=True)

    def action_scroll_asked(self, lines: int) -> None:
        """Scroll what an approval shows."""
        app = self._laguna
        if app.approval.asking:
            app.approval.scroll_asked(lines)

    def action_help(self) -> None:
        """Show the help."""
        app = self._laguna
        app.slash_commands.run("/help")
