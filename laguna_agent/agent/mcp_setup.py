"""Puts the MCP servers of a session together: configuration, sandbox, approvals, login."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from laguna_agent.agent.settings import Settings
from laguna_agent.config import McpServerConfig, mcp_servers
from laguna_agent.errors import UsageError
from laguna_agent.events import Notice
from laguna_agent.policy.approved_tools import ApprovedToolsFile
from laguna_agent.policy.environment import Inheritance
from laguna_agent.policy.mcp_servers import (
    filled,
    place_of,
    server_environment,
    server_sandbox,
)
from laguna_agent.policy.sandbox import NoSandbox, SandboxKind
from laguna_agent.programs import find_program
from laguna_agent.prompts.loader.pack import PackTool
from laguna_agent.tools.mcp.launch import Address, Launch, ServerError
from laguna_agent.tools.mcp.login import stored_login
from laguna_agent.tools.mcp.servers import McpServers, ServerSetup
from laguna_agent.tools.mcp.tool import McpArguments, McpTool, declared_tools
from laguna_agent.tools.registry import parameters

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def make_mcp_servers(settings: Settings, root: Path, sandbox: SandboxKind) -> McpServers | None:
    """The servers of a session, none of them started; None if there are none."""
    servers = mcp_servers(settings.config, settings.mcp)
    if not servers:
        return None
    inheritance = Inheritance.of(settings.config)
    offline = settings.config.offline
    return McpServers(
        [
            server_setup(name, config, root, sandbox, inheritance, offline=offline)
            for name, config in servers.items()
        ]
    )


def server_setup(
    name: str,
    config: McpServerConfig,
    root: Path,
    sandbox: SandboxKind,
    inheritance: Inheritance,
    *,
    offline: bool,
) -> ServerSetup:
    """How one server is reached, and what the policy says about it."""
    own = server_sandbox(sandbox, config, inheritance, offline=offline)
    host = urlsplit(config.url).hostname or "" if config.url is not None else ""
    return ServerSetup(
        name=name,
        config=config,
        place=place_of(own, config),
        about=config.url or " ".join([config.command or "", *config.args]),
        reach=partial(_reach, config, root, own, inheritance, offline),
        approved=ApprovedToolsFile(name, config, root),
        host=host if config.origin == "project" else "",
        login=stored_login,
    )


def mcp_declarations(
    servers: McpServers, taken: Collection[str], max_output: int, *, optional: bool
) -> tuple[list[PackTool], list[str]]:
    """The tool `mcp` and the tools that the configuration declares; and those (`SERVER/TOOL`) that
    it cannot declare yet. Without `optional`, the chat format has no arguments that may be left
    out."""
    tool = McpTool(servers)
    schema = parameters(McpArguments)
    schema.pop("type", None)
    if not optional:
        schema["required"] = list(schema["properties"])
    found, unapproved = declared_tools(servers, lambda name: name in taken or name == tool.name)
    declared = [PackTool(tool.name, tool.description, schema, tool.kind, tool, max_output)]
    declared += [
        PackTool(one.name, one.description, one.schema, one.kind, one, max_output) for one in found
    ]
    return declared, unapproved


async def _reach(
    config: McpServerConfig,
    root: Path,
    sandbox: SandboxKind,
    inheritance: Inheritance,
    offline: bool,
) -> Launch | Address:
    try:
        if config.url is None:
            # Looks at what is to be hidden from it now.
            return await asyncio.to_thread(_launch, config, root, sandbox, inheritance)
        fill = partial(_filled, config, os.environ, inheritance)
        url = fill(config.url)
        if offline and urlsplit(url).hostname not in _LOOPBACK:
            raise UsageError("is not reached, since laguna is offline")
        return Address(url, {name: fill(value) for name, value in config.headers.items()})
    except UsageError as error:
        raise ServerError(f"cannot be used: {error.message}. {error.hint or ''}".strip()) from None


def _filled(
    config: McpServerConfig, source: Mapping[str, str], inheritance: Inheritance, text: str
) -> str:
    return filled(text, config, source, inheritance)


def _launch(
    config: McpServerConfig, root: Path, sandbox: SandboxKind, inheritance: Inheritance
) -> Launch:
    fill = partial(_filled, config, os.environ, inheritance)
    cwd = Path(os.path.join(root, os.path.expanduser(fill(config.cwd)))) if config.cwd else root
    if not cwd.is_dir():
        raise UsageError(f"there is no directory {cwd}")
    confined = not isinstance(sandbox, NoSandbox)
    program = _program(fill(config.command or ""), cwd, confined=confined)
    argv = [program, *(fill(argument) for argument in config.args)]
    return Launch(
        sandbox.wrap(argv, cwd=cwd),
        cwd,
        server_environment(sandbox, config, os.environ, inheritance),
        confined,
    )


def _program(command: str, cwd: Path, *, confined: bool) -> str:
    command = os.path.expanduser(command)
    if os.path.isabs(command):
        found = command
    elif "/" in command:
        if not confined:
            raise UsageError(
                f"{command} runs outside the sandbox and lies where commands can write",
                hint="Name it by its absolute path.",
            )
        found = os.path.join(cwd, command)
    else:
        found = find_program(command) or ""
    if not os.path.isfile(found):
        raise UsageError(
            f"{command} is not found",
            hint=f"PATH is {os.environ.get('PATH', '')}. An absolute path always works.",
        )
    return found


def unapproved_notice(names: list[str]) -> list[Notice]:
    """A notice of tools that cannot be declared yet."""
    if not names:
        return []
    servers = " ".join(sorted({name.partition("/")[0] for name in names}))
    text = f"Not declared, since nobody has approved what the server says: {', '.join(names)}. "
    return [
        Notice(level="warning", text=f"{text}`laguna mcp test {servers}` shows and approves it.")
    ]
