"""Plan mode in turns of a real session: what counts as a plan, and that only accepting consents."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from laguna_agent.agent.approval import Approval
from laguna_agent.agent.plan_mode import accepting_message
from laguna_agent.agent.session import Session
from laguna_agent.errors import UsageError
from laguna_agent.events import (
    AcceptedPlan,
    Reply,
    SystemNote,
    ToolFinished,
    TurnFinished,
    UserMessage,
)
from laguna_agent.trajectory.replay import ConversationState, conversation_state
from support.forced import called, open_forced
from support.packs import write_files
from support.scripted import call, compact, results_of, run_scripted, take, take_plan

Opened = Callable[..., Any]
PLAN = "1. Write fixed into code.txt.\n2. Run grep fixed code.txt."
PLANNED = call("done", summary=PLAN)
WRITE = call("write", path="code.txt", content="fixed\n")
FIXED = call("done", summary="Fixed.")
OK = Reply(text="ok")
CONSENT = "The user accepts the plan"


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return write_files(tmp_path / "repo", {"code.txt": "broken\n", "notes.txt": "n\n"})


def notes(events: list[Any]) -> list[tuple[str, str]]:
    """The notes about plan mode: their reason, and their first line."""
    reasons = ("plan", "act", "plan ended")
    found = [e for e in events if isinstance(e, SystemNote) and e.reason in reasons]
    return [(note.reason, note.text.splitlines()[0]) for note in found]


def message_of(events: list[Any]) -> UserMessage:
    [message] = [event for event in events if isinstance(event, UserMessage)]
    return message


# --- what is a plan ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "proposed"),
    [
        (PLANNED, PLAN),
        (call("done", summary="Rename it in code.txt."), "Rename it in code.txt."),
        (Reply(text=PLAN), PLAN),
        (Reply(text="# Plan\ntext\n## Check\nmore"), "# Plan\ntext\n## Check\nmore"),
        (Reply(text="code.txt says broken."), ""),
        (Reply(text=f"{PLAN}\n\nShall I also rename it?"), ""),
        (Reply(text="- only one thing"), ""),
    ],
)
async def test_a_reply_that_proposes_a_plan_waits_for_a_decision(
    opened: Opened, reply: Reply, proposed: str
) -> None:
    session, _ = await opened([reply], plan=True)
    finished = (await take(session, "Fix it"))[-1]
    assert isinstance(finished, TurnFinished)
    assert finished.plan is bool(proposed)
    assert session.proposed_plan == proposed


async def test_outside_plan_mode_no_reply_proposes_a_plan(opened: Opened) -> None:
    session, _ = await opened([PLANNED])
    assert not (await take(session, "Fix it"))[-1].plan
    assert session.proposed_plan == ""


async def test_a_turn_that_was_stopped_or_failed_proposes_nothing(opened: Opened) -> None:
    def stop() -> Reply:
        session.cancel()
        return call("read", path="code.txt")

    session, _ = await opened([Reply(text=PLAN), stop], plan=True)
    await take(session, "Fix it")
    assert session.proposed_plan == PLAN
    events = await take(session, "Look again")
    assert events[-1].status == "interrupted"
    assert session.proposed_plan == "", "the plan before it is not that of the last turn"


async def test_planning_runs_no_check_and_changes_nothing(opened: Opened, workspace: Path) -> None:
    check = "touch ran"
    session, _ = await opened([WRITE, PLANNED], plan=True, check=check, mode="allow-all")
    events = await take(session, "Fix it, until `touch ran` passes")
    refused, done = results_of(events)
    assert not refused.ok
    assert done.ok, "a check that may not run does not stand in the way of the plan"
    assert events[-1].plan
    assert (workspace / "code.txt").read_text() == "broken\n"
    assert not (workspace / "ran").exists()


# --- accepting --------------------------------------------------------------------------------


async def test_accepting_ends_plan_mode_and_the_model_carries_the_plan_out(
    opened: Opened, workspace: Path
) -> None:
    steps = call("plan", steps=["write code.txt"])
    session, conversation = await opened([steps, PLANNED, WRITE, OK], plan=True)
    assert notes(await take(session, "Fix it"))[0][0] == "plan"
    before = list(conversation.entries)
    events = await take_plan(session, PLAN, "accept-edits")
    assert (session.gate.plan, session.gate.mode) == (False, "accept-edits")
    assert notes(events) == [("act", f"{CONSENT}: you may change files now.")]
    accepted = AcceptedPlan(text=PLAN, mode="accept-edits")
    assert message_of(events).plan == accepted
    assert message_of(events).text == "Carry out the plan.", "it is in the prompt already"
    assert conversation.entries[: len(before)] == before, "the prompt only grows"
    assert "[>] write code.txt" in conversation.prompt
    assert (workspace / "code.txt").read_text() == "fixed\n"
    assert notes(await take(session, "Thanks")) == []


async def test_the_model_gets_the_plan_as_the_person_edited_it(opened: Opened) -> None:
    steps = call("plan", steps=["write code.txt"])
    session, conversation = await opened([steps, PLANNED, OK], plan=True)
    await take(session, "Fix it")
    events = await take_plan(session, "1. Delete code.txt.\n", "ask")
    message = message_of(events)
    assert message.plan == AcceptedPlan(text="1. Delete code.txt.", edited=True, mode="ask")
    assert message.text == "Carry out this plan:\n\n1. Delete code.txt."
    assert conversation.prompt.endswith(message.text)
    assert "[>] write code.txt" not in conversation.prompt, "these were steps of the other plan"


async def test_an_empty_plan_is_refused_and_plan_mode_stays(opened: Opened) -> None:
    session, _ = await opened([PLANNED], plan=True)
    await take(session, "Fix it")
    with pytest.raises(UsageError, match="no plan to accept"):
        await session.accept_plan(" \n", "auto")
    assert session.gate.plan
    assert session.proposed_plan == PLAN


async def test_the_check_and_the_title_of_the_work_are_those_of_what_was_asked_for(
    opened: Opened, workspace: Path
) -> None:
    ask = "Fix code.txt until `grep -q fixed code.txt` passes."
    session, _ = await opened([PLANNED, PLANNED, WRITE, FIXED], plan=True)
    await take(session, ask)
    await take(session, "Shorter, please")
    finished = (await take_plan(session, PLAN, "auto"))[-1]
    assert finished.check.command == "grep -q fixed code.txt"
    assert finished.check.exit_code == 0
    [step] = session.steps()
    assert step.origin.title.startswith("Fix code.txt")


# --- what is no consent -----------------------------------------------------------------------


async def test_leaving_plan_mode_is_no_consent(opened: Opened) -> None:
    session, conversation = await opened([PLANNED, OK], plan=True)
    await take(session, "Fix it")
    session.gate.plan = False
    assert session.proposed_plan == ""
    events = await take(session, "What is the weather?")
    assert [reason for reason, _ in notes(events)] == ["plan ended"]
    assert "accepted no plan" in conversation.prompt
    assert CONSENT not in conversation.prompt
    assert message_of(events).plan is None


async def test_passing_through_plan_mode_between_turns_tells_the_model_nothing(
    opened: Opened,
) -> None:
    session, _ = await opened([OK])
    await take(session, "Hello")
    session.gate.plan = True
    session.gate.plan = False
    assert notes(await take(session, "And now?")) == []


async def test_more_messages_keep_planning_and_the_new_plan_waits_again(opened: Opened) -> None:
    other = call("done", summary="1. Another way.")
    session, conversation = await opened([PLANNED, other, WRITE, OK], plan=True)
    await take(session, "Fix it")
    events = await take(session, "OK, but shorter")
    assert notes(events) == []
    assert session.proposed_plan == "1. Another way."
    await take(session, "Yes, do it")
    assert not [r for r in results_of(conversation.entries) if r.ok and r.name == "write"]
    assert session.gate.plan
    assert CONSENT not in conversation.prompt


async def test_ending_plan_mode_while_a_turn_runs_is_no_consent(
    opened: Opened, workspace: Path
) -> None:
    def leave() -> Reply:
        session.gate.plan = False
        return call("read", path="code.txt")

    session, _ = await opened([leave, PLANNED], plan=True)
    events = await take(session, "Fix it")
    assert [reason for reason, _ in notes(events)] == ["plan", "plan ended"]
    assert not events[-1].plan


# --- going on ---------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["resume", "fork"])
async def test_a_proposed_plan_waits_on_after_resuming_and_in_a_copy(
    opened: Opened, how: str
) -> None:
    session, _ = await opened([PLANNED], plan=True, interactive=True)
    await take(session, "Fix it")
    await session.aclose()
    again, _ = await opened([WRITE, OK], interactive=True, **{how: session.trajectory.id})
    assert again.gate.plan
    assert again.proposed_plan == PLAN
    events = await take_plan(again, PLAN, "auto")
    assert notes(events) == [("act", f"{CONSENT}: you may change files now.")]
    assert message_of(events).text == "Carry out the plan."
    await again.aclose()
    third, _ = await opened([OK], interactive=True, resume=again.trajectory.id)
    assert not third.gate.plan
    assert notes(await take(third, "More")) == [], "what was accepted stays accepted"


async def test_compactions_keep_what_is_proposed_and_what_was_accepted(opened: Opened) -> None:
    long = f"{PLAN}\n{'3. And so on. ' * 1_000}"
    summary = Reply(text="## Goal\n- fix it\n")
    script = [Reply(text=long), summary, OK, Reply(text="x" * 30_000), summary]
    session, conversation = await opened(script, plan=True, limit=12_000)
    await take(session, "Fix it")
    await compact(session)
    assert session.proposed_plan == long.strip()
    await take_plan(session, long, "auto")
    await take(session, "Now write much")
    await compact(session)
    opening = conversation.entries[0].content
    assert opening.count(long.strip()[:200]) == 1
    assert "Carry out" in opening


def test_a_plan_that_the_model_no_longer_sees_is_repeated() -> None:
    message = accepting_message(ConversationState(proposed_plan=PLAN), PLAN, "auto")
    assert message.text == f"Carry out this plan:\n\n{PLAN}"
    assert message.plan == AcceptedPlan(text=PLAN, mode="auto")


async def test_rewinding_takes_the_acceptance_back(opened: Opened, workspace: Path) -> None:
    session, conversation = await opened([PLANNED, WRITE, OK, OK], plan=True)
    await take(session, "Fix it")
    await take_plan(session, PLAN, "auto")
    message = session.conversation_state.user_messages[-1]
    await session.rewind(message.seq, code=True)
    assert (workspace / "code.txt").read_text() == "broken\n"
    assert CONSENT not in conversation.prompt
    assert session.gate.plan, "as it was before that message"
    assert session.proposed_plan == PLAN
    await session.rewind(session.conversation_state.user_messages[0].seq, code=False)
    assert session.gate.plan, "the message was sent in plan mode"
    assert session.proposed_plan == ""


# --- other packs, and without a person --------------------------------------------------------


async def test_the_plan_pack_needs_no_planning_note(opened: Opened) -> None:
    session, conversation = await opened([PLANNED], pack="plan", plan=True)
    assert notes(await take(session, "Fix it")) == []
    assert "You are planning" in conversation.system


async def test_planning_is_known_after_resuming(opened: Opened) -> None:
    session, _ = await opened([PLANNED], plan=True)
    assert len(notes(await take(session, "Fix it"))) == 1
    await session.aclose()
    resumed, _ = await opened([PLANNED], plan=True, resume=session.trajectory.id)
    assert notes(await take(resumed, "More")) == []


async def test_a_task_prints_its_plan(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert await run_scripted(workspace, [WRITE, PLANNED], "Fix it", "text", plan=True) == 0
    assert capsys.readouterr().out == f"{PLAN}\n"
    assert (workspace / "code.txt").read_text() == "broken\n"


async def test_the_pack_of_small_models_plans_and_carries_out(
    opened: Opened, workspace: Path
) -> None:
    session, conversation = await opened(
        [PLANNED, WRITE, call("done", summary="Done.")], pack="small", plan=True
    )
    assert notes(await take(session, "Fix it"))[0][0] == "plan"
    assert session.proposed_plan == PLAN
    events = await take_plan(session, PLAN, "auto")
    assert (workspace / "code.txt").read_text() == "fixed\n"
    assert events[-1].status == "done"
    assert conversation.prompt.count(CONSENT) == 1


async def test_plans_are_made_and_carried_out_on_the_engine(workspace: Path) -> None:
    script = iter(
        [
            called("done", summary=PLAN),
            called("read", path="code.txt"),
            called("write", path="code.txt", content="fixed\n"),
            called("done", summary="Done."),
        ]
    )
    session: Session = await open_forced(
        workspace, lambda: next(script), context=8_192, flags={}, plan=True, interactive=True
    )
    await take(session, "Fix it")
    assert session.proposed_plan == PLAN
    tokens = list(session.conversation.tokens or ())
    events = await take_plan(session, PLAN, "auto")
    assert list(session.conversation.tokens or ())[: len(tokens)] == tokens
    assert [event.ok for event in events if isinstance(event, ToolFinished)] == [True, True, True]
    assert (workspace / "code.txt").read_text() == "fixed\n"
    state = conversation_state(session.trajectory)
    assert state.proposed_plan == ""
    await session.aclose()


async def test_a_person_is_asked_in_the_mode_that_was_chosen(opened: Opened) -> None:
    asked = []

    async def yes(request: Any) -> Approval:
        asked.append(request.tool)
        return Approval("once")

    session, _ = await opened([PLANNED, WRITE, OK], plan=True, approver=yes, mode="auto")
    await take(session, "Fix it")
    await take_plan(session, PLAN, "ask")
    assert asked == ["write"]
