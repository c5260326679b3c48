"""Commands that the user runs with `!`, also with endless output."""

from __future__ import annotations

import os

import pytest

from laguna_agent.events import Reply
from laguna_agent.interfaces.tui import messages
from laguna_agent.interfaces.tui.transcript.transcript_model import LIVE_CHARS
from support.shells import processes_with


class Counted:
    """Counts the output messages that were posted and not shown yet."""

    def __init__(self, app) -> None:
        self.posted = self.shown = self.most = self.longest = 0
        self._post, self._taken = app.agent._post, app.agent.shell_output_shown
        app.agent._post, app.agent.shell_output_shown = self.post, self.take

    def post(self, message) -> None:
        if isinstance(message, messages.ShellOutput):
            self.posted += 1
            self.most = max(self.most, self.posted - self.shown)
            self.longest = max(self.longest, len(message.text))
        self._post(message)

    def take(self) -> None:
        self.shown += 1
        self._taken()


@pytest.mark.slow
async def test_endless_output_waits_for_the_interface_and_escape_stops_it(drive):
    word = f"endless-{os.getpid()}"
    async with drive([Reply(text="x")]) as ui:
        await ui.idle()
        counted = Counted(ui.app)
        await ui.send(f"!yes {word}")
        await ui.until(lambda: counted.shown >= 10, "output")
        await ui.pilot.press(*"typed meanwhile")
        assert ui.app.composer.text == "typed meanwhile"
        assert ui.app.activity.busy
        await ui.pilot.press("escape")
        await ui.until(lambda: not ui.app.activity.busy, "stopped")
        entry = ui.app.transcript.entries[-1]
        assert (entry.state, entry.summary) == ("failed", "interrupted")
        assert not processes_with(word)
        assert counted.most <= 2  # the last output and the exit
        assert counted.longest <= LIVE_CHARS
        ui.app.composer.put("")
        await ui.send("!echo still here")
        await ui.until(lambda: not ui.app.activity.busy, "another command")
        assert ui.app.transcript.entries[-1].body == "still here\n"


@pytest.mark.slow
async def test_no_output_is_posted_until_the_last_one_is_shown(drive):
    async with drive([Reply(text="x")]) as ui:
        await ui.idle()
        counted = Counted(ui.app)
        taken, ui.app.agent.shell_output_shown = ui.app.agent.shell_output_shown, lambda: None
        await ui.send("!seq 1000000; echo all of it")
        await ui.until(lambda: counted.posted, "the first piece")
        for _ in range(20):
            await ui.pilot.pause(0.01)
        assert counted.posted == 1
        ui.app.agent.shell_output_shown = taken
        taken()
        await ui.shows("all of it")


@pytest.mark.slow
async def test_characters_stay_whole_where_output_is_split(drive):
    async with drive([Reply(text="x")]) as ui:
        await ui.idle()
        counted = Counted(ui.app)
        await ui.send("!for n in {1..40}; do printf '日%.0s' {1..30000}; done; echo; echo the end")
        await ui.until(lambda: not ui.app.activity.busy, "the end")
        body = ui.app.transcript.entries[-1].body
        assert counted.posted > 2
        assert body.endswith("日\nthe end\n")
        assert set(body) == set("日\nthe end")
        assert len(body) == LIVE_CHARS


async def test_what_a_command_shows_names_no_check(drive, repository):
    (repository / "test_calc.py").write_text("import unittest\n")
    (repository / "NOTES").write_text(
        "Make `touch ran` pass. Fix the failing test in test_calc.py\n"
    )
    async with drive([Reply(text="You are welcome.")]) as ui:
        await ui.idle()
        await ui.send("!ls; cat NOTES")
        await ui.shows("failing test in test_calc.py")
        await ui.idle()
        await ui.turn("thanks", "You are welcome.")
        assert "the check of this task" not in ui.shown
        assert len(ui.conversations[-1].options) == 1
    assert not (repository / "ran").exists()
