"""What any client may do to the agent: wrong messages, unknown things, sessions of all kinds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.editor import Editor, PlayedModel
from support.model_server import calls, says


def test_it_says_who_it_is_and_what_it_can(editor: Editor) -> None:
    told = editor.initialized
    assert told["protocolVersion"] == 1
    assert told["agentInfo"]["name"] == "laguna"
    assert [method["id"] for method in told["authMethods"]] == ["local"]
    can = told["agentCapabilities"]
    assert can["loadSession"] is True
    assert can["promptCapabilities"] == {"image": False, "audio": False, "embeddedContext": True}
    assert set(can["sessionCapabilities"]) == {"list", "delete", "fork", "resume", "close"}
    again = editor.request("initialize", {"protocolVersion": 99, "clientCapabilities": {}})
    assert again["protocolVersion"] == 1


def test_authenticating_needs_nothing_where_there_is_a_model(editor: Editor) -> None:
    assert editor.request("authenticate", {"methodId": "local"}) == {}
    assert editor.error("authenticate", {"methodId": "oauth"})["code"] == -32602


@pytest.mark.slow
@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"nonsense", -32700),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "initialize"', -32700),
        (b'{"a": ' * 5_000, -32700),
        (b"\xff\xfe", -32700),
        (b"[]", -32600),
        (b'[{"jsonrpc": "2.0", "id": 1, "method": "initialize"}]', -32600),
        (b"17", -32600),
        (b"{}", -32600),
        (b'{"jsonrpc": "2.0", "id": {"a": 1}, "method": "initialize"}', -32600),
        (b'{"jsonrpc": "2.0", "id": 5, "method": 7}', -32600),
    ],
)
def test_what_is_no_message_is_answered_and_passed_over(
    editor: Editor, data: bytes, code: int
) -> None:
    editor.write(data)
    assert editor.answer(None)["error"]["code"] == code
    assert editor.request("session/list", {"cwd": "/"})["sessions"] == []


def test_blank_lines_strange_answers_and_unknown_notifications_are_nothing(editor: Editor) -> None:
    editor.write(b"\n  \n")
    editor.write(b'{"jsonrpc": "2.0", "id": 4711, "result": {}}')
    editor.write(b'{"jsonrpc": "2.0", "id": "x", "error": null}')
    editor.notify("$/cancel_request", {"id": 3})
    editor.notify("session/cancel", {"sessionId": "nothing"})
    editor.notify("session/cancel", 5)
    assert editor.request("session/list", {"cwd": "/"})["sessions"] == []
    assert len(editor.seen) == 1


def test_an_id_may_be_a_text(editor: Editor) -> None:
    message = {"jsonrpc": "2.0", "id": "7-a", "method": "session/list", "params": {"cwd": "/"}}
    editor.write(json.dumps(message).encode())
    editor.until(lambda m: m.get("id") == "7-a" and "result" in m)


def test_unknown_methods_and_wrong_parameters_have_the_usual_codes(
    editor: Editor, folder: Path
) -> None:
    assert editor.error("session/fly", {})["code"] == -32601
    assert editor.error("_vendor/thing", {})["code"] == -32601
    assert editor.error("fs/read_text_file", {})["code"] == -32601
    assert editor.error("session/new", {})["code"] == -32602
    assert editor.error("session/new", None)["code"] == -32602
    assert editor.error("session/new", [1])["code"] == -32602
    assert editor.error("session/new", {"cwd": "repo", "mcpServers": []})["code"] == -32602
    nowhere = {"cwd": str(folder / "nowhere"), "mcpServers": []}
    assert editor.error("session/new", nowhere)["code"] == -32602


def test_unknown_keys_and_meta_are_tolerated(
    editor: Editor, folder: Path, model: PlayedModel
) -> None:
    model.play(says("Hi."))
    session = editor.new(folder, _meta={"a": 1}, later={"x": [1]}, additionalDirectories=["/tmp"])
    block = {"type": "text", "text": "Greet me", "_meta": {"b": 2}, "annotations": {"priority": 1}}
    params = {"sessionId": session, "prompt": [block], "_meta": {"traceparent": "00"}, "extra": 1}
    assert editor.request("session/prompt", params)["stopReason"] == "end_turn"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "more"),
    [
        ("session/prompt", {"prompt": [{"type": "text", "text": "Hi"}]}),
        ("session/load", {"mcpServers": []}),
        ("session/resume", {"mcpServers": []}),
        ("session/fork", {"mcpServers": []}),
        ("session/close", {}),
        ("session/delete", {}),
        ("session/set_mode", {"modeId": "auto"}),
        ("session/set_config_option", {"configId": "mode", "value": "auto"}),
    ],
)
@pytest.mark.parametrize("name", ["261128-000000-none", "../../../etc", "", ".", "x" * 5000])
def test_an_unknown_session_is_an_error(
    editor: Editor, folder: Path, method: str, more: dict[str, Any], name: str
) -> None:
    error = editor.error(method, {"sessionId": name, "cwd": str(folder), **more})
    assert error["code"] == -32002
    assert "there is no session" in error["message"]


def test_nothing_comes_before_the_answer_that_names_the_session(
    editor: Editor, folder: Path
) -> None:
    session = editor.new(folder)
    assert editor.updates(session) == []
    editor.until(lambda m: m.get("method") == "session/update")
    [update] = editor.updates(session)
    names = [command["name"] for command in update["availableCommands"]]
    assert names == ["check", "compact", "init", "redo", "undo"]


def test_mcp_servers_of_any_kind_are_taken_and_offered_to_the_model(
    editor: Editor, folder: Path, model: PlayedModel
) -> None:
    servers = [
        {"name": "idea", "command": "/bin/true", "args": [], "env": [{"name": "A", "value": "1"}]},
        {"type": "http", "name": "web", "url": "http://127.0.0.1:1/mcp", "headers": []},
        {"type": "sse", "name": "old", "url": "http://127.0.0.1:1/sse", "headers": []},
    ]
    session = editor.new(folder, mcpServers=servers)
    model.play(says("Hi."))
    editor.prompt(session, "Greet me")
    [request] = model.server.requests
    assert "mcp" in {tool["function"]["name"] for tool in request["tools"]}


# --- sessions ----------------------------------------------------------------------------------


def taken(editor: Editor, model: PlayedModel, folder: Path, text: str) -> str:
    """A session with one turn."""
    model.play(calls(("read", '{"path": "a.txt"}')), says(f"Read for {text}."))
    session = editor.new(folder)
    assert editor.prompt(session, text)["stopReason"] == "end_turn"
    return session


def test_load_replays_before_it_answers_and_resume_does_not(
    editor: Editor, folder: Path, model: PlayedModel
) -> None:
    session = taken(editor, model, folder, "Look")
    live = [u for u in editor.updates(session) if u["sessionUpdate"].startswith("tool_call")]
    given = {"sessionId": session, "cwd": str(folder), "mcpServers": []}
    for opened in (True, False):  # again, and as another process would
        if not opened:
            assert editor.request("session/close", {"sessionId": session}) == {}
        editor.seen.clear()
        loaded = editor.request("session/load", given)
        kinds = [u["sessionUpdate"] for u in editor.updates(session)]
        assert kinds[0] == "user_message_chunk"
        assert editor.text(session, "user_message_chunk") == "Look"
        assert editor.text(session) == "Read for Look."
        calls_again = [u for u in editor.updates(session) if u["sessionUpdate"].startswith("tool")]
        assert calls_again[-1] == live[-1]
        assert {u["toolCallId"] for u in calls_again} == {u["toolCallId"] for u in live}
        assert loaded["modes"]["currentModeId"] == "ask"
    editor.request("session/close", {"sessionId": session})
    editor.seen.clear()
    editor.request("session/resume", given)
    assert editor.updates(session) == []
    model.play(says("As before."))
    editor.prompt(session, "And?")
    roles = [message["role"] for message in model.messages[0]]
    assert roles == ["system", "user", "assistant", "tool", "assistant", "user"]


def test_a_fork_goes_on_by_itself(editor: Editor, folder: Path, model: PlayedModel) -> None:
    session = taken(editor, model, folder, "Look")
    given = {"sessionId": session, "cwd": str(folder), "mcpServers": []}
    fork = editor.request("session/fork", given)["sessionId"]
    assert fork != session
    model.play(says("In the copy."))
    editor.prompt(fork, "Go on")
    assert [m["role"] for m in model.messages[0]][-1] == "user"
    assert "Look" in model.messages[0][1]["content"]
    listed = editor.request("session/list", {"cwd": str(folder)})["sessions"]
    assert {one["sessionId"] for one in listed} == {session, fork}


def test_sessions_are_listed_page_by_page_closed_and_deleted(
    editor: Editor, folder: Path, model: PlayedModel
) -> None:
    session = taken(editor, model, folder, "Find the\nbug")
    unused = editor.new(folder)
    [listed] = editor.request("session/list", {"cwd": str(folder)})["sessions"]
    assert listed["sessionId"] == session
    assert listed["cwd"] == str(folder)
    assert listed["title"] == "Find the"
    assert listed["updatedAt"] > "2026"
    assert session in {one["sessionId"] for one in editor.request("session/list", {})["sessions"]}
    wrong = editor.error("session/list", {"cursor": "third"})
    assert wrong["code"] == -32602
    rest = editor.request("session/list", {"cursor": f"{listed['updatedAt']} {session}"})
    assert session not in {one["sessionId"] for one in rest["sessions"]}
    copy = {"sessionId": unused, "cwd": str(folder), "mcpServers": []}
    assert editor.request("session/fork", copy)["sessionId"] != unused
    assert editor.request("session/close", {"sessionId": unused}) == {}
    assert editor.request("session/delete", {"sessionId": unused}) == {}
    assert editor.error("session/prompt", {"sessionId": unused, "prompt": []})["code"] == -32002
    assert editor.request("session/delete", {"sessionId": session}) == {}
    assert editor.request("session/list", {"cwd": str(folder)})["sessions"] == []
    assert editor.error("session/delete", {"sessionId": session})["code"] == -32002
