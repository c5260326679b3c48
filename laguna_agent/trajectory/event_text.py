"""An event as readable text: for search, recall and Markdown."""

from __future__ import annotations

import json
from typing import Any

from laguna_agent.encodable import encodable, json_text
from laguna_agent.events import (
    ApprovalGiven,
    ApprovalRequested,
    CheckRan,
    Compacted,
    Event,
    Notice,
    PlanUpdated,
    Reply,
    SystemNote,
    SystemPrompt,
    ToolCall,
    ToolFinished,
    TurnFinished,
    UserMessage,
    plan_text,
)


def event_text(event: Event) -> str:
    """The text of an event, without its type; empty for events without content."""
    return encodable(_text(event))


def _text(event: Event) -> str:
    match event:
        case UserMessage() | SystemNote() | Notice() | SystemPrompt():
            return event.text
        case Reply():
            return "\n".join(
                part
                for part in (event.thinking, event.text, *map(call_text, event.tool_calls))
                if part
            )
        case ToolFinished():
            exit_code = "" if event.exit_code is None else f" (exit {event.exit_code})"
            head = f"{event.title or event.name}{exit_code}"
            return "\n".join(part for part in (head, event.content, event.diff) if part)
        case CheckRan():
            return f"{event.command} (exit {event.exit_code})\n{event.output}"
        case PlanUpdated():
            return plan_text(event.steps)
        case Compacted():
            return event.summary
        case TurnFinished():
            parts = (event.status, event.summary, event.error or "")
            return ": ".join(part for part in parts if part)
        case ApprovalRequested():
            return f"{event.tool}: {json_text(event.action.model_dump(exclude_defaults=True))}"
        case ApprovalGiven():
            return " ".join(part for part in (event.answer, event.scope, event.reason) if part)
        case _:
            return ""


def call_text(call: ToolCall) -> str:
    """A tool call as lines: its name, then each argument."""
    lines = [call.name]
    for name, value in call.arguments.items():
        shown = _value(value)
        lines.append(f"  {name}:\n{shown}" if "\n" in shown else f"  {name}: {shown}")
    return "\n".join(lines)


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
