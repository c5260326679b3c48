"""The interface of tools: an argument model, a kind for the policy, and an async `run`.

A tool never raises into the loop: for bad input, its result tells the model what to do next.
Results are bounded; the whole of a longer one is saved to a file that the model can read.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from laguna_agent.actions import Action
from laguna_agent.events import PlanStep
from laguna_agent.tools.stated_output import StatedOutput

Permit = Callable[[Action], Awaitable[str | None]]
"""Asks the policy, and a person if it says so, about an action that was not known before the call
ran; answers why it may not be done, or None."""
RecallSearch = Callable[[str, int], str]
"""From a query and a number of results to text for the model, empty if nothing was found. May run
in a thread."""
ToolKind = Literal["read", "edit", "execute", "git", "network", "plan", "done"]


class ToolArguments(BaseModel):
    """Base of the argument models; refuses unknown arguments."""

    model_config = ConfigDict(extra="forbid")


class ToolResult(BaseModel):
    """The result of a call. `content` goes to the model unchanged."""

    ok: bool
    content: str
    summary: str = ""
    diff: str = ""
    files_changed: list[str] = []
    """Paths relative to the workspace."""
    truncated: bool = False
    output_file: str | None = None
    exit_code: int | None = None
    plan: list[PlanStep] | None = None
    notes: int = Field(default=0, exclude=True)
    """Number of lines at the end of `content` that the tool added about how the command ended."""
    ran: str | None = Field(default=None, exclude=True)
    """The command that ran in the session's shell, for the policy; None if none did."""
    data: dict[str, Any] = {}
    """`again` is true if the same call may succeed now, since its refusal showed the file."""


class Sandbox(Protocol):
    """Confines child processes. Implemented in `laguna_agent.policy.sandbox`."""

    name: str
    """`bubblewrap`, `sandbox-exec` or `none`."""

    def wrap(self, argv: Sequence[str], *, cwd: Path) -> list[str]:
        """The command line that runs `argv` confined, with `cwd` as its working directory."""

    def exposing(self, directory: Path) -> Sandbox:
        """A sandbox whose children also see `directory` and can write to pipes in it."""

    def environment(self) -> dict[str, str]:
        """The environment for children: no secrets, pagers and colours off."""


class EditorFiles(Protocol):
    """Files as an editor has them. Called in threads; may wait for the editor."""

    def read(self, path: Path) -> str | None:
        """The text of a file with unsaved changes; None if the editor does not tell."""

    def write(self, path: Path, text: str) -> bool:
        """Have the editor write a file that exists; False if it does not."""


@dataclass
class ToolContext:
    """What tools use, one per session."""

    workspace: Path
    """Absolute, resolved root that file tools stay below."""
    state_dir: Path
    """Directory for long outputs and caches of this session."""
    sandbox: Sandbox | None = None
    on_output: Callable[[str], None] = lambda text: None
    """Shows live output while a tool runs."""
    permit: Permit = field(default=lambda action: _not_permitted())
    """Asks about an action that shows only while a call runs."""
    max_output_chars: int = 12_000
    check: str | None = None
    """The command whose success means that the task is done, if there is one."""
    stated: Sequence[StatedOutput] = ()
    """What the commands of `check` should print, where that decides and not their success."""
    state: dict[str, Any] = field(default_factory=dict)
    """What tools keep between calls (the shell, hashes of files that were read)."""
    resources: list[Any] = field(default_factory=list)
    """Objects with an async `aclose()`, closed when the session ends."""
    protected: Callable[[], set[object]] = set
    """What the sandbox protects or hides by mounts. Anything new in it, because something changed
    outside, calls for a new shell."""
    cache_dir: Path | None = None
    """Directory for caches that outlive the session; `state_dir` if None."""
    recall: RecallSearch | None = None
    """Searches earlier sessions and memories, if this session has a memory."""
    may_read: Callable[[str], bool] = lambda path: True
    """Whether the policy allows reading an absolute path that no call named, without asking:
    searches, maps and listings of changes leave out the others."""
    may_name: Callable[[str], bool] = lambda path: True
    """Whether no rule denies reading it: its name may be shown, and its content to a call that
    names it, which was decided about."""
    editor: EditorFiles | None = None
    """The editor in which a person works on the same files; see `tools.editor_buffers`."""
    directory: Path | None = None
    """Absolute, resolved directory in the workspace in which a person works, if it is another one:
    relative paths of the model and of the person start there, and commands run there."""

    @property
    def start(self) -> Path:
        """Where relative paths start and commands run."""
        return self.directory or self.workspace

    def shown(self, relative: str) -> str:
        """A path relative to the workspace as the model names it: relative to `start`."""
        if self.directory is None:
            return relative
        return os.path.relpath(self.workspace / relative, self.directory)


async def _not_permitted() -> str | None:
    return "nobody can be asked"


class Tool(Protocol):
    """One tool. Instances are stateless; the context holds state."""

    name: ClassVar[str]
    kind: ClassVar[ToolKind]
    description: ClassVar[str]
    """The built-in description; a prompt pack may override it."""
    arguments: ClassVar[type[ToolArguments]]
    example: ClassVar[dict[str, Any]]
    """Arguments of a correct call, shown to the model when its own were wrong; may be empty."""

    def title(self, arguments: Any, context: ToolContext) -> str:
        """One line for the user: what the call does, to what."""

    def actions(self, arguments: Any, context: ToolContext) -> list[Action]:
        """The side effects that the call would have, for the policy. Must have none itself."""

    async def run(self, arguments: Any, context: ToolContext) -> ToolResult:
        """Carry out the call."""
