"""Approvals: asks a person whether something may run, and keeps the rule that "always" adds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Literal, NamedTuple

from laguna_agent.actions import Action, Decision
from laguna_agent.config import RuleConfig
from laguna_agent.errors import LagunaError
from laguna_agent.events import ApprovalGiven, ApprovalRequested, Event, Notice
from laguna_agent.paths import config_dir
from laguna_agent.policy.gate import Gate


class Approval(NamedTuple):
    """A person's answer to a request for approval. `reason` goes to the model with a "no"."""

    answer: Literal["once", "always", "no"]
    reason: str = ""


Approver = Callable[[ApprovalRequested], Awaitable[Approval]]
"""Asks a person."""


async def request_approval(
    approver: Approver,
    gate: Gate,
    emit: Callable[[Event], None],
    action: Action,
    decision: Decision,
    *,
    call_id: str,
    tool: str,
) -> Approval:
    """Ask a person whether `action` may run. "always" adds a rule, for later sessions too."""
    rule = gate.suggest_rule(action, tool=tool)
    request = ApprovalRequested(
        call_id=call_id,
        tool=tool,
        action=action,
        decision=decision,
        rule=gate.rule_text(rule) if rule else None,
    )
    emit(request)
    approval = await approver(request)
    emit(ApprovalGiven(call_id=call_id, answer=approval.answer, reason=approval.reason))
    if approval.answer == "always" and rule is not None:
        gate.add_rule(rule)
        emit(await asyncio.to_thread(_save_rule, gate, rule))
    return approval


def _save_rule(gate: Gate, rule: RuleConfig) -> Notice:
    """Write a rule to the user's configuration."""
    path = config_dir() / "config.toml"
    try:
        gate.write_rule(rule, path)
    except LagunaError as error:
        text = f"The rule holds for this session only: {error}"
        return Notice(level="warning", text=text)
    return Notice(text=f"Rule added to {path}: {' '.join(gate.rule_text(rule).split())}")
