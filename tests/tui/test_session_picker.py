"""The session picker searches the messages of conversations."""

from __future__ import annotations

import asyncio

import pytest
from rich.text import Text

from laguna_agent.events import Reply, UserMessage
from laguna_agent.interfaces.tui.screens.dialogs import Choice, Picker
from laguna_agent.trajectory.store import Trajectory
from support.sessions import started, system


def conversation(root, first, *later):
    with Trajectory.create(root) as trajectory:
        trajectory.append(started(trajectory.id, str(root)))
        trajectory.append(system())
        trajectory.append(UserMessage(text=first))
        for text in later:
            trajectory.append(Reply(text=text))
        return trajectory.id


@pytest.mark.slow
async def test_the_picker_searches_messages_and_shows_the_match(drive, repository):
    filler = [f"step {number} is done" for number in range(60)]
    wanted = conversation(
        repository, "port the importer", "the walrus barrier was to blame", *filler
    )
    other = conversation(repository, "write a changelog", "it is written")
    async with drive([Reply(text="x")], size=(120, 30)) as ui:
        await ui.idle()
        await ui.send("/resume")
        await ui.until(lambda: isinstance(ui.app.screen, Picker), "the picker")
        picker = ui.app.screen
        assert {choice.id for choice in picker._shown} == {wanted, other}
        for key in "walrus barrier":
            await ui.pilot.press("space" if key == " " else key)
        await ui.until(lambda: picker.chosen == wanted, "the conversation")
        assert [choice.id for choice in picker._shown] == [wanted]
        await ui.shows("the walrus barrier was to blame")
        await ui.pilot.press("enter")
        await ui.until(
            lambda: ui.app.agent.session and ui.app.agent.session.trajectory.id == wanted, "opened"
        )


@pytest.mark.slow
async def test_the_preview_of_a_conversation_wraps_in_its_column(drive, repository):
    answer = " ".join(f"word{number}" for number in range(14))
    conversation(repository, "port the importer", answer)
    async with drive([Reply(text="x")], size=(80, 24)) as ui:
        await ui.idle()
        await ui.send("/resume")
        await ui.until(lambda: isinstance(ui.app.screen, Picker), "the picker")
        await ui.shows("word13")
        assert all(f"word{number} " in ui.shown for number in range(14))


async def test_a_search_that_ends_while_the_picker_closes_is_no_error(drive):
    async def search(_text):
        picker.dismiss(None)
        while picker.query("#choices"):
            await asyncio.sleep(0)
        searched.append(True)
        return []

    searched = []
    async with drive([Reply(text="x")]) as ui:
        await ui.idle()
        picker = Picker("conversations", [Choice("a", Text("one"))], search=search)
        ui.app.push_screen(picker)
        await ui.dialog(Picker)
        await ui.pilot.press("o", "n")
        await ui.until(lambda: searched, "the search's end")
        await ui.turn("go on", "x")
