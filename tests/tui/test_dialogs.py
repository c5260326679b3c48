"""Boxes of dialogs and the rows of their lists."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.text import Text
from textual import events
from textual.widgets import Input

from laguna_agent.interfaces.tui.screens.dialogs import Choice, Picker, Question
from laguna_agent.interfaces.tui.screens.pages import context_page
from laguna_agent.interfaces.tui.screens.pickers import Help
from laguna_agent.interfaces.tui.themes import PALETTES
from support.scenes import SceneApp


@pytest.mark.parametrize(("count", "body"), [(4, 4), (400, 17)])
async def test_a_box_is_as_high_as_its_rows_and_keeps_its_height_in_a_search(count, body):
    app = SceneApp()
    async with app.run_test(size=(100, 30)) as pilot:
        rows = [Choice(str(n), Text(f"row {n}", "red"), f"word{n}") for n in range(count)]
        app.push_screen(picker := Picker("Rows", rows))
        for text in ("", "word3"):
            await pilot.press(*text)
            for _ in range(4):
                await pilot.pause()
            assert picker.body.size.height == body
        assert picker.chosen == "3"
        [colour] = {part.style.color for part in picker.options.render_line(0) if part.text.strip()}
        style = picker.options.get_component_rich_style("option-list--option-highlighted")
        assert colour == style.color, "marked words have the colour of the highlight"


@pytest.mark.parametrize("kind", [Question, Picker])
async def test_keys_that_arrive_together_in_a_line_are_handled_in_order(drive, kind):
    dialog = Question("Why?") if kind is Question else Picker("All", [Choice("a", Text("a"))])
    async with drive([]) as ui:
        await ui.idle()
        ui.app.push_screen(dialog)
        await ui.until(lambda: dialog.query(Input), "the line")
        line = dialog.query_one(Input)
        for key, character in (("a", "a"), ("b", "b"), ("backspace", "\x7f"), ("c", "c")):
            line.post_message(events.Key(key, character))
        for key, character in (("home", None), ("d", "d")):
            line.post_message(events.Key(key, character))
        await ui.until(lambda: line.value == "dac", "the keys")


@pytest.mark.parametrize("width", [36, 60, 100])
def test_the_context_page_cuts_no_figure(width):
    page = context_page(
        {"instructions and context": 12_345, "chat format": 775}, 32_768, PALETTES["laguna"]
    )
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(page._draw(width))
    shown = console.export_text()
    assert all(figure in shown for figure in ("12,345", "775", "19,648"))
    assert max(map(len, shown.splitlines())) <= width


async def test_the_heading_of_a_group_is_not_highlighted_with_its_first_row():
    app = SceneApp()
    async with app.run_test(size=(100, 30)) as pilot:
        app.push_screen(Help([]))
        await pilot.pause()
        options = app.screen.options
        heading, row = (
            {segment.style.bgcolor for segment in options.render_line(y) if segment.style}
            for y in (0, 1)
        )
        assert options.highlighted == 0
        assert not heading & row


async def test_a_question_for_a_line_names_its_keys():
    app = SceneApp()
    async with app.run_test(size=(80, 24)) as pilot:
        app.push_screen(Question("Title of this conversation"))
        await pilot.pause()
        assert str(app.screen.query_one(".dialog-hint").render()) == "enter confirms · esc closes"


async def test_no_preview_stays_when_nothing_matches():
    app = SceneApp()
    async with app.run_test(size=(100, 30)) as pilot:
        app.push_screen(Picker("Rows", [Choice("a", Text("row"))], preview=lambda _: Text("about")))
        await pilot.pause()
        shown = app.screen.query_one("#preview")
        assert str(shown.render()) == "about"
        await pilot.press("x")
        await pilot.pause()
        assert str(shown.render()) == ""
