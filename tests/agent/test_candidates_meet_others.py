"""Tries beyond a model's one reply amid limits, people, hooks, other programs, odd files."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from laguna_agent.agent import candidates
from laguna_agent.agent.approval import Approval
from laguna_agent.errors import ContextFullError, ModelError
from laguna_agent.events import (
    CheckRan,
    Event,
    Reply,
    StepStarted,
    ToolFinished,
    ToolStarted,
    UserMessage,
)
from laguna_agent.interfaces.progress import ProgressPrinter
from laguna_agent.interfaces.tui.transcript.transcript_model import Entry, TranscriptModel
from laguna_agent.models.conversation import Message
from laguna_agent.trajectory.atif import write_atif
from support.atif import Document
from support.candidates import RIGHT, TASK, WRONG, Writer, fill, repaired, written
from support.scripted import call, end_of, results_of, take

Opened = Callable[..., Any]


class Person:
    """Answers every question the same."""

    def __init__(self, answer: str) -> None:
        self.answer = Approval(answer)  # type: ignore[arg-type]  # literals
        self.asked: list[str] = []

    async def __call__(self, request: Any, *_: Any, **__: Any) -> Approval:
        self.asked.append(request.tool)
        return self.answer


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return fill(tmp_path / "repo")


async def opened_writer(
    opened: Opened,
    script: Sequence[Any],
    varied: Sequence[str] = (),
    *rounds: list[Reply],
    **settings: Any,
) -> tuple[Any, Writer]:
    session, conversation = await opened(script, pack="small", conversation=Writer, **settings)
    conversation.varied, conversation.rounds = list(varied), list(rounds)
    return session, conversation


def checks_of(events: list[Any]) -> list[CheckRan]:
    return [event for event in events if isinstance(event, CheckRan)]


# --- limits -------------------------------------------------------------------------------------


async def test_changes_of_one_line_leave_the_model_its_steps(
    opened: Opened, workspace: Path
) -> None:
    session, conversation = await opened_writer(
        opened,
        [written("a + b")],
        repaired(*(f"a - {n}" for n in range(9))),
        flags={"limits": {"steps": 1}},
    )
    events = await take(session, TASK)
    assert (end_of(events).status, end_of(events).steps) == ("done", 1)
    assert len([event for event in events if isinstance(event, StepStarted)]) == 1
    assert conversation.played == 1


async def test_all_checks_of_changes_together_take_no_more_than_their_time(
    opened: Opened, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def watch(event: Event) -> None:
        if isinstance(event, ToolFinished):
            monkeypatch.setattr(candidates, "_CHECKS_S", 0.0)

    session, _ = await opened_writer(
        opened, [written("a + b")], repaired(*(f"a - {n}" for n in range(30)))
    )
    events = await take(session, TASK, watch=watch)
    assert len(checks_of(events)) == 1 + 1 + 1, "the first, that of a change, that of the model"


async def test_a_change_whose_check_never_ends_is_given_up_soon(
    opened: Opened, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "_LEAST_S", 0.3)
    endless = "next(iter(int, 1)) or [0 for n in iter(int, 1)]"
    session, _ = await opened_writer(opened, [written("0")], repaired(endless, "a + b"))
    events = await take(session, TASK)
    assert end_of(events).status == "done"
    assert [ran.exit_code for ran in checks_of(events)][1:] == [124, 0]


async def test_what_looking_for_changes_took_counts_when_none_is_found(
    opened: Opened, workspace: Path
) -> None:
    session, _ = await opened_writer(opened, [written("a + b")], repaired("a +* b"))
    events = await take(session, TASK)
    assert end_of(events).usage.completion_tokens == 10 + 10


# --- people -------------------------------------------------------------------------------------


async def test_nobody_is_asked_about_changes_of_one_line(opened: Opened, workspace: Path) -> None:
    person = Person("once")
    session, conversation = await opened_writer(
        opened, [written("a + b")], repaired("a * 0", "a + b"), mode="ask", approver=person
    )
    events = await take(session, TASK)
    assert end_of(events).status == "done"
    assert person.asked == ["done", "write"], "the check, and the model's own edit"
    assert not conversation.variations_asked


async def test_a_no_to_one_of_several_replies_is_heard(opened: Opened, workspace: Path) -> None:
    answers = iter([Approval("once"), Approval("once"), Approval("no", reason="use sum()")])

    class Person:
        asked = 0

        async def __call__(self, *_: Any, **__: Any) -> Approval:
            self.asked += 1
            return next(answers, Approval("once"))

    person = Person()
    four = [written("a"), written("b"), written("0"), written("1")]
    session, conversation = await opened_writer(
        opened,
        [written("a * b - 1")],
        (),
        four,
        [written("sum((a, b))")],
        mode="ask",
        approver=person,
    )
    events = await take(session, TASK)
    assert any("use sum()" in result.content for result in results_of(events))
    assert "use sum()" in conversation.prompts[1], "the next replies follow it"


async def test_what_the_user_says_between_tries_stays(opened: Opened, workspace: Path) -> None:
    session, conversation = await opened_writer(
        opened,
        [written("b"), written("a * 3")],
        repaired("a * 0", "a - 0", "b - a"),
        [written("0"), written("a + b")],
    )

    def watch(event: Event) -> None:
        if isinstance(event, ToolFinished) and not said:
            said.append(1)
            session.steer("Keep the name add.")

    said: list[int] = []
    events = await take(session, TASK, watch=watch)
    assert end_of(events).status == "done"
    assert conversation.prompt.count("Keep the name add.") == 1
    assert len(results_of(events)) == 1 + 1 + 2, "what was found before is not tried any more"
    assert any(isinstance(e, UserMessage) and e.origin == "steer" for e in events)


async def test_replies_written_before_the_user_spoke_are_not_tried(
    opened: Opened, workspace: Path
) -> None:
    four = [written("a"), written("0"), written("1")]
    session, conversation = await opened_writer(
        opened, [written("b")], (), four, [written("a + b")]
    )

    def watch(event: Event) -> None:
        if isinstance(event, ToolFinished):
            count.append(1)
            if len(count) == 2:
                session.steer("Keep the name add.")

    count: list[int] = []
    events = await take(session, TASK, watch=watch)
    assert end_of(events).status == "done"
    assert len(conversation.samplings) == 2
    assert conversation.prompt.count("Keep the name add.") == 1


async def test_plan_mode_ends_changes_of_one_line(opened: Opened, workspace: Path) -> None:
    session, _ = await opened_writer(
        opened,
        [Reply(text="I would add.")],
        repaired("a * 0", "a - 0", "a + b"),
    )

    def watch(event: Event) -> None:
        if isinstance(event, ToolFinished):
            session.set_mode("plan")

    events = await take(session, TASK, watch=watch)
    assert len(results_of(events)) == 1
    assert (workspace / "calc.py").read_text() == WRONG


async def test_a_change_that_is_only_a_guess_does_not_outlive_an_interruption(
    opened: Opened, workspace: Path
) -> None:
    session, conversation = await opened_writer(
        opened, [call("done", summary="")], repaired("a * 0", "a + b")
    )

    def watch(event: Event) -> None:
        if isinstance(event, ToolFinished):
            session.cancel()

    events = await take(session, TASK, watch=watch)
    assert end_of(events).status == "interrupted"
    assert (workspace / "calc.py").read_text() == WRONG
    assert end_of(events).files_changed == []
    assert not [e for e in conversation.entries if isinstance(e, Reply)]
    events = await take(session, "What is left to do?")
    assert end_of(events).status == "done"


# --- hooks and policy ---------------------------------------------------------------------------


async def test_work_that_a_hook_adds_starts_from_what_passed(
    opened: Opened, workspace: Path
) -> None:
    command = 'test -e seen || { touch seen; echo \'{"continue": "Say so."}\'; }'
    flags = {"hooks": [{"on": "turn_end", "command": command}]}
    four = [written("a + b"), written("0"), written("1")]
    session, _ = await opened_writer(
        opened, [written("b"), call("done", summary="It adds.")], (), four, flags=flags
    )
    events = await take(session, TASK)
    assert (workspace / "calc.py").read_text() == RIGHT
    assert end_of(events).status == "done", end_of(events)


async def test_where_a_hook_refuses_a_change_no_other_is_tried(
    opened: Opened, workspace: Path
) -> None:
    flags = {"hooks": [{"on": "before_tool", "command": 'echo \'{"deny": "Not now."}\''}]}
    session, conversation = await opened_writer(
        opened, [Reply(text="I may not.")], repaired("a * 0", "a + b", "b"), flags=flags
    )
    events = await take(session, TASK)
    assert len([r for r in results_of(events) if r.denied]) == 1
    assert conversation.played >= 1


async def test_a_file_that_may_not_be_written_is_not_changed_line_by_line(
    opened: Opened, workspace: Path
) -> None:
    flags = {"policy": {"rules": [{"verdict": "deny", "path": "calc.py"}]}}
    session, conversation = await opened_writer(
        opened, [Reply(text="I may not.")], repaired("a + b"), flags=flags
    )
    await take(session, TASK)
    assert not conversation.variations_asked


# --- other programs -----------------------------------------------------------------------------


async def test_what_another_program_writes_between_tries_is_not_overwritten(
    opened: Opened, workspace: Path
) -> None:
    session, conversation = await opened_writer(
        opened,
        [written("a + b"), call("done", summary="")],
        repaired("a * 0", "a - 0", "b - a"),
    )
    theirs = WRONG + "\n\ndef twice(a):\n    return 2 * a\n"

    def watch(event: Event) -> None:
        if isinstance(event, ToolStarted) and conversation.entries:
            started.append(1)
        if isinstance(event, Reply) and len(started) == 1:
            (workspace / "calc.py").write_text(theirs)

    started: list[int] = []
    events = await take(session, TASK, watch=watch)
    assert "def twice" in (workspace / "calc.py").read_text(), end_of(events)
    refused = [r for r in results_of(events) if not r.ok and r.name == "write"]
    assert len(refused) == 2, "a change of one line, and what the model wrote unseen"


# --- an engine that cannot ----------------------------------------------------------------------


@pytest.mark.parametrize("error", [ModelError("no memory"), ContextFullError(9, 9, 9)])
async def test_an_engine_that_cannot_find_changes_or_write_side_by_side_writes_alone(
    opened: Opened, workspace: Path, error: Exception
) -> None:
    session, conversation = await opened_writer(
        opened, [written("b"), written("a"), written("a + b")], repaired("a + b")
    )
    conversation.fails = error
    events = await take(session, TASK)
    assert end_of(events).status == "done"
    assert conversation.played == 3


# --- the record ---------------------------------------------------------------------------------


async def test_a_session_goes_on_and_is_exported_after_a_change_of_one_line(
    opened: Opened, workspace: Path
) -> None:
    session, _ = await opened_writer(opened, [Reply(text="")], repaired("a * 0", "a + b"))
    await take(session, TASK)
    name, out = session.trajectory.id, io.StringIO()
    write_atif(session.trajectory, out, session=name)
    steps = Document.model_validate_json(out.getvalue()).steps
    assert [s.llm_call_count for s in steps if s.source == "agent"] == [0], "nothing was sampled"
    await session.undo()
    assert (workspace / "calc.py").read_text() == WRONG
    await session.aclose()
    again, conversation = await opened_writer(opened, [Reply(text="I added.")], resume=name)
    assert end_of(await take(again, "What did you do?")).status == "done"
    assert [type(entry) for entry in conversation.entries[:2]] == [Message, Reply]


async def test_replies_that_were_not_needed_are_no_repetitions(
    opened: Opened, workspace: Path
) -> None:
    four = [written("a"), Reply(text="Hm."), written("a + b"), written("9")]
    session, _ = await opened_writer(opened, [written("b")], (), four)
    events = await take(session, TASK)
    assert [r.discarded for r in events if isinstance(r, Reply)].count(True) == 2
    shown = io.StringIO()
    printer = ProgressPrinter(shown)
    entries: list[Entry] = []
    model = TranscriptModel(entries.append, lambda entry: None, lambda entry: None)
    for event in events:
        printer.show(event)
        model.apply(event)
    assert "repeats" not in shown.getvalue()
    assert not [entry for entry in entries if "repeated" in entry.title]
    assert not [entry for entry in entries if entry.body == "Hm."]


# --- files --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"\xef\xbb\xbf", b""),
        (b"", b"\r\n"),
        (b"# \x0c of sums\n\x0c\n", b""),
        ("SEP = '\u2028\x85'\n".encode(), b""),
        (b"\t\n", b""),
    ],
)
async def test_the_rest_of_a_file_keeps_its_bytes(
    opened: Opened, workspace: Path, before: bytes, after: bytes
) -> None:
    data = before + WRONG.encode()
    if after:
        data = data.replace(b"\n", after)
    (workspace / "calc.py").write_bytes(data)
    session, conversation = await opened_writer(opened, [call("done", summary="")])
    text = data.decode().removeprefix("\ufeff").replace("\r\n", "\n")
    conversation.varied = [text[: text.index("a - b")] + "a + b\n"]
    events = await take(session, TASK)
    assert end_of(events).status == "done", end_of(events)
    assert conversation.played == 0
    assert (workspace / "calc.py").read_bytes() == data.replace(b"a - b", b"a + b")


async def test_a_file_without_a_last_line_end_stays_so(opened: Opened, workspace: Path) -> None:
    (workspace / "calc.py").write_text(WRONG.rstrip())
    session, conversation = await opened_writer(
        opened, [call("done", summary="")], [WRONG[: WRONG.index("a - b")] + "a + b\n"]
    )
    await take(session, TASK)
    assert conversation.played == 0
    assert (workspace / "calc.py").read_text() == RIGHT.rstrip()


async def test_empty_files_are_not_asked_about(opened: Opened, workspace: Path) -> None:
    (workspace / "__init__.py").write_text("")
    session, conversation = await opened_writer(opened, [written("a + b")])
    await take(session, TASK)
    assert {variation.text for variation in conversation.variations_asked} == {WRONG}
