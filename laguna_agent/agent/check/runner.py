"""The check in one turn: when it runs, what the model reads of it, which tests it protects.

A small model edits tests to make them pass. Tests that the check may rely on, and the settings of
their runner, are put back before it runs, unless the task is about the tests.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from laguna_agent.actions import Action, RunCommand
from laguna_agent.agent.check.detection import (
    NamedCheck,
    is_question,
    is_test_file,
    named_check,
    only_tests_are_asked_for,
    test_file_command,
    tests_are_the_task,
)
from laguna_agent.agent.check.examples import FailedExample, examples_of, first_failure
from laguna_agent.agent.check.failures import wrong_assertions
from laguna_agent.agent.check.runner_settings import (
    all_settings,
    is_runner_file,
    is_shared,
    names_check_script,
    settings_about_tests,
)
from laguna_agent.agent.check.stated_outputs import stated_outputs
from laguna_agent.agent.services import Services
from laguna_agent.agent.turn_files import TurnFiles
from laguna_agent.errors import LagunaError
from laguna_agent.events import CheckRan, CheckResult, Notice, ToolCall, ToolFinished
from laguna_agent.log import log_decision
from laguna_agent.tools.done import CHECK_TIMEOUT, checked, run_check, run_stated
from laguna_agent.tools.stated_output import StatedOutput, as_command
from laguna_agent.tools.tool import ToolContext

_MOST_WRONG = 6
"""Lines of tests that were wrong that the model reads."""


class CheckRunner:
    """Runs the check of one turn and remembers its last result.

    `given` is the check of `--check` or `/check`; it takes precedence over one that the task names.
    """

    def __init__(
        self, services: Services, files: TurnFiles, task: str, given: str | None = None
    ) -> None:
        self._services = services
        self._files = files
        if given is not None and services.approver is not None and is_question(task):
            given = None  # a person asks something between two tasks
        self._given = given is not None
        named = NamedCheck(given) if given else named_check(task, services.tool_context.start)
        self.command, self._doubt = named
        self.protects_tests = named.command is not None and not tests_are_the_task(task)
        self._wants_tests = only_tests_are_asked_for(task)
        workspace = services.tool_context.workspace
        self._settings = all_settings(workspace) if self.protects_tests else {}
        """What files that hold other settings too say about tests, before the turn."""
        self.last: CheckRan | None = None
        self.result = CheckResult(command=self.command) if self.command else None
        """How the check ended when it last ran, also by `done`."""
        self.tests_file: str | None = None
        """The file of the tests that the task asks for, as the model names it, where these are the
        check."""
        self.wrong_tests: list[str] = []
        """Where the tests that the task asks for are its check: lines of those that failed, with
        what the code gave."""
        self.given_lines: set[int] = set()
        """Lines of these tests that were changed to what the code gives."""
        self._restored_tests: list[str] = []
        """Tests that were changed and put back when the check last ran."""
        self._approved = False
        """Whether a person approved the check for this turn."""
        self.failed_example: FailedExample | None = None
        """An example in documentation that failed when the last were run."""
        self._stated: Sequence[StatedOutput] = ()
        """What commands should print or exit with, where the check is made of that."""
        manifest = services.pack.manifest
        if self.command is None and manifest.check_after_change and manifest.check_first:
            self._take(stated_outputs(task, services.tool_context.start))

    def _take(self, stated: Sequence[StatedOutput]) -> None:
        """Make the check of what the task says of commands; of nothing, have none."""
        self._stated = stated
        self.command = as_command(stated) if stated else None
        self.result = CheckResult(command=self.command) if self.command else None
        self.last = None

    async def _settle_stated(self) -> None:
        """Run what is stated for the first time, and keep what is a check of the task: something
        is not so yet, and running it changes no files."""
        if not self.may_run():
            self._take(())
            return
        started = time.monotonic()
        before = set(self._files.changed)
        async with self._files.recording(about=self.command or ""):
            results = await run_stated(self.context())
        kept = [r for r in results if r.makes_check]
        ran = len(results) == len(self._stated) and not all(r.holds for r in kept)
        self._take([r.stated for r in kept] if ran else ())
        if await self._take_back_effects(before) or self.command is None:
            return
        self._note(checked(self.command, kept, time.monotonic() - started))

    async def _take_back_effects(self, before: set[str]) -> bool:
        """Take back what stated commands have changed since `before`; there is no check then."""
        if not await self._undo(before):
            return False
        self._take(())
        return True

    async def _undo(self, before: set[str]) -> bool:
        """Take back changes of files that this turn had not changed before; whether there are."""
        made = {path for path in self._files.changed if path not in before}
        if made:
            await self._files.take_back(made.__contains__)
        return bool(made)

    async def run_examples(self, results: Sequence[ToolFinished]) -> FailedExample | None:
        """Run the examples in the docstrings of functions that these calls changed, for a pack for
        small models; the first that fails."""
        services = self._services
        if not services.pack.manifest.check_after_change or services.gate.plan:
            return None
        changed = await asyncio.to_thread(examples_of, services, results)
        if not changed:
            return None
        before = set(self._files.changed)
        async with self._files.recording(about=" ".join(path for path, _ in changed)):
            self.failed_example = await first_failure(services, changed)
        await self._undo(before)
        return self.failed_example

    def adopt_tests(self, changed: Sequence[str]) -> None:
        """Make a check of the tests that a task asks for, for a pack for small models, where one
        file of tests is all that has changed: they are to pass for the code as it is."""
        context, small = (
            self._services.tool_context,
            self._services.pack.manifest.check_after_change,
        )
        wanted = small and self._wants_tests and self.command is None and len(changed) == 1
        if not wanted or not is_test_file(changed[0]) or self._services.gate.plan:
            return
        path = context.shown(changed[0])
        command = self.command = test_file_command(context.start, path)
        if command is not None and self.may_run():
            self.result, self.tests_file = CheckResult(command=command), path
        else:
            self.command = None

    def learn_from_tests(self, ran: CheckRan) -> None:
        """Learn from tests that the task asks for what the code gives, when they fail. Without that
        they are no check: something else is wrong."""
        if self.tests_file is None:
            return
        wrong = wrong_assertions(ran.output)
        self.wrong_tests = list(dict.fromkeys([*self.wrong_tests, *wrong]))[-_MOST_WRONG:]
        if not wrong:
            self.command = self.tests_file = self.result = self.last = None
            self.given_lines.clear()

    def context(self) -> ToolContext:
        """What tools use, with the check."""
        return replace(self._services.tool_context, check=self.command, stated=self._stated)

    @property
    def passed(self) -> bool:
        """Whether the check passed when it last ran."""
        return self.result is not None and self.result.exit_code == 0

    async def run_first(self) -> None:
        """Run the check before the first reply, where the pack wants to show what fails."""
        if self._doubt is not None:
            text = (
                f"`{self._doubt}` is not taken as the check of this task. If its success decides, "
                f"say so: until `{self._doubt}` passes, "
            )
            text += "--check or /check." if self._services.approver is None else "or /check."
            self._services.emit(Notice(text=text))
        if self.command is None or not self._services.pack.manifest.check_first:
            return
        await self._request_approval()
        if self._stated:
            await self._settle_stated()
        elif self.may_run():
            await self.run()

    async def _request_approval(self) -> None:
        """Ask once per turn for approval of the check."""
        services, action = self._services, self._action()
        decision = services.gate.decide(action, tool="done")
        log_decision("done", decision)
        if decision.verdict != "ask" or services.approver is None:
            return
        why = f"the check of this task, to run now and after changes; {decision.reason}"
        decision = decision.model_copy(update={"reason": why.removesuffix("; ")})
        approval = await services.request_approval(action, decision, call_id="check", tool="done")
        self._approved = approval.allows

    def _action(self) -> RunCommand:
        start = self._services.tool_context.start
        return RunCommand(command=self.command or "", cwd=str(start))

    def is_approved(self, action: Action) -> bool:
        """Whether this is the check, and a person approved it for this turn."""
        return self._approved and action == self._action()

    def may_run(self) -> bool:
        """Whether the check may run without asking. Otherwise only `done` runs it, after asking."""
        if self.command is None:
            return False
        verdict = self._services.gate.decide(self._action(), tool="done").verdict
        return verdict == "allow" or (verdict == "ask" and self._approved)

    async def run(self, *, timeout: float | None = None) -> CheckRan:
        """Run the check now, with the protected tests as they were, for `timeout` seconds at
        most."""
        self._restored_tests = await self.restore_tests()
        before = set(self._files.changed)
        async with self._files.recording(about=self.command or ""):
            ran = await run_check(self.context(), timeout=timeout or CHECK_TIMEOUT)
        if ran is None:
            raise LagunaError("this turn has no check to run")
        ran = self._note(ran)
        if self._stated:
            await self._take_back_effects(before)
        return ran

    def _note(self, ran: CheckRan) -> CheckRan:
        """Remember and show a run of the check."""
        ran = ran.model_copy(update={"output": self._services.without_keys(ran.output)})
        self.last = ran
        self.count(ran.exit_code)
        self._services.emit(ran)
        return ran

    def count(self, exit_code: int | None) -> None:
        """Count a run of the check; None: it did not run."""
        if self.result is not None and exit_code is not None:
            self.result.exit_code = exit_code
            self.result.runs += 1

    def is_needed(self, *, changed: bool) -> bool:
        """Whether an answer without calls ends the turn only if the check passes. A person who set
        a check for the whole session reads an answer that changed nothing as an answer."""
        if self.command is None or self.passed:
            return False
        return changed or not self._given or self._services.approver is None

    def is_due(self, *, changed: bool, called: Sequence[str]) -> bool:
        """Whether to run the check after these calls: a pack for small models runs it after each
        change, so that the turn ends when it passes."""
        return (
            self.command is not None
            and changed
            and self._services.pack.manifest.check_after_change
            and "done" not in called
            and self.may_run()
        )

    def protected(self, path: str) -> str | None:
        """Why a file may not be written, or None. `path` is relative to the workspace."""
        test = is_test_file(path)
        fixed = is_runner_file(path) or (not test and names_check_script(self.command or "", path))
        if not self.protects_tests or not (test or fixed):
            return None
        if fixed:
            return (
                f"{self._services.tool_context.shown(path)} decides how the tests run and stays as "
                "it is. Change the code that is tested so that the tests pass."
            )
        if not (self._services.tool_context.workspace / path).exists():
            return None
        return (
            f"{self._services.tool_context.shown(path)} is a test and stays as it is. Change the "
            "code that it tests so that it passes."
        )

    async def restore_tests(self) -> list[str]:
        """Put back tests, and how they run, where a command changed it; returns their paths."""
        return await self._files.take_back(self._decides_result) if self.protects_tests else []

    def _decides_result(self, path: str) -> bool:
        """Whether a changed file is a test, or changes how tests run."""
        if is_test_file(path) or is_runner_file(path):
            return True
        if names_check_script(self.command or "", path):
            return True
        workspace = self._services.tool_context.workspace
        return is_shared(path) and (
            settings_about_tests(workspace, path) != self._settings.get(path, "")
        )

    def failed_note(self, ran: CheckRan) -> str:
        """The message to the model when the check fails."""
        limit = self._services.pack.limits.result_chars
        output = ran.output if len(ran.output) <= limit else f"[...]\n{ran.output[-limit:]}"
        return self._services.pack.text(
            "check_failed.md",
            command=ran.command,
            exit_code=ran.exit_code,
            output=output,
            tests_changed=self._restored_tests,
        )

    def passed_summary(self, changed: Sequence[str]) -> str:
        """The summary of a turn that ends because the check passes."""
        names = ", ".join(sorted(Path(path).as_posix() for path in changed)) or "nothing"
        summary = f"`{self.command}` passes. Changed: {names}."
        if self.tests_file is not None and self.given_lines:
            lines = ", ".join(map(str, sorted(self.given_lines)))
            summary += (
                f" In {self.tests_file} the model expected something else than the code gives "
                f"(line {lines}); the tests expect that now. Check that it is right."
            )
        return summary

    def is_passed_by(self, call: ToolCall, result: ToolFinished) -> bool:
        """Whether a call was the check itself, and it passed."""
        command = call.arguments.get("command")
        return (
            self.command is not None
            and not self._stated
            and isinstance(command, str)
            and command.strip() == self.command
            and result.exit_code == 0
        )
