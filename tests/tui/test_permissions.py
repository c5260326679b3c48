"""`/permissions`: the rules in force, and taking them back."""

from __future__ import annotations

import pytest

from laguna_agent.config import load_config
from laguna_agent.events import Reply
from laguna_agent.interfaces.tui.screens.dialogs import Page, Question
from laguna_agent.interfaces.tui.screens.permissions_page import PermissionsPage
from support.scripted import call

TOUCH = call("shell", command="touch made")


async def test_what_was_allowed_is_listed_and_taken_back(drive):
    script = [TOUCH, TOUCH, Reply(text="Made."), TOUCH, Reply(text="Again.")]
    async with drive(script, size=(140, 30)) as ui:
        await ui.idle()
        await ui.send("go")
        await ui.choose("this session")
        await ui.shows("Made.")
        await ui.idle()
        await ui.command("/permissions")
        await ui.dialog(PermissionsPage)
        await ui.shows("may run exactly “touch made”")
        await ui.shows("used 1 time")
        await ui.pilot.press("enter")
        await ui.dialog(Page)
        await ui.shows("kept in the record of this session")
        await ui.pilot.press("escape")
        await ui.pilot.press("delete")
        await ui.shows("nothing matches")
        await ui.pilot.press("escape")
        assert ui.app.agent.session.gate.rules == ()
        await ui.send("again")
        await ui.shows("Run this command?")
        await ui.choose("no")
        await ui.idle()


@pytest.mark.slow
async def test_a_rule_that_protects_is_removed_after_a_question(drive, laguna_home):
    path = laguna_home / "config" / "config.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('[[policy.rules]]\nverdict = "deny"\ncommand = "git push *"\n')
    async with drive([Reply(text="x")], size=(100, 30)) as ui:
        await ui.idle()
        await ui.command("/permissions")
        await ui.shows("may not run git push with any arguments")
        await ui.pilot.press("delete")
        await ui.dialog(Question)
        await ui.choose("remove it")
        await ui.until(lambda: load_config().policy.rules == [], "removed")
        await ui.shows("nothing matches")
        await ui.pilot.press("escape")


async def test_without_rules_a_line_says_so(drive):
    async with drive([Reply(text="x")]) as ui:
        await ui.idle()
        await ui.command("/permissions")
        await ui.shows("no rules yet")
