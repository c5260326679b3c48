"""Incremental parsers of tool calls, each for the text from a call's opener to its end.

A parser buffers only what it cannot decide yet, so that the work is linear in the text however it
arrives. Bad input never raises: `error` says what is wrong and what to send instead.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from laguna_agent.encodable import encodable
from laguna_agent.models.chat.loose_json import JsonScanner, call_of, clean, load_json
from laguna_agent.models.chat.schema import properties_of, types_of
from laguna_agent.models.conversation import ToolSpec

_MAX_NAME = 128


class CallParser(Protocol):
    """Parses a call from just after its opener."""

    name: str | None
    """The tool's name, once known."""
    calls: list[tuple[str, dict[str, Any]]]
    """Complete calls: name and arguments."""
    error: str | None

    def feed(self, text: str, *, final: bool) -> tuple[str, str, bool]:
        """Add text; returns the part that was consumed, the rest, and whether the call is over.

        The rest must be given again, in front of the next text. The closing tag is in neither.
        `final`: no more text will come.
        """


def partial_suffix(text: str, tags: Sequence[str]) -> int:
    """Length of the longest suffix of `text` that begins one of `tags`."""
    longest = max((len(tag) - 1 for tag in tags), default=0)
    for size in range(min(longest, len(text)), 0, -1):
        end = text[-size:]
        if any(tag.startswith(end) for tag in tags):
            return size
    return 0


def may_begin(text: str, tags: Sequence[str]) -> bool:
    """True when `text` is the beginning of one of `tags`."""
    return any(tag.startswith(text) for tag in tags)


class JsonParser:
    """Parses `{"name": …, "arguments": {…}}` up to the closing tag."""

    _name = re.compile(r'"(?:name|tool|tool_name|function)"\s*:\s*"([^"\\]{1,128})"')

    def __init__(self, tools: Sequence[ToolSpec], *, closer: str = "</tool_call>") -> None:
        self._closer = closer
        self._scanner: JsonScanner | None = None
        self._object = ""
        self._bad = False
        self.name: str | None = None
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.error: str | None = None

    def feed(self, text: str, *, final: bool) -> tuple[str, str, bool]:
        """See CallParser."""
        taken = ""
        while True:
            if self._bad:
                read, text, over = _up_to(text, self._closer, final)
                self._object += read
                if over:
                    self._close_bad()
                return taken + read, text, over
            if self._scanner is None:
                stripped = text.lstrip()
                taken += text[: len(text) - len(stripped)]
                text = stripped
                if text.startswith(self._closer):
                    self._missing_if_empty()
                    return taken, text[len(self._closer) :], True
                if text.startswith("{"):
                    self._scanner, self._object = JsonScanner(), ""
                elif may_begin(text, (self._closer,)):
                    if final and not self.calls:
                        self.error = self.error or _cut(self.name)
                    return taken, "" if final else text, final
                elif not self.calls:
                    self._bad = True
                else:  # the closing tag is missing, and the reply continues
                    return taken, text, True
                continue
            end = self._scanner.scan(text)
            read = text if end is None else text[:end]
            taken, text = taken + read, text[len(read) :]
            self._object += read
            if self.name is None:
                found = self._name.search(self._object[:400])
                self.name = encodable(found.group(1)) if found else None
            if end is None:
                if final:
                    self.error = _cut(self.name)
                return taken, "", final
            self._scanner_done()

    def _scanner_done(self) -> None:
        self._scanner = None
        call, problem = None, "it is not an object with `name` and `arguments`"
        try:
            call = call_of(load_json(self._object))
        except ValueError as error:
            problem = str(error)
        if call is None:
            self.error = malformed(self.name, problem)
            self._bad = True
        else:
            self.calls.append(call)

    def _missing_if_empty(self) -> None:
        if not self.calls and self.error is None:
            self.error = malformed(None, "it is empty")

    def _close_bad(self) -> None:
        if self.error is None:
            shape = '{"name": "…", "arguments": {…}}'
            self.error = malformed(self.name, f"inside the tags there must be one object: {shape}")


@dataclass(frozen=True)
class Tags:
    """The tags of calls with tagged keys and values; white space around them is ignored."""

    name: tuple[str, str]
    """Before the name (after the opener), and after it. With an empty second tag, a newline or `<`
    ends the name."""
    key: tuple[str, str]
    value: tuple[str, str]
    end: str
    """Ends the arguments."""
    close: str = ""
    """Ends the call after `end`, if that takes another tag."""
    trims: bool = False
    """One newline after `value[0]` and one before `value[1]` belong to the tags."""


FUNCTION_TAGS = Tags(
    name=("<function=", ">"),
    key=("<parameter=", ">"),
    value=("", "</parameter>"),
    end="</function>",
    close="</tool_call>",
    trims=True,
)
"""Calls of Qwen3-Coder and relatives, after `<tool_call>`."""

KEY_TAGS = Tags(
    name=("", ""),
    key=("<arg_key>", "</arg_key>"),
    value=("<arg_value>", "</arg_value>"),
    end="</tool_call>",
)
"""Calls of GLM, after `<tool_call>`."""


class TaggedParser:
    """Parses a name, then keys and values between tags. String values are verbatim."""

    def __init__(self, tools: Sequence[ToolSpec], tags: Tags, *, stops: Sequence[str] = ()) -> None:
        self._tools = {tool.name: tool for tool in tools}
        self._tags = tags
        self._stops = tuple(stops)
        self._step = "before name" if tags.name[0] else "name"
        self._raw = ""
        self._key = ""
        self._value: list[str] = []
        self._arguments: dict[str, str] = {}
        self.name: str | None = None
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.error: str | None = None

    def feed(self, text: str, *, final: bool) -> tuple[str, str, bool]:
        """See CallParser."""
        taken = ""
        while True:
            read, text, status = self._advance(text, final)
            taken += read
            self._raw += read
            if status == "more":
                if not final:
                    return taken, text, False
                self._raw += text
                self._cut_off()
                return taken + text, "", True
            if status == "over":
                return taken, text, True

    def _advance(self, text: str, final: bool) -> tuple[str, str, str]:
        """One step: (consumed, rest, status), where the status is next, more or over."""
        tags = self._tags
        if self._step == "name":
            return self._read_name(text)
        if self._step == "key":
            return self._read_key(text)
        if self._step == "value":
            return self._read_value(text)
        if self._step == "bad":
            read, text, over = _up_to(text, tags.close or tags.end, final)
            if over:
                self._try_json(self._raw + read)
            return read, text, "over" if over else "more"
        stripped = text.lstrip()
        space, text = text[: len(text) - len(stripped)], stripped
        expected: dict[str, str] = {
            "before name": {tags.name[0]: "name"},
            "between": {tags.key[0]: "key", tags.end: "end"} | dict.fromkeys(self._stops, "stop"),
            "before value": {tags.value[0]: "value"},
            "close": {tags.close: "over"} | dict.fromkeys(self._stops, "stop"),
        }[self._step]
        for tag, step in expected.items():
            if text.startswith(tag):
                return self._met(step, space, tag, text)
        if may_begin(text, tuple(expected)):
            return space, text, "more"
        self._step = "bad"
        return space, text, "next"

    def _met(self, step: str, space: str, tag: str, text: str) -> tuple[str, str, str]:
        rest = text[len(tag) :]
        if step == "over" or (step == "end" and not self._tags.close):
            if step == "end":
                self._finish_call()
            return space, rest, "over"
        if step == "stop":  # the reply ended without the call's closing tag
            if not self.calls:
                self._finish_call()
            return space, text, "over"
        if step == "end":
            self._finish_call()
            self._step = "close"
        else:
            self._step = step
        return space + tag, rest, "next"

    def _read_name(self, text: str) -> tuple[str, str, str]:
        stripped = text.lstrip()
        after = self._tags.name[1]
        found = re.search(re.escape(after) if after else r"[\n<]", stripped)
        if (len(stripped) if found is None else found.start()) > _MAX_NAME:
            self._step = "bad"
            return "", text, "next"
        if found is None:
            return "", text, "more"
        name = stripped[: found.start()].strip()
        if not name or not re.fullmatch(r"[\w.:/-]+", name):
            self._step = "bad"
            return "", text, "next"
        self.name = name
        self._step = "between"
        end = len(text) - len(stripped) + (found.end() if after else found.start())
        return text[:end], text[end:], "next"

    def _read_key(self, text: str) -> tuple[str, str, str]:
        end = text.find(self._tags.key[1])
        if end < 0:
            return "", text, "more"
        self._key = text[:end].strip()
        self._value = []
        self._step = "before value" if self._tags.value[0] else "value"
        end += len(self._tags.key[1])
        return text[:end], text[end:], "next"

    def _read_value(self, text: str) -> tuple[str, str, str]:
        closer = self._tags.value[1]
        end = text.find(closer)
        if end < 0:
            keep = partial_suffix(text, (closer,))
            read = text[: len(text) - keep]
            self._value.append(read)
            return read, text[len(read) :], "more"
        value = "".join([*self._value, text[:end]])
        if self._tags.trims:
            value = value.removeprefix("\n").removesuffix("\n")
        self._arguments[self._key] = value
        self._step = "between"
        end += len(closer)
        return text[:end], text[end:], "next"

    def _finish_call(self) -> None:
        name = self.name or ""
        tool = self._tools.get(name)
        schemas = {k: s for k, s, _ in properties_of(tool.parameters)} if tool else {}
        root = tool.parameters if tool else {}
        arguments: dict[str, Any] = {}
        for key, text in self._arguments.items():
            try:
                arguments[key] = decode(text, schemas[key], root) if key in schemas else text
            except ValueError as error:
                self.error = malformed(name, f"argument `{key}` {error}")
                return
        self.calls.append((encodable(name), clean(arguments)))

    def _try_json(self, raw: str) -> None:
        """Parse a call without the tags as JSON, with or without a name before it."""
        found = re.match(r"\s*(?:[\w.-]+\s*)?(\{.*)", raw, re.DOTALL)
        call = None
        if found is not None:
            try:
                value = load_json(found.group(1).strip())
            except ValueError:
                value = None
            call = call_of(value)
            if call is None and self.name in self._tools and isinstance(value, Mapping):
                call = (str(self.name), clean(value))
        if call is not None and call[0] in self._tools:
            self.calls.append(call)
            return
        form = f"{self._tags.key[0]}name{self._tags.key[1]}{self._tags.value[0]}value"
        self.error = malformed(
            self.name, f"arguments are written {form}{self._tags.value[1]}, one after the other"
        )

    def _cut_off(self) -> None:
        if self._step == "close" and self.calls:
            return
        self._try_json(self._raw)
        if not self.calls:
            self.error = _cut(self.name)


def decode(text: str, schema: Mapping[str, Any], root: Mapping[str, Any]) -> Any:
    """An argument's value from its text: verbatim when it may be a string, else JSON.

    Raises ValueError; its message continues a sentence that begins with the argument's name.
    """
    kinds = types_of(schema, root)
    if "string" in kinds:
        return None if text == "null" and "null" in kinds else text
    trimmed = text.strip()
    for spelling in (trimmed, {"True": "true", "False": "false", "None": "null"}.get(trimmed)):
        if spelling is None:
            continue
        try:
            return load_json(spelling)
        except ValueError:
            continue
    shown = trimmed if len(trimmed) <= 40 else trimmed[:40] + "…"
    raise ValueError(f"must be {' or '.join(sorted(kinds))} in JSON, and was {shown!r}")


def malformed(name: str | None, problem: str) -> str:
    """The message to the model about a call that could not be parsed."""
    which = f"call of `{name}`" if name else "tool call"
    return f"Your {which} could not be read: {problem}. Send it again, in the right form."


def _cut(name: str | None) -> str:
    which = f"call of `{name}`" if name else "tool call"
    return (
        f"Your {which} was cut off before its end and was not made. Send it again, whole; "
        "if it was long, in smaller parts."
    )


def _up_to(text: str, closer: str, final: bool) -> tuple[str, str, bool]:
    """(consumed, rest, over): text up to the closing tag, which is dropped."""
    end = text.find(closer)
    if end >= 0:
        return text[:end], text[end + len(closer) :], True
    if final:
        return text, "", True
    keep = partial_suffix(text, (closer,))
    return text[: len(text) - keep], text[len(text) - keep :], False
