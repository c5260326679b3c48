"""What an editor sees of a turn: texts, tool calls, plans, usage, and how a turn is stopped."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
from pathlib import Path
from typing import Any

import pytest

from laguna_agent.policy import trust
from support.editor import Editor, Message, PlayedModel, RequestFailedError
from support.model_server import Exchange, Script, calls, says
from support.packs import write_files

EDIT = calls(("edit", '{"path": "a.txt", "old": "two", "new": "zwei"}'))
WRITE = calls(("write", '{"path": "src/new.txt", "content": "new\\n"}'))
SLEEP = calls(("shell", '{"command": "echo begun > begun; sleep 60"}'))


async def thinks(exchange: Exchange) -> None:
    await exchange.open()
    await exchange.delta(reasoning_content="Let me ")
    await exchange.delta(reasoning_content="see.")
    await exchange.delta(content="It is ")
    await exchange.delta(content="four.", finish="stop")
    await exchange.done(prompt_tokens=40, completion_tokens=7)


def shell(command: str) -> Script:
    return calls(("shell", json.dumps({"command": command})))


def cancelled_call(editor: Editor, session: str) -> None:
    editor.notify("session/cancel", {"sessionId": session})


def call_updates(editor: Editor, session: str, call_id: str) -> list[Message]:
    return [u for u in editor.updates(session) if u.get("toolCallId") == call_id]


def statuses(updates: list[Message]) -> list[str]:
    return [u["status"] for u in updates if "status" in u]


def test_text_and_thinking_stream_and_tokens_are_counted(
    editor: Editor, folder: Path, model: PlayedModel
) -> None:
    model.play(thinks)
    session = editor.new(folder)
    answer = editor.prompt(session, "What is two and two?")
    assert answer["stopReason"] == "end_turn"
    assert answer["usage"]["inputTokens"] == 40
    assert answer["usage"]["outputTokens"] == 7
    assert editor.text(session, "agent_thought_chunk").startswith("Let me see.")
    assert len(editor.updates(session, "agent_message_chunk")) == 2
    assert editor.text(session) == "It is four."
    [title] = editor.updates(session, "session_info_update")
    assert title["title"] == "What is two and two?"
    usage = editor.updates(session, "usage_update")[-1]
    assert 0 < usage["used"] < usage["size"] == 32_768
    editor.prompt(session, "Again?")
    assert len(editor.updates(session, "session_info_update")) == 1


def test_links_and_embedded_texts_reach_the_model(
    editor: Editor, folder: Path, model: PlayedModel
) -> None:
    model.play(says("I see."))
    session = editor.new(folder)
    inside, outside = folder / "a.txt", "/etc/host name"
    editor.prompt(
        session,
        "Compare ",
        {"type": "resource_link", "uri": f"file://{inside}#L2:3", "name": "a.txt"},
        " with ",
        {"type": "resource_link", "uri": "file:///etc/host%20name", "name": "host name"},
        ".",
        {
            "type": "resource",
            "resource": {"uri": f"file://{folder}/b.txt", "text": "unsaved ```\ntext"},
        },
        {"type": "resource", "resource": {"uri": "file:///x.png", "blob": "AAAA"}},
    )
    told = model.messages[0][1]["content"]
    assert f"Compare a.txt:2-3 with {outside}.b.txt" in told
    assert "b.txt:\n````\nunsaved ```\ntext\n````" in told
    assert "/x.png is not text" in told


def test_an_empty_prompt_is_refused(editor: Editor, folder: Path) -> None:
    session = editor.new(folder)
    with pytest.raises(RequestFailedError, match="the prompt is empty"):
        editor.prompt(session, "  ")


def test_a_tool_call_goes_from_pending_to_its_end(
    editor: Editor, folder: Path, model: PlayedModel
) -> None:
    model.play(EDIT, WRITE, shell("echo out; (exit 3)"), says("Done."))
    session = editor.new(folder)
    editor.prompt(session, "Change it")
    starts = editor.updates(session, "tool_call")
    ids = [start["toolCallId"] for start in starts]
    assert len(set(ids)) == 3  # the server gave each the same
    assert [start["kind"] for start in starts] == ["edit", "edit", "execute"]
    edit, write, command = (call_updates(editor, session, one) for one in ids)
    assert statuses(edit) == ["pending", "in_progress", "completed"]
    assert statuses(command) == ["pending", "in_progress", "failed"]
    given = next(u for u in edit if "rawInput" in u)
    assert given["rawInput"] == {"path": "a.txt", "old": "two", "new": "zwei"}
    assert given["title"] == "Edit a.txt"
    assert given["locations"] == [{"path": str(folder / "a.txt")}]
    [diff] = edit[-1]["content"]
    assert diff == {
        "type": "diff",
        "path": str(folder / "a.txt"),
        "oldText": "one\ntwo\nthree\n",
        "newText": "one\nzwei\nthree\n",
    }
    assert edit[-1]["locations"] == [{"path": str(folder / "a.txt"), "line": 2}]
    [diff] = write[-1]["content"]
    assert diff == {"type": "diff", "path": str(folder / "src" / "new.txt"), "newText": "new\n"}
    assert command[-1]["rawOutput"] == {"output": "out\n[exit 3]", "exit_code": 3}
    assert command[-1]["content"][0]["content"]["text"] == "```console\nout\n[exit 3]\n```"
    asked = {call["toolCall"]["toolCallId"] for call in editor.asked()}
    assert asked <= set(ids)
    kinds = [update["sessionUpdate"] for update in editor.updates(session)]
    between = kinds[kinds.index("tool_call") : len(kinds) - kinds[::-1].index("tool_call")]
    assert between.count("usage_update") == 2  # each after its call: there a step ends
    shown = [u for u in editor.updates(session) if "tool" in u["sessionUpdate"] or "used" in u]
    for before, usage in itertools.pairwise(shown):
        if "used" in usage and "used" not in before:
            assert before["status"] in ("completed", "failed")


def test_a_plan_is_shown_whole_and_without_what_was_dropped(
    editor: Editor, folder: Path, model: PlayedModel
) -> None:
    steps = json.dumps(["[x] look", "[>] change", "[ ] test", "[-] ask"])
    model.play(calls(("plan", f'{{"steps": {steps}}}')), says("Planned."))
    session = editor.new(folder)
    editor.prompt(session, "Plan it")
    [plan] = editor.updates(session, "plan")
    assert [(e["content"], e["status"]) for e in plan["entries"]] == [
        ("look", "completed"),
        ("change", "in_progress"),
        ("test", "pending"),
    ]
    assert editor.updates(session, "tool_call") == []


def test_the_summary_of_done_is_the_answer(
    editor: Editor, folder: Path, model: PlayedModel
) -> None:
    model.play(calls(("done", '{"summary": "Nothing was to do."}')))
    session = editor.new(folder)
    assert editor.prompt(session, "Do it")["stopReason"] == "end_turn"
    assert editor.text(session) == "Nothing was to do."


def test_a_failing_model_is_an_error_and_the_session_goes_on(
    editor: Editor, folder: Path, model: PlayedModel
) -> None:
    async def refuses(exchange: Exchange) -> None:
        await exchange.answer("401 Unauthorized", {"error": {"message": "bad key"}})

    model.play(refuses)
    session = editor.new(folder)
    with pytest.raises(RequestFailedError, match="bad key"):
        editor.prompt(session, "Hello")
    model.play(says("Hello."))
    assert editor.prompt(session, "Hello")["stopReason"] == "end_turn"


# --- approvals ----------------------------------------------------------------------------------


def answered(kind: str) -> Any:
    def answer(params: Message) -> Message:
        option = next(o["optionId"] for o in params["options"] if o["kind"] == kind)
        return {"outcome": {"outcome": "selected", "optionId": option}}

    return answer


def test_an_approval_shows_the_change_and_offers_all_kinds(
    editor: Editor, folder: Path, model: PlayedModel
) -> None:
    model.play(EDIT, says("Done."))
    session = editor.new(folder)
    editor.prompt(session, "Change it")
    [asked] = editor.asked()
    kinds = [option["kind"] for option in asked["options"]]
    assert kinds[0] == "allow_once"
    assert set(kinds) == {"allow_once", "allow_always", "reject_once", "reject_always"}
    for option in asked["options"]:
        assert ("a.txt" in option["name"]) == ("always" in option["kind"])
    scopes = [o["name"].partition(":")[0] for o in asked["options"] if "always" in o["kind"]]
    assert scopes[:3] == ["Always in this session", "Always in this repository",
                          "Always everywhere"]  # fmt: skip
    call = asked["toolCall"]
    [known] = editor.updates(session, "tool_call")
    assert call["toolCallId"] == known["toolCallId"]
    assert call["content"][0]["path"] == str(folder / "a.txt")
    assert (folder / "a.txt").read_text() == "one\nzwei\nthree\n"


@pytest.mark.parametrize("kind", ["reject_once", "reject_always"])
def test_a_rejected_call_is_failed_and_the_model_knows(
    editor: Editor, folder: Path, model: PlayedModel, kind: str
) -> None:
    editor.answers["session/request_permission"] = answered(kind)
    model.play(EDIT, says("Then not."))
    session = editor.new(folder)
    assert editor.prompt(session, "Change it")["stopReason"] == "end_turn"
    ids = [u["toolCallId"] for u in editor.updates(session, "tool_call")]
    assert statuses(call_updates(editor, session, ids[0])) == ["pending", "failed"]
    assert (folder / "a.txt").read_text() == "one\ntwo\nthree\n"
    assert "The user said no" in model.messages[1][-1]["content"]
    model.play(EDIT, says("Then not."))
    editor.prompt(session, "Change it")
    assert len(editor.asked()) == (2 if kind == "reject_once" else 1)


def test_an_editor_that_cannot_ask_denies(editor: Editor, folder: Path, model: PlayedModel) -> None:
    editor.answers["session/request_permission"] = {"code": -32601, "message": "no"}
    model.play(EDIT, says("Then not."))
    session = editor.new(folder)
    assert editor.prompt(session, "Change it")["stopReason"] == "end_turn"
    assert "could not ask" in model.messages[1][-1]["content"]


def test_an_error_of_any_shape_denies_and_the_agent_stays(
    editor: Editor, folder: Path, model: PlayedModel
) -> None:
    editor.answers["session/request_permission"] = lambda params: None
    model.play(EDIT, says("Then not."))
    session = editor.new(folder)
    number = editor.send_prompt(session, "Change it")
    asked = editor.until(lambda m: m.get("method") == "session/request_permission")
    editor.write(b'{"jsonrpc": "2.0", "id": %d, "error": "no"}' % asked["id"])
    assert editor.answer(number)["result"]["stopReason"] == "end_turn"
    assert "two" in (folder / "a.txt").read_text()


# --- stopping -----------------------------------------------------------------------------------


def check_silence(editor: Editor, session: str) -> None:
    """No update of the session after its answer."""
    editor.request("session/list", {"cwd": "/"})
    last = next(i for i, m in enumerate(editor.seen) if "stopReason" in (m.get("result") or {}))
    assert not [m for m in editor.seen[last:] if m.get("method") == "session/update"]
    calls_made = {u["toolCallId"] for u in editor.updates(session) if "toolCallId" in u}
    for call_id in calls_made:
        assert statuses(call_updates(editor, session, call_id))[-1] in ("completed", "failed")


def test_a_prompt_is_cancelled_while_the_model_is_silent(
    editor: Editor, folder: Path, model: PlayedModel
) -> None:
    reached = os.path.join(folder, "reached")

    async def silent(exchange: Exchange) -> None:
        Path(reached).touch()
        await exchange.closed()

    model.play(silent)
    session = editor.new(folder)
    number = editor.send_prompt(session, "Wait")
    until_exists(Path(reached))
    cancelled_call(editor, session)
    assert editor.answer(number)["result"]["stopReason"] == "cancelled"
    check_silence(editor, session)
    model.play(says("Yes?"))
    assert editor.prompt(session, "And now")["stopReason"] == "end_turn"


def test_a_prompt_is_cancelled_in_a_tool(editor: Editor, folder: Path, model: PlayedModel) -> None:
    model.play(SLEEP, says("never"))
    session = editor.new(folder)
    number = editor.send_prompt(session, "Wait")
    editor.until(lambda m: m.get("params", {}).get("update", {}).get("status") == "in_progress")
    until_exists(folder / "begun")
    cancelled_call(editor, session)
    assert editor.answer(number)["result"]["stopReason"] == "cancelled"
    check_silence(editor, session)


def test_a_prompt_is_cancelled_at_a_question(
    editor: Editor, folder: Path, model: PlayedModel
) -> None:
    editor.answers["session/request_permission"] = None  # nobody answers
    model.play(EDIT, says("never"))
    session = editor.new(folder)
    number = editor.send_prompt(session, "Change it")
    question = editor.until(lambda m: m.get("method") == "session/request_permission")
    cancelled_call(editor, session)
    late = {"jsonrpc": "2.0", "id": question["id"], "result": {"outcome": {"outcome": "cancelled"}}}
    editor.write(json.dumps(late).encode())
    assert editor.answer(number)["result"]["stopReason"] == "cancelled"
    check_silence(editor, session)
    assert (folder / "a.txt").read_text() == "one\ntwo\nthree\n"


def test_a_question_that_is_answered_with_cancelled_ends_the_turn(
    editor: Editor, folder: Path, model: PlayedModel
) -> None:
    editor.answers["session/request_permission"] = {"outcome": {"outcome": "cancelled"}}
    model.play(EDIT, says("never"))
    session = editor.new(folder)
    assert editor.prompt(session, "Change it")["stopReason"] == "cancelled"
    check_silence(editor, session)


def test_a_prompt_is_cancelled_before_anything_happens(
    editor: Editor, folder: Path, model: PlayedModel
) -> None:
    model.play(says("never"))
    session = editor.new(folder)
    number = editor.send_prompt(session, "Wait")
    cancelled_call(editor, session)
    following = editor.send_prompt(session, "And now")  # without waiting for the answer
    assert editor.answer(number)["result"]["stopReason"] == "cancelled"
    assert editor.answer(following)["result"]["stopReason"] == "end_turn"


def test_a_second_prompt_at_the_same_time_is_refused(
    editor: Editor, folder: Path, model: PlayedModel
) -> None:
    model.play(SLEEP, says("never"))
    session = editor.new(folder)
    number = editor.send_prompt(session, "Wait")
    until_exists(folder / "begun", editor)
    prompt = {"sessionId": session, "prompt": [{"type": "text", "text": "More"}]}
    assert "a turn is running" in editor.error("session/prompt", prompt)["message"]
    cancelled_call(editor, session)
    assert editor.answer(number)["result"]["stopReason"] == "cancelled"


def until_exists(path: Path, editor: Editor | None = None) -> None:
    """Wait for a file, letting the editor answer what comes."""
    import time

    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline
        if editor is not None:
            editor.request("session/list", {"cwd": "/"})
        else:
            time.sleep(0.01)


# --- settings -----------------------------------------------------------------------------------


def test_the_mode_changes_at_once_and_is_told_in_both_forms(
    editor: Editor, folder: Path, model: PlayedModel
) -> None:
    session = editor.new(folder)
    editor.request("session/set_mode", {"sessionId": session, "modeId": "accept-edits"})
    editor.until(lambda m: "currentModeId" in m.get("params", {}).get("update", {}))
    editor.until(lambda m: "configOptions" in m.get("params", {}).get("update", {}))
    [mode] = editor.updates(session, "current_mode_update")
    assert mode["currentModeId"] == "accept-edits"
    [options] = editor.updates(session, "config_option_update")
    by_id = {option["id"]: option for option in options["configOptions"]}
    assert by_id["mode"]["currentValue"] == "accept-edits"
    assert set(by_id) == {"mode", "model", "thinking"}
    model.play(EDIT, says("Done."))
    editor.prompt(session, "Change it")
    assert editor.asked() == []
    wrong = {"sessionId": session, "modeId": "yolo"}
    assert editor.error("session/set_mode", wrong)["code"] == -32602


def test_planning_is_a_mode(editor: Editor, folder: Path, model: PlayedModel) -> None:
    session = editor.new(folder)
    option = {"sessionId": session, "configId": "mode", "value": "plan"}
    options = editor.request("session/set_config_option", option)["configOptions"]
    assert options[0]["currentValue"] == "plan"
    model.play(EDIT, says("I may not."))
    editor.prompt(session, "Change it")
    assert "plan mode changes nothing" in model.messages[1][-1]["content"]
    assert (folder / "a.txt").read_text() == "one\ntwo\nthree\n"


@pytest.mark.slow
def test_a_proposed_plan_is_carried_out_when_it_is_accepted(
    editor: Editor, folder: Path, model: PlayedModel
) -> None:
    session = editor.new(folder)
    editor.request("session/set_mode", {"sessionId": session, "modeId": "plan"})
    editor.answers["session/request_permission"] = answered("reject_once")
    model.play(says("1. Change two to zwei in a.txt.\n2. Look at it."))
    editor.prompt(session, "Plan it")
    [asked] = editor.asked()
    assert [o["kind"] for o in asked["options"]] == ["allow_once", "allow_always", "reject_once"]
    assert "Change two to zwei" in asked["toolCall"]["content"][0]["content"]["text"]
    assert editor.updates(session, "current_mode_update")[-1]["currentModeId"] == "plan"
    editor.answers["session/request_permission"] = answered("allow_always")
    model.play(says("1. Change two to zwei in a.txt.\n2. Look at it."), EDIT, says("Done."))
    editor.prompt(session, "Plan it better")
    assert editor.updates(session, "current_mode_update")[-1]["currentModeId"] == "accept-edits"
    assert "zwei" in (folder / "a.txt").read_text()


def test_the_model_and_thinking_are_options_and_a_change_keeps_the_conversation(
    editor: Editor, folder: Path, model: PlayedModel
) -> None:
    made = editor.request("session/new", {"cwd": str(folder), "mcpServers": []})
    session = made["sessionId"]
    options = {option["category"]: option for option in made["configOptions"]}
    assert options["model"]["currentValue"] == "s/m"
    assert options["model"]["id"] == "model"
    assert options["thought_level"]["currentValue"] == "default"
    model.play(says("I am here."))
    editor.prompt(session, "Where?")
    option = {"sessionId": session, "configId": "thinking", "value": "off"}
    changed = editor.request("session/set_config_option", option)["configOptions"]
    assert next(o for o in changed if o["id"] == "thinking")["currentValue"] == "off"
    model.play(says("Still here."))
    editor.prompt(session, "And now?")
    assert [m["role"] for m in model.messages[0]][-3:] == ["user", "assistant", "user"]
    for key, value in (("model", "s/none such"), ("thinking", "maybe"), ("colour", "red")):
        wrong = {"sessionId": session, "configId": key, "value": value}
        assert editor.error("session/set_config_option", wrong)["code"] == -32602


def test_commands_answer_without_the_model(
    editor: Editor, folder: Path, model: PlayedModel
) -> None:
    session = editor.new(folder)
    model.play(says("never"))
    assert editor.prompt(session, "/check make test")["stopReason"] == "end_turn"
    assert editor.text(session) == "The check of every task: `make test`"
    editor.prompt(session, "/check off")
    editor.prompt(session, "/compact")
    editor.prompt(session, "/undo")
    text = editor.text(session)
    assert "No check is set." in text
    assert "There is nothing to summarise yet." in text
    assert model.messages == []
    model.play(says("A path."))
    editor.prompt(session, "/etc/hosts is what?")
    assert "/etc/hosts is what?" in model.messages[0][1]["content"]


def test_undo_takes_a_turn_back(editor: Editor, folder: Path, model: PlayedModel) -> None:
    model.play(EDIT, says("Done."))
    session = editor.new(folder)
    editor.prompt(session, "Change it")
    assert "zwei" in (folder / "a.txt").read_text()
    editor.prompt(session, "/undo")
    assert (folder / "a.txt").read_text() == "one\ntwo\nthree\n"
    assert "Restored a.txt; /redo makes the changes again." in editor.text(session)


# --- several, and the end -------------------------------------------------------------------------


def test_two_sessions_work_at_once(editor: Editor, tmp_path: Path, model: PlayedModel) -> None:
    folders = [tmp_path / "first", tmp_path / "second"]
    for one in folders:
        one.mkdir()
    sessions = [editor.new(one) for one in folders]
    both = asyncio.Barrier(2)

    async def meets(exchange: Exchange) -> None:
        done = exchange.body["messages"][-1]["role"] == "tool"
        if not done:
            await both.wait()  # neither goes on without the other
        await (says("Done.") if done else shell("touch here"))(exchange)

    model.play(meets)
    numbers = [editor.send_prompt(session, "Meet the other") for session in sessions]
    for number in numbers:
        assert editor.answer(number)["result"]["stopReason"] == "end_turn"
    assert all((one / "here").exists() for one in folders)
    for session in sessions:
        assert editor.text(session) == "Done."


@pytest.mark.slow
def test_the_end_of_the_input_ends_the_agent_and_its_children(
    shared_home: Path, model: PlayedModel, folder: Path
) -> None:
    own = Editor(shared_home)
    session = own.new(folder)
    mode = {"sessionId": session, "modeId": "allow-all"}
    own.request("session/set_mode", mode)
    model.play(shell("echo $$ > pid; sleep 600"))
    own.send_prompt(session, "Wait")
    own.until(lambda m: m.get("params", {}).get("update", {}).get("status") == "in_progress")
    until_exists(folder / "pid")
    assert own.close() == 0
    assert not sleeping(folder)


def sleeping(folder: Path) -> bool:
    """Whether a process works in the folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cwd"):
        try:
            found.append(os.readlink(entry))
        except OSError:
            continue
    return str(folder) in found


def test_strange_texts_arrive_as_they_are(editor: Editor, folder: Path, model: PlayedModel) -> None:
    """Control characters, lone surrogates, right-to-left marks and a name of a file with all."""
    strange = 'a\u2028b\u202ec \\ud800 "q" \t😀 \x1b[31m'
    model.play(says(f"You said: {strange}"), shell("printf 'a\\033[31mb\\rc\\000d'"), says("Done."))
    session = editor.new(folder)
    editor.write(
        json.dumps({
            "jsonrpc": "2.0", "id": "strange", "method": "session/prompt",
            "params": {"sessionId": session, "prompt": [
                {"type": "text", "text": strange + "\ud800"},
                {"type": "resource_link", "uri": "file:///%FF%00/\u202e", "name": "\ud801"},
            ]},
        }).encode()
    )  # fmt: skip
    answer = editor.until(lambda m: m.get("id") == "strange" and "method" not in m)
    assert answer["result"]["stopReason"] == "end_turn"
    assert editor.text(session) == f"You said: {strange}"
    editor.request("session/set_mode", {"sessionId": session, "modeId": "auto"})
    model.play(shell("printf 'a\\033[31mb\\000d'"), says("Done."))
    assert editor.prompt(session, "Run it")["stopReason"] == "end_turn"
    shown = editor.updates(session, "tool_call_update")[-1]["content"][0]["content"]["text"]
    assert "\x1b" not in shown
    assert "\x00" not in shown


@pytest.mark.slow
def test_a_repeated_close_and_settings_of_a_closed_session_are_errors(
    editor: Editor, folder: Path
) -> None:
    session = editor.new(folder)
    numbers = [editor.send("session/close", {"sessionId": session}) for _ in range(2)]
    answers = [editor.answer(number) for number in numbers]
    assert ["error" in answer for answer in answers] == [False, True]


def test_an_editor_is_told_why_the_settings_of_a_trusted_repository_are_not_in_force(
    editor: Editor,
    shared_home: Path,
    folder: Path,
    model: PlayedModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_files(folder, {".laguna/config.toml": "[policy\n"})
    monkeypatch.setenv("LAGUNA_HOME", str(shared_home))
    trust.trust(folder)
    model.play(says("Hello."))
    session = editor.new(folder)
    assert editor.prompt(session, "Hi")["stopReason"] == "end_turn"
    assert editor.text(session).count(".laguna/config.toml:1") == 1
