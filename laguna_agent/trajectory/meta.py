"""`meta.json`: what lists show of a session, so that they need not read its events.

It is derived from the events and rebuilt from them when it is missing.
"""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from laguna_agent.atomic_write import atomic_write
from laguna_agent.encodable import json_text
from laguna_agent.events import (
    Compacted,
    Event,
    PlanUpdated,
    Reply,
    SessionStarted,
    StepStarted,
    ToolFinished,
    TurnFinished,
    TurnStarted,
    UserMessage,
)

TITLE_CHARS = 120
_LINE_CHARS = 4_096
_MOST_FILES = 200
_REFTABLE = "refs/heads/.invalid"
"""What HEAD names in a repository with a reftable, which this module does not read."""


class Meta(BaseModel):
    """What lists show of a session. Times are ISO 8601 in UTC."""

    model_config = ConfigDict(extra="ignore")

    id: str
    title: str = ""
    """The first line of the first user message."""
    repository: str = ""
    cwd: str = ""
    """Where the session was started; records of older versions do not say."""
    branch: str = ""
    commit: str = ""
    """The commit that was checked out when the session started."""
    created: str = ""
    updated: str = ""
    model: str = ""
    status: str = "open"
    """`open` before the first turn, `running` during a turn, then the last turn's status."""
    parent: str | None = None
    turns: int = 0
    steps: int = 0
    calls: int = 0
    compactions: int = 0
    events: int = 0
    bytes: int = 0
    files_changed: list[str] = []
    plan_done: int = 0
    plan_total: int = 0
    remembered: int = 0
    """Number of the last event that a memory file covers."""

    def apply(self, ts: str, event: Event) -> None:
        """Update the fields with the next stored event."""
        self.created = self.created or ts
        self.updated = ts
        self.events += 1
        match event:
            case SessionStarted():
                self.repository, self.cwd = event.repository, event.cwd
                self.model = str(event.model.get("name", ""))
                self.parent = event.parent or self.parent
            case UserMessage() if not self.title:
                self.title = title_of(event.text)
            case TurnStarted():
                self.turns += 1
                self.status = "running"
            case TurnFinished():
                self.status = event.status
                self._add_changed(event.files_changed)
            case StepStarted():
                self.steps += 1
            case Reply():
                self.calls += len(event.tool_calls)
            case ToolFinished() if event.files_changed:
                self._add_changed(event.files_changed)
            case Compacted():
                self.compactions += 1
            case PlanUpdated():
                self.plan_total = len(event.steps)
                self.plan_done = sum(step.status == "done" for step in event.steps)
            case _:
                pass

    def _add_changed(self, paths: list[str]) -> None:
        known = dict.fromkeys([*self.files_changed, *paths])
        self.files_changed = list(known)[:_MOST_FILES]


def title_of(text: str) -> str:
    """The first line of a text that is not blank, cut to the length of a title."""
    line = text.lstrip()[: 4 * TITLE_CHARS].partition("\n")[0].rstrip()
    line = "".join(character if character.isprintable() else " " for character in line)
    return line if len(line) <= TITLE_CHARS else line[: TITLE_CHARS - 1].rstrip() + "…"


def read_meta(directory: Path) -> Meta | None:
    """Read the meta of a session directory; None when the file is missing or damaged."""
    try:
        return Meta.model_validate(json.loads((directory / "meta.json").read_bytes()))
    except (OSError, ValueError):
        return None


def write_meta(directory: Path, meta: Meta) -> None:
    """Write `meta.json` atomically. Raises OSError."""
    text = json_text(meta.model_dump(exclude_defaults=True), indent=1)
    atomic_write(directory / "meta.json", text)


def git_head(root: Path) -> tuple[str, str]:
    """Branch and commit that are checked out at `root`, read without git; empty if unknown."""
    try:
        git = root / ".git"
        if not git.is_dir():  # a linked worktree or a submodule
            git = (root / _line(git).removeprefix("gitdir:").strip()).resolve()
        head = _line(git / "HEAD")
        if not head.startswith("ref: "):
            return "", head
        name = head.removeprefix("ref: ")
        if name == _REFTABLE:
            return "", ""
        common = git
        if (git / "commondir").exists():
            common = (git / _line(git / "commondir")).resolve()
        return name.removeprefix("refs/heads/"), _resolve(common, name)
    except (OSError, ValueError):
        return "", ""


def _line(path: Path) -> str:
    """The text of a small file. Raises OSError, also for what is not a file and might block."""
    if not path.is_file():
        raise FileNotFoundError(path)
    with path.open(encoding="utf-8") as file:
        return file.read(_LINE_CHARS).strip()


def _resolve(git: Path, name: str) -> str:
    loose = git / name
    if loose.exists():
        return _line(loose)
    packed = git / "packed-refs"
    if packed.is_file():
        for line in packed.read_text(encoding="utf-8").split("\n"):
            commit, _, ref = line.partition(" ")
            if ref == name:
                return commit
    return ""
