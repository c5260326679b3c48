"""Assembles the native calls of a streamed reply from the pieces that servers send.

By the letter a piece belongs to the call of its index. Servers differ: every parallel call has
index 0, or none; ids are repeated, missing, or new in every piece; names come in pieces, after the
arguments, or again with each piece; arguments are an object. So a piece is taken for the beginning
of a new call when its id, its name and what is there already say so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import Any

from laguna_agent.encodable import encodable
from laguna_agent.events import ToolCall, ToolCallDelta
from laguna_agent.models.chat.call_parsers import malformed
from laguna_agent.models.chat.loose_json import clean, load_json
from laguna_agent.models.chat.parsing import new_call_id


@dataclass
class _Call:
    id: str
    index: int | None
    given_id: str
    """The id that the server gave, which several calls may share."""
    name: str = ""
    parts: list[str] = field(default_factory=list)

    @property
    def raw(self) -> str:
        """The arguments so far."""
        return "".join(self.parts)

    def is_whole(self) -> bool:
        """Whether the arguments are one complete object."""
        return bool(self.parts) and self.parts[-1].rstrip().endswith("}") and is_strict(self.raw)


class NativeCalls:
    """The native calls of one reply under construction. `names` are the declared tools."""

    def __init__(self, names: Set[str]) -> None:
        self._names = names
        self._calls: list[_Call] = []

    def __bool__(self) -> bool:
        return bool(self._calls)

    def add(self, piece: Mapping[str, Any]) -> ToolCallDelta | None:
        """Add a piece; None when it only repeats a call."""
        index, given_id = piece.get("index"), piece.get("id")
        index = index if isinstance(index, int) else None
        given_id = given_id if isinstance(given_id, str) else ""
        function = piece.get("function")
        function = function if isinstance(function, Mapping) else {}
        name, arguments = function.get("name"), function.get("arguments")
        name = encodable(name) if isinstance(name, str) else ""
        if isinstance(arguments, Mapping):
            arguments = json.dumps(arguments, ensure_ascii=False)
        text = encodable(arguments) if isinstance(arguments, str) else ""

        call = self._current(index, given_id)
        repeats = call is not None and (given_id, name) == (call.given_id, call.name)
        if call is not None and given_id and repeats and text == call.raw and call.is_whole():
            return None
        if call is None or self._begins(call, given_id, name, text):
            used = {other.id for other in self._calls}
            fresh = given_id and given_id not in used
            call = _Call(given_id if fresh else new_call_id(), index, given_id)
            self._calls.append(call)
        call.given_id = call.given_id or given_id
        if name.startswith(call.name):  # the whole name, again or as far as it has come
            call.name = name or call.name
        elif _tool_name(call.name) not in self._names:
            call.name += name
        if '"' in call.raw and text.startswith(call.raw):  # all of the arguments so far
            text = text[len(call.raw) :]
        if text:
            call.parts.append(text)
        return ToolCallDelta(id=call.id, name=_tool_name(call.name) or None, text=text)

    def _current(self, index: int | None, given_id: str) -> _Call | None:
        """The call that a piece may continue."""
        near = [call for call in self._calls if index is None or call.index == index]
        same = [call for call in near if given_id and call.given_id == given_id]
        found = same or near
        return found[-1] if found else None

    def _begins(self, call: _Call, given_id: str, name: str, text: str) -> bool:
        """Whether a piece that may continue `call` begins another one."""
        if given_id and call.given_id and given_id != call.given_id:
            return bool(name) or call.is_whole()
        if not name or not call.name:
            return False
        another = {_tool_name(name), _tool_name(call.name)} <= self._names and name != call.name
        return another or (bool(text) and call.is_whole())

    def finish(self, *, cut: bool) -> tuple[list[ToolCall], list[str]]:
        """The calls, and for each that could not be read what to tell the model.

        `cut`: the reply ended at its limit of tokens.
        """
        calls: list[ToolCall] = []
        errors: list[str] = []
        for call in self._calls:
            name = _tool_name(call.name)
            try:
                found = _arguments(call.raw)
            except ValueError as error:
                problem = "it was cut off, because the reply reached its limit of tokens"
                errors.append(malformed(name or None, problem if cut else str(error)))
                continue
            for number, arguments in enumerate(found):
                call_id = call.id if number == 0 else new_call_id()
                kept = call.raw if len(found) == 1 and is_strict(call.raw) else ""
                raw = kept or json.dumps(arguments, ensure_ascii=False)
                calls.append(ToolCall(id=call_id, name=name, arguments=clean(arguments), raw=raw))
        return calls, errors


def _tool_name(text: str) -> str:
    """A tool's name without what servers leave of the model's own format around it."""
    return text.partition("<|")[0].strip().removeprefix("functions.")


def _arguments(raw: str) -> list[dict[str, Any]]:
    """The arguments, or those of several calls that the server wrote one after the other.

    Raises ValueError, whose text says what is wrong.
    """
    if not raw.strip():
        return [{}]
    value: Any
    try:
        value = load_json(raw)
    except ValueError:
        several = _objects(raw)
        if not several:
            raise
        return several
    if isinstance(value, str):  # encoded twice
        value = load_json(value)
    if not isinstance(value, dict):
        raise ValueError("arguments must be one JSON object")
    return [value]


def _objects(text: str) -> list[dict[str, Any]]:
    """The objects of a text that is a sequence of them; empty ones come from a server's start."""
    found, decoder = [], json.JSONDecoder(strict=False)
    text = text.strip()
    while text:
        try:
            value, end = decoder.raw_decode(text)
        except (ValueError, RecursionError):
            return []
        if not isinstance(value, dict):
            return []
        found.append(value)
        text = text[end:].lstrip()
    return [value for value in found if value] or found[:1]


def is_strict(raw: str) -> bool:
    """True when the text can be sent back as it came: servers parse it again."""
    try:
        return isinstance(json.loads(raw), dict)
    except (ValueError, RecursionError):
        return False
