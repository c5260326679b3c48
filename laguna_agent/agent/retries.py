"""Retries: when the check fails, a small model starts over from the task.

A small model that failed tends to write the same again when its failure is in the context. So the
conversation and the files go back to the start of the turn, and it tries again with a hint to
follow the failing test through the code, at a higher temperature each time. The prompt up to there
is not processed again.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence

from laguna_agent.actions import WritePath
from laguna_agent.agent.check.runner import CheckRunner
from laguna_agent.agent.context.context_window import ContextWindow, Position
from laguna_agent.agent.context.first_message import ShownContext, ShownFile, mark_part, text_of
from laguna_agent.agent.services import Services
from laguna_agent.agent.turn_files import TurnFiles
from laguna_agent.events import Notice, ToolCall
from laguna_agent.models.conversation import Sampling
from laguna_agent.plurals import counted
from laguna_agent.tools.files import read_state
from laguna_agent.tools.read import mark_read

_TEMPERATURES = (0.0, 0.5, 0.8, 0.4, 0.7, 0.9, 0.6, 1.0)
_THOUGHT, _PER_TOKEN = 500, 3
"""Tokens of a thought and a call around the text of a file, and characters of code per token."""
_TRIES, _LEAST_S, _MOST_S = 13, 60.0, 300.0
"""Tries in the time that the first one took, and the seconds that they go on at least and at most.
Of tasks that passed, nearly all did within six tries."""
WRITING = ("edit", "write")
"""Tools that write files."""
CODE = (".py", ".js", ".ts", ".go", ".rs", ".c", ".h", ".cpp", ".java", ".rb", ".sh", ".php")


class Retries:
    """Counts failures of the check in one turn, and starts over after each."""

    def __init__(
        self, services: Services, window: ContextWindow, files: TurnFiles, check: CheckRunner
    ) -> None:
        self._services = services
        self._window = window
        self._files = files
        self._check = check
        self.failures = 0
        self._started = time.monotonic()
        self._until = math.inf
        """When no other try is made, once one has failed."""
        self.shown = ShownContext()
        """The files in the turn's first message."""
        self._tried: list[ToolCall] = []

    def sampling(self) -> Sampling:
        """The sampling of the next reply: warmer after each failure."""
        base = self._services.sampling
        warm = _TEMPERATURES[self.failures % len(_TEMPERATURES)]
        seed = base.seed + self.failures
        if warm <= base.temperature:
            return base.model_copy(update={"seed": seed})
        return base.model_copy(
            update={"temperature": warm, "top_p": 0.95, "top_k": 40, "seed": seed}
        )

    def allowed_tools(self) -> list[str] | None:
        """Tools for the next reply; None is all. A small model that has the failing check and all
        of the code in its context has nothing left to read: it may only write."""
        if not self._services.pack.manifest.check_after_change or self._check.last is None:
            return None
        if self._check.passed or not self._all_code_shown():
            return None
        return [tool for tool in WRITING if tool in self._services.tools] or None

    @property
    def writes_only(self) -> bool:
        """Whether the model has all that it needs and may only write."""
        return self.allowed_tools() is not None

    @property
    def tests_file(self) -> str | None:
        """The file of tests that the task asks for, where these are its check."""
        return self._check.tests_file

    def free_files(self) -> list[ShownFile]:
        """The files in the first message that may be changed."""
        return [shown for shown in self.shown.files if not self.is_protected(shown.path)]

    def files_to_repair(self) -> list[ShownFile]:
        """Those of them that are as they were shown, and may be written without asking a person."""
        context, gate = self._services.tool_context, self._services.gate
        free = []
        for shown in self.free_files():
            path = context.start / shown.path
            verdict = gate.decide(WritePath(path=str(path)), tool="write").verdict
            if verdict == "allow" and text_of(path) == shown.text:
                free.append(shown)
        return free

    def longest_reply(self) -> int | None:
        """Tokens that a reply may need where the model only writes: those of the longest file that
        it has seen, twice, and a thought. One that goes on repeats itself without end."""
        if not self.writes_only:
            return None
        return _THOUGHT + 2 * max(len(shown.text) for shown in self.shown.files) // _PER_TOKEN

    def is_protected(self, path: str) -> bool:
        """Whether the check protects a file, named as in the first message, from changes."""
        context = self._services.tool_context
        relative = os.path.relpath(context.start / path, context.workspace)
        return self._check.protected(relative) is not None

    def _all_code_shown(self) -> bool:
        code = [path for path in self.shown.paths if path.endswith(CODE)]
        return bool(code) and set(code) <= {shown.path for shown in self.shown.files}

    @property
    def exhausted(self) -> bool:
        """Whether the time for tries is over: about that of 13, as long as the first one took, and
        where a time limit is given, all of it."""
        return self._services.limits.timeout is None and time.monotonic() >= self._until

    def is_repeat(self, calls: Sequence[ToolCall]) -> bool:
        """Whether each of these calls was tried in this turn and failed the check, or writes a
        file as it was shown."""
        return bool(calls) and all(
            self._is_copy(call) or any(same_content(call, tried) for tried in self._tried)
            for call in calls
        )

    def _is_copy(self, call: ToolCall) -> bool:
        if call.name != "write" or not self.writes_only:
            return False
        shown = {f.path: f.text for f in self.shown.files}
        old = shown.get(str(call.arguments.get("path")))
        return old is not None and _folded(old) == _folded(call.arguments.get("content"))

    def add_tried(self, calls: Sequence[ToolCall]) -> None:
        """Remember calls after which the check failed."""
        self._tried += [call for call in calls if call.name in WRITING]

    def add_failure(self, calls: Sequence[ToolCall]) -> None:
        """Count a failure of the check after these calls."""
        self.add_tried(calls)
        self._begin()
        self.failures += 1

    def add_unusable_reply(self) -> bool:
        """Count a reply of repetitions only, or that is cut or malformed, as a failure; False where
        starting over would not help."""
        if not self.writes_only or self.exhausted:
            return False
        self._begin()
        self.failures += 1
        return True

    def _begin(self) -> None:
        """Set how long tries go on, at the first one that fails."""
        if not self.failures:
            now = time.monotonic()
            self._until = now + min(max(_TRIES * (now - self._started), _LEAST_S), _MOST_S)

    async def start_over(self, position: Position | None = None, *, hint: bool = True) -> None:
        """Go back to the start of the turn, with the files, and a `hint` how to go on, or to a
        position after it from which another reply continues."""
        services = self._services
        if await self._files.take_back() or position is not None:
            read_state.forget_all(services.tool_context)
            for shown in self.shown.files:
                # Another process may have changed it: the model must not write over what it has
                # never seen.
                if text_of(services.tool_context.start / shown.path) == shown.text:
                    mark_read(services.tool_context, shown.path)
            for part in self.shown.parts:
                mark_part(services.tool_context, part)
        if position is not None:
            self._window.rewind_to(position)
            return
        tries = counted(self.failures, "try", "tries")
        self._window.rewind_to_turn_start()
        if not hint:
            return
        services.emit(Notice(text=f"{tries} failed; starting over from the task."))
        wrong = self._check.wrong_tests
        note = services.pack.text("again.md", tries=self.failures, wrong_tests=wrong)
        self._window.add_note(note, "again")


def same_calls(some: Sequence[ToolCall], others: Sequence[ToolCall]) -> bool:
    """Whether two replies would do the same."""
    return len(some) == len(others) and all(map(same_content, some, others))


def same_content(one: ToolCall, other: ToolCall) -> bool:
    """Whether two calls would do the same, white space at line ends aside."""
    if one.name != other.name or set(one.arguments) != set(other.arguments):
        return False
    return all(
        _folded(value) == _folded(other.arguments[key]) for key, value in one.arguments.items()
    )


def _folded(value: object) -> object:
    if not isinstance(value, str):
        return value
    return "\n".join(line.rstrip() for line in value.strip().split("\n"))
