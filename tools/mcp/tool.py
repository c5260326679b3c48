"""The tool `mcp`: finds, describes and calls the tools of MCP servers, however many there are.

One declaration stands for all of them, so that servers cost no prompt until they are used. Tools
that the configuration names are declared by themselves; see `declared_tools`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from laguna_agent.actions import Action
from laguna_agent.tools.mcp.content import result_of
from laguna_agent.tools.mcp.launch import ServerError
from laguna_agent.tools.mcp.offers import Offer
from laguna_agent.tools.mcp.schema import schema_text
from laguna_agent.tools.mcp.servers import McpServer, McpServers, declared_names
from laguna_agent.tools.registry import convert
from laguna_agent.tools.tool import ToolArguments, ToolContext, ToolKind, ToolResult

DESCRIBED = "mcp.described"
"""Key of `ToolContext.state`: the schemas of arguments that the model has read, by SERVER/TOOL."""
_MOST_SHOWN = 200


class McpArguments(ToolArguments):
    """What to do, and words or the name of a tool."""

    op: Literal["search", "describe", "call"]
    name: str
    arguments: dict[str, Any] = Field(default={})


class McpTool:
    """Finds, describes and calls tools of the servers of one session."""

    name: ClassVar[str] = "mcp"
    kind: ClassVar[ToolKind] = "execute"
    description: ClassVar[str] = (
        "Use tools of MCP servers: search by words, describe SERVER/TOOL, then call it."
    )
    arguments: ClassVar[type[ToolArguments]] = McpArguments
    example: ClassVar[dict[str, Any]] = {"op": "search", "name": "WORDS"}

    def __init__(self, servers: McpServers) -> None:
        self.servers = servers

    def title(self, arguments: McpArguments, context: ToolContext) -> str:
        """`mcp: call time/now {"zone":"UTC"}`."""
        given = f" {schema_text(arguments.arguments)}" if arguments.op == "call" else ""
        return _short(f"mcp: {arguments.op} {arguments.name}{given}")

    def actions(self, arguments: McpArguments, context: ToolContext) -> list[Action]:
        """A call, and the connection that it needs; reading about tools asks as it goes."""
        if arguments.op != "call":
            return []
        try:
            server, tool = self.servers.named(arguments.name)
        except ServerError:
            return []  # nothing is called: `run` answers with the reason
        return server.actions(tool, schema_text(arguments.arguments))

    async def run(self, arguments: McpArguments, context: ToolContext) -> ToolResult:
        """Do it."""
        try:
            match arguments.op:
                case "search":
                    return await self._search(arguments.name, arguments.arguments, context)
                case "describe":
                    return await self._describe(arguments.name, context)
                case "call":
                    server, tool = self.servers.named(arguments.name)
                    return await call_tool(server, tool, arguments.arguments, context)
        except ServerError as error:
            return ToolResult(ok=False, content=str(error), summary="failed")

    async def _search(self, query: str, given: dict[str, Any], context: ToolContext) -> ToolResult:
        problems = await self.servers.start_unknown(context.permit)
        found, count = self.servers.search(query)
        lines = [f"{name}: {offer.first_line}" for name, offer in found]
        if not found:
            lines = [
                f"{server.name}: {len(server.offers)} tools"
                for server in self.servers.by_name.values()
            ]
            lines.insert(0, "No tool has these words. The servers:")
        elif count > len(found):
            lines.append(f"[{count - len(found)} more fit; use other words]")
        if found and given:  # small models search when they mean to call
            name = found[0][0]
            wanted = schema_text({"op": "call", "name": name, "arguments": given})
            lines.append(f"Nothing was called. To call {name}: {wanted}")
        return ToolResult(
            ok=bool(found) or not problems,
            content="\n".join([*lines, *problems]),
            summary=f"{count} found",
        )

    async def _describe(self, name: str, context: ToolContext) -> ToolResult:
        if (server := self.servers.by_name.get(name.strip().rstrip("/"))) is not None:
            if not server.is_known:
                await server.refresh_permitted(context.permit)
            lines = [f"{server.name}/{tool}: {o.first_line}" for tool, o in server.offers.items()]
            lines += ["[it has more tools, which laguna leaves out]"] if server.cut else []
            return ToolResult(ok=True, content="\n".join(lines), summary=f"{len(lines)} tools")
        server, tool = self.servers.named(name)
        if tool not in server.offers:
            await server.refresh_permitted(context.permit, tool)
        offer = server.offer(tool)
        full = f"{server.name}/{tool}"
        context.state.setdefault(DESCRIBED, {})[full] = offer.schema
        return ToolResult(ok=True, content=f"{full}: {offer.text}", summary="described")


async def call_tool(
    server: McpServer, tool: str, given: dict[str, Any], context: ToolContext
) -> ToolResult:
    """Call a tool whose call was permitted. Raises ServerError."""
    await server.refresh(context.permit, tool)
    offer = server.offer(tool)
    problem, arguments = checked_arguments(offer, given)
    if problem:
        context.state.setdefault(DESCRIBED, {})[f"{server.name}/{tool}"] = offer.schema
        text = f"{server.name}/{tool}: {problem}. arguments: {schema_text(offer.schema)}"
        return ToolResult(ok=False, content=text, summary="bad argument")
    answer = await server.connection.call(offer.name, arguments, context.on_output)
    return result_of(answer, context)


def checked_arguments(offer: Offer, given: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """What is wrong with arguments, or else empty, and the arguments with plain mistakes of type
    corrected. What a schema says beyond names and types, the server checks."""
    known = offer.schema.get("properties", {})
    required = offer.schema.get("required", [])
    missing = [name for name in required if name not in given]
    if missing:
        return f"{', '.join(missing)} is missing", {}
    unknown = [name for name in given if name not in known]
    if unknown and offer.schema.get("additionalProperties") is False:
        return f"there is no argument {unknown[0]}", {}
    return "", {
        name: convert(value, known.get(name, {}))
        for name, value in given.items()
        # Models write null for what they leave out.
        if value is not None or name in required
    }


class _DeclaredArguments(ToolArguments):
    """Base of the argument models of declared tools, which hold what the server's schema holds."""

    model_config = ConfigDict(extra="allow")

    @property
    def given(self) -> dict[str, Any]:
        """The arguments by name."""
        return dict(self.__pydantic_extra__ or {})


class DeclaredTool:
    """Base of the classes that `declared_tools` makes: one tool of a server, declared by itself."""

    name: ClassVar[str]
    kind: ClassVar[ToolKind] = "execute"
    description: ClassVar[str]
    arguments: ClassVar[type[ToolArguments]]
    example: ClassVar[dict[str, Any]] = {}
    schema: ClassVar[dict[str, Any]]

    def __init__(self, server: McpServer, tool: str) -> None:
        self.server, self.tool = server, tool

    def title(self, arguments: _DeclaredArguments, context: ToolContext) -> str:
        """`time/now {"zone":"UTC"}`."""
        return _short(f"{self.server.name}/{self.tool} {schema_text(arguments.given)}")

    def actions(self, arguments: _DeclaredArguments, context: ToolContext) -> list[Action]:
        """The call."""
        return self.server.actions(self.tool, schema_text(arguments.given))

    async def run(self, arguments: _DeclaredArguments, context: ToolContext) -> ToolResult:
        """Call the tool."""
        try:
            return await call_tool(self.server, self.tool, arguments.given, context)
        except ServerError as error:
            return ToolResult(ok=False, content=str(error), summary="failed")


def declared_tools(
    servers: McpServers, taken: Callable[[str], bool]
) -> tuple[list[DeclaredTool], list[str]]:
    """The tools that the configuration declares, and those (`SERVER/TOOL`) that it cannot, since
    nobody has approved what the server says about them. `taken` are names of other tools."""
    tools: list[DeclaredTool] = []
    unapproved: list[str] = []
    for name, (server_name, tool) in declared_names(servers, taken).items():
        server = servers.by_name[server_name]
        offer = server.offers.get(tool)
        if offer is None:
            unapproved.append(f"{server_name}/{tool}")
        else:
            tools.append(_declare(name, server, tool, offer))
    return tools, unapproved


def _declare(name: str, server: McpServer, tool: str, offer: Offer) -> DeclaredTool:
    schema = offer.schema

    class Arguments(_DeclaredArguments):
        """The arguments that the server names."""

        @classmethod
        def model_json_schema(cls, *args: Any, **options: Any) -> dict[str, Any]:
            """The server's schema."""
            return schema

    body = {
        "name": name,
        "description": offer.description,
        "arguments": Arguments,
        "schema": {key: value for key, value in schema.items() if key != "type"},
    }
    made: DeclaredTool = type("DeclaredTool", (DeclaredTool,), body)(server, tool)
    return made


def call_schema(described: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The schema of the arguments of `mcp` when the model has read about these tools: it calls one
    of them with the arguments of that tool, or asks about others."""
    text = {"type": "string"}
    forms: list[tuple[dict[str, Any], list[str]]] = [
        ({"op": {"enum": ["search", "describe"]}, "name": text}, ["op", "name"]),
    ]
    for full, schema in described.items():
        call = {"op": {"enum": ["call"]}, "name": {"enum": [full]}, "arguments": schema}
        forms.append((call, ["op", "name", "arguments"]))
    return {
        "oneOf": [{"properties": properties, "required": needed} for properties, needed in forms]
    }


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _MOST_SHOWN else f"{line[: _MOST_SHOWN - 1]}…"
