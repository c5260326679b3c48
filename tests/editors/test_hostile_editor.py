"""A hostile or clumsy editor: nothing hangs, nothing leaks, and errors say what is wrong."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from acp import schema

from laguna_agent.interfaces.acp.content import prompt_text
from laguna_agent.interfaces.acp.server import AcpServer
from support.editor import Editor, PlayedModel
from support.model_server import Exchange, calls, says

LIMIT = 64 << 20


def embedded(uri: str, text: str = "TOKEN=hunter2") -> schema.EmbeddedResourceContentBlock:
    resource = schema.TextResourceContents(uri=uri, text=text)
    return schema.EmbeddedResourceContentBlock(type="resource", resource=resource)


@pytest.mark.slow
@pytest.mark.parametrize("name", [".env", "%2eenv", "notes.txt", "x/../.env", "keys/id_ed25519"])
@pytest.mark.parametrize("form", ["file://{}/{}", "file:///{}/{}", "{}/{}", "{}/{}#L1"])
def test_files_with_secrets_are_named_and_not_attached(
    folder: Path, name: str, form: str, laguna_home: Path
) -> None:
    (folder / ".env").write_text("TOKEN=hunter2\n")
    (folder / "notes.txt").symlink_to(".env")
    text = prompt_text([embedded(form.format(folder, name))], folder)
    assert "hunter2" not in text
    assert "may hold secrets" in text


def test_places_outside_that_hold_secrets_are_not_attached(folder: Path, laguna_home: Path) -> None:
    for uri in (
        "file:///etc/shadow",
        "file:///proc/self/environ",
        Path.home().as_uri() + "/.ssh/x",
    ):
        assert "hunter2" not in prompt_text([embedded(uri)], folder)
    for uri in ("untitled:1", "https://example.org/.env", "git:/a", "file:///etc/hosts", ""):
        assert "hunter2" in prompt_text([embedded(uri)], folder)


@pytest.mark.parametrize(
    "uri", ["http://[::1", "http://[bad]x/", "file://[", "//[", "\0", "file:///\0"]
)
def test_an_address_that_is_none_is_shown_as_it_is(folder: Path, uri: str) -> None:
    link = schema.ResourceContentBlock(type="resource_link", uri=uri, name="n")
    assert prompt_text([link, embedded(uri)], folder).endswith("```\nTOKEN=hunter2\n```")


def test_a_message_that_is_too_long_is_refused_by_its_id(editor: Editor) -> None:
    head = b'{"jsonrpc": "2.0", "id": "a-1", "method": "session/prompt", "params": {"x": "'
    editor.write(head + b"a" * LIMIT + b'"}}')
    editor.until(lambda message: message.get("id") == "a-1" and "64 MiB" in str(message["error"]))
    editor.write(b'{"jsonrpc": "2.0", "params": {"id": 7, "x": "' + b"a" * LIMIT + b'"}}')
    assert editor.answer(None)["error"]["code"] == -32600


def test_a_prompt_that_no_context_holds_is_refused_and_the_session_goes_on(
    editor: Editor, folder: Path, model: PlayedModel
) -> None:
    session = editor.new(folder)
    prompt = {"sessionId": session, "prompt": [{"type": "text", "text": "word " * 1_000_000}]}
    error = editor.error("session/prompt", prompt)
    assert error["code"] == -32602
    assert "4,999,999 characters" in error["message"]
    model.play(says("Yes."))
    editor.prompt(session, "Short?")
    assert len(json.dumps(model.messages)) < 20_000


def test_few_of_many_mistakes_are_named(editor: Editor, folder: Path) -> None:
    wrong = {"sessionId": editor.new(folder), "prompt": [{"type": "text", "text": 5}] * 5_000}
    assert len(json.dumps(editor.error("session/prompt", wrong))) < 2_000


def test_what_asks_for_a_session_does_not_disturb_its_turn(
    editor: Editor, folder: Path, model: PlayedModel
) -> None:
    session = editor.new(folder)
    editor.request("session/set_mode", {"sessionId": session, "modeId": "allow-all"})
    model.play(says("One."))
    editor.prompt(session, "First")
    wait = json.dumps({"command": "while [ ! -e stop ]; do sleep 0.05; done"})
    model.play(calls(("shell", wait)), says("Two."))
    number = editor.send_prompt(session, "Second")
    editor.until(lambda m: m.get("params", {}).get("update", {}).get("status") == "in_progress")
    same = {"sessionId": session, "cwd": str(folder), "mcpServers": []}
    assert editor.error("session/load", same)["code"] == -32600
    editor.request("session/resume", same)
    editor.request("session/fork", same)
    (folder / "stop").touch()
    assert editor.answer(number)["result"]["stopReason"] == "end_turn"
    ends = [u["status"] for u in editor.updates(session, "tool_call_update") if "status" in u]
    assert ends == ["in_progress", "completed"]


def test_settings_that_were_changed_before_a_prompt_hold_for_it(
    editor: Editor, folder: Path, model: PlayedModel
) -> None:
    """And a session that is closed meanwhile is not opened again."""
    model.server.gets["/v1/models"] = {"data": [{"id": "m"}, {"id": "other"}]}
    model.play(says("Hello."))
    editor.prompt(editor.new(folder), "Which models are there?")
    session = editor.new(folder)
    option = {"sessionId": session, "configId": "model"}
    first = editor.send("session/set_config_option", {**option, "value": "s/other"})
    second = editor.send_prompt(session, "Hi")
    third = editor.send("session/set_config_option", {**option, "value": "s/m"})
    assert "result" in editor.answer(first)
    assert "result" in editor.answer(second)
    assert "is running" in editor.answer(third)["error"]["message"]
    assert model.server.requests[-1]["model"] == "other"
    numbers = [
        editor.send("session/set_config_option", {**option, "value": "s/m"}),
        editor.send("session/close", {"sessionId": session}),
    ]
    assert "result" in editor.answer(numbers[1])
    same = {"sessionId": session, "cwd": str(folder), "mcpServers": []}
    editor.request("session/load", same)
    editor.prompt(session, "Nobody else holds the record")


def test_the_models_of_a_provider_are_offered_without_asking_it(
    editor: Editor, folder: Path, model: PlayedModel
) -> None:
    model.server.gets["/v1/models"] = {"data": [{"id": "m"}, {"id": "big"}, {"id": "nomic-embed"}]}
    model.play(says("Hello."))
    editor.prompt(editor.new(folder), "Which models are there?")
    made = editor.request("session/new", {"cwd": str(folder), "mcpServers": []})
    [option] = [option for option in made["configOptions"] if option["id"] == "model"]
    assert [value["value"] for value in option["options"]] == ["s/m", "s/big"]


def test_a_storm_of_cancels_ends_a_turn_once(
    editor: Editor, folder: Path, model: PlayedModel
) -> None:
    async def silent(exchange: Exchange) -> None:
        await exchange.closed()

    session = editor.new(folder)
    model.play(silent, says("Here."))
    number = editor.send_prompt(session, "Wait")
    for _ in range(300):
        editor.notify("session/cancel", {"sessionId": session})
    assert editor.answer(number)["result"]["stopReason"] == "cancelled"
    model.play(says("Here."))
    assert editor.prompt(session, "And now?")["stopReason"] == "end_turn"


def test_more_servers_than_a_project_may_name_are_refused(editor: Editor, folder: Path) -> None:
    servers = [
        {"name": f"s{n}", "command": "/bin/false", "args": [], "env": []} for n in range(101)
    ]
    error = editor.error("session/new", {"cwd": str(folder), "mcpServers": servers})
    assert "more than 100 MCP servers" in error["message"]


async def test_servers_at_an_address_are_announced_only_where_the_package_is(
    laguna_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Nobody:
        capabilities = schema.ClientCapabilities()

    async def announced() -> Any:
        answer = await AcpServer(Nobody(), {}).handle("initialize", {"protocolVersion": 1}, False)  # type: ignore[arg-type]
        return answer["agentCapabilities"]["mcpCapabilities"]["http"]

    assert await announced() is True
    monkeypatch.setitem(sys.modules, "mcp", None)
    assert await announced() is False
