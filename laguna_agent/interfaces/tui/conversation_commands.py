"""The slash commands that start, continue, change or export a conversation."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from laguna_agent.atomic_write import atomic_stream
from laguna_agent.errors import LagunaError
from laguna_agent.interfaces.tui.screens import pickers, undo_dialogs
from laguna_agent.interfaces.tui.screens.dialogs import Question
from laguna_agent.policy.sanitize import visible

if TYPE_CHECKING:
    from textual.app import App

    from laguna_agent.agent.session import Session
    from laguna_agent.interfaces.tui.agent_thread import AgentThread
    from laguna_agent.interfaces.tui.transcript.transcript_model import TranscriptModel
    from laguna_agent.interfaces.tui.widgets.activity_line import ActivityLine
    from laguna_agent.interfaces.tui.widgets.composer import Composer
    from laguna_agent.interfaces.tui.widgets.side_panel import SidePanel

_TITLE_CHARS = 120


class ConversationCommands:
    """Runs these commands. Except for `reopen`, they need an open session."""

    def __init__(
        self,
        app: App[Any],
        agent: AgentThread,
        transcript_model: TranscriptModel,
        activity: ActivityLine,
        composer: Composer,
        side_panel: SidePanel,
        *,
        show_session: Callable[[Session], None],
        root: Path,
        cwd: Path,
    ) -> None:
        self._app = app
        self._agent = agent
        self._transcript_model = transcript_model
        self._activity = activity
        self._composer = composer
        self._side_panel = side_panel
        self._show_session = show_session
        self._root = root
        self._cwd = cwd

    @property
    def _session(self) -> Session:
        if self._agent.session is None:
            raise LagunaError("no conversation is open")
        return self._agent.session

    def reopen(self, activity: str, **changes: Any) -> None:
        """Open a new session, or with `changes` to the settings this or another one."""
        self._activity.begin(activity)
        self._agent.reopen(**{"resume": None, "fork": None, "continue_last": False, **changes})

    def compact(self, guidance: str) -> None:
        """Summarise the conversation; `guidance` says what to keep."""
        if not self._session.conversation_state.user_messages:
            self._transcript_model.add_notice("nothing to summarise yet", "warning")
            return
        self._activity.begin("summarising")
        self._agent.compact(guidance)

    def fork(self) -> None:
        """Continue in a copy of the conversation."""
        if not self._session.conversation_state.user_messages:
            self._transcript_model.add_notice("nothing to copy yet", "warning")
            return
        self.reopen("copying the conversation", fork=self._session.trajectory.id)

    async def resume(self) -> None:
        """Let the user pick a conversation to resume."""
        chosen = await pickers.choose_session(
            self._app, self._transcript_model.add_notice, self._root, self._session.trajectory.id
        )
        if chosen:
            self.reopen("opening the conversation", resume=chosen)

    async def rewind(self) -> None:
        """Go back to before a message, which returns to the composer."""
        choice = await undo_dialogs.choose_rewind(
            self._app, self._transcript_model.add_notice, self._session
        )
        if choice is None:
            return
        restored = await self._agent.run(lambda s: s.rewind(choice.seq, code=choice.files))
        self._show_session(self._session)
        if choice.text:
            self._composer.put(choice.text)
        files = f"; took back the changes in {', '.join(restored)}; /redo makes them again"
        text = "rewound to before this message" + (files if restored else "")
        self._transcript_model.add_notice(text)

    async def undo(self, *, redo: bool = False) -> None:
        """Take back what turns of this conversation changed in files, after showing it; or make
        again what undos took back."""
        turns = await undo_dialogs.choose_undo(self._app, self._session, redo=redo)
        if turns is None:
            return
        taken = await self._agent.run(lambda s: s.undo(turns=turns, redo=redo))
        changed_files = self._side_panel.changed_files
        (changed_files.redo if redo else changed_files.undo)(taken.done)
        self._side_panel.draw()
        names = ", ".join(item.path for item in taken.done)
        if names:
            redone = f"made the changes in {names} again; /undo takes them back"
            undone = f"took back the changes in {names}; /redo makes them again"
            self._transcript_model.add_notice(redone if redo else undone)
        elif not taken.left:
            self._transcript_model.add_notice("the files are already as they should be")
        for name, reason in taken.left.items():
            self._transcript_model.add_notice(f"{name} stays as it is: {reason}", "warning")

    async def rename(self, title: str | None) -> None:
        """Give the conversation a title; ask for it if it is empty."""
        trajectory = self._session.trajectory
        if not title:
            question = Question("Title of this conversation", value=trajectory.meta.title)
            title = await self._app.push_screen_wait(question)
        if title:
            trajectory.meta.title = title.strip()[:_TITLE_CHARS]
            await asyncio.to_thread(trajectory.sync)
            self._transcript_model.add_notice(f"renamed this conversation: {title}")

    async def export(self, name: str | None) -> None:
        """Write the conversation to a file; ask for its name if it is empty."""
        trajectory = self._session.trajectory
        if not name:
            question = Question("Export to (.md, .html or .json)", value=f"{trajectory.id}.md")
            name = await self._app.push_screen_wait(question)
        if not name:
            return
        path = self._cwd / os.path.expanduser(name)
        if path.exists():
            choices = {"replace": "replace it", "keep": "keep it"}
            question = Question("This file exists", Text(visible(str(path))),
                                choices=choices, risky="replace")  # fmt: skip
            if await self._app.push_screen_wait(question) != "replace":
                return
        await asyncio.to_thread(_export, trajectory.directory, path)
        inside = path.is_relative_to(self._cwd)
        self._transcript_model.add_notice(
            f"exported to {path.relative_to(self._cwd) if inside else path}"
        )


def _export(directory: Path, path: Path) -> None:
    """Write a stored session in the format that the file's extension names."""
    from laguna_agent.trajectory.atif import write_atif
    from laguna_agent.trajectory.document import write_html, write_markdown
    from laguna_agent.trajectory.store import Trajectory

    trajectory = Trajectory.open(directory, for_append=False)
    try:
        with atomic_stream(path) as out:
            if path.suffix.lower() in (".html", ".htm"):
                write_html(trajectory.events(), trajectory.meta, out)
            elif path.suffix.lower() == ".json":
                write_atif(trajectory, out, session=trajectory.id)
            else:
                write_markdown(trajectory.events(), trajectory.meta, out)
    except OSError as error:
        raise LagunaError(f"cannot write {path}: {error.strerror}") from error
