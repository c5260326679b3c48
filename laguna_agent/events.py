"""The vocabulary that all parts share: one model per kind of event.

Interfaces, the trajectory, memory and export all derive from this one stream. Classes marked
`transient` are shown and not stored; what they add up to is stored as another event.

Over 400 lines because it is one vocabulary, and what is stored must be seen in one place.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from laguna_agent.actions import Action, Decision

Status = Literal["done", "failed", "denied", "limit", "error", "interrupted"]
FinishReason = Literal["stop", "tool_calls", "length", "cancelled", "context_full", "error"]


class Record(BaseModel):
    """Base of all data that travels between parts."""

    model_config = ConfigDict(extra="forbid")


class _Event(Record):
    transient: ClassVar[bool] = False


class ToolCall(Record):
    """A call the model made. `arguments` is what was parsed; `raw` is the text it came from."""

    id: str
    name: str
    arguments: dict[str, Any]
    raw: str = ""


class Usage(Record):
    """Token counts of one reply or of a whole turn.

    `prompt_tokens` is the length of the prompt, of which `reused_tokens` were in the KV cache,
    `restored_tokens` came from a snapshot or checkpoint and are counted in `reused_tokens` too,
    and `prefilled_tokens` were processed.
    """

    prompt_tokens: int = 0
    reused_tokens: int = 0
    restored_tokens: int = 0
    prefilled_tokens: int = 0
    completion_tokens: int = 0

    def plus(self, other: Usage) -> Usage:
        """The sum, field by field."""
        return Usage(**{k: getattr(self, k) + getattr(other, k) for k in Usage.model_fields})


class CacheMiss(Record):
    """Why fewer tokens were reused than hoped. `position` is the first token that differed."""

    reason: str
    position: int


class Timings(Record):
    """Seconds spent in one reply."""

    queued_s: float = 0.0
    prefill_s: float = 0.0
    decode_s: float = 0.0
    first_token_s: float = 0.0


class PlanStep(Record):
    """One step of the model's plan."""

    text: str
    status: Literal["pending", "active", "done", "dropped"] = "pending"


# --- of a session ---------------------------------------------------------------------------


class SessionStarted(_Event):
    """First event of a session: everything needed to reproduce the run."""

    type: Literal["session_started"] = "session_started"
    session: str
    repository: str
    cwd: str
    model: dict[str, Any]
    """name, sha256, format, context, template_sha256, architecture, quantization."""
    sampling: dict[str, Any]
    seed: int
    pack: dict[str, Any]
    """name and sha256 of the prompt pack."""
    versions: dict[str, str]
    mode: str
    parent: str | None = None
    """The session and event this one was forked from, as `id:seq`."""


class SystemPrompt(_Event):
    """The static prefix: system text and tool declarations, as the model sees them."""

    type: Literal["system_prompt"] = "system_prompt"
    text: str
    tools: list[dict[str, Any]]
    tokens: int
    token_ids: list[int] | None = None


class UserMessage(_Event):
    """What a person said. `context` is what laguna put beside it (date, cwd, files, memory)."""

    type: Literal["user_message"] = "user_message"
    text: str
    context: str = ""
    origin: Literal["user", "steer", "queue"] = "user"


class SystemNote(_Event):
    """A message that laguna itself appended for the model: a reminder, a check that failed."""

    type: Literal["system_note"] = "system_note"
    text: str
    reason: str


class TurnStarted(_Event):
    """A turn begins."""

    type: Literal["turn_started"] = "turn_started"
    turn: int


class StepStarted(_Event):
    """The model is asked for the next reply."""

    type: Literal["step_started"] = "step_started"
    step: int


class Notice(_Event):
    """Something a person should know; not for the model."""

    type: Literal["notice"] = "notice"
    level: Literal["info", "warning", "error"] = "info"
    text: str


class TurnFinished(_Event):
    """A turn ended. `files_changed` are paths relative to the repository, `checkpoint` records the
    files as the turn left them, where somebody may change them before the next."""

    type: Literal["turn_finished"] = "turn_finished"
    status: Status
    summary: str = ""
    error: str | None = None
    steps: int = 0
    duration_s: float = 0.0
    usage: Usage = Usage()
    files_changed: list[str] = []
    checkpoint: str = ""


class Compacted(_Event):
    """A new epoch: what came before is summarised. Ranges are `seq` numbers, both included."""

    type: Literal["compacted"] = "compacted"
    summary: str
    first_seq: int
    last_seq: int
    kept_from_seq: int
    tokens_before: int
    tokens_after: int
    dropped: list[str] = []
    guidance: str = ""
    opening: str = ""
    """The user message that opens the new epoch: the summary, the verbatim part, the plan."""
    token_ids: list[int] | None = None
    """The new epoch's prompt after the static prefix, up to the end of the last kept reply."""


class Rewound(_Event):
    """The conversation continues from an earlier event; later ones stay on record."""

    type: Literal["rewound"] = "rewound"
    to_seq: int
    code: bool = False


# --- of the model ---------------------------------------------------------------------------


class ModelLoading(_Event):
    """Bytes of the model file read so far."""

    transient: ClassVar[bool] = True
    type: Literal["model_loading"] = "model_loading"
    done: int
    total: int
    measuring: bool = False
    """What suits the model on this machine is being measured, as once on its first use."""


class EngineRestarted(_Event):
    """The engine process died and was started again."""

    type: Literal["engine_restarted"] = "engine_restarted"
    reason: str
    attempt: int


class PrefillProgress(_Event):
    """Prompt processing: `done` of `total` new tokens; `reused` were not processed again.

    `rate` is in tokens per second, `eta_s` in seconds; both 0 until known.
    """

    transient: ClassVar[bool] = True
    type: Literal["prefill_progress"] = "prefill_progress"
    done: int
    total: int
    reused: int
    rate: float = 0.0
    eta_s: float = 0.0


class ThinkingDelta(_Event):
    """Reasoning text as it streams."""

    transient: ClassVar[bool] = True
    type: Literal["thinking_delta"] = "thinking_delta"
    text: str


class TextDelta(_Event):
    """Answer text as it streams."""

    transient: ClassVar[bool] = True
    type: Literal["text_delta"] = "text_delta"
    text: str


class ToolCallDelta(_Event):
    """A call as it is being written: `name` once known, and the raw text so far added."""

    transient: ClassVar[bool] = True
    type: Literal["tool_call_delta"] = "tool_call_delta"
    id: str
    name: str | None
    text: str


class GrammarUsed(_Event):
    """A grammar that holds replies from here on, each by its digest; on record once, so that a
    reply can be verified without knowing what made the grammar."""

    type: Literal["grammar_used"] = "grammar_used"
    digest: str
    gbnf: str
    root: str = "root"
    lazy: bool = False
    trigger_tokens: list[str] = []
    trigger_patterns: list[str] = []


class Reply(_Event):
    """A whole reply of the model."""

    type: Literal["reply"] = "reply"
    text: str = ""
    thinking: str = ""
    tool_calls: list[ToolCall] = []
    finish_reason: FinishReason = "stop"
    error: str | None = None
    """What was wrong with the reply, when it could not be parsed as the format says."""
    usage: Usage = Usage()
    timings: Timings = Timings()
    miss: CacheMiss | None = None
    seed: int | None = None
    temperature: float | None = None
    discarded: bool = False
    """True when the loop threw the reply away and asked again; it is not in the prompt."""
    prompt_token_ids: list[int] | None = None
    """Ids appended since the last reply that is still in the prompt, or else since the static
    prefix; together they give the prompt."""
    token_ids: list[int] | None = None
    logprobs: list[float] | None = None
    """Natural logarithms of the model's own probabilities of `token_ids`, before temperature,
    samplers and grammar; recorded when asked for."""
    grammar: str | None = None
    """Digest of the grammar that held the reply; a GrammarUsed event before it has the text."""
    thinking_budget: int | None = None
    think_close: list[int] = []
    """Tokens that were fed when the thought had taken `thinking_budget` tokens."""


# --- of tools -------------------------------------------------------------------------------


class ApprovalRequested(_Event):
    """A person is asked. `rule` is what "always" would write."""

    type: Literal["approval_requested"] = "approval_requested"
    call_id: str
    tool: str
    action: Action
    decision: Decision
    rule: str | None = None


class ApprovalGiven(_Event):
    """The answer to an approval; `reason` goes to the model when it was denied."""

    type: Literal["approval_given"] = "approval_given"
    call_id: str
    answer: Literal["once", "always", "no"]
    reason: str = ""


class ToolStarted(_Event):
    """A tool runs. `title` is one line: what, on what."""

    type: Literal["tool_started"] = "tool_started"
    call_id: str
    name: str
    title: str


class ToolOutput(_Event):
    """Live output of a running tool."""

    transient: ClassVar[bool] = True
    type: Literal["tool_output"] = "tool_output"
    call_id: str
    text: str


class ToolFinished(_Event):
    """What a tool gave back. `content` is exactly what the model is told."""

    type: Literal["tool_finished"] = "tool_finished"
    call_id: str
    name: str
    ok: bool
    content: str
    title: str = ""
    summary: str = ""
    """A few words for a person: `12 lines`, `exit 1`, `+3 -1`."""
    diff: str = ""
    files_changed: list[str] = []
    duration_s: float = 0.0
    truncated: bool = False
    output_file: str | None = None
    exit_code: int | None = None
    data: dict[str, Any] = {}


class PlanUpdated(_Event):
    """The model's plan changed."""

    type: Literal["plan_updated"] = "plan_updated"
    steps: list[PlanStep]


class CheckRan(_Event):
    """The check that the task named (a test command) was run."""

    type: Literal["check_ran"] = "check_ran"
    command: str
    exit_code: int
    output: str
    duration_s: float = 0.0


class Checkpointed(_Event):
    """The working tree was recorded before a turn that changes files."""

    type: Literal["checkpointed"] = "checkpointed"
    id: str
    files: int = 0


Event = Annotated[
    SessionStarted
    | SystemPrompt
    | UserMessage
    | SystemNote
    | TurnStarted
    | StepStarted
    | Notice
    | TurnFinished
    | Compacted
    | Rewound
    | ModelLoading
    | EngineRestarted
    | PrefillProgress
    | ThinkingDelta
    | TextDelta
    | ToolCallDelta
    | GrammarUsed
    | Reply
    | ApprovalRequested
    | ApprovalGiven
    | ToolStarted
    | ToolOutput
    | ToolFinished
    | PlanUpdated
    | CheckRan
    | Checkpointed,
    Field(discriminator="type"),
]

ModelEvent = (
    ModelLoading
    | EngineRestarted
    | PrefillProgress
    | ThinkingDelta
    | TextDelta
    | ToolCallDelta
    | GrammarUsed
    | Reply
)
