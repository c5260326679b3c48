"""`laguna mcp`: list, add, remove and test MCP servers, and log in at them."""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import sys
import time
from collections.abc import MutableMapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from laguna_agent.actions import RunCommand
from laguna_agent.config import Config, McpServerConfig, load_config
from laguna_agent.config_file import edit_config
from laguna_agent.errors import ExitCode, LagunaError, UsageError, did_you_mean
from laguna_agent.interfaces.commands.command_line import (
    Parser,
    confirm,
    repository,
    write_json,
    write_line,
)
from laguna_agent.paths import config_dir
from laguna_agent.plurals import counted
from laguna_agent.policy import trust

if TYPE_CHECKING:
    from laguna_agent.tools.mcp.servers import McpServer, ServerSetup

_FETCHES = {"npx", "uvx", "bunx", "pnpx", "pipx", "docker", "podman", "uv", "npm", "deno"}
"""Programs that as a rule fetch the server first."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")


def make_parser() -> Parser:
    """The command line of `laguna mcp`."""
    parser = Parser(
        prog="laguna mcp",
        description="MCP servers, whose tools the model can use. They are in [mcp.NAME] of "
        "config.toml; a repository that you trust may name others.",
        examples=(
            "laguna mcp add time --network -- uvx mcp-server-time",
            "laguna mcp add docs https://docs.example/mcp --header 'Authorization: Bearer ${KEY}'",
            "laguna mcp test time            # start it, show its tools, approve them",
            "laguna mcp login docs",
        ),
    )
    actions = parser.add_actions()
    action = actions.add("list", _list, "List the servers, and what is known of them.")
    action.add_directory()
    action.add_json()
    action = actions.add("add", _add, "Add a server to your config.toml.")
    action.add_argument("name", metavar="NAME")
    action.add_argument("target", metavar="URL|COMMAND", nargs="+",
                        help="an address, or after -- a command with its arguments")  # fmt: skip
    action.add_argument("--env", metavar="NAME=VALUE", action="append", default=[],
                        help="a variable for it; ${NAME} in it is one of yours")  # fmt: skip
    action.add_argument("--header", metavar="NAME: VALUE", action="append", default=[],
                        help="a header of each request, where ${NAME} works too")  # fmt: skip
    action.add_argument("--network", action="store_true", help="let it use the network")
    action.add_argument("--no-sandbox", action="store_true", help="run it with your rights")
    action.add_argument("--declare", metavar="TOOL", action="append", default=[],
                        help="a tool that the model always sees")  # fmt: skip
    action = actions.add("remove", _remove, "Remove a server from your config.toml.")
    action.add_argument("name", metavar="NAME")
    action = actions.add("test", _test, "Start servers, show what they offer, and approve it.")
    action.add_argument("names", metavar="NAME", nargs="+")
    action.add_argument("--approve", action="store_true", help="approve without asking")
    action.add_directory()
    action = actions.add("login", _login, "Log in at a server that wants it, by OAuth.")
    action.add_argument("name", metavar="NAME")
    action.add_argument("--client-id", metavar="ID",
                        help="laguna's id at a server where it cannot register itself")  # fmt: skip
    action.add_argument("--port", type=int, default=0, metavar="PORT",
                        help="loopback port of the redirect (default: any)")  # fmt: skip
    action.add_argument("--forget", action="store_true", help="remove the login")
    action.add_directory()
    return parser


def main(argv: Sequence[str]) -> int:
    """Run `laguna mcp ARGV`; returns the exit code."""
    options = make_parser().parse_args(argv)
    return int(options.run(options))


def _config(root: Path) -> Config:
    trusted = trust.is_trusted(root)
    return load_config(project=root / trust.SETTINGS / "config.toml" if trusted else None)


def _list(options: argparse.Namespace) -> int:
    from laguna_agent.policy.approved_tools import ApprovedToolsFile
    from laguna_agent.tools.mcp.login_file import login_file

    root = repository(options)
    config = _config(root)
    found: list[dict[str, Any]] = []
    for name, server in sorted(config.mcp.items()):
        about = server.url or " ".join([server.command or "", *server.args]).strip()
        found.append(
            {
                "name": name,
                "from": server.origin,
                "enabled": server.enabled,
                "runs": about or None,
                "sandbox": server.sandbox if server.command else None,
                "network": server.network if server.command else None,
                "approved_tools": len(ApprovedToolsFile(name, server, root).tools()),
                "login": bool(server.url) and login_file(_url(server, config)).exists(),
            }
        )
    if options.json:
        write_json(found)
        return ExitCode.DONE
    for one in found:
        notes = [f"from the {one['from']}"] if one["from"] != "user" else []
        notes += [] if one["enabled"] else ["off"]
        notes += ["outside the sandbox"] if one["sandbox"] is False else []
        notes += ["with the network"] if one["network"] else []
        notes += ["logged in"] if one["login"] else []
        approved = one["approved_tools"]
        notes += [f"{counted(approved, 'tool')} approved" if approved else "nothing approved yet"]
        write_line(f"{one['name']}: {one['runs'] or 'settings only'} ({', '.join(notes)})")
    if not found:
        write_line("no MCP servers; `laguna mcp add --help` shows how to add one")
    return ExitCode.DONE


def _url(server: McpServerConfig, config: Config) -> str:
    """The address of a server with its variables filled in, or as it is where that cannot be."""
    from laguna_agent.agent.mcp_setup import address_of
    from laguna_agent.policy.environment import Inheritance

    try:
        return address_of(server, Inheritance.of(config))
    except UsageError:
        return server.url or ""


def _pairs(given: Sequence[str], separator: str, what: str) -> dict[str, str]:
    found = {}
    for text in given:
        name, mark, value = text.partition(separator)
        if not mark or not name.strip():
            raise UsageError(f"`{text}` is no {what}")
        found[name.strip()] = value.strip() if separator == ":" else value
    return found


def _add(options: argparse.Namespace) -> int:
    name, target = options.name, list(options.target)
    if not _NAME.fullmatch(name):
        raise UsageError(f"`{name}` is no name for a server", hint="Use letters, digits, - and _.")
    server: dict[str, Any] = {}
    if target[0].startswith(("http://", "https://")):
        if len(target) > 1 or options.network or options.no_sandbox or options.env:
            raise UsageError("an address takes --header and --declare, and no more")
        server["url"] = target[0]
    else:
        server["command"] = target[0]
        server |= {"args": target[1:]} if target[1:] else {}
        server |= {"network": True} if options.network else {}
        server |= {"sandbox": False} if options.no_sandbox else {}
    if options.env:
        server["env"] = _pairs(options.env, "=", "NAME=VALUE")
    if options.header:
        server["headers"] = _pairs(options.header, ":", "header")
    if options.declare:
        server["declare"] = options.declare
    path = config_dir() / "config.toml"
    if name in load_config().mcp:
        hint = f"laguna mcp remove {name} removes it."
        raise UsageError(f"there is a server `{name}` already", hint=hint)
    McpServerConfig.model_validate(server)

    def change(config: MutableMapping[str, Any]) -> None:
        config.setdefault("mcp", {})[name] = server

    edit_config(path, change)
    write_line(f"added {name} to {path}")
    if Path(target[0]).name in _FETCHES and not (options.network or options.no_sandbox):
        write_line(
            f"{target[0]} may have to fetch the server, for which it needs `network = true` "
            f"under [mcp.{name}]"
        )
    write_line(f"`laguna mcp test {name}` starts it, and shows and approves its tools")
    return ExitCode.DONE


def _remove(options: argparse.Namespace) -> int:
    from laguna_agent.policy.approved_tools import ApprovedToolsFile
    from laguna_agent.tools.mcp.login_file import forget_login

    config = load_config()
    server = config.mcp.get(options.name)
    if server is None:
        hint = did_you_mean(options.name, config.mcp) or None
        raise UsageError(f"your config.toml has no server `{options.name}`", hint=hint)

    def change(tree: MutableMapping[str, Any]) -> None:
        del tree["mcp"][options.name]
        if not tree["mcp"]:
            del tree["mcp"]

    edit_config(config_dir() / "config.toml", change)
    ApprovedToolsFile(options.name, server, Path("/")).forget()
    if server.url is not None:
        forget_login(_url(server, config))
    write_line(f"removed {options.name}")
    return ExitCode.DONE


def _setup(options: argparse.Namespace, name: str) -> ServerSetup:
    """How a configured server is reached. Raises UsageError when there is no such server."""
    from laguna_agent.agent.factory import make_gate
    from laguna_agent.agent.mcp_setup import server_setup
    from laguna_agent.agent.settings import Settings
    from laguna_agent.paths import make_private, repository_state_dir, state_dir
    from laguna_agent.policy.environment import Inheritance

    root = repository(options)
    config = _config(root)
    server = config.mcp.get(name)
    if server is None or not server.is_defined:
        hint = did_you_mean(name, config.mcp) or "`laguna mcp add` adds one."
        untrusted = not trust.is_trusted(root) and not trust.content(root).empty
        hint += " `laguna trust` lets laguna read this repository's." if untrusted else ""
        raise UsageError(f"there is no MCP server `{name}`", hint=hint)
    settings = Settings(cwd=root, config=config, mode=config.mode or "ask")
    make_private(state_dir())
    state = repository_state_dir(root)
    _, sandbox, notices = make_gate(settings, root, state, state, ())
    for notice in notices:
        if notice.level == "warning" and server.command is not None and server.sandbox:
            sys.stderr.write(f"laguna: {notice.text}\n")
    return server_setup(name, server, root, sandbox, Inheritance.of(config), offline=config.offline)


def _test(options: argparse.Namespace) -> int:
    code = ExitCode.DONE
    for name in options.names:
        setup = _setup(options, name)
        if any(isinstance(action, RunCommand) for action in setup.starts):
            question = f"Run it with your rights, as there is no sandbox: {setup.about}?"
            if not (sys.stdin.isatty() and confirm(question, hint="")):
                raise UsageError(
                    f"{name} is not started, as there is no sandbox for it",
                    hint="`laguna doctor` says what is missing; `sandbox = false` under "
                    f"[mcp.{name}] of your config.toml runs your own servers without one.",
                )
        server = asyncio.run(_start_and_show(setup))
        if server is None:
            code = ExitCode.FAILED
        elif new := server.unapproved():
            question = f"Let the model read this from {name}, and use {counted(len(new), 'tool')}?"
            asks = sys.stdin.isatty() and not options.approve
            if options.approve or (asks and confirm(question, hint="")):
                server.approve(new)
                write_line(f"approved {counted(len(new), 'tool')} of {name}")
            else:
                write_line(f"not approved; `laguna mcp test {name} --approve` does that")
    return code


async def _start_and_show(setup: ServerSetup) -> McpServer | None:
    """Start a server, print its tools and end it; None if it does not work."""
    from laguna_agent.tools.mcp.launch import ServerError
    from laguna_agent.tools.mcp.servers import McpServer

    server, start = McpServer(setup.name, setup), time.monotonic()
    try:
        listing = await server.connection.listing()
    except ServerError as error:
        sys.stderr.write(f"laguna: {error}\n")
        config = setup.config
        gets_more = setup.place != "sandbox" or bool(config.env)
        if config.command and config.cwd is None and config.origin == "user" and gets_more:
            sys.stderr.write(
                f'It started in your home; `cwd = "."` under [mcp.{setup.name}] starts it in the '
                "repository.\n"
            )
        if setup.place == "sandbox":
            sys.stderr.write(
                f"It ran in the sandbox, without the network; [mcp.{setup.name}] in config.toml "
                "can change that.\n"
            )
        return None
    finally:
        await server.connection.stop()
    seconds = time.monotonic() - start
    new = {offer.name for offer in server.unapproved()}
    for offer in listing.offers.values():
        mark = ""
        if offer.name in new:
            mark = " (changed)" if offer.name in server.known else " (new)"
        about = "\n".join(f"  {line}" for line in offer.text.split("\n"))
        write_line(f"{offer.name}{mark}\n{about}")
    cut = ", and more that laguna leaves out" if listing.cut else ""
    count = counted(len(listing.offers), "tool")
    write_line(
        f"{setup.name}: {count}{cut}, protocol {server.connection.protocol}, started in "
        f"{seconds:.1f} s"
    )
    return server


def _login(options: argparse.Namespace) -> int:
    from laguna_agent.tools.mcp.login_file import forget_login

    config = _config(repository(options))
    server = config.mcp.get(options.name)
    if server is None or server.url is None:
        raise UsageError(
            f"there is no MCP server `{options.name}` with a `url`",
            hint="A server with a command gets its keys by `env`.",
        )
    if options.forget:
        had = forget_login(_url(server, config))
        write_line(f"logged out of {options.name}" if had else "there was no login")
        return ExitCode.DONE
    asyncio.run(_log_in(_setup(options, options.name), _url(server, config), options))
    return ExitCode.DONE


async def _log_in(setup: ServerSetup, url: str, options: argparse.Namespace) -> None:
    from dataclasses import replace

    from laguna_agent.tools.mcp.launch import ServerError
    from laguna_agent.tools.mcp.login import Callback, new_login
    from laguna_agent.tools.mcp.login_file import login_file
    from laguna_agent.tools.mcp.servers import McpServer

    def show(address: str) -> None:
        write_line(f"Open this address in a browser, and log in:\n\n{address}\n")
        write_line("If the browser runs on another machine, paste here the address it ends at:")

    callback = Callback(show, _read_line)
    redirect = await callback.start(options.port)
    before = login_file(url).stat().st_mtime_ns if login_file(url).exists() else 0
    # People take their time.
    patient = setup.config.model_copy(update={"startup_timeout": 900.0})
    login = new_login(url, redirect, callback, client_id=options.client_id)
    server = McpServer(setup.name, replace(setup, config=patient, login=lambda address: login))
    try:
        await server.connection.listing()
    except ServerError as error:
        raise LagunaError(f"the login failed: {error}") from None
    finally:
        await server.connection.stop()
        await callback.stop()
    if login_file(url).exists() and login_file(url).stat().st_mtime_ns != before:
        write_line(f"logged in at {setup.name}; the tokens are in {login_file(url)}")
    else:
        write_line(f"{setup.name} answers without a login")


async def _read_line() -> str:
    """A line of standard input, when there is one."""
    loop = asyncio.get_running_loop()
    line: asyncio.Future[str] = loop.create_future()

    def read() -> None:
        data = os.read(0, 1 << 16)
        loop.remove_reader(0)
        if data and not line.done():
            line.set_result(data.decode("utf-8", "replace"))

    try:
        loop.add_reader(0, read)
    except (OSError, ValueError):  # a file, which is no place for people
        return await line
    try:
        return await line
    finally:
        loop.remove_reader(0)
