"""The form of requests that one server accepts, learned from its own refusals.

A request is sent in the usual form first. When the server refuses it and says why, `adapt` changes
the form by just that from then on: a field less, turns that alternate, tools in the text. Each
change is made once, so that asking again comes to an end. docs/servers.md lists them. `learned` is
what other sessions may begin with (`lessons`): not what a failing server (HTTP 5xx) said.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from laguna_agent.config import DialectConfig
from laguna_agent.models.chat.chatml import declare_tools
from laguna_agent.models.chat.segments import SegmentWriter, text_of
from laguna_agent.models.conversation import GenerateOptions, ToolSpec
from laguna_agent.models.servers.http_request import extras
from laguna_agent.models.servers.refusals import RefusedRequestError

_Messages = list[dict[str, Any]]

_OPTIONAL = (
    "return_progress", "cache_prompt", "chat_template_kwargs", "thinking_budget_tokens",
    "thinking_token_budget", "repetition_penalty", "repeat_penalty", "min_p", "top_k", "grammar",
    "stream_options", "seed", "top_p", "tool_choice", "temperature", "max_completion_tokens",
    "max_tokens",
)  # fmt: skip
"""Fields that a request can do without, the most dispensable first."""
_SWITCHES = ("alternating", "system_in_user", "short_ids")
_INSIDE = {"enable_thinking": "chat_template_kwargs", "include_usage": "stream_options"}

_ALTERNATION = re.compile(
    r"roles? must alternate|must alternate|alternat\w+ .{0,40}roles?"
    r"|unexpected role ['\"`]?(?:user|tool|assistant)|after role ['\"`]?tool"
    r"|consecutive (?:user|assistant|messages)|(?:only|must be).{0,40}user,? ?(?:and|/) ?assistant",
    re.IGNORECASE,
)
_NO_SYSTEM = re.compile(
    r"system role (?:is )?not supported|(?:unexpected|unsupported|invalid) role:? ['\"`]?system"
    r"|does not support (?:the )?system",
    re.IGNORECASE,
)
_SHORT_IDS = re.compile(r"tool.{0,40}\bid\b.{0,120}length of 9", re.IGNORECASE | re.DOTALL)
_NO_TOOLS = re.compile(
    r"not support(?:ed)? (?:tools|tool[ _]use|tool[ _]call\w*|function)"
    r"|(?:tools?|tool use|tool calling|function calling)['\"`]? (?:param |parameter )?"
    r"(?:is |are )?(?:not (?:supported|enabled|permitted)|requires?|unsupported)"
    r"|--enable-auto-tool-choice|support tool use"
    # Templates that take apart the arguments of earlier calls, which the API has as text.
    r"|item pairs from a mapping|unknown method: items|no attribute ['\"`]?items",
    re.IGNORECASE,
)
_MISSING_THOUGHT = re.compile(
    r"(?:missing|must (?:be|have)|requires?|passed back).{0,40}reasoning_content"
    r"|reasoning_content.{0,40}(?:missing|must be|required|passed back)",
    re.IGNORECASE,
)
_ACCEPTED = re.compile(
    r"(?<!not )\b(?:supported|allowed|valid|known|accepted) (?:\w+ )?"
    r"(?:parameters|fields|arguments|keys|values)|expected one of",
    re.IGNORECASE,
)
"""After this a message lists what the server does accept."""
_ONE_OF_THEM = re.compile(r"\b(?:both|together|only one|simultaneously|mutually)\b", re.IGNORECASE)
_UNKNOWN = re.compile(
    r"unknown|unrecognized|unsupported|not permitted|unexpected|extra", re.IGNORECASE
)


@dataclass
class Dialect:
    """What one server accepts, as far as it is known."""

    native_calls: bool | None = None
    """Whether the server parses calls; False: the tools are described in the text. None: no call
    was seen yet."""
    left_out: set[str] = field(default_factory=set)
    """Fields that the server refused."""
    renamed: dict[str, str] = field(default_factory=dict)
    alternating: bool = False
    """Neighbouring user messages are one; what follows a tool's result is added to it."""
    system_in_user: bool = False
    short_ids: bool = False
    """Ids of calls have nine letters and digits."""
    thoughts: str = "given"
    """Whether replies go back with their thoughts: "given" where there are some, "never", or
    "always", with an empty one where there is none."""
    budget_field: str | None = None
    """The server's field for a budget of thought."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Fields that each request has in addition."""
    fixed: set[str] = field(default_factory=set)
    """Settings of the user, which no refusal changes."""
    _firm: set[str] = field(default_factory=set)
    """What was learned from refusals that will come again."""

    @classmethod
    def of(
        cls, settings: DialectConfig, known: Mapping[str, Any], budget_field: str | None
    ) -> Dialect:
        """The dialect that `known` lessons and the user's settings make, the settings first."""
        self = cls(budget_field=budget_field, fields=settings.fields)
        self._take(known)
        self.left_out |= set(settings.without)
        given = {
            "native_calls": settings.tools and (None if settings.tools == "native" else False),
            "alternating": settings.alternate,
            "system_in_user": None if settings.system is None else not settings.system,
            "short_ids": settings.short_ids,
            "thoughts": settings.thoughts,
        }
        for name, value in given.items():
            if value is not None or (name == "native_calls" and settings.tools):
                setattr(self, name, value)
                self.fixed.add(name)
        return self

    def request(
        self, model: str, messages: _Messages, tools: Sequence[ToolSpec], options: GenerateOptions
    ) -> dict[str, Any]:
        """The body of a request."""
        sampling = options.sampling
        body: dict[str, Any] = {
            "model": model,
            "messages": self.messages(messages, tools),
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": sampling.seed,
            "max_tokens": options.max_tokens,
        }
        if tools and self.native_calls is not False:
            body["tools"] = [_declaration(tool) for tool in tools]
            body["tool_choice"] = "none" if options.grammar else options.tool_choice
        body |= extras(options)
        if self.budget_field and options.thinking and options.thinking_budget is not None:
            body[self.budget_field] = options.thinking_budget
        body = {self.renamed.get(key, key): value for key, value in body.items()}
        body = {key: value for key, value in body.items() if key not in self.left_out}
        for key, value in self.fields.items():
            both = isinstance(value, Mapping) and isinstance(body.get(key), Mapping)
            body[key] = {**body[key], **value} if both else value
        return body

    def messages(self, messages: _Messages, tools: Sequence[ToolSpec]) -> _Messages:
        """The messages in the form that the server accepts; `messages` is not changed."""
        found = list(messages)
        if self.native_calls is False:
            found = _with_tools_in_text(found, tools)
        if self.system_in_user:
            found = [{**m, "role": "user"} if m["role"] == "system" else m for m in found]
        if self.alternating or self.system_in_user or self.native_calls is False:
            found = _alternating(found)
        if self.short_ids:
            found = [_with_short_ids(message) for message in found]
        return [self._with_thought(message) for message in found]

    def _with_thought(self, message: dict[str, Any]) -> dict[str, Any]:
        if message["role"] != "assistant" or self.thoughts == "given":
            return message
        if self.thoughts == "always":
            return {"reasoning_content": "", **message}
        return {key: value for key, value in message.items() if key != "reasoning_content"}

    # --- learning ---------------------------------------------------------------------------

    def learned(self) -> dict[str, Any]:
        """What was learned from refusals that will come again."""
        return {key: value for key, value in self._changes().items() if key in self._firm}

    def _changes(self) -> dict[str, Any]:
        """How this differs from the usual form: names of changes, and their values."""
        return {
            **{f"without {name}": True for name in sorted(self.left_out)},
            **{f"rename {name}": other for name, other in self.renamed.items()},
            **{name: True for name in _SWITCHES if getattr(self, name)},
            **({"thoughts": self.thoughts} if self.thoughts != "given" else {}),
            **({"native_calls": False} if self.native_calls is False else {}),
        }

    def _take(self, known: Mapping[str, Any]) -> None:
        """Begin with lessons, as far as they make sense."""
        for key, value in known.items():
            what, _, name = key.partition(" ")
            if what == "without" and name in _OPTIONAL:
                self.left_out.add(name)
            elif key == "rename max_tokens" and value == "max_completion_tokens":
                self.renamed["max_tokens"] = value
            elif key in _SWITCHES and value is True:
                setattr(self, key, True)
            elif key == "thoughts" and value in ("never", "always"):
                self.thoughts = value
            elif key == "native_calls" and value is False:
                self.native_calls = False
            else:
                continue
            self._firm.add(key)

    def adapt(self, refused: RefusedRequestError, sent: dict[str, Any]) -> str | None:
        """Change the form of requests by what a refusal of `sent` asks for; says how, for the log.
        None when the refusal asks for nothing that can be changed."""
        before = self._changes()
        said = self._adapt(refused, sent)
        if refused.status < 500:
            self._firm |= self._changes().keys() - before.keys()
        return said

    def _adapt(self, refused: RefusedRequestError, sent: dict[str, Any]) -> str | None:
        text = refused.text
        if _ALTERNATION.search(text):
            return self._alternate()
        if _NO_SYSTEM.search(text) and self._may("system_in_user"):
            self.system_in_user = True
            return "the system prompt is part of the first user message"
        if _SHORT_IDS.search(text) and self._may("short_ids"):
            self.short_ids = True
            return "ids of calls have nine characters"
        if "tools" in sent and _NO_TOOLS.search(text) and self.describe_tools():
            return "tools are described in the text"
        if "reasoning_content" in text or any("reasoning_content" in f for f in refused.fields):
            wanted = "always" if _MISSING_THOUGHT.search(text) else "never"
            if self.thoughts != "given" or "thoughts" in self.fixed:
                return None
            self.thoughts = wanted
            return f"replies go back with their thoughts {wanted}"
        return self._leave_out(refused, sent)

    def describe_tools(self) -> bool:
        """Describe the tools in the text from now on; False when they are already, or the user
        wants them native."""
        if "native_calls" in self.fixed:
            return False
        changed, self.native_calls = self.native_calls is not False, False
        return changed

    def _alternate(self) -> str | None:
        if self._may("alternating"):
            self.alternating = True
            return "notes are added to the result before them, so that roles alternate"
        # Templates without a turn for tools accept only user and assistant.
        return "tools are described in the text" if self.describe_tools() else None

    def _may(self, switch: str) -> bool:
        """Whether a switch can still be turned on."""
        return not getattr(self, switch) and switch not in self.fixed

    def _leave_out(self, refused: RefusedRequestError, sent: dict[str, Any]) -> str | None:
        if refused.status not in (400, 404, 422, 500, 501):
            return None
        fields = [name for name in _OPTIONAL if name in sent]
        named = [name for name in fields if any(_names(name, f) for f in refused.fields)]
        if not named:
            told = _ACCEPTED.split(refused.text)[0]
            named = [name for name in fields if _names(name, told)]
            named = named[:1] if _ONE_OF_THEM.search(told) else named
        if not named and _UNKNOWN.search(refused.text):
            usual = {"stream_options", "seed", "top_p", "tool_choice", "temperature", "max_tokens"}
            named = [name for name in fields if name not in usual]
        if not named:
            return None
        if "max_tokens" in named and "max_completion_tokens" in refused.text:
            self.renamed["max_tokens"] = "max_completion_tokens"
            named.remove("max_tokens")
            self.left_out.update(named)
            return "max_tokens is called max_completion_tokens"
        self.left_out.update(named)
        return f"without {', '.join(named)}"


def _names(name: str, text: str) -> bool:
    """Whether a text names a field, or something inside it."""
    inside = [inner for inner, outer in _INSIDE.items() if outer == name]
    return any(re.search(rf"(?<!\w){re.escape(n)}(?!\w)", text) for n in (name, *inside))


def _declaration(tool: ToolSpec) -> dict[str, Any]:
    # Some servers insist on a type, which a declaration may leave out.
    parameters = {"type": "object", **tool.parameters}
    return {"type": "function", "function": {**tool.model_dump(), "parameters": parameters}}


def _alternating(messages: _Messages) -> _Messages:
    """User messages that follow another one, or a tool's result, are part of it."""
    found: _Messages = []
    for message in messages:
        last = found[-1] if found else None
        joins = last is not None and (
            (message["role"] == "user" and last["role"] in ("user", "tool"))
            or (message["role"] == last["role"] == "assistant" and "tool_calls" not in last)
        )
        if last is not None and joins:
            content = "\n\n".join(t for t in (last["content"], message["content"]) if t)
            found[-1] = {**last, **message, "role": last["role"], "content": content}
        else:
            found.append(message)
    return found


def _with_tools_in_text(messages: _Messages, tools: Sequence[ToolSpec]) -> _Messages:
    """Tools, calls and results as text, in the words that most models were trained on."""
    declared = text_of(declare_tools(SegmentWriter(["\0"]), tools).segments()) if tools else ""
    found: _Messages = []
    for message in messages:
        content = message["content"]
        if message["role"] == "tool":
            content = f"<tool_response>\n{content}\n</tool_response>"
            found.append({"role": "user", "content": content})
        elif message["role"] == "system":
            found.append({**message, "content": f"{content}\n\n{declared}".strip()})
            declared = ""
        else:
            calls = "\n".join(map(_as_text, message.get("tool_calls", ())))
            kept = {key: value for key, value in message.items() if key != "tool_calls"}
            found.append({**kept, "content": f"{content}\n{calls}".strip()})
    return [{"role": "system", "content": declared}, *found] if declared else found


def _as_text(call: dict[str, Any]) -> str:
    name = json.dumps(call["function"]["name"], ensure_ascii=False)
    arguments = call["function"]["arguments"]
    return f'<tool_call>\n{{"name": {name}, "arguments": {arguments}}}\n</tool_call>'


def _with_short_ids(message: dict[str, Any]) -> dict[str, Any]:
    def short(call_id: str) -> str:
        if re.fullmatch(r"[A-Za-z0-9]{9}", call_id):
            return call_id
        return hashlib.sha256(call_id.encode()).hexdigest()[:9]

    changed = dict(message)
    if "tool_call_id" in message:
        changed["tool_call_id"] = short(message["tool_call_id"])
    if "tool_calls" in message:
        changed["tool_calls"] = [{**c, "id": short(c["id"])} for c in message["tool_calls"]]
    return changed
