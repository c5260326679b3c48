"""The composer: chips, history, completion, drafts, and characters of every width."""

from __future__ import annotations

import gc
import inspect
import re

import pytest
from textual import events

from laguna_agent.events import Reply
from laguna_agent.interfaces.tui.app import LagunaApp
from laguna_agent.interfaces.tui.mentions.fuzzy import Names
from laguna_agent.interfaces.tui.reference import ACTIONS, COMMANDS, KEYS, MARKS, groups
from laguna_agent.interfaces.tui.screens.dialogs import Page, Picker, Question
from laguna_agent.interfaces.tui.screens.pickers import Help
from laguna_agent.interfaces.tui.slash_commands import SlashCommands
from laguna_agent.interfaces.tui.system.background import in_background
from laguna_agent.interfaces.tui.system.preferences import PromptHistory
from laguna_agent.interfaces.tui.system.prompt import Prompt
from support.scenes import SceneApp


async def test_a_long_paste_becomes_a_chip_and_is_sent_whole(drive):
    pasted = "\n".join(f"row {n}" for n in range(40))
    async with drive([Reply(text="thanks")]) as ui:
        await ui.idle()
        ui.app.composer.insert("look: ")
        ui.app.composer.insert_paste(pasted)
        assert ui.app.composer.text == "look: [pasted #1: 40 lines]"
        await ui.pilot.press("enter")
        await ui.shows("thanks")
        assert pasted in ui.conversations[-1].prompt


@pytest.mark.slow
async def test_keys_that_arrive_together_are_handled_in_order(drive):
    async with drive([]) as ui:
        await ui.idle()
        composer = ui.app.composer
        composer.insert("this goes")
        for key, character in (("ctrl+u", "\x15"), ("at", "@"), ("c", "c"), ("left", None)):
            composer.post_message(events.Key(key, character))
        composer.post_message(events.Key("b", "b"))
        await ui.until(lambda: composer.text == "@bc", "the keys")


async def test_backspace_deletes_a_whole_chip_and_undo_restores_it():
    app = SceneApp()
    async with app.run_test() as pilot:
        app.prepare()
        app.composer.insert_paste("x" * 5_000)
        await pilot.press("backspace")
        assert app.composer.text == ""
        await pilot.press("ctrl+underscore")
        assert app.composer.prompt.expanded == "x" * 5_000


async def test_up_and_down_show_earlier_prompts_and_return_to_the_typed_text(tmp_path):
    for text in ("first", "second\nline"):
        PromptHistory(tmp_path).add(Prompt(text))
    app = SceneApp()
    async with app.run_test() as pilot:
        app.prepare()
        await pilot.press(*"now")
        await pilot.press("up")
        assert app.composer.text == "second\nline"
        await pilot.press("up", "up")
        assert app.composer.text == "first"
        await pilot.press("down", "down", "down")
        assert app.composer.text == "now"


async def test_unsent_text_is_restored_at_the_next_start():
    app = SceneApp()
    async with app.run_test() as pilot:
        app.prepare()
        app.composer.insert("half a thought\nover two lines 日本語")
        await pilot.pause()
    again = SceneApp()
    async with again.run_test():
        assert again.composer.text == "half a thought\nover two lines 日本語"


async def test_a_resize_loses_no_typed_text():
    app = SceneApp()
    async with app.run_test(size=(100, 30)) as pilot:
        app.prepare()
        app.composer.insert("あいう é 👩‍💻 end")
        for size in ((20, 5), (40, 12), (200, 50), (8, 3), (80, 24)):
            await pilot.resize_terminal(*size)
            await pilot.pause()
            assert app.composer.text == "あいう é 👩‍💻 end"
        await pilot.press("backspace", "!")
        assert app.composer.text.endswith("en!")


async def test_a_backslash_or_shift_enter_makes_a_new_line():
    app = SceneApp()
    async with app.run_test() as pilot:
        app.prepare()
        await pilot.press("a", "\\", "enter", "b", "shift+enter", "c", "ctrl+j", "d")
        assert app.composer.text == "a\nb\nc\nd"


@pytest.mark.slow
async def test_at_completes_files_and_leaves_ignored_ones_out(drive, repository):
    (repository / ".gitignore").write_text("build/\n")
    (repository / "build").mkdir()
    (repository / "build" / "calc_made.py").write_text("")
    async with drive([Reply(text="x")]) as ui:
        await ui.idle()
        await ui.pilot.press(*"see @cal")
        await ui.until(lambda: ui.app.completion_list.is_open, "completion")
        offered = [name for name, _ in ui.app.completion_list.choices]
        assert "@calc.py" in offered
        assert not any("made" in name for name in offered)
        await ui.pilot.press("tab", *"now")
        assert ui.app.composer.text == "see @calc.py now"


@pytest.mark.slow
async def test_at_completes_a_symbol_to_its_definition(drive):
    async with drive([Reply(text="x")]) as ui:
        await ui.idle()
        await ui.pilot.press(*"@add")
        await ui.until(lambda: ("@calc.py:1", "add") in ui.app.completion_list.choices, "symbol")


async def test_only_the_last_of_several_background_works_runs_and_no_coroutine_is_lost(recwarn):
    done = []

    async def work(word: str) -> None:
        done.append(word)

    app = SceneApp()
    async with app.run_test():
        for word in ("@a", "@ab", "@abc"):
            last = in_background(app, "looking up", work, word)
        await last.wait()
    assert done == ["@abc"]
    gc.collect()
    assert not [one for one in recwarn if "never awaited" in str(one.message)]


async def test_a_slash_completes_commands_and_enter_runs_one():
    app = SceneApp()
    async with app.run_test() as pilot:
        app.prepare()
        await pilot.press(*"/hel")
        await pilot.pause()
        assert app.completion_list.chosen == "/help"
        await pilot.press("enter")
        await pilot.pause()
        assert len(app.screen_stack) == 2
        await pilot.press("escape")
        assert app.composer.text == ""


@pytest.mark.parametrize("text", ["/home/ada/x.py is wrong", "/tmp/a"])
async def test_a_path_at_the_start_is_not_a_command(text):
    app = SceneApp()
    async with app.run_test():
        app.prepare()
        assert app.slash_commands.run(text) is False


def test_every_listed_command_and_key_does_something_and_every_key_is_in_the_help():
    cases = re.findall(r'case "(/\w+)":', inspect.getsource(SlashCommands))
    assert cases == [command.name for command in COMMANDS]
    for action in ACTIONS:
        assert hasattr(LagunaApp, f"action_{action}")
    assert sum(map(len, groups().values())) == len(KEYS) + len(COMMANDS) + len(MARKS)


@pytest.mark.parametrize("screen", [Page, Picker, Help, Question])
def test_every_key_that_a_dialog_binds_is_in_the_reference(screen):
    listed = {name for key in KEYS for name in key.keys.split(",")}
    assert {name for one in screen.BINDINGS for name in one.key.split(",")} <= listed


def test_no_two_commands_share_a_name_and_no_two_keys_an_action():
    names = [name for one in COMMANDS for name in (one.name, *one.aliases)]
    assert len(names) == len(set(names))
    bound = [name for key in KEYS if key.action for name in key.keys.split(",")]
    assert len(bound) == len(set(bound))


def found(names: Names, query: str) -> list[str]:
    return [hit.name for hit in names.find(query)]


def test_fuzzy_search_prefers_the_file_name_and_finds_scattered_letters():
    listed = ["src/cart/total.py", "docs/totally.md", "tests/test_total.py", "x/tot/al.txt"]
    names = Names(listed)
    assert found(names, "total")[0] == "src/cart/total.py"
    assert found(names, "ctpy") == ["src/cart/total.py"]
    assert found(names, "nothing like it") == []
    assert found(names, "") == listed


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "cells"),
    [("日本語のテスト", 14), ("e\u0301te\u0301", 3), ("a👍b", 4), ("ｆｕｌｌ", 8), ("한글", 4)],
)
async def test_characters_of_every_width_are_drawn_whole_with_the_cursor_after_them(text, cells):
    app = SceneApp()
    async with app.run_test(size=(40, 12)) as pilot:
        app.prepare()
        app.composer.insert(text)
        await pilot.pause()
        drawn = app.composer.render_line(0).text
        assert drawn.startswith(text)
        place = app.composer.cursor_screen_offset
        assert place.x == app.composer.content_region.x + cells  # where an input method opens
        await pilot.press("left", "right", "!")
        assert app.composer.text == text + "!"


async def test_wide_characters_are_never_cut_where_a_line_wraps():
    app = SceneApp()
    async with app.run_test(size=(21, 12)) as pilot:
        app.prepare()
        app.composer.insert("漢" * 25)
        await pilot.pause()
        lines = [app.composer.render_line(y).text.strip() for y in range(app.composer.size.height)]
        assert "".join(lines) == "漢" * 25


async def test_undo_and_redo_step_through_the_edits():
    app = SceneApp()
    async with app.run_test() as pilot:
        app.prepare()
        app.composer.insert("first ")
        app.composer.insert("日本語")
        await pilot.press("ctrl+underscore")
        assert app.composer.text == "first "
        await pilot.press("ctrl+y")
        assert app.composer.text == "first 日本語"


async def test_exiting_right_after_a_resize_does_not_fail():
    app = SceneApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.resize_terminal(60, 20)
    app._redraw_at_current_size()  # as the timer of the resize would, late
