"""A workspace and the built-in tools, called as the agent calls them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from laguna_agent.actions import Action
from laguna_agent.tools.registry import builtin_tools, validate_arguments
from laguna_agent.tools.tool import ToolContext, ToolResult


class Toolbox:
    """Calls tools by name with raw arguments, in one session."""

    def __init__(self, workspace: Path, state_dir: Path) -> None:
        self.workspace = workspace
        self.context = ToolContext(workspace=workspace, state_dir=state_dir)
        self.tools = builtin_tools()

    @classmethod
    def at(cls, directory: Path) -> Toolbox:
        """A new workspace under `directory`."""
        workspace, state = directory / "workspace", directory / "state"
        workspace.mkdir()
        state.mkdir(mode=0o700)
        return cls(workspace.resolve(), state.resolve())

    def add(self, files: Mapping[str, str | bytes]) -> None:
        for name, content in files.items():
            path = self.workspace / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)

    def data(self, name: str) -> bytes:
        return (self.workspace / name).read_bytes()

    def text(self, name: str) -> str:
        return self.data(name).decode()

    async def call(self, tool: str, **arguments: Any) -> ToolResult:
        """As the loop does: validate, ask for the actions, run."""
        checked = self._checked(tool, arguments)
        self.tools[tool].actions(checked, self.context)
        return await self.tools[tool].run(checked, self.context)

    def actions(self, tool: str, **arguments: Any) -> list[Action]:
        return self.tools[tool].actions(self._checked(tool, arguments), self.context)

    def _checked(self, tool: str, arguments: dict[str, Any]) -> Any:
        checked = validate_arguments(self.tools[tool], arguments)
        assert not isinstance(checked, str), checked
        return checked
