"""What a server's answer other than a reply means: whether and how asking again may help."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from laguna_agent.errors import ContextFullError, LagunaError, ModelError


class StreamBrokenError(Exception):
    """The answer broke off; the message says how. Sending the request again may help."""


class NotAReplyError(Exception):
    """The answer is no reply at all, and would be none the next time: a web page, for one."""


class SilentError(StreamBrokenError):
    """The server sent nothing for longer than is waited for."""


class BusyError(Exception):
    """The server is loading or overloaded. `wait_s` is the delay it asked for, if any."""

    def __init__(self, message: str, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.wait_s = wait_s


class KeyNeededError(ModelError):
    """The server wants an API key, or another one."""


class UnreadableCallError(Exception):
    """The server could not read the call that the model wrote."""


class RefusedRequestError(Exception):
    """The server refuses this request; another form of it may be accepted (see `dialect`)."""

    def __init__(self, status: int, message: str, text: str = "", fields: list[str] | None = None):
        super().__init__(message)
        self.status = status
        self.text = text or message
        """All that the server says, as one text."""
        self.fields = fields or []
        """The fields of the request that it names as wrong, as far as it says so in a field."""

    def explained(self) -> ModelError:
        """The error for people."""
        detail = f": {self}" if str(self) else ""
        hint = "Check `url` of the provider and the model's name." if self.status == 404 else None
        return ModelError(f"the model server answered HTTP {self.status}{detail}", hint=hint)


_BUSY = (408, 409, 425, 429, 502, 503, 504, *range(520, 530))
"""Overloaded, loading, or a gateway in front of a server that is (520 to 529)."""
_UNREADABLE_CALL = re.compile(
    r"pars(?:e|ing) (?:the )?(?:tool|function)[ _]call"
    r"|failed to parse input at pos|invalid diff:"
    r"|(?:tool|function)[ _]call\w* .{0,40}(?:not|invalid|malformed).{0,20}(?:pars|json)",
    re.IGNORECASE,
)
_UNPAID = re.compile(r"quota|billing|credit|balance", re.IGNORECASE)
_KEY_HINT = (
    "Check the key: `key_env`, `key_file` or `key_command` of the provider names where it is."
)


def refusal(
    status: int, body: bytes, headers: Mapping[str, str], *, proxy: str | None = None
) -> Exception:
    """The exception for an answer other than 200. `proxy`: the proxy that it came through."""
    value = _value(body)
    message, text, fields = _told(value, body)
    full = _context_full(value, text)
    if full is not None:
        return full
    if status == 407 or (proxy and status in (403, 502, 503, 504) and value is None):
        return through_proxy(proxy or "", f"answered HTTP {status}")
    if status in (402, 429) and _UNPAID.search(text):
        return ModelError(f"the model server answered HTTP {status}: {message}")
    if status in _BUSY:
        return BusyError(message or f"HTTP {status}", _retry_after(headers))
    if status >= 500 and _UNREADABLE_CALL.search(text):
        return UnreadableCallError(message)
    if status in (401, 403):
        detail = f": {message}" if message else ""
        return KeyNeededError(f"the model server answered HTTP {status}{detail}", hint=_KEY_HINT)
    if 300 <= status < 400:
        place = headers.get("location", "another address")
        return ModelError(
            f"the model server answered HTTP {status}: it is at {place}",
            hint="Set `url` of the provider to that address.",
        )
    return RefusedRequestError(status, message, text, fields)


def refusal_in_stream(
    event: Mapping[str, Any], hidden: Callable[[str], str] = str
) -> Exception | None:
    """The exception for an error event in a stream; None for any other event. `hidden` removes
    secrets from what it says."""
    # One server writes the message as the key and the reason as the value.
    key = next((k for k in event if str(k).startswith("error") and event[k]), None)
    if key is None and event.get("detail") and "choices" not in event:
        key, event = "error", {"error": event}
    if key is None:
        return None
    event = json.loads(hidden(json.dumps(event)))
    error = event[key]
    value = {"error": error if key == "error" else f"{key}: {error}"}
    message, text, fields = _told(value, b"")
    full = _context_full(value, text)
    if full is not None:
        return full
    if _UNREADABLE_CALL.search(text):
        return UnreadableCallError(message)
    code = error.get("code") if isinstance(error, Mapping) else None
    status = int(code) if code is not None and str(code).isdecimal() else 0
    if status in _BUSY or "overloaded" in text.lower():
        return BusyError(message or f"HTTP {status}")
    if 400 <= status < 500:
        return RefusedRequestError(status, message, text, fields)
    return StreamBrokenError(f"the server failed: {message or 'no reason given'}")


def through_proxy(proxy: str, what: str) -> LagunaError:
    """The error for what a proxy did in place of the server."""
    return ModelError(
        f"the proxy {proxy} {what}, not the model server".replace("  ", " "),
        hint="If the server can be reached directly, name its host in NO_PROXY.",
    )


def _value(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _told(value: Any, body: bytes) -> tuple[str, str, list[str]]:
    """(message in one line, all that is said, names of fields) of an error's body."""
    if value is None:
        text = re.sub(r"<[^>]*>", " ", body[:4000].decode("utf-8", "replace"))
        return _one_line(text), text, []
    error = value.get("error", value) if isinstance(value, Mapping) else value
    fields: list[str] = []
    if not isinstance(error, Mapping):
        return _one_line(str(error)), str(error), fields
    message = error.get("message") or error.get("detail") or error.get("msg") or error.get("error")
    message = message or (json.dumps(error) if error else "")
    problems = error.get("detail") if isinstance(error.get("detail"), list) else []
    if isinstance(message, Mapping):
        problems, message = message.get("detail", []), str(message)
    listed = problems if isinstance(problems, list) else []
    problems = [problem for problem in listed if isinstance(problem, Mapping)]
    if problems:
        fields += [".".join(map(str, problem.get("loc") or [])) for problem in problems]
        told = zip(fields, problems, strict=True)
        message = "; ".join(f"{place}: {problem.get('msg', '')}" for place, problem in told)
    if isinstance(error.get("param"), str):
        fields.append(error["param"])
    metadata = error.get("metadata")
    raw = metadata.get("raw", "") if isinstance(metadata, Mapping) else ""
    kinds = f"{error.get('type') or ''} {error.get('code') or ''}"
    return _one_line(str(message)), f"{message} {raw} {kinds}".strip(), fields


def _one_line(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 200 else text[:199] + "…"


_FULL = (
    "exceed_context_size",
    "context_length_exceeded",
    "context length",
    "context size",
    "context window",
    "maximum context",
    "prompt is too long",
    "too many tokens",
    "input is too long",
)
_NUMBER = r"(\d[\d,]{2,})"
_LIMIT = re.compile(
    rf"(?:maximum context length|context (?:length|size|window)|limit|maximum)"
    rf"(?: of| is|:)?(?: only)? \(?{_NUMBER}",
    re.IGNORECASE,
)
_USED = (
    re.compile(rf"{_NUMBER} (?:tokens )?(?:in the messages|in your prompt|input tokens)"),
    re.compile(rf"(?:resulted in|requested|contains?|has|have|is|prompt) \(?{_NUMBER} tokens"),
)


def _context_full(value: Any, text: str) -> ContextFullError | None:
    if not any(sign in text.lower() for sign in _FULL):
        return None
    error = value.get("error", value) if isinstance(value, Mapping) else {}
    error = error if isinstance(error, Mapping) else {}
    used, limit = error.get("n_prompt_tokens"), error.get("n_ctx")
    if not (isinstance(used, int) and isinstance(limit, int)):
        numbers = [_number(n) for n in re.findall(_NUMBER, text)]
        told = _LIMIT.search(text)
        limit = _number(told[1]) if told else min(numbers, default=0)
        rest = text.replace(told[0], "", 1) if told else text
        found = next((m for pattern in _USED if (m := pattern.search(rest))), None)
        used = _number(found[1]) if found else max(numbers, default=0)
    return ContextFullError(used, max(used - limit, 1), limit)


def _number(text: str) -> int:
    return int(text.replace(",", ""))


def _retry_after(headers: Mapping[str, str]) -> float | None:
    value = headers.get("retry-after", "")
    if re.fullmatch(r"\d+(?:\.\d+)?", value.strip()):
        return float(value)
    try:
        until = parsedate_to_datetime(value)
        now = parsedate_to_datetime(headers.get("date", ""))
    except (TypeError, ValueError):
        return None
    return max(0.0, (until - now).total_seconds()) if until.tzinfo and now.tzinfo else None
