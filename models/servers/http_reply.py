"""Assembles one streamed chat completion: text, reasoning, tool calls, usage.

Calls arrive natively or, from servers that do not parse what their model writes, in the text.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from laguna_agent.encodable import encodable
from laguna_agent.errors import ModelError
from laguna_agent.events import (
    FinishReason,
    Reply,
    TextDelta,
    ThinkingDelta,
    Timings,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from laguna_agent.models.chat.call_parsers import partial_suffix
from laguna_agent.models.chat.chat_format import Parsed, ParserEvent, ReplyParser
from laguna_agent.models.chat.parsing import ReplyShape, StreamParser, new_call_id
from laguna_agent.models.chat.text_calls import CALL_MARKS, tagged_calls, trailing_calls
from laguna_agent.models.conversation import GenerateOptions, ToolSpec
from laguna_agent.models.servers.native_calls import NativeCalls
from laguna_agent.models.servers.refusals import StreamBrokenError

_UNOPENED_THOUGHT = re.compile(r"(.*?)</think>[ \t]*(?:\n|\Z)(.*)", re.DOTALL)
_THOUGHTS = (
    "reasoning_content", "reasoning", "thinking", "reasoning_text", "reasoning_details",
)  # fmt: skip
"""Fields of a delta that may hold a thought; the first that does counts."""
_MARK = re.compile("|".join(map(re.escape, CALL_MARKS)))


class ReplyBuilder:
    """One reply under construction. `sent` is when it was requested (monotonic seconds).

    `native` says whether the server is known to parse calls by itself: then JSON in the text of a
    reply is shown and not meant. None: nothing is known yet. `reader` parses calls in the text that
    are written in the chat format of the pack; None where the pack has no form of its own.
    """

    def __init__(
        self,
        tools: Sequence[ToolSpec],
        options: GenerateOptions,
        *,
        native: bool | None = None,
        reader: Callable[[], ReplyParser] | None = None,
    ) -> None:
        self.sent = time.monotonic()
        self.native = native
        self.written = ""
        """The text as it came, with calls in it."""
        self._tools = tools if options.tool_choice != "none" else ()
        self._required = options.tool_choice == "required"
        # Calls are looked for in the whole text, at the end: this one splits off thoughts.
        self._parser = StreamParser(ReplyShape(call_parser=None, names=frozenset()))
        self._new_reader = reader if self._tools else None
        self._reader = self._new_reader() if self._new_reader is not None else None
        self._reasoning: list[str] = []
        self._calls = NativeCalls({tool.name for tool in tools})
        self._held: list[str] | None = None
        """What follows the beginning of a call in the text, until the end."""
        self._unsure = ""
        self._held_id = new_call_id()
        self._errors: list[str] = []
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
            if not isinstance(choice, Mapping) or choice.get("index") not in (0, "0", None):
                continue
            delta = choice.get("delta") or choice.get("message")
            if isinstance(delta, Mapping):
                found += self._delta(delta)
            self._finish = str(choice.get("finish_reason") or self._finish)
        if found and self._first is None:
            self._first = time.monotonic()
        return found

    @property
    def begun(self) -> bool:
        """Whether anything of the reply has come: the server has read the prompt."""
        return self._first is not None

    def failure(self) -> Exception | None:
        """Why the server ended the reply, if not because it is whole."""
        if self._finish == "error":
            return StreamBrokenError("the server ended the reply with an error")
        if self._finish == "content_filter":
            hint = "Other words may pass it."
            return ModelError("the server's content filter ended the reply", hint=hint)
        return None

    @property
    def only_thought(self) -> bool:
        """Whether the reply was cut in its thought, before any text or call. After `end`."""
        parsed = self._parsed
        answered = parsed.text or parsed.tool_calls or self._calls
        return bool(parsed.thinking) and self._finish == "length" and not answered

    def end(self) -> list[ParserEvent]:
        """End the stream; returns the last deltas."""
        found, self._parsed = self._parser.finish()
        self._ended = time.monotonic()
        found = self._shown(found)
        read: Parsed | None = None
        if self._reader is not None:
            events, read = self._reader.finish()
            found += self._without_calls(events)
        parsed = self._parsed
        parsed.thinking = "".join(self._reasoning) or parsed.thinking
        if not parsed.thinking and (unopened := _UNOPENED_THOUGHT.fullmatch(parsed.text)):
            parsed.thinking, parsed.text = (part.strip() for part in unopened.groups())
            read = None
        parsed.tool_calls, self._errors = self._calls.finish(cut=self._finish == "length")
        if self._calls:
            self.native = True
        elif self._tools and not self._read_calls(read):
            self._find_calls_in_text()
        left = self._unsure if self._held is None else "".join(self._held)
        if left and not parsed.tool_calls:
            found.append(TextDelta(text=left))
        return found

    def reply(self, options: GenerateOptions) -> Reply:
        """The whole reply, after `end`. `error` explains calls that could not be parsed."""
        parsed, errors = self._parsed, list(self._errors)
        calls = [call for call in parsed.tool_calls if self._is_allowed(call, options, errors)]
        first = self._ended if self._first is None else self._first
        return Reply(
            text=parsed.text,
            thinking=parsed.thinking,
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

    def _read_calls(self, read: Parsed | None) -> bool:
        """Take the calls in the form of the pack, if there are any. `read` is what the text was
        read as while it came; None when a thought was split off from it."""
        if self._new_reader is None:
            return False
        parsed, in_thought = self._parsed, not self._parsed.text
        if read is None or in_thought:
            reader = self._new_reader()
            reader.feed(parsed.thinking if in_thought else parsed.text)
            _, read = reader.finish()
        self._errors += [read.error] if read.error and not in_thought else []
        if not read.tool_calls:
            return bool(self._errors)
        parsed.tool_calls = read.tool_calls
        if in_thought:  # a model may forget to end its thought
            parsed.thinking = read.text
        else:
            parsed.text = read.text
        return True

    def _find_calls_in_text(self) -> None:
        parsed, tools = self._parsed, self._tools
        found = tagged_calls(parsed.text, tools, in_fence=not self.native)
        if not parsed.text:  # a model may forget to end its thought
            found = tagged_calls(parsed.thinking, tools, in_fence=False)
            if not found.calls:
                return
            parsed.thinking, found.text = found.text, ""
        parsed.text, parsed.thinking = found.text, parsed.thinking or found.thinking
        parsed.tool_calls, self._errors = found.calls, found.errors
        if found.calls or found.errors or self.native:
            return
        before, calls = trailing_calls(found.text, tools)
        if not before or self._required or self.native is False:
            parsed.text, parsed.tool_calls = (before, calls) if calls else (parsed.text, [])

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
        return "tool_calls" if calls else "stop"

    def _delta(self, delta: Mapping[str, Any]) -> list[ParserEvent]:
        found: list[ParserEvent] = []
        content = delta.get("content")
        parts = content if isinstance(content, list) else [{"text": content}]
        thoughts = [delta.get(key) for key in _THOUGHTS]
        thoughts += [part.get("thinking") for part in parts if isinstance(part, Mapping)]
        if thought := encodable(next(filter(None, map(_text, thoughts)), "")):
            self._reasoning.append(thought)
            found.append(ThinkingDelta(text=thought))
        content = "".join(_text(part.get("text")) for part in parts if isinstance(part, Mapping))
        content = content or _text(delta.get("refusal"))
        if content:
            found += self._shown(self._parser.feed(encodable(content)))
        calls = delta.get("tool_calls")
        if isinstance(delta.get("function_call"), Mapping):  # as the API was before
            calls = [{"function": delta["function_call"]}]
        for piece in calls if isinstance(calls, list) else ():
            part = self._calls.add(piece) if isinstance(piece, Mapping) else None
            if part is not None:
                found.append(part)
        return found

    def _shown(self, events: list[ParserEvent]) -> list[ParserEvent]:
        """The events of a text, with what belongs to calls held back."""
        read: list[ParserEvent] = []
        for event in events:
            if isinstance(event, TextDelta):
                self.written += event.text
            if isinstance(event, TextDelta) and self._reader is not None:
                read += self._reader.feed(event.text)
            else:
                read.append(event)
        return self._without_calls(read)

    def _without_calls(self, events: list[ParserEvent]) -> list[ParserEvent]:
        """The events, with text held back from where a call seems to begin in it."""
        shown: list[ParserEvent] = []
        for event in events:
            if not isinstance(event, TextDelta):
                shown.append(event)
            elif self._held is not None:
                self._held.append(event.text)
                shown.append(ToolCallDelta(id=self._held_id, name=None, text=event.text))
            else:
                text, self._unsure = self._unsure + event.text, ""
                mark = _MARK.search(text) if self._tools else None
                if mark is not None:
                    self._held = [text[mark.start() :]]
                    text = text[: mark.start()]
                elif self._tools and (size := partial_suffix(text, CALL_MARKS)):
                    text, self._unsure = text[:-size], text[-size:]
                if text:
                    shown.append(TextDelta(text=text))
        return shown

    def _count(self, event: Mapping[str, Any]) -> None:
        """Read token counts from `usage` or llama-server's `timings`."""
        usage, timings = event.get("usage"), event.get("timings")
        if isinstance(usage, Mapping):
            details = usage.get("prompt_tokens_details")
            cached = _number(details, "cached_tokens") or _number(usage, "prompt_cache_hit_tokens")
            prompt = _number(usage, "prompt_tokens")
            if cached > prompt:  # counted without those
                prompt += cached
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


def _text(value: Any) -> str:
    """A text, or that of a list of its parts."""
    if isinstance(value, list):
        return "".join(_text(part.get("text")) for part in value if isinstance(part, Mapping))
    return value if isinstance(value, str) else ""


def _number(data: Any, key: str) -> int:
    value = data.get(key) if isinstance(data, Mapping) else None
    return max(int(value), 0) if isinstance(value, int | float) else 0
