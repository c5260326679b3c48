"""What all command lines share: help, wrong usage, `-C DIR`, and questions."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

from laguna_agent.cli import COMMANDS, main
from laguna_agent.errors import UsageError
from laguna_agent.interfaces.commands.command_line import confirm

Captured = pytest.CaptureFixture[str]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_subcommand_describes_itself(command: str, capsys: Captured) -> None:
    module = import_module(f"laguna_agent.interfaces.commands.{command}")
    assert module.make_parser().description
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: laguna {command} ")


@pytest.mark.parametrize(
    ("arguments", "message", "command"),
    [
        (["--nonsense"], "unrecognized arguments: --nonsense", "laguna"),
        (["models", "dance"], "'dance'", "laguna models"),
        (["sessions"], "the following arguments are required: ACTION", "laguna sessions"),
        (["prompts", "new"], "the following arguments are required: NAME", "laguna prompts new"),
        (
            ["memory", "search", "-n", "-1", "x"],
            "`-1` is not a whole number",
            "laguna memory search",
        ),
        (
            ["memory", "search", "-n", "0", "x"],
            "`0` is not a whole number from 1 on",
            "laguna memory search",
        ),
        (
            ["sessions", "list", "-n", "x"],
            "`x` is not a whole number from 0 on",
            "laguna sessions list",
        ),
        (["undo", "--steps", "0"], "`0` is not a whole number from 1 on", "laguna undo"),
        (["bench", "--rounds", "x"], "--rounds: invalid int value: 'x'", "laguna bench"),
        (["trust", "--yes", "--forget"], "not allowed with argument --yes", "laguna trust"),
    ],
)
def test_wrong_usage_is_two_lines_and_exit_code_2(
    arguments: list[str], message: str, command: str, capsys: Captured
) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    first, second = err.splitlines()
    assert first.startswith("laguna: ")
    assert message in first
    assert second == f"`{command} --help` shows how."


@pytest.mark.parametrize(
    "arguments", [["doctor"], ["trust"], ["undo"], ["sessions", "list"], ["memory", "list"]]
)
def test_a_directory_that_does_not_exist_is_wrong_usage(
    arguments: list[str], tmp_path: Path, capsys: Captured
) -> None:
    assert main([*arguments, "-C", str(tmp_path / "nowhere")]) == 2
    assert capsys.readouterr().err == f"laguna: there is no directory {tmp_path / 'nowhere'}\n"


class Terminal:
    """Standard input on a terminal, with a line typed."""

    def __init__(self, line: str) -> None:
        self.line = line

    def isatty(self) -> bool:
        return True

    def readline(self) -> str:
        return self.line


@pytest.mark.parametrize(("line", "agreed"), [("y\n", True), ("YES\n", True), ("\n", False)])
def test_a_question_is_answered_on_the_terminal(
    line: str, agreed: bool, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(line))
    assert confirm("Delete it?", hint="Add --yes.") is agreed
    assert capsys.readouterr() == ("", "Delete it? [y/N] ")


def test_a_question_without_a_terminal_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match=r"needs a yes.*\nAdd --yes\."):
        confirm("Delete it?", hint="Add --yes.")
