"""What a tool is: an argument model, a kind for the policy, and an async run.

A tool never raises into the loop: bad input comes back as a result that tells the model what to
do next. Results are bounded; what does not fit is saved to a file the model can read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from laguna_agent.actions import Action
from laguna_agent.events import PlanStep

ToolKind = Literal["read", "edit", "execute", "git", "network", "plan", "done"]


class ToolArguments(BaseModel):
    """Base of argument models: unknown arguments are refused."""

    model_config = ConfigDict(extra="forbid")


class ToolResult(BaseModel):
    """What a tool gives back. `content` goes to the model as it is."""

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
    """How many lines at the end of `content` are the tool's own, about how the command ended."""
    data: dict[str, Any] = {}
    """`again`: true when the same call may succeed now, because its refusal showed the file."""


class Sandbox(Protocol):
    """How a child process is confined. Implemented by `laguna_agent.policy.sandbox`."""

    name: str
    """`bubblewrap`, `sandbox-exec` or `none`."""

    def wrap(self, argv: Sequence[str], *, cwd: Path) -> list[str]:
        """The command line that runs `argv` confined, with `cwd` as its working directory."""

    def exposing(self, directory: Path) -> Sandbox:
        """A sandbox whose children also see `directory` and can write to pipes in it."""

    def environment(self) -> dict[str, str]:
        """The environment for children: no secrets, pagers and colours off."""


@dataclass
class ToolContext:
    """What a tool may use. One per session; `emit` shows live output while a tool runs."""

    workspace: Path
    """Absolute, resolved root. File tools stay under it."""
    state_dir: Path
    """Where long outputs and caches of this session may be written."""
    sandbox: Sandbox | None = None
    emit: Callable[[str], None] = lambda text: None
    max_output_chars: int = 12_000
    check: str | None = None
    """The command that decides whether the task is done, if the task named one."""
    state: dict[str, Any] = field(default_factory=dict)
    """What tools keep between calls (the shell, hashes of files that were read), by tool name."""
    resources: list[Any] = field(default_factory=list)
    """Objects with an async `aclose()` that the session closes at its end."""
    cache_dir: Path | None = None
    """Where caches of this repository that outlive the session are kept; `state_dir` if None."""
    may_read: Callable[[str], bool] = lambda path: True
    """Whether the policy lets an absolute path be read that no call named: searches, trees and
    maps leave out what it refuses."""


class Tool(Protocol):
    """One tool. Instances are stateless; state lives in the context."""

    name: ClassVar[str]
    kind: ClassVar[ToolKind]
    description: ClassVar[str]
    """The built-in description; a prompt pack may override it."""
    arguments: ClassVar[type[ToolArguments]]
    example: ClassVar[dict[str, Any]]
    """Arguments of a correct call, shown to the model when its own were wrong; may be empty."""

    def title(self, arguments: Any, context: ToolContext) -> str:
        """One line for a person: what, on what."""

    def actions(self, arguments: Any, context: ToolContext) -> list[Action]:
        """What the call would do, for the policy, before it runs. Must not have side effects."""

    async def run(self, arguments: Any, context: ToolContext) -> ToolResult:
        """Do it."""
