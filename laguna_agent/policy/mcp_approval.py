"""Why calls of MCP servers' tools, and what servers say about them, need approval."""

from __future__ import annotations

from laguna_agent.actions import ApproveMcpTools, McpPlace


def why_call_asks(place: McpPlace) -> str:
    """Why a call asks."""
    match place:
        case "sandbox":
            return "it calls a tool of an MCP server"
        case "network":
            return "its MCP server may use the network"
        case "machine":
            return "its MCP server runs outside the sandbox"
        case "remote":
            return "its MCP server is on another machine"


def why_tools_ask(action: ApproveMcpTools) -> str:
    """Why a server's tools ask: what it says about them is text that the model may follow."""
    why = "changed since it was approved" if action.changed else "has not been approved yet"
    how = f"`laguna mcp test {action.server}` shows and approves it"
    return f"what the MCP server {action.server} says about its tools {why}; {how}"
