"""The welcome of an empty conversation, and the first messages that it suggests."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from laguna_agent.agent.check.detection import named_check
from laguna_agent.agent.check.test_command import test_command as command_of
from laguna_agent.agent.model_speed import ModelSpeed, measured_speed
from laguna_agent.events import Reply, Timings, Usage
from laguna_agent.interfaces.tui.suggestions import suggestions
from laguna_agent.interfaces.tui.themes import DEFAULT, PALETTES
from laguna_agent.interfaces.tui.widgets.welcome import Welcome
from laguna_agent.models.conversation import ModelInfo
from laguna_agent.trajectory.store import Trajectory
from support.packs import write_files
from support.sessions import started

INFO = ModelInfo(name="box/coder", format="openai", parameters=30_000_000_000, context=32_768)
TRY = ("Fix what fails until `make test` passes", "Review my changes", "Explain this")


class Still(Welcome):
    """A welcome that is on no screen."""

    def refresh(self, *args: object, **more: object) -> Still:
        return self


@pytest.fixture
def welcome() -> Welcome:
    shown = Still(PALETTES[DEFAULT])
    shown.show_model(INFO)
    shown.show_speed(ModelSpeed(reads=33, writes=16))
    shown.show_mode("ask", "asks before every side effect")
    shown.suggest(TRY)
    return shown


def text_of(welcome: Welcome, width: int, height: int) -> str:
    return "\n".join(line.plain for line in welcome.lines(width, height))


def test_the_welcome_tells_the_model_its_pace_the_mode_what_to_try_and_keys(welcome) -> None:
    text = text_of(welcome, 100, 26)
    for part in (
        "box/coder · 30.0B",
        "reads 33 and writes 16 tokens/s",
        "300 lines take 91 s",
        "32,768 tokens of context",
        "ask: asks before every side effect",
        *TRY,
        "f1 help",
    ):
        assert part in text


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 220])
def test_it_fits_every_size_and_keeps_the_most_useful_lines(welcome, width) -> None:
    for height in range(1, 60):
        lines = welcome.lines(width, height)
        assert 1 <= len(lines) <= height
        assert all(line.cell_len <= width for line in lines)
        assert "box/coder" in lines[0].plain
        if height > 6:  # notices have room below it
            assert len(lines) <= height - 3
    assert "f1" in text_of(welcome, width, 3)
    assert TRY[0][:14] in text_of(welcome, width, 10)


def test_before_the_model_is_there_it_says_what_it_can() -> None:
    shown = Still(PALETTES[DEFAULT])
    assert "laguna" in text_of(shown, 80, 20)
    assert "f1 help" in text_of(shown, 80, 20)
    shown.show_model(INFO)
    shown.show_speed(ModelSpeed())
    assert "its pace is measured in the first turn" in text_of(shown, 100, 20)


async def test_tab_takes_suggestions_and_the_first_message_ends_the_welcome(drive) -> None:
    async with drive([Reply(text="done so")], size=(90, 24)) as ui:
        await ui.idle()
        await ui.shows("until `python3 -m pytest -q` passes")
        await ui.shows("ask: asks before every side effect")
        first, second, *_ = ui.app.welcome.suggestions
        await ui.pilot.press("tab")
        assert ui.app.composer.text == first
        await ui.pilot.press("tab")
        assert ui.app.composer.text == second
        assert ui.app.welcome.next_suggestion("something of my own") is None
        ui.app.composer.put("hello")
        await ui.pilot.press("enter")
        await ui.shows("done so")
        assert not ui.app.welcome.display
        assert second not in ui.shown
        await ui.command("/new")
        await ui.until(lambda: ui.app.welcome.display, "shown again")


# --- suggestions ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "command"),
    [
        ({"Makefile": "all:\n\techo\ntest: all\n\ttrue\n"}, "make test"),
        ({"Makefile": "tests := a b\ncheck:\n\ttrue\n"}, "make check"),
        ({"Makefile": "test := 1\ntesting:\n"}, None),
        ({"justfile": "test *args:\n  true\n"}, "just test"),
        ({"package.json": '{"scripts": {"test": "vitest"}}'}, "npm test"),
        ({"package.json": '{"scripts": {"test": "jest"}}', "pnpm-lock.yaml": ""}, "pnpm test"),
        ({"package.json": '{"scripts": {"test": "echo \\"no test specified\\""}}'}, None),
        ({"package.json": "{" * 9_000}, None),
        ({"Cargo.toml": ""}, "cargo test"),
        ({"go.mod": ""}, "go test ./..."),
        ({"test_a.py": ""}, "python3 -m pytest -q"),
        ({"pyproject.toml": "", "tests/test_a.py": "", "uv.lock": ""}, "uv run pytest -q"),
        ({"pyproject.toml": "", "a.py": ""}, None),
        ({"tests/readme.txt": ""}, None),
        ({"README.md": ""}, None),
    ],
)
def test_the_test_command_is_the_one_that_the_repository_has(tmp_path, files, command) -> None:
    write_files(tmp_path, files)
    assert command_of(tmp_path) == command
    if command:  # as suggested, it is the check of the task
        assert named_check(f"Fix what fails until `{command}` passes", tmp_path).command == command


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "Makefile")
    os.mkfifo(tmp_path / "package.json")
    assert command_of(tmp_path) is None


def test_suggestions_follow_the_state_of_the_repository(repository: Path, tmp_path: Path) -> None:
    found = suggestions(repository, repository)
    assert found[0] == "Fix what fails until `python3 -m pytest -q` passes"
    assert "write a README.md" in found[1]
    assert found[2] == "What does the last commit change, and is it right?"
    write_files(repository, {"README.md": "# Shop\n", "calc.py": "x = 1\n"})
    found = suggestions(repository, repository)
    assert found[1] == "Review my uncommitted changes (2 files)"
    assert "@README.md" in found[2]
    empty = tmp_path / "empty"
    empty.mkdir()
    assert all(text.startswith(("Write", "Set up")) for text in suggestions(empty, empty))


def test_conflicts_come_first(repository: Path) -> None:
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in ("checkout -qb other", "commit -qam other", "checkout -q main"):
        if command.startswith("commit"):
            (repository / "calc.py").write_text("other = 1\n")
        subprocess.run([*git, *command.split()], cwd=repository, check=True)
    (repository / "calc.py").write_text("mine = 1\n")
    subprocess.run([*git, "commit", "-qam", "mine"], cwd=repository, check=True)
    subprocess.run([*git, "merge", "-q", "other"], cwd=repository, check=False, capture_output=True)
    assert suggestions(repository, repository)[0] == "Resolve the merge conflicts in 1 file"


# --- speed ------------------------------------------------------------------------------------


def test_the_pace_is_that_of_earlier_sessions_with_the_model(repository: Path) -> None:
    assert measured_speed(INFO, repository) == ModelSpeed()

    def reply(prefilled: int, reused: int = 0) -> Reply:
        usage = Usage(
            prompt_tokens=prefilled + reused, reused_tokens=reused, prefilled_tokens=prefilled,
            completion_tokens=100,
        )  # fmt: skip
        return Reply(text="x", usage=usage, timings=Timings(prefill_s=10.0, decode_s=5.0))

    for name, model, replies in (
        # The second reply of a server that does not tell what it reused counts only as written.
        ("one", "box/coder", [reply(1_000), reply(90_000)]),
        ("two", "other", [reply(7, 7)]),
    ):
        with Trajectory.create(repository, session_id=name) as trajectory:
            begun = started(name).model_copy(update={"model": {"name": model, "format": "openai"}})
            for event in (begun, *replies):
                trajectory.append(event)
    assert measured_speed(INFO, repository) == ModelSpeed(reads=100.0, writes=20.0)
