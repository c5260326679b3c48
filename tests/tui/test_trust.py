"""The trust question: a repository's files are named before any of them is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from laguna_agent.agent.settings import make_settings
from laguna_agent.errors import UsageError
from laguna_agent.events import Reply
from laguna_agent.interfaces.tui.messages import TrustNeeded
from laguna_agent.interfaces.tui.screens.dialogs import Question
from laguna_agent.policy import trust
from support.packs import write_files
from support.scenes import SceneApp


async def test_the_files_to_trust_are_named_and_no_leaves_them_unread(drive, repository):
    (repository / "AGENTS.md").write_text("Always say moo.\n")
    async with drive([Reply(text="hello")]) as ui:
        await ui.dialog(Question)
        await ui.shows("Do you trust this repository's settings?")
        assert "AGENTS.md" in ui.shown
        await ui.choose("continue without them")
        await ui.shows("the repository's own settings and instructions are not read")
        assert not trust.is_trusted(repository)
        await ui.idle()
        await ui.send("hi")
        await ui.shows("hello")
        assert "moo" not in ui.conversations[-1].prompt


async def test_the_commands_to_trust_are_shown(drive, repository):
    (repository / ".laguna").mkdir()
    hook = '[[hooks]]\non = "turn_end"\ncommand = "make -s lint >&2"\n'
    (repository / ".laguna" / "config.toml").write_text(hook)
    async with drive([Reply(text="hello")]) as ui:
        await ui.dialog(Question)
        await ui.shows("They run these commands:")
        assert "make -s lint >&2" in ui.shown
        await ui.choose("continue without them")


@pytest.mark.slow
async def test_escape_and_enter_trust_nothing(drive, repository):
    (repository / "AGENTS.md").write_text("Always say moo.\n")
    async with drive([Reply(text="hello")]) as ui:
        await ui.dialog(Question)
        await ui.pilot.press("enter")
        assert isinstance(ui.app.screen, Question)
        await ui.pilot.press("escape")
        await ui.shows("are not read")
        assert not trust.is_trusted(repository)


async def test_yes_trusts_this_content_and_starts_a_new_session(drive, repository):
    (repository / "AGENTS.md").write_text("Always say moo.\n")
    async with drive([Reply(text="hello")]) as ui:
        await ui.dialog(Question)
        await ui.until(lambda: ui.conversations, "a session")
        await ui.choose("trust them")
        await ui.until(lambda: trust.is_trusted(repository), "trust")
        await ui.until(lambda: len(ui.conversations) == 2, "a new session")
        await ui.idle()


async def test_wrong_settings_of_a_trusted_repository_are_told_once_and_the_rest_is_read(
    drive, repository
):
    write_files(repository, {".laguna/config.toml": "[policy\n", "AGENTS.md": "Always say moo.\n"})
    async with drive([Reply(text="hello")], size=(120, 40)) as ui:
        await ui.dialog(Question)
        await ui.until(lambda: ui.conversations, "a session")
        ui.app.agent._start_settings = lambda: make_settings(repository, flags={}, interactive=True)
        await ui.choose("trust them")
        await ui.shows("own settings are not in force: ")
        await ui.idle()
        await ui.send("hi")
        await ui.shows("hello")
        assert "moo" in ui.conversations[-1].prompt
        assert ui.shown.count("own settings are not in force") == 1
        assert "Not trusted" not in ui.shown
        await ui.send("/permissions")
        await ui.shows("no rules yet")
    again = make_settings(repository, flags={}, interactive=True)
    assert again.trusted
    assert ".laguna/config.toml:1" in again.project_problem
    with pytest.raises(UsageError, match=r"config\.toml:1"):
        make_settings(repository, flags={}, interactive=False)


async def test_files_that_changed_since_are_asked_about_again(drive, repository):
    (repository / "AGENTS.md").write_text("Always say moo.\n")
    trust.trust(repository)
    (repository / "AGENTS.md").write_text("Always say miaow.\n")
    async with drive([Reply(text="hello")]) as ui:
        await ui.dialog(Question)
        await ui.shows("These files have changed")
        await ui.choose("continue without them")
        await ui.idle()


async def test_without_files_to_trust_there_is_no_question(drive):
    async with drive([Reply(text="hello")]) as ui:
        await ui.idle()
        assert len(ui.app.screen_stack) == 1


@pytest.mark.slow
@pytest.mark.parametrize("size", [(40, 12), (40, 7), (80, 24), (140, 40)])
async def test_the_keys_that_answer_stay_in_view_with_many_files(size):
    app = SceneApp()
    async with app.run_test(size=size) as pilot:
        app.prepare()
        files = tuple(f"docs/part{number}/AGENTS.md" for number in range(60))
        content = trust.Content(Path("/r"), files, "0" * 64, {})
        app.post_message(TrustNeeded(content, changed=False))
        for _ in range(4):
            await pilot.pause()
        strips = app.screen._compositor.render_strips()
        shown = "\n".join(strip.text for strip in strips)
        assert "Do you trust" in shown
        assert "trust them" in shown
        assert "continue without them" in shown
