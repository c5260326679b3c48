"""The check of a task where a person is asked about commands: asked once a turn, at its beginning,
in turns of a real session with a scripted model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from laguna_agent.agent.approval import Approval
from laguna_agent.agent.session import Session
from laguna_agent.events import ApprovalRequested, CheckRan, Reply, TurnFinished
from support.packs import write_files
from support.scripted import ScriptedConversation, call, take

CHECK = "sh check.sh"
TASK = f"Fix code.txt until `{CHECK}` passes"
FIX = call("edit", path="code.txt", old="broken", new="fixed")
Answer = Literal["once", "always", "no"]
Opened = Callable[..., Any]


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    files = {"code.txt": "broken\n", "check.sh": "grep -q fixed code.txt\n"}
    return write_files(tmp_path / "repo", files)


@pytest.fixture
def opened(opened: Opened) -> Opened:
    """Opens sessions in which each tool gets the answer in `answers`, or is allowed once."""

    async def make(
        answers: dict[str, Answer], script: list[Any]
    ) -> tuple[Session, ScriptedConversation, list[ApprovalRequested]]:
        asked: list[ApprovalRequested] = []

        async def answer(request: ApprovalRequested) -> Approval:
            asked.append(request)
            return Approval(answers.get(request.tool, "once"))

        session, conversation = await opened(script, mode="ask", approver=answer)
        return session, conversation, asked

    return make


def checks(events: list[Any]) -> list[int]:
    return [event.exit_code for event in events if isinstance(event, CheckRan)]


async def test_the_check_is_approved_once_and_runs_before_and_after(opened: Opened) -> None:
    session, conversation, asked = await opened({}, [FIX, call("done", summary="Fixed.")])
    events = await take(session, TASK)
    assert [(a.tool, a.action.kind) for a in asked] == [("done", "execute"), ("edit", "write")]
    assert asked[0].action.command == CHECK
    assert asked[0].decision.reason.startswith("the check of this task, to run now and after")
    assert checks(events) == [1]
    assert isinstance(events[-1], TurnFinished)
    assert (events[-1].status, events[-1].steps) == ("done", 2)  # `done` ran it, unasked
    assert CHECK in conversation.prompt

    await take(session, TASK)
    assert [a.tool for a in asked].count("done") == 2  # in another turn again


async def test_always_allows_the_check_for_the_session(opened: Opened, laguna_home: Path) -> None:
    session, _, asked = await opened({"done": "always"}, [Reply(text="ok"), Reply(text="ok")])
    await take(session, TASK)
    await take(session, TASK)
    assert [a.tool for a in asked] == ["done"]
    [rule] = session.permissions()
    assert rule.scope == "session"
    assert not (laguna_home / "config/config.toml").exists()


async def test_a_denied_check_is_asked_about_again_only_at_the_end(opened: Opened) -> None:
    script = [FIX, call("done", summary="Fixed."), Reply(text="then so")]
    session, conversation, asked = await opened({"done": "no"}, script)
    events = await take(session, TASK)
    assert checks(events) == []
    assert [a.tool for a in asked] == ["done", "edit", "done"]
    assert "The user said no" in conversation.prompt


@pytest.mark.slow
async def test_another_command_still_needs_approval(opened: Opened) -> None:
    script = [call("shell", command=f"{CHECK}; touch y"), Reply(text="ok")]
    session, _, asked = await opened({}, script)
    await take(session, TASK)
    assert [a.tool for a in asked[:2]] == ["done", "shell"]
