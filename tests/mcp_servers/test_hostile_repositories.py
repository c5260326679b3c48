"""Servers that a repository names or reaches into: nothing runs, connects or is taken unasked."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from laguna_agent.actions import Network, RunCommand
from laguna_agent.agent.mcp_setup import server_setup
from laguna_agent.config import McpServerConfig, load_config
from laguna_agent.errors import UsageError
from laguna_agent.policy import trust
from laguna_agent.policy.environment import Inheritance
from laguna_agent.policy.gate import Gate
from laguna_agent.policy.sandbox import NoSandbox, SandboxKind, make_sandbox
from laguna_agent.policy.sensitive_paths import home
from laguna_agent.tools.mcp.launch import Launch, ServerError
from laguna_agent.tools.mcp.servers import McpServers, ServerSetup

Make = Callable[..., ServerSetup]


@pytest.fixture
def sandbox(root: Path, tmp_path: Path) -> SandboxKind:
    return make_sandbox(
        workspace=root, enabled=True, network=False, writable=[], state_dir=tmp_path / "state"
    ).sandbox


@pytest.fixture
def make(root: Path, sandbox: SandboxKind) -> Make:
    def setup(*, origin: Any = "project", inside: Any = sandbox, **config: Any) -> ServerSetup:
        server = McpServerConfig(**config).defined_by(origin)
        return server_setup("test", server, root, inside, Inheritance(), offline=False)

    return setup


async def _launch(setup: ServerSetup) -> Launch:
    launch = await setup.reach()
    assert isinstance(launch, Launch)
    return launch


async def test_variables_of_a_server_are_set_in_the_sandbox_only(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDITION", "$(touch no) \"'")
    # What obeys them outside of the sandbox writes a file there, or runs what they name.
    given = {"LD_DEBUG": "files", "LD_DEBUG_OUTPUT": str(tmp_path / "leak"), "BASH_ENV": "./x"}
    given |= {"odd-name": "1", "TEXT": "${EDITION}"}
    launch = await _launch(make(command="/usr/bin/env", env=given))

    done = subprocess.run(
        launch.argv, env=launch.environment, cwd=launch.cwd, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "odd-name=1" in lines
    assert "TEXT=$(touch no) \"'" in lines
    assert f"LD_DEBUG_OUTPUT={tmp_path / 'leak'}" in lines
    assert not any(line.startswith("LAGUNA_") for line in lines)
    assert not list(tmp_path.glob("leak*"))


@pytest.mark.parametrize("name", ["", "A=B"])
async def test_what_is_no_name_of_a_variable_is_refused(make: Make, name: str) -> None:
    with pytest.raises(ServerError, match="cannot be set"):
        await make(command="/usr/bin/env", env={name: "1"}).reach()


async def test_the_host_that_is_asked_for_is_the_one_that_is_connected_to(make: Make) -> None:
    hidden = make(url="${NOT_SET:-https://evil.example/mcp}")
    assert hidden.starts == (Network(host="evil.example"),)
    assert make(url="https://a.example/mcp", origin="user").starts == ()
    for url in (
        "https://good.example\\@evil.example/mcp",
        "https://good.example@evil.example/mcp",
        "https://gооd.example/mcp",
        "${NOT_SET:-file:///etc/passwd}",
        "${NOT_SET}",
    ):
        setup = make(url=url)
        assert setup.starts == ()
        with pytest.raises(ServerError, match="cannot be used"):
            await setup.reach()


@pytest.mark.parametrize("origin", ["project", "user"])
def test_without_a_sandbox_a_server_is_asked_about_before_it_starts(
    make: Make, root: Path, origin: Any
) -> None:
    none = NoSandbox(network=False, inheritance=Inheritance())
    (action,) = make(command="python3", args=["x.py"], origin=origin, inside=none).starts
    assert isinstance(action, RunCommand)
    gate = Gate(
        mode="auto",
        plan=False,
        workspace=root,
        rules=(),
        sandboxed=False,
        network=False,
        trusted=True,
    )
    assert gate.decide(action, tool="mcp").verdict == "ask"
    own = make(command="python3", sandbox=False, origin="user", inside=none)
    assert own.starts == ()


@pytest.mark.parametrize(
    ("origin", "settings"),
    [
        ("project", {"network": True}),
        ("user", {"network": True, "cwd": "."}),
        ("user", {"sandbox": False, "cwd": "."}),
        ("user", {"env": {"KEY": "x"}, "cwd": "."}),
        ("user", {"network": True, "cwd": "sub"}),
    ],
)
async def test_a_script_that_gets_more_than_commands_do_is_not_changed_meanwhile(
    make: Make, root: Path, origin: Any, settings: dict[str, Any]
) -> None:
    (root / "sub").mkdir()
    script = root / ("sub" if settings.get("cwd") == "sub" else ".") / "server.py"
    script.write_text("pass")
    setup = make(command="/usr/bin/env", args=["python3", "server.py"], origin=origin, **settings)
    await _launch(setup)
    script.write_text("steal()")
    with pytest.raises(ServerError, match=r"server\.py changed since the session began"):
        await setup.reach()


async def test_a_server_with_less_than_commands_have_may_be_worked_on(
    make: Make, root: Path
) -> None:
    setup = make(command="/usr/bin/env", args=["python3", "server.py"], origin="user")
    (root / "server.py").write_text("pass")
    await _launch(setup)


@pytest.mark.parametrize(
    ("settings", "at_home"),
    [
        ({}, False),
        ({"network": True}, True),
        ({"sandbox": False}, True),
        ({"env": {"A": ""}}, True),
    ],
)
async def test_what_gets_more_than_commands_does_not_start_where_a_repository_lies(
    make: Make, root: Path, settings: dict[str, Any], at_home: bool
) -> None:
    program = {"command": "/usr/bin/env", **settings}
    assert (await _launch(make(origin="user", **program))).cwd == (home() if at_home else root)
    assert (await _launch(make(origin="user", cwd=".", **program))).cwd == Path(f"{root}/.")
    if "sandbox" not in settings:
        assert (await _launch(make(**program))).cwd == root


def test_trust_covers_a_script_that_is_named_from_another_directory(root: Path) -> None:
    (root / "sub").mkdir()
    (root / "sub" / "server.py").write_text("pass")
    server = {"command": "python3", "args": ["server.py"], "cwd": "sub"}
    (root / ".mcp.json").write_text(json.dumps({"mcpServers": {"a": server}}))
    found = trust.trust(root)
    assert set(found.files) == {".mcp.json", "sub/server.py"}
    assert found.commands == ((".mcp.json", "cd sub && python3 server.py"),)
    (root / "sub" / "server.py").write_text("steal()")
    assert not trust.is_trusted(root)


def test_a_command_that_changes_its_directory_without_end_is_read_in_no_time(root: Path) -> None:
    (root / "a").mkdir()
    (root / "a" / "x").write_text("")
    assert trust.named_files("cd a && " * 2_000 + "./x", root) == {"a/x"}


def test_a_project_takes_no_name_of_the_persons_servers_away(make: Make) -> None:
    from dataclasses import replace

    own = replace(make(command="mine", origin="user"), name="github")
    others = ["_github", "GitHub", "github ", "git/hub"]
    servers = McpServers([*(replace(make(command="x"), name=name) for name in others), own])
    assert servers.by_name["github"].setup is own
    assert len({name.casefold() for name in servers.by_name}) == 5


@pytest.mark.parametrize("file", [".mcp.json", "config.toml"])
def test_thousands_of_servers_are_refused(root: Path, file: str) -> None:
    (root / ".laguna").mkdir()
    names = [f"s{number}" for number in range(101)]
    if file == ".mcp.json":
        servers = {name: {"command": "x"} for name in names}
        (root / file).write_text(json.dumps({"mcpServers": servers}))
    else:
        text = "\n".join(f'[mcp.{name}]\ncommand = "x"' for name in names)
        (root / ".laguna" / file).write_text(text)
    with pytest.raises(UsageError, match="names more than 100"):
        load_config(project=root / ".laguna" / "config.toml")
