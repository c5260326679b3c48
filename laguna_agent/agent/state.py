"""What one agent works with: its conversation, tools, gate and limits."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field

from laguna_agent.agent.approval import Approver
from laguna_agent.agent.context.compaction import summary_reserve
from laguna_agent.agent.context.epoch import message_of
from laguna_agent.agent.context.instructions import Instructions
from laguna_agent.agent.hooks import Hooks
from laguna_agent.agent.skills import Skill
from laguna_agent.events import Event, PlanStep, UserMessage
from laguna_agent.models.conversation import Conversation, Message, Sampling
from laguna_agent.policy.gate import Gate
from laguna_agent.prompts.loader.pack import Pack, PackTool
from laguna_agent.tools.checkpoints.checkpoints import Checkpoints
from laguna_agent.tools.tool import ToolContext


@dataclass(frozen=True)
class TurnLimits:
    """When a turn stops by itself. `tokens` are generated ones, `timeout` is in seconds."""

    steps: int = 100
    tokens: int | None = None
    timeout: float | None = None
    reply_tokens: int = 4096


@dataclass
class Agent:
    """The parts of a session that the loop uses."""

    conversation: Conversation
    tools: dict[str, PackTool]
    gate: Gate
    context: ToolContext
    pack: Pack
    sampling: Sampling
    limits: TurnLimits
    approver: Approver | None = None
    """None: nobody can be asked, so what would ask is denied."""
    hooks: Hooks | None = None
    instructions: Instructions | None = None
    thinking: bool = False
    logprobs: bool = False
    """Whether the log-probabilities of what the model writes are recorded."""
    steering: deque[UserMessage] = field(default_factory=deque)
    """What a person typed while the agent worked; it goes in before the next model call."""
    plan: list[PlanStep] = field(default_factory=list)
    turns: int = 0
    opening: dict[str, str] = field(default_factory=dict)
    """Variables of `first.md` for the first message: date, cwd, git, instructions, skills,
    memory."""
    skills: list[Skill] = field(default_factory=list)
    """What a person may call with `/NAME`, and the model read."""
    opened: bool = False
    """Whether the first message was said."""
    planning: bool = False
    """Whether the model was last told that it plans."""
    interrupted: bool = False
    """Whether the last turn was stopped by a person, and the model does not know of it yet."""
    left: str | None = None
    """The checkpoint of the files as the model last knew them, when a person may change them."""
    check_known: str | None = None
    """A check that a person gave outside the task's text (`--check`)."""
    live: Callable[[str, str], None] = lambda call_id, text: None
    """Takes live output of a running tool: call id, text."""
    compact: Callable[[], AsyncGenerator[Event, None]] | None = None
    """Summarises and begins a new epoch; yields what happens."""
    unsaid: list[Message] = field(default_factory=list)
    """What is on record for the model and not yet in the prompt; see `telling`."""
    request: Callable[[], str] = lambda: ""
    """The text that would ask for a summary now."""
    reserve: int = 0
    """Tokens that replies leave free for a summary, as last measured."""
    on_epoch: Callable[[], None] = lambda: None
    """Called when a new epoch has begun."""
    seq: int = 0
    """Number of the last event on record."""
    checkpoints: Checkpoints | None = None
    paths: tuple[str, ...] = ()
    """Files that a small model may be held to when it names one to write."""
    _measured: tuple[str, int] = ("", 0)
    """A request for a summary and its tokens."""

    @property
    def plans_from_the_start(self) -> bool:
        """Whether the static prefix says that this is planning."""
        return any(layer.pack == "plan" for layer in self.pack.stack.layers)

    async def measure(self) -> int:
        """Tokens that asking for a summary and writing it take."""
        text = self.request()
        if text != self._measured[0]:
            self._measured = text, await self.conversation.count(text)
        return summary_reserve(self.conversation.limit, self._measured[1])

    def message_of(self, event: Event) -> Message:
        """The message that the model reads of a recorded event; the one place that renders it."""
        if isinstance(event, UserMessage) and event.origin == "steer":
            text = self.pack.text("steer.md", text=event.text)
            context = f"{event.context}\n\n" if event.context else ""
            return Message(role="user", content=context + text)
        return message_of(event)
