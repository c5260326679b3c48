"""`/experts`: what the last reply chose, as a page."""

from __future__ import annotations

import numpy as np
import pytest

from laguna_agent.events import Reply, Timings, Usage
from laguna_agent.interfaces.tui.screens.dialogs import Page
from laguna_agent.interfaces.tui.screens.experts_page import experts_page
from laguna_agent.interfaces.tui.themes import PALETTES
from laguna_agent.models.routing import Routing
from support.scripted import ScriptedConversation
from support.synthetic import tiny_laguna

CHOSEN = np.array([[[0, 1, 2, 3]] * 3] * 6 + [[[0, 5, 6, 7]] * 3] * 6, np.uint16)
ROUTING = Routing(
    "the last reply", (1, 2, 3), CHOSEN, np.full(CHOSEN.shape, 0.25, np.float16), 16,
    str(tiny_laguna()),
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("size", [(80, 30), (40, 40)])
async def test_the_last_reply_is_shown_as_a_map(drive, monkeypatch, size):
    asked = []

    async def routing(self, ids):
        asked.append(list(ids))
        return ROUTING

    monkeypatch.setattr(ScriptedConversation, "routing", routing)
    async with drive([Reply(text="an answer", token_ids=[7, 8, 9])], size=size) as ui:
        await ui.turn("look", "an answer")
        assert not asked, "nothing is paid before anybody asks"
        await ui.command("/experts")
        await ui.dialog(Page)
        await ui.shows("more")  # the end of the legend
        assert asked == [[7, 8, 9]]
        assert "12 tokens" in ui.shown
        assert "░" in ui.shown or "▓" in ui.shown
        assert "card" in ui.shown


async def test_without_experts_or_a_reply_there_is_a_sentence(drive):
    replies = [Reply(text="an answer"), Reply(text="another", token_ids=[7])]
    async with drive(replies, size=(100, 30)) as ui:
        await ui.idle()
        await ui.command("/experts")
        await ui.shows("no reply yet")
        await ui.turn("look", "an answer")
        await ui.command("/experts")
        await ui.shows("the model is on a server, which does not tell")
        await ui.turn("look again", "another")
        await ui.command("/experts")
        await ui.shows("the model has no experts, or its last reply is no longer in the prompt")


async def test_rates_are_those_of_the_reply_times_what_a_card_saves():
    reply = Reply(usage=Usage(completion_tokens=21), timings=Timings(decode_s=2.0))
    page = await experts_page(reply, ROUTING, PALETTES["laguna"], 4096)
    from rich.console import Console

    console = Console(width=60)
    with console.capture() as capture:
        console.print(page._draw(60))
    shown = capture.get()
    assert "10.0 (measured)" in shown
    assert "all on the card" in shown
    without = ROUTING.__class__("", (1, 2, 3), CHOSEN, ROUTING.weights, 16, "/gone.gguf")
    gone = await experts_page(reply, without, PALETTES["laguna"], 4096)
    with console.capture() as capture:
        console.print(gone._draw(60))
    assert "card" not in capture.get()
