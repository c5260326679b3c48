"""Started in a subdirectory: one directory is told and used, and it is the person's."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from laguna_agent.agent.session import Session
from laguna_agent.events import Event, Reply, ToolFinished, UserMessage
from laguna_agent.interfaces.tui.mentions.mention_source import Matches, MentionSource
from laguna_agent.models.conversation import Message
from support.scripted import Script, ScriptedConversation, call, calls, end_of, open_scripted, take


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with two packages."""
    root = tmp_path / "shop"
    for path, text in {
        "README.md": "shop\n",
        "packages/app/src/cart.py": "def total(items):\n    return sum(items)\n",
        "packages/app/test_cart.py": "def test_total():\n    pass\n",
        "packages/app/AGENTS.md": "Totals are in cents.\n",
        "packages/lib/money.py": "def total_of_cents():\n    return 1\n",
    }.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    for command in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "start"]):
        git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *command]
        subprocess.run(git, cwd=root, check=True)
    return root


async def work(
    where: Path, script: Script, text: str = "Go", **options: Any
) -> tuple[list[Event], ScriptedConversation, Session]:
    session, talk = await open_scripted(where, [*script, Reply(text="Done.")], **options)
    events = await take(session, text)
    await session.aclose()
    return events, talk, session


def results(events: list[Event]) -> list[str]:
    return [event.content for event in events if isinstance(event, ToolFinished)]


async def test_the_first_message_tells_the_directory_and_its_files(root: Path) -> None:
    where = root / "packages" / "app"
    _, talk, session = await work(where, [], "Look at src/cart.py")
    first = next(entry.content for entry in talk.entries if isinstance(entry, Message))
    assert f"Directory: {where}, in the repository {root}" in first
    assert "\nsrc/cart.py\n" in first
    assert "packages/app/src" not in first
    assert "return sum(items)" in first
    assert session.root == root


@pytest.mark.parametrize(
    ("made", "shows"),
    [
        (call("read", path="src/cart.py"), "return sum"),
        (call("read", path="../lib/money.py"), "total_of_cents"),
        (call("read", path="packages/lib/money.py"), "total_of_cents"),  # as git prints it
        (call("read", path="."), "cart.py"),
        (call("search", pattern="def total"), "src/cart.py:"),
        (call("search", pattern="def total", path=".."), "../lib/money.py:"),
        (call("search", pattern="def total", mode="count"), "src/cart.py: 1"),
        (call("search", pattern="cart", mode="files"), "src/cart.py"),
        (calls(("symbols", {"action": "definition", "name": "total"})), "src/cart.py"),
        (call("symbols", action="outline", path="src"), "src/cart.py ("),
        (call("symbols", action="map"), "src/cart.py:"),
        (calls(("symbols", {"action": "references", "name": "total"})), "src/cart.py:"),
        (call("shell", command="ls; cat src/cart.py"), "return sum"),
        (call("git", action="log", target="src/cart.py"), "start"),
    ],
    ids=lambda value: value if isinstance(value, str) else str(value.tool_calls[0].arguments),
)
async def test_tools_take_and_give_paths_from_there(root: Path, made: Reply, shows: str) -> None:
    events, _, _ = await work(root / "packages" / "app", [made])
    (content,) = results(events)
    assert shows in content
    assert "packages/app/" not in content


async def test_files_are_written_there_and_in_the_whole_repository(root: Path) -> None:
    script = [
        call("write", path="src/new.py", content="x = 1\n"),
        call("write", path="../lib/new.py", content="y = 1\n"),
        call("edit", path="src/cart.py", old="sum(items)", new="sum(items, 0)"),
        call("shell", command="echo z > made.txt; echo w > ../lib/made.txt"),
        call("git", action="add", target="src/new.py"),
    ]
    events, _, _ = await work(root / "packages" / "app", script)
    app, lib = root / "packages" / "app", root / "packages" / "lib"
    for path in (app / "src/new.py", lib / "new.py", app / "made.txt", lib / "made.txt"):
        assert path.is_file()
    # Scripts read paths of the repository, wherever it was started.
    changed = end_of(events).files_changed
    assert {"packages/app/src/new.py", "packages/lib/new.py", "packages/app/made.txt"} <= {*changed}
    staged = ["git", "diff", "--cached", "--name-only"]
    listed = subprocess.run(staged, cwd=root, capture_output=True, text=True, check=True).stdout
    assert listed == "packages/app/src/new.py\n"


async def test_outside_of_the_repository_stays_outside(root: Path) -> None:
    (root.parent / "secret.txt").write_text("secret")
    script = [
        call("read", path="../../../secret.txt"),
        call("write", path="../../../x", content="x"),
    ]
    events, _, _ = await work(root / "packages" / "app", script)
    assert all("outside the workspace" in content for content in results(events))
    assert not (root.parent / "x").exists()


@pytest.mark.parametrize(
    ("text", "options", "command"),
    [
        ("Make it", {"check": "test -f src/new.py"}, "test -f src/new.py"),
        ("Make test_cart.py pass", {}, "python3 -m pytest -q test_cart.py"),
    ],
)
async def test_the_check_runs_there(
    root: Path,
    text: str,
    options: dict[str, Any],
    command: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The system's own python3 may have no pytest.
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    script = [call("write", path="src/new.py", content="x = 1\n"), call("done", summary="Made.")]
    events, _, session = await work(root / "packages" / "app", script, text, **options)
    check = end_of(events).check
    assert check is not None
    assert (check.command, check.exit_code) == (command, 0)
    assert session.root == root


async def test_when_the_directory_is_gone_commands_run_at_the_root(root: Path) -> None:
    move = call("shell", command="mv money.py .. && cd .. && rmdir lib")
    check = {"check": "test -f packages/money.py"}
    events, _, _ = await work(root / "packages" / "lib", [move, call("done", summary="M")], **check)
    assert not (root / "packages" / "lib").exists()
    assert end_of(events).status == "done"


async def test_a_session_that_goes_on_elsewhere_is_told_so(root: Path) -> None:
    where = root / "packages" / "app"
    await work(where, [call("shell", command="pwd")])
    events, talk, _ = await work(root, [call("shell", command="pwd")], continue_last=True)
    said = [entry.content for entry in talk.entries if isinstance(entry, Message)]
    assert any(f"Directory: {root}. Paths are relative to it now." in text for text in said)
    assert results(events) == [str(root)]
    events, talk, _ = await work(root, [], "Again", continue_last=True)
    message = next(event for event in events if isinstance(event, UserMessage))
    assert "Directory:" not in message.context


async def test_what_changed_meanwhile_is_named_from_there(root: Path) -> None:
    where = root / "packages" / "app"

    async def nobody(_: Any) -> Any:
        raise AssertionError("nothing is asked")

    session, _ = await open_scripted(where, [Reply(text="Done.")], approver=nobody)
    await take(session, "Go")
    (where / "src" / "cart.py").write_text("changed\n")
    events = await take(session, "Go on")
    await session.aclose()
    message = next(event for event in events if isinstance(event, UserMessage))
    assert "\nsrc/cart.py" in message.context
    assert "packages/" not in message.context


async def test_mentions_are_named_from_there(root: Path) -> None:
    source = MentionSource(root, root / "packages" / "app")
    offered: list[Matches] = []
    await source.search("cart", offered.append)
    await source.search("money", offered.append)
    await source.search("total_of_cents", offered.append)
    await asyncio.to_thread(source.close)
    names = {hit.name for matches in offered for hit in matches.hits}
    assert {"src/cart.py", "../lib/money.py"} <= names
    assert any(name.startswith("../lib/money.py:") for name in names)
