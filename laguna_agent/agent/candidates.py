"""Tries at a task that its check decides between, beyond the one reply that a model gives.

First, where code is to be fixed, repairs of one line (`line_repairs`), which cost a few tokens
each. Then, when the model's own first try has failed too, several replies at a time: a local engine
writes four in about the time of two, since it reads the weights once for all of them. All continue
one prompt; the loop tries one after the other, with the files as they were before each, until one
passes the check. They share one queue, so all kinds are here, over 400 lines.
"""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import aclosing
from itertools import count
from pathlib import Path

from laguna_agent.agent.check.examples import importable
from laguna_agent.agent.check.expected_values import with_given_values
from laguna_agent.agent.check.runner import CheckRunner
from laguna_agent.agent.context.context_window import ContextWindow, Position
from laguna_agent.agent.context.first_message import ShownFile, text_of
from laguna_agent.agent.data_task import DataTask, run_of, script
from laguna_agent.agent.line_repairs import composed, line_repairs
from laguna_agent.agent.possible_calls import text_as_seen
from laguna_agent.agent.retries import Retries, same_calls
from laguna_agent.agent.services import Services
from laguna_agent.agent.stub_task import StubTask, completion, stub_task, written_function
from laguna_agent.errors import ContextFullError, ModelError
from laguna_agent.events import (
    CheckRan,
    ModelEvent,
    Notice,
    Reply,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from laguna_agent.models.chat.parsing import new_call_id
from laguna_agent.models.conversation import GenerateOptions, Sampling, WritesSideBySide
from laguna_agent.tools.code.languages import strict_problem
from laguna_agent.tools.code.names import new_problems, with_imports
from laguna_agent.tools.code.stubs import ignores_arguments
from laguna_agent.tools.tool import ToolContext

TOGETHER = 4
"""Replies that are written side by side."""
_TEMPERATURES = (0.5, 0.7, 0.9, 1.0)
_MORE = 1.5
"""Length of a reply relative to the longest one before, up to which it may go on."""
_SPARE = 200
_FUNCTION = 800
"""Tokens of a function, of which the length of a try is not known."""
_REPAIRS = ((0, 4), (4, 20))
"""Repairs of one line that are found at a time: the first, and how many. It is mostly the first or
none of the first twenty."""
_LIKELIEST, _CORRECTIONS = 3, 16
"""Likeliest changes among which the first that parses is taken where there is no check, or the
first that leaves no name undefined."""
_CHECKS_S = 40.0
"""Seconds that their checks may take together."""
_HANGS, _LEAST_S = 3, 10.0
"""Time of a repair's check relative to the first run, and seconds, after which it is stopped: a
wrong repair may never end."""
_NOTHING_THERE = re.compile(
    r"NotImplementedError|ModuleNotFoundError|ImportError|SyntaxError|IndentationError"
    r"|has no attribute|command not found|No such file|todo!|unimplemented!|cannot find module",
    re.IGNORECASE,
)
"""What a check prints where something is missing and nothing wrong."""
_TO_WRITE = re.compile(
    r"\b(?:add|implement|write|create|support|rename|refactor|replace|move|remove|complete|finish)\b",
    re.IGNORECASE,
)


def unchanged_file(services: Services, reply: Reply) -> str | None:
    """The path of the code that a reply writes just as the model has seen it, or None."""
    small = services.pack.manifest.check_after_change
    if not small or len(reply.tool_calls) != 1 or reply.tool_calls[0].name != "write":
        return None
    path, content = (reply.tool_calls[0].arguments.get(name) for name in ("path", "content"))
    if not isinstance(path, str) or not isinstance(content, str):
        return None
    known = text_as_seen(services.tool_context, path)
    same = known is not None and known.rstrip() == content.rstrip()
    return path if same else None


def faults(path: str, text: str) -> bool:
    """Whether a text does not parse, or uses names that are not defined."""
    if strict_problem(path, text) is not None:
        return True
    return any("undefined" in problem for problem in new_problems(path, "", text))


def _relative(context: ToolContext, path: str) -> str:
    """A path, as in the first message, relative to the workspace."""
    return os.path.relpath(context.start / path, context.workspace)


class Candidates:
    """The tries of one turn that wait for their turn."""

    def __init__(
        self, services: Services, window: ContextWindow, retries: Retries, check: CheckRunner
    ) -> None:
        self.services = services
        self._window = window
        self._retries = retries
        self._check = check
        self._waiting: deque[Reply] = deque()
        self._position: Position | None = None
        """Where the prompt ends that they continue."""
        self.repairs = 0
        """Repairs of one line that were found, while they are tried; else 0."""
        self._repairs_left = deque(_REPAIRS)
        self.for_examples = False
        """Whether an example in documentation failed, and there is no check."""
        self._corrected: set[str] = set()
        """Files that the model wrote as they are, and texts with faults, for which a change of one
        line was looked for."""
        self._first: CheckRan | None = None
        """The check before anything was tried."""
        self._checked_s = 0.0
        """Seconds that the checks of repairs took."""
        self._can_draw = isinstance(services.conversation, WritesSideBySide)
        self._seeds = count(services.sampling.seed + 1000)
        self.stub: StubTask | None = None
        """The function that is to be written next, if that is the task."""
        self.rounds = 0
        """Times that it was written."""
        self._body = 0
        """Tokens of the longest body so far."""
        self._task = ""
        self._longest = 0
        """Tokens of the longest reply so far."""
        self.first: Reply | None = None
        """The first try of which an example failed."""

    def note(self, reply: Reply) -> None:
        """Learn from a reply that was generated by itself how long they are."""
        self._longest = max(self._longest, reply.usage.completion_tokens)

    def next(self) -> Reply | None:
        """The next reply to try, or None when new ones are to be written."""
        if self.repairs and not self._affordable():
            self._waiting.clear()
            self._repairs_left.clear()
        if self._waiting:
            return self._waiting.popleft()
        self.repairs = 0
        return None

    def drop(self) -> list[Reply]:
        """Try none of those that wait; returns those that the model wrote, discarded."""
        dropped = [] if self.repairs else list(self._waiting)
        for reply in dropped:
            reply.discarded = True
        self._waiting.clear()
        self._repairs_left.clear()
        self.repairs = 0
        return dropped

    def drop_outdated(self) -> list[Reply]:
        """`drop`, where the conversation has gone on since they were written."""
        position = self.position
        moved = position is not None and self._window.position().mark != position.mark
        return self.drop() if moved else []

    @property
    def position(self) -> Position | None:
        """Where the conversation goes on when the present try fails; None at the start."""
        return self._position if self._waiting or self.repairs else None

    # --- repairs of one line ----------------------------------------------------------------

    async def find_repairs(self, task: str, on_event: Callable[[ModelEvent], None]) -> Usage:
        """Look for repairs of one line where the task is to fix what is there: a few, and when they
        fail, more. Returns what it took that is not part of their usage."""
        ran = self._first = self._first or self._check.last
        if self._waiting or not self._repairs_left or self._retries.failures or ran is None:
            return Usage()
        writes = self._can_draw and "write" in (self._retries.allowed_tools() or ())
        if not writes or _NOTHING_THERE.search(ran.output) or _TO_WRITE.search(task):
            self._repairs_left.clear()
            return Usage()
        self._position = self._position or self._window.position()
        try:
            return await self._find_repairs(on_event)
        except (ContextFullError, ModelError):  # the model's own reply shows whether it matters
            self._repairs_left.clear()
            return Usage()

    async def _find_repairs(self, on_event: Callable[[ModelEvent], None]) -> Usage:
        conversation, total = self.services.conversation, Usage()
        assert isinstance(conversation, WritesSideBySide)
        while self._repairs_left and not self._waiting:
            files, affordable = self._retries.files_to_repair(), self._affordable()
            first, most = self._repairs_left.popleft()
            most = min(most, affordable)
            if not files or not most:
                self._repairs_left.clear()
                break
            if not first:
                self.services.emit(Notice(text="Trying likely changes of one line first."))
            found, usage = await line_repairs(conversation, files, "write", (first, most), on_event)
            total = total.plus(usage)
            new = [reply for reply in found if not self._retries.is_repeat(reply.tool_calls)]
            self._waiting.extend(new[:affordable])
            self.repairs += len(self._waiting)
        if self._waiting:
            self._waiting[0].usage, total = total, Usage()
        return total

    def _affordable(self) -> int:
        """How many checks of repairs there is time for."""
        once = max(self._first.duration_s, 0.1) if self._first is not None else 0.1
        return max(0, int((_CHECKS_S - self._checked_s) / once))

    @property
    def check_timeout(self) -> float | None:
        """Seconds after which the check of the present try is stopped; None: the usual time."""
        if not self.repairs or self._first is None:
            return None
        return max(_LEAST_S, _HANGS * self._first.duration_s)

    def add_check(self, ran: CheckRan) -> None:
        """Count the time of a check of the present try."""
        self._checked_s += ran.duration_s if self.repairs else 0.0

    # --- one change of one line, where there is no check ------------------------------------

    async def instead_of(
        self, reply: Reply, on_event: Callable[[ModelEvent], None]
    ) -> tuple[Reply | None, Usage]:
        """The likeliest change of one line in the place of a reply that writes a file as it is:
        the model wants to correct it and copies the mistake. Once for each file of a turn. And what
        it took where nothing was found."""
        path = unchanged_file(self.services, reply)
        if path is None or path in self._corrected or self._check.last is not None:
            return None, Usage()
        self._corrected.add(path)
        file = ShownFile(path, str(reply.tool_calls[0].arguments["content"]))
        return await self._likeliest(file, _LIKELIEST, lambda text: True, on_event)

    async def without_faults(
        self, path: str, on_event: Callable[[ModelEvent], None]
    ) -> tuple[Reply | None, Usage]:
        """The likeliest change of one line that rids a file, as it was just written, of names that
        are undefined or of what does not parse. The model has read what is wrong, and would mostly
        copy it. Once for each text. And what it took where nothing was found."""
        text = text_as_seen(self.services.tool_context, path)
        if not text or text in self._corrected:
            return None, Usage()
        self._corrected.add(text)
        imported = self._with_imports(path, text)
        if imported != text and not faults(path, imported):
            return composed("write", path, imported, f"{path} lacks an import."), Usage()
        return await self._likeliest(
            ShownFile(path, text), _CORRECTIONS, lambda text: not faults(path, text), on_event
        )

    def _with_imports(self, path: str, text: str) -> str:
        """A text that was just written with the imports that it lacks: that it had before, or that
        the other files of the task define. Modules that import this one would be a circle."""
        context, shown = self.services.tool_context, self._retries.shown
        before = next((file.plain for file in shown.files if file.path == path), "")
        own = importable(context.workspace, _relative(context, path))
        others = {}
        for other in dict.fromkeys([*(f.path for f in shown.files), *shown.to_be_made]):
            source = text_of(context.start / other) if other.endswith(".py") else None
            folder, name = importable(context.workspace, _relative(context, other))
            uses = re.compile(rf"^\s*(?:from|import)\s+{re.escape(own[1])}\b", re.MULTILINE)
            if source and other != path and folder == own[0] and not uses.search(source):
                others[name] = source
        return with_imports(path, text, before, others)

    def with_given_values(self, ran: CheckRan) -> tuple[Reply | None, set[int]]:
        """Where the tests that a task asks for failed, since they expect something else than the
        code gives, the reply that writes them with that, and the lines that it changes."""
        path = self._check.tests_file if ran.exit_code else None
        text = text_of(self.services.tool_context.start / path) if path is not None else None
        if path is None or text is None:
            return None, set()
        corrected = with_given_values(text, Path(path).name, ran.output)
        if corrected is None:
            return None, set()
        content, lines = corrected
        numbers = ", ".join(map(str, lines))
        about = f"The code gives something else than line {numbers} of {path} expects."
        return composed("write", path, content, about), set(lines)

    async def _likeliest(
        self,
        file: ShownFile,
        most: int,
        is_right: Callable[[str], bool],
        on_event: Callable[[ModelEvent], None],
    ) -> tuple[Reply | None, Usage]:
        conversation = self.services.conversation
        if not self._can_draw or not isinstance(conversation, WritesSideBySide):
            return None, Usage()
        try:
            found, usage = await line_repairs(conversation, [file], "write", (0, most), on_event)
        except (ContextFullError, ModelError):
            return None, Usage()
        for reply in found:
            if is_right(str(reply.tool_calls[0].arguments["content"])):
                reply.usage = usage
                return reply, Usage()
        return None, usage

    # --- replies side by side ---------------------------------------------------------------

    def are_due(self) -> bool:
        """Whether the next replies are to be written side by side: after a failure, where a check
        or examples tell which of them is right."""
        if self.stub is not None:
            return True
        if not self._can_draw or not self._is_plain or not self._retries.failures:
            return False
        return self._retries.writes_only or self.for_examples

    @property
    def _is_plain(self) -> bool:
        return not self.services.thinking and not self.services.logprobs

    def take_stub(self, task: str, named: Sequence[str]) -> None:
        """Look whether a task is to write a function whose head is there."""
        small, ran = self.services.pack.manifest.check_after_change, self._check.last
        if small and self._can_draw and self._is_plain:
            files, output = self._retries.free_files(), ran.output if ran is not None else None
            self.stub, self._task = stub_task(task, files, named, output), task

    async def script(
        self, data: DataTask, task: str, on_event: Callable[[ModelEvent], None]
    ) -> tuple[Reply | None, Usage]:
        """The reply that works something out from data files by a script. And what it took where
        there is none."""
        conversation = self.services.conversation
        if not isinstance(conversation, WritesSideBySide) or not self._is_plain:
            return None, Usage()
        asked = script(self.services.pack, data, task)
        greedy = [self.services.sampling]
        try:
            answers = await conversation.complete(asked, greedy, on_event, lambda text: None)
        except (ContextFullError, ModelError):
            return None, Usage()
        reply = run_of(answers[0]) if answers else None
        return reply, Usage() if reply is not None or not answers else answers[0].usage

    async def draw(
        self, options: GenerateOptions, on_event: Callable[[ModelEvent], None]
    ) -> list[Reply]:
        """Write replies; those that can be tried wait, and the others are returned, discarded.
        Where the engine cannot, there are none, and it is not asked again."""
        conversation = self.services.conversation
        assert isinstance(conversation, WritesSideBySide)
        longest = int(_MORE * self._longest) + _SPARE
        options.max_tokens = min(options.max_tokens, longest)
        self._position = self._window.position()
        replies: list[Reply] = []
        try:
            async with aclosing(conversation.candidates(options, self._samplings())) as events:
                async for event in events:
                    if isinstance(event, Reply):
                        replies.append(event)
                    else:
                        on_event(event)
        except (ContextFullError, ModelError):
            self._can_draw = False
        return self._discarded(replies)

    async def complete(self, on_event: Callable[[ModelEvent], None]) -> list[Reply]:
        """Write the function that is to be written: the likeliest first, and when it failed or
        cannot be tried, several; returns those that cannot, discarded. Where none can, the model
        goes on with its tools."""
        conversation, discarded = self.services.conversation, list[Reply]()
        assert isinstance(conversation, WritesSideBySide)
        self._position = self._window.position()
        while (stub := self.stub) is not None and not self._waiting:
            several = self._retries.failures > 0 or bool(discarded)
            most = int(_MORE * self._body) + _SPARE if self._body else _FUNCTION
            task = completion(self.services.pack, stub, self._task, most)
            if task is None:
                break
            samplings = self._samplings() if several else [self.services.sampling]
            identifier = new_call_id()

            def show(text: str, identifier: str = identifier) -> None:
                on_event(ToolCallDelta(id=identifier, name=None, text=text))

            beginning = f"### write {stub.path}\n{task.begins}"
            self.services.emit(ToolCallDelta(id=identifier, name="write", text=beginning))
            try:
                answers = await conversation.complete(task, samplings, on_event, show)
            except (ContextFullError, ModelError):
                self._can_draw, self.stub = False, None
                break
            self.rounds += 1
            replies = [written_function(stub, answer, identifier) for answer in answers]
            for reply in replies:
                if reply.tool_calls:
                    self._body = max(self._body, reply.usage.completion_tokens)
            discarded += self._discarded(replies)
            if several or not answers:
                break
        if not self._waiting and not self._retries.failures:
            self.stub = None
        return discarded

    def _discarded(self, replies: Sequence[Reply]) -> list[Reply]:
        """Let the replies that can be tried wait; returns the others, discarded."""
        for reply in replies:
            reply.side_by_side = True
            calls = reply.tool_calls
            known = any(same_calls(calls, other.tool_calls) for other in self._waiting)
            cut = reply.finish_reason in ("length", "repeats")
            usable = bool(calls) and not reply.error and not cut
            known = known or unchanged_file(self.services, reply) is not None
            known = known or self._retries.is_repeat(calls)
            reply.discarded = not usable or known or self._is_bad(calls)
            if not reply.discarded:
                self._waiting.append(reply)
        return [reply for reply in replies if reply.discarded]

    def _is_bad(self, calls: Sequence[ToolCall]) -> bool:
        """Whether calls write a function that cannot be right: made up after an example, or with
        names that are not defined."""
        if self.stub is None:
            return False
        path, (name, *_) = self.stub.path, self.stub.stub
        texts = [str(call.arguments.get("content", "")) for call in calls]
        free = self._check.command is None
        return any(faults(path, t) or (free and ignores_arguments(t, name)) for t in texts)

    def _samplings(self) -> list[Sampling]:
        base = self.services.sampling
        return [
            base.model_copy(
                update={
                    "temperature": max(base.temperature, warm),
                    "top_p": 0.95,
                    "top_k": 40,
                    "seed": next(self._seeds),
                }
            )
            for warm in _TEMPERATURES[:TOGETHER]
        ]
