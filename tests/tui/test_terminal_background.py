"""The terminal's background chooses the theme, and its answer never becomes text."""

from __future__ import annotations

import json
import time

import pytest

from laguna_agent.interfaces.tui.system import terminal_background as background
from laguna_agent.interfaces.tui.system.terminal_background import AnswerFilter, AnswerParser
from support.model_server import ModelServer
from support.terminal import Terminal, says

WHITE, BLACK = "\x1b]11;rgb:ffff/ffff/ffff\x07", "\x1b]11;rgb:0000/0000/0000\x1b\\"


@pytest.mark.parametrize(
    ("answer", "light"),
    [
        ("rgb:ffff/ffff/ffff", True), ("rgb:fdfd/f6f6/e3e3", True), ("rgba:ff/ff/ff/ff", True),
        ("rgb:0000/0000/0000", False), ("rgb:0/2b/36", False), ("rgb:1e1e/1e1e/2e2e", False),
        ("?", None), ("", None), ("rgb:zz/0/0", None), ("#ffffff", None),
    ],
)  # fmt: skip
def test_a_colour_is_light_or_dark(answer, light):
    assert background.is_light(answer) is light


@pytest.mark.parametrize(
    ("variables", "asked"),
    [
        ({"TERM": "xterm-256color"}, True),
        ({"TERM": "tmux-256color", "TMUX": "/tmp/x"}, True),
        ({"TERM": "screen-256color", "TMUX": "/tmp/x", "STY": "1.x"}, True),
        ({"TERM": "screen", "STY": "1.x"}, False),
        ({"TERM": "xterm-256color", "SSH_CONNECTION": "a b"}, True),
        ({"TERM": "linux"}, False),
        ({"TERM": "vt100"}, False),
    ],
)
def test_terminals_that_would_print_the_question_are_not_asked(variables, asked):
    assert background.can_be_asked(variables) is asked


@pytest.mark.parametrize(
    ("value", "light"),
    [("0;15", True), ("0;default;15", True), ("15;0", False), ("", False), ("7;8", False)],
)
def test_a_variable_tells_where_the_terminal_does_not(value, light):
    assert background.is_light_by_variable({"COLORFGBG": value}) is light


def keys(parser: AnswerParser, *pieces: str) -> list[str]:
    """The keys of an input that arrives in pieces."""
    found = [event for piece in pieces for event in parser.feed(piece)]
    time.sleep(0.12)  # as long as the input thread waits before it looks again
    found += parser.tick()
    time.sleep(0.12)
    found += parser.tick()
    return [getattr(event, "key", type(event).__name__) for event in found]


@pytest.mark.parametrize("answer", [WHITE, BLACK, "\x1b]11;rgba:0/0/0/0\x07", "\x1b]11;?\x07"])
@pytest.mark.parametrize("cut", [None, 1, 2, 3, 5, 9, -1])
@pytest.mark.parametrize("asked", [True, False])
def test_an_answer_is_no_key_in_however_many_pieces_it_comes(answer, cut, asked):
    if not asked and cut is not None and cut < 5:
        return  # without a question, Escape is not held back
    told: list[str] = []
    answers = AnswerFilter(told.append)
    if asked:
        answers.ask()
    pieces = [f"a{answer}b"] if cut is None else ["a" + answer[:cut], answer[cut:] + "b"]
    assert keys(AnswerParser(answers), *pieces) == ["a", "b"]
    assert told == ([answer[5:].rstrip("\x07\\\x1b")] if asked else [])


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("\x1b", ["escape"]),
        ("\x1b[A", ["up"]),
        ("\x1b]", ["right_square_bracket"]),
        ("\x1b[200~a]11;b\x1b[201~", ["Paste"]),
        ("é日", ["é", "日"]),
    ],
)
def test_keys_stay_keys(typed, expected, asked):
    answers = AnswerFilter(lambda answer: None)
    if asked:
        answers.ask()
    assert keys(AnswerParser(answers), typed) == expected


def test_what_is_typed_after_a_broken_answer_is_not_lost():
    answers = AnswerFilter(lambda answer: None)
    parser = AnswerParser(answers)
    assert list(parser.feed("\x1b]11;rgb:00/1")) == []
    answers._held_at -= background._REST_S
    assert list(parser.tick()) == []
    assert [event.key for event in parser.feed("b\r")] == ["b", "enter"]


@pytest.mark.slow
async def test_the_theme_follows_the_terminal_and_the_answer_is_not_typed(configured):
    async with ModelServer(says("plain words")) as server:
        terminal = Terminal(*configured(server))
        await terminal.until(lambda: background.QUERY.encode() in terminal.output, "the question")
        terminal.type(WHITE[:9])
        terminal.pump()
        terminal.type(WHITE[9:])
        await terminal.shows("fake/tester")

        def paper() -> bool:
            return any(cell.bg == "fbfaf7" for cell in terminal.screen.buffer[3].values())

        await terminal.until(paper, "the light theme")
        assert "rgb:" not in terminal.text
        terminal.type("hello\r")
        await terminal.shows("plain words")
        assert "❯ hello" in terminal.text
        terminal.type("\x04")
        assert await terminal.ended() == 0


@pytest.mark.slow
@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "linux"}, {}])
async def test_who_chose_a_theme_or_no_colour_is_not_asked(configured, laguna_home, variables):
    if not variables:
        preferences = laguna_home / "state" / "interface.json"
        preferences.parent.mkdir(parents=True, exist_ok=True)
        preferences.write_text(json.dumps({"theme": "high-contrast"}))
    async with ModelServer(says("plain words")) as server:
        terminal = Terminal(*configured(server), **variables)
        await terminal.shows("fake/tester")
        terminal.type("\x04")
        await terminal.ended()
        assert background.QUERY.encode() not in terminal.output
