"""Turns with a scripted model, and real tools, policy, shell and record."""

from __future__ import annotations

import asyncio
import io
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from laguna_agent.agent import retries
from laguna_agent.events import (
    CheckRan,
    Event,
    Notice,
    Reply,
    Rewound,
    StepStarted,
    TurnFinished,
    UserMessage,
)
from laguna_agent.tools.read import ReadTool
from laguna_agent.trajectory.document import write_markdown
from laguna_agent.trajectory.store import Trajectory
from support.scripted import call, calls, end_of, results_of, take

Opened = Callable[..., Any]
BROKEN = "def double(x):\n    return x + x + 1\n"
FIXED = "def double(x):\n    return 2 * x\n"
TEST = (
    "import unittest\nfrom doubling import double\n\n\n"
    "class DoubleTest(unittest.TestCase):\n    def test_two(self):\n"
    "        self.assertEqual(double(2), 4)\n"
)
CHECK = "python3 -m unittest -q test_code.py"


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # What checks compile would count as changed: there is no .gitignore here.
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    root = tmp_path / "repo"
    root.mkdir()
    (root / "doubling.py").write_text(BROKEN)
    (root / "test_code.py").write_text(TEST)
    return root


async def test_an_answer_without_calls_ends_the_turn(opened: Opened) -> None:
    session, _ = await opened([Reply(text="It doubles x.")])
    finished = end_of(await take(session, "What does the code do?"))
    assert (finished.status, finished.summary) == ("done", "It doubles x.")


async def test_the_first_message_shows_files_that_the_task_names(opened: Opened) -> None:
    session, conversation = await opened([Reply(text="ok")])
    await take(session, "Explain doubling.py")
    assert BROKEN in conversation.prompt
    assert "Explain doubling.py" in conversation.prompt


async def test_a_tool_result_is_appended_and_done_ends_the_turn(opened: Opened) -> None:
    session, conversation = await opened(
        [call("read", path="test_code.py"), call("done", summary="Looked.")]
    )
    finished = end_of(await take(session, "Look around"))
    assert finished.status == "done"
    assert finished.steps == 2
    assert "class DoubleTest" in conversation.prompt


async def test_reading_calls_run_at_the_same_time_and_keep_their_order(opened: Opened) -> None:
    session, conversation = await opened(
        [
            calls(("read", {"path": "test_code.py"}), ("read", {"path": "doubling.py"})),
            call("done", summary="x"),
        ]
    )
    await take(session, "Look")
    tools = [e for e in conversation.entries if getattr(e, "role", "") == "tool"]
    assert "DoubleTest" in tools[0].content
    assert "def double" in tools[1].content


async def test_done_is_refused_while_the_check_fails(opened: Opened, workspace: Path) -> None:
    session, conversation = await opened(
        [
            call("done", summary="It works."),
            call("write", path="doubling.py", content=FIXED),
            call("done", summary="Fixed double."),
        ]
    )
    events = await take(session, f"Fix double. Check: {CHECK}")
    finished = end_of(events)
    assert [result.ok for result in results_of(events)] == [False, True, True], results_of(events)
    assert finished.status == "done"
    assert finished.files_changed == ["doubling.py"]
    assert "AssertionError" in conversation.prompt


@pytest.mark.parametrize(
    "task", ["What does test_code.py check?", "Explain what `make test` does. Do not run it"]
)
async def test_a_question_about_a_test_runs_nothing_and_its_answer_ends_the_turn(
    opened: Opened, task: str
) -> None:
    session, conversation = await opened([Reply(text="It checks double.")])
    events = await take(session, task)
    assert end_of(events).status == "done"
    assert not any(isinstance(event, CheckRan | Notice) for event in events)
    assert len(conversation.options) == 1


async def test_a_command_that_is_too_doubtful_to_be_the_check_is_mentioned(opened: Opened) -> None:
    session, _ = await opened([Reply(text="I see.")])
    events = await take(session, "Verify that `make test` passes")
    assert not any(isinstance(event, CheckRan) for event in events)
    [notice] = [event for event in events if isinstance(event, Notice)]
    assert notice.text.startswith("`make test` is not taken as the check of this task.")


async def test_the_check_of_the_command_line_is_that_of_every_task(opened: Opened) -> None:
    session, _ = await opened([call("done", summary="x"), Reply(text="I give up.")], check="false")
    finished = end_of(await take(session, "What does test_code.py check?"))
    assert finished.status == "failed"


async def test_a_passing_check_ends_the_turn_of_a_small_model(opened: Opened) -> None:
    session, conversation = await opened(
        [call("write", path="doubling.py", content=FIXED)], pack="small"
    )
    events = await take(session, "Fix the failing test in test_code.py")
    assert end_of(events).status == "done"
    assert [e.exit_code for e in events if isinstance(e, CheckRan)] == [1, 0]
    assert conversation.options[0].allowed == ["write"]
    assert list(conversation.options[0].files["write"]) == ["doubling.py"]


async def test_a_small_model_starts_over_after_a_failed_check(
    opened: Opened, workspace: Path
) -> None:
    wrong = [BROKEN.replace("+ 1", f"+ {n}") for n in (2, 3)]
    session, conversation = await opened(
        [
            *(call("write", path="doubling.py", content=text) for text in wrong),
            call("write", path="doubling.py", content=FIXED),
        ],
        pack="small",
    )
    events = await take(session, "Fix the failing test in test_code.py")
    assert end_of(events).status == "done"
    assert any(isinstance(event, Rewound) for event in events)
    # What failed is no longer in the prompt, and the third reply was drawn more freely.
    assert "+ 3" not in conversation.prompt
    assert (
        conversation.options[2].sampling.temperature > conversation.options[0].sampling.temperature
    )
    assert (workspace / "doubling.py").read_text() == FIXED


@pytest.mark.slow
async def test_a_check_that_never_passes_ends_as_failed(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "_LEAST_S", 0.5)
    monkeypatch.setattr(retries, "_MOST_S", 0.5)
    numbers = iter(range(2, 100))

    def wrong() -> Reply:
        text = BROKEN.replace("+ 1", f"+ {next(numbers)}")
        return call("write", path="doubling.py", content=text)

    session, _ = await opened([wrong], pack="small")
    finished = end_of(await take(session, "Fix the failing test in test_code.py"))
    assert finished.status == "failed"
    assert "still fails" in (finished.error or "")


async def test_a_test_is_not_changed_to_make_it_pass(opened: Opened, workspace: Path) -> None:
    session, _ = await opened(
        [
            call("write", path="test_code.py", content="# nothing\n"),
            call("shell", command="echo '# nothing' > test_code.py"),
            call("done", summary="It passes."),
            Reply(text="I give up."),
        ]
    )
    events = await take(session, "Fix the failing test in test_code.py")
    assert not results_of(events)[0].ok
    assert "is a test" in results_of(events)[0].content
    assert end_of(events).status == "failed"
    assert (workspace / "test_code.py").read_text() == TEST


async def test_a_repeated_call_is_discarded_and_generated_again(opened: Opened) -> None:
    again = call("read", path="test_code.py")
    session, conversation = await opened([again, again, again, call("done", summary="x")])
    events = await take(session, "Look")
    replies = [event for event in events if isinstance(event, Reply)]
    assert [reply.discarded for reply in replies] == [False, True, True, False]
    assert end_of(events).status == "done"
    assert len([e for e in conversation.entries if isinstance(e, Reply)]) == 2


async def test_a_write_that_was_refused_and_shown_the_file_may_be_made_again(
    opened: Opened, workspace: Path
) -> None:
    for number in range(20):  # too many for the first message to show them
        (workspace / f"part{number}.py").write_text("x = 1\n")
    again = call("write", path="part7.py", content="x = 2\n")
    session, _ = await opened([again, again, call("done", summary="x")])
    events = await take(session, "Change it")
    assert [result.ok for result in results_of(events)] == [False, True, True]
    assert not any(isinstance(event, Reply) and event.discarded for event in events)
    assert (workspace / "part7.py").read_text() == "x = 2\n"


async def test_a_model_that_only_repeats_is_stopped(opened: Opened) -> None:
    session, _ = await opened([call("read", path="test_code.py")])
    finished = end_of(await take(session, "Look"))
    assert finished.status == "limit"
    assert "repeats" in (finished.error or "")


@pytest.mark.slow
@pytest.mark.parametrize("length", [2, 4, 8])
async def test_a_cycle_of_commands_is_stopped(opened: Opened, length: int) -> None:
    numbers = itertools.cycle(range(length))

    def cycling() -> Reply:
        return call("shell", command=f"touch made; echo {next(numbers)} | tee made")

    session, conversation = await opened([cycling])
    events = await take(session, "Go round")
    finished = end_of(events)
    assert finished.status == "limit"
    assert finished.steps <= 3 * length + 2
    assert len({result.content for result in results_of(events)}) == length
    circle = f"the same {length} calls"
    assert circle in (finished.error or "")
    assert "say what to try" in (finished.error or "")
    assert f"Going in circles: {circle}" in conversation.prompt  # it was told, and could turn


@pytest.mark.slow
async def test_repeated_calls_with_new_results_are_no_loop(opened: Opened) -> None:
    script = [call("shell", command="echo x >> log; wc -l < log") for _ in range(30)]
    session, _ = await opened([*script, call("done", summary="30 lines")])
    assert end_of(await take(session, "Count up")).status == "done"


async def test_a_command_may_be_run_again_after_another_one(opened: Opened) -> None:
    script = [
        call("shell", command="cat x || echo 0 > x"),
        call("shell", command="echo 1 > x"),
        call("shell", command="cat x || echo 0 > x"),
        call("done", summary="x is 1"),
    ]
    session, _ = await opened(script)
    events = await take(session, "Set x")
    assert [event.discarded for event in events if isinstance(event, Reply)] == [False] * 4
    assert results_of(events)[2].content.strip() == "1"


async def test_a_command_with_the_same_result_twice_is_not_run_a_third_time(
    opened: Opened,
) -> None:
    session, _ = await opened([call("shell", command="echo x | tee made")])
    events = await take(session, "Go round")
    assert end_of(events).status == "limit"
    assert len(results_of(events)) == 2


async def test_the_time_that_a_command_takes_makes_its_result_no_new_one(opened: Opened) -> None:
    command = "test $(date +%N) -gt 0 && date '+took 0.%Ns, at %H:%M:%S'"
    session, _ = await opened([call("shell", command=command)])
    events = await take(session, "Run the tests")
    assert end_of(events).status == "limit"
    assert len(results_of(events)) == 2


async def test_a_cycle_of_eight_reads_is_not_made_twice(opened: Opened, workspace: Path) -> None:
    for number in range(8):
        (workspace / f"{number}.txt").write_text(f"{number}\n")
    numbers = itertools.cycle(range(8))
    session, _ = await opened([lambda: call("read", path=f"{next(numbers)}.txt")])
    events = await take(session, "Read on")
    assert end_of(events).status == "limit"
    assert len(results_of(events)) == 8


async def test_steps_are_limited(opened: Opened) -> None:
    numbers = iter(range(1000))
    session, _ = await opened(
        [lambda: call("shell", command=f"echo {next(numbers)}")], flags={"limits": {"steps": 3}}
    )
    finished = end_of(await take(session, "Count"))
    assert (finished.status, finished.steps) == ("limit", 3)
    assert "--max-steps" in (finished.error or "")


async def test_tokens_are_limited(opened: Opened) -> None:
    numbers = iter(range(1000))
    session, _ = await opened(
        [lambda: call("shell", command=f"echo {next(numbers)}")], flags={"limits": {"tokens": 25}}
    )
    finished = end_of(await take(session, "Count"))
    assert (finished.status, finished.usage.completion_tokens) == ("limit", 30)


async def test_a_call_that_nobody_can_approve_is_denied(opened: Opened) -> None:
    session, conversation = await opened(
        [call("shell", command="touch x"), Reply(text="I could not.")], mode="ask"
    )
    events = await take(session, "Make a file. Check: false")
    assert not results_of(events)[0].ok
    assert "nobody can be asked" in conversation.prompt
    assert end_of(events).status == "denied"


async def test_an_answer_after_a_denial_does_not_count_as_done(opened: Opened) -> None:
    session, _ = await opened(
        [call("shell", command="touch x"), Reply(text="I could not.")], mode="ask"
    )
    assert end_of(await take(session, "Make a file.")).status == "denied"


async def test_an_unknown_tool_is_answered_with_the_known_tools(opened: Opened) -> None:
    session, _ = await opened([call("reed", path="x"), Reply(text="ok")])
    events = await take(session, "Look")
    assert not results_of(events)[0].ok
    assert "read" in results_of(events)[0].content


async def test_a_steering_message_is_appended_before_the_next_reply(opened: Opened) -> None:
    session, conversation = await opened(
        [call("read", path="test_code.py"), call("done", summary="x")]
    )

    def steer(event: Event) -> None:
        if isinstance(event, StepStarted) and event.step == 1:
            session.steer("Only the tests, please.")

    events = await take(session, "Look", watch=steer)
    steered = [e for e in events if isinstance(e, UserMessage) and e.origin == "steer"]
    assert [event.text for event in steered] == ["Only the tests, please."]
    appended = [e.content for e in conversation.entries if not isinstance(e, Reply)]
    assert "Only the tests, please." in appended[-2] + appended[-1]


async def test_cancelling_ends_the_turn_as_interrupted_and_on_record(opened: Opened) -> None:
    session, _ = await opened([call("shell", command="sleep 30"), Reply(text="never")])

    def cancel(event: Event) -> None:
        if event.type == "tool_started":
            asyncio.get_running_loop().call_soon(session.cancel)

    events = await take(session, "Wait", watch=cancel)
    assert end_of(events).status == "interrupted"
    stored = list(Trajectory.open(session.trajectory.path, for_append=False).events())
    assert isinstance(stored[-1].event, TurnFinished)


async def test_a_cancelled_caller_ends_the_turn_as_interrupted_and_on_record(
    opened: Opened,
) -> None:
    session, _ = await opened([call("shell", command="sleep 30"), Reply(text="never")])

    def cancel(event: Event) -> None:
        if event.type == "tool_started":
            asyncio.get_running_loop().call_soon(running.cancel)

    running = asyncio.create_task(take(session, "Wait", watch=cancel))
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not session.busy
    stored = list(Trajectory.open(session.trajectory.path, for_append=False).events())
    assert isinstance(stored[-1].event, TurnFinished)
    assert stored[-1].event.status == "interrupted"


async def test_a_turn_cancelled_before_it_starts_is_interrupted(opened: Opened) -> None:
    session, conversation = await opened([Reply(text="never")])
    turn = asyncio.create_task(take(session, "Wait"))
    asyncio.get_running_loop().call_soon(session.cancel)
    assert end_of(await turn).status == "interrupted"
    assert conversation.prompt == ""


async def test_every_event_is_recorded_before_it_is_shown(opened: Opened) -> None:
    session, _ = await opened([call("read", path="test_code.py"), call("done", summary="x")])

    def recorded(event: Event) -> None:
        if not event.transient:
            *_, last = session.trajectory.events(session.trajectory.last_seq)
            assert last.event == event

    assert end_of(await take(session, "Look", watch=recorded)).status == "done"


async def test_exports_say_how_many_files_a_checkpoint_holds(opened: Opened) -> None:
    session, _ = await opened([Reply(text="ok")])
    await take(session, "Look")
    out = io.StringIO()
    write_markdown(session.trajectory.events(), session.trajectory.meta, out)
    [checkpoint] = session.trajectory.of_type("checkpointed")
    assert f"2 files, {checkpoint.event.id}" in out.getvalue()


async def test_a_tool_that_raises_does_not_end_the_turn(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, _ = await opened([call("read", path="test_code.py"), call("done", summary="x")])

    async def broken(*_: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(ReadTool, "run", broken)
    events = await take(session, "Look")
    assert "boom" in results_of(events)[0].content
    assert end_of(events).status == "done"


async def test_a_cut_reply_gets_a_note_to_use_smaller_pieces(opened: Opened) -> None:
    session, conversation = await opened(
        [Reply(text="def", finish_reason="length"), call("done", summary="x")]
    )
    assert end_of(await take(session, "Write")).status == "done"
    assert "cut off" in conversation.prompt


async def test_the_next_turn_sees_the_first_one(opened: Opened) -> None:
    session, conversation = await opened([Reply(text="one"), Reply(text="two")])
    await take(session, "First")
    await take(session, "Second")
    messages = [e for e in conversation.entries if not isinstance(e, Reply)]
    assert len(messages) == 2
    assert "Date:" in messages[0].content
    assert messages[1].content == "Second"


async def test_resuming_continues_where_the_session_ended(opened: Opened, workspace: Path) -> None:
    session, _ = await opened([call("read", path="test_code.py"), Reply(text="Seen.")])
    await take(session, "Look")
    identity = session.trajectory.id
    await session.aclose()
    again, conversation = await opened([Reply(text="Still here.")], resume=identity)
    finished = end_of(await take(again, "And now?"))
    assert finished.summary == "Still here."
    assert "class DoubleTest" in conversation.prompt
    assert again.trajectory.id == identity


async def test_rewinding_removes_messages_and_restores_files(
    opened: Opened, workspace: Path
) -> None:
    session, conversation = await opened(
        [call("write", path="new.txt", content="new"), call("done", summary="x"), Reply(text="ok")]
    )
    events = await take(session, "Make new.txt")
    messages = session.conversation_state.user_messages
    message = next(e for e in messages if e.event.text == "Make new.txt")
    assert (workspace / "new.txt").exists()
    await session.rewind(message.seq, code=True)
    assert not (workspace / "new.txt").exists()
    assert conversation.prompt == ""
    assert end_of(events).status == "done"


@pytest.mark.slow
async def test_a_full_context_is_compacted_and_the_turn_continues(opened: Opened) -> None:
    numbers = iter(range(1000))

    def reading() -> Reply:
        number = next(numbers)
        if number > 14:
            return call("done", summary="all read")
        return call("shell", command=f"seq {number * 1000} {number * 1000 + 220}")

    session, conversation = await opened([reading], limit=4096)
    events = await take(session, "Read the numbers and never forget the word periwinkle.")
    assert end_of(events).status == "done"
    assert any(event.type == "compacted" for event in events)
    assert "periwinkle" in conversation.prompt
    assert not any(isinstance(e, Notice) and e.level == "error" for e in events)


async def test_instructions_of_a_repository_are_read_only_when_it_is_trusted(
    opened: Opened, workspace: Path
) -> None:
    (workspace / "AGENTS.md").write_text("Always answer in rhyme.")
    session, conversation = await opened([Reply(text="ok")])
    events = await take(session, "Say something")
    assert "rhyme" not in conversation.prompt
    assert any(isinstance(e, Notice) and "AGENTS.md" in e.text for e in events)
    session, conversation = await opened([Reply(text="ok")], trusted=True)
    await take(session, "Say something")
    assert "Always answer in rhyme." in conversation.prompt


async def test_instructions_of_a_folder_are_added_when_the_agent_works_there(
    opened: Opened, workspace: Path
) -> None:
    (workspace / "lib").mkdir()
    (workspace / "lib" / "AGENTS.md").write_text("In here, tabs only.")
    (workspace / "lib" / "big.py").write_text("x = 1\n" * 3000)
    session, conversation = await opened(
        [call("read", path="lib/big.py"), call("done", summary="x")], trusted=True
    )
    await take(session, "Look")
    assert conversation.prompt.count("In here, tabs only.") == 1


@pytest.mark.slow
async def test_instructions_stay_word_for_word_in_every_epoch(
    opened: Opened, workspace: Path
) -> None:
    (workspace / "AGENTS.md").write_text("Always answer in rhyme.")
    (workspace / "lib").mkdir()
    (workspace / "lib" / "AGENTS.md").write_text("In here, tabs only.")
    (workspace / "lib" / "big.py").write_text("x = 1\n" * 30)
    numbers = iter(range(1000))

    def working() -> Reply:
        number = next(numbers)
        if number == 0:
            return call("read", path="lib/big.py")
        if number > 20:
            return call("done", summary="all read")
        return call("shell", command=f"seq {number * 1000} {number * 1000 + 220}")

    session, conversation = await opened([working], limit=4096, trusted=True)
    events = await take(session, "Read the numbers")
    assert sum(event.type == "compacted" for event in events) >= 2
    assert conversation.prompt.count("Always answer in rhyme.") == 1
    assert conversation.prompt.count("In here, tabs only.") == 1
