"""What was typed and is on its way to the model: said at once, steered in, or queued."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from laguna_agent.errors import LagunaError
from laguna_agent.interfaces.tui.transcript.transcript_model import Entry

if TYPE_CHECKING:
    from laguna_agent.events import Event, UserMessage
    from laguna_agent.interfaces.tui.app import LagunaApp

_SHELL_CHARS = 4_000


@dataclass
class _Item:
    how: Literal["steer", "queue"]
    text: str
    message: UserMessage | None = None
    """What the session holds of a steering message until it is used."""


class MessageQueue:
    """Sends now if it can, else keeps in order; what is kept can be taken back."""

    def __init__(self, app: LagunaApp) -> None:
        self._app = app
        self._items: list[_Item] = []
        self._shell: list[str] = []
        self._sent: tuple[str, list[str]] = "", []
        """What was said last, and the person's commands that went with it."""
        self._numbers = itertools.count(1)

    @property
    def waiting(self) -> list[str]:
        """What was sent and is not used yet, in order."""
        return [item.text for item in self._items]

    def send(self, text: str, how: Literal["steer", "queue"]) -> None:
        """Do what a person typed: a command, a shell command, something to remember, or a turn."""
        app = self._app
        if app.slash_commands.run(text):
            return
        if text.startswith("#") and text[1:].strip() and not text.startswith("##"):
            app.slash_commands.remember(text[1:].strip())
            return
        if not app.busy and app.agent.session is not None:
            self._start(text)
            return
        item = _Item(how if app.agent.session is not None else "queue", text)
        session = app.agent.session
        if item.how == "steer" and session is not None and session.busy and text[0] != "!":
            try:
                item.message = session.steer(text)
            except LagunaError as error:
                app.transcript_model.note(str(error), "error")
                app.composer.put(text)
                return
        else:
            item.how = "queue"
        self._items.append(item)
        self._show()
        if session is None and not app.busy:  # loading was stopped, or failed: try again
            app.begin("loading the model")
            app.agent.reopen()

    def next(self) -> None:
        """The turn has ended: go on with what waits."""
        if self._app.transcript_model.unsaid():
            said, shell = self._sent
            self._app.composer.put_back(said)
            self._shell[:0] = shell
        session = self._app.agent.session
        if session is None:
            return
        for item in self._items:  # what came too late to steer is said next
            if item.message is not None:
                session.withdraw(item.message)
            item.how, item.message = "queue", None
        if self._items and not self._app.busy:
            self._start(self._items.pop(0).text)
        self._show()

    def take(self, event: Event) -> None:
        """A steering message was used."""
        if event.type == "user_message" and event.origin == "steer":
            for item in self._items:
                if item.how == "steer" and item.text == event.text:
                    self._items.remove(item)
                    break
            self._show()

    def take_back(self) -> str | None:
        """The last message that is not used yet, to be edited."""
        while self._items:
            item = self._items.pop()
            self._show()
            session = self._app.agent.session
            if item.message is None or session is None or session.withdraw(item.message):
                return item.text
        return None

    def drop(self) -> str:
        """Take everything back, for when a turn was stopped: it is put where it can be edited."""
        texts: list[str] = []
        while (text := self.take_back()) is not None:
            texts.insert(0, text)
        return "\n".join(texts)

    def note_shell(self, entry: Entry) -> None:
        """The model is told of the person's commands with the next message."""
        output = entry.body if len(entry.body) <= _SHELL_CHARS else "…" + entry.body[-_SHELL_CHARS:]
        self._shell.append(f"I ran `{entry.title}` ({entry.summary or 'exit 0'}):\n{output}")

    def _start(self, text: str) -> None:
        app = self._app
        if text.startswith("!") and text[1:].strip():
            command = text[1:].strip()
            key = f"shell-{next(self._numbers)}"
            app.transcript_model.shell_started(key, command)
            app.begin(f"running {command}")
            app.agent.shell(key, command)
            return
        self._sent = text, list(self._shell)
        if self._shell:
            # The message begins with what was typed: by it it is found again, and a skill called.
            text = "\n\n".join([text, *self._shell])
            self._shell.clear()
        app.transcript_model.said(text)
        app.begin("working")
        app.agent.turn(text)

    def _show(self) -> None:
        self._app.queued_messages.show([(item.how, item.text) for item in self._items])
        self._app.draft_changed()
