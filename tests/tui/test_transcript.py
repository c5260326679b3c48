"""The transcript: paging, streaming, searching, expanding and copying."""

from __future__ import annotations

import asyncio
import random

import pytest
from textual.events import Resize
from textual.geometry import Size

from laguna_agent.events import (
    EngineRestarted,
    Reply,
    TextDelta,
    ToolFinished,
    ToolStarted,
    TurnFinished,
    UserMessage,
)
from laguna_agent.interfaces.tui.screens.dialogs import Picker
from laguna_agent.interfaces.tui.themes import PALETTES
from laguna_agent.interfaces.tui.transcript.diff_view import parse
from laguna_agent.interfaces.tui.transcript.markdown import code_blocks
from laguna_agent.interfaces.tui.transcript.rendering import EntryRenderer
from laguna_agent.interfaces.tui.transcript.stored_entries import PAGE, read_page
from laguna_agent.interfaces.tui.transcript.transcript_model import Entry, TranscriptModel
from laguna_agent.interfaces.tui.transcript.transcript_view import MAX_ENTRIES
from laguna_agent.trajectory.store import Trajectory
from support.scenes import ANSWER, DIFF, SceneApp
from support.scripted import call
from support.sessions import started, system


def long_session(root, turns):
    with Trajectory.create(root) as trajectory:
        trajectory.append(started(trajectory.id, str(root)))
        trajectory.append(system())
        for number in range(turns):
            trajectory.append(UserMessage(text=f"question {number}"))
            trajectory.append(Reply(text=f"answer {number}"))
        return trajectory.directory


def shown(app):
    height = app.transcript.size.height
    return "\n".join(app.transcript.render_line(y).text.rstrip() for y in range(height))


def test_pages_of_a_stored_session_join_without_gap_or_overlap(repository):
    directory = long_session(repository, 1_000)
    last = Trajectory.open(directory, for_append=False).last_seq
    texts, before, more = [], last + 1, True
    while more:
        entries, more = read_page(directory, before)
        assert len(entries) <= PAGE
        texts[:0] = [entry.body for entry in entries]
        before -= PAGE
    expected = [text for n in range(1_000) for text in (f"question {n}", f"answer {n}")]
    assert texts == expected


async def test_the_selected_entry_stays_selected_when_one_above_it_is_removed():
    app = SceneApp()
    async with app.run_test(size=(60, 20)) as pilot:
        app.prepare()
        entries = [Entry("user", body=body, name="user") for body in ("one", "two", "three")]
        app.transcript.replace(entries)
        app.transcript.select(1)
        app.transcript.discard(entries[0])
        assert app.transcript.selected is entries[1]
        await pilot.pause()


async def test_a_resumed_session_shows_its_end_and_loads_more_when_scrolled_up(drive, repository):
    directory = long_session(repository, 600)
    async with drive([Reply(text="x")], resume=directory.name) as ui:
        await ui.idle()
        await ui.shows("answer 599")
        held = len(ui.app.transcript.entries)
        assert held <= PAGE + 1
        ui.app.transcript.scroll_home(animate=False)
        await ui.until(lambda: len(ui.app.transcript.entries) > held, "earlier entries")
        bodies = [entry.body for entry in ui.app.transcript.entries if entry.kind == "answer"]
        first = int(bodies[0].split()[1])
        assert bodies == [f"answer {n}" for n in range(first, 600)]


async def test_the_lines_in_view_stay_when_entries_are_added_below():
    app = SceneApp()
    async with app.run_test(size=(60, 12)) as pilot:
        app.prepare()
        for number in range(80):
            app.transcript.add(Entry("answer", body=f"paragraph {number}\n\nmore of {number}"))
        await pilot.pause(0.1)
        app.transcript.scroll_to(y=100, animate=False)
        await pilot.pause()
        before = shown(app)
        app.transcript.add(Entry("answer", body=ANSWER))
        await pilot.pause(0.1)
        hint = "↓ new output below · ctrl+end"
        assert hint in shown(app)
        lines = [line.replace(hint, "").rstrip() for line in shown(app).split("\n")]
        assert lines == [line.rstrip() for line in before.split("\n")]
        app.transcript.go_to_end()
        await pilot.pause()
        assert "voucher of 10 %" in shown(app)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
async def test_the_end_is_followed_through_many_resizes(seed):
    chance = random.Random(seed)
    app = SceneApp()
    async with app.run_test(size=(100, 30)) as pilot:
        app.prepare()
        for number in range(40):
            if chance.random() < 0.7:
                app.transcript_model.apply(
                    TextDelta(text=f"piece {number} " * chance.randint(1, 40) + "\n\n")
                )
            else:
                app.transcript_model.apply(Reply(text=f"{ANSWER}\n\npiece {number}"))
            size = Size(
                chance.choice([20, 60, 76, 80, 112, 150]), chance.choice([3, 8, 12, 30, 80])
            )
            app._driver._size = size
            app.post_message(Resize(size, size))
            for _ in range(chance.randint(0, 8)):  # each time at another moment of drawing
                await asyncio.sleep(0)
        await pilot.resize_terminal(80, 24)
        app.transcript_model.apply(TextDelta(text="the very last"))
        app.transcript.redraw()
        await pilot.pause()
        assert "the very last" in shown(app)
        app.transcript.scroll_to(y=3, animate=False)
        await pilot.resize_terminal(60, 20)
        app.transcript_model.apply(TextDelta(text=" and more"))
        app.transcript.redraw()
        await pilot.pause()
        assert "the very last" not in shown(app)  # the view stays where the user reads


async def test_an_expanded_running_call_shows_its_end_and_all_of_it_once_it_ended():
    app = SceneApp()
    async with app.run_test(size=(60, 20)) as pilot:
        app.prepare()
        app.transcript.replace([])
        app.transcript_model.start_shell_command("k", "count")
        app.transcript_model.add_shell_output("k", "".join(f"line {n}\n" for n in range(1_000)), "")
        app.transcript.redraw()
        await pilot.pause()
        assert "line 999" in shown(app)
        app.transcript.scroll_home(animate=False)
        app.transcript.redraw()
        await pilot.pause()
        assert shown(app).splitlines()[1].strip() == "… 800 more lines"
        app.transcript_model.end_shell_command("k", 0, drew_screen=False)
        app.transcript.redraw()
        await pilot.pause()
        assert shown(app).splitlines()[1].strip() == "line 0"
        app.transcript.go_to_end()
        app.transcript.redraw()
        await pilot.pause()
        assert "line 999" in shown(app)
        app.transcript_model.start_shell_command("k", "endless")
        for _ in range(2):
            app.transcript_model.add_shell_output("k", "y\n" * 15_000, "")
        app.transcript.redraw()
        await pilot.pause()
        app.transcript_model.end_shell_command("k", 0, drew_screen=False)
        app.transcript.redraw()
        await pilot.pause()
        app.transcript.go_to_end()
        app.transcript.redraw()
        await pilot.pause()
        assert "more lines; what came before is not kept" in shown(app)


async def test_memory_of_the_transcript_is_bounded_while_messages_stream():
    app = SceneApp()
    async with app.run_test(size=(60, 12)) as pilot:
        app.prepare()
        for number in range(3 * MAX_ENTRIES):
            app.transcript_model.apply(TextDelta(text=f"message {number}"))
            app.transcript_model.apply(Reply(text=f"message {number}"))
        await pilot.pause(0.1)
        assert len(app.transcript.entries) <= MAX_ENTRIES
        assert len(app.transcript._layouts) == len(app.transcript.entries)
        assert f"message {3 * MAX_ENTRIES - 1}" in shown(app)


async def test_a_streamed_answer_looks_the_same_as_the_finished_one():
    app = SceneApp()
    async with app.run_test(size=(80, 60)) as pilot:
        app.prepare()
        app.transcript.replace([])
        for at in range(0, len(ANSWER), 7):
            app.transcript_model.apply(TextDelta(text=ANSWER[at : at + 7]))
            app.transcript.redraw()
        streamed = shown(app).split()
        app.transcript_model.apply(Reply(text=ANSWER))
        await pilot.pause(0.1)
        assert shown(app).split() == streamed


async def test_a_search_selects_the_last_match_and_n_the_one_before():
    app = SceneApp()
    async with app.run_test(size=(60, 20)) as pilot:
        app.prepare()
        for word in ("apple", "pear", "apple pie", "plum"):
            app.transcript.add(Entry("answer", body=word))
        await pilot.pause(0.1)
        await pilot.press("ctrl+s", *"apple", "enter")
        assert app.transcript.selected.body == "apple pie"
        await pilot.press("n")
        assert app.transcript.selected.body == "apple"
        await pilot.press("escape")
        assert app.composer.has_focus


async def test_copying_copies_a_message_its_code_or_the_last_answer():
    app = SceneApp()
    async with app.run_test(size=(60, 20)) as pilot:
        app.prepare()
        app.happen(Reply(text=ANSWER))
        await pilot.pause(0.1)
        await pilot.press("shift+up", "c")
        assert app.clipboard == ANSWER
        await pilot.press("x")
        assert app.clipboard == code_blocks(ANSWER)[0].code
        await pilot.press("escape", *"/copy", "enter")
        await pilot.pause()
        assert app.clipboard == ANSWER
        await pilot.press("alt+c")
        assert app.clipboard == code_blocks(ANSWER)[0].code


async def test_one_of_several_code_blocks_is_picked_by_a_key_or_a_command():
    app = SceneApp()
    async with app.run_test(size=(90, 24)) as pilot:
        app.prepare()
        app.happen(Reply(text="```sh\nmake a\n```\n\n- or\n\n  ```py\n  b = 1\n  ```\n"))
        await pilot.pause(0.1)
        await pilot.press("alt+c")
        assert isinstance(app.screen, Picker)
        await pilot.press("down", "enter")
        assert app.clipboard == "b = 1\n"
        await pilot.press(*"/copy code", "enter")
        await pilot.pause()
        await pilot.press(*"make", "enter")
        assert app.clipboard == "make a\n"
        app.happen(Reply(text="no code"))
        await pilot.pause(0.1)
        await pilot.press("alt+c")
        assert app.status.flashed == "the last answer has no code"


@pytest.mark.slow
async def test_a_tool_call_is_folded_and_expands():
    app = SceneApp()
    async with app.run_test(size=(60, 20)) as pilot:
        app.prepare()
        output = "\n".join(f"line {n}" for n in range(30))
        app.happen(ToolFinished(call_id="a", name="shell", ok=True, content=output, title="ls"))
        await pilot.pause(0.1)
        assert "… 27 more lines" in shown(app)
        assert "line 20" not in shown(app)
        await pilot.press("ctrl+o")
        await pilot.pause()
        assert "line 20" in shown(app)
        await pilot.press("ctrl+o")
        await pilot.pause()
        assert "line 20" not in shown(app)


@pytest.mark.parametrize("command", [f"echo {'a ' * 40}the end", "cd x\nmake\nthe end"])
async def test_an_expanded_call_shows_the_whole_command(command):
    app = SceneApp()
    async with app.run_test(size=(60, 20)) as pilot:
        app.prepare()
        reply = call("shell", command=command)
        asked = reply.tool_calls[0].id
        title = f"$ {command.split(chr(10))[0]}"
        app.happen(reply)
        app.happen(ToolStarted(call_id=asked, name="shell", title=title))
        app.happen(ToolFinished(call_id=asked, name="shell", ok=True, content="x", title=title))
        await pilot.pause(0.1)
        assert "the end" not in shown(app)
        await pilot.press("ctrl+o")
        await pilot.pause()
        assert "the end" in shown(app)
        assert shown(app).count("$ ") == 2


def test_no_markup_or_escape_sequence_from_outside_reaches_the_screen():
    renderer = EntryRenderer(PALETTES["laguna"])
    nasty = "[bold red]x[/] \x1b[31m \x1b]52;c;AAAA\x07 \u202e <b>html</b>"
    for entry in (
        Entry("user", body=nasty),
        Entry("answer", body=nasty),
        Entry("thinking", body=nasty, is_open=True),
        Entry("notice", title=nasty, body=nasty, is_open=True),
        Entry("tool", title=nasty, body=nasty, summary=nasty, state="failed"),
        Entry("tool", title="edit", diff=DIFF.replace("total", nasty), state="ok"),
        Entry("end", title="failed", body=nasty, summary="3 steps"),
    ):
        text = "".join(segment.text for line in renderer.entry(entry, 200) for segment in line)
        assert not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or c == "\u202e" for c in text)
        assert "[bold red]x" in text
        if entry.kind == "answer":
            assert "<b>html</b>" in text


def test_a_diff_keeps_the_line_numbers_of_both_sides():
    rows = [(row.kind, row.old, row.new) for row in parse(DIFF)]
    assert rows[:3] == [("file", 0, 0), ("hunk", 0, 0), ("same", 12, 12)]
    assert ("removed", 16, 0) in rows
    assert ("added", 0, 17) in rows
    assert rows[-1] == ("same", 19, 20)


def test_the_end_of_a_turn_ends_running_entries():
    entries: list[Entry] = []
    model = TranscriptModel(entries.append, lambda entry: None, entries.remove)
    model.apply(TextDelta(text="half"))
    model.start_shell_command("k", "sleep 9")
    model.apply(TurnFinished(status="interrupted", error="interrupted"))
    assert [entry.state for entry in entries[:2]] == ["failed", "failed"]
    assert model.add_shell_output("k", "late", "") is None


def test_the_tries_of_one_request_to_a_server_are_one_line():
    entries: list[Entry] = []
    model = TranscriptModel(entries.append, lambda entry: None, entries.remove)
    for attempt in (1, 2, 3):
        model.apply(EngineRestarted(reason="loading", attempt=attempt, server=True, wait_s=2))
    assert [entry.title for entry in entries] == ["asked the server again (try 4): loading"]
    model.apply(Reply(text="Here I am."))
    model.apply(EngineRestarted(reason="loading", attempt=1, server=True, wait_s=2))
    assert sum(entry.name == "retry" for entry in entries) == 2
    model.apply(EngineRestarted(reason="it was killed", attempt=1))
    assert entries[-1].title == "the engine restarted: it was killed"


@pytest.mark.slow
async def test_edits_are_counted_in_the_side_panel(drive):
    edit = call("edit", path="calc.py", old="a - b", new="a + b")
    async with drive([edit, Reply(text="ok")], size=(140, 30), mode="accept-edits") as ui:
        await ui.turn("fix", "ok")
        assert ui.app.side_panel.changed_files.counts == {"calc.py": (1, 1)}
        assert "calc.py +1 -1" in ui.shown


async def test_search_finds_stored_entries_that_are_not_loaded(drive, repository):
    directory = long_session(repository, 600)
    async with drive([Reply(text="x")], resume=directory.name, size=(60, 14)) as ui:
        await ui.idle()
        await ui.shows("answer 599")
        assert all(entry.body != "question 7" for entry in ui.app.transcript.entries)
        ui.app.search.search("QUESTION 7")
        await ui.until(
            lambda: (chosen := ui.app.transcript.selected) and chosen.body == "question 79",
            "the last match, which is on record only",
        )
        await ui.shows("question 79")
        await ui.pilot.press("n")
        assert ui.app.transcript.selected.body == "question 78"
        await ui.pilot.press("N")
        assert ui.app.transcript.selected.body == "question 79"
        ui.app.search.search("nowhere in it")
        await ui.shows("no earlier match: nowhere in it")
        bodies = [entry.body for entry in ui.app.transcript.entries if entry.kind == "user"]
        assert bodies[-600:] == [f"question {n}" for n in range(600 - len(bodies), 600)]


async def test_a_match_in_collapsed_output_is_expanded_and_marked():
    app = SceneApp()
    async with app.run_test(size=(60, 20)) as pilot:
        app.prepare()
        output = "\n".join(f"line {n}" for n in range(90))
        app.happen(ToolFinished(call_id="a", name="shell", ok=True, content=output, title="ls"))
        await pilot.pause(0.1)
        app.search.search("LINE 71")
        await pilot.pause()
        line = next(
            strip for y in range(20) if "line 71" in (strip := app.transcript.render_line(y)).text
        )
        reversed_ = [part.text for part in line if part.style and part.style.reverse]
        assert reversed_ == ["line 71"]
