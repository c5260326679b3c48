"""What a person said stands in the transcript at once, above what is done before the model hears
it; stopped before, it is back where it was typed."""

from __future__ import annotations

from laguna_agent.events import Reply

TASK = "fix it until `sh check.sh` passes"


async def test_a_message_stands_above_the_check_that_runs_before_it(drive, repository):
    (repository / "check.sh").write_text("echo not yet; exit 1\n")
    async with drive([Reply(text="I see."), Reply(text="I see.")]) as ui:
        await ui.idle()
        await ui.say(TASK)
        await ui.shows("the check of this task")
        assert "❯ fix it until" in ui.shown
        await ui.pilot.press("y")
        await ui.shows("I see.")
        shown = ui.shown
        assert shown.count("❯ fix it until") == 1
        assert shown.index("❯ fix it until") < shown.index("sh check.sh`  exit 1")
        said = next(entry for entry in ui.app.transcript.entries if entry.kind == "user")
        [message] = ui.app.agent.session.conversation_state.user_messages
        assert said.seq == message.seq


async def test_stopped_before_the_model_hears_it_a_message_goes_back_to_where_it_was_typed(
    drive, repository
):
    (repository / "check.sh").write_text("echo begun; sleep 1000\n")
    async with drive([Reply(text="Hello."), Reply(text="Yes.")]) as ui:
        await ui.idle()
        await ui.say("!echo mine")
        await ui.shows("mine")
        await ui.say(TASK)
        await ui.shows("the check of this task")
        await ui.pilot.press("y")
        await ui.until(lambda: not ui.app.approval.is_open, "answered")
        await ui.pilot.press("escape")
        await ui.until(lambda: not ui.app.activity.busy, "stopped")
        await ui.until(lambda: ui.app.composer.text == TASK, "typed again")
        assert not any(entry.kind == "user" for entry in ui.app.transcript.entries)
        ui.app.composer.text = ""
        await ui.say("only say yes")
        await ui.shows("Hello.")
        told = ui.conversations[-1].told
        assert "fix it until" not in told
        assert "I ran `echo mine`" in told
