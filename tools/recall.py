"""The recall tool: searches memories of earlier sessions and shows recorded events.

Memory implements the search, which the session gives to the context.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from pydantic import Field

from laguna_agent.actions import Action
from laguna_agent.clip import clip
from laguna_agent.tools.output import bound
from laguna_agent.tools.tool import ToolArguments, ToolContext, ToolKind, ToolResult


class RecallArguments(ToolArguments):
    """What to search for: words, names or paths; or `e12` to show event 12."""

    query: str
    limit: int = Field(5, ge=1, le=20)


class RecallTool:
    """Searches memories and the records of sessions."""

    name: ClassVar[str] = "recall"
    kind: ClassVar[ToolKind] = "read"
    description: ClassVar[str] = (
        "Search this and earlier sessions in this repository. "
        "A query of `e12` or `SESSION e12` shows that event whole."
    )
    arguments: ClassVar[type[ToolArguments]] = RecallArguments
    example: ClassVar[dict[str, Any]] = {"query": "WORDS OR NAMES"}

    def title(self, arguments: RecallArguments, context: ToolContext) -> str:
        """`Recall "query"`."""
        return f'Recall "{clip(arguments.query, 60)}"'

    def actions(self, arguments: RecallArguments, context: ToolContext) -> list[Action]:
        """None: only laguna's own records of this repository are read."""
        return []

    async def run(self, arguments: RecallArguments, context: ToolContext) -> ToolResult:
        """Search; never raises."""
        if context.recall is None:
            return ToolResult(
                ok=False,
                content="There is no memory in this session. Look at the files instead.",
                summary="no memory",
            )
        query = arguments.query.strip()
        if not query:
            return ToolResult(
                ok=False, content="`query` is empty: give words or names.", summary="no query"
            )
        found = await asyncio.to_thread(context.recall, query, arguments.limit)
        if not found:
            return ToolResult(
                ok=True,
                content=f"Nothing is on record about `{query}`. Try other names, or search files.",
                summary="nothing found",
            )
        bounded = bound(context, found)
        count = sum(line.startswith("## ") for line in found.split("\n"))
        summary = f"{count} result{'s' if count != 1 else ''}" if count else "1 event"
        return ToolResult(
            ok=True,
            content=bounded.text,
            truncated=bounded.truncated,
            output_file=str(bounded.file) if bounded.file else None,
            summary=summary,
        )
