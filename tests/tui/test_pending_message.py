"""A message shows in the transcript before the session records it."""

from __future__ import annotations

import pytest

from laguna_agent.events import Reply

TASK = "fix it until `sh check.sh` passes"


@pytest.mark.slow
async def test_a_message_shows_above_the_check_that_runs_first(drive, repository):
    (repository / "check.sh").write_text("echo not yet; exit 1\n")
    async with drive([Reply(text="I see."), Reply(text="I see.")]) as ui:
        await ui.idle()
        await ui.send(TASK)
        await ui.shows("the check of this task")
        assert "❯ fix it until" in ui.shown
        await ui.choose("once")
        await ui.shows("I see.")
        shown = ui.shown
        assert shown.count("❯ fix it until") == 1
        assert shown.index("❯ fix it until") < shown.index("sh check.sh`  exit 1")
        shown_entry = next(entry for entry in ui.app.transcript.entries if entry.kind == "user")
        [message] = ui.app.agent.session.conversation_state.user_messages
        assert shown_entry.seq == message.seq


@pytest.mark.slow
async def test_a_message_stopped_during_its_check_returns_to_the_composer(drive, repository):
    (repository / "check.sh").write_text("echo begun; sleep 1000\n")
    async with drive([Reply(text="Hello."), Reply(text="Yes.")]) as ui:
        await ui.idle()
        await ui.send("!echo mine")
        await ui.shows("mine")
        await ui.send(TASK)
        await ui.shows("the check of this task")
        await ui.choose("once")
        await ui.until(lambda: not ui.app.approval.is_open, "answered")
        await ui.pilot.press("escape")
        await ui.until(lambda: not ui.app.activity.busy, "stopped")
        await ui.until(lambda: ui.app.composer.text == TASK, "typed again")
        assert not any(entry.kind == "user" for entry in ui.app.transcript.entries)
        ui.app.composer.text = ""
        await ui.send("only say yes")
        await ui.shows("Hello.")
        prompt = ui.conversations[-1].prompt
        assert "fix it until" not in prompt
        assert "I ran `echo mine`" in prompt
