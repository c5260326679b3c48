"""Assembles one streamed chat completion: text, reasoning, tool calls, usage.

Calls arrive natively or, from servers that do not parse them, as JSON in the text.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from laguna_agent.encodable import encodable
from laguna_agent.events import (
    FinishReason,
    Reply,
    ThinkingDelta,
    Timings,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from laguna_agent.models.chat.call_parsers import malformed
from laguna_agent.models.chat.chat_format import Parsed, ParserEvent
from laguna_agent.models.chat.chatml import json_shape
from laguna_agent.models.chat.loose_json import clean, load_json
from laguna_agent.models.chat.parsing import StreamParser, new_call_id
from laguna_agent.models.conversation import GenerateOptions, ToolSpec


@dataclass
class _Call:
    id: str
    name: str = ""
    parts: list[str] = field(default_factory=list)


class ReplyBuilder:
    """One reply under construction. `sent` is when it was requested (monotonic seconds)."""

    def __init__(self, tools: Sequence[ToolSpec], options: GenerateOptions) -> None:
        self.sent = time.monotonic()
        self._parser = StreamParser(json_shape(tools, options, thinking=False, stops=()))
        self._reasoning: list[str] = []
        self._calls: dict[int, _Call] = {}
        self._finish = ""
        self._usage = Usage()
        self._first: float | None = None
        self._parsed = Parsed()
        self._ended = self.sent

    def take(self, event: Mapping[str, Any]) -> list[ParserEvent]:
        """Add an event of the stream (or a whole answer); returns its deltas."""
        self._count(event)
        found: list[ParserEvent] = []
        choices = event.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if not isinstance(choice, Mapping) or choice.get("index", 0) != 0:
                continue
            delta = choice.get("delta") or choice.get("message")
            if isinstance(delta, Mapping):
                found += self._delta(delta)
            self._finish = str(choice.get("finish_reason") or self._finish)
        if found and self._first is None:
            self._first = time.monotonic()
        return found

    def end(self) -> list[ParserEvent]:
        """End the stream; returns the last deltas."""
        found, self._parsed = self._parser.finish()
        self._ended = time.monotonic()
        return found

    def reply(self, options: GenerateOptions) -> Reply:
        """The whole reply. `error` explains calls that could not be parsed."""
        calls = list(self._parsed.tool_calls)
        errors: list[str] = []
        if self._parsed.error:
            errors.append(self._parsed.error)
        for call in self._calls.values():
            raw = "".join(call.parts)
            try:
                arguments = load_json(raw) if raw.strip() else {}
                if not isinstance(arguments, dict):
                    raise ValueError("arguments must be one JSON object")
            except ValueError as error:
                errors.append(_unreadable(call.name, str(error), cut=self._finish == "length"))
                continue
            made = json.dumps(arguments, ensure_ascii=False)
            kept = raw if _is_strict(raw) else made
            calls.append(ToolCall(id=call.id, name=call.name, arguments=clean(arguments), raw=kept))
        calls = [call for call in calls if self._is_allowed(call, options, errors)]
        thinking = "".join(self._reasoning) or self._parsed.thinking
        first = self._ended if self._first is None else self._first
        return Reply(
            text=self._parsed.text,
            thinking=thinking,
            tool_calls=calls,
            finish_reason=self._reason(bool(calls)),
            error=" ".join(errors) or None,
            usage=self._usage,
            timings=Timings(
                prefill_s=first - self.sent,
                decode_s=self._ended - first,
                first_token_s=first - self.sent,
            ),
            seed=options.sampling.seed,
            temperature=options.sampling.temperature,
        )

    @staticmethod
    def _is_allowed(call: ToolCall, options: GenerateOptions, errors: list[str]) -> bool:
        """Check what the grammar enforces for a local model."""
        if options.allowed is not None and call.name not in options.allowed:
            names = ", ".join(f"`{name}`" for name in options.allowed)
            errors.append(f"`{call.name}` cannot be called now. Call one of: {names}.")
            return False
        return True

    def _reason(self, calls: bool) -> FinishReason:
        if self._finish == "length":
            return "length"
        if self._finish in ("content_filter", "error"):
            return "error"
        return "tool_calls" if calls else "stop"

    def _delta(self, delta: Mapping[str, Any]) -> list[ParserEvent]:
        found: list[ParserEvent] = []
        for key in ("reasoning_content", "reasoning"):
            thought = delta.get(key)
            if isinstance(thought, str) and thought:
                thought = encodable(thought)
                self._reasoning.append(thought)
                found.append(ThinkingDelta(text=thought))
                break
        content = delta.get("content")
        if isinstance(content, list):
            content = "".join(str(p.get("text", "")) for p in content if isinstance(p, Mapping))
        if isinstance(content, str) and content:
            found += self._parser.feed(encodable(content))
        calls = delta.get("tool_calls")
        for position, piece in enumerate(calls if isinstance(calls, list) else ()):
            if isinstance(piece, Mapping):
                found.append(self._call_delta(piece, position))
        return found

    def _call_delta(self, piece: Mapping[str, Any], position: int) -> ToolCallDelta:
        index = piece.get("index")
        index = index if isinstance(index, int) else self._index_of(piece, position)
        call = self._calls.get(index)
        if call is None:
            given = piece.get("id")
            known = {other.id for other in self._calls.values()}
            fresh = isinstance(given, str) and given and given not in known
            call = self._calls[index] = _Call(str(given) if fresh else new_call_id())
        function = piece.get("function")
        function = function if isinstance(function, Mapping) else {}
        name = function.get("name")
        if isinstance(name, str) and name and name != call.name:
            call.name += name
        arguments = function.get("arguments")
        if isinstance(arguments, Mapping):
            arguments = json.dumps(arguments, ensure_ascii=False)
        text = encodable(arguments) if isinstance(arguments, str) else ""
        call.parts.append(text)
        return ToolCallDelta(id=call.id, name=call.name or None, text=text)

    def _index_of(self, piece: Mapping[str, Any], position: int) -> int:
        """The index of a piece that has none: a new id is a new call."""
        for index, call in self._calls.items():
            if call.id == piece.get("id"):
                return index
        last = max(self._calls, default=-1)
        return last + 1 if piece.get("id") or last < 0 else max(last, position)

    def _count(self, event: Mapping[str, Any]) -> None:
        """Read token counts from `usage` or llama-server's `timings`."""
        usage, timings = event.get("usage"), event.get("timings")
        if isinstance(usage, Mapping):
            details = usage.get("prompt_tokens_details")
            cached = _number(details, "cached_tokens")
            prompt = _number(usage, "prompt_tokens")
            completion = _number(usage, "completion_tokens")
        elif isinstance(timings, Mapping) and not self._usage.prompt_tokens:
            cached = _number(timings, "cache_n")
            prompt = cached + _number(timings, "prompt_n")
            completion = _number(timings, "predicted_n")
        else:
            return
        cached = min(cached, prompt)
        self._usage = Usage(
            prompt_tokens=prompt,
            reused_tokens=cached,
            prefilled_tokens=prompt - cached,
            completion_tokens=completion,
        )


def _number(data: Any, key: str) -> int:
    value = data.get(key) if isinstance(data, Mapping) else None
    return max(int(value), 0) if isinstance(value, int | float) else 0


def _is_strict(raw: str) -> bool:
    """True when the text can be sent back as it came: servers parse it again."""
    try:
        return isinstance(json.loads(raw), dict)
    except ValueError:
        return False


def _unreadable(name: str, problem: str, *, cut: bool) -> str:
    if cut:
        problem = "it was cut off, because the reply reached its limit of tokens"
    return malformed(name or None, problem)
