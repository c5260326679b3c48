"""Reminders: messages that a pack adds at events of a turn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from laguna_agent.prompts.loader.manifest import ReminderEvent, ReminderSpec
from laguna_agent.prompts.loader.problems import PackError
from laguna_agent.prompts.loader.templates import REMINDER


@dataclass(frozen=True)
class Reminder:
    """One reminder: its settings and what renders its text."""

    name: str
    spec: ReminderSpec
    render: Callable[[Mapping[str, Any]], str]


class Reminders:
    """The reminders of one turn. Counts how often each was used."""

    def __init__(self, reminders: Sequence[Reminder]) -> None:
        self._reminders = tuple(reminders)
        self._used = {reminder.name: 0 for reminder in reminders}
        self.failures: dict[str, str] = {}
        """Why a reminder, by its name, could not be made; it is not tried again."""

    def at(
        self,
        event: ReminderEvent,
        *,
        step: int = 0,
        steps_left: int = 0,
        tool: str = "",
        tests: Callable[[], str] = str,
        output: str = "",
        missing: Sequence[str] = (),
        unchanged: Sequence[str] = (),
        git: Sequence[str] = (),
    ) -> list[tuple[str, str]]:
        """Name and text of each due reminder, in the pack's order. `step` counts from 1, `tests`
        finds the command that runs the repository's tests, when a reminder is due. `output` is what
        a command printed; of the files that the task names, `missing` are not there and `unchanged`
        are as they were. `git` is what the task asks of git and that was not done."""
        due = []
        values = {**REMINDER, "step": step, "steps_left": steps_left, "tool": tool}
        values |= {"output": output, "missing": missing, "unchanged": unchanged}
        values |= {"git": git}
        for reminder in self._reminders:
            spec = reminder.spec
            if spec.on != event or (spec.every and (step == 0 or step % spec.every)):
                continue
            if spec.times is not None and self._used[reminder.name] >= spec.times:
                continue
            if reminder.name in self.failures:
                continue
            try:
                text = reminder.render({**values, "tests": tests()})
            except PackError as error:  # a slip in a template is no reason to end a turn
                self.failures[reminder.name] = error.message
                continue
            if text.strip():
                self._used[reminder.name] += 1
                due.append((reminder.name, text))
        return due
