"""Calls as bare or fenced JSON at the start of a line, as models write them untaught."""

from __future__ import annotations

import re

from laguna_agent.events import ToolCall
from laguna_agent.models.chat.call_parsers import may_begin
from laguna_agent.models.chat.loose_json import JsonScanner, call_of, load_json


class JsonCandidate:
    """Decides whether an object or a fence at the start of a line is a call.

    It is given the same buffer repeatedly, longer each time.
    """

    _keys = ("name", "tool", "tool_name", "function", "arguments", "parameters", "type", "args")
    _fence = re.compile(r"```([\w-]{0,16})[ \t]*\r?\n\s*")
    _languages = ("", "json", "tool_call", "tool", "xml")

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names
        self._scanner = JsonScanner()
        self._seen: int | None = None

    def check(self, buffer: str, final: bool) -> tuple[int, ToolCall | None] | None:
        """(length, call), where a call of None means text of that length; None to wait for more."""
        start = 0
        if buffer.startswith("`"):
            found = self._fence.match(buffer)
            if found is None or found.end() == len(buffer):
                possible = re.fullmatch(r"`{1,3}|```[\w-]{0,16}[ \t]*\r?\n?\s*", buffer)
                return (len(buffer) if final else 1, None) if final or not possible else None
            if found.group(1).lower() not in self._languages or buffer[found.end()] != "{":
                return found.end(), None
            start = found.end()
        if not self._plausible(buffer[start : start + 200]):
            return start + 1, None
        seen = start if self._seen is None else self._seen
        end = self._scanner.scan(buffer[seen:])
        if end is None:
            self._seen = len(buffer)
            return (start + 1, None) if final else None
        end += seen
        if start:
            rest = buffer[end:].lstrip()
            if not rest.startswith("```"):
                if may_begin(rest, ("```",)) and not final:
                    self._seen, self._scanner = None, JsonScanner()
                    return None
                if rest and not final:
                    return start + 1, None
        call = self._call(buffer[start:end])
        if call is None:
            return start + 1, None
        if start:
            end = len(buffer) - len(buffer[end:].lstrip().removeprefix("```"))
        return end, call

    def _plausible(self, text: str) -> bool:
        """True while the object's first key may be that of a call."""
        inside = text[1:].lstrip()
        if not inside:
            return True
        if not inside.startswith('"'):
            return False
        key, closed, _ = inside[1:].partition('"')
        return key in self._keys if closed else may_begin(key, self._keys)

    def _call(self, text: str) -> ToolCall | None:
        try:
            found = call_of(load_json(text))
        except ValueError:
            return None
        if found is None or found[0] not in self._names:
            return None
        return ToolCall(id="", name=found[0], arguments=found[1])
