"""Where MCP servers are defined, and which definition holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from laguna_agent.config import Config, McpServerConfig, load_config, mcp_servers
from laguna_agent.errors import UsageError
from laguna_agent.paths import config_dir
from laguna_agent.policy import trust


def _load(root: Path, *, own: str = "", project: str = "", shared: Any = None) -> Config:
    config_dir().mkdir(parents=True, exist_ok=True)
    (config_dir() / "config.toml").write_text(own)
    (root / ".laguna").mkdir(exist_ok=True)
    (root / ".laguna" / "config.toml").write_text(project)
    if shared is not None:
        (root / ".mcp.json").write_text(json.dumps({"mcpServers": shared}))
    return load_config(project=root / ".laguna" / "config.toml")


def test_servers_come_from_the_user_the_project_and_its_mcp_json(root: Path) -> None:
    config = _load(
        root,
        own='[mcp.a]\ncommand = "a"',
        project='[mcp.b]\nurl = "https://b.example/mcp"',
        shared={"c": {"command": "c", "args": ["-x"], "type": "stdio", "alwaysAllow": ["y"]}},
    )

    assert {name: server.origin for name, server in config.mcp.items()} == {
        "a": "user",
        "b": "project",
        "c": "project",
    }
    assert config.mcp["c"].args == ["-x"]


def test_what_the_user_defines_wins_as_a_whole(root: Path) -> None:
    config = _load(
        root,
        own='[mcp.a]\ncommand = "mine"\nsandbox = false',
        project='[mcp.a]\ncommand = "theirs"\nenv = { X = "1" }',
        shared={"a": {"command": "shared"}},
    )

    assert config.mcp["a"].command == "mine"
    assert config.mcp["a"].env == {}
    assert config.mcp["a"].origin == "user"


def test_own_settings_hold_for_a_server_of_the_project_but_it_stays_in_the_sandbox(
    root: Path,
) -> None:
    own = '[mcp.a]\nnetwork = true\nsandbox = false\ndeclare = ["t"]'
    config = _load(root, own=own, shared={"a": {"command": "theirs"}})

    server = config.mcp["a"]
    assert (server.command, server.network, server.sandbox) == ("theirs", True, True)
    assert server.declare == ["t"]
    assert server.origin == "project"


@pytest.mark.parametrize("key", ["sandbox", "network"])
def test_a_project_cannot_widen_what_its_server_may_do(root: Path, key: str) -> None:
    with pytest.raises(UsageError, match=f"a project may not set `mcp.a.{key}`"):
        _load(root, project=f'[mcp.a]\ncommand = "x"\n{key} = true')
    shared = {"a": {"command": "x", "sandbox": False, "network": True}}
    assert _load(root, project="", shared=shared).mcp["a"].sandbox


def test_the_editor_hands_over_servers_and_own_settings_hold_for_them(root: Path) -> None:
    config = _load(root, own="[mcp.e]\nsandbox = false\n[mcp.off]\nenabled = false")
    handed = {name: McpServerConfig(command=name) for name in ("e", "off", "plain")}

    servers = mcp_servers(config, handed)

    assert set(servers) == {"e", "plain"}
    assert not servers["e"].sandbox
    assert servers["e"].origin == servers["plain"].origin == "editor"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("not json", "is not valid JSON"),
        ("[" * 100_000, "is not valid JSON"),
        ('{"mcpServers": []}', "`mcpServers` is not an object"),
        ('{"mcpServers": {"a": 3}}', "`mcpServers.a` is not an object"),
        ('{"mcpServers": {"a": {"command": 3}}}', ".mcp.json: `mcp.a.command`"),
        ('{"mcpServers": {"a": {"command": "x", "url": "http://y"}}}', "not both"),
        ('{"mcpServers": {"a": {"url": "ftp://y"}}}', "begins with http"),
    ],
)
def test_a_mistake_in_mcp_json_is_named_with_the_file(root: Path, text: str, said: str) -> None:
    (root / ".mcp.json").write_text(text)
    with pytest.raises(UsageError, match=r"mcp\.json") as caught:
        load_config(project=root / ".laguna" / "config.toml")
    assert said in str(caught.value)


def test_trust_covers_mcp_json_and_the_scripts_that_its_servers_run(root: Path) -> None:
    (root / "server.py").write_text("print()")
    shared = {"mcpServers": {"a": {"command": "python3", "args": ["server.py"]}}}
    (root / ".mcp.json").write_text(json.dumps(shared))

    found = trust.trust(root)

    assert set(found.files) == {".mcp.json", "server.py"}
    assert found.commands == ((".mcp.json", "python3 server.py"),)
    (root / "server.py").write_text("print('other')")
    assert not trust.is_trusted(root)


def test_trust_covers_scripts_of_servers_in_the_projects_toml(root: Path) -> None:
    (root / ".laguna").mkdir()
    (root / "server.js").write_text("")
    text = '[mcp.a]\ncommand = "node"\nargs = ["server.js"]'
    (root / ".laguna" / "config.toml").write_text(text)

    assert "server.js" in trust.content(root).files
