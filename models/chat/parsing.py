"""The incremental parser of replies: thinking, text and calls.

Only text that may still become a tag, a call or trailing white space is held back. The deltas add
up to the texts of `Parsed`, both stripped of white space at their ends.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from laguna_agent.events import TextDelta, ThinkingDelta, ToolCall, ToolCallDelta
from laguna_agent.models.chat.bare_json import JsonCandidate
from laguna_agent.models.chat.call_parsers import CallParser, partial_suffix
from laguna_agent.models.chat.chat_format import Parsed, ParserEvent

_MAX_BEGINNING = 200
"""Characters after an opener in a thought within which a call must begin."""


def new_call_id() -> str:
    """An id that no other call of the session has."""
    return f"call_{uuid.uuid4().hex[:12]}"


@dataclass(frozen=True)
class ReplyShape:
    """The elements of a format's replies."""

    call_parser: Callable[[], CallParser] | None
    """Makes a parser for one call; None when the reply may have no calls."""
    names: frozenset[str]
    """Names of the declared tools."""
    opener: str = "<tool_call>"
    call_begins: str = r"\s*([\w.:/-]+)[ \t]*[\n<]"
    """Regular expression for the text after an opener that begins a call, with the tool's name as
    its group: a thought may mention the opener without making a call."""
    starts_thinking: bool = False
    think_open: str = "<think>"
    think_close: str = "</think>"
    stops: tuple[str, ...] = ()
    """Texts that end the reply outside a call."""
    bare_json: bool = False
    """Also parse calls that are JSON objects at the start of a line or in a fence."""


class StreamParser:
    """Parses one reply. See ReplyParser."""

    def __init__(self, shape: ReplyShape) -> None:
        self._shape = shape
        self._buffer = ""
        self._mode = self._thinking if shape.starts_thinking else self._text
        self._events: list[ParserEvent] = []
        self._thought, self._shown = _Trimmed(), _Trimmed()
        self._call_parser: CallParser | None = None
        self._call_id = ""
        self._call_text: list[str] = []
        self._candidate: JsonCandidate | None = None
        self._line_start = True
        self._calls: list[ToolCall] = []
        self._errors: list[str] = []
        self._complete = False

    @property
    def complete(self) -> bool:
        """True once a literal stop was parsed."""
        return self._complete

    def feed(self, text: str) -> list[ParserEvent]:
        """See ReplyParser."""
        if not self._complete:
            self._buffer += text
            self._run(final=False)
        return self._drain()

    def finish(self) -> tuple[list[ParserEvent], Parsed]:
        """See ReplyParser."""
        if not self._complete:
            self._run(final=True)
        parsed = Parsed(
            text=self._shown.total(),
            thinking=self._thought.total(),
            tool_calls=list(self._calls),
            error=" ".join(self._errors) or None,
        )
        return self._drain(), parsed

    def _drain(self) -> list[ParserEvent]:
        events, self._events = self._events, []
        return events

    def _run(self, *, final: bool) -> None:
        while not self._complete and self._mode(final):
            pass

    # --- the modes: each consumes from the buffer and returns True when there is more to do ---

    def _thinking(self, final: bool) -> bool:
        shape = self._shape
        tags = [shape.think_close, *shape.stops]
        if shape.call_parser is not None:
            tags.append(shape.opener)
        at, tag = self._find(tags)
        if tag is None:
            self._think(self._take(len(self._buffer) - self._held(tags, final)))
            return False
        self._think(self._take(at))
        if tag == shape.opener:
            begins = self._begins_call(self._buffer[len(tag) :], final)
            if begins is None:
                return False
            if not begins:
                self._think(self._take(len(tag)))
                return True
            self._open_call()
            return True
        if tag == shape.think_close:
            self._take(len(tag))
            self._mode = self._text
            return True
        self._complete = True
        return False

    def _text(self, final: bool) -> bool:
        shape = self._shape
        tags = [*shape.stops]
        if shape.call_parser is not None:
            tags.append(shape.opener)
        if not self._shown.started and not self._calls:
            tags += [shape.think_open, shape.think_close]
            # a thought comes first or not at all
            if self._buffer.lstrip() and not self._buffer.lstrip().startswith("<"):
                tags = tags[:-2]
        at, tag = self._find(tags)
        json_at = self._json_start(at if tag is not None else len(self._buffer), final)
        if json_at is not None:
            self._say(self._take(json_at))
            if self._buffer:
                self._candidate = JsonCandidate(shape.names)
                self._mode = self._maybe_json
            return bool(self._buffer)
        if tag is None:
            self._say(self._take(len(self._buffer) - self._held(tags, final)))
            return False
        if tag in (shape.think_open, shape.think_close) and self._buffer[:at].strip():
            self._say(self._take(at + 1))
            return True
        self._say(self._take(at))
        if tag == shape.opener:
            if self._shown.last == "`":
                self._say(self._take(len(tag)))
            else:
                self._open_call()
            return True
        self._take(len(tag))
        if tag == shape.think_open:
            self._mode = self._thinking
        elif tag in shape.stops:
            self._complete = True
        return True

    def _call(self, final: bool) -> bool:
        parser = self._call_parser
        assert parser is not None
        named = parser.name
        read, self._buffer, over = parser.feed(self._buffer, final=final)
        if read or parser.name != named:
            self._call_text.append(read)
            self._events.append(ToolCallDelta(id=self._call_id, name=parser.name, text=read))
        if over:
            self._close_call(parser)
        return over

    def _maybe_json(self, final: bool) -> bool:
        assert self._candidate is not None
        found = self._candidate.check(self._buffer, final)
        if found is None:
            return False
        size, call = found
        raw = self._take(size)
        self._candidate = None
        self._mode = self._text
        if call is None:
            self._say(raw)
        else:
            self._shown.interrupt()
            self._line_start = True
            call_id = new_call_id()
            self._events.append(ToolCallDelta(id=call_id, name=call.name, text=raw))
            self._calls.append(call.model_copy(update={"id": call_id, "raw": raw}))
        return True

    # --- pieces -------------------------------------------------------------------------------

    def _find(self, tags: Sequence[str]) -> tuple[int, str | None]:
        found = [(self._buffer.find(tag), tag) for tag in tags]
        return min(((at, tag) for at, tag in found if at >= 0), default=(-1, None))

    def _held(self, tags: Sequence[str], final: bool) -> int:
        return 0 if final else partial_suffix(self._buffer, tags)

    def _take(self, size: int) -> str:
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    def _begins_call(self, after: str, final: bool) -> bool | None:
        found = re.match(self._shape.call_begins, after)
        if found is None:
            return None if len(after) < _MAX_BEGINNING and not final else False
        return found.end() <= _MAX_BEGINNING and found.group(1) in self._shape.names

    def _json_start(self, before: int, final: bool) -> int | None:
        """Where an object or a fence begins a line before the next tag; None if nowhere."""
        if not self._shape.bare_json or self._shape.call_parser is None:
            return None
        for found in re.finditer(r"(?m)^[ \t]*(\{|`{1,3})", self._buffer[:before]):
            if found.start() == 0 and not self._line_start:
                continue
            at, mark = found.start(1), found.group(1)
            if mark in ("{", "```"):
                return at
            if found.end() == len(self._buffer) and not final:
                return at  # may become a fence
        return None

    def _open_call(self) -> None:
        assert self._shape.call_parser is not None
        self._take(len(self._shape.opener))
        self._call_parser = self._shape.call_parser()
        self._call_id, self._call_text = new_call_id(), []
        self._mode = self._call

    def _close_call(self, parser: CallParser) -> None:
        raw = "".join(self._call_text)
        for number, (name, arguments) in enumerate(parser.calls):
            call_id = self._call_id if number == 0 else new_call_id()
            self._calls.append(ToolCall(id=call_id, name=name, arguments=arguments, raw=raw))
        if parser.error is not None:
            self._errors.append(parser.error)
        self._call_parser = None
        self._shown.interrupt()
        self._line_start = True
        self._mode = self._text

    def _think(self, text: str) -> None:
        text = self._thought.add(text)
        if text:
            self._events.append(ThinkingDelta(text=text))

    def _say(self, text: str) -> None:
        last_line = text.rpartition("\n")[2]
        if text:
            fresh = "\n" in text or self._line_start
            self._line_start = fresh and not last_line.strip(" \t")
        text = self._shown.add(text)
        if text:
            self._events.append(TextDelta(text=text))


class _Trimmed:
    """A text that arrives in pieces, stripped of white space at its ends."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._space = ""
        self.last = ""
        """The last character added, white space included."""

    @property
    def started(self) -> bool:
        return bool(self._parts)

    def add(self, text: str) -> str:
        """Add a piece; returns the text that can be shown now."""
        if text:
            self.last = text[-1]
        text = self._space + text
        if not self._parts:
            text = text.lstrip()
        shown = text.rstrip()
        self._space = text[len(shown) :]
        if shown:
            self._parts.append(shown)
        return shown

    def interrupt(self) -> None:
        """Begin a new line: something else came in between."""
        self._space = "\n" if self._parts else ""
        self.last = ""

    def total(self) -> str:
        return "".join(self._parts)


def tool_json(name: str, description: str, parameters: object) -> str:
    """A declaration as one line of JSON, spaced like in chat templates."""
    function = {"name": name, "description": description, "parameters": parameters}
    return json.dumps({"type": "function", "function": function}, ensure_ascii=False)
