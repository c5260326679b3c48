"""A turn in the interface: typing, streaming, approving, stopping."""

from __future__ import annotations

import re
from concurrent.futures import Future

import pytest
from textual import events

from laguna_agent.actions import Decision, RunCommand
from laguna_agent.events import ApprovalRequested, Reply
from support.scenes import SCENES, SceneApp
from support.scripted import call

EDIT = call("edit", path="calc.py", old="    return a - b", new="    return a + b")


async def test_an_answer_is_shown_as_rendered_markdown(drive):
    async with drive([Reply(text="It is **simple**:\n\n```python\nx = 1\n```\n")]) as ui:
        await ui.idle()
        await ui.send("explain")
        await ui.shows("done")
        assert "❯ explain" in ui.shown
        assert "It is simple:" in ui.shown
        assert "x = 1" in ui.shown
        assert "```" not in ui.shown


@pytest.mark.slow
@pytest.mark.parametrize(
    "answer", ["Done so.", "```python\nx = 1\n```", "| a | b |\n|---|---|\n| 1 | 2 |", "- a\n- b"]
)
async def test_an_empty_line_separates_the_end_of_a_turn_from_the_answer(drive, answer):
    async with drive([Reply(text=answer)]) as ui:
        await ui.idle()
        await ui.send("go")
        await ui.shows("─ done")
        lines = [line.rstrip(" │▁▂▃▄▅▆▇█") for line in ui.shown.split("\n")]
        at = next(number for number, line in enumerate(lines) if "─ done" in line)
        assert lines[at - 1] == ""
        assert lines[at - 2] != ""


async def test_no_empty_line_separates_the_end_of_a_stopped_turn_from_its_calls(drive):
    script = [call("shell", command="echo begun; sleep 1000")]
    async with drive(script, mode="allow-all") as ui:
        await ui.idle()
        await ui.send("go")
        await ui.shows("begun")
        await ui.pilot.press("escape")
        await ui.shows("─ stopped")
        lines = ui.shown.split("\n")
        at = next(number for number, line in enumerate(lines) if "─ stopped" in line)
        assert lines[at - 1].strip()


async def test_text_shows_while_it_streams_and_the_activity_line_shows_writing(drive):
    async with drive([Reply(text="first half, second half")], gated=True) as ui:
        await ui.idle()
        await ui.send("go")
        await ui.shows("first half")
        await ui.shows("writing")
        assert "second half" not in ui.shown
        assert "esc stops" in ui.shown
        ui.gate.set()
        await ui.shows("first half, second half")
        await ui.idle()
        assert "esc stops" not in ui.shown


async def test_escape_stops_a_stream_and_shows_that_the_work_is_kept(drive):
    async with drive([Reply(text="first half, second half")], gated=True) as ui:
        await ui.idle()
        await ui.send("go")
        await ui.shows("first half")
        await ui.pilot.press("escape")
        await ui.shows("stopped; the work so far is kept")
        await ui.idle()


async def test_an_edit_asks_with_its_diff_and_is_made_after_allow_once(drive, repository):
    async with drive([EDIT, Reply(text="Fixed.")]) as ui:
        await ui.idle()
        await ui.send("fix it")
        await ui.shows("Change calc.py?  +1 -1")
        assert "return a - b" in ui.shown
        assert "return a + b" in ui.shown
        assert "return a - b" in (repository / "calc.py").read_text()
        await ui.choose("once")
        await ui.shows("Fixed.")
        assert "return a + b" in (repository / "calc.py").read_text()
        assert "✓" in ui.shown


@pytest.mark.slow
async def test_enter_does_not_answer_an_approval_and_escape_denies(drive, repository):
    async with drive([EDIT, Reply(text="Then not.")]) as ui:
        await ui.idle()
        await ui.send("fix it")
        await ui.shows("Change calc.py?")
        await ui.pilot.press("enter", "space", "backspace", *"yes are you sure? a")
        assert ui.app.approval.is_open
        await ui.pilot.press("escape")  # back from the message that was begun
        assert ui.app.approval.is_open
        await ui.pilot.press("escape")
        await ui.shows("Then not.")
        assert "return a - b" in (repository / "calc.py").read_text()
        assert "The user said no" in ui.conversations[-1].prompt


NAMES = [f"option-{n:02}-{'x' * 15}" for n in range(24)]
LONG = {
    "lines": "\n".join(f"touch {name}" for name in NAMES) + "\nrm -rf old",
    "words": f"touch {' '.join(NAMES)} ; rm -rf old",
    "one word": f"touch {''.join(NAMES)} ; rm -rf old",
}


async def all_that_is_asked(ui):
    """Scroll through a request; its text without spaces. The answers stay in view."""
    await ui.until(lambda: ui.app.approval.is_open, "asked")
    await ui.shows("once")
    scroll = ui.app.query_one("#approval-scroll")
    await ui.until(lambda: scroll.size.height, "laid out")
    if scroll.virtual_size.height > scroll.size.height:
        await ui.until(lambda: re.search(r"\d+/\d+|lines \d", ui.shown), "position")
    region, seen = scroll.region, []
    while True:
        lines = ui.shown.split("\n")
        assert "once" in ui.shown
        assert "no" in ui.shown
        inside = lines[region.y : region.bottom]
        seen += [line[region.x : region.right].rstrip("▁▂▃▄▅▆▇█ ") for line in inside]
        if scroll.scroll_offset.y >= scroll.max_scroll_y:
            return "".join("".join(seen).split())
        before = scroll.scroll_offset.y
        await ui.pilot.press("ctrl+down")
        await ui.until(lambda: scroll.scroll_offset.y > before, "scrolled")  # noqa: B023


SIZES = [(140, 40), (80, 24), (40, 12), (30, 8), (40, 6)]
"""One for each way in which the card saves lines."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "size"),
    [
        *(("lines", size) for size in SIZES),
        *((kind, size) for kind in ("words", "one word") for size in SIZES[1::2]),
    ],
    ids=str,
)
async def test_all_of_a_long_command_can_be_read_while_the_answers_stay_in_view(drive, kind, size):
    command = LONG[kind]
    assert len(command) > 600
    async with drive([call("shell", command=command), Reply(text="Then not.")], size=size) as ui:
        await ui.idle()
        await ui.send("go")
        read = await all_that_is_asked(ui)
        assert all(f"option-{n:02}" in read for n in range(24))
        assert "rm-rfold" in read
        await ui.pilot.press("escape")
        await ui.shows("Then not.")
        assert "The user said no" in ui.conversations[-1].prompt


@pytest.mark.slow
@pytest.mark.parametrize("size", [(140, 40), (80, 24), (40, 12)], ids=str)
async def test_all_of_a_long_line_of_a_change_can_be_read(drive, size):
    line = f"    return a + b{' ' * 200}# the-end-of-the-line"
    change = call("edit", path="calc.py", old="    return a - b", new=line)
    async with drive([change, Reply(text="Then not.")], size=size) as ui:
        await ui.idle()
        await ui.send("go")
        assert "end-of-the-line" in await all_that_is_asked(ui)


@pytest.mark.slow
async def test_an_approval_keeps_its_answers_in_view_when_the_terminal_shrinks(drive):
    command = LONG["lines"]
    async with drive([call("shell", command=command), Reply(text="x")], size=(120, 40)) as ui:
        await ui.idle()
        await ui.send("go")
        await ui.shows("no, because…")
        await ui.pilot.resize_terminal(40, 12)
        await ui.shows("or     no · no, because…")
        await ui.choose("no, because…")
        await ui.shows("why not? the model reads it")
        assert "or     no ·❯no, because…" in ui.shown
        await ui.pilot.press(*"later", "enter")
        await ui.until(lambda: "The user said no: later" in ui.conversations[-1].prompt, "prompt")


@pytest.mark.slow
@pytest.mark.parametrize("size", [(100, 30), (60, 14)])
async def test_while_an_approval_is_open_one_line_shows_that_escape_denies(drive, size):
    async with drive([EDIT, Reply(text="Then not.")], size=size) as ui:
        await ui.idle()
        await ui.send("fix it")
        await ui.shows("waiting for you")
        assert ui.shown.count("esc denies") + ui.shown.count("esc no") == 1
        await ui.choose("no")
        await ui.shows("Then not.")
        assert "esc denies" not in ui.shown
        assert "esc no" not in ui.shown


async def test_a_list_of_completions_leaves_the_room_to_an_approval():
    app = SceneApp()
    async with app.run_test(size=(40, 12)) as pilot:
        app.composer.focus()
        await pilot.press("/")
        await pilot.pause()
        assert app.completion_list.is_open
        await SCENES["asks_edit"](app, pilot)
        await pilot.pause()
        app.on_composer_word_changed(app.composer.WordChanged("/"))  # came late
        assert app.approval.is_open
        assert not app.completion_list.display
        assert app.composer.text == "/"


async def test_the_question_changes_together_with_what_is_asked(drive):
    async with drive([EDIT, Reply(text="Then not.")]) as ui:
        await ui.idle()
        await ui.send("fix it")
        await ui.shows("Change calc.py?")
        card = ui.app.approval
        decision = Decision(verdict="ask", rule="mode ask", reason="")
        action = RunCommand(command="ls", cwd="/")
        request = ApprovalRequested(call_id="b", tool="shell", action=action, decision=decision)
        card.answer("no")
        card.open(request, Future())
        assert "Run this command?" in str(card.query_one("#approval-heading").render())
        card.withdraw()
        await ui.shows("Then not.")


@pytest.mark.slow
async def test_a_long_path_is_cut_in_the_heading_and_whole_in_the_scrolling_part(drive):
    path = "/".join(f"folder-{n:02}" for n in range(20)) + "/end.txt"
    script = [call("write", path=path, content="x\n"), Reply(text="Then not.")]
    async with drive(script, size=(40, 12)) as ui:
        await ui.idle()
        await ui.send("go")
        await ui.shows("no, because…")
        assert "Create folder-00" in ui.shown
        seen = ui.shown
        for _ in range(12):
            await ui.pilot.press("pagedown")
            await ui.pilot.pause()
            assert "no, because…" in ui.shown
            seen += ui.shown
        assert "folder-00" in seen
        assert "end.txt" in seen


@pytest.mark.slow
async def test_the_model_gets_the_reason_of_a_denial(drive):
    async with drive([EDIT, Reply(text="I see.")]) as ui:
        await ui.idle()
        await ui.send("fix it")
        await ui.choose("no, because…")
        await ui.pilot.press(*"add a test first", "enter")
        await ui.shows("I see.")
        assert "The user said no: add a test first" in ui.conversations[-1].prompt


@pytest.mark.slow
async def test_allow_for_the_session_adds_the_rule_that_was_shown(drive, laguna_home):
    async with drive([call("shell", command="touch made"), Reply(text="Done so.")]) as ui:
        await ui.idle()
        await ui.send("make it")
        await ui.shows("$ touch made")
        await ui.shows("Longer than once: laguna may run exactly “touch made” without asking")
        await ui.choose("this session")
        await ui.shows("Done so.")
        [rule] = ui.app.agent.session.gate.rule_set.of("session")
        assert rule.command == "touch made"
        assert not (laguna_home / "config" / "config.toml").exists()


@pytest.mark.slow
async def test_keys_pressed_just_before_or_after_an_approval_appeared_do_not_answer_it(drive):
    async with drive([EDIT, Reply(text="later")]) as ui:
        await ui.idle()
        ui.app.approval.choices.quiet.seconds = 60
        await ui.send("fix it")
        await ui.until(lambda: ui.app.approval.is_open, "asked")
        await ui.pilot.press("right", "enter", "escape", *["enter"] * 20)
        assert ui.app.approval.is_open
        assert ui.app.approval.choices.selected is None
        ui.app.approval.choices.quiet.seconds = 0
        await ui.choose("no")
        await ui.idle()


@pytest.mark.slow
async def test_a_key_that_waited_while_the_card_was_drawn_does_not_answer_it(drive):
    async with drive([EDIT, Reply(text="later")]) as ui:
        await ui.idle()
        early = events.Key("right", None)
        await ui.send("fix it")
        await ui.until(lambda: ui.app.approval.choices.quiet.over, "asked")
        ui.app.approval.choices.post_message(early)
        await ui.pilot.pause()
        assert ui.app.approval.choices.selected is None
        await ui.choose("no")
        await ui.idle()


@pytest.mark.slow
async def test_a_message_written_while_an_approval_is_open_is_sent_and_answers_nothing(
    drive, repository
):
    async with drive([EDIT, Reply(text="Then not.")]) as ui:
        await ui.idle()
        await ui.send("fix it")
        await ui.shows("Change calc.py?")
        await ui.pilot.press(*"are you sure?")
        await ui.shows("❯ are you sure?")
        assert "Change calc.py?" in ui.shown, "what is asked stays in view"
        await ui.pilot.press("enter")
        await ui.shows("are you sure?")
        assert ui.app.approval.is_open
        assert ui.app.approval.choices.has_focus
        await ui.pilot.press("enter", "enter")
        assert ui.app.approval.is_open
        ui.app.approval.choices.post_message(events.Paste("y\na\n1\n"))
        await ui.until(lambda: ui.app.composer.text == "y\na\n1\n", "pasted")
        assert ui.app.approval.is_open
        await ui.pilot.press("escape")
        await ui.choose("no")
        await ui.shows("Then not.")
        assert "return a - b" in (repository / "calc.py").read_text()
        assert "are you sure?" in ui.conversations[-1].prompt


@pytest.mark.slow
async def test_an_approval_behind_a_dialog_takes_nothing_that_was_typed_into_it(drive):
    async with drive([Reply(text="first half, second half"), EDIT, Reply(text="x")]) as ui:
        await ui.idle()
        await ui.command("/help")
        ui.app.send("go on")
        ui.app.send("fix it")
        await ui.until(lambda: ui.app.approval.is_open, "asked")
        ui.app.approval.choices.quiet.seconds = 60
        await ui.pilot.press("escape", "right", "enter")
        assert ui.app.approval.is_open
        assert ui.app.approval.choices.selected is None
        ui.app.approval.choices.quiet.seconds = 0
        await ui.choose("no")
        await ui.idle()


@pytest.mark.slow
async def test_the_rule_and_its_file_are_whole_at_forty_columns(drive):
    script = [call("shell", command=f"touch {'x' * 60}"), Reply(text="Then not.")]
    async with drive(script, size=(40, 12)) as ui:
        await ui.idle()
        await ui.send("go")
        await ui.until(lambda: ui.app.approval.choices.quiet.over, "asked")
        await ui.pilot.press("right", "right", "right")
        seen = ""
        for _ in range(12):
            await ui.pilot.pause()
            seen += "".join(ui.shown.split())
            await ui.pilot.press("down")
        assert "x" * 30 in seen
        assert "permissions.toml" in seen
        await ui.pilot.press("escape")
        await ui.shows("Then not.")


async def test_a_command_that_cannot_be_undone_is_red_and_offers_no_rule(drive):
    script = [call("shell", command="rm -rf .git"), Reply(text="Then not.")]
    async with drive(script) as ui:
        await ui.idle()
        await ui.send("go")
        await ui.shows("⚠ ")
        assert ui.app.approval.has_class("risky")
        assert [choice.id for choice in ui.app.approval.choices.choices] == [
            "once",
            "no",
            "because",
        ]
        await ui.choose("no")
        await ui.shows("Then not.")


async def test_shift_tab_switches_the_mode_and_the_status_line_shows_it(drive):
    async with drive([Reply(text="x")]) as ui:
        await ui.idle()
        gate = ui.app.agent.session.gate
        for mode in ("accept-edits", "auto", "plan", "ask"):
            await ui.pilot.press("shift+tab")
            await ui.shows(f"\n {mode} ")
            assert gate.plan == (mode == "plan")
            assert mode in ("plan", gate.mode)


async def test_enter_steers_a_running_turn_and_alt_enter_queues(drive):
    replies = [call("read", path="calc.py"), Reply(text="first half, second half")]
    async with drive([Reply(text="one, two"), *replies], gated=True) as ui:
        await ui.idle()
        await ui.send("go")
        await ui.shows("writing")
        ui.app.composer.insert("and this after")
        await ui.pilot.press("alt+enter")
        await ui.shows("after this: and this after")
        ui.app.composer.insert("now this")
        await ui.pilot.press("enter")
        await ui.shows("before the next step: now this")
        await ui.pilot.press("alt+up", "up", "enter")
        assert ui.app.composer.text == "now this"
        assert "before the next step" not in ui.shown
        await ui.pilot.press("ctrl+c")
        ui.gate.set()
        await ui.until(lambda: ui.conversations[-1].prompt.count("and this after") == 1, "queued")
        await ui.idle()
        assert "now this" not in ui.conversations[-1].prompt


async def test_a_message_taken_back_goes_above_the_text_typed_since(drive):
    async with drive([Reply(text="one, two")], gated=True) as ui:
        await ui.idle()
        await ui.send("go")
        await ui.shows("writing")
        for text in ("and this after", "and that"):
            ui.app.composer.insert(text)
            await ui.pilot.press("alt+enter")
            await ui.shows(f"after this: {text}")
        ui.app.composer.insert("typed")
        for _ in range(2):
            await ui.pilot.press("alt+up", "enter")
        assert ui.app.composer.text == "and this after\nand that\ntyped"
        await ui.pilot.press("ctrl+c")
        ui.gate.set()
        await ui.idle()


async def test_a_message_sent_while_the_model_loads_is_used_when_it_is_loaded(drive):
    async with drive([Reply(text="hello there")], prompt="hello") as ui:
        await ui.shows("hello there")


async def test_a_users_shell_command_runs_at_once_and_the_model_gets_its_output(drive):
    async with drive([Reply(text="I see")]) as ui:
        await ui.idle()
        await ui.send("!echo from the shell")
        await ui.until(lambda: not ui.app.activity.busy, "ended")
        assert "from the shell" in ui.shown
        await ui.send("what was that?")
        await ui.shows("I see")
        assert "I ran `echo from the shell`" in ui.conversations[-1].prompt
        assert ui.app.agent.session.trajectory.meta.title == "what was that?"


async def test_escape_ends_a_shell_command_and_its_children(drive):
    async with drive([Reply(text="x")]) as ui:
        await ui.idle()
        await ui.send("!echo begun; sleep 1000")
        await ui.shows("begun")
        await ui.pilot.press("escape")
        await ui.idle()
        await ui.shows("interrupted")


@pytest.mark.slow
async def test_keys_typed_right_after_an_answer_go_to_the_composer_in_order(drive):
    async with drive([EDIT, Reply(text="first half, second half")], gated=True) as ui:
        await ui.idle()
        await ui.send("fix it")
        await ui.until(lambda: ui.app.approval.is_open, "asked")
        await ui.until(lambda: ui.app.approval.choices.quiet.over, "seen")
        for key in (*("right", "enter"), *"leave the tests alone", "enter"):
            ui.app.post_message(events.Key(key, key if len(key) == 1 else None))
        await ui.shows("leave the tests alone")  # steered, or queued
        ui.gate.set()
        await ui.idle()
        assert "leave the tests alone" in ui.conversations[-1].prompt
