"""The pack's reminders in one turn."""

from __future__ import annotations

from collections.abc import Sequence

from laguna_agent.agent.check.runner import CheckRunner
from laguna_agent.agent.services import Services
from laguna_agent.events import ToolFinished


class TurnReminders:
    """Decides which reminders of the pack are due in one turn."""

    def __init__(self, services: Services, check: CheckRunner) -> None:
        self._reminders = services.pack.reminders()
        self._check = check
        self._max_steps = services.limits.steps
        self._end_delayed = False

    def before_done(self, step: int) -> list[str]:
        """Reminders that delay the end of the turn; once in a turn."""
        if self._end_delayed:
            return []
        self._end_delayed = True
        due = self._reminders.at("before_done", step=step, steps_left=self._left(step), tool="done")
        return [text for _, text in due]

    def after_results(self, step: int, results: Sequence[ToolFinished]) -> list[str]:
        """Reminders that are due after the results of one reply's calls."""
        left = self._left(step)
        due: list[tuple[str, str]] = []
        for result in results:
            if result.files_changed and not (self._check.command and self._check.last):
                due += self._reminders.at(
                    "after_edit", step=step, steps_left=left, tool=result.name
                )
            if result.exit_code:
                due += self._reminders.at(
                    "after_failed_command", step=step, steps_left=left, tool=result.name
                )
        due += self._reminders.at("every_n_steps", step=step, steps_left=left)
        return list(dict.fromkeys(text for _, text in due))

    def _left(self, step: int) -> int:
        return max(0, self._max_steps - step)
