"""The state of one turn: what it counts, and how it ends.

Each property reads what the others count, so they are one module, over 400 lines.
"""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from laguna_agent.agent.approval import WaitingTime
from laguna_agent.agent.candidates import Candidates, faults
from laguna_agent.agent.check.examples import FailedExample
from laguna_agent.agent.check.runner import CheckRunner
from laguna_agent.agent.context.context_window import ContextWindow
from laguna_agent.agent.context.first_message import ShownFile, text_of
from laguna_agent.agent.context.git_task import (
    asks_for_edits,
    git_is_done,
    git_left,
    is_unasked,
)
from laguna_agent.agent.context.move_task import files_to_remove, moves_code, stays
from laguna_agent.agent.context.reminders import TurnReminders
from laguna_agent.agent.context.task_kind import (
    TaskKind,
    answer_file,
    first_command,
    only_renames,
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
    ToolCall,
    ToolFinished,
    TurnFinished,
    Usage,
    UserMessage,
)
from laguna_agent.plurals import counted
from laguna_agent.tools.code.stubs import stubs_in

_RUNS = re.compile(r"\b(?:run|runs|execute|start|install|build|delete|remove)\b", re.IGNORECASE)
"""Words of tasks that need a command too."""
_MAKE = ("write", "answer", "change")
"""Kinds of work in which a file may be worked out from data."""
_CONFLICT = "Automatic merge failed"
"""What git says of a merge that a commit must end."""
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
    merging: str = ""
    """The command of a merge that had conflicts."""
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
    """The command that the task begins with, if it says so, until it was run."""
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
    said_before: str = ""
    """What the user said in earlier turns, and the repository's instructions."""
    followed: set[str] = field(default_factory=set)
    """Files that the model was held to change after those that the task asks to make."""
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
            said_before="\n".join(
                [
                    state.first_message_variables.get("instructions", ""),
                    *(
                        stored.event.text
                        for stored in services.recorder.state.user_messages
                        if isinstance(stored.event, UserMessage)
                    ),
                ]
            ),
        )

    def recognise(self, message: str, *, check_fails: bool) -> dict[str, Any]:
        """Tell what kind of work a message asks for; returns what the pack's hint needs."""
        self.kind = task_kind(message, check_fails=check_fails)
        self.answer_file = answer_file(message) if self.kind == "answer" else None
        plans = self.candidates.services.gate.plan
        shown = self.retries.shown
        small = self.candidates.services.pack.manifest.check_after_change
        if small and not plans and "shell" in self._tools:
            self.first_command = first_command(message, self.kind)
        if small and not plans and self.check.command is None and self.kind in _MAKE:
            parts = {p.path: p.text for p in shown.parts if p.first == 1}
            files = [*shown.files, *(ShownFile(path, text) for path, text in parts.items())]
            self.data = data_task(message, files, shown.named, shown.to_be_made)
        if not plans and self.kind in ("write", "change", "fix"):
            self.candidates.take_stub(message, [*shown.named, *shown.to_be_made])
        edits = self.kind == "git" and asks_for_edits(message)
        self.edits_first = edits and self.clean and not plans
        return {
            "kind": self.kind,
            "answer_file": self.answer_file or "",
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
        self.followed.update(self.to_follow if executor.done is not None else ())
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
            if isinstance(command := call.arguments.get("command"), str):
                self._add_command(command, result)
            self.loop_detector.add(
                call,
                result.content,
                changed=bool(result.files_changed),
                command=tool is not None and tool.kind == "execute",
                again=bool(result.data.get("again")),
                complete=call.name == "write" and bool(result.data.get("complete")),
            )

    def _add_command(self, command: str, result: ToolFinished) -> None:
        """Remember a command that succeeded; the commit that ends a merge with conflicts too."""
        if result.exit_code and _CONFLICT in result.content:
            self.merging = command
        if result.exit_code == 0:
            self.commands.append(command)
            if self.merging and "git commit" in command:
                self.commands.append(self.merging)

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
        if self.edits_first and not self.changed and self.steps <= _FIRST_STEPS:
            shown = self.retries.shown
            whole = [file.path for file in shown.files if file.path in shown.named]
            return ("write", [*whole, *shown.to_be_made]) if whole else None
        left = self.to_follow
        return ("write", left) if left else None

    @property
    def _moved(self) -> bool:
        """Whether the task is to move code to new files, and these are there."""
        shown, start = self.retries.shown, self.candidates.services.tool_context.start
        moves = bool(shown.to_be_made) and moves_code(self.task) and not self.extended
        services = self.candidates.services
        small = services.pack.manifest.check_after_change and not services.gate.plan
        moves = moves and small and self.kind in ("write", "change")
        return moves and all((start / path).is_file() for path in shown.to_be_made)

    @property
    def to_follow(self) -> list[str]:
        """Where code has moved to new files: the files that the task names and that are as before.
        The model was not held to them yet."""
        if not self._moved:
            return []
        skipped = self.followed | {*self._to_remove}
        left = [path for path in self.left()[1] if path not in skipped]
        return [path for path in left if not stays(self.task, path)]

    @property
    def _to_remove(self) -> list[str]:
        """The files that the task asks to remove, and of which all has moved to the new files."""
        shown, start = self.retries.shown, self.candidates.services.tool_context.start
        there = [file for file in shown.files if (start / file.path).is_file()]
        moved = [text_of(start / path) or "" for path in shown.to_be_made]
        return files_to_remove(self.task, there, "\n".join(moved))

    def take_command(self) -> str:
        """The command that is certain to be next, else empty: what the task begins with, or, where
        all of its code has moved, what removes the file that it was in."""
        command, self.first_command = self.first_command, ""
        if command or not self._moved or self.to_follow or self.faulty or self.denied:
            return command
        gone = [path for path in self._to_remove if path not in self.followed]
        if {*self.left()[1]} - {*gone}:
            return ""
        self.followed.update(gone)
        return f"rm -- {shlex.join(gone)}" if gone and "shell" in self._tools else ""

    @property
    def _tools(self) -> Collection[str]:
        return self.candidates.services.tools

    def is_unasked(self, calls: Sequence[ToolCall]) -> bool:
        """Whether a reply adds, commits or pushes, and nobody asked for that."""
        small = self.candidates.services.pack.manifest.check_after_change
        said = [event.text for event in self.said]
        asked = "\n".join([self.task, self.said_before, *said])
        commands = [str(c.arguments.get("command", "")) for c in calls if c.name == "shell"]
        return small and len(commands) == 1 and is_unasked(commands[0], asked)

    @property
    def _is_over(self) -> bool:
        """Whether nothing is left to do: the task was only to rename something, and files have
        changed, or commands did all that it asks of git."""
        if self.kind == "git":
            edited = bool(self.changed) or not asks_for_edits(self.task)
            return edited and git_is_done(self.task, self.commands)
        if self._moved and not self.faulty:
            return not self.left()[1] and not self._to_remove
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
