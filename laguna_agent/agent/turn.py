"""The state of one turn: what it counts, and how it ends."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from laguna_agent.agent.approval import WaitingTime
from laguna_agent.agent.candidates import Candidates, faults
from laguna_agent.agent.check.examples import FailedExample
from laguna_agent.agent.check.runner import CheckRunner
from laguna_agent.agent.context.context_window import ContextWindow
from laguna_agent.agent.context.first_message import ShownFile, text_of
from laguna_agent.agent.context.git_task import asks_for_edits, git_is_done, git_left
from laguna_agent.agent.context.reminders import TurnReminders
from laguna_agent.agent.context.task_kind import (
    TaskKind,
    answer_file,
    command_to_run,
    only_renames,
    rename_command,
    task_kind,
)
from laguna_agent.agent.data_task import DataTask, data_task
from laguna_agent.agent.loop_detector import LoopDetector
from laguna_agent.agent.retries import CODE, WRITING, Retries
from laguna_agent.agent.services import Services, TurnLimits
from laguna_agent.agent.state import SessionState
from laguna_agent.agent.tool_executor import ToolExecutor
from laguna_agent.agent.turn_files import TurnFiles
from laguna_agent.events import (
    Denied,
    Reply,
    Status,
    SystemNote,
    TurnFinished,
    Usage,
    UserMessage,
)
from laguna_agent.plurals import counted
from laguna_agent.tools.code.stubs import stubs_in

_RUNS = re.compile(r"\b(?:run|runs|execute|start|install|build|delete|remove)\b", re.IGNORECASE)
"""Words of tasks that need a command too."""
_GIT_STEPS = 8
"""Steps in which a model is held to what the task asks of git."""
_FIRST_STEPS = 4
"""Steps in which a model is held to edit first."""


class TurnOutcome(NamedTuple):
    """How a turn ends."""

    status: Status
    summary: str = ""
    error: str | None = None


@dataclass
class Turn:
    """What one turn counts and decides."""

    files: TurnFiles
    check: CheckRunner
    retries: Retries
    candidates: Candidates
    reminders: TurnReminders
    waiting: WaitingTime
    loop_detector: LoopDetector = field(default_factory=LoopDetector)
    started: float = field(default_factory=time.monotonic)
    waited_before: float = 0.0
    """Seconds that earlier turns waited for a person."""
    steps: int = 0
    usage: Usage = field(default_factory=Usage)
    unfinished: Usage = field(default_factory=Usage)
    """What a reply took that is being generated, or that a stop or an error ended."""
    denied: int = 0
    """Calls that were denied."""
    denials: list[Denied] = field(default_factory=list)
    """What was denied, by hooks too."""
    all_denied: bool = False
    """Whether every call of the last reply was denied."""
    stuck: bool = False
    """Whether the turn ends because the model repeats itself."""
    commands: list[str] = field(default_factory=list)
    """Commands that succeeded."""
    data: DataTask | None = None
    """What is to be worked out from data files, until it was tried."""
    target: str = ""
    """The file that the script of the last reply is to write."""
    reply: Reply | None = None
    """The last reply."""
    failed_example: FailedExample | None = None
    """The example that the last tries failed."""
    faulty: str | None = None
    """A file that was just written with names that are undefined, or that does not parse."""
    nudges: int = 0
    """Notes that asked the model to do something else."""
    outcome: TurnOutcome | None = None
    kind: TaskKind = "answer"
    answer_file: str | None = None
    """Where an answer is to be written, if the task says so."""
    first_command: str = ""
    """The command that the task begins with, if it says so."""
    clean: bool = False
    """Whether git has nothing to commit at the start."""
    extended: bool = False
    """Whether somebody asked for more since the task."""
    refused: bool = False
    """Whether a file was not written."""
    edits_first: bool = False
    """Whether there is nothing to commit before something has changed."""
    task: str = ""
    """What the user wants."""
    said: list[UserMessage | SystemNote] = field(default_factory=list)
    """What was added between two steps: messages of the user, and notes with them."""

    @classmethod
    def create(
        cls, services: Services, state: SessionState, window: ContextWindow, task: str
    ) -> Turn:
        """A turn at its start; `task` is what the user wants. While planning there is no check:
        nothing is changed, and running it would be more than reading."""
        files = TurnFiles(services, state, task)
        plan = services.gate.plan
        check = CheckRunner(services, files, "" if plan else task, None if plan else state.check)
        retries = Retries(services, window, files, check)
        waiting, reminders = services.waiting, TurnReminders(services, check)
        candidates = Candidates(services, window, retries, check)
        return cls(
            files,
            check,
            retries,
            candidates,
            reminders,
            waiting,
            waited_before=waiting.seconds,
            clean=state.turns == 1
            and state.first_message_variables.get("git", "").endswith("clean"),
            task=task,
        )

    def recognise(self, message: str, *, check_fails: bool) -> dict[str, Any]:
        """Tell what kind of work a message asks for; returns what the pack's hint needs."""
        self.kind = task_kind(message, check_fails=check_fails)
        self.answer_file = answer_file(message) if self.kind == "answer" else None
        if self.kind in ("answer", "git"):
            self.first_command = command_to_run(message)
        plans = self.candidates.services.gate.plan
        shown = self.retries.shown
        small = self.candidates.services.pack.manifest.check_after_change
        if small and not plans and self.check.command is None and self.kind in ("write", "answer"):
            parts = {p.path: p.text for p in shown.parts if p.first == 1}
            files = [*shown.files, *(ShownFile(path, text) for path, text in parts.items())]
            self.data = data_task(message, files, shown.named, shown.to_be_made)
        if not plans and self.kind in ("write", "change", "fix"):
            self.candidates.take_stub(message, [*shown.named, *shown.to_be_made])
        edits = self.kind == "git" and asks_for_edits(message)
        self.edits_first = edits and self.clean and not plans
        return {
            "kind": self.kind,
            "rename": rename_command(message),
            "answer_file": self.answer_file or "",
            "command": self.first_command,
            "mentions": self.retries.shown.mentions,
        }

    def wrote_stub(self, executor: ToolExecutor) -> bool:
        """Whether calls wrote the function that is all that a task asks for, with nothing wrong in
        its file."""
        stub = self.candidates.stub
        if stub is None or not stub.is_all or self.check.command is not None:
            return False
        if not self.ends_with_writing or executor.hook_texts:
            return False
        text = text_of(self.candidates.services.tool_context.start / stub.path) or ""
        written = [r for r in executor.results if r.files_changed and r.data.get("complete")]
        alone = bool(written and text) and len(self.changed) == 1
        return alone and not stubs_in(stub.path, text) and not faults(stub.path, text)

    def worked_out(self, executor: ToolExecutor) -> bool:
        """Whether a script wrote what was to be worked out."""
        start = self.candidates.services.tool_context.start
        return all(r.ok for r in executor.results) and (start / self.target).is_file()

    def end(self, status: Status, summary: str = "", error: str | None = None) -> None:
        """Decide the outcome; the first decision stays."""
        if self.outcome is None:
            self.outcome = TurnOutcome(status, summary, error)

    def end_at_limit(self, limits: TurnLimits) -> None:
        """End the turn if it has reached a limit."""
        if self.steps >= limits.steps and not self.candidates.repairs:
            self.end("limit", error=f"not done after {counted(limits.steps, 'step')} (--max-steps)")
        elif limits.tokens is not None and self.usage.completion_tokens >= limits.tokens:
            self.end(
                "limit", error=f"not done after {counted(limits.tokens, 'token')} (--max-tokens)"
            )
        elif limits.timeout is not None and time.monotonic() - self.started >= limits.timeout:
            self.end("limit", error=f"not done after {limits.timeout:g} s (--timeout)")

    def record(self, *replies: Reply) -> None:
        """Emit replies that were written before, and count them."""
        for reply in replies:
            self.usage = self.usage.plus(reply.usage)
            self.candidates.services.emit(reply)

    def count(self, executor: ToolExecutor) -> None:
        """Count what the calls of one reply did."""
        self.denied += executor.denied
        self.denials += executor.denials
        self.all_denied = executor.denied == len(executor.calls)
        for call, result in zip(executor.calls, executor.results, strict=True):
            self.files.report(result.files_changed)
            self.refused |= call.name in WRITING and not result.ok
            if result.files_changed:
                path = call.arguments.get("path")
                self.faulty = str(path) if result.data.get("faulty") else None
            if result is executor.done:
                continue  # when a reminder delays the end, calling done again is no repetition
            tool = executor.services.tools.get(call.name)
            if result.exit_code == 0 and isinstance(command := call.arguments.get("command"), str):
                self.commands.append(command)
            self.loop_detector.add(
                call,
                result.content,
                changed=bool(result.files_changed),
                command=tool is not None and tool.kind == "execute",
                again=bool(result.data.get("again")),
                complete=call.name == "write" and bool(result.data.get("complete")),
            )

    @property
    def may_end(self) -> bool:
        """Whether the task can be done: of work on files, something has been changed, and git did
        what it was asked to."""
        if self.git_left and self.steps <= _GIT_STEPS and not self.denied:
            return False
        return self.kind in ("answer", "git") or bool(self.changed) or self.denied > 0

    @property
    def git_left(self) -> list[str]:
        """What the task asks of git and that was not done."""
        small = self.candidates.services.pack.manifest.check_after_change
        asks = small and self.kind != "answer" and not self.extended
        return git_left(self.task, self.commands) if asks else []

    def left(self) -> tuple[list[str], list[str]]:
        """Of several files that the task names and asks to change, those that are not there, and
        those of code that are as they were."""
        context, shown = self.candidates.services.tool_context, self.retries.shown
        several = len(shown.to_be_made) + len(shown.named) > 1
        if self.kind not in ("write", "change") or not self.changed or not several:
            return [], []
        missing, unchanged = self.named_files()
        code = [path for path in unchanged if path.endswith(CODE)]
        return missing, [path for path in code if (context.start / path).exists()]

    def named_files(self) -> tuple[list[str], list[str]]:
        """Of the files that the task names, those that are to be made and not there, and those that
        the turn has not changed."""
        context, shown = self.candidates.services.tool_context, self.retries.shown
        changed = set(map(context.shown, self.changed))
        missing = [path for path in shown.to_be_made if not (context.start / path).exists()]
        return missing, [path for path in shown.named if path not in changed]

    @property
    def ends_with_writing(self) -> bool:
        """Whether nothing is left to do once all files are written, for all that can be told."""
        asked = self.kind in ("write", "change", "fix", "answer") and not self.extended
        return asked and bool(self.retries.shown.paths) and _RUNS.search(self.task) is None

    @property
    def only(self) -> tuple[str, Sequence[str]] | None:
        """The one tool that the next reply can use, if there is only one, and what it may write."""
        if self.extended or self.denied:
            return None
        if self._is_over:
            return "done", ()
        if self.first_command and self.steps == 1:
            return "shell", ()
        if self.edits_first and not self.changed and self.steps <= _FIRST_STEPS:
            shown = self.retries.shown
            whole = [file.path for file in shown.files if file.path in shown.named]
            return ("write", [*whole, *shown.to_be_made]) if whole else None
        return None

    @property
    def _is_over(self) -> bool:
        """Whether nothing is left to do: the task was only to rename something, and files have
        changed, or commands did all that it asks of git."""
        if self.kind == "git":
            edited = bool(self.changed) or not asks_for_edits(self.task)
            return edited and git_is_done(self.task, self.commands)
        return self.kind == "rename" and bool(self.changed) and only_renames(self.task)

    @property
    def changed(self) -> list[str]:
        """Files that the turn changed so far."""
        return self.files.changed

    def finished(self) -> TurnFinished:
        """The turn's last event."""
        status, summary, error = self.outcome or TurnOutcome(
            "error", error="the turn ended without an outcome"
        )
        if status in ("failed", "limit") and self.denied and not self.changed:
            status = "denied"
        check = self.check.result
        if check is not None and check.exit_code and status in ("failed", "limit"):
            status = "failed" if self.stuck else status
            if f"`{check.command}`" not in (error or ""):
                code, why = check.exit_code, error or "the model gave up"
                error = f"the check `{check.command}` failed when it last ran (exit {code}): {why}"
        return TurnFinished(
            status=status,
            summary=summary,
            error=error,
            steps=self.steps,
            duration_s=round(time.monotonic() - self.started, 3),
            waited_s=round(self.waiting.seconds - self.waited_before, 3),
            usage=self.usage.plus(self.unfinished),
            files_changed=self.changed,
            check=check,
            denied=self.denials,
        )
