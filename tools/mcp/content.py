"""What a server answers, as text for the model: texts as they are, everything else by name.

Images, sounds and resources are named, not shown; the text of a resource is saved, for `read`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from laguna_agent.clip import clip
from laguna_agent.tools.output import bound, save_output
from laguna_agent.tools.terminal.ansi import clean_text
from laguna_agent.tools.tool import ToolContext, ToolResult

if TYPE_CHECKING:
    from mcp_types import CallToolResult

_MOST_PARTS = 200
_MOST_NAME = 200


def result_of(answer: CallToolResult, context: ToolContext) -> ToolResult:
    """The result of a call, bounded; the whole of a longer one is saved."""
    parts = [_part(block, context) for block in answer.content[:_MOST_PARTS]]
    if left := len(answer.content) - _MOST_PARTS:
        parts += [f"[{left} more parts left out]"] if left > 0 else []
    data = answer.structured_content
    if data is not None and not any(_is_same(part, data) for part in parts):
        parts.append(json.dumps(data, ensure_ascii=False, indent=1))
    text = "\n".join(part for part in parts if part) or "(an empty answer)"
    bounded = bound(context, clean_text(text))
    lines = text.count("\n") + 1
    return ToolResult(
        ok=not answer.is_error,
        content=bounded.text,
        summary="error" if answer.is_error else f"{lines} line{'s' if lines > 1 else ''}",
        truncated=bounded.truncated,
        output_file=str(bounded.file) if bounded.file else None,
    )


def _part(block: Any, context: ToolContext) -> str:
    match block.type:
        case "text":
            return str(block.text)
        case "image" | "audio":
            return f"[{block.type}, {_name(block.mime_type)}, {_bytes(block.data)}: not shown]"
        case "resource_link":
            about = f": {_name(block.description)}" if block.description else ""
            return f"[link to the resource {_name(block.uri)}{about}]"
        case "resource":
            return _resource(block.resource, context)
        case other:
            return f"[{_name(other)}: not shown]"


def _resource(resource: Any, context: ToolContext) -> str:
    name = f"resource {_name(resource.uri)}"
    kind = f", {_name(resource.mime_type)}" if resource.mime_type else ""
    text = getattr(resource, "text", None)  # the package has two classes for one name
    if not isinstance(text, str):
        return f"[{name}{kind}, {_bytes(getattr(resource, 'blob', ''))}: not shown]"
    try:
        saved, _ = save_output(context, clean_text(text))
    except OSError:
        return f"[{name}{kind}, {len(text):,} chars: saving it failed]"
    return f"[{name}{kind}, {len(text):,} chars: read {saved}]"


def _bytes(encoded: str) -> str:
    return f"{len(encoded) * 3 // 4:,} bytes"


def _name(text: object) -> str:
    return clip(clean_text(str(text)), _MOST_NAME)


def _is_same(text: str, data: Any) -> bool:
    """Whether a text is this data, as servers send it twice."""
    if text[:1] not in ("{", "["):
        return False
    try:
        return bool(json.loads(text) == data)
    except (ValueError, RecursionError):
        return False
