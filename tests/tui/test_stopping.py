"""Escape stops whatever runs, and the conversation can continue."""

from __future__ import annotations

import asyncio
import time

import pytest

from laguna_agent.agent.session import Session
from laguna_agent.events import ModelLoading, Reply
from support.scripted import call
from support.shells import processes_with, unique

KEPT = "stopped; the work so far is kept"


class Loading:
    """Opens sessions; the first one loads until it is stopped."""

    def __init__(self):
        self.times, self.stopped = 0, False

    async def __call__(self, settings, *, on_event, **options):
        self.times += 1
        if self.times == 1:
            on_event(ModelLoading(done=1_200_000_000, total=2_400_000_000))
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.stopped = True
                raise
        return await Session.open(settings, on_event=on_event, **options)


async def test_escape_stops_loading_and_a_message_loads_again_and_is_sent(drive):
    loading = Loading()
    async with drive([Reply(text="hello there")], open_session=loading) as ui:
        await ui.shows("loading the model")
        await ui.shows("1.2 GB of 2.4 GB")
        await ui.pilot.press("escape")
        await ui.shows("loading was stopped; send a message to load the model again")
        await ui.until(lambda: not ui.app.activity.busy, "stopped")
        assert loading.stopped
        await ui.send("hello")
        await ui.shows("hello there")
        assert loading.times == 2


async def test_messages_are_held_when_loading_is_stopped_and_enter_loads_and_sends(drive):
    loading = Loading()
    async with drive([Reply(text="hello there")], open_session=loading) as ui:
        await ui.shows("loading the model")
        await ui.send("a first thought")
        await ui.shows("once the model is there: a first thought")
        await ui.pilot.press("escape")
        await ui.until(lambda: not ui.app.activity.busy, "stopped")
        await ui.shows("held: a first thought · enter on an empty line sends")
        await ui.pilot.press("enter")
        await ui.shows("hello there")
        assert "held:" not in ui.shown
        assert loading.times == 2


@pytest.mark.slow
async def test_escape_stops_the_reading_of_a_prompt(drive):
    async with drive([Reply(text="too late"), Reply(text="here I am")], size=(100, 24)) as ui:
        await ui.idle()
        ui.prefill.clear()
        await ui.send("go")
        await ui.shows("1,200 of 2,400 tokens")
        for part in ("reading", "800 reused", "150/s", " s left"):
            assert part in ui.shown
        await ui.pilot.press("escape")
        await ui.shows(KEPT)
        await ui.idle()
        assert "too late" not in ui.shown
        ui.prefill.set()
        await ui.send("again")
        await ui.shows("here I am")


@pytest.mark.slow
async def test_escape_stops_writing_and_keeps_what_was_written(drive):
    async with drive([Reply(text="first half, second half"), Reply(text="on")], gated=True) as ui:
        await ui.idle()
        await ui.send("go")
        await ui.shows("first half")
        await ui.pilot.press("escape")
        await ui.shows(KEPT)
        await ui.idle()
        assert "first half" in ui.shown
        assert "second half" not in ui.shown
        ui.gate.set()
        await ui.send("go on")
        await ui.shows("─ done")
        kept = [entry for entry in ui.conversations[-1].entries if isinstance(entry, Reply)]
        assert [reply.text for reply in kept] == ["first half,", "on"]
        name = ui.app.agent.session.trajectory.id
        await ui.send(f"/resume {name[:12]}")
        await ui.until(lambda: len(ui.conversations) == 2, "opened again")
        await ui.idle()
        assert "first half" in ui.shown


@pytest.mark.slow
async def test_escape_stops_a_tool_and_its_children(drive):
    seconds = unique()
    command = f"sleep {seconds} & echo begun; wait"
    script = [call("shell", command=command), Reply(text="then not")]
    async with drive(script, mode="allow-all") as ui:
        await ui.idle()
        await ui.send("wait for ever")
        await ui.shows("begun")
        await ui.shows("running")
        await ui.until(lambda: processes_with(seconds), "the tool to start its process")
        await ui.pilot.press("escape")
        await ui.shows(KEPT)
        await ui.idle()
        await ui.until(lambda: not processes_with(seconds), "the end of what the tool started")
        await ui.send("and now?")
        await ui.shows("then not")


@pytest.mark.slow
async def test_escape_holds_what_waits_each_for_itself(drive):
    script = [Reply(text="first half, second half"), Reply(text="fine")]
    async with drive(script, gated=True) as ui:
        await ui.idle()
        await ui.send("go")
        await ui.shows("first half")
        ui.app.composer.insert("then this")
        await ui.pilot.press("alt+enter")
        for text in ("!echo one", "!echo two"):
            ui.app.composer.insert(text)
            await ui.pilot.press("enter")
        ui.app.composer.insert("half a word")
        await ui.pilot.press("escape")
        await ui.shows(KEPT)
        await ui.idle()
        assert ui.app.composer.text == "half a word"
        held = ["then this", "!echo one", "!echo two"]
        assert [prompt.text for prompt in ui.app.queue.prompts] == held
        assert not ui.app.agent.session._state.steering
        ui.gate.set()
        await ui.pilot.press("ctrl+c")  # clears the composer
        await ui.turn("something else first", "fine")
        assert len(ui.app.queue.prompts) == 3
        await ui.pilot.press("enter")
        await ui.until(lambda: not ui.app.queue.prompts, "sent")
        await ui.idle()
        ran = [e.title for e in ui.app.transcript.entries if e.kind == "tool"]
        assert ran == ["echo one", "echo two"]
        assert "then this" in ui.conversations[-1].prompt


@pytest.mark.slow
async def test_escape_changes_nothing_when_idle(drive):
    async with drive([Reply(text="x")]) as ui:
        await ui.idle()
        ui.app.composer.insert("half a thought")
        await ui.pilot.press("escape", "escape")
        assert ui.app.composer.text == "half a thought"
        assert ui.app.is_running


async def test_control_c_stops_a_turn_and_pressed_twice_exits(drive):
    async with drive([Reply(text="first half, second half")], gated=True) as ui:
        await ui.idle()
        await ui.send("go")
        await ui.shows("first half")
        await ui.pilot.press("ctrl+c")
        await ui.shows(KEPT)
        await ui.idle()
        await ui.pilot.press("ctrl+c")
        await ui.shows("press ctrl+c again to exit")
        assert not ui.app._exit
        await ui.pilot.press("ctrl+c")
        await ui.until(lambda: ui.app._exit, "left")


@pytest.mark.slow
async def test_exiting_while_a_tool_runs_ends_its_children(drive):
    seconds = unique()
    script = [call("shell", command=f"sleep {seconds} & echo begun; wait")]
    async with drive(script, mode="allow-all") as ui:
        await ui.idle()
        await ui.send("wait for ever")
        await ui.shows("begun")
        await ui.until(lambda: processes_with(seconds), "the tool to start its process")
        await ui.send("/exit")
        await ui.until(lambda: ui.app._exit, "left")
    deadline = time.monotonic() + 30
    while processes_with(seconds):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
