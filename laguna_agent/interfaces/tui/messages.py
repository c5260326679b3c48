"""What the agent's thread tells the interface."""

from __future__ import annotations

from concurrent.futures import Future
from typing import TYPE_CHECKING

from textual.message import Message

if TYPE_CHECKING:
    from laguna_agent.agent.approval import Approval
    from laguna_agent.agent.session import Session
    from laguna_agent.events import ApprovalRequested, Event


class AgentMessage(Message):
    """Base of the messages that come from the agent's thread; they go to the app alone."""

    bubble = False


class SessionEvent(AgentMessage):
    """An event of the session."""

    def __init__(self, event: Event) -> None:
        super().__init__()
        self.event = event


class SessionOpened(AgentMessage):
    """A session is ready. `page` is the end of its transcript, for one that goes on."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session


class SessionFailed(AgentMessage):
    """Settings could not be made or a session could not be opened."""

    def __init__(self, error: Exception, *, fatal: bool) -> None:
        super().__init__()
        self.error = error
        self.fatal = fatal


class WorkEnded(AgentMessage):
    """Nothing of a turn runs any more."""


class ApprovalAsked(AgentMessage):
    """A person must answer; the answer goes into `future`."""

    def __init__(self, request: ApprovalRequested, future: Future[Approval]) -> None:
        super().__init__()
        self.request = request
        self.future = future


class TrustNeeded(AgentMessage):
    """The repository brings settings or instructions along that nobody trusted yet."""

    def __init__(self, files: tuple[str, ...], digest: str, *, changed: bool) -> None:
        super().__init__()
        self.files = files
        self.digest = digest
        self.changed = changed


class ShellOutput(AgentMessage):
    """Output of a command that the person ran; `exit_code` once it ended."""

    def __init__(self, key: str, text: str, exit_code: int | None = None) -> None:
        super().__init__()
        self.key = key
        self.text = text
        self.exit_code = exit_code
