"""The MCP client: connections to servers, and the tool `mcp` that finds and calls their tools."""
