"""Skills and prompt packs in the terminal interface: calling, completing, noticing changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from laguna_agent.events import Reply
from support.packs import write_files

SKILL = "---\nname: release\ndescription: Cut a release.\n---\nRaise the version, then tag.\n"


@pytest.fixture
def skills(laguna_home: Path) -> Path:
    """The user's skills: one, and one that is called like a command."""
    folder = laguna_home / "config" / "skills"
    helped = SKILL.replace("release", "help")
    return write_files(folder, {"release/SKILL.md": SKILL, "help/SKILL.md": helped})


async def test_a_skill_is_completed_and_called_by_its_name(drive, skills):
    async with drive([Reply(text="tagged")]) as ui:
        await ui.idle()
        await ui.pilot.press("/", "r", "e", "l")
        await ui.shows("Cut a release.")
        await ui.pilot.press("tab")
        assert ui.app.composer.text == "/release "
        await ui.pilot.press(*"1.2", "enter")
        await ui.shows("tagged")
        assert "❯ /release 1.2" in ui.shown
        assert "Raise the version, then tag.\n\n/release 1.2" in ui.conversations[-1].told


async def test_help_lists_skills_and_a_command_goes_before_a_skill_of_its_name(drive, skills):
    async with drive([Reply(text="x")]) as ui:
        await ui.idle()
        await ui.say("/help")
        await ui.shows("Help")
        await ui.pilot.press("end")
        await ui.shows("/release [WORDS]")
        assert "Cut a release." in ui.shown
        assert "/help [WORDS]" not in ui.shown


async def test_a_name_that_is_neither_is_answered(drive, skills):
    async with drive([Reply(text="x")]) as ui:
        await ui.idle()
        await ui.say("/relase 1.2")
        await ui.shows("there is no command /relase")


async def test_a_skill_is_called_while_the_agent_works(drive, skills):
    async with drive([Reply(text="one, two")], gated=True) as ui:
        await ui.idle()
        await ui.say("go")
        await ui.shows("writing")
        ui.app.composer.insert("/release now")
        await ui.pilot.press("enter")
        await ui.shows("before the next step: /release now")
        ui.gate.set()
        await ui.until(lambda: "/release now" in ui.conversations[-1].told, "said")
        assert ui.conversations[-1].told.count("Raise the version, then tag.") == 1
        await ui.idle()


async def test_what_the_person_ran_before_is_told_after_the_call(drive, skills):
    async with drive([Reply(text="tagged")]) as ui:
        await ui.idle()
        await ui.say("!echo from the shell")
        await ui.until(lambda: not ui.app.busy, "ended")
        await ui.say("/release")
        await ui.shows("tagged")
        told = ui.conversations[-1].told
        assert told.index("Raise the version") < told.index("I ran `echo from the shell`")
