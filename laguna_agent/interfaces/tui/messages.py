"""Messages that the agent thread posts to the app."""

from __future__ import annotations

from concurrent.futures import Future
from typing import TYPE_CHECKING

from textual.message import Message

if TYPE_CHECKING:
    from laguna_agent.agent.approval import Approval
    from laguna_agent.agent.session import Session
    from laguna_agent.events import ApprovalRequested, Event
    from laguna_agent.interfaces.tui.shell_command import ShellCommand
    from laguna_agent.policy.trust import Content


class AgentMessage(Message):
    """Base of the agent thread's messages; only the app handles them."""

    bubble = False


class SessionEvent(AgentMessage):
    """An event of the session."""

    def __init__(self, event: Event) -> None:
        super().__init__()
        self.event = event


class SessionOpened(AgentMessage):
    """A session is open."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session


class WorkFailed(AgentMessage):
    """Work of the agent thread raised an error. `fatal`: the interface cannot continue."""

    def __init__(self, error: Exception, *, fatal: bool) -> None:
        super().__init__()
        self.error = error
        self.fatal = fatal


class WorkEnded(AgentMessage):
    """A turn, a compaction or a shell command has ended, or was stopped."""


class ApprovalAsked(AgentMessage):
    """The session needs the user's approval; the answer goes into `future`."""

    def __init__(self, request: ApprovalRequested, future: Future[Approval]) -> None:
        super().__init__()
        self.request = request
        self.future = future


class TrustNeeded(AgentMessage):
    """The repository has settings or instructions that the user has not trusted."""

    def __init__(self, content: Content, *, changed: bool) -> None:
        super().__init__()
        self.content = content
        self.changed = changed


class ShellOutput(AgentMessage):
    """Output of a command that the user runs, and the line after it that is not finished."""

    def __init__(self, key: str, text: str, unfinished: str = "") -> None:
        super().__init__()
        self.key = key
        self.text = text
        self.unfinished = unfinished


class ShellEnded(AgentMessage):
    """A command of the user has exited; `exit_code` is None for one that was ended."""

    def __init__(self, key: str, exit_code: int | None, *, drew_screen: bool) -> None:
        super().__init__()
        self.key = key
        self.exit_code = exit_code
        self.drew_screen = drew_screen


class TerminalNeeded(AgentMessage):
    """A command of the user reads keys, and so needs the terminal."""

    def __init__(self, shell: ShellCommand) -> None:
        super().__init__()
        self.shell = shell
