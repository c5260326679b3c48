"""The user's messages on their way to the model: sent now, steered into the turn, or queued."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from laguna_agent.errors import LagunaError

if TYPE_CHECKING:
    from laguna_agent.events import Event, UserMessage
    from laguna_agent.interfaces.tui.agent_thread import AgentThread
    from laguna_agent.interfaces.tui.transcript.transcript_model import Entry, TranscriptModel
    from laguna_agent.interfaces.tui.widgets.activity_line import ActivityLine
    from laguna_agent.interfaces.tui.widgets.composer import Composer
    from laguna_agent.interfaces.tui.widgets.queued_messages import Delivery, QueuedMessages

_SHELL_CHARS = 4_000


@dataclass
class _QueuedMessage:
    delivery: Delivery
    text: str
    steering: UserMessage | None = None
    """The session's own copy of a steering message, until it is used."""


class MessageQueue:
    """Sends a message if the agent is idle, else queues it; queued ones can be taken back."""

    def __init__(
        self,
        agent: AgentThread,
        transcript_model: TranscriptModel,
        composer: Composer,
        activity: ActivityLine,
        view: QueuedMessages,
    ) -> None:
        self._agent = agent
        self._transcript_model = transcript_model
        self._composer = composer
        self._activity = activity
        self._view = view
        self._queued: list[_QueuedMessage] = []
        self._shell_outputs: list[str] = []
        """Of the user's commands since the last message, for the model."""
        self._sent: tuple[str, list[str]] = "", []
        """The last message sent, and the command outputs sent with it."""
        self._numbers = itertools.count(1)

    @property
    def texts(self) -> list[str]:
        """The queued messages, in order."""
        return [item.text for item in self._queued]

    def send(self, text: str, delivery: Delivery) -> None:
        """Send a message or a shell command (`!`), now or when it can be used."""
        session = self._agent.session
        if not self._activity.busy and session is not None:
            self._start(text)
            return
        item = _QueuedMessage("queue", text)
        if delivery == "steer" and session is not None and session.busy and text[0] != "!":
            try:
                item.steering = session.steer(text)
            except LagunaError as error:
                self._transcript_model.add_notice(str(error), "error")
                self._composer.put(text)
                return
            item.delivery = "steer"
        self._queued.append(item)
        self._show()
        if session is None and not self._activity.busy:  # loading was stopped, or failed
            self._activity.begin("loading the model")
            self._agent.reopen()

    def send_next(self) -> None:
        """Send the next queued message: the agent is idle."""
        if self._transcript_model.remove_pending_message():
            text, outputs = self._sent
            self._composer.put_back(text)
            self._shell_outputs[:0] = outputs
        session = self._agent.session
        if session is None:
            return
        for item in self._queued:  # what came too late to steer becomes the next message
            if item.steering is not None:
                session.withdraw(item.steering)
            item.delivery, item.steering = "queue", None
        if self._queued and not self._activity.busy:
            self._start(self._queued.pop(0).text)
        self._show()

    def drop_used(self, event: Event) -> None:
        """Remove the steering message that the session has used."""
        if event.type == "user_message" and event.origin == "steer":
            for item in self._queued:
                if item.delivery == "steer" and item.text == event.text:
                    self._queued.remove(item)
                    break
            self._show()

    def take_back(self) -> str | None:
        """Remove the last message that is not used yet and return its text."""
        while self._queued:
            item = self._queued.pop()
            self._show()
            session = self._agent.session
            if item.steering is None or session is None or session.withdraw(item.steering):
                return item.text
        return None

    def take_back_all(self) -> str:
        """Remove all messages that are not used yet and return their texts."""
        texts: list[str] = []
        while (text := self.take_back()) is not None:
            texts.insert(0, text)
        return "\n".join(texts)

    def add_shell_output(self, entry: Entry) -> None:
        """Send the output of the user's command to the model with the next message."""
        output = entry.body if len(entry.body) <= _SHELL_CHARS else "…" + entry.body[-_SHELL_CHARS:]
        self._shell_outputs.append(
            f"I ran `{entry.title}` ({entry.summary or 'exit 0'}):\n{output}"
        )

    def _start(self, text: str) -> None:
        if text.startswith("!") and text[1:].strip():
            command = text[1:].strip()
            key = f"shell-{next(self._numbers)}"
            self._transcript_model.start_shell_command(key, command)
            self._activity.begin(f"running {command}")
            self._agent.shell(key, command)
            return
        self._sent = text, list(self._shell_outputs)
        if self._shell_outputs:
            # The typed text comes first: it calls skills, and names the conversation.
            text = "\n\n".join([text, *self._shell_outputs])
            self._shell_outputs.clear()
        self._transcript_model.add_pending_message(text)
        self._activity.begin("working")
        self._agent.turn(text)

    def _show(self) -> None:
        self._view.show([(item.delivery, item.text) for item in self._queued])
