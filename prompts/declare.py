"""How a tool is declared to the model: its JSON schema with the pack's own argument docs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from laguna_agent.prompts.toolfile import ArgumentSpec
from laguna_agent.tools.base import ToolArguments
from laguna_agent.tools.registry import parameters


def pack_parameters(
    model: type[ToolArguments], arguments: Mapping[str, ArgumentSpec]
) -> dict[str, Any]:
    """The small JSON schema of an argument model, with docs replaced and arguments hidden.

    An argument that the model must give is never hidden.
    """
    schema = parameters(model)
    properties = schema.get("properties", {})
    for name, spec in arguments.items():
        if name not in properties:
            continue
        if spec.hidden and name not in schema.get("required", []):
            del properties[name]
        elif spec.doc:
            properties[name]["description"] = spec.doc
    schema["properties"] = _without_lengths(properties)
    return schema


def _without_lengths(node: Any) -> Any:
    # That a text is too long or empty is said when it happens, and rarely does.
    if isinstance(node, dict):
        kept = {k: v for k, v in node.items() if not _is_length(k, v)}
        return {key: _without_lengths(value) for key, value in kept.items()}
    return [_without_lengths(item) for item in node] if isinstance(node, list) else node


def _is_length(key: str, value: Any) -> bool:
    # An argument may itself be called `minLength`; its value is then a schema.
    return key in ("minLength", "maxLength") and isinstance(value, int)
