"""The pack's reminders in one turn."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from laguna_agent.agent.check.runner import CheckRunner
from laguna_agent.agent.check.test_command import test_command
from laguna_agent.agent.services import Services
from laguna_agent.events import Notice, ToolFinished
from laguna_agent.prompts.loader.manifest import ReminderEvent

_NO_TESTS = "no tests ran"
"""What pytest says with exit status 5, which is no failure."""


class TurnReminders:
    """Decides which reminders of the pack are due in one turn."""

    def __init__(self, services: Services, check: CheckRunner) -> None:
        self._services = services
        self._reminders = services.pack.reminders()
        self._check = check
        self._max_steps = services.limits.steps
        self._left: set[str] | None = None
        """What was left to do when the end was last delayed; None: it was not."""
        root = services.tool_context.workspace
        self._tests = cache(lambda: test_command(root) or "")

    def before_done(
        self, step: int, missing: Sequence[str] = (), unchanged: Sequence[str] = ()
    ) -> list[str]:
        """Reminders that delay the end of the turn; once in a turn, and again when something was
        done meanwhile. Of the files that the task names, `missing` are not there, and `unchanged`
        as they were."""
        left = {*missing, *unchanged}
        if self._left is not None and (not left or left == self._left):
            return []
        self._left = left
        due = self._due("before_done", step, "done", missing=missing, unchanged=unchanged)
        return list(dict.fromkeys(due))

    def after_results(
        self, step: int, results: Sequence[ToolFinished], git: Sequence[str] = ()
    ) -> list[str]:
        """Reminders that are due after the results of one reply's calls. `git` is what the task
        asks of git and that was not done."""
        due: list[str] = []
        for result in results:
            if result.files_changed and not (self._check.command and self._check.last):
                due += self._due("after_edit", step, result.name, git=git)
            if result.exit_code and not (result.exit_code == 5 and _NO_TESTS in result.content):
                due += self._due("after_failed_command", step, result.name, output=result.content)
        due += self._due("every_n_steps", step)
        return list(dict.fromkeys(due))

    def _due(
        self,
        event: ReminderEvent,
        step: int,
        tool: str = "",
        **more: Any,
    ) -> list[str]:
        known = set(self._reminders.failures)
        left = max(0, self._max_steps - step)
        due = self._reminders.at(
            event,
            step=step,
            steps_left=left,
            tool=tool,
            tests=self._tests,
            **more,
        )
        for name, why in self._reminders.failures.items():
            if name not in known:
                text = f"The reminder {name} of the prompt pack is left out: {why}"
                self._services.emit(Notice(level="warning", text=text))
        return [text for _, text in due]
