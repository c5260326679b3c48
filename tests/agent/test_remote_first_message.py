"""What the first messages of a conversation carry to a server on another machine."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from laguna_agent.config import Config, ProviderConfig
from laguna_agent.events import Event, Reply, UserMessage
from laguna_agent.models.servers.providers import open_provider
from support.scripted import open_scripted, take


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A small repository with a tracked file, an untracked one, and an ignored one."""
    root = tmp_path / "shop"
    root.mkdir()
    (root / "cart.py").write_text("TRACKED = 1\n")
    (root / ".gitignore").write_text("*.log\n")
    subprocess.run(["git", "init", "-q", "-b", "main"], cwd=root, check=True)
    subprocess.run(["git", "add", "."], cwd=root, check=True)
    (root / "customers.txt").write_text("UNTRACKED\n")
    (root / "run.log").write_text("IGNORED\n")
    return root


async def contexts(root: Path, *, remote: bool, texts: list[str], **options: Any) -> list[str]:
    session, talk = await open_scripted(root, [Reply(text="Yes.")], **options)
    talk.info.remote = remote
    events: list[Event] = []
    for number, text in enumerate(texts):
        (root / "cart.py").write_text(f"TRACKED = {number}\n")
        (root / "customers.txt").write_text(f"UNTRACKED {number}\n")
        events += await take(session, text)
    await session.aclose()
    return [event.context for event in events if isinstance(event, UserMessage)]


async def _nobody(_: Any) -> Any:
    raise AssertionError("nothing is asked")


@pytest.mark.parametrize("remote", [True, False])
@pytest.mark.parametrize("text", ["Look around", "Look at customers.txt and cart.py"])
async def test_a_remote_server_is_sent_tracked_files_only(
    root: Path, remote: bool, text: str
) -> None:
    first, second = await contexts(root, remote=remote, texts=[text, "Go on"], approver=_nobody)
    assert "TRACKED = 0" in first
    assert "cart.py" in second
    for word in ("customers.txt", "UNTRACKED"):
        assert (word in first) is not remote
    assert ("customers.txt" in second) is not remote
    assert "run.log" not in first


async def test_without_git_a_remote_server_is_sent_no_file(tmp_path: Path) -> None:
    (tmp_path / "cart.py").write_text("PLAIN = 1\n")
    session, talk = await open_scripted(tmp_path, [Reply(text="Yes.")])
    talk.info.remote = True
    events = await take(session, "Look at cart.py")
    await session.aclose()
    (message,) = [event for event in events if isinstance(event, UserMessage)]
    assert "cart.py" not in message.context


@pytest.mark.parametrize(
    ("url", "remote"),
    [
        ("http://127.0.0.1:9/v1", False),
        ("http://localhost:9/v1", False),
        ("http://192.0.2.7:9/v1", True),
        ("https://models.invalid/v1", True),
    ],
)
async def test_which_servers_are_on_another_machine(url: str, remote: bool) -> None:
    config = Config(providers={"there": ProviderConfig(url=url, context=4096)})
    conversation = await open_provider("there/model", config, environment={})
    assert conversation.info.remote is remote
    await conversation.aclose()
