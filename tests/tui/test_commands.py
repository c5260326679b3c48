"""Slash commands on the real app that show pages or change settings."""

from __future__ import annotations

import json
import subprocess
from contextlib import AsyncExitStack

import pytest
from rich.console import Console
from textual.widgets import OptionList

from laguna_agent.agent.undo import choose
from laguna_agent.errors import LagunaError
from laguna_agent.events import Reply
from laguna_agent.interfaces.tui import reference
from laguna_agent.interfaces.tui.messages import WorkFailed
from laguna_agent.interfaces.tui.reference import COMMANDS, KEYS
from laguna_agent.interfaces.tui.screens import model_picker
from laguna_agent.interfaces.tui.screens.dialogs import Page, Picker
from laguna_agent.interfaces.tui.screens.pickers import Help
from laguna_agent.interfaces.tui.slash_commands import INIT_PROMPT
from laguna_agent.memory.memory_store import Memory, MemoryStore
from laguna_agent.models.store import Store
from support.model_server import ModelServer
from support.scripted import call
from support.terminal import says

EDIT = call("edit", path="calc.py", old="    return a - b", new="    return a + b")


# --- help, exit, unknown commands -----------------------------------------------------------------


@pytest.mark.slow
async def test_help_opens_in_every_way_and_lists_every_key_and_command(drive):
    async with drive([Reply(text="x")]) as ui:
        await ui.idle()
        for way in ("/help", "help", "?", "f1"):
            await (ui.pilot.press(way) if way in ("?", "f1") else ui.command(way))
            await ui.dialog(Help)
            listed = "\n".join(f"{one.words}\n{one.label.plain}" for one in ui.app.screen._choices)
            for one in (*COMMANDS, *KEYS):
                assert one.shown in listed
            assert "At the beginning of a word or message" in listed
            await ui.pilot.press("f1" if way == "f1" else "escape")
            await ui.until(lambda: len(ui.app.screen_stack) == 1, "closed")


@pytest.mark.slow
async def test_typing_searches_the_help_and_enter_takes_a_command(drive):
    async with drive([Reply(text="x")], size=(60, 16)) as ui:
        await ui.idle()
        await ui.pilot.press("?")
        await ui.dialog(Help)
        await ui.pilot.press(*"conversation new")
        await ui.until(lambda: ui.app.screen.chosen == "/new", "the command to be found")
        await ui.shows("start a new conversation")
        assert "ctrl+o" not in ui.shown
        await ui.pilot.press("enter")
        await ui.until(lambda: ui.app.composer.text == "/new ", "the command to complete")
        assert len(ui.app.screen_stack) == 1


async def test_a_question_mark_within_a_text_is_typed(drive):
    async with drive([Reply(text="x")]) as ui:
        await ui.idle()
        await ui.pilot.press("w", "h", "y", "?")
        assert ui.app.composer.text == "why?"
        assert len(ui.app.screen_stack) == 1


@pytest.mark.slow
@pytest.mark.parametrize("word", ["/exit", "/quit", "exit", "Quit", ":q"])
async def test_exit_ends_laguna_and_says_how_to_resume(drive, word):
    async with drive([Reply(text="hello")]) as ui:
        await ui.turn("hi", "hello")
        name = ui.app.agent.session.trajectory.id
        await ui.command(word)
        await ui.until(lambda: ui.app._exit, "left")
        assert ui.app.exit_message == f"Resume with: laguna --resume {name}"
        assert ui.app.return_value == 0


async def test_an_unknown_command_does_not_reach_the_model(drive):
    async with drive([Reply(text="x")]) as ui:
        await ui.idle()
        await ui.command("/qqqqqqq now")
        await ui.shows("there is no command /qqqqqqq; /help lists them")
        for typed, meant in (("/modle", "/model"), ("/exprot", "/export"), ("/comp", "/compact")):
            await ui.command(typed)
            await ui.shows(f"there is no command {typed}; did you mean {meant}?")
        assert not ui.app.agent.session.conversation_state.user_messages


@pytest.mark.slow
async def test_commands_that_need_an_idle_agent_are_refused_during_a_turn(drive):
    async with drive([Reply(text="one, two")], gated=True) as ui:
        await ui.idle()
        await ui.send("go")
        await ui.shows("writing")
        for name in ("/rewind", "/undo", "/resume x", "/model m"):
            await ui.command(name)
            await ui.shows(f"{name.split()[0]} cannot run while laguna works; esc stops it")
        ui.gate.set()
        await ui.idle()


async def test_an_argument_that_would_be_ignored_is_refused(drive):
    async with drive([Reply(text="x")], size=(100, 24)) as ui:
        await ui.idle()
        for typed, answer in (
            ("/new fix it", "/new takes nothing after it, so it did not run: fix it"),
            ("/quit now", "/exit takes nothing after it, so it did not run: now"),
            ("/copy all", "/copy takes code, not all"),
        ):
            await ui.command(typed)
            await ui.shows(answer)
        assert len(ui.conversations) == 1
        assert not ui.app._exit


async def test_words_that_are_commands_alone_are_messages_in_a_sentence(drive):
    async with drive([Reply(text="I see")]) as ui:
        await ui.turn("help me to exit vim", "I see")


@pytest.mark.slow
async def test_clear_starts_a_new_conversation_in_the_same_mode(drive):
    async with drive([Reply(text="hello")]) as ui:
        await ui.turn("hi", "hello")
        await ui.pilot.press("shift+tab", "shift+tab")
        await ui.command("/clear")
        await ui.until(lambda: len(ui.conversations) == 2, "a new conversation")
        await ui.idle()
        assert ui.app.agent.session.gate.mode == "auto"
        await ui.shows(" auto ")


# --- modes ----------------------------------------------------------------------------------------


async def test_mode_is_set_by_name_or_picker_and_a_wrong_name_is_reported(drive):
    async with drive([Reply(text="x")]) as ui:
        await ui.idle()
        gate = ui.app.agent.session.gate
        await ui.command("/mode auto")
        assert gate.mode == "auto"
        await ui.shows(" auto ")
        await ui.command("/mode yolo")
        await ui.shows("/mode takes ask, accept-edits, auto, plan or allow-all, not yolo")
        await ui.command("/mode")
        await ui.dialog(Picker)
        await ui.pilot.press(*"allow-all", "enter")
        await ui.shows(" allow-all ")
        assert gate.mode == "allow-all"


async def test_plan_mode_refuses_changes_until_it_ends(drive, repository):
    async with drive([EDIT, Reply(text="Here is a plan.")], mode="auto") as ui:
        await ui.idle()
        await ui.command("/plan fix add")
        await ui.shows("Here is a plan.")
        await ui.idle()
        assert " plan " in ui.shown
        assert "return a - b" in (repository / "calc.py").read_text()
        assert "fix add" in ui.conversations[-1].prompt
        await ui.pilot.press("shift+tab")
        await ui.shows("\n ask ")
        assert not ui.app.agent.session.gate.plan


@pytest.mark.slow
async def test_check_sets_what_must_succeed_before_a_task_is_done(drive, repository):
    done = call("done", summary="Done now.")
    async with drive([Reply(text="It adds."), done, done], mode="auto") as ui:
        await ui.idle()
        await ui.command("/check")
        await ui.shows("no check is set")
        await ui.command("/check test -f made")
        await ui.shows("each task must pass: test -f made")
        await ui.turn("what does add do?", "It adds.")  # a question is answered without it
        assert "check `test -f made`" not in ui.shown
        (repository / "made").touch()
        await ui.turn("change add", "check `test -f made`")
        await ui.command("/check off")
        await ui.shows("no check is set")


# --- pages ----------------------------------------------------------------------------------------


async def test_diff_shows_changes_and_new_files_since_the_last_commit(drive, repository):
    async with drive([Reply(text="x")]) as ui:
        await ui.idle()
        await ui.command("/diff")
        await ui.shows("no changes since the last commit")
        (repository / "calc.py").write_text("def add(a, b):\n    return a + b\n")
        (repository / "added.txt").write_text("new\n")
        await ui.command("/diff")
        await ui.dialog(Page)
        await ui.shows("return a + b")
        assert "return a - b" in ui.shown
        assert "added.txt" in ui.shown


async def test_diff_outside_a_repository_is_reported(drive, repository):
    async with drive([Reply(text="x")]) as ui:
        await ui.idle()
        subprocess.run(["rm", "-rf", ".git"], cwd=repository, check=True)
        await ui.command("/diff")
        await ui.shows("git cannot list the changes here")


@pytest.mark.slow
async def test_context_shows_parts_that_add_up_to_the_tokens_used(drive):
    read = call("read", path="calc.py")
    async with drive([read, Reply(text="an answer")], size=(110, 40)) as ui:
        await ui.turn("look", "an answer")
        await ui.command("/context")
        await ui.dialog(Page)
        await ui.shows("results of read")
        for part in ("system prompt", "tool declarations", "your messages", "answers", "free"):
            assert part in ui.shown
        rows = [line.strip(" │").split("  ") for line in ui.shown.split("\n")]
        numbers = {}
        for row in rows:
            cells = [cell.strip() for cell in row if cell.strip()]
            if len(cells) >= 2 and cells[1].replace(",", "").isdigit():
                numbers[cells[0]] = int(cells[1].replace(",", ""))
        assert sum(numbers.values()) == ui.app.agent.session.conversation.limit


async def test_mcp_lists_servers_with_their_state(drive):
    async with drive([Reply(text="x")]) as ui:
        await ui.idle()
        await ui.command("/mcp")
        await ui.dialog(Page)
        await ui.shows("No MCP servers. `laguna mcp add --help` shows how to add one.")
        await ui.until(lambda: ui.app.screen.query_one(".dialog").size.height < 8, "a low box")


@pytest.mark.slow
async def test_usage_adds_up_the_turns(drive):
    async with drive([Reply(text="one"), Reply(text="two")], size=(100, 30)) as ui:
        await ui.idle()
        for word, answer in (("first", "one"), ("second", "two")):
            await ui.send(word)
            await ui.shows(answer)
            await ui.idle()
        await ui.command("/usage")
        await ui.dialog(Page)
        await ui.shows("tokens written")
        shown = " ".join(ui.shown.split())
        assert "turns 2" in shown
        assert "tokens written 20" in shown


@pytest.mark.slow
async def test_memory_lists_memories_and_opens_one(drive, repository):
    async with drive([Reply(text="x")]) as ui:
        await ui.idle()
        await ui.command("/memory")
        await ui.shows("laguna has no memories of this repository yet")
        store = MemoryStore(repository)
        for number, what in enumerate(("vouchers apply twice", "the importer was ported")):
            store.write(
                Memory(id=f"s{number}-1", title=what, session=f"s{number}",
                       ended=f"2026-01-0{number + 1}T10:00:00Z",
                       body=f"## Done\n- {what} at last\n")
            )  # fmt: skip
        await ui.command("/memory")
        await ui.dialog(Picker)
        await ui.shows("the importer was ported")
        await ui.pilot.press(*"voucher")
        await ui.pilot.pause()
        assert "the importer was ported" not in ui.shown
        await ui.pilot.press("enter")
        await ui.dialog(Page)
        await ui.shows("vouchers apply twice at last")


@pytest.mark.slow
async def test_prompts_shows_files_and_costs_and_reload_uses_the_edited_files(drive, laguna_home):
    async with drive([Reply(text="hello")], size=(140, 50)) as ui:
        await ui.turn("hi", "hello")
        await ui.command("/prompts")
        await ui.dialog(Page)
        await ui.shows("system.md")
        assert "tokens" in ui.shown
        await ui.pilot.press("escape")
        own = laguna_home / "config" / "prompts" / "base"
        own.mkdir(parents=True)
        (own / "system.md").write_text("You are terse.\n")
        await ui.command("/prompts")
        await ui.dialog(Page)
        await ui.shows("its files were edited: /prompts reload")
        await ui.pilot.press("escape")
        await ui.command("/prompts reload")
        await ui.until(lambda: len(ui.conversations) == 2, "a new conversation")
        await ui.idle()
        assert not ui.app.agent.session.conversation_state.user_messages
        await ui.send("again")
        await ui.idle()
        assert ui.conversations[-1].system.strip() == "You are terse."
        assert ui.conversations[0].system.strip() != "You are terse."


@pytest.mark.slow
async def test_doctor_shows_the_output_of_the_command(drive):
    async with drive([Reply(text="x")], size=(110, 40)) as ui:
        await ui.idle()
        await ui.command("/doctor")
        await ui.dialog(Page)
        assert ui.app.screen._heading == "Doctor"
        await ui.shows("sandbox")


async def test_init_asks_the_model_for_an_agents_file(drive, repository):
    write = call("write", path="AGENTS.md", content="# shop\n")
    async with drive([write, Reply(text="Written.")], mode="accept-edits") as ui:
        await ui.idle()
        await ui.command("/init")
        await ui.shows("Written.")
        assert INIT_PROMPT in ui.conversations[-1].prompt
        assert (repository / "AGENTS.md").read_text() == "# shop\n"


# --- settings -------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_theme_is_set_by_name_and_saved_and_escape_ends_a_preview(drive, laguna_home):
    async with drive([Reply(text="x")]) as ui:
        await ui.idle()
        await ui.command("/theme high-contrast")
        assert ui.app.theme == "high-contrast"
        kept = json.loads((laguna_home / "state" / "interface.json").read_text())
        assert kept["theme"] == "high-contrast"
        await ui.command("/theme")
        await ui.dialog(Picker)
        await ui.pilot.press(*"laguna-light")
        await ui.until(lambda: ui.app.theme == "laguna-light", "preview")
        await ui.pilot.press("escape")
        assert ui.app.theme == "high-contrast"
        await ui.command("/theme nonsense")
        await ui.shows("there is no theme nonsense")


@pytest.mark.slow
async def test_copy_copies_the_last_answer_or_its_last_code(drive):
    answer = "Two ways:\n\n```python\nx = 1\n```\n\n```python\nx = 2\n```\n"
    async with drive([Reply(text=answer)]) as ui:
        await ui.idle()
        await ui.command("/copy")
        await ui.shows("nothing to copy yet")
        await ui.send("how?")
        await ui.shows("done")
        await ui.idle()
        await ui.command("/copy")
        await ui.until(lambda: ui.app.clipboard == answer, "the answer is copied")
        await ui.command("/copy code")
        await ui.dialog(Picker)
        await ui.pilot.press("down", "enter")
        await ui.until(lambda: ui.app.clipboard == "x = 2\n", "the code is copied")


@pytest.mark.slow
async def test_model_switches_by_name_and_the_conversation_continues(drive, laguna_home):
    path = laguna_home / "config" / "config.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        near = await stack.enter_async_context(ModelServer(says("ok")))
        near.gets["/v1/models"] = {"object": "list", "data": [{"id": "qwen", "object": "model"}]}
        path.write_text(f'[providers.near]\nurl = "{near.url}"\ncontext = 32768\n')
        ui = await stack.enter_async_context(drive([Reply(text="first answer")]))
        await ui.turn("remember seven", "first answer")
        await ui.command("/model near/qwen")
        await ui.until(lambda: len(ui.conversations) == 2, "opened again")
        await ui.idle()
        assert ui.app.agent.settings.config.model == "near/qwen"
        await ui.send("which number?")
        await ui.idle()
        assert "remember seven" in ui.conversations[-1].prompt


@pytest.mark.slow
async def test_the_model_picker_lists_catalogue_and_servers_with_fit_and_size(drive, laguna_home):
    path = laguna_home / "config" / "config.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('[providers.near]\nurl = "http://127.0.0.1:9/v1"\n')
    async with drive([Reply(text="x")], size=(130, 40)) as ui:
        await ui.idle()
        await ui.command("/model")
        await ui.dialog(Picker)
        await ui.shows("laguna-xs-2.1")
        assert "qwen2.5-coder-1.5b-instruct" in ui.shown
        assert "GiB" in ui.shown
        assert "near/" in ui.shown
        await ui.pilot.press("escape")
        assert len(ui.conversations) == 1


@pytest.mark.slow
@pytest.mark.parametrize("size", [(80, 24), (40, 12)], ids=["80", "40"])
async def test_a_narrow_model_picker_shows_less_of_each_model_and_cuts_none(drive, size):
    async with drive([Reply(text="x")], size=size) as ui:
        await ui.idle()
        await ui.command("/model")
        await ui.dialog(Picker)
        await ui.shows("laguna-xs-2.1")
        options = ui.app.screen.query_one("#choices", OptionList)
        width = options.scrollable_content_region.width
        rows = [line.strip("│ ") for line in ui.shown.split("\n") if "laguna-xs" in line]
        assert rows
        for row in rows:
            assert "…" not in row
            assert len(row) <= width
            assert {"installed", "download", "too large"} & {
                cell.strip() for cell in row.split("  ")
            }
            assert ("GiB" in row) == (size[0] == 80)


def test_a_shortened_model_name_keeps_its_end_and_whether_it_fits():
    long = "someone-elses-model-with-a-name-of-many-parts:q4_k_m"
    rows = [model_picker.ModelRow(long, True, False, 9 << 30, 32_768)]
    [choice] = model_picker.model_choices(rows, {})
    console = Console(width=38)
    with console.capture() as drawn:
        console.print(choice.row)
    assert drawn.get().strip() == "someone-els…parts:q4_k_m  too large"


async def test_a_hash_adds_a_line_that_new_conversations_read(drive, laguna_home):
    async with drive([Reply(text="x")]) as ui:
        await ui.idle()
        await ui.send("# run the tests with make check")
        await ui.shows("remembered in")
        text = (laguna_home / "config" / "AGENTS.md").read_text()
        assert text == "- run the tests with make check\n"
        await ui.command("/new")
        await ui.until(lambda: len(ui.conversations) == 2, "another session")
        await ui.idle()
        await ui.send("hello")
        await ui.idle()
        assert "run the tests with make check" in ui.conversations[-1].prompt


async def test_a_command_typed_faster_than_its_completions_runs_as_typed(drive):
    async with drive([]) as ui:
        await ui.idle()
        ui.app.composer.insert("/ex")
        ui.app.completion_list.offer("/ex", ui.app.slash_commands.matching("/ex"))
        ui.app.composer.insert("it")
        ui.app.completion_list.offer("/ex", ui.app.slash_commands.matching("/ex"))
        assert not ui.app.completion.handle_key("enter"), "Enter sends what was typed"
        assert ui.app.composer.text == "/exit"


async def test_errors_name_the_commands_of_the_interface(drive):
    async with drive([Reply(text="hello")]) as ui:
        await ui.idle()
        for make in (lambda: choose([]), lambda: Store().remove("none")):
            with pytest.raises(LagunaError) as raised:
                make()
            assert "`laguna " in str(raised.value)
            ui.app.post_message(WorkFailed(raised.value, fatal=False))
        await ui.shows("`/undo` lists the turns")
        await ui.shows("`/model` shows what is")
        assert "`laguna " not in ui.shown


def test_each_command_of_the_command_line_has_one_of_the_interface():
    names = {command.name for command in reference.COMMANDS}
    assert set(reference._SAME.values()) <= names
