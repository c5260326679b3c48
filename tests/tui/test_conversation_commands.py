"""Slash commands on the real app that start, continue, change or export a conversation."""

from __future__ import annotations

import json

import pytest

from laguna_agent.config import RuleConfig
from laguna_agent.events import Reply
from laguna_agent.interfaces.tui.screens.dialogs import Picker, Question
from laguna_agent.trajectory.store import Trajectory

SUMMARY = "## Goal\n- fix add\n\n## Decisions\n- add keeps its name\n"


@pytest.mark.slow
async def test_compact_summarises_by_the_guidance_and_the_conversation_continues(drive):
    first = Reply(text="long ago " * 200 + "first answer")
    script = [first, Reply(text=SUMMARY), Reply(text="going on")]
    async with drive(script) as ui:
        await ui.turn("fix add", "first answer")
        await ui.command("/compact keep the file names")
        await ui.shows("summarised the conversation:")
        await ui.idle()
        stored = Trajectory.open(ui.app.agent.session.trajectory.directory, for_append=False)
        (compacted,) = [item.event for item in stored.of_type("compacted")]
        assert compacted.guidance == "keep the file names"
        assert "add keeps its name" in compacted.summary
        prompt = ui.conversations[-1].prompt
        assert "add keeps its name" in prompt
        assert "first answer" not in prompt
        await ui.send("and now?")
        await ui.shows("going on")


@pytest.mark.slow
async def test_escape_stops_a_compaction_and_leaves_the_conversation_unchanged(drive):
    script = [Reply(text="first answer"), Reply(text=SUMMARY), Reply(text="going on")]
    async with drive(script) as ui:
        await ui.turn("fix add", "first answer")
        before = list(ui.conversations[-1].entries)
        ui.gate.clear()
        await ui.command("/compact")
        await ui.shows("summarising")
        await ui.until(lambda: len(ui.conversations[-1].options) == 2, "the model summarises")
        await ui.pilot.press("escape")
        await ui.idle()
        ui.gate.set()
        assert ui.conversations[-1].entries == before
        await ui.shows("stopped")
        await ui.send("and now?")
        await ui.shows("going on")


async def test_compact_of_a_short_conversation_says_that_there_is_nothing_to_gain(drive):
    longer = SUMMARY + "".join(
        f"- part {number} keeps its name as all of its many callers in the tests expect\n"
        for number in range(9)
    )
    script = [Reply(text="first answer"), Reply(text=longer), Reply(text="going on")]
    async with drive(script) as ui:
        await ui.turn("fix add", "first answer")
        before = list(ui.conversations[-1].entries)
        await ui.command("/compact")
        await ui.shows("Nothing to gain:")
        await ui.idle()
        assert ui.conversations[-1].entries == before
        session = ui.app.agent.session
        assert session.conversation_state.epoch == 0
        await ui.send("and now?")
        await ui.shows("going on")
        stored = Trajectory.open(session.trajectory.directory, for_append=False)
        assert not list(stored.of_type("compacted"))


async def test_compact_without_messages_is_a_warning(drive):
    async with drive([Reply(text=SUMMARY)]) as ui:
        await ui.idle()
        await ui.command("/compact")
        await ui.idle()
        await ui.shows("nothing to summarise yet")
        assert not ui.conversations[-1].options


@pytest.mark.slow
async def test_new_starts_an_empty_conversation_and_keeps_the_old_one(drive):
    async with drive([Reply(text="old answer")]) as ui:
        await ui.turn("old question", "old answer")
        old = ui.app.agent.session.trajectory
        await ui.command("/new")
        await ui.until(lambda: len(ui.conversations) == 2, "another session")
        await ui.idle()
        assert ui.app.agent.session.trajectory.id != old.id
        assert "old answer" not in ui.shown
        assert not ui.app.agent.session.conversation_state.user_messages
        assert old.directory.is_dir()


@pytest.mark.slow
async def test_a_new_conversation_and_another_model_keep_what_a_person_has_set(drive):
    async with drive([Reply(text="old answer")]) as ui:
        await ui.turn("old question", "old answer")
        await ui.command("/mode auto")
        await ui.command("/plan")
        rule = RuleConfig(verdict="allow", path="/etc/hostname")
        ui.app.agent.session.gate.rule_set.add(rule, "everywhere")
        for number, reopen in enumerate(
            (lambda: ui.app.slash_commands.run("/new"), lambda: ui.app.models._reopen(model="two")),
            start=2,
        ):
            reopen()
            await ui.until(lambda number=number: len(ui.conversations) == number, "another session")
            await ui.idle()
            gate = ui.app.agent.session.gate
            assert (gate.mode, gate.plan) == ("auto", True)
            assert rule in gate.rules
            assert (ui.app.status.status.mode, ui.app.status.status.plan) == ("auto", True)


@pytest.mark.slow
async def test_resume_by_id_shows_the_conversation_and_the_model_knows_it(drive):
    async with drive([Reply(text="old answer")]) as ui:
        await ui.turn("old question", "old answer")
        old = ui.app.agent.session.trajectory.id
        await ui.command("/new")
        await ui.until(lambda: len(ui.conversations) == 2, "another session")
        await ui.idle()
        await ui.command(f"/resume {old}")
        await ui.shows("old answer")
        await ui.idle()
        assert ui.app.agent.session.trajectory.id == old
        await ui.send("go on")
        await ui.idle()
        assert "old question" in ui.conversations[-1].prompt


@pytest.mark.slow
async def test_resume_of_an_unknown_id_is_reported_and_keeps_the_conversation(drive):
    async with drive([Reply(text="first answer"), Reply(text="here again")]) as ui:
        await ui.turn("first question", "first answer")
        here = ui.app.agent.session.trajectory.id
        await ui.command("/resume nothing-like-it")
        await ui.shows("there is no session")
        assert ui.app.agent.session.trajectory.id == here
        assert "first answer" in ui.shown
        await ui.send("hello?")
        await ui.shows("here again")


@pytest.mark.slow
async def test_fork_continues_in_a_copy_and_leaves_the_original_unchanged(drive):
    async with drive([Reply(text="first answer"), Reply(text="another way")]) as ui:
        await ui.idle()
        await ui.command("/fork")
        await ui.shows("nothing to copy yet")
        await ui.send("a question")
        await ui.shows("first answer")
        await ui.idle()
        original = ui.app.agent.session.trajectory
        before = (original.directory / "events.jsonl").read_bytes()
        await ui.command("/fork")
        await ui.until(lambda: len(ui.conversations) == 2, "a copy")
        await ui.idle()
        await ui.shows("a copy: the original stays as it is")
        assert ui.app.agent.session.trajectory.id != original.id
        assert "first answer" in ui.shown
        await ui.send("do it another way")
        await ui.idle()
        assert "a question" in ui.conversations[-1].prompt
        assert (original.directory / "events.jsonl").read_bytes() == before


@pytest.mark.slow
async def test_rename_sets_the_title_that_the_picker_shows(drive):
    async with drive([Reply(text="hello")]) as ui:
        await ui.turn("hi", "hello")
        directory = ui.app.agent.session.trajectory.directory
        await ui.command("/rename The greeting")
        await ui.shows("renamed this conversation: The greeting")
        assert Trajectory.open(directory, for_append=False).meta.title == "The greeting"
        await ui.command("/rename")
        await ui.dialog(Question)
        await ui.pilot.press("ctrl+u", *"Again", "enter")
        await ui.shows("renamed this conversation: Again")
        await ui.command("/new")
        await ui.until(lambda: len(ui.conversations) == 2, "another session")
        await ui.idle()
        await ui.command("/resume")
        await ui.dialog(Picker)
        assert "Again" in ui.shown


async def test_export_writes_the_format_of_the_extension(drive, repository):
    async with drive([Reply(text="the **answer**")]) as ui:
        await ui.turn("the question", "done")
        for name in ("talk.md", "talk.html", "talk.json"):
            await ui.command(f"/export {name}")
            await ui.until((repository / name).exists, name)
        assert "the **answer**" in (repository / "talk.md").read_text()
        assert "the question" in (repository / "talk.html").read_text()
        steps = json.loads((repository / "talk.json").read_text())["steps"]
        assert any(step["message"] == "the question" for step in steps)


@pytest.mark.slow
async def test_export_asks_for_a_name_and_before_it_replaces_a_file(drive, repository):
    notes = repository / "notes.md"
    notes.write_text("mine")
    async with drive([Reply(text="the answer")]) as ui:
        await ui.turn("the question", "done")
        await ui.command("/export")
        await ui.dialog(Question)
        await ui.pilot.press("ctrl+u", *"notes.md", "enter")
        await ui.shows("This file exists")
        await ui.pilot.press(*"/copy yes", "enter")
        assert "This file exists" in ui.shown, "typing does not answer"
        await ui.choose("keep it")
        await ui.pilot.pause()
        assert notes.read_text() == "mine"
        await ui.command("/export notes.md")
        await ui.shows("This file exists")
        await ui.choose("replace it")
        await ui.shows("exported to ")
        assert "the answer" in notes.read_text()


async def test_export_to_an_unwritable_path_is_reported(drive, repository):
    async with drive([Reply(text="the answer")]) as ui:
        await ui.idle()
        await ui.command("/export /proc/nowhere/talk.md")
        await ui.shows("cannot write")
        await ui.command("/export ~no-such-person/talk.md")
        await ui.shows("cannot write")
        assert ui.app.is_running
