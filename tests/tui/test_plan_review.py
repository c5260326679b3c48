"""Plan mode on the real app: how it is entered and left, and what the plan card does."""

from __future__ import annotations

import pytest

from laguna_agent.events import Reply
from support.scripted import call

PLAN = "1. Change minus to plus in calc.py.\n2. Run the tests."
PLANNED = call("done", summary=PLAN)
EDIT = call("edit", path="calc.py", old="    return a - b", new="    return a + b")
FIXED, OK = Reply(text="Fixed."), Reply(text="ok")
CONSENT = "The user accepts the plan"


def card_of(ui):
    return ui.app.plan_card


async def planned(ui, text="fix add"):
    """Run a turn that proposes a plan, and wait for its card."""
    await ui.idle()
    await ui.send(text)
    await ui.until(lambda: card_of(ui).is_open, "the plan card")
    await ui.pilot.pause()


async def test_shift_tab_goes_through_the_modes_to_plan_and_never_to_allow_all(drive):
    async with drive([OK]) as ui:
        await ui.idle()
        gate, seen = ui.app.agent.session.gate, []
        for _ in range(5):
            await ui.pilot.press("shift+tab")
            seen.append((gate.mode, gate.plan))
        assert seen == [
            ("accept-edits", False),
            ("auto", False),
            ("auto", True),
            ("ask", False),
            ("accept-edits", False),
        ]
        await ui.command("/mode plan")
        assert gate.plan
        assert ui.app.status.status.plan
        await ui.command("/mode allow-all")
        assert (gate.plan, gate.mode) == (False, "allow-all")
        await ui.pilot.press("shift+tab")
        assert gate.mode == "ask"
        await ui.send("hello")
        await ui.idle()
        assert "Plan mode" not in ui.conversations[-1].prompt


@pytest.mark.slow
async def test_accepting_goes_on_in_the_mode_that_is_chosen(drive, repository):
    async with drive([PLANNED, EDIT, FIXED], plan=True) as ui:
        await planned(ui)
        await ui.shows("Plan: nothing is changed yet")
        await ui.shows("the plan is below")
        assert ui.shown.count("Run the tests.") == 1
        await ui.pilot.press("enter")
        assert card_of(ui).is_open, "Enter alone accepts nothing"
        await ui.choose("accept-edits")
        await ui.shows("Fixed.")
        await ui.idle()
        assert not card_of(ui).is_open
        assert "return a + b" in (repository / "calc.py").read_text()
        status = ui.app.status.status
        assert (status.plan, status.mode) == (False, "accept-edits")
        assert ui.app.composer.has_focus


@pytest.mark.slow
async def test_the_plan_is_edited_in_the_composer(drive):
    async with drive([PLANNED, OK], plan=True) as ui:
        await planned(ui)
        ui.app.composer.insert("a draft")
        card_of(ui).row.focus()
        await ui.choose("edit")
        assert ui.app.composer.text == PLAN
        await ui.pilot.press("escape")
        await ui.until(lambda: card_of(ui).is_open, "the card again")
        assert ui.app.composer.text == "a draft"
        card_of(ui).row.focus()
        await ui.choose("edit")
        ui.app.composer.put("1. Delete calc.py.")
        await ui.pilot.press("enter")
        await ui.shows("Plan, as you edited it")
        assert ui.app.composer.text == "a draft"
        assert not ui.app.activity.busy, "an edited plan is not accepted yet"
        card_of(ui).row.focus()
        await ui.choose("ask")
        await ui.idle()
        assert "Carry out this plan:\n\n1. Delete calc.py." in ui.conversations[-1].prompt


@pytest.mark.slow
async def test_typing_keeps_planning_and_the_new_plan_is_shown(drive):
    other = call("done", summary="1. Another way.")
    async with drive([PLANNED, other], plan=True) as ui:
        await planned(ui)
        await ui.pilot.press(*"no", "enter")
        await ui.shows("Another way")
        await ui.until(lambda: card_of(ui).is_open and not ui.app.activity.busy, "the new plan")
        assert ui.app.agent.session.proposed_plan == "1. Another way."
        texts = [one.event.text for one in ui.app.agent.session.conversation_state.user_messages]
        assert texts == ["fix add", "no"]
        assert CONSENT not in ui.conversations[-1].prompt
        await ui.pilot.press("escape")
        assert not card_of(ui).is_open
        await ui.command("/plan")
        assert card_of(ui).is_open
        await ui.pilot.press("shift+tab")
        assert not card_of(ui).is_open
        assert not ui.app.agent.session.gate.plan


@pytest.mark.slow
async def test_leaving_plan_mode_and_an_answer_are_no_consent(drive):
    async with drive([Reply(text="It adds."), PLANNED, OK], plan=True) as ui:
        await ui.turn("what does add do?", "It adds.")
        assert not card_of(ui).is_open
        await planned(ui)
        await ui.pilot.press("shift+tab")
        await ui.turn("what is the weather?", "ok")
        assert CONSENT not in ui.conversations[-1].prompt
        assert "accepted no plan" in ui.conversations[-1].prompt


async def test_a_queued_message_goes_before_the_plan_is_shown(drive):
    async with drive([Reply(text=PLAN), Reply(text="Not a plan.")], plan=True, gated=True) as ui:
        await ui.idle()
        await ui.send("fix add")
        await ui.until(lambda: ui.app.agent.session.busy, "a turn")
        ui.app.composer.insert("and then?")
        await ui.pilot.press("alt+enter")
        ui.gate.set()
        await ui.shows("Not a plan.")
        await ui.idle()
        assert not card_of(ui).is_open


@pytest.mark.slow
async def test_rewinding_before_the_acceptance_offers_the_plan_again(drive):
    async with drive([PLANNED, FIXED], plan=True) as ui:
        await planned(ui)
        await ui.choose("ask")
        await ui.shows("Fixed.")
        await ui.idle()
        await ui.command("/rewind")
        await ui.shows("Rewind to before which message?")
        await ui.pilot.press("enter")
        await ui.until(lambda: card_of(ui).is_open, "the plan again")
        assert ui.app.status.status.plan
        assert ui.app.composer.text == ""
        session = ui.app.agent.session.trajectory.id
        ui.app.composer.focus()
        await ui.command(f"/resume {session}")
        await ui.until(lambda: len(ui.conversations) == 2, "the conversation again")
        await ui.until(lambda: card_of(ui).is_open, "the plan in the resumed conversation")


@pytest.mark.slow
async def test_a_long_plan_scrolls_and_the_choices_stay_in_view(drive):
    plan = "\n".join(f"{number}. step {number}" for number in range(1, 61))
    async with drive([call("done", summary=plan)], plan=True, size=(40, 12)) as ui:
        await planned(ui)
        await ui.shows("of 60")
        assert "accept" in ui.shown
        await ui.pilot.press(*["pagedown"] * 40)
        await ui.shows("60 step 60")
        assert "accept" in ui.shown


@pytest.mark.slow
@pytest.mark.parametrize("size", [(40, 12), (40, 24), (100, 30)])
async def test_what_a_choice_does_is_whole_when_the_terminal_becomes_narrower(drive, size):
    async with drive([call("done", summary="Do it. " * 90)], plan=True, size=(100, 30)) as ui:
        await planned(ui)
        await ui.pilot.press("right")
        await ui.pilot.resize_terminal(*size)
        await ui.shows("confirms")
        words = " ".join(ui.shown.replace("│", " ").split())
        assert "asks before every side effect · enter confirms" in words
        assert "❯ Ask laguna" in ui.shown
