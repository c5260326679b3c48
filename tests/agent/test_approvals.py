"""Answers to approvals: how long each holds, and what the request tells a person."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from laguna_agent import paths
from laguna_agent.actions import RunCommand
from laguna_agent.agent.approval import Approval
from laguna_agent.config import load_rules
from laguna_agent.errors import UsageError
from laguna_agent.events import (
    ApprovalGiven,
    ApprovalRequested,
    PermissionsChanged,
    Reply,
    ToolFinished,
    TurnFinished,
)
from laguna_agent.policy.permissions import rules_file
from support.packs import write_files
from support.scripted import call, take

Opened = Callable[..., Any]
TOUCH = call("shell", command="touch made")
DONE = Reply(text="Done.")


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return write_files(
        tmp_path / "repo", {"code.txt": "x\n", ".git/HEAD": "ref: refs/heads/main\n"}
    )


class Person:
    """Answers every request alike, and remembers what was asked."""

    def __init__(self, answer: Approval) -> None:
        self.answer = answer
        self.asked: list[ApprovalRequested] = []

    async def __call__(self, request: ApprovalRequested) -> Approval:
        self.asked.append(request)
        return self.answer


def answers(answer: str, scope: str = "session") -> Person:
    return Person(Approval(answer, scope=scope))  # type: ignore[arg-type]  # literals


@pytest.mark.slow
async def test_for_this_session_lasts_until_another_session_begins(
    opened: Opened, workspace: Path
) -> None:
    person = answers("always")
    session, _ = await opened([TOUCH, TOUCH, DONE], mode="ask", approver=person)
    events = await take(session, "Go")
    assert len(person.asked) == 1
    assert [e.scope for e in events if isinstance(e, ApprovalGiven)] == ["session"]
    assert not (paths.config_dir() / "config.toml").exists()
    name = session.trajectory.id
    await session.aclose()

    session, _ = await opened([TOUCH, DONE], mode="ask", approver=person, resume=name)
    await take(session, "Again")
    assert len(person.asked) == 1, "resumed, it is the same session"
    await session.aclose()

    session, _ = await opened([TOUCH, DONE], mode="ask", approver=person)
    await take(session, "Again")
    assert len(person.asked) == 2


async def test_the_time_of_a_turn_tells_how_long_a_person_was_asked(opened: Opened) -> None:
    class Slow(Person):
        async def __call__(self, request: ApprovalRequested) -> Approval:
            await asyncio.sleep(0.2)
            return await super().__call__(request)

    script, person = [TOUCH, DONE, TOUCH, DONE], Slow(Approval("once"))
    session, _ = await opened(script, mode="ask", approver=person)
    for _ in range(2):
        finished = (await take(session, "Go"))[-1]
        assert isinstance(finished, TurnFinished)
    assert 0.2 <= finished.waited_s <= finished.duration_s, "of this turn only"
    assert finished.worked_s == finished.duration_s - finished.waited_s


async def test_for_this_repository_is_kept_in_the_users_own_state(
    opened: Opened, workspace: Path
) -> None:
    person = answers("always", "repository")
    session, _ = await opened([TOUCH, DONE], mode="ask", approver=person)
    await take(session, "Go")
    path = Path(person.asked[0].files["repository"])
    assert path == rules_file("repository", workspace)
    assert path.is_relative_to(paths.state_dir())
    assert path.stat().st_mode & 0o077 == 0
    [rule] = load_rules(path)
    assert rule.command == "touch made"
    assert rule.added is not None
    assert not (paths.config_dir() / "config.toml").exists()
    await session.aclose()

    session, _ = await opened([TOUCH, DONE], mode="ask", approver=person)
    await take(session, "Again")
    assert len(person.asked) == 1


async def test_never_refuses_from_now_on_without_asking(opened: Opened, workspace: Path) -> None:
    person = answers("never")
    session, _ = await opened([TOUCH, TOUCH, DONE], mode="ask", approver=person)
    await take(session, "Go")
    assert len(person.asked) == 1
    assert not (workspace / "made").exists()


async def test_a_rule_that_is_taken_back_asks_again_also_after_a_rewind(
    opened: Opened, workspace: Path
) -> None:
    person = answers("always")
    session, _ = await opened([TOUCH, DONE, TOUCH, DONE], mode="ask", approver=person)
    await take(session, "Go")
    [permission] = session.permissions()
    await session.revoke(permission)
    assert session.permissions() == []
    await session.rewind(session.conversation_state.user_messages[0].seq, code=False)
    assert session.conversation_state.rules == []
    await take(session, "Again")
    assert len(person.asked) == 2


@pytest.mark.parametrize("scope", ["repository", "everywhere"])
async def test_a_rule_leaves_its_file_when_it_is_taken_back(
    opened: Opened, workspace: Path, scope: str
) -> None:
    session, _ = await opened([TOUCH, DONE], mode="ask", approver=answers("always", scope))
    path = rules_file(scope, workspace)  # type: ignore[arg-type]  # a literal
    assert path is not None
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = '# mine\n[[policy.rules]]\nverdict = "deny"\ncommand = "git push"\n'
    path.write_text(kept)
    await take(session, "Go")
    [permission] = [p for p in session.permissions() if p.rule.verdict == "allow"]
    assert (permission.scope, permission.path) == (scope, path)
    await session.revoke(permission)
    assert path.read_text().strip() == kept.strip()
    assert session.gate.decide(_action(workspace), tool="shell").verdict == "ask"


def _action(workspace: Path) -> RunCommand:
    return RunCommand(command="touch made", cwd=str(workspace))


async def test_a_broken_file_of_rules_is_named(opened: Opened, workspace: Path) -> None:
    path = rules_file("repository", workspace)
    assert path is not None
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("[[policy.rules]]\nverdict = 'perhaps'\n")
    with pytest.raises(UsageError, match=r"permissions\.toml"):
        await opened([DONE], mode="ask")


async def test_a_request_says_what_is_risky_and_offers_no_rule_for_it(
    opened: Opened, workspace: Path
) -> None:
    person = answers("no")
    script = [call("shell", command="echo hi > a && rm -rf .git"), TOUCH, DONE]
    session, _ = await opened(script, mode="ask", approver=person)
    await take(session, "Go")
    risky, plain = person.asked
    assert [(risk.part, risk.lasting) for risk in risky.risks] == [("rm -rf .git", True)]
    assert (risky.rule, risky.files) == (None, {})
    assert plain.risks == []
    assert plain.rule_text == "run exactly “touch made”"
    assert set(plain.files) == {"session", "repository", "everywhere"}
    assert plain.sandboxed == session.gate.sandboxed


async def test_a_call_that_did_not_run_says_which_it_was(opened: Opened) -> None:
    script = [call("shell", command="touch made"), call("shell", script="ls -l"), DONE]
    session, _ = await opened(script, mode="ask", approver=answers("no"))
    events = await take(session, "Go")
    refused = [(e.title, e.summary) for e in events if isinstance(e, ToolFinished)]
    assert refused == [("$ touch made", "you said no"), ("shell ls -l", "wrong arguments")]


async def test_what_another_rule_asks_about_each_time_offers_no_rule(opened: Opened) -> None:
    path = paths.config_dir() / "config.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('[[policy.rules]]\nverdict = "ask"\ncommand = "touch *"\n')
    person = answers("always")
    session, _ = await opened([TOUCH, TOUCH, DONE], mode="ask", approver=person)
    events = await take(session, "Go")
    assert [request.rule for request in person.asked] == [None, None]
    assert not any(isinstance(event, PermissionsChanged) for event in events)
