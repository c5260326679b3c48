"""Executes the tool calls of one reply: validate, ask the policy and a person, run, report.

Calls that only read run at the same time; everything else runs in order.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

from laguna_agent.actions import Action, Decision, WritePath, action_text
from laguna_agent.agent.check.runner import CheckRunner
from laguna_agent.agent.services import Services
from laguna_agent.agent.turn_files import TurnFiles
from laguna_agent.clip import clip
from laguna_agent.events import (
    Denied,
    Notice,
    PlanUpdated,
    ToolCall,
    ToolFinished,
    ToolOutput,
    ToolStarted,
)
from laguna_agent.log import log_decision, log_error
from laguna_agent.policy.sandbox_limits import limit_reached
from laguna_agent.prompts.loader.pack import PackTool
from laguna_agent.tools.registry import validate_arguments
from laguna_agent.tools.tool import ToolArguments, ToolResult

_TITLE_CHARS = 200
"""Of a call that could not be read, in the line that says so."""


@dataclass
class _Permitted:
    """A call that may run, and its actions once they were decided on."""

    call: ToolCall
    tool: PackTool
    arguments: ToolArguments
    actions: list[Action] = field(default_factory=list)


class _Refusal(NamedTuple):
    """Why a call may not run: `reason` for the model, and in a few words for a person."""

    reason: str
    what: str


@dataclass
class ToolExecutor:
    """The calls of one reply and, after `run`, their results in the same order."""

    services: Services
    calls: Sequence[ToolCall]
    check: CheckRunner
    files: TurnFiles
    results: list[ToolFinished] = field(default_factory=list)
    denied: int = 0
    """Calls that the policy or a person denied."""
    denials: list[Denied] = field(default_factory=list)
    """Those, and what hooks denied."""
    hook_texts: list[str] = field(default_factory=list)
    """What hooks add for the model."""
    done: ToolFinished | None = None
    """The result of `done`, when the model called it and it was accepted."""

    def __post_init__(self) -> None:
        self._context = self.check.context()

    async def run(self) -> None:
        """Run the calls; each gets exactly one result."""
        batch: list[_Permitted] = []
        for call in self.calls:
            prepared = self._prepare(call)
            reads = isinstance(prepared, _Permitted) and prepared.tool.kind == "read"
            if not reads:
                await self._run_batch(batch)
            if isinstance(prepared, _Permitted):
                refusal = await self._refusal(prepared)
                if refusal is None:
                    batch.append(prepared)
                else:
                    self._report(refusal)
            else:
                self._report(prepared)
            if not reads:
                await self._run_batch(batch)
        await self._run_batch(batch)
        order = {call.id: position for position, call in enumerate(self.calls)}
        self.results.sort(key=lambda result: order[result.call_id])

    # --- before a call runs -----------------------------------------------------------------

    def _prepare(self, call: ToolCall) -> _Permitted | ToolFinished:
        tool = self.services.tools.get(call.name)
        if tool is None:
            names = ", ".join(self.services.tools)
            why = f"There is no tool `{call.name}`. The tools are: {names}."
            return _refused(call, why, what="no such tool")
        arguments = validate_arguments(tool.tool, call.arguments)
        if isinstance(arguments, str):
            return _refused(call, arguments, what="wrong arguments")
        return _Permitted(call, tool, arguments)

    async def _refusal(self, permitted: _Permitted) -> ToolFinished | None:
        """The result of a call that may not run, or None: hooks and the policy decide."""
        call, tool, arguments = permitted.call, permitted.tool, permitted.arguments
        try:
            actions = await asyncio.to_thread(tool.tool.actions, arguments, self._context)
        except Exception as error:
            return _refused(call, f"{call.name}: {error}")
        permitted.actions = actions
        hooked = await self.services.hooks.before_tool(call, actions)
        self._show(hooked.notices)
        if hooked.deny is not None:
            said = f"a hook said no: {hooked.deny}"
            denial = _Refusal(said, said)
            return self._denied(permitted, denial, call.name)
        self.hook_texts += hooked.add
        for action in actions:
            if isinstance(action, WritePath):
                why = self.check.protected(os.path.relpath(action.path, self._context.workspace))
                if why is not None:
                    return _refused(call, why, what="not allowed", title=self._title(permitted))
            if (refusal := await self._permit(call, action)) is not None:
                return self._denied(permitted, refusal, action_text(action))
        return None

    async def _permit(self, call: ToolCall, action: Action) -> _Refusal | None:
        """Why an action may not be done, or None: the policy, and a person if it says so."""
        decision = self.services.gate.decide(action, tool=call.name)
        log_decision(call.name, decision)
        self.services.gate.uses[decision.rule] += 1
        refusal: _Refusal | None = None
        if decision.verdict == "deny":
            refusal = _Refusal(
                f"{decision.rule}. {decision.reason}", f"not allowed: {decision.rule}"
            )
        elif decision.verdict == "ask" and not self.check.is_approved(action):
            refusal = await self._ask_person(call, action, decision)
        if refusal is not None:
            self.denied += 1
        return refusal

    async def _permit_later(self, call: ToolCall, action: Action) -> str | None:
        """`_permit` for an action that shows only while the call runs."""
        refusal = await self._permit(call, action)
        if refusal is None:
            return None
        return self._note_denial(call, refusal.reason, action_text(action))

    async def _ask_person(
        self, call: ToolCall, action: Action, decision: Decision
    ) -> _Refusal | None:
        """Why an action that needs approval may not run, or None."""
        if self.services.approver is None:
            why = (decision.reason or decision.rule).strip().rstrip(".")
            return _Refusal(f"this needs approval ({why}) and nobody can be asked", "not approved")
        approval = await self.services.request_approval(
            action, decision, call_id=call.id, tool=call.name
        )
        if approval.allows:
            return None
        why = f": {approval.reason}" if approval.reason else ""
        return _Refusal(f"The user said no{why}", f"you said no{why}")

    def _note_denial(self, call: ToolCall, reason: str, action: str) -> str:
        reason = reason.strip().rstrip(".")
        self.denials.append(Denied(tool=call.name, action=action, reason=reason))
        return reason

    def _title(self, permitted: _Permitted) -> str:
        return permitted.tool.tool.title(permitted.arguments, self._context)

    def _denied(self, permitted: _Permitted, refusal: _Refusal, action: str) -> ToolFinished:
        call = permitted.call
        reason = self._note_denial(call, refusal.reason, action)
        why = self.services.pack.text("denied.md", tool=call.name, reason=reason)
        what = clip(refusal.what, _TITLE_CHARS)
        return _refused(call, why, what=what, title=self._title(permitted), denied=True)

    # --- running ----------------------------------------------------------------------------

    async def _run_batch(self, batch: list[_Permitted]) -> None:
        """Run the calls of a batch at the same time, and empty it."""
        calls, batch[:] = list(batch), []
        if not calls:
            return
        async with self._recording(calls):
            await self._run_together(calls)

    def _recording(self, calls: Sequence[_Permitted]) -> AbstractAsyncContextManager[None]:
        """Records what the calls change, hooks included."""
        kinds = {permitted.tool.kind for permitted in calls}
        if self.check.command is None:
            kinds.discard("done")
        if kinds <= {"read", "plan", "network"}:
            return nullcontext()
        hooked = any(hook.on == "after_tool" for hook in self.services.hooks.hooks)
        if hooked or kinds != {"edit"}:
            texts = [str(value) for p in calls for value in p.call.arguments.values()]
            return self.files.recording(about="\n".join([*texts, self.check.command or ""]))
        workspace = self._context.workspace
        written = [
            os.path.relpath(action.path, workspace)
            for permitted in calls
            for action in permitted.actions
            if isinstance(action, WritePath)
        ]
        return self.files.recording([path for path in written if not path.startswith("../")])

    async def _run_together(self, calls: Sequence[_Permitted]) -> None:
        for permitted in calls:
            call = permitted.call
            title = permitted.tool.tool.title(permitted.arguments, self._context)
            self.services.emit(ToolStarted(call_id=call.id, name=call.name, title=title))
        for permitted, (finished, plan) in zip(
            calls, await asyncio.gather(*map(self._run_one, calls)), strict=True
        ):
            self._report(finished)
            hooked = await self.services.hooks.after_tool(
                permitted.call, finished, permitted.actions
            )
            self.hook_texts += hooked.add
            self._show(hooked.notices)
            while self.services.gate.notices:
                text = self.services.gate.notices.pop(0)
                self.services.emit(Notice(level="warning", text=text))
            if plan is not None:
                self.services.emit(plan)

    async def _run_one(self, permitted: _Permitted) -> tuple[ToolFinished, PlanUpdated | None]:
        call, tool, arguments = permitted.call, permitted.tool, permitted.arguments
        start = time.monotonic()
        title = tool.tool.title(arguments, self._context)
        context = replace(
            self._context,
            max_output_chars=tool.max_output,
            permit=partial(self._permit_later, call),
        )
        if tool.kind != "read":
            context.on_output = partial(self._show_output, call.id)
            self.services.watch.start()
        if tool.kind == "done":
            await self.check.restore_tests()
        try:
            result = await tool.tool.run(arguments, context)
        except Exception as error:  # a tool must never end the turn
            log_error(f"tool {call.name} raised", error)
            result = ToolResult(
                ok=False, content=f"{call.name} failed: {type(error).__name__}: {error}"
            )
        result = result.model_copy(
            update={
                "content": self.services.without_keys(result.content),
                "diff": self.services.without_keys(result.diff),
                "summary": self.services.without_keys(result.summary),
            }
        )
        if tool.kind == "done":
            self.check.count(result.exit_code)
        if result.ran is not None:
            await asyncio.to_thread(self.services.gate.command_ran, result.ran)
            self._note_limits(result)
        finished = ToolFinished(
            call_id=call.id,
            name=call.name,
            title=title,
            duration_s=round(time.monotonic() - start, 3),
            **result.model_dump(exclude={"plan"}),
        )
        if tool.kind == "done" and result.ok:
            self.done = finished
        plan = PlanUpdated(steps=result.plan) if result.plan is not None else None
        return finished, plan

    def _note_limits(self, result: ToolResult) -> None:
        """Tell the model what the sandbox took away or did not allow."""
        gate = self.services.gate
        notes = list(gate.notices)
        if gate.sandboxed and (
            limit := limit_reached(result.content, ok=result.ok, network=gate.network)
        ):
            notes.append(limit)
        for text in notes:
            result.content += f"\n[{text}]"
            result.notes += 1

    def _show_output(self, call_id: str, text: str) -> None:
        self.services.emit(ToolOutput(call_id=call_id, text=self.services.without_keys(text)))

    def _report(self, finished: ToolFinished) -> None:
        self.results.append(finished)
        self.services.emit(finished)

    def _show(self, notices: Sequence[Notice]) -> None:
        for notice in notices:
            self.services.emit(notice)


def _refused(
    call: ToolCall,
    why: str,
    *,
    what: str = "not run",
    title: str | None = None,
    denied: bool = False,
) -> ToolFinished:
    """The result of a call that did not run. The model reads `why`; a person, that it was `what`.

    Without a `title`, its first argument says which call it was.
    """
    given = next((str(value) for value in call.arguments.values()), "")
    shown = title or clip(f"{call.name} {given}", _TITLE_CHARS)
    return ToolFinished(
        call_id=call.id,
        name=call.name,
        ok=False,
        content=why,
        title=shown,
        summary=what,
        denied=denied,
    )
