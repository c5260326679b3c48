"""The done tool: ends the turn with a summary, after the task's check has passed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, ClassVar

from laguna_agent.actions import Action, RunCommand
from laguna_agent.events import CheckRan
from laguna_agent.tools.shell import new_session
from laguna_agent.tools.stated_output import Printed, report
from laguna_agent.tools.terminal.bash import ShellError
from laguna_agent.tools.tool import ToolArguments, ToolContext, ToolKind, ToolResult

CHECK_TIMEOUT = 600.0
STATED_TIMEOUT = 30.0
"""Seconds for each command whose output is stated."""
_NOT_RUN = 126


class DoneArguments(ToolArguments):
    """A summary of what was done."""

    summary: str


class DoneTool:
    """Ends the turn if the check passes; if not, its result is not `ok` and the turn continues."""

    name: ClassVar[str] = "done"
    kind: ClassVar[ToolKind] = "done"
    description: ClassVar[str] = "End the task."
    arguments: ClassVar[type[ToolArguments]] = DoneArguments
    example: ClassVar[dict[str, Any]] = {"summary": "WHAT CHANGED"}

    def title(self, arguments: DoneArguments, context: ToolContext) -> str:
        """`Done`."""
        return "Done"

    def actions(self, arguments: DoneArguments, context: ToolContext) -> list[Action]:
        """The check, if there is one."""
        if context.check is None:
            return []
        return [RunCommand(command=context.check, cwd=str(context.start))]

    async def run(self, arguments: DoneArguments, context: ToolContext) -> ToolResult:
        """End the turn, or report why the check failed."""
        if context.check is None:
            return ToolResult(ok=True, content=arguments.summary, summary="done")
        ran = await run_check(context)
        if ran is None:  # only if the check was unset meanwhile
            return ToolResult(ok=True, content=arguments.summary)
        if ran.exit_code == 0:
            return ToolResult(
                ok=True, content=arguments.summary, summary="check passed", exit_code=0
            )
        return ToolResult(
            ok=False,
            content=(
                f"{ran.output}\n[not done: the check `{ran.command}` failed, exit {ran.exit_code}; "
                "make it pass, then call done again]"
            ),
            summary=f"check failed, exit {ran.exit_code}",
            exit_code=ran.exit_code,
        )


async def run_check(context: ToolContext, *, timeout: float = CHECK_TIMEOUT) -> CheckRan | None:
    """Run the task's check; None if it has none. Never raises.

    It runs in a new shell where commands start, so that what the model did to its own shell
    (variables, functions, directory) does not affect it. Exit code 124 means that it timed out,
    126 that no shell could be started.
    """
    if context.check is None:
        return None
    started = time.monotonic()
    if context.stated:
        results = await run_stated(context)
        return checked(context.check, results, time.monotonic() - started)
    session = new_session(context)
    try:
        result = await session.run(context.check, timeout=timeout, on_output=context.on_output)
    except ShellError as error:
        return CheckRan(command=context.check, exit_code=_NOT_RUN, output=str(error))
    finally:
        await session.aclose()
    code, output = result.exit_code, result.text.rstrip("\n")
    if result.timed_out or code is None:
        code = 124
        why = f"stopped after {timeout:.0f} s" if result.timed_out else "stopped"
        output = f"{output}\n[{why}]".lstrip("\n")
    return CheckRan(
        command=context.check,
        exit_code=code,
        output=output,
        duration_s=round(time.monotonic() - started, 3),
    )


async def run_stated(context: ToolContext) -> list[Printed]:
    """Run the commands whose output is stated, each in a new shell, without input. Never raises.

    Ends with the first that could not be run or had to be stopped.
    """
    results: list[Printed] = []
    for stated in context.stated:
        session = new_session(context)
        try:
            await session.run(_PREPARE, timeout=STATED_TIMEOUT, on_output=lambda text: None)
            ran = await session.run(
                f'(\n{stated.command}\n) < /dev/null 2> "$laguna_errors"',
                timeout=STATED_TIMEOUT,
                on_output=context.on_output,
            )
            errors = await session.run(_ERRORS, timeout=STATED_TIMEOUT, on_output=lambda text: None)
        except ShellError as error:
            results.append(Printed(stated, "", str(error), None))
            break
        finally:
            await session.aclose()
        code = None if ran.timed_out else ran.exit_code
        results.append(Printed(stated, ran.text, errors.text, code))
        if code is None:
            break
    return results


_PREPARE = "export PYTHONDONTWRITEBYTECODE=1; laguna_errors=$(mktemp)"
_ERRORS = 'cat "$laguna_errors"; rm -f "$laguna_errors"'


def checked(command: str, results: Sequence[Printed], seconds: float) -> CheckRan:
    """What running these commands says as a check, which is shown as `command`."""
    passed = all(result.holds for result in results)
    return CheckRan(
        command=command,
        exit_code=0 if passed else 1,
        output=report(results),
        duration_s=round(seconds, 3),
    )
