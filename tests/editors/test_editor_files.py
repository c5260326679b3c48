"""The editor's own file system and terminals, where it announces them, and never otherwise."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.editor import Editor, Message, PlayedModel
from support.model_server import Script, calls, says

READ = calls(("read", '{"path": "a.txt"}'))
EDIT = calls(("edit", '{"path": "a.txt", "old": "two", "new": "zwei"}'))
UNSAVED = "one\ntwo\nthree and more\n"
BOTH = {"fs": {"readTextFile": True, "writeTextFile": True}, "terminal": True}


def shell(command: str) -> Script:
    return calls(("shell", json.dumps({"command": command})))


class Buffers:
    """The buffers of an editor, which saves what it is told to write."""

    def __init__(self, editor: Editor) -> None:
        self.unsaved: dict[str, str] = {}
        self.written: list[str] = []
        editor.answers["fs/read_text_file"] = self.read
        editor.answers["fs/write_text_file"] = self.write

    def read(self, params: Message) -> Message:
        path = params["path"]
        return {"content": self.unsaved.get(path) or Path(path).read_text()}

    def write(self, params: Message) -> Message:
        self.written.append(params["path"])
        self.unsaved.pop(params["path"], None)
        Path(params["path"]).write_text(params["content"])
        return {}


def announce(editor: Editor, capabilities: Message) -> None:
    editor.request("initialize", {"protocolVersion": 1, "clientCapabilities": capabilities})


@pytest.fixture
def buffers(editor: Editor) -> Iterator[Buffers]:
    announce(editor, BOTH)
    yield Buffers(editor)
    announce(editor, {})


def start(editor: Editor, folder: Path, mode: str = "auto") -> str:
    session = editor.new(folder)
    editor.request("session/set_mode", {"sessionId": session, "modeId": mode})
    return session


def test_what_is_not_saved_is_read_and_changed_in_the_editor(
    editor: Editor, folder: Path, model: PlayedModel, buffers: Buffers
) -> None:
    path = str(folder / "a.txt")
    buffers.unsaved[path] = UNSAVED
    model.play(READ, EDIT, says("Done."))
    session = start(editor, folder)
    editor.prompt(session, "Change it")
    assert "three and more" in model.messages[1][-1]["content"]
    assert buffers.written == [path]
    assert (folder / "a.txt").read_text() == "one\nzwei\nthree and more\n"
    assert "+1 -1" in model.messages[2][-1]["content"]


def test_line_endings_alone_are_no_unsaved_change(
    editor: Editor, folder: Path, model: PlayedModel, buffers: Buffers
) -> None:
    (folder / "a.txt").write_bytes(b"one\r\ntwo\r\n")
    buffers.unsaved[str(folder / "a.txt")] = "one\ntwo\n"
    editor.answers["fs/write_text_file"] = {"code": -32603, "message": "read-only"}
    model.play(READ, EDIT, says("Done."))
    editor.prompt(start(editor, folder), "Change it")
    assert (folder / "a.txt").read_bytes() == b"one\r\nzwei\r\n"


def test_a_change_that_the_editor_refuses_is_never_made_behind_its_unsaved_text(
    editor: Editor, folder: Path, model: PlayedModel, buffers: Buffers
) -> None:
    buffers.unsaved[str(folder / "a.txt")] = UNSAVED
    editor.answers["fs/write_text_file"] = {"code": -32603, "message": "read-only"}
    model.play(READ, EDIT, says("I cannot."))
    editor.prompt(start(editor, folder), "Change it")
    assert "changes in the editor that are not saved" in model.messages[2][-1]["content"]
    assert (folder / "a.txt").read_text() == "one\ntwo\nthree\n"


@pytest.mark.slow
def test_approval_comes_before_the_editor_writes(
    editor: Editor, folder: Path, model: PlayedModel, buffers: Buffers
) -> None:
    editor.answers["session/request_permission"] = {
        "outcome": {"outcome": "selected", "optionId": "no"}
    }
    model.play(EDIT, says("Then not."))
    editor.prompt(start(editor, folder, "ask"), "Change it")
    assert buffers.written == []


@pytest.mark.parametrize("why", ["a link", "something runs"])
def test_the_editor_is_not_asked_where_a_command_could_mislead_it(
    editor: Editor, folder: Path, model: PlayedModel, buffers: Buffers, why: str
) -> None:
    first = "mv a.txt b.txt; ln -s b.txt a.txt" if why == "a link" else "sleep 100 &"
    model.play(shell(first), READ, EDIT, says("Done."))
    editor.prompt(start(editor, folder), "Change it")
    assert "zwei" in (folder / "a.txt").read_text()
    asked = {m["params"]["path"] for m in editor.seen if m.get("method", "").startswith("fs/")}
    assert asked == ({str(folder / "b.txt")} if why == "a link" else set())


def test_nothing_is_asked_that_was_not_announced(
    editor: Editor, folder: Path, model: PlayedModel, buffers: Buffers
) -> None:
    announce(editor, {"fs": {"readTextFile": True}})
    model.play(READ, EDIT, shell("ls"), says("Done."))
    editor.prompt(start(editor, folder), "Change it")
    asked = {m["method"] for m in editor.seen if "method" in m and "id" in m}
    assert asked == {"fs/read_text_file"}
    announce(editor, {})
    editor.seen.clear()
    model.play(READ, shell("ls"), says("Done."))
    editor.prompt(start(editor, folder), "Look")
    assert editor.asked() == []


@pytest.mark.slow
def test_output_is_shown_in_a_terminal_of_the_editor_that_runs_nothing(
    editor: Editor, folder: Path, model: PlayedModel
) -> None:
    announce(editor, {"terminal": True, "_meta": {"terminal_output": True}})
    model.play(shell("echo first; (exit 3)"), says("Done."))
    session = start(editor, folder)
    editor.prompt(session, "Run it")
    announce(editor, {})
    [started] = editor.updates(session, "tool_call")
    terminal = started["content"][0]["terminalId"]
    assert started["_meta"]["terminal_info"]["cwd"] == str(folder)
    changes: list[Any] = editor.updates(session, "tool_call_update")
    data = "".join(u.get("_meta", {}).get("terminal_output", {}).get("data", "") for u in changes)
    assert data.startswith("first")
    assert changes[-1]["status"] == "failed"
    ended = changes[-1]["_meta"]["terminal_exit"]
    assert (ended["terminal_id"], ended["exit_code"]) == (terminal, 3)
    assert "content" not in changes[-1]
    assert editor.asked() == []
