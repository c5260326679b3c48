"""Shells for tests: a context with the real sandbox or none, and commands run in it."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from laguna_agent.policy.sandbox import Bubblewrap
from laguna_agent.tools.shell import ShellArguments, ShellTool
from laguna_agent.tools.tool import Sandbox, ToolContext, ToolResult


def make_context(tmp_path: Path, confined: bool, **options: Any) -> ToolContext:
    """A context with a workspace in `tmp_path`, in bubblewrap or bare."""
    workspace = tmp_path / "workspace"
    workspace.mkdir(exist_ok=True)
    state = tmp_path / "state"
    state.mkdir(exist_ok=True)
    sandbox: Sandbox | None = Bubblewrap(workspace=workspace) if confined else None
    return ToolContext(workspace=workspace, state_dir=state, sandbox=sandbox, **options)


class Shell:
    """Runs commands as the model does."""

    def __init__(self, context: ToolContext) -> None:
        self.context = context
        self.tool = ShellTool()

    async def __call__(self, command: str, timeout: float = 30) -> ToolResult:
        # Not validated, so that timeouts can be fractions of a second.
        arguments = ShellArguments.model_construct(command=command, timeout=timeout)
        return await self.tool.run(arguments, self.context)

    async def close(self) -> None:
        for resource in self.context.resources:
            await resource.aclose()


def unique() -> str:
    """An unusual number of seconds for `sleep`, to find its process by."""
    return f"{random.SystemRandom().randint(10_000_000, 99_999_999)}"


def processes_with(argument: str) -> list[int]:
    """Pids of running processes that have `argument` among their arguments."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdecimal() or int(entry) == os.getpid():
            continue
        try:
            line = Path("/proc", entry, "cmdline").read_bytes()
            state = Path("/proc", entry, "stat").read_bytes().rpartition(b")")[2].split()[0]
        except OSError:
            continue
        if argument.encode() in line.split(b"\0") and state != b"Z":
            found.append(int(entry))
    return found


async def until(condition: Callable[[], object], seconds: float = 20.0) -> bool:
    """Whether the condition becomes true in time."""
    import asyncio

    for _ in range(int(seconds / 0.02)):
        if condition():
            return True
        await asyncio.sleep(0.02)
    return False
