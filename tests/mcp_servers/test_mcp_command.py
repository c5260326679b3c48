"""`laguna mcp`: servers are added, tested, approved and removed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from laguna_agent.cli import main
from laguna_agent.config import load_config
from laguna_agent.paths import config_dir

SERVER = Path(__file__).parents[1] / "support" / "mcp_server.py"


@pytest.fixture
def here(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (root / "server.py").write_bytes(SERVER.read_bytes())
    monkeypatch.chdir(root)
    return root


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["mcp", *arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_a_server_is_added_tested_approved_and_removed_and_comments_stay(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = config_dir() / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text("# mine\nmode = 'ask' # always\n")
    command = [sys.executable, "-I", "-S", str(here / "server.py"), "banner"]
    add = ["add", "test", "--env", "A=${B:-c}", "--declare", "add", "--", *command]

    assert run(capsys, *add)[0] == 0
    server = load_config().mcp["test"]
    assert [server.command, *server.args] == command
    assert (server.env, server.declare) == ({"A": "${B:-c}"}, ["add"])
    assert run(capsys, *add)[0] == 2

    code, out, _ = run(capsys, "test", "test")
    assert code == 0
    assert "add (new)\n  Add two numbers.\n" in out
    assert "test: 3 tools, protocol 2025-11-25, started in" in out
    assert "not approved; `laguna mcp test test --approve` does that" in out
    assert "nothing approved yet" in run(capsys, "list")[1]
    assert "approved 3 tools of test" in run(capsys, "test", "test", "--approve")[1]
    _, again, _ = run(capsys, "test", "test")
    assert "(new)" not in again
    assert "approve" not in again
    listed = json.loads(run(capsys, "list", "--json")[1])
    assert [(one["name"], one["approved_tools"]) for one in listed] == [("test", 3)]

    assert run(capsys, "remove", "test")[0] == 0
    assert config.read_text().rstrip() == "# mine\nmode = 'ask' # always"
    assert run(capsys, "remove", "test")[0] == 2


def test_what_does_not_work_is_said_in_lines_with_what_to_do(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "add", "dead", "--", sys.executable, "-I", "-S", "server.py", "dead")
    run(capsys, "add", "gone", "--", "no-such-program")
    code, _, err = run(capsys, "test", "dead", "gone")
    assert code == 1
    assert "ended while it started: it printed: cannot find my configuration" in err
    assert "It ran in the sandbox, without the network" in err
    assert "no-such-program is not found" in err
    run(capsys, "add", "home", "--env", "A=b", "--", sys.executable, "-I", "-S", "server.py")
    assert 'It started in your home; `cwd = "."`' in run(capsys, "test", "home")[2]
    code, _, err = run(capsys, "test", "daed")
    assert (code, "Did you mean `dead`?" in err) == (2, True)
    assert run(capsys, "login", "dead")[0] == 2
    assert run(capsys, "add", "x y", "z")[0] == 2
    assert run(capsys, "add", "x", "http://a.example", "more")[0] == 2
    out = run(capsys, "add", "fetched", "--", "npx", "-y", "some-server")[1]
    assert "`network = true` under [mcp.fetched]" in out


def test_a_server_of_a_repository_that_is_not_trusted_is_not_there(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    servers = {"own": {"command": sys.executable, "args": ["-I", "-S", "server.py"]}}
    (here / ".mcp.json").write_text(json.dumps({"mcpServers": servers}))
    code, _, err = run(capsys, "test", "own")
    assert code == 2
    assert "`laguna trust` lets laguna read this repository's" in err
    assert main(["trust", "--yes"]) == 0
    assert "server.py" in capsys.readouterr().out
    assert run(capsys, "test", "own")[0] == 0
    assert "from the project" in run(capsys, "list")[1]
