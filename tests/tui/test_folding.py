"""Long output and long messages are folded to what tells most, and expand."""

from __future__ import annotations

import pytest

from laguna_agent.events import ToolFinished, ToolStarted, UserMessage
from laguna_agent.interfaces.tui.themes import PALETTES
from laguna_agent.interfaces.tui.transcript.rendering import EntryRenderer
from laguna_agent.interfaces.tui.transcript.telling_lines import telling_lines
from laguna_agent.interfaces.tui.transcript.transcript_model import Entry
from support.scenes import SceneApp

RENDERER = EntryRenderer(PALETTES["laguna"])
DOTS = [f"tests/test_{n}.py ....... [{n}%]" for n in range(60)]
OUTPUTS = {
    "pytest": (
        [*DOTS, "=== FAILURES ===", "E   AssertionError: assert 3 == 6", "tests/test_7.py:14:",
         "FAILED tests/test_7.py::test_two - Assert", "=== 1 failed, 47 passed in 2.31s ==="],
        ["E   AssertionError", "FAILED tests/test_7.py", "1 failed, 47 passed"],
    ),
    "cargo": (
        ["running 3 tests", "test a ... ok", "test b ... FAILED", *["note: x"] * 9,
         "test result: FAILED. 2 passed; 1 failed; finished in 0.00s", ""],
        ["test b ... FAILED", "note: x", "test result: FAILED"],
    ),
    "go": (
        ["=== RUN   TestA", "--- FAIL: TestA (0.00s)", "    a_test.go:9: got 1", "FAIL",
         "exit status 1", "FAIL\texample.com/a\t0.002s"],
        ["--- FAIL: TestA", "FAIL", "FAIL\texample.com/a"],
    ),
    "compiler": (
        [*["cc -c x.c"] * 20, "a.c:3:5: error: 'x' undeclared", *["cc -c y.c"] * 20,
         "make: *** [Makefile:2: a.o] Error 1"],
        ["a.c:3:5: error", "cc -c y.c", "make: ***"],
    ),
    "traceback": (
        ["Traceback (most recent call last):", *['  File "a.py", line 1'] * 9,
         "KeyError: 'a'", "", "done in 3 s"],
        ['File "a.py"', "KeyError: 'a'", "done in 3 s"],
    ),
    "nothing wrong": (
        [*["copied x"] * 9, "0 errors, no warnings", *["copied y"] * 9, "finished"],
        ["0 errors, no warnings", "copied y", "finished"],
    ),
    "only rules": (["-" * 9] * 8, ["---", "---", "---"]),
}  # fmt: skip


def drawn(entry: Entry, width: int = 80) -> list[str]:
    lines = RENDERER.entry(entry, width)
    return ["".join(part.text for part in line).rstrip() for line in lines]


@pytest.mark.parametrize(("output", "expected"), OUTPUTS.values(), ids=OUTPUTS)
def test_the_lines_that_tell_most_are_chosen(output, expected):
    chosen = telling_lines(output, 3)
    assert chosen[-3:] == sorted(chosen)
    assert len(chosen) == 3
    for number, text in zip(chosen, expected, strict=True):
        assert text in output[number]


def test_output_is_folded_to_three_lines_and_a_count():
    entry = Entry("tool", title="make", name="shell", body="\n".join(OUTPUTS["compiler"][0]))
    entry.state = "ok"
    assert drawn(entry)[1:] == [
        "  … 39 more lines", "  a.c:3:5: error: 'x' undeclared", "  cc -c y.c",
        "  make: *** [Makefile:2: a.o] Error 1",
    ]  # fmt: skip
    entry.is_open = True
    assert len(drawn(entry)) == 1 + 42


def test_a_count_never_replaces_a_single_line_and_blank_ends_count_for_nothing():
    entry = Entry("tool", title="ls", name="shell", body="a\nb\nc\nd\n\n\n", state="ok")
    assert drawn(entry)[1:] == ["  a", "  b", "  c", "  d"]


@pytest.mark.parametrize("lines", [5, 17])
def test_an_error_is_not_folded(lines):
    body = "".join(f"line {n}\n" for n in range(lines))
    entry = Entry("tool", title="x", name="read", body=body, state="failed")
    assert len(drawn(entry)) == 1 + lines


def test_a_long_error_shows_its_first_errors_and_its_end():
    output = [*DOTS, "a.c:1: error: first", *DOTS, "a.c:9: error: second", *DOTS, "make: Error 1"]
    entry = Entry("tool", title="x", name="shell", body="\n".join(output), state="failed")
    shown = drawn(entry)
    assert len(shown) == 18
    assert "a.c:1: error: first" in shown[2]
    assert shown[-1] == "  make: Error 1"
    assert shown.count("  … 167 more lines") == 1


def test_the_count_stands_where_most_lines_are_left_out():
    numbers = "\n".join(map(str, range(1, 201)))
    entry = Entry("tool", title="seq", name="shell", body=numbers, state="ok")
    assert drawn(entry)[1:] == ["  … 197 more lines", "  198", "  199", "  200"]


@pytest.mark.parametrize("name", ["read", "search", "symbols"])
def test_what_only_the_model_needs_stays_one_line(name):
    entry = Entry("tool", title=name, name=name, body="1\n2\n3\n", summary="3 lines", state="ok")
    assert len(drawn(entry)) == 1


def test_output_that_the_summary_repeats_is_not_shown_twice():
    entry = Entry("tool", title="pytest", name="shell", body="24 passed\n", state="ok")
    entry.summary = "24 passed"
    assert len(drawn(entry)) == 1


def test_a_pasted_message_is_folded_and_copied_whole():
    body = "look:\n" + "\n".join(f"line {n}" for n in range(500)) + "\nwhy does it stop?"
    entry = Entry("user", body=body)
    shown = drawn(entry)
    assert len(shown) == 12
    assert shown[1] == "❯ look:"
    assert "  … 492 more lines  ▸" in shown
    assert shown[-1] == "  why does it stop?", "a question is often typed after a paste"
    assert entry.text == body
    entry.is_open = True
    assert len(drawn(entry)) == 503


def test_the_end_of_one_long_line_is_shown_too():
    shown = drawn(Entry("user", body="x" * 9_000 + " and why?"))
    assert shown[-1].endswith("and why?")
    assert "  … 1 more line  ▸" in shown


def test_what_failed_is_whole_at_any_width():
    body = "E   assert Decimal('3.00') == Decimal('6.00'), the voucher is not taken off\n[exit 1]"
    entry = Entry("tool", title="pytest", name="shell", body=body, summary="exit 1", state="failed")
    assert "the voucher is not taken off" in " ".join(" ".join(drawn(entry, 40)).split())
    entry.state = "ok"
    assert len(drawn(entry, 40)) == 2, "a line of other output is cut"


@pytest.mark.parametrize("body", ["x" * 100_000, "y " * 50_000, "\n".join(["z" * 9_000] * 9)])
def test_a_message_of_very_long_lines_is_folded_too(body):
    shown = drawn(Entry("user", body=body))
    assert len(shown) < 80
    assert " …" in "".join(shown)


def test_the_exit_code_is_not_shown_twice():
    entry = Entry("tool", title="x", name="shell", body="no\n[exit 1]", state="failed")
    entry.summary = "exit 1"
    assert drawn(entry)[1:] == ["  no"]


@pytest.mark.slow
async def test_a_click_on_the_count_expands_and_keys_do_too():
    app = SceneApp()
    async with app.run_test(size=(80, 30)) as pilot:
        app.happen(
            UserMessage(text="\n".join(f"line {n}" for n in range(20))),
            ToolStarted(call_id="a", name="shell", title="make"),
            ToolFinished(call_id="a", name="shell", title="make", ok=True, summary="",
                         content="".join(f"step {n}\n" for n in range(9))),
        )  # fmt: skip

        def rows() -> list[str]:
            return [app.transcript.render_line(y).text.strip("▌ ") for y in range(30)]

        while "… 6 more lines" not in rows():
            await pilot.pause(0.01)
        assert await pilot.click("#transcript", offset=(6, rows().index("… 6 more lines")))
        await pilot.pause()
        assert "step 0" in rows()
        assert "line 16" not in rows()
        app.transcript.select(0)
        await pilot.press("enter")
        await pilot.pause()
        assert app.transcript.entries[0].is_open
