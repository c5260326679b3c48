"""Tries of a small model at making a check pass.

A small model that failed tends to write the same thing again when its failure stands in the
context. So the conversation goes back to where the turn began, the files too, and it tries afresh,
told to follow the failing test through the code, and drawing more freely each time. Nothing of the
shared beginning is processed again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

from laguna_agent.agent.check.runner import CheckRunner
from laguna_agent.agent.context.first_message import ShownContext
from laguna_agent.agent.state import Agent
from laguna_agent.events import Event, Notice, Rewound, SystemNote, ToolCall
from laguna_agent.models.conversation import Message, Sampling
from laguna_agent.tools.files import read_state
from laguna_agent.tools.read import mark_read

_TEMPERATURES = (0.0, 0.5, 0.8, 0.4, 0.7, 0.9, 0.6, 1.0)
CODE = (".py", ".js", ".ts", ".go", ".rs", ".c", ".h", ".cpp", ".java", ".rb", ".sh", ".php")


@dataclass
class Retries:
    """Counts failures of the check, after each of which the model starts afresh."""

    agent: Agent
    checking: CheckRunner
    limit: int = 10
    failures: int = 0
    mark: int = 0
    seq: int = 0
    shown: ShownContext = field(default_factory=ShownContext)
    """What stands in the first message."""
    _tried: list[ToolCall] = field(default_factory=list)

    def begin(self) -> None:
        """Remember this point of the conversation as the one to come back to."""
        self.mark = self.agent.conversation.mark()
        self.seq = self.agent.seq

    def sampling(self) -> Sampling:
        """How the next reply is drawn: the more failures, the more freely."""
        base = self.agent.sampling
        warm = _TEMPERATURES[self.failures % len(_TEMPERATURES)]
        seed = base.seed + self.failures
        if warm <= base.temperature:
            return base.model_copy(update={"seed": seed})
        return base.model_copy(
            update={"temperature": warm, "top_p": 0.95, "top_k": 40, "seed": seed}
        )

    def allowed(self) -> list[str] | None:
        """Tools for the next reply. When a small model has the failing check and all the code
        before it, there is nothing left to look at: it writes."""
        if not self.agent.pack.manifest.check_after_change or self.checking.last is None:
            return None
        if self.checking.passed or not self._all_shown():
            return None
        return ["write"] if "write" in self.agent.tools else None

    def paths(self) -> list[str]:
        """What a small model may write: the files it was shown, the guarded tests left out."""
        if self.allowed() is None:
            return []
        return [f.path for f in self.shown.files if self.checking.guard(f.path) is None]

    def _all_shown(self) -> bool:
        code = [path for path in self.shown.paths if path.endswith(CODE)]
        return bool(code) and set(code) <= {shown.path for shown in self.shown.files}

    @property
    def spent(self) -> bool:
        """Whether there were enough tries."""
        return self.failures >= self.limit

    def is_repeat(self, calls: list[ToolCall]) -> bool:
        """Whether every one of these calls was tried in this turn and failed the check, or
        writes a file as it was shown."""
        return bool(calls) and all(
            self._is_copy(call) or any(same_content(call, tried) for tried in self._tried)
            for call in calls
        )

    def _is_copy(self, call: ToolCall) -> bool:
        if call.name != "write" or self.allowed() is None:
            return False
        shown = {f.path: f.text for f in self.shown.files}
        old = shown.get(str(call.arguments.get("path")))
        return old is not None and _folded(old) == _folded(call.arguments.get("content"))

    def failed(self, calls: list[ToolCall]) -> None:
        """Note that the check failed after these calls."""
        self._tried += [call for call in calls if call.name in ("write", "edit")]
        self.failures += 1

    def stuck(self) -> bool:
        """Note that nothing but repetitions came; False when there is no use in starting afresh."""
        if self.allowed() is None or self.spent:
            return False
        self.failures += 1
        return True

    async def afresh(self) -> AsyncGenerator[Event, None]:
        """Go back to the beginning, the files too."""
        agent = self.agent
        agent.conversation.rewind(self.mark)
        if agent.checkpoints is not None and self.checking.checkpoint is not None:
            await asyncio.to_thread(agent.checkpoints.restore, self.checking.checkpoint)
            read_state.forget_all(agent.context)
            for shown in self.shown.files:
                mark_read(agent.context, shown.path)
        yield Rewound(to_seq=self.seq, code=True)
        tries = "1 try" if self.failures == 1 else f"{self.failures} tries"
        yield Notice(text=f"{tries} failed; starting afresh from the task.")
        note = agent.pack.text("again.md", tries=self.failures)
        yield SystemNote(text=note, reason="again")
        agent.unsaid = [Message(role="user", content=note)]


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
