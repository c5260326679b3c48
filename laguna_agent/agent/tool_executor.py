"""Runs the tool calls of one reply: validate, ask the gate, ask a person, run, report.

Calls that only read run at the same time; everything else runs in order.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

from laguna_agent.actions import Action, Decision, WritePath
from laguna_agent.agent.approval import request_approval
from laguna_agent.agent.check.runner import CheckRunner
from laguna_agent.agent.state import Agent
from laguna_agent.events import (
    ApprovalGiven,
    Event,
    Notice,
    PlanUpdated,
    ToolCall,
    ToolFinished,
    ToolStarted,
)
from laguna_agent.models.conversation import Message
from laguna_agent.prompts.loader.pack import PackTool
from laguna_agent.tools.registry import validate_arguments
from laguna_agent.tools.tool import ToolArguments, ToolResult


@dataclass
class ToolExecutor:
    """The calls of one reply and, after `run`, their results in the same order."""

    agent: Agent
    calls: list[ToolCall]
    checking: CheckRunner
    results: list[ToolFinished] = field(default_factory=list)
    denied: int = 0
    notes: list[str] = field(default_factory=list)
    """What hooks add for the model."""
    finished: ToolFinished | None = None
    """The result of `done`, when the model called it and it was accepted."""

    async def run(self) -> AsyncGenerator[Event, None]:
        """Run them, yielding what happens; every call gets exactly one result."""
        pending: list[tuple[ToolCall, PackTool, ToolArguments]] = []
        for call in self.calls:
            prepared = self._prepare(call)
            if isinstance(prepared, ToolFinished):
                async for event in self._flush(pending):
                    yield event
                yield self._report(prepared)
                continue
            tool, arguments = prepared
            if tool.kind != "read":
                async for event in self._flush(pending):
                    yield event
            async for event in self._permit(call, tool, arguments):
                if isinstance(event, ToolFinished):
                    yield self._report(event)
                    break
                yield event
            else:
                pending.append((call, tool, arguments))
            if tool.kind != "read":
                async for event in self._flush(pending):
                    yield event
        async for event in self._flush(pending):
            yield event
        order = {call.id: position for position, call in enumerate(self.calls)}
        self.results.sort(key=lambda result: order[result.call_id])

    def messages(self) -> list[Message]:
        """What the model is told of the results there are."""
        return [self.agent.message_of(result) for result in self.results]

    def _prepare(self, call: ToolCall) -> tuple[PackTool, ToolArguments] | ToolFinished:
        tool = self.agent.tools.get(call.name)
        if tool is None:
            names = ", ".join(self.agent.tools)
            return refused(call, f"There is no tool `{call.name}`. The tools are: {names}.")
        checked = validate_arguments(tool.tool, call.arguments)
        return refused(call, checked) if isinstance(checked, str) else (tool, checked)

    async def _permit(
        self, call: ToolCall, tool: PackTool, arguments: ToolArguments
    ) -> AsyncGenerator[Event, None]:
        """Yield approvals, and a ToolFinished when the call may not run."""
        agent = self.agent
        if agent.hooks is not None:
            said = await agent.hooks.before_tool(call)
            for notice in said.notices:
                yield notice
            if said.deny is not None:
                yield self._not_allowed(call, f"a hook said no: {said.deny}")
                return
            self.notes += said.add
        try:
            actions = await asyncio.to_thread(tool.tool.actions, arguments, agent.context)
        except Exception as error:
            yield refused(call, f"{call.name}: {error}")
            return
        for action in actions:
            if isinstance(action, WritePath):
                why = self.checking.guard(os.path.relpath(action.path, agent.context.workspace))
                if why is not None:
                    yield refused(call, why)
                    return
            decision = agent.gate.decide(action, tool=call.name)
            if decision.verdict == "ask":
                if self.checking.allows(action):
                    continue
                async for event in self._ask(call, action, decision):
                    yield event
                    if isinstance(event, ToolFinished):
                        return
            elif decision.verdict == "deny":
                self.denied += 1
                yield self._not_allowed(call, f"{decision.rule}. {decision.reason}")
                return

    async def _ask(
        self, call: ToolCall, action: Action, decision: Decision
    ) -> AsyncGenerator[Event, None]:
        agent = self.agent
        if agent.approver is None:
            self.denied += 1
            why = (decision.reason or decision.rule).strip().rstrip(".")
            yield self._not_allowed(call, f"this needs approval ({why}) and nobody can be asked")
            return
        async for event in request_approval(
            agent, action, decision, call_id=call.id, tool=call.name
        ):
            yield event
            if isinstance(event, ApprovalGiven) and event.answer == "no":
                self.denied += 1
                because = f": {event.reason}" if event.reason else ""
                yield self._not_allowed(call, f"The user said no{because}")

    def _not_allowed(self, call: ToolCall, reason: str) -> ToolFinished:
        reason = reason.strip().rstrip(".")
        return refused(call, self.agent.pack.text("denied.md", tool=call.name, reason=reason))

    async def _flush(
        self, pending: list[tuple[ToolCall, PackTool, ToolArguments]]
    ) -> AsyncGenerator[Event, None]:
        """Run what is pending at once, and empty the list."""
        batch, pending[:] = list(pending), []
        for call, tool, arguments in batch:
            title = tool.tool.title(arguments, self.agent.context)
            yield ToolStarted(call_id=call.id, name=call.name, title=title)
        if not batch:
            return
        for finished, plan in await asyncio.gather(*(self._run_one(*item) for item in batch)):
            yield self._report(finished)
            async for notice in self._after(finished):
                yield notice
            while self.agent.gate.notices:
                yield Notice(level="warning", text=self.agent.gate.notices.pop(0))
            if plan is not None:
                self.agent.plan = plan.steps
                yield plan

    async def _run_one(
        self, call: ToolCall, tool: PackTool, arguments: ToolArguments
    ) -> tuple[ToolFinished, PlanUpdated | None]:
        agent, start = self.agent, time.monotonic()
        title = tool.tool.title(arguments, agent.context)
        context = agent.context
        if tool.kind != "read":
            context.emit = lambda text: agent.live(call.id, text)
        context.max_output_chars = tool.max_output
        if tool.kind == "done":
            await asyncio.to_thread(self.checking.restore_tests)
        try:
            result = await tool.tool.run(arguments, context)
        except Exception as error:  # a tool must never end the turn
            result = ToolResult(
                ok=False, content=f"{call.name} failed: {type(error).__name__}: {error}"
            )
        finally:
            context.emit = lambda text: None
        if call.name == "shell" or tool.kind == "execute":
            self._note_ran(call, arguments)
        finished = ToolFinished(
            call_id=call.id,
            name=call.name,
            title=title,
            duration_s=round(time.monotonic() - start, 3),
            **result.model_dump(exclude={"plan"}),
        )
        if tool.kind == "done" and result.ok:
            self.finished = finished
        plan = PlanUpdated(steps=result.plan) if result.plan is not None else None
        return finished, plan

    async def _after(self, finished: ToolFinished) -> AsyncGenerator[Event, None]:
        if self.agent.hooks is None:
            return
        call = next(call for call in self.calls if call.id == finished.call_id)
        said = await self.agent.hooks.after_tool(call, finished)
        self.notes += said.add
        for notice in said.notices:
            yield notice

    def _note_ran(self, call: ToolCall, arguments: ToolArguments) -> None:
        command = getattr(arguments, "command", None)
        if isinstance(command, str):
            self.agent.gate.command_ran(command)

    def _report(self, finished: ToolFinished) -> ToolFinished:
        self.results.append(finished)
        return finished


def refused(call: ToolCall, why: str) -> ToolFinished:
    """The result of a call that did not run."""
    return ToolFinished(
        call_id=call.id, name=call.name, ok=False, content=why, title=call.name, summary="refused"
    )
