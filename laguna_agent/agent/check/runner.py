"""The task's check in one turn: when it runs, what is told of it, and which files it guards.

A small model edits tests to make them pass. Tests that the check may rely on are put back before
it runs, unless the task is about the tests.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from pathlib import Path

from laguna_agent.actions import Action, RunCommand
from laguna_agent.agent.approval import request_approval
from laguna_agent.agent.check.detection import is_test_file, named_check, tests_are_the_task
from laguna_agent.agent.state import Agent
from laguna_agent.errors import LagunaError
from laguna_agent.events import (
    ApprovalGiven,
    Checkpointed,
    CheckRan,
    Event,
    Notice,
    ToolCall,
    ToolFinished,
)
from laguna_agent.tools.done import run_check


class CheckRunner:
    """Runs and remembers the check of one turn."""

    def __init__(self, agent: Agent, task: str) -> None:
        self.agent = agent
        self.command = agent.check_known or named_check(task, agent.context.workspace)
        self.guards_tests = self.command is not None and not tests_are_the_task(task)
        self.last: CheckRan | None = None
        self.checkpoint: str | None = None
        self.put_back: list[str] = []
        """Tests that were changed and put back when the check last ran."""
        self._allowed = False
        self._held = False
        self._reminders = agent.pack.reminders()

    @property
    def passed(self) -> bool:
        """Whether the check passed when it last ran."""
        return self.last is not None and self.last.exit_code == 0

    async def begin(self) -> AsyncGenerator[Event, None]:
        """Record the working tree, and run the check once to see what fails."""
        agent = self.agent
        agent.context.check = self.command
        if not agent.gate.plan:
            async for event in self._record():
                yield event
        if self.command is None or not agent.pack.manifest.check_first:
            return
        async for event in self._ask():
            yield event
        if self.may_run():
            yield await self.run()

    async def _ask(self) -> AsyncGenerator[Event, None]:
        """Where a person is asked about commands, ask once for all of the turn's checks."""
        agent, action = self.agent, self._action()
        decision = agent.gate.decide(action, tool="done")
        if decision.verdict != "ask" or agent.approver is None:
            return
        why = f"the check of this task, to run now and after changes; {decision.reason}"
        decision = decision.model_copy(update={"reason": why.removesuffix("; ")})
        async for event in request_approval(agent, action, decision, call_id="check", tool="done"):
            yield event
            if isinstance(event, ApprovalGiven):
                self._allowed = event.answer != "no"

    def _action(self) -> RunCommand:
        return RunCommand(command=self.command or "", cwd=str(self.agent.context.workspace))

    def allows(self, action: Action) -> bool:
        """Whether this is the check, which a person has allowed for this turn."""
        return self._allowed and action == self._action()

    async def _record(self) -> AsyncGenerator[Event, None]:
        agent = self.agent
        if agent.checkpoints is None:
            return
        try:
            label = f"turn {agent.turns}"
            self.checkpoint = await asyncio.to_thread(agent.checkpoints.record, label)
            yield Checkpointed(id=self.checkpoint)
        except LagunaError as error:
            yield Notice(level="warning", text=f"No checkpoint: {error}")

    def may_run(self) -> bool:
        """Whether the gate, or a person in this turn, lets the check run without asking;
        otherwise only `done` runs it, which is asked about."""
        if self.command is None:
            return False
        verdict = self.agent.gate.decide(self._action(), tool="done").verdict
        return verdict == "allow" or (verdict == "ask" and self._allowed)

    async def run(self) -> CheckRan:
        """Run it now, on the tests as they were."""
        self.put_back = await asyncio.to_thread(self.restore_tests)
        ran = await run_check(self.agent.context)
        if ran is None:
            raise LagunaError("the check is gone")
        self.last = ran
        return ran

    def due(self, *, changed: bool, ran: Sequence[str]) -> bool:
        """Whether to run the check after these calls: a pack for small models has it run after
        each change, so that passing ends the turn."""
        return (
            self.command is not None
            and changed
            and self.agent.pack.manifest.check_after_change
            and "done" not in ran
            and self.may_run()
        )

    def guard(self, call_path: str) -> str | None:
        """Why a file may not be written, or None. For paths relative to the workspace."""
        if not self.guards_tests or not is_test_file(call_path):
            return None
        if not (self.agent.context.workspace / call_path).exists():
            return None
        return (
            f"{call_path} is a test and stays as it is. Change the code that it tests so that "
            "it passes."
        )

    def restore_tests(self) -> list[str]:
        """Put tests back that a command changed; returns their paths."""
        agent = self.agent
        if not self.guards_tests or self.checkpoint is None or agent.checkpoints is None:
            return []
        try:
            changed = agent.checkpoints.changed_since(self.checkpoint)
            tests = [path for path in changed if is_test_file(path)]
            if tests:
                agent.checkpoints.restore(self.checkpoint, only=tests)
            return tests
        except LagunaError:
            return []

    async def files_changed(self) -> list[str]:
        """What differs from the turn's beginning, by whatever means."""
        agent = self.agent
        if self.checkpoint is None or agent.checkpoints is None:
            return []
        try:
            return await asyncio.to_thread(agent.checkpoints.changed_since, self.checkpoint)
        except LagunaError:
            return []

    def failed_note(self, ran: CheckRan) -> str:
        """What the model is told when the check fails."""
        limit = self.agent.pack.limits.result_chars
        output = ran.output if len(ran.output) <= limit else f"[...]\n{ran.output[-limit:]}"
        return self.agent.pack.text(
            "check_failed.md",
            command=ran.command,
            exit_code=ran.exit_code,
            output=output,
            tests_changed=self.put_back,
        )

    def passed_summary(self, changed: Sequence[str]) -> str:
        """A sentence for the end of a turn that the check decided."""
        names = ", ".join(sorted(Path(path).as_posix() for path in changed)) or "nothing"
        return f"`{self.command}` passes. Changed: {names}."

    def is_passed_by(self, call: ToolCall, result: ToolFinished) -> bool:
        """Whether a call of the model's was the check itself, and it passed."""
        command = call.arguments.get("command")
        return (
            self.command is not None
            and isinstance(command, str)
            and command.strip() == self.command
            and result.exit_code == 0
        )

    def before_done(self, step: int) -> list[str]:
        """Reminders that hold the end back, once in a turn: the next end is the end."""
        if self._held:
            return []
        self._held = True
        left = max(0, self.agent.limits.steps - step)
        due = self._reminders.at("before_done", step=step, steps_left=left, tool="done")
        return [text for _, text in due]

    async def leave(self) -> None:
        """Remember the files as they are, so that the next turn can say what a person changed."""
        agent = self.agent
        agent.left = None
        if agent.approver is None or agent.checkpoints is None or agent.gate.plan:
            return  # nobody is there who would go on, or nothing was changed
        with suppress(LagunaError):
            label = f"after turn {agent.turns}"
            agent.left = await asyncio.to_thread(agent.checkpoints.record, label)

    async def changed_meanwhile(self) -> list[str]:
        """Paths that differ from how the last turn left them."""
        agent = self.agent
        if agent.left is None or agent.checkpoints is None:
            return []
        try:
            return await asyncio.to_thread(agent.checkpoints.changed_since, agent.left)
        except LagunaError:
            return []

    def reminders(self, step: int, results: Sequence[ToolFinished]) -> list[str]:
        """Reminders of the pack that are due after these results."""
        left = max(0, self.agent.limits.steps - step)
        due: list[tuple[str, str]] = []
        for result in results:
            if result.files_changed and not (self.command and self.last):
                due += self._reminders.at(
                    "after_edit", step=step, steps_left=left, tool=result.name
                )
            if result.exit_code:
                due += self._reminders.at(
                    "after_failed_command", step=step, steps_left=left, tool=result.name
                )
        due += self._reminders.at("every_n_steps", step=step, steps_left=left)
        return list(dict.fromkeys(text for _, text in due))
