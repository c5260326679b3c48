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
    schema["properties"] = properties
    return schema
