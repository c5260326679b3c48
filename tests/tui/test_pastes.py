"""Pasted texts stay what they are: in the history, in drafts, while they wait, after edits."""

from __future__ import annotations

import json

import pytest

from laguna_agent.events import Reply
from laguna_agent.interfaces.tui.system import paste_store
from laguna_agent.interfaces.tui.system.preferences import PromptHistory
from laguna_agent.interfaces.tui.system.prompt import Prompt
from support.scenes import SceneApp


def rows(word: str, count: int = 40) -> str:
    return "\n".join(f"{word} {number}" for number in range(count))


def sent(app) -> str:
    return app.composer.prompt.expanded


def send(app) -> None:
    """Send as the composer does, to nobody."""
    app.prompt_history.add(app.composer.prompt)
    app.composer.empty()


async def test_a_recalled_prompt_has_its_own_pastes_also_after_a_restart():
    app = SceneApp()
    async with app.run_test() as pilot:
        app.prepare()
        composer = app.composer
        for word in ("first", "second"):
            composer.insert(f"{word}: ")
            composer.insert_paste(rows(word))
            composer.insert(" and ")
            composer.insert_paste(rows(f"other {word}"))
            send(app)
        composer.insert_paste(rows("third"))
        typed = sent(app)
        await pilot.press("up")
        assert sent(app) == f"second: {rows('second')} and {rows('other second')}"
        await pilot.press("up")
        assert sent(app) == f"first: {rows('first')} and {rows('other first')}"
        await pilot.press("down", "down")
        assert sent(app) == typed
    again = SceneApp()
    async with again.run_test() as pilot:
        again.prepare()
        assert sent(again) == typed  # the draft
        again.composer.insert_paste(rows("new"))
        await pilot.press("up", "up")
        assert sent(again) == f"first: {rows('first')} and {rows('other first')}"
        assert "first" not in again.composer.text.replace("first: ", "")  # still chips


async def test_a_search_of_earlier_prompts_recalls_the_right_paste():
    app = SceneApp()
    async with app.run_test() as pilot:
        app.prepare()
        for word in ("one", "two"):
            app.prompt_history.add(Prompt("[pasted #1: 40 lines]", {
                "[pasted #1: 40 lines]": rows(word),
            }))  # fmt: skip
        await pilot.press("ctrl+r")
        await pilot.pause()
        await pilot.press("down", "enter")
        await pilot.pause()
        assert sent(app) == rows("one")


@pytest.mark.slow
async def test_a_message_taken_back_beside_another_paste_keeps_its_own(drive):
    async with drive([Reply(text="one, two"), Reply(text="fine")], gated=True) as ui:
        await ui.idle()
        await ui.send("go")
        await ui.shows("writing")
        ui.app.composer.insert_paste(rows("waits"))
        await ui.pilot.press("alt+enter")
        ui.app.composer.insert_paste(rows("typed"))
        await ui.pilot.press("alt+up", "enter")
        assert sent(ui.app) == f"{rows('waits')}\n{rows('typed')}"
        await ui.pilot.press("enter")
        ui.gate.set()
        await ui.idle()
        assert f"{rows('waits')}\n{rows('typed')}" in ui.conversations[-1].prompt
        assert "[pasted" not in ui.conversations[-1].prompt


@pytest.mark.slow
@pytest.mark.parametrize(
    ("keys", "left"),
    [
        (["backspace"], "see "),
        (["left", "delete"], "see "),
        (["ctrl+w"], "see "),
        (["left", "x"], "see x{}"),
        (["left", "right", "x"], "see {}x"),
        (["shift+left", "shift+left", "backspace"], "se"),
        (["home", "delete"], "ee {}"),
        (["home", "right", "right", "right", "right", "right", "x"], "see {}x"),
    ],
)
async def test_a_chip_is_edited_as_one_thing(keys, left):
    app = SceneApp()
    async with app.run_test() as pilot:
        app.prepare()
        app.composer.insert("see ")
        app.composer.insert_paste(rows("pasted"))
        chip = app.composer.text[4:]
        if left == "se":
            app.composer.insert("", (0, 4))
        await pilot.press(*keys)
        if left == "se":
            assert app.composer.text in ("see", "se", "see ")
        else:
            assert app.composer.text == left.format(chip)
        assert sent(app) == app.composer.text.replace(chip, rows("pasted"))


async def test_an_undo_after_sending_brings_the_paste_back_with_its_chip():
    app = SceneApp()
    async with app.run_test() as pilot:
        app.prepare()
        app.composer.insert_paste(rows("a"))
        send(app)
        app.composer.insert_paste(rows("b"))
        send(app)
        await pilot.press("ctrl+underscore")
        assert "[pasted" in app.composer.text
        assert "[pasted" not in sent(app)


async def test_what_only_looks_like_a_chip_is_sent_as_it_is_typed():
    app = SceneApp()
    async with app.run_test() as pilot:
        app.prepare()
        typed = "why does it say [pasted #1: 40 lines]?"
        app.composer.insert(typed)
        assert sent(app) == typed
        send(app)
        await pilot.press("up")
        assert sent(app) == typed


async def test_an_editor_that_leaves_a_paste_as_it_is_leaves_the_chip():
    app = SceneApp()
    async with app.run_test():
        app.prepare()
        app.composer.insert("look ")
        app.composer.insert_paste(rows("a"))
        text = app.composer.text
        app.composer.put_edited(sent(app) + " now")
        assert app.composer.text == text + " now"
        app.composer.put_edited(sent(app).replace("a 7", "b 7"))
        assert app.composer.text == f"look {rows('a').replace('a 7', 'b 7')} now"


def test_prompts_of_before_are_read_and_lost_pastes_are_named(tmp_path, laguna_home):
    state = laguna_home / "state"
    state.mkdir(parents=True)
    lines = ["plain", "[pasted #1: 40 lines]", {"text": "[pasted #2: 9 lines]", "pastes": {
        "[pasted #2: 9 lines]": "0" * 32}}, 7, {"text": 3}, None]  # fmt: skip
    (state / "prompts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    history = PromptHistory(tmp_path)
    assert [history[n].expanded for n in range(len(history))] == [
        "plain", paste_store.LOST, paste_store.LOST,
    ]  # fmt: skip


def test_a_paste_is_kept_once_and_the_oldest_go_first(tmp_path, monkeypatch):
    monkeypatch.setattr(paste_store, "MOST_FILES", 3)
    store = paste_store.PasteStore(tmp_path)
    chip = "[pasted #1: 40 lines]"
    for word in ("a", "a", "b", "c", "d"):
        store.record(Prompt(chip, {chip: rows(word)}))
    kept = {path.read_text()[0] for path in tmp_path.iterdir()}
    assert len(kept) == 3
    assert "d" in kept
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in tmp_path.iterdir())


@pytest.mark.parametrize("saved", ["", "half a thought", "[]", '{"typed": 3, "waiting": [1, {}]}'])
def test_a_draft_that_cannot_be_read_is_empty(tmp_path, saved):
    history = PromptHistory(tmp_path)
    history.save_draft(Prompt("x"))
    history._draft.write_text(saved)
    assert history.load_draft() == (Prompt(""), [])
