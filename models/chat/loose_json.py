"""JSON as small models write it: found in a stream, parsed leniently, interpreted as a call."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from laguna_agent.encodable import encodable


class JsonScanner:
    """Finds the end of a JSON object that arrives in pieces."""

    _outside = re.compile(r'["{}\[\]<]')
    _inside = re.compile(r'["\\]')

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self.broken = False
        """True when `<` occurred outside a string: the object lacks its end."""

    def scan(self, text: str) -> int | None:
        """The index after the object's end (or of what broke it); None when it continues."""
        at = 0
        while at < len(text):
            if self._escaped:
                self._escaped = False
                at += 1
                continue
            found = (self._inside if self._in_string else self._outside).search(text, at)
            if found is None:
                return None
            at = found.end()
            mark = found.group()
            if mark == '"':
                self._in_string = not self._in_string
            elif mark == "\\":
                self._escaped = True
            elif mark == "<":
                self.broken = True
                return found.start()
            else:
                self._depth += 1 if mark in "{[" else -1
                if self._depth <= 0:
                    return at
        return None


def load_json(text: str) -> Any:
    """Parse JSON as small models write it. Raises ValueError.

    Accepts raw newlines in strings, stray backslashes, trailing commas and missing brackets.
    """
    attempts = [text]
    escaped = re.sub(r'\\(?!["\\/bfnrtu])', r"\\\\", text)
    no_comma = re.sub(r",(\s*[}\]])", r"\1", escaped)
    attempts += [escaped, no_comma, *(no_comma.rstrip().rstrip(",") + "}" * n for n in (1, 2))]
    problem = "not a JSON object"
    for attempt in attempts:
        try:
            return json.loads(attempt, strict=False, parse_constant=_refuse_constant)
        except RecursionError:
            raise ValueError("nested too deeply") from None
        except ValueError as error:
            problem = problem if attempt is not text else str(error)
    raise ValueError(problem)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def clean(value: Any) -> Any:
    """A JSON value without lone surrogates."""
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, list):
        return [clean(item) for item in value]
    if isinstance(value, Mapping):
        return {encodable(str(key)): clean(item) for key, item in value.items()}
    return value


def call_of(value: Any) -> tuple[str, dict[str, Any]] | None:
    """The call in a JSON object, in any of the shapes that models were trained on; else None."""
    if not isinstance(value, Mapping):
        return None
    if isinstance(value.get("function"), Mapping):
        return call_of(value["function"])
    name_key = next(
        (k for k in ("name", "tool", "tool_name", "function") if isinstance(value.get(k), str)),
        None,
    )
    if name_key is None:
        return None
    for key in ("arguments", "parameters", "args", "input"):
        if key in value:
            arguments = value[key]
            break
    else:
        arguments = {k: v for k, v in value.items() if k not in (name_key, "id", "type")}
    if isinstance(arguments, str):
        try:
            arguments = load_json(arguments)
        except ValueError:
            return None
    if arguments is None:
        arguments = {}
    if not isinstance(arguments, Mapping):
        return None
    return clean(value[name_key]).strip(), clean(arguments)
