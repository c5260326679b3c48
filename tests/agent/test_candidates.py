"""Tries beyond a model's one reply: repairs of one line, and replies side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from laguna_agent.agent import candidates
from laguna_agent.agent.line_repairs import spliced
from laguna_agent.events import CheckRan, Reply, SystemNote
from support.candidates import RIGHT, TASK, TEST, WRONG, Writer, fill, repaired, written
from support.scripted import call, end_of, results_of, take

Opened = Callable[..., Any]
CHECK = "python3 test_calc.py"


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return fill(tmp_path / "repo")


def replies_of(events: list[Any]) -> list[Reply]:
    return [event for event in events if isinstance(event, Reply)]


async def opened_writer(
    opened: Opened, script: list[Reply], varied: Sequence[str] = (), *rounds: list[Reply]
) -> tuple[Any, Writer]:
    session, conversation = await opened(script, pack="small", conversation=Writer)
    assert isinstance(conversation, Writer)
    conversation.varied, conversation.rounds = list(varied), list(rounds)
    return session, conversation


# --- repairs of one line ------------------------------------------------------------------------


async def test_a_likely_change_of_one_line_is_tried_before_the_model_writes(
    opened: Opened, workspace: Path
) -> None:
    session, conversation = await opened_writer(
        opened, [call("done", summary="")], repaired("a * a - b", "a + b", "b")
    )
    events = await take(session, TASK)
    assert end_of(events).status == "done"
    assert (workspace / "calc.py").read_text() == RIGHT
    assert conversation.played == 0
    assert len(results_of(events)) == 2, "the third one is not needed"
    assert end_of(events).usage.completion_tokens == 30
    assert "Line 6 of calc.py" in replies_of(events)[-1].text
    entries = [e for e in conversation.entries if isinstance(e, Reply)]
    assert len(entries) == 1, "what failed is not in the prompt"


async def test_the_model_writes_when_no_change_of_one_line_passes(
    opened: Opened, workspace: Path
) -> None:
    session, conversation = await opened_writer(
        opened, [written("b + a")], repaired(*(f"a - {n}" for n in range(30)))
    )
    events = await take(session, TASK)
    assert end_of(events).status == "done"
    assert [(v.first, v.count) for v in conversation.variations_asked] == [(0, 4), (4, 20)]
    assert len([e for e in events if isinstance(e, CheckRan)]) == 1 + 24 + 1
    assert conversation.played == 1
    assert not [e for e in conversation.entries if "failed" in getattr(e, "content", "")]
    assert conversation.options[0].sampling.temperature == 0, "its own first try is its best"
    assert (workspace / "calc.py").read_text() == WRONG.replace("a - b", "b + a")


async def test_tests_and_comments_stay_as_they_are(opened: Opened, workspace: Path) -> None:
    session, conversation = await opened_writer(opened, [written("a + b")])
    await take(session, TASK)
    assert [variation.text for variation in conversation.variations_asked] == [WRONG] * 2
    data = WRONG.encode()
    skipped = [data[start:end] for start, end in conversation.variations_asked[0].skip]
    assert sorted(skipped) == [b'"""Sums."""', b"# add them"]


@pytest.mark.parametrize(
    ("task", "code"),
    [
        ("Add mean(values) to calc.py so that `python3 test_calc.py` passes.", WRONG),
        (TASK, "def add(a, b):\n    raise NotImplementedError\n"),
        (TASK, "def sub(a, b):\n    return a - b\n"),
        ("What is wrong in calc.py?", WRONG),
    ],
)
async def test_where_something_is_missing_no_line_is_repaired(
    opened: Opened, workspace: Path, task: str, code: str
) -> None:
    (workspace / "calc.py").write_text(code)
    session, conversation = await opened_writer(
        opened, [call("write", path="calc.py", content=RIGHT), call("done", summary="so")]
    )
    await take(session, task)
    assert not conversation.variations_asked


async def test_what_does_not_parse_or_changes_nothing_is_not_tried(
    opened: Opened, workspace: Path
) -> None:
    varied = [*repaired("a +* b", "a - b", "(a + b"), *repaired("a + b")]
    session, _ = await opened_writer(opened, [written("0")], varied)
    events = await take(session, TASK)
    assert len(results_of(events)) == 1
    assert end_of(events).status == "done"


async def test_a_slow_check_is_not_run_for_every_change(
    opened: Opened, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "_CHECKS_S", 0.0)
    session, conversation = await opened_writer(opened, [written("a + b")], repaired("a + b"))
    events = await take(session, TASK)
    assert end_of(events).status == "done"
    assert conversation.played == 1


async def test_a_mistake_that_is_copied_without_a_check_is_changed_where_it_is_likeliest(
    opened: Opened, workspace: Path
) -> None:
    copied = call("write", path="calc.py", content=WRONG)
    script = [copied, call("done", summary="fixed")]
    session, conversation = await opened_writer(opened, script, repaired("a +* b", "a + b", "b"))
    events = await take(session, "add in calc.py gives a wrong sum. Fix it.")
    assert end_of(events).status == "done"
    assert (workspace / "calc.py").read_text() == RIGHT
    assert [reply.discarded for reply in replies_of(events)] == [True, False, False]
    assert [(v.first, v.count) for v in conversation.variations_asked] == [(0, 3)]


async def test_a_mistake_that_is_copied_again_is_not_changed_again(
    opened: Opened, workspace: Path
) -> None:
    script = [call("write", path="calc.py", content=WRONG)] * 2
    session, conversation = await opened_writer(opened, script, repaired("a * b"))
    await take(session, "add in calc.py gives a wrong sum. Fix it.")
    assert len(conversation.variations_asked) == 1


async def test_where_nothing_is_to_be_fixed_a_copy_is_written_otherwise(
    opened: Opened, workspace: Path
) -> None:
    script = [call("write", path="calc.py", content=WRONG), call("done", summary="as it was")]
    session, conversation = await opened_writer(opened, script, repaired("a + b"))
    events = await take(session, "Write calc.py with add(a, b).")
    assert not conversation.variations_asked
    assert [reply.discarded for reply in replies_of(events)] == [True, False]


async def test_a_name_that_is_undefined_is_corrected_by_a_change_of_one_line(
    opened: Opened, workspace: Path
) -> None:
    content = WRONG.replace("a - b", "a + c")
    script = [call("write", path="calc.py", content=content), call("done", summary="added")]
    varied = repaired("a - c", "a + d", "a + b", "a")
    session, conversation = await opened_writer(opened, script, varied)
    events = await take(session, "Let add in calc.py return the sum.")
    assert end_of(events).status == "done"
    assert (workspace / "calc.py").read_text() == RIGHT
    assert [reply.composed for reply in replies_of(events)] == [False, True, False]
    assert [(v.text, v.first, v.count) for v in conversation.variations_asked] == [(content, 0, 16)]


async def test_an_undefined_name_that_no_change_of_one_line_corrects_is_left_to_the_model(
    opened: Opened, workspace: Path
) -> None:
    wrong = call("write", path="calc.py", content=WRONG.replace("a - b", "a + c"))
    right = call("write", path="calc.py", content=RIGHT)
    script = [wrong, right, call("done", summary="added")]
    session, conversation = await opened_writer(opened, script, repaired("a - c", "d"))
    events = await take(session, "Let add in calc.py return the sum.")
    assert (workspace / "calc.py").read_text() == RIGHT
    assert len(conversation.variations_asked) == 1
    assert end_of(events).usage.completion_tokens == 3 * 10 + 20


async def test_without_a_check_nothing_is_tried(opened: Opened, workspace: Path) -> None:
    script = [written("a + b"), call("done", summary="fixed")]
    session, conversation = await opened_writer(opened, script, repaired("a + b"))
    await take(session, "add in calc.py gives a wrong sum. Fix it.")
    assert not conversation.variations_asked


LINES = "one\ntwo\nthree\nfour\nfive\n"


@pytest.mark.parametrize(
    ("variation", "result"),
    [
        ("one\nTWO\nthree\n", "one\nTWO\nthree\nfour\nfive\n"),  # replaced
        ("one\nnew\ntwo\n", "one\nnew\ntwo\nthree\nfour\nfive\n"),  # added
        ("one\nthree\nfour\n", "one\nthree\nfour\nfive\n"),  # left out
        ("one\nTWO\nfour\n", "one\nTWO\nfour\nfive\n"),  # two lines become one
        ("one\nTWO\nelse\n", "one\nTWO\nthree\nfour\nfive\n"),  # never back: only this line
        ("one\nTWO\nthr", "one\nTWO\nthree\nfour\nfive\n"),  # cut within a line
        ("one\ntwo\nthree\nfour\nFIVE", "one\ntwo\nthree\nfour\nfive\n"),  # its line is not whole
        ("one\ntwo\nthree\nfour\nfive\n", LINES),
        ("", LINES),
        ("ONE", "ONE"),
    ],
)
def test_a_variation_stands_for_the_lines_that_it_replaces(variation: str, result: str) -> None:
    if variation == "ONE":
        assert spliced("one", variation) == result
        return
    assert spliced(LINES, variation) == result


# --- replies side by side -----------------------------------------------------------------------


async def test_after_a_failure_several_replies_are_written_and_tried_in_turn(
    opened: Opened, workspace: Path
) -> None:
    four = [written("a"), written("b"), written("a + b"), written("0")]
    session, conversation = await opened_writer(opened, [written("a * b - 1")], (), four)
    events = await take(session, TASK)
    assert end_of(events).status == "done"
    assert (workspace / "calc.py").read_text() == RIGHT
    assert conversation.played == 1
    assert len({sampling.seed for sampling in conversation.samplings[0]}) == 4
    replies = replies_of(events)
    assert [reply.discarded for reply in replies] == [False] * 4 + [True], "the last: not tried"
    assert end_of(events).usage.completion_tokens == 10 + 4 * 20
    notes = [event for event in events if isinstance(event, SystemNote)]
    assert [note.reason for note in notes] == ["again"], "one prompt serves all four"
    tries = [e for e in conversation.entries if isinstance(e, Reply)]
    assert len(tries) == 1


async def test_what_was_tried_or_is_no_call_is_discarded(opened: Opened, workspace: Path) -> None:
    first, same = written("a * b - 1"), written("b")
    cut = written("1")
    cut.finish_reason = "length"
    four = [first, same, same, Reply(text="I give up.")]
    session, conversation = await opened_writer(
        opened, [first], (), four, [cut, written("a + b"), same, first]
    )
    events = await take(session, TASK)
    assert end_of(events).status == "done"
    tried = [reply.tool_calls[0] for reply in replies_of(events) if not reply.discarded]
    assert len(tried) == 3
    assert len(conversation.samplings) == 2


async def test_replies_that_bring_nothing_new_end_the_turn(opened: Opened, workspace: Path) -> None:
    first = written("a * b - 1")
    session, conversation = await opened_writer(opened, [first], (), [first] * 4)
    events = await take(session, TASK)
    end = end_of(events)
    assert end.status == "failed"
    assert end.error == f"`{CHECK}` still fails: its tries no longer differ"
    assert len(conversation.samplings) == 2
    seeds = {sampling.seed for some in conversation.samplings for sampling in some}
    assert len(seeds) == 8
    assert (workspace / "calc.py").read_text() != RIGHT


async def test_after_four_copies_of_the_mistake_four_more_are_written(
    opened: Opened, workspace: Path
) -> None:
    first = written("a * b - 1")
    session, _ = await opened_writer(opened, [first], (), [first] * 4, [first, written("a + b")])
    assert end_of(await take(session, TASK)).status == "done"
    assert (workspace / "calc.py").read_text() == RIGHT


async def test_a_reply_that_changes_nothing_gives_way_to_the_next(
    opened: Opened, workspace: Path
) -> None:
    four = [written("a - 0", "test_calc.py"), written("a + b")]
    session, _ = await opened_writer(opened, [written("a * b - 1")], (), four)
    events = await take(session, TASK)
    assert end_of(events).status == "done"
    assert (workspace / "test_calc.py").read_text() == TEST


DOCUMENTED = '''def add(a, b):
    """The sum.

    >>> add(2, 2)
    4
    """
    return EXPRESSION
'''


def documented(expression: str) -> Reply:
    content = DOCUMENTED.replace("EXPRESSION", expression)
    return call("write", path="calc.py", content=content)


async def test_examples_in_documentation_decide_between_replies_where_there_is_no_check(
    opened: Opened, workspace: Path
) -> None:
    (workspace / "calc.py").write_text(DOCUMENTED.replace("EXPRESSION", "None"))
    four = [documented("a"), documented("a - b"), documented("a + b"), documented("b")]
    script = [documented("a * b + 1"), call("done", summary="It adds.")]
    session, conversation = await opened_writer(opened, script, (), four)
    events = await take(session, "Write the function add in calc.py as its documentation says.")
    assert end_of(events).status == "done"
    assert "return a + b" in (workspace / "calc.py").read_text()
    assert len(conversation.samplings) == 1
    written_replies = [reply for reply in replies_of(events) if reply.tool_calls[0].name == "write"]
    assert [reply.discarded for reply in written_replies] == [False] * 4 + [True]


async def test_the_first_try_stays_when_those_for_examples_no_longer_differ(
    opened: Opened, workspace: Path
) -> None:
    (workspace / "calc.py").write_text(DOCUMENTED.replace("EXPRESSION", "None"))
    session, _ = await opened_writer(opened, [documented("a")], (), [documented("a")] * 4)
    events = await take(session, "Write the function add in calc.py as its documentation says.")
    assert end_of(events).status == "failed"
    assert "`add(2, 2)` should give 4 but gives 2" in (end_of(events).error or "")
    assert "return a\n" in (workspace / "calc.py").read_text()


async def test_a_conversation_goes_on_after_several_tries(opened: Opened, workspace: Path) -> None:
    four = [written("a"), written("a + b")]
    script = [written("b"), call("done", summary="I added.")]
    session, conversation = await opened_writer(opened, script, (), four)
    await take(session, TASK)
    assert end_of(await take(session, "What did you do?")).status == "done"
    assert len([e for e in conversation.entries if isinstance(e, Reply)]) == 2
