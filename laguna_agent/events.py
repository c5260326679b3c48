"""Events: everything that happens in a session, one model per type.

Interfaces, the trajectory, memory and export all derive from this one stream. `transient` events
are shown and not stored; a later event stores their sum, such as a Reply the deltas of its text.

Over 400 lines because the stored format is best read in one place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from laguna_agent.actions import Action, Decision, Mode, Risk, Scope
from laguna_agent.config import RuleConfig

Status = Literal["done", "failed", "denied", "limit", "error", "interrupted"]
FinishReason = Literal[
    "stop", "tool_calls", "length", "repeats", "cancelled", "context_full", "error"
]


class Record(BaseModel):
    """Base of events and of the data in them."""

    model_config = ConfigDict(extra="forbid")


class _Event(Record):
    transient: ClassVar[bool] = False


class ToolCall(Record):
    """A call that the model made. `arguments` are parsed from the text in `raw`."""

    id: str
    name: str
    arguments: dict[str, Any]
    raw: str = ""


class Usage(Record):
    """Token counts of one reply or of a whole turn.

    `prompt_tokens` is the length of the prompt. Of these, `reused_tokens` were in the KV cache and
    `prefilled_tokens` were processed. `restored_tokens` came from a snapshot; `reused_tokens`
    includes them.
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
    """Why fewer tokens were reused than expected. `position` is the first token that differed."""

    reason: str
    position: int


class Timings(Record):
    """Durations within one reply, in seconds."""

    queued_s: float = 0.0
    prefill_s: float = 0.0
    decode_s: float = 0.0
    first_token_s: float = 0.0


class PlanStep(Record):
    """One step of the model's plan."""

    text: str
    status: Literal["pending", "active", "done", "dropped"] = "pending"


PLAN_MARKS = {"pending": "[ ]", "active": "[>]", "done": "[x]", "dropped": "[-]"}
"""The mark of each status, as the model writes plans and reads them."""


def plan_text(steps: Sequence[PlanStep]) -> str:
    """A plan as text, one marked step a line."""
    return "\n".join(f"{PLAN_MARKS[step.status]} {step.text}" for step in steps)


# --- session ------------------------------------------------------------------------------


class SessionStarted(_Event):
    """First event of a session: what reproducing the run takes."""

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
    """The session and event that this one was forked from, as `id:seq`."""


class SystemPrompt(_Event):
    """The static prefix as the model sees it: system prompt and tool declarations."""

    type: Literal["system_prompt"] = "system_prompt"
    text: str
    tools: list[dict[str, Any]]
    tokens: int
    token_ids: list[int] | None = None


class AcceptedPlan(Record):
    """A plan that the user accepted, word for word, and the mode to carry it out in."""

    text: str
    edited: bool = False
    """Whether the user changed what the model had proposed."""
    mode: Mode


class UserMessage(_Event):
    """A message of the user. `context` is what laguna attached (date, cwd, files, memory).

    `plan` is the plan that it accepts: only a message with one consents to a plan."""

    type: Literal["user_message"] = "user_message"
    text: str
    context: str = ""
    origin: Literal["user", "steer", "queue"] = "user"
    plan: AcceptedPlan | None = None


class SystemNote(_Event):
    """A message from laguna itself to the model, such as a reminder or a failed check."""

    type: Literal["system_note"] = "system_note"
    text: str
    reason: str
    files: list[str] = []
    """The files that the text is from: absolute paths of instructions."""


class KeptSettings(Record):
    """What a session keeps whenever it goes on, unless it is given anew; empty: not chosen."""

    model: str = ""
    """As a person names it: a name, a path, or `PROVIDER/NAME`."""
    pack: str = ""
    thinking: bool | None = None
    sampling: dict[str, Any] = {}
    """Only what a person chose; the rest is the model's and the pack's."""
    check: str = ""
    plan: bool = False
    memory: bool = True
    cwd: str = ""
    """The directory, as the model was told."""


class TurnStarted(_Event):
    """A turn begins, with these settings."""

    type: Literal["turn_started"] = "turn_started"
    turn: int
    settings: KeptSettings | None = None


class SettingsChanged(_Event):
    """The settings that a session keeps, as they were set after its last turn."""

    type: Literal["settings_changed"] = "settings_changed"
    settings: KeptSettings


class StepStarted(_Event):
    """The model is about to generate the next reply."""

    type: Literal["step_started"] = "step_started"
    step: int


class Notice(_Event):
    """A message for the user that the model does not see."""

    type: Literal["notice"] = "notice"
    level: Literal["info", "warning", "error"] = "info"
    text: str


class CheckResult(BaseModel):
    """The check of a turn: how it ended when it last ran (None: it never did), and how often."""

    command: str
    exit_code: int | None = None
    runs: int = 0


class Denied(BaseModel):
    """Something that was denied: the tool, what it would have done, and why not."""

    tool: str
    action: str
    reason: str


class TurnFinished(_Event):
    """A turn ended. `files_changed` are paths relative to the repository; `checkpoint` is the id of
    a record of the files as the turn left them, if one was made; with `plan`, the summary is a plan
    that waits for the user's decision. `waited_s` is the part of `duration_s` in which a person
    was asked."""

    type: Literal["turn_finished"] = "turn_finished"
    status: Status
    summary: str = ""
    error: str | None = None
    steps: int = 0
    duration_s: float = 0.0
    waited_s: float = 0.0
    usage: Usage = Usage()
    files_changed: list[str] = []
    checkpoint: str = ""
    plan: bool = False
    check: CheckResult | None = None
    denied: list[Denied] = []

    @property
    def worked_s(self) -> float:
        """Seconds without those that waited for a person."""
        return max(0.0, self.duration_s - self.waited_s)


class Compacted(_Event):
    """A new epoch began from a summary. `first_seq` and `last_seq` are the events it summarises,
    both included; the steps from `kept_from_seq` on stay in the prompt."""

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
    """The first message of the new epoch: user messages, plan, summary."""
    token_ids: list[int] | None = None
    """The new epoch's prompt after the static prefix, up to the end of the last kept reply."""


class Rewound(_Event):
    """The conversation continues from event `to_seq`; later events stay on record."""

    type: Literal["rewound"] = "rewound"
    to_seq: int
    code: bool = False


# --- model -------------------------------------------------------------------------------


class ModelLoading(_Event):
    """Progress of loading a model: bytes read."""

    transient: ClassVar[bool] = True
    type: Literal["model_loading"] = "model_loading"
    done: int
    total: int
    measuring: bool = False
    """True while laguna measures the best settings for this model on this machine."""


class EngineRestarted(_Event):
    """The engine process died and laguna restarted it, or a request to a server failed."""

    type: Literal["engine_restarted"] = "engine_restarted"
    reason: str
    attempt: int
    server: bool = False
    """True for a server, which is asked again after `wait_s` seconds."""
    wait_s: float = 0.0


class RetryWait(_Event):
    """A server is asked again in `left_s` seconds, because of `reason`."""

    transient: ClassVar[bool] = True
    type: Literal["retry_wait"] = "retry_wait"
    reason: str
    attempt: int
    left_s: float


class PrefillProgress(_Event):
    """Progress of prompt processing: `done` of `total` new tokens, after `reused` ones.

    `rate` is in tokens per second, `eta_s` in seconds; both are 0 until known.
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
    """A tool call as it streams: `name` once known, and the raw text since the last delta."""

    transient: ClassVar[bool] = True
    type: Literal["tool_call_delta"] = "tool_call_delta"
    id: str
    name: str | None
    text: str


class GrammarUsed(_Event):
    """A grammar that later replies refer to by its digest, so that verifying them needs nothing
    else. Recorded once per session."""

    type: Literal["grammar_used"] = "grammar_used"
    digest: str
    gbnf: str
    root: str = "root"
    lazy: bool = False
    trigger_tokens: list[str] = []
    trigger_patterns: list[str] = []


class Reply(_Event):
    """A complete reply of the model."""

    type: Literal["reply"] = "reply"
    text: str = ""
    thinking: str = ""
    tool_calls: list[ToolCall] = []
    finish_reason: FinishReason = "stop"
    error: str | None = None
    """Why the reply could not be parsed."""
    usage: Usage = Usage()
    timings: Timings = Timings()
    miss: CacheMiss | None = None
    seed: int | None = None
    temperature: float | None = None
    discarded: bool = False
    """True when the loop discarded the reply and generated another; it is not in the prompt."""
    side_by_side: bool = False
    """Whether it is one of several replies to a prompt, of which the first that passes the check is
    kept."""
    composed: bool = False
    """Whether laguna made it of what the model wrote apart from the conversation, or found likely
    in a text."""
    prompt_token_ids: list[int] | None = None
    """Ids that were appended after the previous reply in the prompt (for the first reply, after the
    static prefix). Those of all replies, with their `token_ids`, make up the prompt."""
    token_ids: list[int] | None = None
    logprobs: list[float] | None = None
    """Natural logarithms of the model's probabilities of `token_ids`, before temperature, samplers
    and grammar. Recorded on request."""
    grammar: str | None = None
    """Digest of the reply's grammar; an earlier GrammarUsed event has its text."""
    thinking_budget: int | None = None
    think_close: list[int] = []
    """Tokens that were inserted to end the thinking after `thinking_budget` tokens."""


# --- tools ----------------------------------------------------------------------------------


class ApprovalRequested(_Event):
    """The user is asked for approval.

    `rule` is the rule that an answer for longer than once would add, None if there is no narrow
    one. `rule_text` says it in plain words (`run pytest with any arguments`), and `files` names the
    file that would hold it, by scope; for the session that is empty, as its record holds it.
    """

    type: Literal["approval_requested"] = "approval_requested"
    call_id: str
    tool: str
    action: Action
    decision: Decision
    rule: str | None = None
    rule_text: str = ""
    files: dict[Scope, str] = {}
    risks: list[Risk] = []
    """What makes it risky; empty for what can be undone."""
    sandboxed: bool | None = None
    """Whether the command runs in the sandbox; None for what is no command."""


class ApprovalGiven(_Event):
    """The user's answer to an approval. The model sees `reason` when it is a refusal.

    "always" and "never" add a rule for `scope`. Records of older versions have no scope: there,
    "always" added a rule to the user's configuration.
    """

    type: Literal["approval_given"] = "approval_given"
    call_id: str
    answer: Literal["once", "always", "no", "never"]
    scope: Scope | None = None
    reason: str = ""


class PermissionsChanged(_Event):
    """The rules that hold for this session only, after one was added or removed."""

    type: Literal["permissions_changed"] = "permissions_changed"
    rules: list[RuleConfig]


class ToolStarted(_Event):
    """A tool call starts. `title` describes it in one line."""

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
    """The result of a tool call. The model reads exactly `content`."""

    type: Literal["tool_finished"] = "tool_finished"
    call_id: str
    name: str
    ok: bool
    content: str
    title: str = ""
    summary: str = ""
    """The result in a few words for the user: `12 lines`, `exit 1`, `+3 -1`."""
    diff: str = ""
    files_changed: list[str] = []
    duration_s: float = 0.0
    denied: bool = False
    """A rule, a hook or a person said no: it did not run. `summary` says who, and why."""
    truncated: bool = False
    output_file: str | None = None
    exit_code: int | None = None
    data: dict[str, Any] = {}


class PlanUpdated(_Event):
    """The model's plan changed."""

    type: Literal["plan_updated"] = "plan_updated"
    steps: list[PlanStep]


class CheckRan(_Event):
    """The task's check, such as a test command, ran."""

    type: Literal["check_ran"] = "check_ran"
    command: str
    exit_code: int
    output: str
    duration_s: float = 0.0


class Checkpointed(_Event):
    """The working tree was recorded before a turn. `files` counts what was recorded; records of
    older versions have 0 there."""

    type: Literal["checkpointed"] = "checkpointed"
    id: str
    files: int = 0


Event = Annotated[
    SessionStarted
    | SystemPrompt
    | UserMessage
    | SystemNote
    | TurnStarted
    | SettingsChanged
    | StepStarted
    | Notice
    | TurnFinished
    | Compacted
    | Rewound
    | ModelLoading
    | EngineRestarted
    | RetryWait
    | PrefillProgress
    | ThinkingDelta
    | TextDelta
    | ToolCallDelta
    | GrammarUsed
    | Reply
    | ApprovalRequested
    | ApprovalGiven
    | PermissionsChanged
    | ToolStarted
    | ToolOutput
    | ToolFinished
    | PlanUpdated
    | CheckRan
    | Checkpointed,
    Field(discriminator="type"),
]

ModelEvent = (
    Notice
    | ModelLoading
    | EngineRestarted
    | RetryWait
    | PrefillProgress
    | ThinkingDelta
    | TextDelta
    | ToolCallDelta
    | GrammarUsed
    | Reply
)
