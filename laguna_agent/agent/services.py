"""The services of a session: what its parts work with and what stays the same while it is open."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from laguna_agent.actions import Action, Decision
from laguna_agent.agent.approval import Approval, Approver, WaitingTime, request_approval
from laguna_agent.agent.hooks import Hooks
from laguna_agent.agent.instructions import Instructions
from laguna_agent.agent.recorder import Recorder
from laguna_agent.agent.repository_watch import RepositoryWatch
from laguna_agent.agent.skills import Skill
from laguna_agent.events import Event, KeptSettings
from laguna_agent.models.conversation import Conversation, Sampling
from laguna_agent.models.servers import credentials
from laguna_agent.policy.gate import Gate
from laguna_agent.prompts.loader.pack import Pack, PackTool
from laguna_agent.tools.checkpoints.checkpoints import Checkpoints
from laguna_agent.tools.mcp.servers import McpServers
from laguna_agent.tools.tool import ToolContext


@dataclass(frozen=True)
class TurnLimits:
    """When a turn stops by itself. `tokens` counts generated tokens, `timeout` is in seconds."""

    steps: int = 100
    tokens: int | None = None
    timeout: float | None = None
    reply_tokens: int = 4096


@dataclass(frozen=True)
class Services:
    """What the parts of a session share. None of it is replaced while the session is open."""

    conversation: Conversation
    pack: Pack
    tools: Mapping[str, PackTool]
    tool_context: ToolContext
    gate: Gate
    recorder: Recorder
    checkpoints: Checkpoints
    instructions: Instructions
    skills: list[Skill]
    """Skills that a person calls with `/NAME` and that the model reads."""
    hooks: Hooks
    watch: RepositoryWatch
    sampling: Sampling
    limits: TurnLimits
    settings: KeptSettings
    """What the session keeps when it goes on, as each turn records it."""
    mcp: McpServers | None = None
    """The MCP servers, if there are any."""
    approver: Approver | None = None
    """None: nobody can be asked, so what needs approval is denied."""
    waiting: WaitingTime = field(default_factory=WaitingTime)
    thinking: bool = False
    logprobs: bool = False
    """Whether the log-probabilities of generated tokens are recorded."""
    keys: Mapping[str, str] = field(default_factory=dict)
    """The keys of model servers by the name of their variable, which no result may hold."""

    def without_keys(self, text: str) -> str:
        """A text in which the name of its variable replaces each key of a model server, those too
        that were read from a file or a command since."""
        for name, key in {**credentials.secrets(), **self.keys}.items():
            text = text.replace(key, f"[{name}]")
        return text

    @property
    def emit(self) -> Callable[[Event], None]:
        """Records an event and shows it."""
        return self.recorder.emit

    @property
    def starts_in_plan_mode(self) -> bool:
        """Whether the static prefix says that this is planning."""
        return any(layer.pack == "plan" for layer in self.pack.stack.layers)

    async def request_approval(
        self, action: Action, decision: Decision, *, call_id: str, tool: str
    ) -> Approval:
        """Ask a person whether `action` may run; without a person the answer is no."""
        if self.approver is None:
            return Approval("no")
        with self.waiting:
            return await request_approval(
                self.approver, self.gate, self.emit, action, decision, call_id=call_id, tool=tool
            )
