"""Approvals: asks a person whether something may run, and keeps the rule that the answer adds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import date
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from laguna_agent.actions import Action, Decision, RunCommand, Scope
from laguna_agent.config import RuleConfig
from laguna_agent.errors import LagunaError, UsageError
from laguna_agent.events import (
    ApprovalGiven,
    ApprovalRequested,
    Event,
    Notice,
    PermissionsChanged,
)
from laguna_agent.policy import rules
from laguna_agent.policy.gate import Gate
from laguna_agent.policy.permissions import Permission, remove_rule, rules_file, write_rule


class Approval(NamedTuple):
    """A person's answer to a request for approval.

    "always" allows it and "never" refuses it, now and by a rule from now on; `scope` says how far
    the rule reaches. Where the request offers no rule, they answer this once. `reason` goes to the
    model with a refusal.
    """

    answer: Literal["once", "always", "no", "never"]
    reason: str = ""
    scope: Scope = "session"

    @property
    def allows(self) -> bool:
        """Whether the action may run now."""
        return self.answer in ("once", "always")


class WaitingTime:
    """The time in which a person is being asked. What is asked at the same time counts once."""

    def __init__(self) -> None:
        self._asked, self._since, self._seconds = 0, 0.0, 0.0

    @property
    def seconds(self) -> float:
        """Seconds up to now."""
        return self._seconds + (time.monotonic() - self._since if self._asked else 0.0)

    def __enter__(self) -> None:
        if not self._asked:
            self._since = time.monotonic()
        self._asked += 1

    def __exit__(self, *_: object) -> None:
        self._seconds, self._since = self.seconds, time.monotonic()
        self._asked -= 1


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
    """Ask a person whether `action` may run. "always" and "never" add a rule."""
    rule = await asyncio.to_thread(gate.suggest_rule, action, tool)
    scopes: tuple[Scope, ...] = get_args(Scope) if rule is not None else ()
    request = ApprovalRequested(
        call_id=call_id,
        tool=tool,
        action=action,
        decision=decision,
        rule=rules.rule_text(rule) if rule else None,
        rule_text=rules.in_words(rule, str(gate.workspace)) if rule else "",
        files={scope: str(rules_file(scope, gate.workspace) or "") for scope in scopes},
        risks=await asyncio.to_thread(gate.risks, action),
        sandboxed=gate.sandboxed if isinstance(action, RunCommand) else None,
    )
    emit(request)
    approval = await approver(request)
    lasts = rule is not None and approval.answer in ("always", "never")
    emit(
        ApprovalGiven(
            call_id=call_id,
            answer=approval.answer,
            scope=approval.scope if lasts else None,
            reason=approval.reason,
        )
    )
    if rule is not None and lasts:
        verdict = "allow" if approval.answer == "always" else "deny"
        rule = rule.model_copy(update={"verdict": verdict, "added": date.today()})
        emit(await add_rule(gate, rule, approval.scope, emit))
    return approval


async def add_rule(
    gate: Gate, rule: RuleConfig, scope: Scope, emit: Callable[[Event], None]
) -> Notice:
    """Put a rule in force and keep it where its scope says; returns a notice of it."""
    said = rules.in_words(rule, str(gate.workspace))
    may = "laguna may" if rule.verdict == "allow" else "laguna may not"
    path = rules_file(scope, gate.workspace)
    if path is not None:
        try:
            await asyncio.to_thread(_write, rule, path)
        except LagunaError as error:
            gate.rule_set.add(rule, "session")
            emit(PermissionsChanged(rules=gate.rule_set.of("session")))
            return Notice(level="warning", text=f"The rule holds for this session only: {error}")
    gate.rule_set.add(rule, scope)
    if path is None:
        emit(PermissionsChanged(rules=gate.rule_set.of("session")))
        return Notice(text=f"{may} {said}, in this session. /permissions takes it back.")
    where = "in this repository" if scope == "repository" else "everywhere"
    return Notice(text=f"{may} {said}, {where}: kept in {path}.")


def _write(rule: RuleConfig, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_rule(rule, path)


async def revoke_rule(gate: Gate, permission: Permission, emit: Callable[[Event], None]) -> None:
    """Take a rule out of force, and out of the file that holds it. Raises LagunaError."""
    rule, scope = permission.rule, permission.scope
    if scope == "project" or scope == "run":  # narrows the type
        where = permission.path or "the settings of this run"
        raise UsageError(f"this rule is in {where}", hint="Remove it there.")
    path = rules_file(scope, gate.workspace)
    if path is not None:
        await asyncio.to_thread(remove_rule, rule, path)
    gate.rule_set.remove(rule, scope)
    if path is None:
        emit(PermissionsChanged(rules=gate.rule_set.of("session")))
