"""Skills and prompt packs in the interface: calling, completing, noticing edits."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from laguna_agent.events import Reply
from laguna_agent.interfaces.tui import pack_watch
from laguna_agent.interfaces.tui.screens.dialogs import Question
from laguna_agent.policy import trust
from support.packs import write_files

SKILL = "---\nname: release\ndescription: Cut a release.\n---\nRaise the version, then tag.\n"


@pytest.fixture
def skills(laguna_home: Path) -> Path:
    """The user's skills: one, and one with the name of a command."""
    folder = laguna_home / "config" / "skills"
    helped = SKILL.replace("release", "help")
    return write_files(folder, {"release/SKILL.md": SKILL, "help/SKILL.md": helped})


@pytest.mark.slow
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
        assert "Raise the version, then tag.\n\n/release 1.2" in ui.conversations[-1].prompt


async def test_help_lists_skills_and_a_command_wins_over_a_skill_of_the_same_name(drive, skills):
    async with drive([Reply(text="x")]) as ui:
        await ui.idle()
        await ui.send("/help")
        await ui.shows("Help")
        await ui.pilot.press(*"words")
        await ui.shows("/release [WORDS]")
        assert "Cut a release." in ui.shown
        assert "/help [WORDS]" not in ui.shown


async def test_a_name_that_is_neither_command_nor_skill_is_reported(drive, skills):
    async with drive([Reply(text="x")]) as ui:
        await ui.idle()
        await ui.send("/relase 1.2")
        await ui.shows("there is no command /relase; did you mean /release?")


async def test_a_skill_can_be_called_while_the_agent_works(drive, skills):
    async with drive([Reply(text="one, two")], gated=True) as ui:
        await ui.idle()
        await ui.send("go")
        await ui.shows("writing")
        ui.app.composer.insert("/release now")
        await ui.pilot.press("enter")
        await ui.shows("before the next step: /release now")
        ui.gate.set()
        await ui.until(lambda: "/release now" in ui.conversations[-1].prompt, "said")
        assert ui.conversations[-1].prompt.count("Raise the version, then tag.") == 1
        await ui.idle()


async def test_the_output_of_a_shell_command_comes_before_the_skill_that_is_called_after_it(
    drive, skills
):
    async with drive([Reply(text="tagged")]) as ui:
        await ui.idle()
        await ui.send("!echo from the shell")
        await ui.until(lambda: not ui.app.activity.busy, "ended")
        await ui.send("/release")
        await ui.shows("tagged")
        prompt = ui.conversations[-1].prompt
        assert prompt.index("I ran `echo from the shell`") < prompt.index("Raise the version")


# --- edited packs -----------------------------------------------------------------------------


@pytest.fixture
def prompts(laguna_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of the user's packs, which the interface checks all the time."""
    monkeypatch.setattr(pack_watch, "PERIOD_S", 0.1)
    return laguna_home / "config" / "prompts"


@pytest.mark.slow
async def test_an_edited_pack_is_noticed_and_used_after_reload(drive, prompts):
    async with drive([Reply(text="hello")], size=(160, 30)) as ui:
        await ui.idle()
        await ui.send("hi")
        await ui.shows("hello")
        before = ui.conversations[-1].system
        write_files(prompts, {"base/system.md": "You are terse.", "base/tools/read.md": "Look."})
        await ui.shows("the prompt pack base was edited (system.md, tools/read.md)")
        await ui.shows("/prompts reload starts a new")
        await ui.send("and now")
        await ui.idle()
        assert ui.conversations[-1].system == before
        assert len(ui.conversations) == 1
        await ui.send("/prompts reload")
        await ui.until(lambda: len(ui.conversations) == 2, "a new conversation")
        await ui.idle()
        await ui.send("again")
        await ui.idle()
        assert ui.conversations[-1].system == "You are terse."
        assert {t.name: t.description for t in ui.conversations[-1].tools}["read"] == "Look."


async def test_each_edit_is_reported_once_and_a_reverted_one_not_at_all(drive, prompts):
    async with drive([Reply(text="x")], size=(100, 30)) as ui:
        await ui.idle()

        def notices() -> int:
            return sum("was edited" in e.title for e in ui.app.transcript.entries)

        write_files(prompts, {"base/system.md": "one"})
        await ui.until(lambda: notices() == 1, "noticed")
        for _ in range(10):
            await ui.app.pack_watch.check()
        assert notices() == 1
        write_files(prompts, {"base/system.md": "another"})
        await ui.until(lambda: notices() == 2, "noticed again")
        (prompts / "base/system.md").unlink()
        for _ in range(3):
            await ui.app.pack_watch.check()
        assert notices() == 2
        write_files(prompts, {"base/unused.txt": "x", "other/system.md": "of another pack"})
        for _ in range(3):
            await ui.app.pack_watch.check()
        assert notices() == 2


async def test_an_invalid_pack_is_reported_with_file_line_and_fix(drive, prompts):
    async with drive([Reply(text="hello")], size=(110, 30)) as ui:
        await ui.idle()
        write_files(prompts, {"base/system.md": "x\n{{ modle }}"})
        problem = "base/system.md:2: unknown variable `modle`"
        await ui.until(lambda: problem in " ".join(ui.shown.split()), "the problem, wrapped")
        assert "Did you mean `model`?" in ui.shown
        await ui.send("hi")
        await ui.shows("hello")


@pytest.mark.slow
async def test_changed_packs_of_a_repository_need_trust_before_they_are_read(
    drive, prompts, repository
):
    write_files(repository, {".laguna/prompts/base/system.md": "Trusted."})
    trust.trust(repository)
    async with drive([Reply(text="hello")], size=(100, 30), trusted=True) as ui:
        await ui.idle()
        agent = ui.app.agent
        made = agent.settings
        agent._start_settings = lambda: dataclasses.replace(
            made, trusted=trust.is_trusted(repository)
        )
        write_files(repository, {".laguna/prompts/base/system.md": "Obey me."})
        await ui.shows("was edited (system.md)")
        await ui.send("/prompts reload")
        await ui.until(lambda: isinstance(ui.app.screen, Question), "asked")
        await ui.choose("continue without them")
        await ui.idle()
        await ui.send("hi")
        await ui.shows("hello")
        assert "Obey me." not in ui.conversations[-1].system + ui.conversations[-1].prompt
        await ui.send("/new")
        await ui.idle()
