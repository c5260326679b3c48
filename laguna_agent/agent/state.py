"""The state of a session that is not on record."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from laguna_agent.events import UserMessage
from laguna_agent.tools.checkpoints.tree_state import TreeEntry


@dataclass
class SessionState:
    """What changes while a session is open. The rest is `Recorder.state`, read from the record."""

    first_message_variables: dict[str, str]
    """Variables of `first.md`: date, cwd, git, instructions, skills, memory."""
    check: str | None = None
    """The check of every task, from `--check` or `/check`."""
    planning: bool = False
    """Whether the model was last told that it plans."""
    new_shell: bool = False
    """Whether the shell is not the one that the model worked in, and it was not told yet."""
    turns: int = 0
    steering: deque[UserMessage] = field(default_factory=deque)
    """Messages typed while a turn runs; they are appended before the next reply."""
    tree_fails: bool = False
    """Whether the files cannot be recorded as a whole here."""
    taken_back: dict[str, TreeEntry | None] = field(default_factory=dict)
    """Files that undo changed since the last turn, as it left them; the model is told of these."""
    last_checkpoint: str | None = None
    """The files as the model last knew them, where a person may change them between turns."""
