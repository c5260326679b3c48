"""The shell tool: runs commands in one bash, which keeps its directory and variables."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, field_validator

from laguna_agent.actions import Action, RunCommand
from laguna_agent.programs import find_program
from laguna_agent.tools.output import save_output
from laguna_agent.tools.terminal.ansi import clean_text
from laguna_agent.tools.terminal.background import BackgroundCommand
from laguna_agent.tools.terminal.bash import BashSession, CommandResult, ShellError
from laguna_agent.tools.terminal.capture import FILE_LIMIT
from laguna_agent.tools.tool import ToolArguments, ToolContext, ToolKind, ToolResult

DEFAULT_TIMEOUT = 120
_SHELL = "shell"
_ALL = "shell.all"
_PROTECTED = "shell.protected"


class ShellArguments(ToolArguments):
    """The command, and its timeout in seconds."""

    command: str
    timeout: int = Field(DEFAULT_TIMEOUT, ge=1, le=7200)

    @field_validator("command")
    @classmethod
    def _text(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("a command cannot be empty")
        if "\0" in value:
            raise ValueError("a command cannot hold a NUL character")
        return value


class ShellTool:
    """Runs a command."""

    name: ClassVar[str] = "shell"
    kind: ClassVar[ToolKind] = "execute"
    description: ClassVar[str] = "Run a bash command, without input. End servers with &."
    arguments: ClassVar[type[ToolArguments]] = ShellArguments
    example: ClassVar[dict[str, Any]] = {"command": "ls -l"}

    def title(self, arguments: ShellArguments, context: ToolContext) -> str:
        """`$ make test`."""
        first, *more = clean_text(arguments.command.strip()).split("\n")
        return f"$ {first}{' …' if more else ''}"

    def actions(self, arguments: ShellArguments, context: ToolContext) -> list[Action]:
        """The command, with the directory that it would run in."""
        return [RunCommand(command=arguments.command, cwd=shell_cwd(context))]

    async def run(self, arguments: ShellArguments, context: ToolContext) -> ToolResult:
        """Run the command and show its output live."""
        problem = await _syntax_error(arguments.command)
        if problem:
            return ToolResult(
                ok=False,
                content=f"{problem}\n[syntax error: nothing was run]",
                summary="syntax error",
                exit_code=2,
            )
        session, renewed = await _session(context)
        before = session.cwd
        try:
            result = await session.run(
                arguments.command, timeout=arguments.timeout, on_output=context.on_output
            )
        except ShellError as error:
            return ToolResult(
                ok=False, content=str(error), summary="no shell", ran=arguments.command
            )
        result.renewed = result.renewed or renewed
        return _result(result, before, arguments)


def shell_cwd(context: ToolContext) -> str:
    """The directory that the next command runs in."""
    session = context.state.get(_SHELL)
    return session.cwd if isinstance(session, BashSession) else str(context.start)


def calls_made(context: ToolContext) -> int:
    """How many commands the session's shell has run."""
    session = context.state.get(_SHELL)
    return session.calls if isinstance(session, BashSession) else 0


def running_calls(context: ToolContext) -> set[int]:
    """The commands, counted from 1, that still have processes in the background."""
    session = context.state.get(_SHELL)
    return session.running_calls() if isinstance(session, BashSession) else set()


async def stopped(context: ToolContext) -> None:
    """Wait until a cancelled command has been stopped."""
    session = context.state.get(_SHELL)
    if isinstance(session, BashSession):
        await session.settled()


def new_session(context: ToolContext) -> BashSession:
    """A new shell where commands run, which the caller closes."""
    return _new_session(context)


def end_shell(context: ToolContext) -> None:
    """Kill the shell with all that runs in it; the next command starts another."""
    session = context.state.get(_SHELL)
    if isinstance(session, BashSession):
        session.kill()


def commands_if_quiet(context: ToolContext) -> int | None:
    """The number of commands that ran in all shells so far; None while anything runs in one."""
    calls = [session.calls_if_quiet() for session in context.state.get(_ALL, ())]
    return None if None in calls else sum(call or 0 for call in calls)


async def _session(context: ToolContext) -> tuple[BashSession, bool]:
    """The shell, and whether it replaces one that could not be used any more."""
    session, renewed = context.state.get(_SHELL), False
    protected = context.protected()
    if not isinstance(session, BashSession):
        session = _new_session(context)
        context.state[_SHELL] = session
        context.resources.append(session)
        context.state[_PROTECTED] = protected
    elif session.sandbox is not context.sandbox or not protected <= context.state[_PROTECTED]:
        renewed = session.sandbox is context.sandbox
        await session.restart(context.sandbox)
        context.state[_PROTECTED] = protected
    return session, renewed


def _new_session(context: ToolContext) -> BashSession:
    def save() -> tuple[str, Path]:
        return save_output(context, "")

    session = BashSession(
        workspace=context.start if context.start.is_dir() else context.workspace,
        directory=context.state_dir / "shell",
        sandbox=context.sandbox,
        save=save,
        limit=context.max_output_chars,
    )
    context.state.setdefault(_ALL, []).append(session)
    return session


async def _syntax_error(command: str) -> str:
    """The syntax error that bash reports, empty if there is none. Nothing is run."""

    def check() -> str:
        bash = find_program("bash") or "/bin/bash"
        try:
            checked = subprocess.run(
                [bash, "--norc", "--noprofile", "-O", "extglob", "-n"],
                input=command.encode("utf-8", "surrogateescape"),
                capture_output=True,
                timeout=10,
                check=False,
                env={"PATH": "/usr/bin:/bin:/usr/local/bin:/opt/homebrew/bin", "LC_ALL": "C.UTF-8"},
            )
        except (OSError, subprocess.TimeoutExpired):
            return ""
        if checked.returncode == 0:  # an unterminated here-document is only a warning
            return ""
        return clean_text(checked.stderr.decode("utf-8", "replace").strip())[:1000]

    return await asyncio.to_thread(check)


def _result(result: CommandResult, cwd_before: str, arguments: ShellArguments) -> ToolResult:
    notes = _ending(result, arguments.timeout)
    if result.renewed:
        notes.append("[this ran in a new shell: the previous one was killed]")
    if result.cwd != cwd_before and not result.restarted:
        notes.append(f"[now in {clean_text(result.cwd)}]")
    if result.background is not None:
        pids = result.background.pids
        what = f"pid {', '.join(map(str, pids))}" if pids else "something it started"
        notes.append(f"[{what} still runs in the background{_handles(result.background)}]")
    if result.restarted or result.renewed:  # the new shell does not list them in `jobs`
        notes += [
            f"[still in the background: {_first_line(job.command)}{_handles(job)}]"
            for job in result.running
        ]
    for job in result.ended:
        output = f"; its output: {job.capture.name}" if job.capture.name else ""
        notes.append(f"[ended in the background: {_first_line(job.command)}{output}]")
    text = result.text.rstrip("\n")
    if not text.strip():
        text = "" if notes else "(no output)"
    elif notes:
        text += "\n"
    failed = result.exit_code != 0
    return ToolResult(
        ok=not failed,
        content=text + "\n".join(notes),
        summary=_summary(result, arguments.timeout),
        truncated=result.capture.truncated,
        output_file=str(result.capture.file) if result.capture.file else None,
        exit_code=result.exit_code,
        notes=len(notes),
        ran=arguments.command,
    )


def _handles(job: BackgroundCommand) -> str:
    """How to read and stop a background command."""
    where = f"; its output goes to {job.capture.name}" if job.capture.name else ""
    stop = f"; stop with: kill {' '.join(map(str, job.pids))}" if job.pids else ""
    return where + stop


def _first_line(command: str) -> str:
    return clean_text(command.strip()).split("\n")[0][:60]


def _ending(result: CommandResult, timeout: int) -> list[str]:
    if result.flooded:
        return [f"[stopped: it printed more than {FILE_LIMIT >> 20} MB]", *_new_shell(result)]
    if result.timed_out:
        how = "give a longer timeout, or end the command with & to keep it running"
        return [f"[stopped after {timeout} s; {how}]", *_new_shell(result)]
    notes = []
    if result.exit_code:
        notes.append(f"[exit {result.exit_code}{_signal_name(result.exit_code)}]")
    if result.restarted:
        notes.append(
            f"[the command ended the shell; a new one started in {clean_text(result.cwd)}]"
        )
        notes += _new_shell(result)
    return notes


def _new_shell(result: CommandResult) -> list[str]:
    return ["[variables that were not exported are lost]"] if result.state_lost else []


def _signal_name(code: int) -> str:
    try:
        return f", killed by {signal.Signals(code - 128).name}" if code > 128 else ""
    except ValueError:
        return ""


def _summary(result: CommandResult, timeout: int) -> str:
    if result.timed_out:
        return f"stopped after {timeout} s"
    if result.flooded:
        return "stopped: too much output"
    return f"exit {result.exit_code}"
