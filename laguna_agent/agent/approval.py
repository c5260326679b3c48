"""Asking a person whether something may run, and keeping the rule that "always" writes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TYPE_CHECKING, Literal, NamedTuple

from laguna_agent.actions import Action, Decision
from laguna_agent.config import RuleConfig
from laguna_agent.errors import LagunaError
from laguna_agent.events import ApprovalGiven, ApprovalRequested, Event, Notice
from laguna_agent.paths import config_dir

if TYPE_CHECKING:
    from laguna_agent.agent.state import Agent


class Approval(NamedTuple):
    """A person's answer to an approval."""

    answer: Literal["once", "always", "no"]
    reason: str = ""


Approver = Callable[[ApprovalRequested], Awaitable[Approval]]


async def request_approval(
    agent: Agent, action: Action, decision: Decision, *, call_id: str, tool: str
) -> AsyncGenerator[Event, None]:
    """Yield the request, the answer as an ApprovalGiven, and what came of "always".

    There must be an approver.
    """
    assert agent.approver is not None
    rule = agent.gate.suggest_rule(action, tool=tool)
    request = ApprovalRequested(
        call_id=call_id,
        tool=tool,
        action=action,
        decision=decision,
        rule=agent.gate.rule_text(rule) if rule else None,
    )
    yield request
    approval = await agent.approver(request)
    yield ApprovalGiven(call_id=call_id, answer=approval.answer, reason=approval.reason)
    if approval.answer == "always" and rule is not None:
        agent.gate.add_rule(rule)
        yield await asyncio.to_thread(_keep, agent, rule)


def _keep(agent: Agent, rule: RuleConfig) -> Notice:
    """Write a rule for the sessions to come."""
    gate, path = agent.gate, config_dir() / "config.toml"
    try:
        gate.write_rule(rule, path)
    except LagunaError as error:
        text = f"The rule holds for this session only: {error}"
        return Notice(level="warning", text=text)
    said = " ".join(gate.rule_text(rule).split())
    return Notice(text=f"Rule added to {path}: {said}")
