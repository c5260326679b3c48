"""Puts the MCP servers of a session together: configuration, sandbox, approvals, login."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from laguna_agent.actions import Action, McpPlace, Network, RunCommand
from laguna_agent.agent.settings import Settings
from laguna_agent.config import McpServerConfig, mcp_servers
from laguna_agent.errors import UsageError
from laguna_agent.events import Notice
from laguna_agent.policy import trust
from laguna_agent.policy.approved_tools import ApprovedToolsFile
from laguna_agent.policy.environment import Inheritance
from laguna_agent.policy.mcp_servers import (
    filled,
    given_variables,
    place_of,
    server_environment,
    server_sandbox,
    set_inside,
)
from laguna_agent.policy.sandbox import NoSandbox, SandboxKind
from laguna_agent.policy.sensitive_paths import home, is_under, real
from laguna_agent.programs import find_program
from laguna_agent.prompts.loader.pack import PackTool
from laguna_agent.tools.mcp.connection import Reach
from laguna_agent.tools.mcp.launch import Address, Launch, ServerError
from laguna_agent.tools.mcp.login import stored_login
from laguna_agent.tools.mcp.servers import McpServers, ServerSetup
from laguna_agent.tools.mcp.tool import McpArguments, McpTool, declared_tools
from laguna_agent.tools.registry import parameters

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_PLAIN_ADDRESS = re.compile(r"https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:\d+)?(/|\?|$)")


def make_mcp_servers(
    settings: Settings, root: Path, sandbox: SandboxKind, is_kept: Callable[[], bool]
) -> McpServers | None:
    """The servers of a session, none of them started; None if there are none. `is_kept` says
    whether a person is asked, whose approval is kept."""
    servers = mcp_servers(settings.config, settings.mcp)
    if not servers:
        return None
    inheritance = Inheritance.of(settings.config)
    offline = settings.config.offline
    return McpServers(
        [
            replace(
                server_setup(name, config, root, sandbox, inheritance, offline=offline),
                is_kept=is_kept,
            )
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
    place = place_of(own, config)
    about = config.url or " ".join([config.command or "", *config.args])
    starts: list[Action] = []
    reach: Reach
    if config.url is not None:
        reach = partial(_reach_address, config, inheritance, offline)
        # One that cannot be known is not reached either.
        with contextlib.suppress(UsageError):
            host = urlsplit(address_of(config, inheritance)).hostname or ""
            starts += [Network(host=host)] if config.origin == "project" else []
    else:
        found = partial(_files, config, root, place, inheritance)
        reach = partial(_reach_program, config, root, own, inheritance, place, found, found())
        if place == "machine" and config.sandbox:  # nobody has said that it may run outside
            starts.append(RunCommand(command=_line(config), cwd=os.fspath(root)))
    return ServerSetup(
        name=name,
        config=config,
        place=place,
        about=about,
        reach=reach,
        approved=ApprovedToolsFile(name, config, root),
        starts=tuple(starts),
        login=stored_login,
    )


def address_of(config: McpServerConfig, inheritance: Inheritance) -> str:
    """The address of a server, its variables filled in. Raises UsageError where it is none."""
    url = filled(config.url or "", config, os.environ, inheritance)
    if not url.startswith(("http://", "https://")):
        raise UsageError("its `url` does not begin with http:// or https://")
    # What asks about a host and what connects must read the same one.
    if config.origin == "project" and not _PLAIN_ADDRESS.match(url):
        raise UsageError("its `url` does not name a plain host")
    return url


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


async def _reach_address(
    config: McpServerConfig, inheritance: Inheritance, offline: bool
) -> Address:
    try:
        url = address_of(config, inheritance)
        if offline and urlsplit(url).hostname not in _LOOPBACK:
            raise UsageError("is not reached, since laguna is offline")
        headers = {
            name: filled(value, config, os.environ, inheritance)
            for name, value in config.headers.items()
        }
    except UsageError as error:
        raise _unusable(error) from None
    return Address(url, headers)


async def _reach_program(
    config: McpServerConfig,
    root: Path,
    sandbox: SandboxKind,
    inheritance: Inheritance,
    place: McpPlace,
    find: Callable[[], Mapping[str, str]],
    expected: Mapping[str, str],
) -> Launch:
    try:
        # Looks at what is to be hidden from it now.
        launch = await asyncio.to_thread(_launch, config, root, sandbox, inheritance, place)
        for name, digest in (await asyncio.to_thread(find)).items():
            if expected.get(name) != digest:
                raise UsageError(
                    f"{name} changed since the session began",
                    hint="It gets more than a command does: look at it, then start laguna again.",
                )
    except UsageError as error:
        raise _unusable(error) from None
    return launch


def _unusable(error: UsageError) -> ServerError:
    return ServerError(f"cannot be used: {error.message}. {error.hint or ''}".strip())


def _launch(
    config: McpServerConfig,
    root: Path,
    sandbox: SandboxKind,
    inheritance: Inheritance,
    place: McpPlace,
) -> Launch:
    fill = partial(filled, config=config, source=os.environ, inheritance=inheritance)
    cwd = _directory(config, root, place, inheritance)
    if not cwd.is_dir():
        raise UsageError(f"there is no directory {cwd}")
    confined = not isinstance(sandbox, NoSandbox)
    program = _program(fill(config.command or ""), cwd, confined=confined)
    argv = [program, *(fill(argument) for argument in config.args)]
    environment = server_environment(sandbox)
    given = given_variables(config, os.environ, inheritance)
    if confined:
        argv, given = set_inside(argv, given)
    return Launch(sandbox.wrap(argv, cwd=cwd), cwd, {**environment, **given}, confined)


def _directory(
    config: McpServerConfig, root: Path, place: McpPlace, inheritance: Inheritance
) -> Path:
    """Where a program starts. Many load what lies there, so that one which gets more than commands
    do starts in a repository only if its definition says so."""
    if config.cwd is not None:
        cwd = os.path.expanduser(filled(config.cwd, config, os.environ, inheritance))
        return Path(os.path.join(root, cwd))
    gets_more = place != "sandbox" or bool(config.env)
    return home() if gets_more and config.origin != "project" else root


def _line(config: McpServerConfig) -> str:
    return trust.server_command(config.command or "", config.args, config.cwd)


def _files(
    config: McpServerConfig, root: Path, place: McpPlace, inheritance: Inheritance
) -> dict[str, str]:
    """The SHA-256 of the repository's files that a server's command names, if the server gets more
    than the commands that can write them."""
    if place == "sandbox" and not (config.env and config.origin != "project"):
        return {}
    try:
        cwd = _directory(config, root, place, inheritance)
        texts = [config.command or "", *config.args]
        words = [filled(text, config, os.environ, inheritance) for text in texts]
    except UsageError:
        return {}  # it is not started either
    inside = is_under(real(cwd), real(root))
    command = trust.server_command(
        words[0],
        [word for word in words[1:] if inside or "/" in word],
        os.path.relpath(real(cwd), real(root)),
    )
    found = {}
    for name in sorted(trust.named_files(command, Path(real(root)))):
        with contextlib.suppress(UsageError):
            found[name] = hashlib.sha256(trust.read_plain(root / name)[0]).hexdigest()
            continue
        found[name] = "unreadable"
    return found


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
            hint="Install it, or name it by its absolute path.",
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
