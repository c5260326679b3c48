"""Undo, redo and rewind on the real app: the pickers, the previews, and what they do to files."""

from __future__ import annotations

import pytest

from laguna_agent.events import Reply
from laguna_agent.interfaces.tui.screens.dialogs import Picker, Question
from support.scripted import call

EDIT = call("edit", path="calc.py", old="    return a - b", new="    return a + b")
MORE = call("edit", path="calc.py", old="return a + b", new="return b + a")
MAKE = call("write", path="new.py", content="x = 1\ny = 2\n")
FIXED, MADE = Reply(text="Fixed."), Reply(text="Made.")


@pytest.mark.slow
async def test_undo_shows_what_it_does_and_redo_makes_it_again(drive, repository):
    path = repository / "calc.py"
    async with drive([EDIT, FIXED, FIXED], mode="accept-edits") as ui:
        await ui.idle()
        await ui.command("/undo")
        await ui.shows("nothing to undo")
        await ui.turn("fix add", "Fixed.")
        path.write_text(f"# mine\n{path.read_text()}")
        await ui.command("/undo")
        await ui.dialog(Question)
        for text in ("Undo “fix add”", "restore  calc.py  +1 -1, keeps 1 line of yours"):
            assert text in ui.shown
        assert "return a + b" in ui.shown
        await ui.choose("cancel")
        await ui.pilot.pause()
        assert "return a + b" in path.read_text()
        assert ui.app.side_panel.changed_files.counts == {"calc.py": (1, 1)}
        await ui.command("/undo")
        await ui.dialog(Question)
        await ui.choose("undo")
        await ui.shows("took back the changes in calc.py; /redo makes them again")
        assert ui.app.side_panel.changed_files.counts == {}
        assert path.read_text().startswith("# mine\n")
        assert "return a - b" in path.read_text()
        await ui.command("/redo")
        await ui.dialog(Question)
        await ui.choose("redo")
        await ui.shows("made the changes in calc.py again; /undo takes them back")
        assert ui.app.side_panel.changed_files.counts == {"calc.py": (1, 1)}
        assert "return a + b" in path.read_text()
        prompt = ui.conversations[-1].prompt
        await ui.send("thanks")
        await ui.idle()
        assert "took changes back" in ui.conversations[-1].prompt.removeprefix(prompt)


@pytest.mark.slow
async def test_several_turns_are_picked_at_once_or_an_older_one_alone(drive, repository):
    path = repository / "calc.py"
    async with drive([MAKE, MADE, EDIT, FIXED], mode="accept-edits", size=(100, 30)) as ui:
        await ui.turn("make new.py", "Made.")
        await ui.turn("fix add", "Fixed.")
        await ui.command("/undo")
        await ui.dialog(Picker)
        await ui.shows("now  1 file    fix add")
        await ui.shows("restore  calc.py  +1 -1")
        assert "new.py  +" not in ui.shown
        await ui.pilot.press("down")
        await ui.shows("remove   new.py  +0 -2")
        await ui.shows("2 turns, back to before “make new.py”")
        await ui.pilot.press("enter")
        await ui.dialog(Question)
        await ui.choose("only the oldest")
        await ui.shows("Undo “make new.py”")
        assert "calc.py" not in ui.shown
        await ui.choose("undo")
        await ui.shows("took back the changes in new.py")
        assert not (repository / "new.py").exists()
        assert "return a + b" in path.read_text()
        await ui.command("/redo")
        await ui.dialog(Question)
        await ui.choose("redo")
        await ui.shows("made the changes in new.py again; /undo takes them back")
        await ui.command("/undo")
        await ui.dialog(Picker)
        await ui.pilot.press("down", "enter")
        await ui.dialog(Question)
        await ui.choose("undo all 2")
        await ui.shows("took back the changes in calc.py, new.py")
        assert "return a - b" in path.read_text()
        assert not (repository / "new.py").exists()
        await ui.command("/redo")
        await ui.dialog(Picker)
        await ui.pilot.press("enter")
        await ui.dialog(Question)
        await ui.shows("Redo “fix add” and 1 earlier turn")
        await ui.pilot.press("escape")


@pytest.mark.slow
async def test_rewind_goes_back_with_the_files_or_without(drive, repository):
    path = repository / "calc.py"
    async with drive([EDIT, FIXED, EDIT, FIXED], mode="accept-edits", size=(100, 30)) as ui:
        await ui.turn("fix add", "Fixed.")
        await ui.command("/rewind")
        await ui.dialog(Picker)
        await ui.shows("now  1 file    fix add")
        await ui.shows("restore  calc.py  +1 -1")
        await ui.pilot.press("enter")
        await ui.dialog(Question)
        await ui.choose("cancel")
        await ui.pilot.pause()
        assert "Fixed." in ui.shown
        await ui.command("/rewind")
        await ui.dialog(Picker)
        await ui.pilot.press("enter")
        await ui.dialog(Question)
        await ui.choose("only the conversation")
        await ui.shows("rewound to before this message")
        assert "return a + b" in path.read_text()
        assert ui.app.composer.text == "fix add"
        path.write_text(path.read_text().replace("a + b", "a - b"))
        await ui.pilot.press("enter")
        await ui.shows("Fixed.")
        await ui.idle()
        await ui.command("/rewind")
        await ui.dialog(Picker)
        await ui.pilot.press("enter")
        await ui.dialog(Question)
        await ui.choose("conversation and files")
        await ui.shows("took back the changes in calc.py; /redo makes them again")
        assert "return a - b" in path.read_text()
        assert "Fixed." not in ui.shown
        assert "fix add" not in ui.conversations[-1].prompt
