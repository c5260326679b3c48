"""What was typed first is used first, and what waits can be seen, edited, moved and removed."""

from __future__ import annotations

import asyncio

import pytest

from laguna_agent.events import Reply
from laguna_agent.models.conversation import Message


def seen(ui) -> list[str]:
    """What the model read, in order."""
    return [entry.content for talk in ui.conversations for entry in talk.entries
            if isinstance(entry, Message)]  # fmt: skip


def in_order(texts: list[str], words: list[str]) -> bool:
    joined, at = "\n".join(texts), -1
    for word in words:
        at = joined.find(word, at + 1)
        if at < 0:
            return False
    return True


async def burst(ui, *texts: str) -> None:
    """Type messages faster than anything can answer."""
    for text in texts:
        ui.app.composer.put(text)
        ui.app.composer.send("steer")
    await asyncio.sleep(0)


async def test_a_burst_reaches_the_model_in_the_order_typed(drive):
    async with drive([Reply(text="fine")], size=(100, 30)) as ui:
        await ui.idle()
        words = ["alpha", "beta", "gamma", "delta", "epsilon"]
        await burst(ui, "alpha", "beta", "!echo gam''ma", "delta", "epsilon")
        await ui.until(lambda: in_order(seen(ui), words), "all of it")
        await ui.idle()
        assert not ui.app.queue.prompts


async def test_messages_typed_while_the_model_loads_keep_their_order(drive):
    async with drive([Reply(text="fine")], prompt="alpha") as ui:
        words = ["alpha", "beta", "gamma", "delta"]
        await burst(ui, *words[1:])
        await ui.until(lambda: in_order(seen(ui), words), "all of it")
        await ui.idle()


@pytest.mark.slow
async def test_a_command_runs_between_the_messages_that_it_was_typed_between(drive):
    async with drive([Reply(text="one, two"), Reply(text="fine")], gated=True) as ui:
        await ui.idle()
        await ui.send("alpha")
        await ui.shows("writing")
        await burst(ui, "!echo first", "/check true", "/new", "beta")
        await ui.shows("after this: /new")
        assert not ui.app.agent.session.settings.check
        ui.gate.set()
        await ui.until(lambda: len(ui.conversations) == 2, "a new conversation")
        await ui.until(lambda: "beta" in ui.conversations[1].prompt, "the message after it")
        assert "beta" not in ui.conversations[0].prompt
        await ui.idle()
        assert ui.app.agent.session.settings.check == "true"


async def test_a_page_opens_at_once_while_messages_wait(drive):
    async with drive([Reply(text="one, two")], gated=True) as ui:
        await ui.idle()
        await ui.send("alpha")
        await ui.shows("writing")
        await ui.command("/usage")
        await ui.until(lambda: len(ui.app.screen_stack) == 2, "the page")
        ui.gate.set()


@pytest.mark.slow
async def test_the_list_counts_what_it_cannot_show_and_scrolls_to_it(drive):
    async with drive([Reply(text="one, two")], gated=True, size=(90, 24)) as ui:
        await ui.idle()
        await ui.send("go")
        await ui.shows("writing")
        for number in range(12):
            ui.app.composer.put(f"message {number}")
            ui.app.composer.send("queue")
        await ui.shows("9 more of 12")
        assert "message 2" in ui.shown
        assert "message 3" not in ui.shown
        await ui.pilot.press("alt+up")
        await ui.shows("message 11")
        assert "9 above of 12" in ui.shown
        await ui.pilot.press("up", "up", "up", "up")
        await ui.shows("6 above · 3 more of 12")
        assert "message 7" in ui.shown


@pytest.mark.slow
async def test_what_waits_is_removed_moved_and_edited(drive):
    script = [Reply(text="one, two"), Reply(text="fine")]
    async with drive(script, gated=True, size=(90, 24)) as ui:
        await ui.idle()
        await ui.send("go")
        await ui.shows("writing")
        for word in ("alpha", "beta", "gamma"):
            ui.app.composer.put(word)
            ui.app.composer.send("queue")
        await ui.shows("gamma")

        def waiting() -> list[str]:
            return [prompt.text for prompt in ui.app.queue.prompts]

        await ui.pilot.press("alt+up", "alt+up", "alt+up")
        assert waiting() == ["gamma", "alpha", "beta"]
        await ui.pilot.press("alt+down")
        assert waiting() == ["alpha", "gamma", "beta"]
        await ui.pilot.press("delete")
        assert waiting() == ["alpha", "beta"]
        await ui.pilot.press("up", "enter")
        assert waiting() == ["beta"]
        assert ui.app.composer.text == "alpha"
        assert ui.app.composer.has_focus
        await ui.pilot.press("ctrl+c", "up", "up")
        assert ui.app.composer.text == "gamma"  # what was removed is in the history
        await ui.pilot.press("ctrl+c", "alt+up", "escape")
        assert ui.app.composer.has_focus
        assert waiting() == ["beta"]
        assert ui.app.activity.busy
        ui.gate.set()
        await ui.until(lambda: "beta" in ui.conversations[-1].prompt, "sent")
        await ui.idle()


async def test_a_command_taken_back_is_not_joined_to_what_is_typed(drive):
    async with drive([Reply(text="one, two")], gated=True, size=(90, 24)) as ui:
        await ui.idle()
        await ui.send("go")
        await ui.shows("writing")
        await burst(ui, "!echo one", "!echo two")
        await ui.pilot.press("alt+up", "enter")
        assert ui.app.composer.text == "!echo two"
        await ui.pilot.press("alt+up", "enter")
        assert ui.app.composer.text == "!echo two"
        await ui.shows("send or clear what is typed first")
        assert [prompt.text for prompt in ui.app.queue.prompts] == ["!echo one"]
        await ui.pilot.press("escape")
        ui.gate.set()


@pytest.mark.slow
async def test_what_waited_at_the_end_waits_for_the_user_at_the_next_start(drive):
    async with drive([Reply(text="one, two")], gated=True) as ui:
        await ui.idle()
        await ui.send("go")
        await ui.shows("writing")
        await burst(ui, "!touch made", "beta")
        await ui.shows("after this: beta")
    async with drive([Reply(text="fine")]) as ui:
        await ui.idle()
        await ui.shows("held: beta")
        assert [prompt.text for prompt in ui.app.queue.prompts] == ["!touch made", "beta"]
        assert not (ui.app.root / "made").exists()
        await ui.pilot.press("enter")
        await ui.until(lambda: "beta" in ui.conversations[-1].prompt, "sent")
        assert (ui.app.root / "made").exists()
        await ui.idle()
