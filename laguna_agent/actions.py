"""Typed actions: the side effects that the policy decides about."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Mode = Literal["ask", "accept-edits", "auto", "allow-all"]
Verdict = Literal["allow", "ask", "deny"]
Scope = Literal["session", "repository", "everywhere"]
"""How far a rule that an approval adds reaches: this session, also when it is resumed; every
session in this repository; every session of this user."""


class _Action(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ReadPath(_Action):
    """Read a file or list a directory. `path` is absolute."""

    kind: Literal["read"] = "read"
    path: str


class WritePath(_Action):
    """Create, change or remove a file. `path` is absolute; `diff` is what an approval shows."""

    kind: Literal["write"] = "write"
    path: str
    diff: str = ""


class RunCommand(_Action):
    """Run a shell command in the persistent shell, whose working directory is `cwd`."""

    kind: Literal["execute"] = "execute"
    command: str
    cwd: str


class Network(_Action):
    """Reach `host` over the network."""

    kind: Literal["network"] = "network"
    host: str


class GitWrite(_Action):
    """Change the repository through git (`operation` is add, commit, stash, ...)."""

    kind: Literal["git"] = "git"
    operation: str
    detail: str = ""


McpPlace = Literal["sandbox", "network", "machine", "remote"]
"""Where a tool of an MCP server acts: in the sandbox, there with the network, with the rights of
the person, or on another machine."""


class CallMcpTool(_Action):
    """Call a tool of an MCP server with `arguments` (JSON), which acts at `place`."""

    kind: Literal["mcp"] = "mcp"
    server: str
    tool: str
    arguments: str
    place: McpPlace


class ApproveMcpTools(_Action):
    """Let the model read what an MCP server says about some of its tools: `text`, all of it.

    `changed` says that some of them were approved when the server said something else.
    """

    kind: Literal["mcp-tools"] = "mcp-tools"
    server: str
    tools: list[str]
    text: str
    changed: bool


Action = Annotated[
    ReadPath | WritePath | RunCommand | Network | GitWrite | CallMcpTool | ApproveMcpTools,
    Field(discriminator="kind"),
]


def action_text(action: Action) -> str:
    """An action in a line: `npm install`, `write a.py`, `git commit`."""
    match action:
        case RunCommand(command=text):
            return text
        case Network(host=text):
            return f"reach {text}"
        case GitWrite(operation=operation, detail=detail):
            return f"git {operation} {detail}".rstrip()
        case CallMcpTool(server=server, tool=tool, arguments=arguments):
            return f"{server}/{tool} {arguments}"
        case ApproveMcpTools(server=server, tools=tools):
            return f"use the tools of {server}: {', '.join(tools)}"
        case ReadPath(path=path) | WritePath(path=path):
            return f"{action.kind} {path}"


class Decision(BaseModel):
    """The policy's answer, the rule that decided, and a reason for people."""

    model_config = ConfigDict(frozen=True)

    verdict: Verdict
    rule: str
    reason: str = ""


class Risk(BaseModel):
    """What makes an action risky, for a person. `part` is the text of the command that it is about,
    empty for all of it. `lasting`: no undo brings back what it may lose."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str
    part: str = ""
    lasting: bool = False
